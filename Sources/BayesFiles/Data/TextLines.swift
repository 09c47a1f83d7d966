import BayesTensor

/// The lines of a text file, read a block at a time.
struct TextLines {
  /// Where the next line starts in the file.
  private(set) var offset: Int
  private let reader: FileReader
  private var buffer: ContiguousArray<UInt8> = []
  /// Where the next line starts in the buffer.
  private var start = 0

  private static let blockSize = 1 << 18
  // A row of a million numbers is shorter.
  private static let lengthLimit = 1 << 26

  init(_ reader: FileReader, at offset: Int) {
    self.reader = reader
    self.offset = offset
  }

  /// The next line without its line feed, and without a carriage return before that; `nil` at the end.
  ///
  /// - Throws: `FileError` when the file cannot be read or a line is longer than 64 MiB.
  mutating func next() throws(FileError) -> ArraySlice<UInt8>? {
    var searched = start
    while true {
      if let end = buffer[searched...].firstIndex(of: 0x0A) { return take(end, breakLength: 1) }
      searched = buffer.count
      let read = offset + buffer.count - start
      if read >= reader.size { return start < buffer.count ? take(buffer.count, breakLength: 0) : nil }
      guard buffer.count - start <= Self.lengthLimit else {
        throw FileError(
          .unsupported, file: reader.file,
          "A line is longer than \(Self.lengthLimit) bytes; end every row with a line feed.")
      }
      buffer.removeFirst(start)
      searched -= start
      start = 0
      buffer += try reader.bytes(at: read, count: min(Self.blockSize, reader.size - read))
    }
  }

  private mutating func take(_ end: Int, breakLength: Int) -> ArraySlice<UInt8> {
    var line = buffer[start..<end]
    if line.last == 0x0D { line.removeLast() }
    offset += end + breakLength - start
    start = end + breakLength
    return line
  }
}
