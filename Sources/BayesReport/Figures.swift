import BayesEvaluation
import Foundation

/// How numbers are spelt for readers.
enum Figures {
  /// Between a number and its unit, so that no line breaks there.
  static let space = "\u{A0}"

  /// `91.5 %` of `0.915`.
  static func percent(_ value: Double, decimals: Int = 1) -> String {
    number(value * 100, decimals: decimals) + space + "%"
  }

  /// Two percentages with as few decimals, from one to three, as tell them apart.
  static func percents(_ first: Double, _ second: Double) -> (String, String) {
    shortest(first, second, decimals: 1...3) { percent($0, decimals: $1) }
  }

  /// Two numbers with as few decimals, from three to five, as tell them apart.
  static func numbers(_ first: Double, _ second: Double) -> (String, String) {
    shortest(first, second, decimals: 3...5) { number($0, decimals: $1) }
  }

  private static func shortest(
    _ first: Double, _ second: Double, decimals: ClosedRange<Int>, _ text: (Double, Int) -> String
  ) -> (String, String) {
    let count = decimals.first { text(first, $0) != text(second, $0) } ?? decimals.lowerBound
    return (text(first, count), text(second, count))
  }

  /// A number with a fixed count of decimals and a proper minus sign.
  static func number(_ value: Double, decimals: Int) -> String {
    if value.isNaN { return "undefined" }
    if value.isInfinite { return value < 0 ? "−∞" : "∞" }
    let text = String(format: "%.\(decimals)f", abs(value))
    let isZero = text.allSatisfy { $0 == "0" || $0 == "." }
    return (value < 0 && !isZero ? "−" : "") + text
  }

  /// A number of any size to four digits, as `3.142e-05`.
  static func scientific(_ value: Double) -> String {
    (value < 0 ? "−" : "") + String(format: "%.3e", abs(value))
  }

  /// `0.3120 to 0.3290`, or a dash where there is no interval.
  static func range(_ interval: Interval?) -> String {
    interval.map { "\(number($0.low, decimals: 4)) to \(number($0.high, decimals: 4))" } ?? "–"
  }

  /// An interval of a share, in percent without the sign.
  static func percentRange(_ interval: Interval?) -> String {
    interval.map { "\(number($0.low * 100, decimals: 2)) to \(number($0.high * 100, decimals: 2))" } ?? "–"
  }

  /// A table's cell with a share and its 95 % interval, in percent; a dash without a share.
  static func cell(share: Double?, _ interval: Interval?) -> Markup {
    let small: Markup = interval.map { " <small>\(percentRange($0))</small>" } ?? ""
    return "<td>\(share.map { percent($0, decimals: 2) } ?? "–")\(small)</td>"
  }

  /// A table's cell with a number and its 95 % interval, where there is one; a dash without a number.
  static func cell(_ text: String?, _ interval: Interval?) -> Markup {
    let small: Markup = interval.map { " <small>\(range($0))</small>" } ?? ""
    return "<td>\(text ?? "–")\(small)</td>"
  }

  /// A difference, always with its sign.
  static func signed(_ text: String) -> String { text.hasPrefix("−") ? text : "+" + text }

  /// `1 test row`, `1,000 test rows`.
  static func count(_ value: Int, of noun: String) -> String {
    "\(count(value)) \(noun)\(value == 1 ? "" : "s")"
  }

  /// A count with its digits grouped.
  static func count(_ value: Int) -> String {
    var groups: [Substring] = []
    var digits = Substring(String(value.magnitude))
    while digits.count > 3 {
      groups.insert(digits.suffix(3), at: 0)
      digits = digits.dropLast(3)
    }
    groups.insert(digits, at: 0)
    return (value < 0 ? "−" : "") + groups.joined(separator: ",")
  }

  /// A count with its unit of size, as `41.2 M`.
  static func cost(_ value: Int) -> String {
    for (size, unit) in [(1e9, "G"), (1e6, "M"), (1e3, "k")] where Double(value) >= size {
      return number(Double(value) / size, decimals: 1) + space + unit
    }
    return count(value)
  }

  /// `name` with its first letter raised, for the start of a sentence.
  static func capitalized(_ name: String) -> String { name.prefix(1).uppercased() + name.dropFirst() }
}
