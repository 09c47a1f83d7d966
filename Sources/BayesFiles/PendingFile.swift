import BayesTensor
import Foundation

/// A file that is being written and will appear under its name whole, or not at all.
///
/// Its content goes to a hidden file beside the destination, which `publish()` renames and the end
/// of this value removes.
struct PendingFile: ~Copyable {
  /// The destination, as the user named it.
  let file: String
  /// Where to write meanwhile; nothing is there yet.
  let temporaryPath: String
  private let destination: String
  private let replacing: Bool

  /// - Throws: `FileError.Code.cannotWrite` when the destination exists and is not to be replaced,
  ///   or cannot be written.
  init(for file: String, replacing: Bool) throws(FileError) {
    if !replacing { try Self.requireAbsent(file) }
    // Through a symbolic link, what it points to is replaced.
    var destination = file
    if let path = unsafe realpath(file, nil) {
      destination = unsafe String(cString: path)
      unsafe free(path)
    }
    var status = stat()
    if unsafe stat(destination, &status) == 0, status.st_mode & S_IFMT != S_IFREG {
      throw Self.refusal(file, "A folder or device has this name; choose another.")
    }
    let slash = destination.lastIndex(of: "/")
    let folder = slash.map { String(destination[...$0]) } ?? ""
    let name = slash.map { String(destination[$0...].dropFirst()) } ?? destination
    guard !name.isEmpty else { throw Self.refusal(file, "This names a folder; name a file in it.") }
    guard unsafe access(folder.isEmpty ? "." : folder, W_OK | X_OK) == 0 else {
      throw Self.refusal(
        file,
        errno == ENOENT
          ? "The folder of this file does not exist; create it first."
          : "The folder of this file cannot be written (\(Self.systemMessage)); choose another.")
    }
    // Another process, or a crashed one with this number, may have left the same name.
    let suffix = String(UInt32.random(in: .min ... .max), radix: 36)
    self.file = file
    self.destination = destination
    self.replacing = replacing
    temporaryPath = "\(folder).\(name).\(getpid())-\(suffix).part"
  }

  deinit { _ = unsafe unlink(temporaryPath) }

  /// Removes hidden files that processes which are no more had begun to write for a file.
  static func removeAbandoned(for file: String) throws(FileError) {
    let url = URL(filePath: file)
    let folder = url.deletingLastPathComponent()
    let prefix = ".\(url.lastPathComponent)."
    do {
      for name in try FileManager.default.contentsOfDirectory(atPath: folder.path(percentEncoded: false)) {
        // `.NAME.PROCESS-NUMBER.part`
        let middle = name.dropFirst(prefix.count).dropLast(".part".count)
        guard name.hasPrefix(prefix), name.hasSuffix(".part"), let dash = middle.firstIndex(of: "-"),
          let process = pid_t(middle[..<dash]), process > 0, kill(process, 0) != 0, errno == ESRCH
        else { continue }
        try FileManager.default.removeItem(at: folder.appending(path: name))
      }
    } catch {
      throw refusal(file, "What an earlier run had begun to write cannot be removed (\(error.localizedDescription)).")
    }
  }

  /// Refuses a name that is taken.
  static func requireAbsent(_ file: String) throws(FileError) {
    var status = stat()
    guard unsafe lstat(file, &status) != 0 else {
      throw refusal(file, "The file exists already; choose another name, or replace it with --force.")
    }
  }

  /// Brings the content to the disk and gives it its name.
  consuming func publish() throws(FileError) {
    let descriptor = unsafe open(temporaryPath, O_RDONLY | O_CLOEXEC)
    guard descriptor >= 0 else { throw failure }
    let synchronized = fsync(descriptor)
    let synchronizationError = errno
    close(descriptor)
    errno = synchronizationError
    guard synchronized == 0 else { throw failure }
    if !replacing {
      // A link, unlike a renaming, fails when somebody took the name meanwhile.
      if unsafe link(temporaryPath, destination) == 0 { return }
      guard errno != EEXIST else { throw Self.refusal(file, "Another process wrote this file meanwhile.") }
      // Some file systems have no links.
      try Self.requireAbsent(file)
    }
    guard unsafe rename(temporaryPath, destination) == 0 else { throw failure }
  }

  /// The system's last refusal.
  private var failure: FileError {
    Self.refusal(
      file, "The file cannot be written (\(Self.systemMessage)); make room or choose another place.")
  }

  private static func refusal(_ file: String, _ message: String) -> FileError {
    FileError(.cannotWrite, file: file, message)
  }

  private static var systemMessage: String { unsafe String(cString: strerror(errno)) }
}
