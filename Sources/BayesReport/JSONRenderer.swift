import Foundation

/// Writes a report as JSON with sorted keys and a final newline.
///
/// JSON has no infinities: numbers that are not finite are the strings `"inf"`, `"-inf"` and `"nan"`,
/// which most languages' number parsers accept.
public struct JSONRenderer: ReportRenderer {
  public init() {}

  public func render(_ report: Report) throws -> String {
    let encoder = JSONEncoder()
    encoder.outputFormatting = [.sortedKeys, .prettyPrinted, .withoutEscapingSlashes]
    encoder.nonConformingFloatEncodingStrategy = .convertToString(
      positiveInfinity: NonFinite.infinity, negativeInfinity: NonFinite.negativeInfinity,
      nan: NonFinite.notANumber)
    return String(decoding: try encoder.encode(report), as: UTF8.self) + "\n"
  }
}

/// How numbers that JSON cannot hold are spelt.
enum NonFinite {
  static let infinity = "inf"
  static let negativeInfinity = "-inf"
  static let notANumber = "nan"
}
