/// The mean of one number a row and its standard error, from three running sums.
public struct RowMean: Sendable, Equatable {
  /// The number of rows.
  public private(set) var count = 0
  private var sum = 0.0
  private var sumOfSquares = 0.0

  public init() {}

  /// Adds one row.
  public mutating func add(_ value: Double) {
    count += 1
    sum += value
    sumOfSquares += value * value
  }

  /// Adds everything that `other` has seen.
  public mutating func merge(_ other: RowMean) {
    count += other.count
    sum += other.sum
    sumOfSquares += other.sumOfSquares
  }

  /// The mean; not a number before the first row.
  public var mean: Double { sum / Double(count) }

  /// The normal interval of the mean; `nil` below two rows and where a value was not finite.
  public var interval: Interval? {
    guard count > 1, sumOfSquares.isFinite else { return nil }
    let n = Double(count)
    let variance = max(0, sumOfSquares - sum * sum / n) / (n - 1)
    return .normal(center: mean, standardError: (variance / n).squareRoot())
  }
}
