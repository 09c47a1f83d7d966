import BayesNetwork
import BayesTensor

/// The objects of a file that follows those of its model: arrays `0`, `1`, … in groups called `vars`.
struct KerasObjectList {
  let objects: [CheckpointObject]

  /// Lists the objects of one file.
  init(_ contents: HDF5File) throws(FileError) {
    var objects: [CheckpointObject] = []
    for (path, entryNames) in Self.grouped(contents.entries.map(\.path)) {
      let name = try contents.attributes(of: path + "/" + Self.group)["name"]?.firstText
      objects.append(CheckpointObject(path: String(path.dropFirst()), name: name, entryNames: entryNames))
    }
    self.objects = objects
  }

  /// Joins the objects of several files, among which those of one object may be divided.
  init(joining files: [[CheckpointObject]]) {
    var names: [String: String] = [:]
    for object in files.joined() { names[object.path] = names[object.path] ?? object.name }
    objects = Self.grouped(files.joined().flatMap(\.entryNames)).map { path, entryNames in
      let path = String(path.dropFirst())
      return CheckpointObject(path: path, name: names[path], entryNames: entryNames)
    }
  }

  /// Whether a file is one of these.
  static func describes(_ contents: HDF5File) -> Bool {
    contents.entries.contains { $0.path.hasSuffix("/\(group)/0") }
  }

  private static let group = "vars"

  /// The arrays in groups `vars` by the paths around these, in the order of their numbers.
  private static func grouped(_ paths: [String]) -> [(path: String, entryNames: [String])] {
    var arrays: [String: [(number: Int, path: String)]] = [:]
    for path in paths {
      let parts = path.split(separator: "/", omittingEmptySubsequences: false)
      // What an optimizer keeps is not the model's.
      guard parts.count >= 3, parts[parts.count - 2] == group, let number = Int(parts[parts.count - 1]),
        parts[1] != "optimizer"
      else { continue }
      arrays[parts.dropLast(2).joined(separator: "/"), default: []].append((number, path))
    }
    return arrays.keys.sorted().map { path in
      (path, (arrays[path] ?? []).sorted { $0.number < $1.number }.map(\.path))
    }
  }
}
