import BayesTensor
import Foundation

/// Unpacked content in a temporary file that has no name, so that it goes away with its reader.
enum SpooledFile {
  private static let blockSize = 1 << 20

  /// Writes `size` bytes, a block at a time, and opens them for reading at any offset.
  ///
  /// - Throws: `FileError.Code.cannotWrite` when the folder for temporary files is full.
  static func reader(
    of file: String, size: Int, next: (_ count: Int) throws(FileError) -> ContiguousArray<UInt8>
  ) throws(FileError) -> FileReader {
    let folder = FileManager.default.temporaryDirectory.path(percentEncoded: false)
    var name = Array((folder + "/bayesify-XXXXXX").utf8CString)
    let descriptor = unsafe mkstemp(&name)
    guard descriptor >= 0 else { throw refusal(file, folder) }
    unsafe unlink(&name)
    let reader = FileReader(descriptor: descriptor, size: size, file: file)
    var written = 0
    while written < size {
      let block = try next(min(blockSize, size - written))
      var start = 0
      while start < block.count {
        let step = unsafe block.withUnsafeBytes { buffer in
          unsafe write(descriptor, buffer.baseAddress! + start, buffer.count - start)
        }
        if step < 0, errno == EINTR { continue }
        guard step > 0 else { throw refusal(file, folder) }
        start += step
      }
      written += block.count
    }
    return reader
  }

  /// Copies a source, so that it can be opened like a file.
  static func reader(copying source: any ByteSource) throws(FileError) -> FileReader {
    if let reader = source as? FileReader { return reader }
    var offset = 0
    return try reader(of: source.file, size: source.size) { (count) throws(FileError) in
      defer { offset += count }
      return try source.bytes(at: offset, count: count)
    }
  }

  private static func refusal(_ file: String, _ folder: String) -> FileError {
    FileError(
      .cannotWrite, file: file,
      "The file cannot be unpacked into \(folder) (\(unsafe String(cString: strerror(errno)))); make room "
        + "there, or point the environment variable TMPDIR to another folder.")
  }
}
