import BayesTensor
import Foundation

/// What lies in a folder: names in byte-wise order, without those that start with a dot.
struct FolderListing {
  let files: [String]
  let folders: [String]

  /// - Parameter followsLinks: whether links to folders count as folders.  Below a class they could lead
  ///   round in circles, so they are refused.
  /// - Throws: `FileError` when the folder cannot be read, or holds what is neither file nor folder.
  init(_ folder: String, followsLinks: Bool = true) throws(FileError) {
    let names: [String]
    do {
      names = try FileManager.default.contentsOfDirectory(atPath: folder)
    } catch {
      throw FileError(.cannotOpen, file: folder, "The folder cannot be read; check its permissions.")
    }
    var (files, folders): ([String], [String]) = ([], [])
    for name in names.sorted(by: { $0.utf8.lexicographicallyPrecedes($1.utf8) }) where !name.hasPrefix(".") {
      let path = Self.join(folder, name)
      var status = stat()
      guard unsafe stat(path, &status) == 0 else {
        throw FileError(
          .cannotOpen, file: path, "The file cannot be opened: \(unsafe String(cString: strerror(errno))).")
      }
      switch status.st_mode & S_IFMT {
      case S_IFREG: files.append(name)
      case S_IFDIR where followsLinks || !Self.isLink(path): folders.append(name)
      case S_IFDIR:
        throw FileError(
          .unsupported, file: path,
          "This is a link to a folder inside a class, and such links are not followed; put the folder itself there.")
      default:
        throw FileError(.unsupported, file: path, "This is neither a file nor a folder; move it away.")
      }
    }
    self.files = files
    self.folders = folders
  }

  /// Whether a path is that of a folder, or of a link to one.
  static func isFolder(_ path: String) -> Bool {
    var status = stat()
    return unsafe stat(path, &status) == 0 && status.st_mode & S_IFMT == S_IFDIR
  }

  /// The path of what lies in a folder.
  static func join(_ folder: String, _ name: String) -> String {
    folder.hasSuffix("/") ? folder + name : folder + "/" + name
  }

  private static func isLink(_ path: String) -> Bool {
    var status = stat()
    return unsafe lstat(path, &status) == 0 && status.st_mode & S_IFMT == S_IFLNK
  }
}
