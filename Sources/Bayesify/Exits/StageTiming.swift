public import BayesEvaluation
public import BayesNetwork
public import BayesTensor

/// How long each stage of a network takes here and now, and what is done with its answers.
public struct StageTiming: Sendable, Hashable {
  /// Milliseconds a row of the network's stages, medians.
  public let network: [Double]
  /// Milliseconds a row for predictions, scores and the moving of rows, medians.
  public let policy: [Double]
  /// The rows that were run at once.
  public let batchRowCount: Int

  /// Times runs in which every row goes through all stages.
  ///
  /// - Parameters:
  ///   - rows: run at once.
  ///   - score: what is computed of every prediction.
  ///   - repetitions: runs that are timed, after two that are not.
  /// - Throws: as `AdaptiveInference`.
  /// - Determinism: none; times differ from run to run.
  public init(
    of frozen: FrozenNetwork, _ predictor: ExitwisePredictor, score: ExitScore, preprocessing: Preprocessing,
    on backend: any NetworkBackend, width: Int, rows: RowBatch, repetitions: Int = 21
  ) async throws {
    precondition(rows.count > 0 && repetitions > 0, "A time needs a row and a run.")
    let staged = try StagedNetwork(frozen, preprocessing: preprocessing, on: backend)
    let clock = ContinuousClock()
    let exitCount = predictor.exitCount
    let none = Array(repeating: [Double](), count: exitCount)
    var times = (network: none, policy: none)
    for repetition in 0..<repetitions + 2 {
      try Task.checkCancellation()
      var run = staged.run(rows, width: width)
      var predictions = predictor.run(fillsBlocks: rows.count >= AdaptiveInference.filledRowCount)
      var states = ExitRowStates(rowCount: rows.count)
      for exit in 0..<exitCount {
        let start = clock.now
        guard let answer = try await run.next() else { break }
        let answered = clock.now
        let prediction = try await predictions.next(
          ExitRecords.Exit(features: answer.features, logits: answer.logits), rows: run.rows)
        _ = try score.readiness(of: prediction, prediction.uncertaintySplit(), &states)
        let scored = clock.now
        guard repetition >= 2 else { continue }
        times.network[exit].append((answered - start) / .milliseconds(1))
        times.policy[exit].append((scored - answered) / .milliseconds(1))
      }
    }
    func medians(_ times: [[Double]]) -> [Double] {
      times.map { $0.sorted()[$0.count / 2] / Double(rows.count) }
    }
    (network, policy) = (medians(times.network), medians(times.policy))
    batchRowCount = rows.count
  }

  /// What a row costs that leaves at each exit.
  ///
  /// - Throws: as `ExitCosts`, where a stage took no time that the clock sees.
  public func costs() throws(EvaluationError) -> ExitCosts {
    var (sum, overhead, toExit, overheadToExit) = (0.0, 0.0, [Double](), [Double]())
    for (network, policy) in zip(network, policy) {
      sum += network + policy
      overhead += policy
      toExit.append(sum)
      overheadToExit.append(overhead)
    }
    return try ExitCosts(toExit, overheadToExit: overheadToExit, unit: .milliseconds)
  }
}
