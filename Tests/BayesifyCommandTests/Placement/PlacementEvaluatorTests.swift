import Bayesify
import Synchronization
import Testing
import _BayesTestSupport

/// Scores of placements on a small network.
struct PlacementEvaluatorTests {
  private let rows: PlacementRows
  private let frozen: FrozenNetwork
  private let description: RecordsDescription
  private let space = PlacementSpace(
    sites: ["node1", "node3"].map { PlacementSpace.Site(name: $0, layers: [$0]) }, kinds: ["dropout:0.3", "dropout:0.6"],
    drawCounts: [3])
  private let key = RandomKey(seed: 11)

  init() throws {
    var builder = NetworkBuilder(input: [4])
    builder.add(Dense(units: 8))
    builder.add(Activation(.tanh))
    builder.add(Dense(units: 3))
    frozen = try builder.frozen(seed: 5)
    description = try frozen.recordsDescription(file: "tiny")
    func batch(_ seed: UInt64, _ scale: Float) -> RowBatch {
      let numbers = RandomKey(seed: seed).normals([300, 4], as: Float.self)
      return RowBatch(numbers.map { scale * $0 })
    }
    let validation = batch(1, 1)
    rows = PlacementRows(
      validation: validation, labels: (0..<300).map { $0 * 7 % 3 },
      foreign: [.init(name: "near", rows: batch(2, 2)), .init(name: "far", rows: batch(3, 9))])
  }

  private func evaluator() throws -> PlacementEvaluator {
    let context = ExecutionContext(key: RandomKey(seed: 1))
    let inference = PlacementInference()
    let distributions = try space.sites.map { site in
      try [0.3, 0.6].map { rate in PlacementInference.dropout(of: try inference.layers(site.layers, of: frozen), rate: rate) }
    }
    let model = LatencyModel(
      batchRowCount: 1, threadCount: 1, whole: 1,
      parts: [LatencyModel.Part(before: 0, behind: 1), LatencyModel.Part(before: 0.5, behind: 0.5)], space: space,
      network: frozen.network, exit: 0)
    return try PlacementEvaluator(
      frozen, description, exit: 0, space: space, distributions: distributions, rows: rows, model: model, key: key,
      on: ReferenceBackend(), in: context)
  }

  private let placements = [[1, 0], [0, 2], [2, 1]].map { Placement(genes: $0, drawCount: 3) }

  /// The same draws through a posterior's own predictions give the same numbers.
  @Test func scoresAreThoseOfPredictions() async throws {
    let evaluator = try evaluator()
    for placement in placements {
      let score = try await evaluator.score(placement)
      let layers = try zip(space.sites, placement.genes).flatMap { site, gene in
        gene == 0
          ? [] : PlacementInference.dropout(of: try PlacementInference().layers(site.layers, of: frozen), rate: gene == 1 ? 0.3 : 0.6)
      }
      let posterior = try SampledNetworkPosterior(
        placement: PlacementPosterior(layers: layers, statistics: [], rowCount: 1), of: frozen, draws: 3, key: key,
        source: description, on: ReferenceBackend())
      let predictor = try posterior.predictor(
        for: description, of: [frozen], on: ReferenceBackend(), in: ExecutionContext(key: key))
      func entropies(_ batch: RowBatch, _ temperature: Double, _ fit: inout SampledTemperature, labels: [Int]?) async throws
        -> [Double]
      {
        var found: [Double] = []
        try await predictor.predictions(
          for: ExitRecords(firstRow: 0, rowCount: batch.count, exits: [], labels: nil), of: batch
        ) { _, predictions in
          if let labels { try fit.update(predictions[0], labels: labels) }
          let cooled = Prediction(
            logits: predictions[0].logits.map { Float(Double($0) / temperature) }, likelihood: .categorical, exit: 0)
          found += cooled.uncertaintySplit().total.elements
        }
        return found
      }
      var fit = SampledTemperature()
      let known = try await entropies(rows.validation, score.temperature, &fit, labels: rows.labels)
      let temperature = try fit.temperature()
      #expect(abs(temperature.nllAfter - score.nll) < 1e-5 && temperature.value == score.temperature)
      #expect(abs(temperature.nllBefore - score.untemperedNLL) < 1e-5)
      var none = SampledTemperature()
      for set in rows.foreign {
        let foreign = try await entropies(set.rows, score.temperature, &none, labels: nil)
        var above = 0.0
        for a in foreign { for b in known { above += a > b ? 1 : a == b ? 0.5 : 0 } }
        let auroc = above / Double(foreign.count * known.count)
        #expect(abs(auroc - (score.aurocs[set.name] ?? 0)) < 1e-3)
      }
      #expect(abs(score.auroc - score.aurocs.values.reduce(0, +) / 2) < 1e-12)
    }
  }

  /// A score does not depend on what was scored before, and a refit that is the same is worth the same.
  @Test func scoresDoNotDependOnOrder() async throws {
    let sets = ["near", "far"]
    let forwards = try await evaluator().scores(placements, sets)
    let backwards = try await evaluator().scores(placements.reversed(), sets)
    #expect(forwards == backwards.reversed())
    #expect(Set(forwards.map(\.nll)).count == 3)
  }

  /// Several processes score each some of the placements, and all of them get all scores.
  @Test func processesShareTheScores() async throws {
    let sets = ["near", "far"]
    let alone = try await evaluator().scores(placements, sets)
    var sums = Tensor<Double>(zeros: [3, 9])
    for rank in 0..<2 {
      let communicator = RecordingCommunicator(rank: rank, size: 2)
      _ = try await evaluator().scores(placements, sharedBy: communicator, sets)
      let own = try #require(communicator.given.withLock { $0 })
      for row in 0..<3 where row % 2 != rank { #expect(own.rows(row..<row + 1).elements.allSatisfy { $0 == 0 }) }
      for position in 0..<sums.count { sums[position] += own[position] }
    }
    for (row, score) in alone.enumerated() {
      #expect(Array(sums.rows(row..<row + 1).elements.prefix(4)) == [score.nll, score.untemperedNLL, score.accuracy, score.ece])
    }
  }
}

/// Keeps what it is given, and adds nothing.
private final class RecordingCommunicator: Communicator {
  let rank: Int
  let size: Int
  let given = Mutex<Tensor<Double>?>(nil)

  init(rank: Int, size: Int) { (self.rank, self.size) = (rank, size) }

  func allReduce(_ values: inout Tensor<Double>) { given.withLock { [values] in $0 = values } }
  func gather(_ value: Tensor<Double>) -> [Tensor<Double>] { [value] }
  func broadcast(_ values: inout Tensor<Double>, from root: Int) {}
}
