import BayesTensor

/// What precedes the elements of a `.npy` array: versions 1, 2 and 3 of the format.
struct NumpyHeader {
  static let signature: [UInt8] = [0x93, 0x4E, 0x55, 0x4D, 0x50, 0x59]

  let layout: BinaryLayout

  // NumPy's own headers take a few hundred bytes.
  private static let lengthLimit = 1 << 20

  /// - Throws: `FileError.Code.malformed`, or `FileError.Code.unsupported` for elements that are not
  ///   numbers.
  init(of source: any ByteSource, object: String?) throws(FileError) {
    func damage(_ what: String) -> FileError {
      FileError(
        .malformed, file: source.file, object: object,
        "The .npy header \(what); the file is damaged, so save it again with numpy.save.")
    }
    let start = try source.bytes(at: 0, count: min(12, source.size))
    guard start.count >= 10, start.starts(with: Self.signature) else { throw damage("has no NumPy signature") }
    let version = start[6]
    guard (1...3).contains(version) else {
      throw FileError(
        .unsupported, file: source.file, object: object,
        "The .npy format has version \(version), which is not read; versions 1 to 3 are.")
    }
    let prefixLength = version == 1 ? 10 : 12
    var length = Int(start[8]) | Int(start[9]) << 8
    if version > 1 {
      guard start.count == 12 else { throw damage("ends early") }
      length |= Int(start[10]) << 16 | Int(start[11]) << 24
    }
    guard length <= Self.lengthLimit, length <= source.size - prefixLength else { throw damage("ends early") }
    let text = try source.bytes(at: prefixLength, count: length)
    guard let fields = PythonLiteral.dictionary(text) else { throw damage("is no Python dictionary") }
    guard case .text(let description)? = fields["descr"] else {
      if fields["descr"] != nil {
        throw FileError(
          .unsupported, file: source.file, object: object,
          "The array's elements are records, not numbers; save one array of numbers instead.")
      }
      throw damage("has no entry 'descr'")
    }
    guard case .boolean(let isColumnMajor)? = fields["fortran_order"] else {
      throw damage("has no entry 'fortran_order'")
    }
    guard case .tuple(let dimensions)? = fields["shape"] else { throw damage("has no entry 'shape'") }
    guard let (scalarType, isBigEndian) = Self.elementType(description) else {
      throw FileError(
        .unsupported, file: source.file, object: object,
        "The array's elements are of NumPy's type '\(description)', which is not read; save them as float32 "
          + "or an integer type.")
    }
    layout = try BinaryLayout(
      scalarType: scalarType, isBigEndian: isBigEndian, dimensions: dimensions, isColumnMajor: isColumnMajor,
      offset: prefixLength + length, file: source.file, object: object)
  }

  /// `<f4` and the like.
  private static func elementType(_ description: String) -> (ScalarType, isBigEndian: Bool)? {
    let characters = Array(description)
    guard characters.count == 3, "<>|=".contains(characters[0]), let size = characters[2].wholeNumberValue
    else { return nil }
    let isBigEndian = characters[0] == ">"
    switch (characters[1], size) {
    case ("f", 2), ("f", 4), ("f", 8): return (.float(bits: size * 8), isBigEndian)
    case ("i", 1), ("i", 2), ("i", 4), ("i", 8): return (.signedInteger(bits: size * 8), isBigEndian)
    case ("u", 1), ("u", 2), ("u", 4), ("u", 8): return (.unsignedInteger(bits: size * 8), isBigEndian)
    case ("b", 1): return (.boolean, isBigEndian)
    default: return nil
    }
  }
}

/// The few Python literals that occur in a `.npy` header.
private enum PythonLiteral {
  case text(String)
  case boolean(Bool)
  case tuple([Int])
  /// A list, as describes records.
  case list

  /// Parses `{'descr': '<f4', 'fortran_order': False, 'shape': (3, 4), }`; `nil` for anything else.
  static func dictionary(_ bytes: ContiguousArray<UInt8>) -> [String: PythonLiteral]? {
    var parser = Parser(rest: bytes[...])
    return parser.dictionary()
  }

  private struct Parser {
    var rest: ArraySlice<UInt8>

    init(rest: ContiguousArray<UInt8>.SubSequence) { self.rest = ArraySlice(rest) }

    private mutating func skipSpace() {
      rest = rest.drop { $0 == 0x20 || $0 == 0x0A || $0 == 0x0D || $0 == 0x09 }
    }

    private mutating func take(_ character: Unicode.Scalar) -> Bool {
      skipSpace()
      guard let first = rest.first, first == UInt8(ascii: character) else { return false }
      rest.removeFirst()
      return true
    }

    mutating func dictionary() -> [String: PythonLiteral]? {
      var entries: [String: PythonLiteral] = [:]
      guard take("{") else { return nil }
      while !take("}") {
        guard let key = text(), take(":"), let value = value() else { return nil }
        entries[key] = value
        if !take(",") {
          guard take("}") else { return nil }
          break
        }
      }
      return entries
    }

    private mutating func value() -> PythonLiteral? {
      if let text = text() { return .text(text) }
      if take("(") { return tuple().map { .tuple($0) } }
      if take("[") { return skipList() ? .list : nil }
      skipSpace()
      let word = rest.prefix { (0x41...0x5A).contains($0) || (0x61...0x7A).contains($0) }
      rest = rest.dropFirst(word.count)
      switch String(decoding: word, as: UTF8.self) {
      case "True": return .boolean(true)
      case "False": return .boolean(false)
      default: return nil
      }
    }

    private mutating func text() -> String? {
      skipSpace()
      guard let quote = rest.first, quote == 0x27 || quote == 0x22 else { return nil }
      let body = rest.dropFirst().prefix { $0 != quote }
      rest = rest.dropFirst(1 + body.count)
      guard rest.popFirst() == quote else { return nil }
      return String(decoding: body, as: UTF8.self)
    }

    private mutating func tuple() -> [Int]? {
      var numbers: [Int] = []
      while !take(")") {
        skipSpace()
        let digits = rest.prefix { (0x30...0x39).contains($0) }
        guard let number = Int(String(decoding: digits, as: UTF8.self)) else { return nil }
        rest = rest.dropFirst(digits.count)
        // Python 2 wrote long integers with an L.
        if rest.first == 0x4C { rest.removeFirst() }
        numbers.append(number)
        if !take(",") {
          guard take(")") else { return nil }
          break
        }
      }
      return numbers
    }

    private mutating func skipList() -> Bool {
      var depth = 1
      while let byte = rest.popFirst() {
        if byte == 0x5B { depth += 1 }
        if byte == 0x5D { depth -= 1 }
        if depth == 0 { return true }
      }
      return false
    }
  }
}
