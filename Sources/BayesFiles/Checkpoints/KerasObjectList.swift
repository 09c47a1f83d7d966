import BayesNetwork
import BayesTensor

/// The objects of a file that follows those of its model: arrays `0`, `1`, … in groups called `vars`.
struct KerasObjectList {
  let objects: [CheckpointObject]

  /// Lists the objects of one file.
  ///
  /// - Throws: `FileError.Code.unsupported` where an object is a link, which Keras never writes.
  init(_ contents: HDF5File) throws(FileError) {
    if let (path, link) = contents.links.min(by: { $0.key < $1.key }) {
      throw FileError(
        .unsupported, file: contents.file, object: path,
        "This is \(link), which is not followed; write the arrays themselves into the file.")
    }
    var objects: [CheckpointObject] = []
    for (path, entryNames) in Self.grouped(contents.entries.map(\.path)) {
      let name = try contents.attributes(of: path + "/" + Self.group)["name"]?.firstText
      objects.append(CheckpointObject(path: String(path.dropFirst()), name: name, entryNames: entryNames))
    }
    self.objects = objects
  }

  /// Lists the objects of several files by the paths of all arrays.
  init(of paths: [String]) {
    objects = Self.grouped(paths).map { path, entryNames in
      CheckpointObject(path: String(path.dropFirst()), name: nil, entryNames: entryNames)
    }
  }

  /// Whether a file is one of these.
  static func describes(_ contents: HDF5File) -> Bool {
    contents.entries.contains { number(of: $0.path.split(separator: "/", omittingEmptySubsequences: false)) != nil }
  }

  private static let group = "vars"

  /// The arrays in groups `vars` by the paths around these, in the order of their numbers.
  private static func grouped(_ paths: [String]) -> [(path: String, entryNames: [String])] {
    var arrays: [String: [(number: Int, path: String)]] = [:]
    for path in paths {
      let parts = path.split(separator: "/", omittingEmptySubsequences: false)
      // What an optimizer keeps is not the model's.
      guard let number = number(of: parts), parts[1] != "optimizer" else { continue }
      arrays[parts.dropLast(2).joined(separator: "/"), default: []].append((number, path))
    }
    return arrays.keys.sorted().map { path in
      // After a gap nothing tells what an array is.
      let ordered = (arrays[path] ?? []).sorted { $0.number < $1.number }.enumerated()
      return (path, ordered.prefix { $0.offset == $0.element.number }.map(\.element.path))
    }
  }

  /// The number of an array in a group `vars`; `nil` of others.
  private static func number(of parts: [Substring]) -> Int? {
    parts.count >= 3 && parts[parts.count - 2] == group ? Int(parts[parts.count - 1]) : nil
  }
}
