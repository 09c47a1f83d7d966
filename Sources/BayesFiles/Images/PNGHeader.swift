import BayesTensor

/// What the first chunk of a PNG file says.
struct PNGHeader {
  static let signature: [UInt8] = [0x89, 0x50, 0x4E, 0x47, 0x0D, 0x0A, 0x1A, 0x0A]

  let width: Int
  let height: Int
  let hasColor: Bool
  let hasAlpha: Bool

  /// - Throws: `FileError.Code.malformed`.
  init(of reader: FileReader) throws(FileError) {
    let start = try reader.prefix(Self.signature.count + 25)
    let chunk = try PNGChunk(in: start, at: Self.signature.count, file: reader.file)
    guard chunk.type.elementsEqual("IHDR".utf8), chunk.content.count == 13 else {
      throw PNGChunk.damage(reader.file)
    }
    let content = Array(start[chunk.content])
    let (width, height) = (PNGChunk.number(content[0..<4]), PNGChunk.number(content[4..<8]))
    let (bitDepth, colorType) = (Int(content[8]), content[9])
    guard width > 0, height > 0, bitDepth <= 16, [0, 2, 3, 4, 6].contains(colorType) else {
      throw PNGChunk.damage(reader.file)
    }
    // Bits of the colour type: palette, colour, alpha.  A palette takes one sample a pixel.
    hasColor = colorType & 2 != 0
    hasAlpha = colorType & 4 != 0
    let sampleCount = colorType == 3 ? 1 : (hasColor ? 3 : 1) + (hasAlpha ? 1 : 0)
    // Deflate shrinks at most 1032-fold.
    let size = Double(width) * Double(height) * Double(sampleCount * bitDepth) / 8
    guard size <= Double(reader.size) * 1100 else {
      throw FileError(
        .malformed, file: reader.file,
        "The image claims \(width) x \(height) pixels, more than a PNG file of \(reader.size) bytes holds; copy or "
          + "download it again.")
    }
    self.width = width
    self.height = height
  }
}

/// A stretch of a PNG file: a length, a type, content and a checksum.
struct PNGChunk {
  let type: ArraySlice<UInt8>
  /// Where the content lies in the file.
  let content: Range<Int>

  /// - Throws: `FileError.Code.malformed` where the chunk is not whole or its checksum is wrong.
  init(in bytes: ContiguousArray<UInt8>, at offset: Int, file: String) throws(FileError) {
    guard offset + 12 <= bytes.count else { throw Self.damage(file) }
    let length = Self.number(bytes[offset..<offset + 4])
    guard length <= bytes.count - offset - 12 else { throw Self.damage(file) }
    type = ArraySlice(bytes[offset + 4..<offset + 8])
    content = offset + 8..<offset + 8 + length
    let checksum = Self.number(bytes[content.upperBound..<content.upperBound + 4])
    guard !isCritical || Checksum.crc32(of: bytes, offset + 4..<content.upperBound) == checksum else {
      throw Self.damage(file)
    }
  }

  /// Whether pixels cannot be had without it: a capital starts its type.
  var isCritical: Bool { type.first.map { $0 & 0x20 == 0 } ?? false }

  /// Where the chunk starts, and where the next one does.
  var range: Range<Int> { content.lowerBound - 8..<content.upperBound + 4 }

  static func number(_ bytes: some Sequence<UInt8>) -> Int { bytes.reduce(0) { $0 << 8 | Int($1) } }

  static func damage(_ file: String) -> FileError {
    FileError(.malformed, file: file, "The PNG image is truncated or damaged; copy or download it again.")
  }
}
