import BayesEvaluation
import BayesTensor

/// Refuses numbers of a decoded report that cannot be what they are said to be.
struct ReportRanges {
  /// How far rounding may carry a number out of its range.
  private static let tolerance = 1e-9

  let file: String

  func requireProportion(_ value: Double, _ object: String) throws(FileError) {
    try require((0...1).contains(value), object, "A proportion is a number from 0 to 1; got \(value).")
  }

  func requireNumber(_ value: Double, in range: ClosedRange<Int>, _ object: String) throws(FileError) {
    let allowed = Double(range.lowerBound) - Self.tolerance...Double(range.upperBound) + Self.tolerance
    try require(
      allowed.contains(value), object,
      "This is a number from \(range.lowerBound) to \(range.upperBound); got \(value).")
  }

  /// Infinity is such a number too; one that is not a number is none.
  func requireNotNegative(_ value: Double, _ object: String) throws(FileError) {
    try require(value >= -Self.tolerance, object, "This is a number from 0 upward; got \(value).")
  }

  /// An interval, where there is one, whose ends are in order and in the range.
  func requireInterval(
    _ interval: Interval?, within range: ClosedRange<Int>? = nil, _ object: String
  ) throws(FileError) {
    guard let interval else { return }
    try require(
      interval.low <= interval.high, object,
      "An interval's lower end is not above its upper one; got \(interval.low) and \(interval.high).")
    guard let range else { return }
    for end in [interval.low, interval.high] { try requireNumber(end, in: range, object) }
  }

  func requireCount(_ value: Int, _ object: String) throws(FileError) {
    // Sums of counts are taken later; 2^53 is also where other languages' numbers end.
    try require(
      (0...(1 << 53)).contains(value), object, "A count is a whole number up to 2^53; got \(value).")
  }

  func requireCounts(_ values: [Int], _ object: String) throws(FileError) {
    for value in values { try requireCount(value, object) }
  }

  func require(_ condition: Bool, _ object: String, _ message: @autoclosure () -> String) throws(FileError) {
    guard condition else { throw FileError(.value, file: file, object: object, message()) }
  }
}
