import RealModule

extension Double {
  /// The number in at most `count` significant digits, for messages and tables.
  public func significantDigits(_ count: Int = 4) -> String {
    guard isFinite, self != 0 else { return description }
    let exponent = count - 1 - Int(Double.log10(magnitude).rounded(.down))
    // Powers of ten are exact where they are whole numbers, so divide by one rather than multiply by its inverse.
    let rounded =
      exponent >= 0
      ? (self * Double.pow(10, exponent)).rounded() / Double.pow(10, exponent)
      : (self / Double.pow(10, -exponent)).rounded() * Double.pow(10, -exponent)
    let text = rounded.description
    return text.hasSuffix(".0") ? String(text.dropLast(2)) : text
  }
}
