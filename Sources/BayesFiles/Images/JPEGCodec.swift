import BayesTensor
import CJPEG

/// Compresses images of one size by libjpeg-turbo and unpacks them again, all in memory.
///
/// - Cost: one buffer for the largest file that an image of this size can become.
@safe final class JPEGCodec {
  private let size: ImageSize
  private let file: String
  private let encoder: tjhandle
  private let decoder: tjhandle
  private var packed: ContiguousArray<UInt8>

  /// The longest side that JPEG knows.
  private static let longestSide = 65_500

  /// - Parameter file: where the images come from; for messages.
  /// - Throws: `FileError.Code.shape` for images that are too large.
  init(_ size: ImageSize, file: String) throws(FileError) {
    guard size.height <= Self.longestSide, size.width <= Self.longestSide else {
      throw FileError(
        .shape, file: file,
        "Images are \(size.width) x \(size.height) pixels (width x height), and JPEG knows \(Self.longestSide) at "
          + "most; scale them down.")
    }
    guard let encoder = unsafe tjInitCompress(), let decoder = unsafe tjInitDecompress() else {
      preconditionFailure("libjpeg-turbo has no memory left for a codec.")
    }
    unsafe self.encoder = encoder
    unsafe self.decoder = decoder
    self.size = size
    self.file = file
    let bound = tjBufSize(Int32(size.width), Int32(size.height), Self.subsampling(size))
    packed = ContiguousArray(repeating: 0, count: Int(bound))
  }

  deinit {
    unsafe tjDestroy(encoder)
    unsafe tjDestroy(decoder)
  }

  /// The pixels that are left of an image after compression, `[height, width, channels]`.
  ///
  /// Chroma has half the resolution in both directions (4:2:0), the transform is the exact integer one and unpacking
  /// smooths chroma, all as Pillow does by default.
  ///
  /// - Parameter quality: from 1 to 100.
  /// - Throws: `FileError.Code.malformed` where libjpeg-turbo fails.
  /// - Precondition: there are as many pixels as the size says.
  func unpacked(compressing pixels: ContiguousArray<UInt8>, quality: Int) throws(FileError) -> ContiguousArray<UInt8> {
    precondition(pixels.count == size.valueCount, "\(pixels.count) values are no image of \(size).")
    let (width, height) = (Int32(size.width), Int32(size.height))
    let format = size.channelCount == 3 ? TJPF_RGB : TJPF_GRAY
    var result = pixels
    let status = unsafe packed.withUnsafeMutableBufferPointer { buffer in
      var place = buffer.baseAddress
      var count = UInt(buffer.count)
      let status = unsafe pixels.withUnsafeBufferPointer { source in
        unsafe tjCompress2(
          encoder, source.baseAddress, width, 0, height, format.rawValue, &place, &count,
          Self.subsampling(size), Int32(quality), TJFLAG_ACCURATEDCT | TJFLAG_NOREALLOC)
      }
      guard status == 0 else { return status }
      return unsafe result.withUnsafeMutableBufferPointer { target in
        unsafe tjDecompress2(
          decoder, place, count, target.baseAddress, width, 0, height, format.rawValue, TJFLAG_ACCURATEDCT)
      }
    }
    guard status == 0 else {
      throw FileError(.malformed, file: file, "libjpeg-turbo cannot compress an image of \(width) x \(height) pixels.")
    }
    return result
  }

  private static func subsampling(_ size: ImageSize) -> Int32 {
    Int32((size.channelCount == 3 ? TJSAMP_420 : TJSAMP_GRAY).rawValue)
  }
}
