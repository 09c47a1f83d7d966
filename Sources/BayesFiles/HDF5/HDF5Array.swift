import BayesTensor
import CHDF5

/// A type that arrays are read as; zeros are valid values of it.
protocol HDF5Element: BitwiseCopyable, Numeric {
  static var nativeType: hid_t { get }
}

extension Float: HDF5Element {
  static var nativeType: hid_t { bayesify_h5_native_float() }
}

extension Double: HDF5Element {
  static var nativeType: hid_t { bayesify_h5_native_double() }
}

extension Int: HDF5Element {
  static var nativeType: hid_t { bayesify_h5_native_int64() }
}

extension UInt64: HDF5Element {
  static var nativeType: hid_t { bayesify_h5_native_uint64() }
}

extension UInt8: HDF5Element {
  static var nativeType: hid_t { bayesify_h5_native_uint8() }
}

/// A numeric array of an HDF5 file, open for reading by row ranges.
final class HDF5Array: StoredArray {
  /// No array that claims more elements is believed.
  static let elementLimit = 1 << 40

  let file: String
  let object: String?
  let shape: Shape
  let scalarType: ScalarType
  /// The array's size in the file, in bytes; zero where it was never written.
  let packedSize: Int
  private let handle: HDF5Handle<HDF5DatasetResource>

  /// Opens an array and checks all that reading it needs.
  ///
  /// - Throws: `FileError.Code.unsupported` for types, filters and storage that are not read,
  ///   `FileError.Code.malformed` when the file cannot hold what the array claims.
  init(_ entry: ArchiveEntry, in fileIdentifier: hid_t, file: String, fileSize: Int) throws(FileError) {
    let (layout, scalarType) = try Self.perform(file, entry.path) { () throws(HDF5Failure) in
      let dataset = try HDF5Handle<HDF5DatasetResource>(
        unsafe H5Dopen2(fileIdentifier, entry.path, bayesify_h5_default()))
      return (
        try HDF5Layout(of: dataset.identifier, rank: entry.shape.rank),
        try Self.scalarType(of: dataset.identifier)
      )
    }
    try layout.check(entry, scalarType, file: file, fileSize: fileSize)
    // Opened anew, as the chunk cache takes its size on opening.
    handle = try Self.perform(file, entry.path) { () throws(HDF5Failure) in
      let access = try HDF5Handle<HDF5PropertiesResource>(H5Pcreate(bayesify_h5_dataset_access()))
      try layout.sizeChunkCache(of: access.identifier, shape: entry.shape)
      return try HDF5Handle(unsafe H5Dopen2(fileIdentifier, entry.path, access.identifier))
    }
    packedSize = layout.storageSize
    self.file = file
    self.object = entry.path
    self.shape = entry.shape
    self.scalarType = scalarType
  }

  private static func perform<Result: ~Copyable>(
    _ file: String, _ path: String?, _ body: () throws(HDF5Failure) -> Result
  ) throws(FileError) -> Result {
    do {
      return try HDF5Library.locked(body)
    } catch {
      throw FileError(
        .malformed, file: file, object: path,
        "The array cannot be read; the file is damaged, so copy or download it again (\(error.reason)).")
    }
  }

  // MARK: - Reading

  func values<Scalar: TensorScalar>(_ rows: Range<Int>?, as type: Scalar.Type) throws(FileError)
    -> ContiguousArray<Scalar>
  {
    if scalarType == .brainFloat {
      // Its bits are the upper half of a Float's.
      return ContiguousArray(try brainFloats(rows).map { Scalar(Float(bitPattern: UInt32($0) << 16)) })
    }
    // Only these two conform.
    if type == Float.self, let values = try elements(rows, as: Float.self) as? ContiguousArray<Scalar> {
      return values
    }
    return ContiguousArray(try elements(rows, as: Double.self).map { Scalar($0) })
  }

  func bytes(_ rows: Range<Int>?) throws(FileError) -> ContiguousArray<UInt8> {
    try elements(rows, as: UInt8.self)
  }

  func integers(_ rows: Range<Int>?) throws(FileError) -> ContiguousArray<Int> {
    guard scalarType == .unsignedInteger(bits: 64) else { return try elements(rows, as: Int.self) }
    // The library would clamp what does not fit.
    let values = try elements(rows, as: UInt64.self)
    if let position = values.firstIndex(where: { $0 > UInt64(Int.max) }) {
      throw FileError(
        .value, file: file, object: object,
        "Element \(position) is \(values[position]), which does not fit in a signed 64-bit integer.")
    }
    return ContiguousArray(values.map { Int($0) })
  }

  private func elements<Element: HDF5Element>(_ rows: Range<Int>?, as type: Element.Type) throws(FileError)
    -> ContiguousArray<Element>
  {
    try elements(rows, as: type, read: Element.nativeType)
  }

  /// The bits of numbers that are kept as opaque ones.
  private func brainFloats(_ rows: Range<Int>?) throws(FileError) -> ContiguousArray<UInt16> {
    let opaque = try Self.perform(file, object) { () throws(HDF5Failure) in
      try HDF5Handle<HDF5DatatypeResource>(H5Dget_type(handle.identifier))
    }
    let bits = try elements(rows, as: UInt16.self, read: opaque.identifier)
    return ContiguousArray(bits.map { UInt16(littleEndian: $0) })
  }

  /// - Parameter memoryType: what the library converts elements to.
  private func elements<Element: Numeric & BitwiseCopyable>(
    _ rows: Range<Int>?, as type: Element.Type, read memoryType: hid_t
  ) throws(FileError) -> ContiguousArray<Element> {
    if let rows { try check(rows) }
    let readShape = rows.map { shape.row.batched($0.count) } ?? shape
    var elements = ContiguousArray<Element>(repeating: 0, count: readShape.elementCount)
    guard !elements.isEmpty else { return elements }
    try Self.perform(file, object) { () throws(HDF5Failure) in
      let selection = try HDF5Handle<HDF5DataspaceResource>(H5Dget_space(handle.identifier))
      if let rows {
        let start = [hsize_t(rows.lowerBound)] + Array(repeating: 0, count: shape.rank - 1)
        try requireHDF5(
          unsafe H5Sselect_hyperslab(
            selection.identifier, H5S_SELECT_SET, start, nil, readShape.dimensions.map { hsize_t($0) }, nil))
      }
      // Of the same rank as the file's: chunks are mapped ten times as fast as into a flat space.
      let memory = try Self.dataspace(readShape)
      try requireHDF5(
        unsafe elements.withUnsafeMutableBytes { buffer in
          unsafe H5Dread(
            handle.identifier, memoryType, memory.identifier, selection.identifier,
            bayesify_h5_default(), buffer.baseAddress)
        })
    }
    return elements
  }

  // MARK: - What an array is; the caller holds the library

  static func extents(of dataset: hid_t) throws(HDF5Failure) -> [UInt64] {
    let space = try HDF5Handle<HDF5DataspaceResource>(H5Dget_space(dataset))
    return try extents(ofSpace: space.identifier)
  }

  /// The extents of a dataspace; `[0]` of an empty one.
  static func extents(ofSpace space: hid_t) throws(HDF5Failure) -> [UInt64] {
    if H5Sget_simple_extent_type(space) == H5S_NULL { return [0] }
    let rank = H5Sget_simple_extent_ndims(space)
    try requireHDF5(rank)
    var extents = [hsize_t](repeating: 0, count: Int(rank))
    try requireHDF5(unsafe H5Sget_simple_extent_dims(space, &extents, nil))
    return extents
  }

  /// The shape, unless it is too large to be believed.
  static func shape(_ extents: [UInt64]) -> Shape? {
    var count: UInt64 = 1
    for extent in extents {
      // An extent of zero does not excuse the others: rows are counted without it.
      let (product, overflow) = count.multipliedReportingOverflow(by: max(extent, 1))
      guard !overflow, product <= UInt64(elementLimit) else { return nil }
      count = product
    }
    return Shape(extents.map { Int($0) })
  }

  /// A dataspace of the given extents.
  static func dataspace(_ shape: Shape) throws(HDF5Failure) -> HDF5Handle<HDF5DataspaceResource> {
    if shape.rank == 0 { return try HDF5Handle(H5Screate(H5S_SCALAR)) }
    return try HDF5Handle(
      unsafe H5Screate_simple(Int32(shape.rank), shape.dimensions.map { hsize_t($0) }, nil))
  }

  static func scalarType(of dataset: hid_t) throws(HDF5Failure) -> ScalarType {
    let type = try HDF5Handle<HDF5DatatypeResource>(H5Dget_type(dataset))
    let scalarType = scalarType(ofType: type.identifier)
    guard scalarType == .other("opaque16") else { return scalarType }
    // Versions before 3 keep the bits without saying of what; there is no other such type of weights.
    return try HDF5Attributes.text("dtype", of: dataset) ?? ScalarType.brainFloat.name == ScalarType.brainFloat.name
      ? .brainFloat : scalarType
  }

  static func scalarType(ofType type: hid_t) -> ScalarType {
    let bits = H5Tget_size(type) * 8
    switch H5Tget_class(type) {
    case H5T_INTEGER:
      return H5Tget_sign(type) == H5T_SGN_NONE ? .unsignedInteger(bits: bits) : .signedInteger(bits: bits)
    case H5T_FLOAT: return .float(bits: bits)
    // NumPy's booleans come as an enumeration of FALSE and TRUE.
    case H5T_ENUM: return bits == 8 && H5Tget_nmembers(type) == 2 ? .boolean : .other("enumeration")
    case H5T_STRING: return .other("string")
    case H5T_COMPOUND: return .other("compound")
    case H5T_OPAQUE: return .other("opaque\(bits)")
    case H5T_VLEN: return .other("variable-length")
    case H5T_ARRAY: return .other("array")
    case H5T_REFERENCE: return .other("reference")
    case H5T_BITFIELD: return .other("bitfield")
    default: return .other("unknown")
    }
  }
}
