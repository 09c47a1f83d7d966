import Bayesify

/// A network prepared in stages, and each stage once more by itself.
struct StagedBench {
  let network: StagedNetwork
  /// The stages, each with the rows that reach it.
  let stages: [(prepared: any PreparedNetwork, inputs: [RowBatch])]
  let rows: RowBatch
  /// The rows that stay after the first exit.
  let kept: [Int]
}

/// How many rows each stage of a run works on.
private struct StageFacts: Encodable {
  var rows: [Int]
}

extension Session {
  mutating func prepareStages(_ arguments: inout Arguments) async throws -> some Encodable {
    let count = try arguments.count("rows")
    let keptCount = try arguments.count("rows that stay")
    let width = try arguments.count("width")
    guard keptCount <= count else { throw CommandError("Of \(count) rows, \(keptCount) cannot stay.") }
    staged = nil  // the last bench's memory is free before the next one needs its own
    let frozen = try loaded().frozen
    let batch = try self.batch(count)
    // Spread over the batch, as rows that a threshold keeps are.
    let kept = (0..<keptCount).map { $0 * count / keptCount }
    let backend = try NativeBackend()
    var stages: [(prepared: any PreparedNetwork, inputs: [RowBatch])] = []
    var inputs = [batch]
    for (index, stage) in frozen.network.stages.enumerated() {
      if index == 1 { inputs = inputs.map { $0.rows(kept) } }
      let prepared = try backend.prepare(
        frozen, preprocessing: .identity, inputs: stage.inputs, outputs: stage.answers + stage.carried)
      stages.append((prepared, inputs))
      inputs = try await prepared(inputs, width: width)[stage.answers.count...].map { RowBatch($0) }
    }
    staged = StagedBench(
      network: try StagedNetwork(frozen, preprocessing: .identity, on: backend), stages: stages, rows: batch,
      kept: kept)
    return StageFacts(rows: stages.map { $0.inputs[0].count })
  }

  /// Times one stage by itself.
  func timeStage(_ arguments: inout Arguments) async throws -> Timings {
    let number = try arguments.count("number")
    let repeats = try arguments.count("repeats")
    let width = try arguments.count("width")
    let bench = try loadedStages()
    guard number <= bench.stages.count else { throw CommandError("There are \(bench.stages.count) stages.") }
    let (prepared, inputs) = bench.stages[number - 1]
    var timings = Timings()
    for _ in 0..<repeats { try await timings.measure { _ = try await prepared(inputs, width: width) } }
    return timings
  }

  /// Times runs to the last exit, from which rows leave at the first.
  func timeLeaving(_ arguments: inout Arguments) async throws -> Timings {
    let repeats = try arguments.count("repeats")
    let width = try arguments.count("width")
    let bench = try loadedStages()
    var timings = Timings()
    for _ in 0..<repeats {
      let start = ContinuousClock.now
      var run = bench.network.run(bench.rows, width: width)
      while let answer = try await run.next() {
        if answer.exit == 0 { run.keep(bench.kept) }
      }
      timings.add(ContinuousClock.now - start)
    }
    return timings
  }

  private func loadedStages() throws(CommandError) -> StagedBench {
    guard let staged else { throw CommandError("No stages are prepared; 'stages' first.") }
    return staged
  }
}
