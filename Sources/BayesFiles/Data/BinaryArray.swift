import BayesTensor

/// Where the elements of an array lie in a sequence of bytes, and how.
struct BinaryLayout {
  let scalarType: ScalarType
  let isBigEndian: Bool
  let shape: Shape
  /// Whether the first axis varies fastest, as in Fortran.
  let isColumnMajor: Bool
  /// Where the first element starts.
  let offset: Int
  /// Of one element, in bytes.
  let elementSize: Int

  /// - Throws: `FileError.Code.malformed` for more elements than can be.
  init(
    scalarType: ScalarType, isBigEndian: Bool, dimensions: [Int], isColumnMajor: Bool, offset: Int,
    file: String, object: String?
  ) throws(FileError) {
    guard let shape = HDF5Array.shape(dimensions.map { UInt64($0) }) else {
      throw FileError(
        .malformed, file: file, object: object,
        "The array claims extents \(dimensions), more than \(HDF5Array.elementLimit) elements; the file is "
          + "damaged.")
    }
    self.scalarType = scalarType
    self.isBigEndian = isBigEndian
    self.shape = shape
    self.isColumnMajor = isColumnMajor
    self.offset = offset
    elementSize = scalarType.byteCount ?? 1
  }

  /// The number of bytes up to the end of the elements.
  var end: Int { offset + shape.elementCount * elementSize }
}

/// An array whose elements lie in a sequence of bytes: of a `.npy` or IDX file, or a member of `.npz`.
struct BinaryArray: StoredArray {
  let object: String?
  private let source: any ByteSource
  private let layout: BinaryLayout

  /// - Throws: `FileError.Code.malformed` when the source is too short.
  init(_ source: any ByteSource, _ layout: BinaryLayout, object: String?) throws(FileError) {
    guard layout.end <= source.size else {
      throw FileError(
        .malformed, file: source.file, object: object,
        "An array of shape \(layout.shape) needs \(layout.end) bytes, but there are \(source.size); the file is "
          + "truncated, so copy or download it again.")
    }
    self.source = source
    self.layout = layout
    self.object = object
  }

  var file: String { source.file }
  var shape: Shape { layout.shape }
  var scalarType: ScalarType { layout.scalarType }

  func values<Scalar: TensorScalar>(_ rows: Range<Int>?, as type: Scalar.Type) throws(FileError)
    -> ContiguousArray<Scalar>
  {
    let bytes = try stored(rows)
    switch layout.scalarType {
    case .brainFloat: return decoded(bytes, UInt16.self) { Scalar(Float(bitPattern: UInt32($0) << 16)) }
    case .boolean, .other: return ContiguousArray(bytes.map { $0 == 0 ? 0 : 1 })
    case .unsignedInteger(8): return ContiguousArray(bytes.map { Scalar($0) })
    case .unsignedInteger(16): return decoded(bytes, UInt16.self) { Scalar($0) }
    case .unsignedInteger(32): return decoded(bytes, UInt32.self) { Scalar($0) }
    case .unsignedInteger: return decoded(bytes, UInt64.self) { Scalar($0) }
    case .signedInteger(8): return ContiguousArray(bytes.map { Scalar(Int8(bitPattern: $0)) })
    case .signedInteger(16): return decoded(bytes, Int16.self) { Scalar($0) }
    case .signedInteger(32): return decoded(bytes, Int32.self) { Scalar($0) }
    case .signedInteger: return decoded(bytes, Int64.self) { Scalar($0) }
    case .float(16): return decoded(bytes, UInt16.self) { Scalar(Float16(bitPattern: $0)) }
    case .float(32): return decoded(bytes, UInt32.self) { Scalar(Float(bitPattern: $0)) }
    case .float: return decoded(bytes, UInt64.self) { Scalar(Double(bitPattern: $0)) }
    }
  }

  func bytes(_ rows: Range<Int>?) throws(FileError) -> ContiguousArray<UInt8> {
    try stored(rows)
  }

  func integers(_ rows: Range<Int>?) throws(FileError) -> ContiguousArray<Int> {
    let bytes = try stored(rows)
    switch layout.scalarType {
    case .boolean, .other: return ContiguousArray(bytes.map { $0 == 0 ? 0 : 1 })
    case .unsignedInteger(8): return ContiguousArray(bytes.map { Int($0) })
    case .unsignedInteger(16): return decoded(bytes, UInt16.self) { Int($0) }
    case .unsignedInteger(32): return decoded(bytes, UInt32.self) { Int($0) }
    case .unsignedInteger:
      let numbers = decoded(bytes, UInt64.self) { $0 }
      if let position = numbers.firstIndex(where: { $0 > UInt64(Int.max) }) {
        throw FileError(
          .value, file: file, object: object,
          "Element \((rows?.lowerBound ?? 0) * shape.row.elementCount + position) is \(numbers[position]), which "
            + "does not fit in a signed 64-bit integer.")
      }
      return ContiguousArray(numbers.map { Int($0) })
    case .signedInteger(8): return ContiguousArray(bytes.map { Int(Int8(bitPattern: $0)) })
    case .signedInteger(16): return decoded(bytes, Int16.self) { Int($0) }
    case .signedInteger(32): return decoded(bytes, Int32.self) { Int($0) }
    case .signedInteger, .float: return decoded(bytes, Int64.self) { Int($0) }
    }
  }

  private func decoded<Raw: FixedWidthInteger & BitwiseCopyable, Element>(
    _ bytes: ContiguousArray<UInt8>, _ type: Raw.Type, _ convert: (Raw) -> Element
  ) -> ContiguousArray<Element> {
    let isBigEndian = layout.isBigEndian
    return unsafe bytes.withUnsafeBytes { buffer in
      var elements = ContiguousArray<Element>()
      elements.reserveCapacity(buffer.count / MemoryLayout<Raw>.size)
      for offset in stride(from: 0, to: buffer.count, by: MemoryLayout<Raw>.size) {
        let raw = unsafe buffer.loadUnaligned(fromByteOffset: offset, as: Raw.self)
        elements.append(convert(isBigEndian ? Raw(bigEndian: raw) : Raw(littleEndian: raw)))
      }
      return elements
    }
  }

  /// The stored bytes of some rows, in row-major order.
  private func stored(_ rows: Range<Int>?) throws(FileError) -> ContiguousArray<UInt8> {
    if let rows { try check(rows) }
    guard shape.rank > 0 else { return try source.bytes(at: layout.offset, count: layout.elementSize) }
    let rows = rows ?? 0..<shape[0]
    let (size, width) = (layout.elementSize, shape.row.elementCount)
    guard layout.isColumnMajor, shape.rank > 1 else {
      return try source.bytes(
        at: layout.offset + rows.lowerBound * width * size, count: rows.count * width * size)
    }
    // Each element of a row lies in a column of its own.
    var bytes = ContiguousArray<UInt8>(repeating: 0, count: rows.count * width * size)
    for position in 0..<width {
      let first = columnMajorPosition(position) * shape[0] + rows.lowerBound
      let column = try source.bytes(at: layout.offset + first * size, count: rows.count * size)
      for row in 0..<rows.count {
        let target = (row * width + position) * size
        for byte in 0..<size { bytes[target + byte] = column[row * size + byte] }
      }
    }
    return bytes
  }

  /// Where the element at a row-major position of a row lies when the first axis varies fastest.
  private func columnMajorPosition(_ position: Int) -> Int {
    var rest = position
    var result = 0
    var columns = shape.row.elementCount
    for extent in shape.row.dimensions.reversed() {
      columns /= extent
      result += rest % extent * columns
      rest /= extent
    }
    return result
  }
}
