import BayesTensor

/// What precedes the elements of an IDX array, as MNIST is published in.
struct IDXHeader {
  let layout: BinaryLayout

  /// Two zeros, a known type, and a rank.
  static func hasSignature(_ start: ContiguousArray<UInt8>) -> Bool {
    start.count >= 4 && start[0] == 0 && start[1] == 0 && scalarType(start[2]) != nil && start[3] > 0
  }

  /// The number of bytes of the header that starts so.
  static func length(_ start: ContiguousArray<UInt8>) -> Int { 4 + 4 * Int(start[3]) }

  /// - Precondition: the source has the signature.
  /// - Throws: `FileError.Code.malformed`.
  init(of source: any ByteSource) throws(FileError) {
    let start = try source.bytes(at: 0, count: 4)
    let header = try source.bytes(at: 0, count: Self.length(start))
    try self.init(header, file: source.file)
  }

  /// - Precondition: `header` has the signature and its whole length.
  init(_ header: ContiguousArray<UInt8>, file: String) throws(FileError) {
    let dimensions = stride(from: 4, to: header.count, by: 4).map { index in
      header[index..<index + 4].reduce(0) { $0 << 8 | Int($1) }
    }
    layout = try BinaryLayout(
      scalarType: Self.scalarType(header[2]) ?? .unsignedInteger(bits: 8), isBigEndian: true,
      dimensions: dimensions, isColumnMajor: false, offset: header.count, file: file, object: nil)
  }

  private static func scalarType(_ code: UInt8) -> ScalarType? {
    switch code {
    case 0x08: .unsignedInteger(bits: 8)
    case 0x09: .signedInteger(bits: 8)
    case 0x0B: .signedInteger(bits: 16)
    case 0x0C: .signedInteger(bits: 32)
    case 0x0D: .float(bits: 32)
    case 0x0E: .float(bits: 64)
    default: nil
    }
  }
}
