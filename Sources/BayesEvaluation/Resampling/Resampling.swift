public import BayesTensor

/// How often rows are drawn anew for an interval, and by which randomness.
///
/// Sets of rows are drawn with Poisson numbers: each row as often as a number of mean one says, so that the size of a
/// set varies too, on which no quantity here depends.  Rows that count alike are drawn together, their number being a
/// Poisson number of larger mean, so that the cost does not grow with the rows.  The interval reaches from the 2.5 %
/// to the 97.5 % quantile of the quantity on the sets drawn, moved by as much as their mean lies above the quantity
/// itself: on fewer different rows an absolute value, as that of a calibration gap, is larger by luck.
///
/// - Determinism: same key, same sets.
/// - Source: Efron 1979, doi:10.1214/aos/1176344552; Hanley and MacGibbon 2006, doi:10.1016/j.cmpb.2006.04.006 (Poisson
///   numbers).
public struct Resampling: Sendable, Hashable {
  /// The number of sets drawn.
  public var count: Int
  public var key: RandomKey

  /// The blocks of rows where quantities of blocks are looked at: row `i` is in block `i mod 200`.
  static let blockCount = 200

  /// - Precondition: at least two sets are drawn.
  public init(count: Int = 1000, key: RandomKey = RandomKey(seed: 0)) {
    precondition(count > 1, "At least two sets of rows are drawn; got \(count).")
    self.count = count
    self.key = key
  }

  /// The interval of a quantity from its values on the sets drawn; `nil` where hardly any set had one.
  ///
  /// - Parameters:
  ///   - values: those of sets without rows are not numbers, and do not count.
  ///   - value: the quantity on all rows.
  ///   - range: what the quantity may be.
  func interval(of values: [Double], at value: Double, within range: ClosedRange<Double>) -> Interval? {
    let sorted = values.filter { !$0.isNaN }.sorted()
    guard sorted.count > count / 2, value.isFinite else { return nil }
    if sorted[0] == sorted[sorted.count - 1] { return Interval(low: value, high: value) }
    let excess = sorted.reduce(0, +) / Double(sorted.count) - value
    func quantile(_ share: Double) -> Double {
      let position = share * Double(sorted.count - 1)
      let index = min(Int(position), sorted.count - 2)
      return sorted[index] + (position - Double(index)) * (sorted[index + 1] - sorted[index]) - excess
    }
    // Where all sets agree, rounding must not leave the value outside.
    let (low, high) = (min(quantile(0.025), value), max(quantile(0.975), value))
    return Interval(
      low: min(max(low, range.lowerBound), value), high: max(min(high, range.upperBound), value))
  }
}

/// Numbers of Poisson distributions with whole means, by looking uniform numbers up.
struct PoissonTables: Sendable {
  /// The distribution function from a first number on.
  private struct Table: Sendable {
    let first: Int
    let cumulative: [Double]
  }

  private var tables: [Table] = []
  private var indices: [Int: Int] = [:]

  /// The index of the table of a mean, made where there is none yet.
  ///
  /// - Precondition: the mean is positive.
  mutating func index(ofMean mean: Int) -> Int {
    if let index = indices[mean] { return index }
    let reach = 8 * Double(mean).squareRoot() + 12
    let (first, last) = (max(0, mean - Int(reach)), mean + Int(reach))
    // From the most probable number to both sides, so that nothing overflows.
    var weights = [Double](repeating: 0, count: last - first + 1)
    weights[mean - first] = 1
    for number in stride(from: mean, to: first, by: -1) {
      weights[number - 1 - first] = weights[number - first] * Double(number) / Double(mean)
    }
    for number in mean + 1...last {
      weights[number - first] = weights[number - 1 - first] * Double(mean) / Double(number)
    }
    let total = weights.reduce(0, +)
    var sum = 0.0
    let cumulative = weights.map { weight in
      sum += weight / total
      return sum
    }
    tables.append(Table(first: first, cumulative: cumulative))
    indices[mean] = tables.count - 1
    return tables.count - 1
  }

  /// The number that a uniform one stands for.
  func number(_ index: Int, _ uniform: Double) -> Int {
    let table = tables[index]
    var (low, high) = (0, table.cumulative.count - 1)
    while low < high {
      let middle = (low + high) / 2
      if table.cumulative[middle] > uniform { high = middle } else { low = middle + 1 }
    }
    return table.first + low
  }
}

extension RandomKey {
  /// Uniform numbers in steps of 2⁻²⁶, two from each that is drawn.
  func coarseUniforms(_ count: Int) -> [Double] {
    var numbers: [Double] = []
    numbers.reserveCapacity(count + 1)
    for uniform in uniforms((count + 1) / 2) {
      let scaled = uniform * 0x1p26
      let whole = scaled.rounded(.down)
      numbers.append((whole + 0.5) * 0x1p-26)
      numbers.append(scaled - whole)
    }
    return numbers
  }
}
