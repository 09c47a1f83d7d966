import BayesTensor
import CPNG
import CZlib

extension PNGHeader {
  /// The pixels of a PNG file, `[height, width, channels]`, by libpng.
  ///
  /// Samples are as stored: chunks that only say how to show them (gamma, profiles, transparency) never reach
  /// libpng.  Fewer bits than eight are stretched to 0...255, sixteen rounded to eight.
  ///
  /// - Parameter channelCount: 3, or 1 for images in grey.
  /// - Throws: `FileError.Code.malformed`.
  func pixels(of bytes: ContiguousArray<UInt8>, channelCount: Int, file: String) throws(FileError)
    -> ContiguousArray<UInt8>
  {
    let encoded = try Self.criticalChunks(of: bytes, file: file)
    let sampleCount = channelCount + (hasAlpha ? 1 : 0)
    var samples = ContiguousArray<UInt8>(repeating: 0, count: width * height * sampleCount)
    guard decode(encoded, into: &samples, hasColor: channelCount == 3) else { throw PNGChunk.damage(file) }
    guard hasAlpha else { return samples }
    var pixels = ContiguousArray<UInt8>()
    pixels.reserveCapacity(width * height * channelCount)
    for start in stride(from: 0, to: samples.count, by: sampleCount) {
      pixels += samples[start..<start + channelCount]
    }
    return pixels
  }

  /// Whether libpng could fill `samples`.
  private func decode(
    _ encoded: ContiguousArray<UInt8>, into samples: inout ContiguousArray<UInt8>, hasColor: Bool
  ) -> Bool {
    var image = unsafe png_image()
    unsafe image.version = png_uint_32(PNG_IMAGE_VERSION)
    defer { unsafe png_image_free(&image) }
    // libpng reads from the buffer until it has finished.
    return unsafe encoded.withUnsafeBytes { source in
      guard unsafe png_image_begin_read_from_memory(&image, source.baseAddress, source.count) != 0,
        unsafe Int(image.width) == width, unsafe Int(image.height) == height
      else { return false }
      let flags = (hasColor ? PNG_FORMAT_FLAG_COLOR : 0) | (hasAlpha ? PNG_FORMAT_FLAG_ALPHA : 0)
      unsafe image.format = png_uint_32(flags)
      // Else samples of 16 bits would be taken for linear light.
      unsafe image.flags |= png_uint_32(PNG_IMAGE_FLAG_16BIT_sRGB)
      return unsafe samples.withUnsafeMutableBytes { target in
        unsafe png_image_finish_read(&image, nil, target.baseAddress, 0, nil) != 0
      }
    }
  }

  /// The file without the chunks that pixels can do without.
  private static func criticalChunks(of bytes: ContiguousArray<UInt8>, file: String) throws(FileError)
    -> ContiguousArray<UInt8>
  {
    var encoded = ContiguousArray(signature)
    encoded.reserveCapacity(bytes.count)
    var offset = signature.count
    while true {
      let chunk = try PNGChunk(in: bytes, at: offset, file: file)
      if chunk.isCritical { encoded += bytes[chunk.range] }
      if chunk.type.elementsEqual("IEND".utf8) { return encoded }
      offset = chunk.range.upperBound
    }
  }
}

/// Checksums by zlib.
enum Checksum {
  static func crc32(of bytes: ContiguousArray<UInt8>, _ range: Range<Int>) -> Int {
    unsafe bytes.withUnsafeBytes { buffer in
      let part = unsafe UnsafeRawBufferPointer(rebasing: buffer[range])
      return unsafe Int(crc32_z(0, part.bindMemory(to: UInt8.self).baseAddress, part.count))
    }
  }
}
