public import BayesTensor
public import Foundation

/// Writes small files so that they appear whole or not at all.
public enum AtomicFile {
  /// Writes a file.
  ///
  /// The content goes to a hidden file in the same folder, reaches the disk, and takes its name.
  ///
  /// - Parameter replacing: Whether a file of that name may be replaced.
  /// - Throws: `FileError.Code.cannotWrite`; a file that was there before is then unchanged.
  public static func write(_ data: Data, to path: String, replacing: Bool) throws(FileError) {
    try write([(path, data)], replacing: replacing)
  }

  /// Writes several files, none of which takes its name before the content of all is there.
  ///
  /// - Throws: as `write(_:to:replacing:)`.
  public static func write(_ files: [(path: String, data: Data)], replacing: Bool) throws(FileError) {
    guard let (path, data) = files.first else { return }
    let pending = try PendingFile(for: path, replacing: replacing)
    do {
      try data.write(to: URL(filePath: pending.temporaryPath), options: .withoutOverwriting)
    } catch {
      throw FileError(
        .cannotWrite, file: path,
        "The file cannot be written (\(error.localizedDescription)); make room or choose another place.")
    }
    try write(Array(files.dropFirst()), replacing: replacing)
    try pending.publish()
  }

  /// Refuses a name that cannot be written, before long work is done for it.
  ///
  /// - Throws: `FileError.Code.cannotWrite` when the folder does not exist or cannot be written, when a
  ///   folder or device has the name, or when anything has it that is not to be replaced.
  public static func requireWritable(_ path: String, replacing: Bool) throws(FileError) {
    _ = try PendingFile(for: path, replacing: replacing)
  }

  /// Removes what processes that are no more had begun to write beside some files.
  ///
  /// - Throws: `FileError.Code.cannotWrite` when something cannot be removed.
  public static func removeAbandoned(for paths: [String]) throws(FileError) {
    for path in paths { try PendingFile.removeAbandoned(for: path) }
  }

  /// Refuses a name that is taken, before long work is done for it.
  ///
  /// - Throws: `FileError.Code.cannotWrite` when there is a file, a folder or a link of that name.
  public static func requireAbsent(_ path: String) throws(FileError) {
    try PendingFile.requireAbsent(path)
  }
}
