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
    return hexadecimal(hash.finish())
  }

  /// The digest of what `sha256sum` would print for several files, without their folders.
  public static func sha256(ofFiles files: [String]) throws(FileError) -> String {
    var hash = SHA256()
    for file in files {
      let name = file.split(separator: "/").last.map(String.init) ?? file
      let line = Array("\(try sha256(ofFile: file))  \(name)\n".utf8)
      unsafe line.withUnsafeBytes { unsafe hash.update($0) }
    }
    return hexadecimal(hash.finish())
  }

  /// The digest of several digests, a line each.
  public static func sha256(joining digests: [String]) -> String {
    var hash = SHA256()
    for digest in digests {
      let line = Array("\(digest)\n".utf8)
      unsafe line.withUnsafeBytes { unsafe hash.update($0) }
    }
    return hexadecimal(hash.finish())
  }

  /// The digest of data as they may be named on a command line: a file's bytes or a folder's images.
  ///
  /// That of a folder is the digest of what `sha256sum` would print for its images, by their paths from the
  /// folder on, in the order of the rows: a line of digest, two spaces and path each.
  ///
  /// - Throws: `FileError` when a file cannot be read, or the folder is none of images.
  /// - Cost: reads everything once.
  public static func sha256(ofData file: String) throws(FileError) -> String {
    guard FolderListing.isFolder(file) else { return try sha256(ofFile: file) }
    let folder = try ImageFolder(file)
    var hash = SHA256()
    for row in folder.paths.indices {
      let line = Array("\(try sha256(ofFile: folder.path(row)))  \(folder.paths[row])\n".utf8)
      unsafe line.withUnsafeBytes { unsafe hash.update($0) }
    }
    return hexadecimal(hash.finish())
  }

  private static func hexadecimal(_ digest: [UInt8]) -> String {
    digest.map { byte in (byte < 16 ? "0" : "") + String(byte, radix: 16) }.joined()
  }
}
