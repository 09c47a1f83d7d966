import BayesTensor

/// Where in a zip file the bytes of a member lie that is stored as it is.
struct StoredRange {
  let offset: Int
  let size: Int

  /// Walks through the members from the start of the file.
  ///
  /// - Returns: `nil` where the headers do not tell, or contradict the archive's list of members.
  init?(of member: ZipArchive.Member, in file: FileReader) throws(FileError) {
    guard member.isStored, member.size == member.packedSize else { return nil }
    var start = 0
    while start + Self.headerLength <= file.size {
      let header = try file.bytes(at: start, count: Self.headerLength)
      func number(_ position: Int, _ count: Int) -> Int {
        header[position..<position + count].reversed().reduce(0) { $0 << 8 | Int($1) }
      }
      guard header.starts(with: Self.signature) else { return nil }
      let (flags, method, packed, unpacked) = (number(6, 2), number(8, 2), number(18, 4), number(22, 4))
      // Sizes may follow the bytes, or be too large for the header.
      guard flags & Self.sizesFollow == 0, packed != 0xFFFF_FFFF, unpacked != 0xFFFF_FFFF else { return nil }
      let nameEnd = start + Self.headerLength + number(26, 2)
      let end = nameEnd + number(28, 2)
      guard end <= file.size, packed <= file.size - end else { return nil }
      let name = try file.bytes(at: start + Self.headerLength, count: number(26, 2))
      if String(decoding: name, as: UTF8.self) == member.name {
        guard method == 0, packed == member.size, unpacked == member.size else { return nil }
        offset = end
        size = packed
        return
      }
      start = end + packed
    }
    return nil
  }

  private static let signature: [UInt8] = [0x50, 0x4B, 0x03, 0x04]
  private static let headerLength = 30
  private static let sizesFollow = 1 << 3
}
