@testable import BayesEvaluation
import Bayesify
import Foundation
import Testing
import _BayesTestSupport

/// Records in memory, in the chunks that they came in.
private struct KeptRecords: ExitRecordSource {
  let description: RecordsDescription
  let chunks: [ExitRecords]
  var rowCount: Int { chunks.reduce(0) { $0 + $1.rowCount } }
  var hasLabels: Bool { true }

  init(_ source: some ExitRecordSource) async throws {
    description = source.description
    var chunks: [ExitRecords] = []
    try await source.forEachChunk { chunks.append($0) }
    self.chunks = chunks
  }

  func forEachChunk(_ body: (ExitRecords) async throws -> Void) async throws {
    for chunk in chunks { try await body(chunk) }
  }
}

/// A trained network of four exits, and what it made of images that it was not trained on.
private struct TrainedExits: Sendable {
  /// The one that is little overconfident; all tests but the first share one pass of it over all rows.
  static let shared = Task { try await TrainedExits("msdnet-small-cifar10.h5") }

  static let preprocessing = Preprocessing(
    scale: 255, mean: [0.4914, 0.4824, 0.4467], standardDeviation: [0.2471, 0.2435, 0.2616])

  /// Those that need no posterior.
  static let scores = [ExitScore.maximumProbability, .entropy, .margin, .patience]

  let frozen: FrozenNetwork
  let validation: KeptRecords
  let test: KeptRecords
  let costs: ExitCosts
  let validationTables: ExitTables
  let testTables: ExitTables

  init(_ checkpoint: String) async throws {
    frozen = try Self.network(checkpoint)
    validation = try await Self.records(frozen, "cifar10-validation-5k.h5")
    test = try await Self.records(frozen, "cifar10-test.h5")
    let predictor = try ExitwisePredictor(.map, for: test.description)
    costs = try ExitCosts(
      test.description.exits.map { Double(try #require($0.multiplyAdds)) }, unit: .multiplyAdds)
    validationTables = try await Self.tables(predictor, validation)
    testTables = try await Self.tables(predictor, test)
  }

  static func file(_ name: String) -> String {
    (TestFiles.shared ?? TestFiles.package).appending(path: name).path(percentEncoded: false)
  }

  static func network(_ checkpoint: String) throws -> FrozenNetwork {
    try CheckpointModel(file("checkpoints/" + checkpoint)).frozen
  }

  static func records(
    _ frozen: FrozenNetwork, _ data: String, rows: Range<Int>? = nil
  ) async throws -> KeptRecords {
    let data = file("data/" + data)
    return try await KeptRecords(
      NetworkRecords(
        frozen, over: try openDataset(data, options: DatasetOptions(rows: rows)),
        description: try frozen.recordsDescription(file: data, preprocessing: preprocessing), stage: "rows",
        on: try NativeBackend(), width: 2))
  }

  private static func tables(
    _ predictor: ExitwisePredictor, _ records: KeptRecords
  ) async throws -> ExitTables {
    var tables = ExitTables(exitCount: predictor.exitCount, scores: scores)
    try await predictor.predictions(for: records) { try tables.add($1, labels: $0.labels ?? []) }
    return tables
  }
}

/// What exits promise, kept on a trained network and real images, where this machine has them.
@Suite(.enabled(if: TestFiles.shared != nil), .timeLimit(.minutes(10)))
struct MSDNetExitTests {
  /// Another program's figures for both networks and all 5,000 validation rows.
  @Test(arguments: ["msdnet-small-cifar10.h5", "msdnet-small-cifar10-overfit.keras"])
  func everyExitMeasuresAsInTraining(_ checkpoint: String) async throws {
    struct Numbers: Decodable {
      var accuracy: Double
      var nll: Double
      var ece15: Double
    }
    let name = "checkpoints/\(checkpoint.prefix { $0 != "." }).measured.json"
    let measured = try JSONDecoder().decode(
      [String: Numbers].self, from: Data(contentsOf: URL(filePath: TrainedExits.file(name))))
    let records: KeptRecords =
      checkpoint.hasSuffix(".h5")
      ? try await TrainedExits.shared.value.validation
      : try await TrainedExits.records(TrainedExits.network(checkpoint), "cifar10-validation-5k.h5")
    var accuracies = [Accuracy](repeating: Accuracy(), count: 4)
    var losses = [NegativeLogLikelihood](repeating: NegativeLogLikelihood(), count: 4)
    var errors = [ExpectedCalibrationError](repeating: ExpectedCalibrationError(binCount: 15), count: 4)
    try await Predictor.map.predictions(for: records) { block, predictions in
      for (exit, prediction) in predictions.enumerated() {
        let rows = try LabelledProbabilities(prediction.probabilities(), labels: block.labels ?? [])
        accuracies[exit].update(rows)
        losses[exit].update(rows)
        errors[exit].update(rows)
      }
    }
    for exit in 0..<4 {
      let expected = try #require(measured["exit\(exit + 1)_validation"])
      #expect(accuracies[exit].rowCount == 5000)
      // One image may turn, or lie in another bin; the loss is a mean of single-precision losses.
      expectClose(try accuracies[exit].value, expected.accuracy, tolerance: 1.001 / 5000)
      expectClose(try losses[exit].value, expected.nll, tolerance: 1e-5)
      expectClose(try errors[exit].value, expected.ece15, tolerance: 1.001 / 5000)
    }
  }

  /// Learn-then-test: thresholds chosen on 2,000 rows keep the risk for the whole population in nine of ten draws.
  @Test func riskBoundHoldsAsOftenAsPromised() async throws {
    let subject = try await TrainedExits.shared.value
    let (error, delta, setCount) = (0.16, 0.1, 200)
    let score = ExitScore.maximumProbability
    var all = subject.validationTables[score]
    let test = subject.testTables[score]
    for exit in all.readiness.indices {
      all.readiness[exit] += test.readiness[exit]
      all.outcomes.isCorrect[exit] += test.outcomes.isCorrect[exit]
      all.outcomes.losses[exit] += test.outcomes.losses[exit]
      all.outcomes.confidences[exit] += test.outcomes.confidences[exit]
    }
    let population = all
    #expect(population.rowCount == 15_000)
    // Of all 15,000 rows; nobody could keep a bound below the last exit's.
    let lastRisk = Double(population.outcomes.isCorrect[3].count { !$0 }) / 15_000
    #expect(lastRisk < error)
    let target = ExitTarget.risk(error: error, delta: delta)
    let key = RandomKey(seed: 20_261_122)
    let costs = subject.costs
    let results = try await withThrowingTaskGroup(of: (risk: Double, cost: Double).self) { group in
      for set in 0..<setCount {
        group.addTask {
          let rows = key.child(set).uniforms(2000).map { Int($0 * 15_000) }
          let policy = try ExitPolicy(score: score, target: target, costs: costs, tunedOn: population.rows(rows))
          let choice = ExitChoice(policy.choice.thresholds, population, costs)
          return (1 - choice.accuracy, choice.meanCost)
        }
      }
      return try await group.reduce(into: []) { $0.append($1) }
    }
    let exceeding = results.count { $0.risk > error }
    let full = costs.toExit[3]
    let cost = results.reduce(0) { $0 + $1.cost } / Double(results.count) / full
    let mean = results.reduce(0) { $0 + $1.risk } / Double(results.count)
    print(
      "risk bound \(error), delta \(delta): exceeded in \(exceeding) of \(setCount) sets; mean risk \(mean), largest "
        + "\(results.map(\.risk).max() ?? 0), last exit's \(lastRisk); mean cost \(cost) of the full network's")
    // The bound itself allows 20 on average; more than 30 come with probability below 0.01.
    #expect(results.count == setCount && exceeding <= 30)
    // A bound that nobody leaves for would hold too, and be of no use; so would one that is far from used up.
    #expect(cost < 0.9 && results.allSatisfy { $0.cost < full })
    #expect(mean > error - 0.04)
  }

  /// Ten budgets for every score that needs no posterior: kept where they are tuned, and by chance elsewhere.
  @Test(arguments: TrainedExits.scores)
  func budgetsAreMet(_ score: ExitScore) async throws {
    let subject = try await TrainedExits.shared.value
    let (chosen, other, costs) = (subject.validationTables[score], subject.testTables[score], subject.costs)
    let (low, high) = (costs.toExit[0], costs.toExit[3])
    var (shortfall, deviation) = (0.0, 0.0)
    for step in 1...10 {
      let budget = low + (high - low) * Double(step) / 11
      let policy = try ExitPolicy(score: score, target: .meanCost(budget), costs: costs, tunedOn: chosen)
      let cost = costs.mean(of: chosen.exits(policy.choice.thresholds))
      expectClose(cost, policy.choice.meanCost, tolerance: 1e-12)
      #expect(cost <= budget && cost >= budget * 0.995, "\(score) \(step): \(cost) of \(budget)")
      shortfall = max(shortfall, 1 - cost / budget)
      let testCost = costs.mean(of: other.exits(policy.choice.thresholds))
      let errors = (testCost - cost) / policy.costStandardError(rowCount: other.rowCount)
      #expect(abs(errors) <= 3.5, "\(score) \(step): \(errors) standard errors")
      deviation = max(deviation, abs(errors))
    }
    print("budgets by \(score): at most \(shortfall * 100) % below on validation, \(deviation) standard errors off on test")
  }

  /// Rows that really leave get what all exits of all rows give them where they leave.
  @Test(arguments: [false, true])
  func routedEqualsUnrouted(hasPosterior: Bool) async throws {
    let subject = try await TrainedExits.shared.value
    let (backend, description) = (try NativeBackend(), subject.test.description)
    var plain = Predictor.map
    if hasPosterior {
      let training = try await TrainedExits.records(subject.frozen, "cifar10-train-20k.h5", rows: 0..<2000)
      let context = ExecutionContext(backend: backend, key: RandomKey(seed: 3), width: 2)
      let posterior = try await LastLayerLaplace(
        sampleCount: 20, priorPrecision: .fixed(10), temperature: .fixed(1.1)
      ).fit(training: training, validation: nil, in: context)
      plain = .laplace(try posterior.predictor(for: description, in: context))
    }
    let predictor = try ExitwisePredictor(plain, for: description)
    #expect(predictor.hasEpistemicUncertainty == hasPosterior)

    // The first 1,024 rows of the test set make the first chunk.
    let records = subject.test.chunks[0]
    #expect(records.rowCount == 1024)
    var splits = [[(rows: Range<Int>, split: UncertaintySplit)]](repeating: [], count: 4)
    let score = hasPosterior ? ExitScore.combined(epistemicWeight: 10) : .maximumProbability
    var tables = ExitTables(exitCount: 4, scores: [score])
    let first = InMemoryExitRecords(records, description: description)
    try await predictor.predictions(for: first) { block, predictions in
      try tables.add(predictions, labels: block.labels ?? [])
      for (exit, prediction) in predictions.enumerated() {
        splits[exit].append((block.firstRow..<block.firstRow + block.rowCount, prediction.uncertaintySplit()))
      }
    }
    let policy = try ExitPolicy(
      score: score, target: .meanCost(subject.costs.toExit[3] / 2), costs: subject.costs, tunedOn: tables[score])
    let expectedExits = tables[score].exits(policy.choice.thresholds)
    #expect(Set(expectedExits) == [0, 1, 2, 3])

    /// The largest difference of any number of some routed rows from the unrouted ones of the exit they took.
    func difference(_ routed: RoutedRows, firstRow: Int) throws -> Double {
      var largest = 0.0
      for (position, exit) in routed.exits.enumerated() {
        let row = firstRow + position
        let block = try #require(splits[exit].first { $0.rows.contains(row) })
        let own = row - block.rows.lowerBound
        for column in 0..<10 {
          largest = max(largest, abs(routed.probabilities[position, column] - block.split.probabilities[own, column]))
        }
        for (routed, whole) in [
          (routed.total, block.split.total), (routed.aleatoric, block.split.aleatoric),
          (routed.epistemic, block.split.epistemic),
        ] { largest = max(largest, abs(routed[position] - whole[own])) }
      }
      return largest
    }
    let inference = try AdaptiveInference(
      subject.frozen, predictor, policy, preprocessing: TrainedExits.preprocessing, on: backend, width: 2)
    let data = try openDataset(TrainedExits.file("data/cifar10-test.h5"))
    for atOnce in [1024, 128] {
      for start in stride(from: 0, to: 1024, by: atOnce) {
        let routed = try await inference(data.inputs(start..<start + atOnce), firstRow: start)
        #expect(routed.exits == Array(expectedExits[start..<start + atOnce]))
        let largest = try difference(routed, firstRow: start)
        #expect(largest == 0, "\(atOnce) rows from \(start)")
      }
    }
    var largest = 0.0
    for row in 0..<20 {
      let routed = try await inference(data.inputs(row..<row + 1), firstRow: row)
      largest = max(largest, try difference(routed, firstRow: row))
    }
    #expect(largest < 1e-6)
    print("routed, \(hasPosterior ? "with" : "without") a posterior: one row at a time differs by at most \(largest)")
  }
}
