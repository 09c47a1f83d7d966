import Foundation

/// Writes a report as JSON with sorted keys and a final newline.
///
/// JSON has no infinities: numbers that are not finite are the strings `"inf"`, `"-inf"` and `"nan"`,
/// which most languages' number parsers accept.
public struct JSONRenderer: ReportRenderer {
  public init() {}

  public func render(_ report: Report) throws -> String { try Self.text(report) }

  /// The JSON of any report.
  static func text(_ report: some Encodable) throws -> String {
    let encoder = JSONEncoder()
    encoder.outputFormatting = [.sortedKeys, .prettyPrinted, .withoutEscapingSlashes]
    encoder.nonConformingFloatEncodingStrategy = .convertToString(
      positiveInfinity: NonFinite.infinity, negativeInfinity: NonFinite.negativeInfinity,
      nan: NonFinite.notANumber)
    let text = String(decoding: try encoder.encode(report), as: UTF8.self)
    return withNumbersOnOneLine(text) + "\n"
  }

  /// Joins the lines of arrays that hold nothing but numbers: a curve of a hundred points would
  /// otherwise take four hundred lines.
  private static func withNumbersOnOneLine(_ text: String) -> String {
    let bytes = Array(text.utf8)
    var result: [UInt8] = []
    result.reserveCapacity(bytes.count)
    var position = 0
    var isInString = false
    while position < bytes.count {
      let byte = bytes[position]
      if byte == UInt8(ascii: "\\"), isInString {
        // The escaped character may be a quote; it goes along unread.
        result += bytes[position...position + 1]
        position += 2
        continue
      }
      if byte == UInt8(ascii: "\"") { isInString.toggle() }
      if byte == UInt8(ascii: "["), !isInString, let end = endOfNumbers(bytes, from: position) {
        for inner in bytes[position..<end] where inner != UInt8(ascii: "\n") && inner != UInt8(ascii: " ") {
          result.append(inner)
          if inner == UInt8(ascii: ",") { result.append(UInt8(ascii: " ")) }
        }
        position = end
        continue
      }
      result.append(byte)
      position += 1
    }
    return String(decoding: result, as: UTF8.self)
  }

  /// The position after the array that starts at `start`, where it holds only numbers and such arrays.
  private static func endOfNumbers(_ bytes: [UInt8], from start: Int) -> Int? {
    var depth = 0
    for position in start..<bytes.count {
      switch bytes[position] {
      case UInt8(ascii: "["): depth += 1
      case UInt8(ascii: "]"):
        depth -= 1
        if depth == 0 { return position + 1 }
      case UInt8(ascii: "{"), UInt8(ascii: "\""): return nil
      default: break
      }
    }
    return nil
  }
}

/// How numbers that JSON cannot hold are spelt.
enum NonFinite {
  static let infinity = "inf"
  static let negativeInfinity = "-inf"
  static let notANumber = "nan"
}
