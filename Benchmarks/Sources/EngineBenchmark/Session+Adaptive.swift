import Bayesify
import Foundation

/// A network that rows leave by a policy, and the same network run in other ways.
struct AdaptiveBench {
  /// The whole network, prepared for the last exit's logits alone.
  let whole: any PreparedNetwork
  /// The stages, without predictions or scores.
  let staged: StagedNetwork
  /// The stages and the policy's score, with thresholds that nobody meets.
  let everybody: AdaptiveInference
  let adaptive: AdaptiveInference
  let exitCount: Int
  let width: Int
  var batches: [RowBatch] = []
}

/// What was tuned, and what the exits cost that it was tuned by.
private struct PolicyFacts: Encodable {
  /// Milliseconds a row to each exit, the policy's part included.
  var costs: [Double]
  /// Milliseconds a row of each stage.
  var network: [Double]
  /// Milliseconds a row of each exit's prediction and score.
  var policy: [Double]
  /// Milliseconds a row of the whole network, prepared for its last exit alone.
  var whole: Double
  var budget: Double
  /// The mean cost of the tuning rows.
  var promised: Double
  /// The shares of the tuning rows that leave at each exit.
  var shares: [Double]
  /// `null` where nobody leaves early.
  var thresholds: [Double?]
}

/// Seconds that all batches took, a number a round: on the wall, and of all processors.
private struct RoundFacts: Encodable {
  struct Times: Encodable {
    var wall: [Double] = []
    var processor: [Double] = []
  }
  var whole = Times()
  var staged = Times()
  var everybody = Times()
  var adaptive = Times()
  var rows = 0
  /// The rows that left at each exit.
  var exits: [Int] = []
}

/// Seconds of single rows.
private struct SingleFacts: Encodable {
  /// For each exit, those of rows that left there.
  var exits: [[Double]]
  /// Of the whole network, for the same rows.
  var whole: [Double]
}

private struct BatchCount: Encodable {
  var batches: Int
}

extension Session {
  mutating func readPreprocessing(_ arguments: inout Arguments) throws -> some Encodable {
    func numbers(_ meaning: String) throws(CommandError) -> [Double] {
      let word = try arguments.text(meaning)
      let values = word.split(separator: ",").compactMap { Double($0) }
      guard !values.isEmpty, values.count == word.split(separator: ",", omittingEmptySubsequences: false).count else {
        throw CommandError("The \(meaning) '\(word)' is no list of numbers.")
      }
      return values
    }
    let scale = try numbers("scale")
    preprocessing = Preprocessing(
      scale: scale[0], mean: try numbers("mean"), standardDeviation: try numbers("standard deviation"))
    return preprocessing
  }

  mutating func tunePolicy(_ arguments: inout Arguments) async throws -> some Encodable {
    let checkpoint = try arguments.text("checkpoint")
    let validation = try arguments.text("validation rows")
    let rowCount = try arguments.count("number of rows")
    let atOnce = try arguments.count("rows at once")
    let share = Double(try arguments.count("percentage")) / 100
    let isOfWhole = try arguments.text("budget's base") == "whole"
    let width = try arguments.count("width")
    adaptive = nil  // the last bench's memory is free before the next one needs its own
    let frozen = try CheckpointModel(checkpoint).frozen
    let backend = try NativeBackend()
    let dataset = try openDataset(validation, options: DatasetOptions(rows: 0..<rowCount))
    let description = try frozen.recordsDescription(file: validation, preprocessing: preprocessing)
    let predictor = try ExitwisePredictor(
      arguments.isEmpty
        ? .map : laplace(try arguments.text("posterior"), for: description, on: backend, width: width), for: description)

    let score = ExitScore.maximumProbability
    var tables = ExitTables(exitCount: predictor.exitCount, scores: [score])
    let records = try NetworkRecords(
      frozen, over: dataset, description: description, stage: "validation", on: backend, width: width)
    try await predictor.predictions(for: records) { try tables.add($1, labels: $0.labels ?? []) }
    let timing = try await StageTiming(
      of: frozen, predictor, score: score, preprocessing: preprocessing, on: backend, width: width,
      rows: try dataset.inputs(0..<atOnce))
    let costs = try timing.costs()
    let full = costs.toExit[costs.toExit.count - 1]
    let exits = frozen.network.exits
    let whole = try backend.prepare(frozen, preprocessing: preprocessing, outputs: [exits[exits.count - 1].logits])
    let batch = try dataset.inputs(0..<atOnce)
    for _ in 0..<2 { _ = try await whole(batch, width: width) }
    var timings = Timings()
    for _ in 0..<21 { try await timings.measure { _ = try await whole(batch, width: width) } }
    let wholeCost = 1e3 * timings.seconds.sorted()[10] / Double(atOnce)
    let budget = (isOfWhole ? wholeCost : full) * share
    func inference(_ budget: Double) throws -> (ExitPolicy, AdaptiveInference) {
      let policy = try ExitPolicy(score: score, target: .meanCost(budget), costs: costs, tunedOn: tables[score])
      return (
        policy,
        try AdaptiveInference(frozen, predictor, policy, preprocessing: preprocessing, on: backend, width: width)
      )
    }
    let (policy, leaving) = try inference(budget)
    adaptive = AdaptiveBench(
      whole: whole,
      staged: try StagedNetwork(frozen, preprocessing: preprocessing, on: backend),
      everybody: try inference(full).1, adaptive: leaving, exitCount: exits.count, width: width)
    return PolicyFacts(
      costs: costs.toExit, network: timing.network, policy: timing.policy, whole: wholeCost, budget: budget,
      promised: policy.choice.meanCost, shares: policy.choice.shares,
      thresholds: policy.choice.thresholds.map { $0?.score })
  }

  /// The predictor of a posterior that `bayesify fit laplace` wrote.
  private func laplace(
    _ file: String, for description: RecordsDescription, on backend: NativeBackend, width: Int
  ) throws -> Predictor {
    guard case .posterior(.lastLayer(let posterior), _, _) = try ModelInput(file) else {
      throw CommandError("\(file) is no posterior of last layers.")
    }
    let context = ExecutionContext(backend: backend, key: RandomKey(seed: 1), width: width)
    return .laplace(try posterior.predictor(for: description, in: context))
  }

  mutating func readBatches(_ arguments: inout Arguments) throws -> some Encodable {
    let dataset = try openDataset(try arguments.text("file"))
    let count = try arguments.count("number of batches")
    let atOnce = try arguments.count("rows of a batch")
    guard adaptive != nil else { throw CommandError("There is no policy; 'policy' first.") }
    guard count * atOnce <= dataset.rowCount else {
      throw CommandError("There are \(dataset.rowCount) rows in \(dataset.file); \(count * atOnce) are asked for.")
    }
    adaptive?.batches = try (0..<count).map { try dataset.inputs($0 * atOnce..<($0 + 1) * atOnce) }
    return BatchCount(batches: count)
  }

  /// Times all ways of running each batch, one after the other.
  func timeRounds(_ arguments: inout Arguments) async throws -> some Encodable {
    let count = try arguments.count("rounds")
    let bench = try loadedAdaptive()
    var facts = RoundFacts()
    facts.rows = bench.batches.reduce(0) { $0 + $1.count }
    facts.exits = Array(repeating: 0, count: bench.exitCount)
    for round in -1..<count {
      var (seconds, processor) = ([0.0, 0, 0, 0], [0.0, 0, 0, 0])
      for (index, batch) in bench.batches.enumerated() {
        for turn in 0..<4 {
          // Nobody always goes first, nor behind the same one.
          let first = index + max(0, round)
          let way = (first / 4 % 2 == 0 ? first + turn : first + 4 - turn) % 4
          let (start, ticks) = (ContinuousClock.now, clock())
          switch way {
          case 0: _ = try await bench.whole(batch, width: bench.width)
          case 1:
            var run = bench.staged.run(batch, width: bench.width)
            while try await run.next() != nil {}
          case 2: _ = try await bench.everybody(batch)
          default:
            let routed = try await bench.adaptive(batch)
            if round < 0 { for exit in routed.exits { facts.exits[exit] += 1 } }
          }
          seconds[way] += (ContinuousClock.now - start) / .seconds(1)
          processor[way] += Double(clock() - ticks) / Double(CLOCKS_PER_SEC)
        }
      }
      guard round >= 0 else { continue }  // the first is for warming up
      for (way, times) in [\RoundFacts.whole, \.staged, \.everybody, \.adaptive].enumerated() {
        facts[keyPath: times].wall.append(seconds[way])
        facts[keyPath: times].processor.append(processor[way])
      }
    }
    return facts
  }

  /// Times rows one at a time: so many of those that leave at each exit, an exit after the other, and the whole network.
  func timeSingleRows(_ arguments: inout Arguments) async throws -> some Encodable {
    let count = try arguments.count("rows an exit")
    let bench = try loadedAdaptive()
    var rows = [[RowBatch]](repeating: [], count: bench.exitCount)
    for batch in bench.batches {
      for row in 0..<batch.count where rows.contains(where: { $0.count < count }) {
        let single = batch.rows([row])
        let exit = try await bench.adaptive(single).exits[0]
        if rows[exit].count < count { rows[exit].append(single) }
      }
    }
    var facts = SingleFacts(exits: rows.map { _ in [] }, whole: [])
    for turn in 0..<count {
      for exit in rows.indices where turn < rows[exit].count {
        let row = rows[exit][turn]
        let start = ContinuousClock.now
        _ = try await bench.adaptive(row)
        let routed = ContinuousClock.now
        _ = try await bench.whole(row, width: bench.width)
        facts.exits[exit].append((routed - start) / .seconds(1))
        facts.whole.append((ContinuousClock.now - routed) / .seconds(1))
      }
    }
    return facts
  }

  private func loadedAdaptive() throws(CommandError) -> AdaptiveBench {
    guard let adaptive, !adaptive.batches.isEmpty else {
      throw CommandError("There is no policy, or no batches; 'policy' and 'batches' first.")
    }
    return adaptive
  }
}
