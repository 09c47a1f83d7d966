import BayesTensor

/// Bytes that can be read at any offset, from any task.
protocol ByteSource: Sendable {
  /// The file, as the user named it; for messages.
  var file: String { get }
  /// In bytes.
  var size: Int { get }

  /// Exactly `count` bytes from `offset` on.
  ///
  /// - Throws: `FileError.Code.malformed` where the source ends before.
  func bytes(at offset: Int, count: Int) throws(FileError) -> ContiguousArray<UInt8>
}

extension FileReader: ByteSource {}
