/// The share of rows whose most probable class is their label.
///
/// Among equally probable classes the first counts.
///
/// - Range: `0...1`.
public struct Accuracy: Metric, Equatable {
  public private(set) var rowCount = 0
  public private(set) var correctCount = 0

  public init() {}

  public mutating func update(_ batch: LabelledProbabilities) {
    rowCount += batch.rowCount
    for row in 0..<batch.rowCount where batch.isCorrect(row) { correctCount += 1 }
  }

  public mutating func merge(_ other: Accuracy) {
    rowCount += other.rowCount
    correctCount += other.correctCount
  }

  public var value: Double {
    get throws(EvaluationError) {
      guard rowCount > 0 else { throw .noRows("accuracy") }
      return Double(correctCount) / Double(rowCount)
    }
  }

  /// Wilson's 95 % interval.
  public var interval: Interval {
    get throws(EvaluationError) {
      guard rowCount > 0 else { throw .noRows("accuracy") }
      return .wilson(successes: correctCount, of: rowCount)
    }
  }
}
