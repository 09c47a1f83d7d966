import BayesTensor
import Foundation

/// A regular file, open for reading at any offset from any task.
final class FileReader: Sendable {
  /// The file, as the user named it.
  let file: String
  /// In bytes, when the file was opened.
  let size: Int
  let descriptor: Int32
  /// Whether the file can be opened anew under its name.
  let hasName: Bool
  /// Where the content starts.
  let start: Int

  /// - Throws: `FileError.Code.cannotOpen`.
  init(_ file: String) throws(FileError) {
    let descriptor = unsafe open(file, O_RDONLY | O_CLOEXEC)
    guard descriptor >= 0 else {
      throw FileError(.cannotOpen, file: file, Self.explanation(of: errno))
    }
    var status = stat()
    guard unsafe fstat(descriptor, &status) == 0, status.st_mode & S_IFMT == S_IFREG else {
      let isFolder = status.st_mode & S_IFMT == S_IFDIR
      close(descriptor)
      throw FileError(
        .cannotOpen, file: file,
        isFolder
          ? "This is a folder; name a file in it." : "This is not a regular file; save it to one first.")
    }
    self.file = file
    self.size = Int(status.st_size)
    self.descriptor = descriptor
    hasName = true
    start = 0
  }

  /// Takes over a descriptor, for files that have no name.
  init(descriptor: Int32, size: Int, file: String) {
    self.file = file
    self.size = size
    self.descriptor = descriptor
    hasName = false
    start = 0
  }

  /// A range of another file, as a file without a name.
  init(_ range: StoredRange, of file: FileReader) throws(FileError) {
    descriptor = fcntl(file.descriptor, F_DUPFD_CLOEXEC, 0)
    guard descriptor >= 0 else {
      throw FileError(.cannotOpen, file: file.file, Self.explanation(of: errno))
    }
    self.file = file.file
    size = range.size
    hasName = false
    start = range.offset
  }

  deinit { close(descriptor) }

  private static func explanation(of code: Int32) -> String {
    switch code {
    case ENOENT: "There is no such file; check the path."
    case EACCES: "The file may not be read by this user; change its permissions."
    default: "The file cannot be opened: \(unsafe String(cString: strerror(code)))."
    }
  }

  /// Exactly `count` bytes from `offset` on.
  ///
  /// - Throws: `FileError.Code.malformed` where the file ends before.
  func bytes(at offset: Int, count: Int) throws(FileError) -> ContiguousArray<UInt8> {
    guard offset >= 0, count >= 0, offset <= size, count <= size - offset else {
      throw FileError(
        .malformed, file: file,
        "The file ends after \(size) bytes where more are due; copy or download it again.")
    }
    var bytes = ContiguousArray<UInt8>(repeating: 0, count: count)
    var filled = 0
    while filled < count {
      let step = unsafe bytes.withUnsafeMutableBytes { buffer in
        unsafe pread(descriptor, buffer.baseAddress! + filled, count - filled, off_t(start + offset + filled))
      }
      if step < 0, errno == EINTR { continue }
      guard step > 0 else {
        throw FileError(
          .cannotOpen, file: file,
          step == 0
            ? "The file became shorter while it was read; do not write it meanwhile."
            : "The file cannot be read: \(unsafe String(cString: strerror(errno))).")
      }
      filled += step
    }
    return bytes
  }

  /// The first bytes, as many of `count` as there are.
  func prefix(_ count: Int) throws(FileError) -> ContiguousArray<UInt8> {
    try bytes(at: 0, count: min(count, size))
  }
}
