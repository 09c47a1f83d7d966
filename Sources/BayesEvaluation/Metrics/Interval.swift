/// A closed range of plausible values, at 95 % confidence throughout this module.
///
/// Encoded as `[low, high]`.
public struct Interval: Sendable, Hashable, Codable {
  public var low: Double
  public var high: Double

  public init(low: Double, high: Double) {
    self.low = low
    self.high = high
  }

  /// The 97.5 % quantile of the standard normal distribution.
  public static let normalQuantile = 1.959963984540054

  /// `center ± 1.96 standard errors`.
  public static func normal(center: Double, standardError: Double) -> Interval {
    Interval(
      low: center - normalQuantile * standardError, high: center + normalQuantile * standardError)
  }

  /// Wilson's score interval of a proportion, which never leaves `0...1`.
  ///
  /// - Precondition: `total` is positive and `successes` in `0...total`.
  /// - Source: Wilson 1927, doi:10.1080/01621459.1927.10502953.
  public static func wilson(successes: Int, of total: Int) -> Interval {
    precondition(
      total > 0 && (0...total).contains(successes), "\(successes) of \(total) is not a proportion.")
    let n = Double(total)
    let p = Double(successes) / n
    let z = normalQuantile
    let denominator = 1 + z * z / n
    let center = (p + z * z / (2 * n)) / denominator
    let half = z * (p * (1 - p) / n + z * z / (4 * n * n)).squareRoot() / denominator
    // At the ends centre and half width agree exactly but for rounding.
    return Interval(
      low: successes == 0 ? 0 : center - half, high: successes == total ? 1 : center + half)
  }

  /// Whether `value` lies in the interval, ends included.
  public func contains(_ value: Double) -> Bool { low <= value && value <= high }

  public init(from decoder: any Decoder) throws {
    var container = try decoder.unkeyedContainer()
    low = try container.decode(Double.self)
    high = try container.decode(Double.self)
    guard container.isAtEnd, low <= high else {
      throw DecodingError.dataCorruptedError(
        in: container, debugDescription: "An interval is two numbers, the lower one first.")
    }
  }

  public func encode(to encoder: any Encoder) throws {
    var container = encoder.unkeyedContainer()
    try container.encode(low)
    try container.encode(high)
  }
}
