import BayesTensor
import CZlib

/// A gzip file, unpacked from its start to its end.
@safe struct GzipStream: ~Copyable {
  let file: String
  private let stream: gzFile

  /// - Throws: `FileError.Code.cannotOpen`.
  init(_ file: String) throws(FileError) {
    guard let stream = unsafe gzopen(file, "rb") else {
      throw FileError(.cannotOpen, file: file, "The file cannot be opened for unpacking.")
    }
    self.file = file
    unsafe self.stream = stream
    unsafe gzbuffer(stream, 1 << 17)
  }

  deinit { unsafe gzclose(stream) }

  /// The next `count` bytes.
  ///
  /// - Throws: `FileError.Code.malformed` when there are fewer, or when the stream is damaged.
  func next(_ count: Int) throws(FileError) -> ContiguousArray<UInt8> {
    var bytes = ContiguousArray<UInt8>(repeating: 0, count: count)
    var filled = 0
    while filled < count {
      let step = unsafe bytes.withUnsafeMutableBytes { buffer in
        unsafe gzread(stream, buffer.baseAddress! + filled, UInt32(min(count - filled, 1 << 30)))
      }
      guard step > 0 else { throw damage }
      filled += Int(step)
    }
    return bytes
  }

  /// Checks the end of the stream and with it the checksum.
  func finish() throws(FileError) {
    var byte: UInt8 = 0
    var code: Int32 = 0
    guard unsafe gzread(stream, &byte, 1) >= 0 else { throw damage }
    _ = unsafe gzerror(stream, &code)
    // A stream without its end reads as one that is over; only this code tells.
    guard code != Z_BUF_ERROR else { throw damage }
  }

  private var damage: FileError {
    FileError(
      .malformed, file: file,
      "The gzip stream is truncated or damaged; copy or download the file again.")
  }
}
