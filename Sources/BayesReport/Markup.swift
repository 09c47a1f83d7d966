/// A piece of HTML or SVG.
///
/// Interpolated strings are escaped, interpolated markup is not, so that text of users cannot become
/// markup by oversight.
struct Markup: Sendable, ExpressibleByStringInterpolation {
  private(set) var source: String

  init(stringLiteral source: String) { self.source = source }
  init(stringInterpolation interpolation: Interpolation) { source = interpolation.source }

  /// Pieces one after the other, a line each.
  init(_ pieces: [Markup]) { source = pieces.map(\.source).joined(separator: "\n") }

  struct Interpolation: StringInterpolationProtocol {
    fileprivate var source = ""

    init(literalCapacity: Int, interpolationCount: Int) { source.reserveCapacity(literalCapacity * 2) }

    mutating func appendLiteral(_ literal: String) { source += literal }
    mutating func appendInterpolation(_ markup: Markup) { source += markup.source }
    mutating func appendInterpolation(_ pieces: [Markup]) { source += Markup(pieces).source }
    mutating func appendInterpolation(_ text: String) { source += Markup.escaped(text) }
    mutating func appendInterpolation(_ number: Int) { source += String(number) }

    /// A coordinate, to a hundredth.
    mutating func appendInterpolation(_ coordinate: Double) {
      let hundredths = Int((coordinate * 100).rounded())
      let (whole, part) = abs(hundredths).quotientAndRemainder(dividingBy: 100)
      source += (hundredths < 0 ? "-" : "") + String(whole)
      if part != 0 { source += part % 10 == 0 ? ".\(part / 10)" : part < 10 ? ".0\(part)" : ".\(part)" }
    }
  }

  /// Text that a browser shows as it stands, in elements and in quoted attributes.
  static func escaped(_ text: String) -> String {
    var escaped = ""
    for scalar in text.unicodeScalars {
      switch scalar {
      case "&": escaped += "&amp;"
      case "<": escaped += "&lt;"
      case ">": escaped += "&gt;"
      case "\"": escaped += "&quot;"
      case "'": escaped += "&#39;"
      case "\t", "\n": escaped.unicodeScalars.append(scalar)
      // Other control characters may not stand in HTML at all.
      case "\0"..<" ", "\u{7F}"..<"\u{A0}": escaped += "\u{FFFD}"
      default: escaped.unicodeScalars.append(scalar)
      }
    }
    return escaped
  }
}
