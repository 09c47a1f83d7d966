/// The fields of one line of a `.csv` file, as written: a comma between quotes separates nothing.
struct CSVFields: Sequence, IteratorProtocol {
  private var rest: ArraySlice<UInt8>
  private var isOver = false

  init(_ line: ArraySlice<UInt8>) { rest = line }

  mutating func next() -> ArraySlice<UInt8>? {
    if isOver { return nil }
    var isQuoted = false
    var end = rest.startIndex
    while end < rest.endIndex, isQuoted || rest[end] != UInt8(ascii: ",") {
      if rest[end] == UInt8(ascii: "\"") { isQuoted.toggle() }
      end += 1
    }
    let field = rest[..<end]
    isOver = end == rest.endIndex
    if !isOver { rest = rest[(end + 1)...] }
    return field
  }
}

/// What a line of a `.csv` file is made of, without a look at its values.
struct CSVLineForm {
  private(set) var fieldCount = 1
  /// Whether a quoted field does not end on the line.
  private(set) var isOpen = false
  private(set) var hasCarriageReturn = false

  init(_ line: ArraySlice<UInt8>) {
    for byte in line {
      switch byte {
      case UInt8(ascii: "\""): isOpen.toggle()
      case UInt8(ascii: ",") where !isOpen: fieldCount += 1
      case 0x0D: hasCarriageReturn = true
      default: continue
      }
    }
  }
}

/// One field of a `.csv` file, as it is meant: without the spaces and quotes around it.
struct CSVField {
  private let content: ArraySlice<UInt8>
  private let isQuoted: Bool

  init(_ field: ArraySlice<UInt8>) {
    let trimmed = Self.trimmed(field)
    isQuoted = trimmed.count >= 2 && trimmed.first == UInt8(ascii: "\"") && trimmed.last == UInt8(ascii: "\"")
    content = isQuoted ? Self.trimmed(trimmed.dropFirst().dropLast()) : trimmed
  }

  /// In one line, for messages.
  var text: String {
    let text = String(decoding: content.map { $0 < 0x20 ? 0x20 : $0 }, as: UTF8.self)
    return isQuoted ? text.replacing("\"\"", with: "\"") : text
  }

  /// The number, in double precision; `nil` for anything else, and for `nan` and `inf`.
  var number: Double? { DecimalNumber(content)?.value }

  /// Whether this can only be the name of a column: neither a number, nor a way to say that one is missing.
  var isName: Bool { !content.isEmpty && number == nil && !Self.missing.contains(text.lowercased()) }

  private static let missing: Set = [
    "nan", "inf", "+inf", "-inf", "infinity", "-infinity", "na", "n/a", "null", "none", "?", "-", ".",
  ]

  private static func trimmed(_ bytes: ArraySlice<UInt8>) -> ArraySlice<UInt8> {
    func isSpace(_ byte: UInt8) -> Bool { byte == 0x20 || byte == 0x09 }
    var bytes = bytes
    while let first = bytes.first, isSpace(first) { bytes.removeFirst() }
    while let last = bytes.last, isSpace(last) { bytes.removeLast() }
    return bytes
  }
}

/// A decimal number in ASCII: `-1.5e3`.
private struct DecimalNumber {
  /// The nearest number of double precision.
  let value: Double

  // Powers of ten that double precision holds exactly.
  private static let powers: [Double] = [
    1, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20,
    1e21, 1e22,
  ]

  init?(_ bytes: ArraySlice<UInt8>) {
    var rest = bytes
    let isNegative = rest.first == UInt8(ascii: "-")
    if isNegative || rest.first == UInt8(ascii: "+") { rest.removeFirst() }
    var mantissa: UInt64 = 0
    var (digitCount, exponent) = (0, 0)
    var isBehindPoint = false
    // What is short enough for the mantissa to be exact; leading zeros take no room.
    var isShort = true
    while let byte = rest.first {
      if byte == UInt8(ascii: "."), !isBehindPoint {
        isBehindPoint = true
      } else if (0x30...0x39).contains(byte) {
        if mantissa < 100_000_000_000_000 { mantissa = mantissa * 10 + UInt64(byte - 0x30) } else { isShort = false }
        digitCount += 1
        if isBehindPoint { exponent -= 1 }
      } else {
        break
      }
      rest.removeFirst()
    }
    guard digitCount > 0 else { return nil }
    if rest.first == UInt8(ascii: "e") || rest.first == UInt8(ascii: "E") {
      rest.removeFirst()
      let digits = rest.drop { $0 == UInt8(ascii: "-") || $0 == UInt8(ascii: "+") }
      guard rest.count - digits.count <= 1, !digits.isEmpty, digits.allSatisfy({ (0x30...0x39).contains($0) })
      else { return nil }
      if let number = Int(String(decoding: rest, as: UTF8.self)), (-999...999).contains(number) {
        exponent += number
      } else {
        isShort = false
      }
      rest = []
    }
    guard rest.isEmpty else { return nil }
    // Both factors are exact, so one rounding gives the nearest number (Clinger 1990).
    if isShort, abs(exponent) < Self.powers.count {
      let power = Self.powers[abs(exponent)]
      let magnitude = exponent < 0 ? Double(mantissa) / power : Double(mantissa) * power
      value = isNegative ? -magnitude : magnitude
    } else {
      guard let number = Double(String(decoding: bytes, as: UTF8.self)), number.isFinite else { return nil }
      value = number
    }
  }
}
