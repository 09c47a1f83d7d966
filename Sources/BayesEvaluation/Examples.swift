import BayesTensor

/// A row worth a look, and what the model says of it.
public struct ExampleRow: Sendable, Hashable, Codable {
  /// Counted from zero over the rows measured.
  public var row: Int
  public var label: Int
  /// The most probable class.
  public var predicted: Int
  /// Its probability.
  public var confidence: Double
  /// Of the averaged probabilities, nats.
  public var entropy: Double
  /// A PNG as a `data:` URI, where the row is an image.
  public var image: String?
}

/// The rows a reader should look at first: plain data for reports.
public struct Examples: Sendable, Hashable, Codable {
  /// The largest entropies first.
  public var mostUncertain: [ExampleRow]
  /// Wrong answers, the most confident first.
  public var mostConfidentlyWrong: [ExampleRow]

  public init(mostUncertain: [ExampleRow], mostConfidentlyWrong: [ExampleRow]) {
    self.mostUncertain = mostUncertain
    self.mostConfidentlyWrong = mostConfidentlyWrong
  }
}

/// Keeps the most uncertain and the most confidently wrong rows, a few of each; of rows that tie, the first.
public struct ExampleTally: Sendable {
  /// How many of each are kept.
  public let count: Int
  private var rowCount = 0
  private var uncertain: [ExampleRow] = []
  private var wrong: [ExampleRow] = []

  /// - Precondition: the count is positive.
  public init(count: Int = 8) {
    precondition(count > 0, "At least one row is kept; got \(count).")
    self.count = count
  }

  mutating func update(_ batch: LabelledProbabilities, entropies: Tensor<Double>) {
    for row in 0..<batch.rowCount {
      let example = ExampleRow(
        row: rowCount + row, label: batch.labels[row], predicted: batch.probabilities.predictedClasses[row],
        confidence: batch.probabilities.confidences[row], entropy: entropies[row])
      insert(example, into: \.uncertain) { $0.entropy }
      if !batch.isCorrect(row) { insert(example, into: \.wrong) { $0.confidence } }
    }
    rowCount += batch.rowCount
  }

  private mutating func insert(
    _ example: ExampleRow, into list: WritableKeyPath<ExampleTally, [ExampleRow]>, by key: (ExampleRow) -> Double
  ) {
    if self[keyPath: list].count == count, let last = self[keyPath: list].last, key(last) >= key(example) { return }
    let place = self[keyPath: list].firstIndex { key($0) < key(example) } ?? self[keyPath: list].count
    self[keyPath: list].insert(example, at: place)
    if self[keyPath: list].count > count { self[keyPath: list].removeLast() }
  }

  /// Adds the rows of a later shard.
  mutating func merge(_ other: ExampleTally) {
    func shifted(_ rows: [ExampleRow]) -> [ExampleRow] {
      rows.map { row in
        var row = row
        row.row += rowCount
        return row
      }
    }
    for example in shifted(other.uncertain) { insert(example, into: \.uncertain) { $0.entropy } }
    for example in shifted(other.wrong) { insert(example, into: \.wrong) { $0.confidence } }
    rowCount += other.rowCount
  }

  /// The rows so far.
  public var value: Examples { Examples(mostUncertain: uncertain, mostConfidentlyWrong: wrong) }
}
