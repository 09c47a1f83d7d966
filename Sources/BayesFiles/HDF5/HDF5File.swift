import BayesTensor
import CHDF5
import CHDF5Files
import Foundation
import Synchronization

/// An HDF5 file open for reading, with everything in it listed.
///
/// Links to other files and soft links are noted and never followed.
final class HDF5File: Sendable {
  /// The file, as the user named it.
  let file: String
  /// In bytes.
  let size: Int
  /// All arrays, ordered by path.
  let entries: [ArchiveEntry]
  /// Whether the file says before its HDF5 content that MATLAB wrote it.
  let isOfMATLAB: Bool

  private let groups: Set<String>
  /// What each path that is no object but a link to one stands for, in words.
  let links: [String: String]
  private let handle: HDF5Handle<HDF5FileResource>
  // Arrays stay open between reads of row ranges, as their chunk caches live with them.
  private let openArrays = Mutex<[String: HDF5Array]>([:])
  private static let openArrayLimit = 32

  /// Opens a file and lists its groups and arrays; no array is read.
  ///
  /// - Throws: `FileError` when it cannot be opened, is no HDF5 file, or is damaged.
  convenience init(_ file: String) throws(FileError) {
    try self.init(FileReader(file))
  }

  /// Opens a file that is open for reading already, and that need not have a name.
  init(_ reader: FileReader) throws(FileError) {
    let file = reader.file
    let kind = try FileKind(of: reader)
    isOfMATLAB = try reader.prefix(19).elementsEqual("MATLAB 7.3 MAT-file".utf8)
    guard kind == .hdf5 else {
      throw FileError(.malformed, file: file, try kind.refusalAsHDF5(of: file))
    }
    let opened: HDF5Handle<HDF5FileResource>?
    do {
      opened = try HDF5Library.locked { () throws(HDF5Failure) in
        let access = try HDF5Handle<HDF5PropertiesResource>(
          reader.hasName
            ? H5Pcreate(bayesify_h5_file_access())
            : bayesify_h5_view_access(reader.descriptor, UInt64(reader.start), UInt64(reader.size)))
        // The library crashes on some damaged files, so a child process tries first.
        guard unsafe bayesify_h5_survives(file, access.identifier) != 0 else { return nil }
        return try HDF5Handle(unsafe H5Fopen(file, bayesify_h5_read_only(), access.identifier))
      }
    } catch {
      let isTruncated = error.reasons.contains { $0.contains("truncated") }
      throw FileError(
        .malformed, file: file,
        "The file is \(isTruncated ? "truncated" : "damaged or still being written"); copy or download it "
          + "again (\(error.reason)).")
    }
    guard let opened else {
      throw FileError(
        .malformed, file: file,
        "The file is damaged so that the HDF5 library cannot read it; copy or download "
          + "it again.")
    }
    handle = opened
    let identifier = handle.identifier
    var listing = HDF5Listing(file: file)
    try HDF5Library.locked { () throws(FileError) in try listing.visitAll(in: identifier) }
    self.file = file
    self.size = reader.size
    entries = listing.entries.sorted { $0.path < $1.path }
    groups = listing.groups
    links = listing.links
  }

  /// Whether there is a group at `path`.
  func hasGroup(_ path: String) -> Bool { groups.contains(Self.normalized(path)) }

  /// The paths of all groups, in order.
  var groupPaths: [String] { groups.sorted() }

  /// Whether there is an array at `path`.
  func hasArray(_ path: String) -> Bool { entry(Self.normalized(path)) != nil }

  /// The entry at a normalized path; `entries` is ordered.
  private func entry(_ path: String) -> ArchiveEntry? {
    var range = entries.startIndex..<entries.endIndex
    while !range.isEmpty {
      let middle = range.lowerBound + range.count / 2
      if entries[middle].path == path { return entries[middle] }
      range = entries[middle].path < path ? middle + 1..<range.upperBound : range.lowerBound..<middle
    }
    return nil
  }

  /// One leading slash, none doubled or trailing: `/a/b`.
  static func normalized(_ path: String) -> String {
    "/" + path.split(separator: "/").filter { $0 != "." }.joined(separator: "/")
  }

  /// The array at `path`, open for reading.
  ///
  /// - Throws: `FileError` when it is absent or this version cannot read it.
  func array(_ path: String) throws(FileError) -> HDF5Array {
    let path = Self.normalized(path)
    if let array = openArrays.withLock({ $0[path] }) { return array }
    guard let entry = entry(path) else { throw absence(of: path) }
    let array = try HDF5Array(entry, in: handle.identifier, file: file, fileSize: size)
    openArrays.withLock { arrays in
      if arrays.count >= Self.openArrayLimit { arrays.removeAll() }
      arrays[path] = array
    }
    return array
  }

  /// The error of a path that leads over a link; `nil` where it does not.
  func linkFailure(_ path: String) -> FileError? {
    let path = Self.normalized(path)
    guard let link = links.first(where: { path == $0.key || path.hasPrefix($0.key + "/") }) else { return nil }
    return FileError(
      .unsupported, file: file, object: path,
      "'\(link.key)' is \(link.value), which is not followed; write the array itself into the file.")
  }

  private func absence(of path: String) -> FileError {
    if let failure = linkFailure(path) { return failure }
    if groups.contains(path) {
      return FileError(.missing, file: file, object: path, "This is a group where an array is due.")
    }
    return FileError(
      .missing, file: file, object: path, "The file has no such array; it has \(arrayList).")
  }

  /// The attributes of an object; none where it is absent.
  ///
  /// - Throws: `FileError` when they cannot be read.
  func attributes(of path: String) throws(FileError) -> [String: ArchiveAttribute] {
    let path = Self.normalized(path)
    guard path == "/" || groups.contains(path) || entry(path) != nil else { return [:] }
    do {
      return try HDF5Library.locked { () throws(HDF5Failure) in
        let object = try HDF5Handle<HDF5ObjectResource>(
          unsafe H5Oopen(handle.identifier, path, bayesify_h5_default()))
        return try HDF5Attributes.all(of: object.identifier, fileSize: size)
      }
    } catch {
      throw FileError(
        .malformed, file: file, object: path,
        "The attributes cannot be read; the file is damaged, so copy or download it again "
          + "(\(error.reason)).")
    }
  }
}

/// Walks through a file's groups without following links out of the tree.
private struct HDF5Listing {
  let file: String
  private(set) var entries: [ArchiveEntry] = []
  private(set) var groups: Set<String> = []
  /// What a path that is a link stands for, in words.
  private(set) var links: [String: String] = [:]

  private var unbelievable: [(path: String, extents: [UInt64])] = []

  init(file: String) { self.file = file }

  mutating func visitAll(in fileIdentifier: hid_t) throws(FileError) {
    var pending = ["/"]
    var visited: Set<UInt64> = []  // A group may hold itself by a hard link.
    while let path = pending.popLast() {
      do {
        pending += try visit(path, in: fileIdentifier, &visited)
      } catch {
        throw FileError(
          .malformed, file: file, object: path,
          "The object cannot be opened; the file is damaged, so copy or download it again "
            + "(\(error.reason)).")
      }
    }
    for (path, extents) in unbelievable {
      throw FileError(
        .malformed, file: file, object: path,
        "The array claims extents \(extents), more than \(HDF5Array.elementLimit) elements; the file is damaged."
      )
    }
  }

  /// Notes an object; returns the paths in it, where it is a group.
  private mutating func visit(_ path: String, in fileIdentifier: hid_t, _ visited: inout Set<UInt64>)
    throws(HDF5Failure) -> [String]
  {
    let object = try HDF5Handle<HDF5ObjectResource>(
      unsafe H5Oopen(fileIdentifier, path, bayesify_h5_default()))
    var (type, address) = (H5O_TYPE_UNKNOWN, UInt64(0))
    try requireHDF5(unsafe bayesify_h5_object_info(object.identifier, &type, &address))
    if type == H5O_TYPE_DATASET {
      let extents = try HDF5Array.extents(of: object.identifier)
      let scalarType = try HDF5Array.scalarType(of: object.identifier).name
      if let shape = HDF5Array.shape(extents) {
        entries.append(ArchiveEntry(path: path, shape: shape, scalarType: scalarType))
      } else {
        unbelievable.append((path, extents))
      }
    }
    guard type == H5O_TYPE_GROUP else { return [] }
    groups.insert(path)
    guard visited.insert(address).inserted else { return [] }
    var paths: [String] = []
    for link in try HDF5Link.all(of: object.identifier) {
      let linkPath = path == "/" ? "/" + link.name : path + "/" + link.name
      switch link.kind {
      case H5L_TYPE_HARD: paths.append(linkPath)
      case H5L_TYPE_SOFT: links[linkPath] = "a soft link"
      case H5L_TYPE_EXTERNAL: links[linkPath] = "a link to another file"
      default: links[linkPath] = "a link of an unknown kind"
      }
    }
    return paths
  }
}

/// A name in a group.
private struct HDF5Link {
  let name: String
  let kind: H5L_type_t

  static func all(of group: hid_t) throws(HDF5Failure) -> [HDF5Link] {
    var links: [HDF5Link] = []
    try requireHDF5(
      unsafe withUnsafeMutablePointer(to: &links) { pointer in
        unsafe bayesify_h5_iterate_links(
          group,
          { _, name, info, context in
            guard let name = unsafe name, let info = unsafe info, let context = unsafe context else {
              return -1
            }
            unsafe context.assumingMemoryBound(to: [HDF5Link].self).pointee.append(
              HDF5Link(name: String(cString: name), kind: info.pointee.type))
            return 0
          }, pointer)
      })
    return links
  }
}
