/// The share of rows whose label is among the `k` most probable classes.
///
/// Of equal probabilities the classes of lower index come first, as for accuracy.
///
/// - Range: `0...1`.
public struct TopKAccuracy: Metric, Equatable {
  public let k: Int
  private var hitCount = 0
  private var rowCount = 0

  /// - Precondition: `k` is positive.
  public init(_ k: Int) {
    precondition(k > 0, "There is at least one class to look at; got \(k).")
    self.k = k
  }

  public mutating func update(_ batch: LabelledProbabilities) {
    for rank in batch.labelRanks where rank < k { hitCount += 1 }
    rowCount += batch.rowCount
  }

  public mutating func merge(_ other: TopKAccuracy) {
    precondition(k == other.k, "Cannot merge the first \(other.k) into the first \(k).")
    hitCount += other.hitCount
    rowCount += other.rowCount
  }

  public var value: Double {
    get throws(EvaluationError) {
      guard rowCount > 0 else { throw .noRows("accuracy") }
      return Double(hitCount) / Double(rowCount)
    }
  }

  /// Wilson's 95 % interval.
  public var interval: Interval {
    get throws(EvaluationError) {
      guard rowCount > 0 else { throw .noRows("accuracy") }
      return .wilson(successes: hitCount, of: rowCount)
    }
  }
}
