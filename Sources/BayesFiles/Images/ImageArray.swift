import BayesTensor

/// The pixels of a folder of images as one array of bytes, `[rows, height, width, channels]`.
///
/// There are three channels where any image is in colour, else one; grey images among coloured ones get
/// three equal channels.  Alpha is dropped, as Keras' `color_mode="rgb"` does, orientation tags and colour
/// profiles are passed over, and samples of 16 bits are rounded to 8.
struct ImageArray: StoredArray {
  private let folder: ImageFolder
  let shape: Shape

  /// Reads the header of every image.
  ///
  /// - Throws: `FileError` naming the first image that is damaged, or of another size than the first.
  /// - Cost: the first few kilobytes of every file.
  init(_ folder: ImageFolder) throws(FileError) {
    let decoder = JPEGDecoder()
    var size: (width: Int, height: Int)?
    var channelCount = 1
    for row in folder.paths.indices {
      let reader = try FileReader(folder.path(row))
      let header = try ImageHeader(of: reader, decoder)
      let expected = size ?? (header.width, header.height)
      guard expected == (header.width, header.height) else {
        throw FileError(
          .shape, file: reader.file,
          "The image is \(header.width) x \(header.height) pixels (width x height), but the first, "
            + "\(folder.path(0)), is \(expected.width) x \(expected.height); scale all images to one size.")
      }
      size = expected
      channelCount = max(channelCount, header.channelCount)
    }
    let dimensions = [folder.paths.count, size?.height ?? 0, size?.width ?? 0, channelCount]
    guard let shape = HDF5Array.shape(dimensions.map { UInt64($0) }) else {
      throw FileError(
        .unsupported, file: folder.file,
        "The images have the shape \(dimensions), more than \(HDF5Array.elementLimit) numbers; scale them down.")
    }
    self.folder = folder
    self.shape = shape
  }

  var file: String { folder.file }
  var object: String? { nil }
  var scalarType: ScalarType { .unsignedInteger(bits: 8) }

  func bytes(_ rows: Range<Int>?) throws(FileError) -> ContiguousArray<UInt8> {
    if let rows { try check(rows) }
    let rows = rows ?? 0..<shape[0]
    let decoder = JPEGDecoder()
    var bytes = ContiguousArray<UInt8>()
    bytes.reserveCapacity(rows.count * shape.row.elementCount)
    for row in rows { bytes += try pixels(of: FileReader(folder.path(row)), decoder) }
    return bytes
  }

  func values<Scalar: TensorScalar>(_ rows: Range<Int>?, as type: Scalar.Type) throws(FileError)
    -> ContiguousArray<Scalar>
  {
    ContiguousArray(try bytes(rows).map { Scalar($0) })
  }

  func integers(_ rows: Range<Int>?) throws(FileError) -> ContiguousArray<Int> {
    ContiguousArray(try bytes(rows).map { Int($0) })
  }

  private func pixels(of reader: FileReader, _ decoder: borrowing JPEGDecoder) throws(FileError)
    -> ContiguousArray<UInt8>
  {
    // The file may be another by now.
    let header = try ImageHeader(of: reader, decoder)
    guard header.height == shape[1], header.width == shape[2], header.channelCount <= shape[3] else {
      throw FileError(
        .malformed, file: reader.file, "The image has changed since it was first read; do not write it meanwhile.")
    }
    let encoded = try reader.bytes(at: 0, count: reader.size)
    return switch header.format {
    case .png(let png): try png.pixels(of: encoded, channelCount: shape[3], file: reader.file)
    case .jpeg: try decoder.pixels(of: encoded, header, channelCount: shape[3], file: reader.file)
    }
  }
}

/// The class indices of a folder's images, `[rows]`.
struct ImageClasses: StoredArray {
  private let folder: ImageFolder

  init(_ folder: ImageFolder) { self.folder = folder }

  var file: String { folder.file }
  var object: String? { nil }
  var shape: Shape { [folder.paths.count] }
  var scalarType: ScalarType { .signedInteger(bits: 64) }

  func integers(_ rows: Range<Int>?) throws(FileError) -> ContiguousArray<Int> {
    if let rows { try check(rows) }
    let rows = rows ?? 0..<shape[0]
    var indices = ContiguousArray<Int>()
    indices.reserveCapacity(rows.count)
    var index = 0
    for row in rows {
      while folder.classEnds[index] <= row { index += 1 }
      indices.append(index)
    }
    return indices
  }

  func values<Scalar: TensorScalar>(_ rows: Range<Int>?, as type: Scalar.Type) throws(FileError)
    -> ContiguousArray<Scalar>
  {
    ContiguousArray(try integers(rows).map { Scalar($0) })
  }

  func bytes(_ rows: Range<Int>?) throws(FileError) -> ContiguousArray<UInt8> {
    preconditionFailure("Class indices are no bytes.")
  }
}
