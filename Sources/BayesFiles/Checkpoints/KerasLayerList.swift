import BayesNetwork
import BayesTensor

/// The layers that a group of a Keras file lists, with their weights, in the file's order.
struct KerasLayerList {
  private(set) var layers: [CheckpointLayer] = []

  init(_ contents: HDF5File, _ root: String, _ attributes: [String: ArchiveAttribute]) throws(FileError) {
    let prefix = root == "/" ? "/" : root + "/"
    for name in attributes.textList("layer_names") ?? [] {
      let path = HDF5File.normalized(prefix + name)
      if contents.hasGroup(path) {
        layers.append(try Self.layer(name, in: contents, at: path))
      } else if contents.hasArray(path) {
        // The shards of a divided file list arrays where others list layers.
        layers.append(CheckpointLayer(name: name, weightNames: [name], entryNames: [path]))
      } else {
        throw contents.linkFailure(path) ?? FileError(
          .missing, file: contents.file, object: path,
          "The file lists a layer '\(name)' but holds nothing of that name; it is damaged, so save it again.")
      }
    }
    let own = try Self.layer(Self.ownWeights, in: contents, at: prefix + Self.ownWeights)
    if !own.weightNames.isEmpty { layers.append(own) }
  }

  /// The layers of Keras before 1.1, which had numbers and no names: `layer_0/param_1`.
  init(numberedIn contents: HDF5File, _ root: [String: ArchiveAttribute]) throws(FileError) {
    guard case .integer(let count) = root["nb_layers"], (0...contents.groupPaths.count).contains(count) else {
      throw FileError(
        .malformed, file: contents.file,
        "The attribute 'nb_layers' is not the number of the file's layers; it is damaged, so save it again.")
    }
    for index in 0..<count {
      let name = "layer_\(index)"
      let weightNames = (0...).lazy.map { "param_\($0)" }.prefix { contents.hasArray("/\(name)/\($0)") }
      layers.append(
        CheckpointLayer(
          name: name, weightNames: Array(weightNames), entryNames: weightNames.map { "/\(name)/\($0)" }))
    }
  }

  // The group of the weights that belong to no layer but to the model.
  private static let ownWeights = "top_level_model_weights"

  private static func layer(_ name: String, in contents: HDF5File, at path: String) throws(FileError)
    -> CheckpointLayer
  {
    let weightNames = try contents.attributes(of: path).textList("weight_names") ?? []
    let entryNames = weightNames.map { HDF5File.normalized(path + "/" + $0) }
    for entryName in entryNames {
      if let failure = contents.linkFailure(entryName) { throw failure }
    }
    return CheckpointLayer(name: name, weightNames: weightNames, entryNames: entryNames)
  }
}

extension ArchiveAttribute {
  /// The text, or the first of a list.
  var firstText: String? {
    switch self {
    case .text(let text): text
    case .texts(let texts): texts.first
    case .integer, .integers, .number, .numbers: nil
    }
  }
}

extension [String: ArchiveAttribute] {
  /// A list of texts, which Keras divides as `name0`, `name1`, … when it is long.
  ///
  /// An empty list has no type of its own and is stored as no numbers.
  func textList(_ name: String) -> [String]? {
    if let whole = self[name] { return whole.textList }
    guard self[name + "0"] != nil else { return nil }
    var texts: [String] = []
    for index in 0... {
      guard let part = self["\(name)\(index)"] else { break }
      texts += part.textList
    }
    return texts
  }
}

extension ArchiveAttribute {
  fileprivate var textList: [String] {
    switch self {
    case .text(let text): [text]
    case .texts(let texts): texts
    case .integer, .integers, .number, .numbers: []
    }
  }
}
