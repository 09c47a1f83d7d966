import Foundation

/// Why a text is no JSON.
struct JSONFailure: Error {}

/// Reads JSON as Python writes it: infinities and NaN are bare words.
///
/// Descriptions come from strangers and may be megabytes of brackets, over which Foundation's decoder takes
/// microseconds each; this reader takes a fraction of that, and nests no deeper than a stack surely holds.
struct JSONReader {
  private static let depthLimit = 500

  private let bytes: [UInt8]
  private var position = 0

  /// The value that a whole text is.
  ///
  /// - Throws: `JSONFailure`.
  static func value(of data: Data) throws(JSONFailure) -> JSONValue {
    var reader = JSONReader(bytes: Array(data))
    let value = try reader.value(depth: 0)
    reader.skipSpace()
    guard reader.position == reader.bytes.count else { throw JSONFailure() }
    return value
  }

  private init(bytes: [UInt8]) { self.bytes = bytes }

  private var next: UInt8? { position < bytes.count ? bytes[position] : nil }

  private mutating func skipSpace() {
    while let byte = next, byte == 0x20 || byte == 0x09 || byte == 0x0A || byte == 0x0D { position += 1 }
  }

  /// Passes over a character that must be there.
  private mutating func expect(_ character: Unicode.Scalar) throws(JSONFailure) {
    guard pass(character) else { throw JSONFailure() }
  }

  /// Passes over a character where it is next, past spaces.
  private mutating func pass(_ character: Unicode.Scalar) -> Bool {
    skipSpace()
    guard next == UInt8(ascii: character) else { return false }
    position += 1
    return true
  }

  private mutating func value(depth: Int) throws(JSONFailure) -> JSONValue {
    guard depth < Self.depthLimit else { throw JSONFailure() }
    skipSpace()
    guard let first = next else { throw JSONFailure() }
    switch first {
    case UInt8(ascii: "{"): return .table(try table(depth: depth))
    case UInt8(ascii: "["): return .list(try list(depth: depth))
    case UInt8(ascii: "\""): return .text(try text())
    case UInt8(ascii: "-"), UInt8(ascii: "0")...UInt8(ascii: "9"): return .number(try number())
    default: return try word()
    }
  }

  private mutating func table(depth: Int) throws(JSONFailure) -> [String: JSONValue] {
    try expect("{")
    var table: [String: JSONValue] = [:]
    if pass("}") { return table }
    repeat {
      skipSpace()
      let key = try text()
      try expect(":")
      table[key] = try value(depth: depth + 1)
    } while pass(",")
    try expect("}")
    return table
  }

  private mutating func list(depth: Int) throws(JSONFailure) -> [JSONValue] {
    try expect("[")
    var list: [JSONValue] = []
    if pass("]") { return list }
    repeat { list.append(try value(depth: depth + 1)) } while pass(",")
    try expect("]")
    return list
  }

  private mutating func word() throws(JSONFailure) -> JSONValue {
    let words: [(String, JSONValue)] = [
      ("null", .null), ("true", .boolean(true)), ("false", .boolean(false)), ("NaN", .number(.nan)),
      ("Infinity", .number(.infinity)),
    ]
    for (word, value) in words where bytes[position...].starts(with: word.utf8) {
      position += word.utf8.count
      return value
    }
    throw JSONFailure()
  }

  private mutating func number() throws(JSONFailure) -> Double {
    let start = position
    if next == UInt8(ascii: "-") { position += 1 }
    if next == UInt8(ascii: "I") {
      guard case .number(let infinity) = try word() else { throw JSONFailure() }
      return -infinity
    }
    while let byte = next, "+-.eE0123456789".utf8.contains(byte) { position += 1 }
    guard let number = Double(String(decoding: bytes[start..<position], as: UTF8.self)) else { throw JSONFailure() }
    return number
  }

  // MARK: Texts

  private mutating func text() throws(JSONFailure) -> String {
    try expect("\"")
    var units: [UInt8] = []
    while let byte = next {
      position += 1
      switch byte {
      case UInt8(ascii: "\""):
        guard let text = String(validating: units, as: UTF8.self) else { throw JSONFailure() }
        return text
      case UInt8(ascii: "\\"): units += try escaped()
      case 0..<0x20: throw JSONFailure()
      default: units.append(byte)
      }
    }
    throw JSONFailure()
  }

  /// What a backslash and the characters after it stand for.
  private mutating func escaped() throws(JSONFailure) -> [UInt8] {
    guard let byte = next else { throw JSONFailure() }
    position += 1
    switch byte {
    case UInt8(ascii: "\""), UInt8(ascii: "\\"), UInt8(ascii: "/"): return [byte]
    case UInt8(ascii: "b"): return [0x08]
    case UInt8(ascii: "f"): return [0x0C]
    case UInt8(ascii: "n"): return [0x0A]
    case UInt8(ascii: "r"): return [0x0D]
    case UInt8(ascii: "t"): return [0x09]
    case UInt8(ascii: "u"):
      var units = [try unit()]
      if UTF16.isLeadSurrogate(units[0]), bytes[position...].starts(with: "\\u".utf8) {
        position += 2
        units.append(try unit())
      }
      guard let text = String(validating: units, as: UTF16.self) else { throw JSONFailure() }
      return Array(text.utf8)
    default: throw JSONFailure()
    }
  }

  /// Four hexadecimal digits.
  private mutating func unit() throws(JSONFailure) -> UInt16 {
    guard position + 4 <= bytes.count,
      let unit = UInt16(String(decoding: bytes[position..<position + 4], as: UTF8.self), radix: 16)
    else { throw JSONFailure() }
    position += 4
    return unit
  }
}
