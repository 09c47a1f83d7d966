import Bayesify

/// What is known of the rows of a block beside their predictions.
struct BlockRows: Sendable {
  let labels: [Int]?
  let firstRow: Int
  private let sourceRows: [Int]?

  init(_ records: ExitRecords) {
    labels = records.labels
    firstRow = records.firstRow
    sourceRows = records.sourceRows
  }

  /// The row of the network that each is one of so many answers of.
  func images(positionCount: Int) -> [Int] {
    (labels ?? []).indices.map { (sourceRows?[$0] ?? firstRow + $0) / positionCount }
  }
}

/// Predictions for blocks of rows that wait until there are enough of them to be evaluated side by side.
///
/// Each block is evaluated by itself and merged in its turn, so that results do not depend on the number of threads.
struct WaitingBlocks {
  typealias Update = @Sendable (inout ExitEvaluation, Prediction, BlockRows) throws -> Void

  private struct Block: Sendable {
    let contestant: Int
    let prediction: Prediction
    let rows: BlockRows
    /// Without rows until the block is evaluated.
    var shard: ExitEvaluation?

    func evaluated(by update: Update) throws -> ExitEvaluation {
      guard var shard else { preconditionFailure("A block is taken before it is evaluated.") }
      try update(&shard, prediction, rows)
      return shard
    }
  }

  private let width: Int
  private let update: Update
  private var blocks: [Block] = []

  init(width: Int, _ update: @escaping Update) {
    self.width = width
    self.update = update
  }

  /// Whether every thread would have a few, which evens out what they wait for one another.
  var areEnough: Bool { blocks.count >= 8 * width }

  mutating func append(_ contestant: Int, _ prediction: Prediction, _ records: ExitRecords) {
    blocks.append(Block(contestant: contestant, prediction: prediction, rows: BlockRows(records)))
  }

  /// Evaluates the blocks that wait side by side, and merges them in the order in which they came.
  ///
  /// - Parameter naming: says at which exit the rows of an error are.
  /// - Throws: what is thrown for the earliest block that fails.
  mutating func evaluate(
    into contestants: inout [Contestant], naming: (_ exit: Int, () throws -> Void) throws -> Void
  ) async throws {
    let blocks = takeBlocks(contestants)
    let (width, update) = (min(width, blocks.count), update)
    let portions = (0..<width).map { first in stride(from: first, to: blocks.count, by: width).map { blocks[$0] } }
    // Failures are kept as values so that the earliest is thrown at any width.
    var shards = [[Result<ExitEvaluation, any Error>]](repeating: [], count: width)
    await withTaskGroup(of: (Int, [Result<ExitEvaluation, any Error>]).self) { group in
      for (index, portion) in portions.enumerated() {
        group.addTask { (index, portion.map { block in Result { try block.evaluated(by: update) } }) }
      }
      for await (index, results) in group { shards[index] = results }
    }
    for (index, block) in blocks.enumerated() {
      try naming(block.prediction.exit) {
        contestants[block.contestant].evaluation.exits[block.prediction.exit]
          .merge(try shards[index % width][index / width].get())
      }
    }
  }

  /// Evaluates the blocks that wait one after the other.
  ///
  /// - Throws: as `evaluate(into:naming:)`.
  mutating func evaluateInTurn(into contestants: inout [Contestant]) throws {
    for block in takeBlocks(contestants) {
      contestants[block.contestant].evaluation.exits[block.prediction.exit].merge(try block.evaluated(by: update))
    }
  }

  /// The blocks that wait, each with an evaluation to feed; none wait after.
  private mutating func takeBlocks(_ contestants: [Contestant]) -> [Block] {
    let taken = blocks.map { block in
      var block = block
      block.shard = contestants[block.contestant].evaluation.exits[block.prediction.exit]
        .shard(firstRow: block.rows.firstRow)
      return block
    }
    blocks.removeAll(keepingCapacity: true)
    return taken
  }
}
