import BayesTensor

/// What an image file says of itself before its pixels.
struct ImageHeader {
  /// Judged by content, whatever the file's name.
  enum Format {
    case png(PNGHeader)
    case jpeg
  }

  let format: Format
  /// In pixels.
  let width: Int
  let height: Int
  /// 3 for an image in colour, 1 for one in grey; alpha does not count.
  let channelCount: Int

  // More than any camera's, and than any network takes.
  private static let pixelLimit = 1 << 26
  // Pixels at the limit need less, even without compression.
  private static let fileSizeLimit = 1 << 29

  /// Reads as little of the file as tells its size.
  ///
  /// - Throws: `FileError` for what is neither PNG nor JPEG, for damage, and for sizes that no data set has.
  init(of reader: FileReader, _ jpegDecoder: borrowing JPEGDecoder) throws(FileError) {
    guard reader.size <= Self.fileSizeLimit else {
      throw FileError(
        .unsupported, file: reader.file,
        "The file has \(reader.size) bytes, and images of at most \(Self.fileSizeLimit) are read; save it smaller.")
    }
    switch try FileKind(of: reader) {
    case .png:
      let header = try PNGHeader(of: reader)
      (format, width, height) = (.png(header), header.width, header.height)
      channelCount = header.hasColor ? 3 : 1
    case .jpeg:
      let header = try jpegDecoder.header(of: reader)
      (format, width, height) = (.jpeg, header.width, header.height)
      channelCount = header.hasColor ? 3 : 1
    case .empty:
      throw FileError(.malformed, file: reader.file, "The file is empty; copy or download it again.")
    default:
      throw FileError(
        .malformed, file: reader.file,
        "The file holds neither a PNG nor a JPEG image; copy or download it again, or move it away.")
    }
    guard height <= Self.pixelLimit / width else {
      throw FileError(
        .unsupported, file: reader.file,
        "The image claims \(width) x \(height) pixels, and at most \(Self.pixelLimit) are read; scale it down.")
    }
  }
}
