public import BayesTensor

/// SHA-256 digests, by which files are recognised.
public enum FileDigest {
  /// The digest of a file's bytes, in hexadecimal.
  ///
  /// - Throws: `FileError.Code.cannotOpen`.
  /// - Cost: reads the file once, a mebibyte at a time.
  public static func sha256(ofFile file: String) throws(FileError) -> String {
    let reader = try FileReader(file)
    var hash = SHA256()
    var offset = 0
    while offset < reader.size {
      let bytes = try reader.bytes(at: offset, count: min(1 << 20, reader.size - offset))
      unsafe bytes.withUnsafeBytes { unsafe hash.update($0) }
      offset += bytes.count
    }
    return hash.finish().map { byte in (byte < 16 ? "0" : "") + String(byte, radix: 16) }.joined()
  }
}
