import BayesTensor
import CJPEG

/// A JPEG decoder of libjpeg-turbo; its TurboJPEG interface lets no `longjmp` out.
@safe struct JPEGDecoder: ~Copyable {
  private let handle: tjhandle

  init() {
    guard let handle = unsafe tjInitDecompress() else {
      preconditionFailure("libjpeg-turbo has no memory left for a decoder.")
    }
    unsafe self.handle = handle
  }

  deinit { unsafe tjDestroy(handle) }

  /// The size of an image, and whether it is in colour.
  ///
  /// - Throws: `FileError.Code.malformed`, or `.unsupported` for the inks of print (CMYK).
  func header(of reader: FileReader) throws(FileError) -> (width: Int, height: Int, hasColor: Bool) {
    // Headers take a few hundred bytes, or many kilobytes where a thumbnail or a profile is in them.
    var length = 1 << 12
    while true {
      let start = try reader.prefix(length)
      var (width, height, subsampling, colorSpace): (Int32, Int32, Int32, Int32) = (0, 0, 0, -1)
      let status = unsafe start.withUnsafeBufferPointer { buffer in
        unsafe tjDecompressHeader3(
          handle, buffer.baseAddress, UInt(buffer.count), &width, &height, &subsampling, &colorSpace)
      }
      // Only a warning, or an unusual subsampling, leaves all of these.
      if width > 0, height > 0, colorSpace >= 0 {
        guard colorSpace != TJCS_CMYK.rawValue, colorSpace != TJCS_YCCK.rawValue else {
          throw FileError(
            .unsupported, file: reader.file,
            "The JPEG image has four inks (CMYK), which are not read; save it in RGB.")
        }
        return (Int(width), Int(height), hasColor: colorSpace != TJCS_GRAY.rawValue)
      }
      guard start.count < reader.size else {
        // Tables alone are no failure to libjpeg-turbo.
        throw refusal(reader.file, because: status == 0 ? "it holds no image" : message)
      }
      length *= 8
    }
  }

  /// The pixels of an image, `[height, width, channels]`.
  ///
  /// By the exact integer transform and smooth upsampling of chroma, as Pillow does.
  ///
  /// - Parameter channelCount: 3, or 1 for images in grey.
  /// - Throws: `FileError.Code.malformed`.
  func pixels(of encoded: ContiguousArray<UInt8>, _ header: ImageHeader, channelCount: Int, file: String)
    throws(FileError) -> ContiguousArray<UInt8>
  {
    var pixels = ContiguousArray<UInt8>(repeating: 0, count: header.width * header.height * channelCount)
    let format = channelCount == 3 ? TJPF_RGB : TJPF_GRAY
    let status = unsafe encoded.withUnsafeBufferPointer { source in
      unsafe pixels.withUnsafeMutableBufferPointer { target in
        unsafe tjDecompress2(
          handle, source.baseAddress, UInt(source.count), target.baseAddress, Int32(header.width), 0,
          Int32(header.height), format.rawValue, TJFLAG_ACCURATEDCT | TJFLAG_LIMITSCANS)
      }
    }
    guard status == 0 || isHarmless else { throw refusal(file, because: message) }
    return pixels
  }

  /// Whether the last call only met bytes between the parts of an image, which all readers skip.
  private var isHarmless: Bool {
    unsafe tjGetErrorCode(handle) == TJERR_WARNING.rawValue && message.contains("extraneous bytes")
  }

  /// What libjpeg-turbo says of the last failure.
  private var message: String { unsafe String(cString: tjGetErrorStr2(handle)) }

  private func refusal(_ file: String, because reason: String) -> FileError {
    FileError(
      .malformed, file: file,
      "The JPEG image cannot be decoded (\(reason)); copy or download it again, or save it again as an 8-bit PNG or "
        + "JPEG.")
  }
}
