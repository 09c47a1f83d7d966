public import BayesTensor
public import BayesNetwork
public import Foundation

/// A checkpoint in an HDF5 file: a model or weights saved by Keras 1, 2 or 3, or any named arrays.
///
/// What the file is is judged by its content:
///
/// - a whole Keras model: `architecture` is its `model_config`, layers lie under `/model_weights`;
/// - Keras weights without a model: there is no architecture, and layers lie at the root;
/// - anything else: all arrays, and no layers.
///
/// Weights that the model owns itself are a last layer named `top_level_model_weights`.
/// An entry's name is its full path, `/model_weights/conv1/conv1/kernel:0`.  The state of an optimizer
/// is not listed.
///
/// - Cost: opening reads the file once, for its digest.
public struct HDF5Checkpoint: Checkpoint {
  public let format: String
  public let architecture: Data?
  public let entries: [CheckpointEntry]
  public let layers: [CheckpointLayer]
  public let digest: String
  private let contents: HDF5File

  /// Opens a file.
  ///
  /// - Throws: `FileError` when it cannot be opened, is no HDF5 file, is damaged, or names a layer
  ///   that it does not hold.
  public init(_ file: String) throws(FileError) {
    let contents = try HDF5File(file)
    let root = try contents.attributes(of: "/")
    let layout = Layout(of: contents, root)
    let weightRoot: String? =
      switch layout {
      case .model: "/model_weights"
      case .weights: "/"
      case .arrays: nil
      }
    let attributes = try weightRoot.map { (path) throws(FileError) in try contents.attributes(of: path) } ?? [:]
    let version = root["keras_version"]?.firstText ?? attributes["keras_version"]?.firstText
    layers = try weightRoot.map { (path) throws(FileError) in
      try KerasLayerList(contents, path, attributes).layers
    } ?? []

    format =
      switch layout {
      case .model: "Keras \(version ?? "1") model, HDF5"
      case .weights: "Keras \(version ?? "1") weights, HDF5"
      case .arrays: "HDF5"
      }
    architecture = root["model_config"]?.firstText.map { Data($0.utf8) }
    entries = contents.entries.filter { entry in
      !entry.path.hasPrefix("/optimizer_weights/")
    }.map { CheckpointEntry(name: $0.path, shape: $0.shape, scalarType: $0.scalarType) }
    digest = try FileDigest.sha256(ofFile: file)
    self.contents = contents
  }

  public var file: String { contents.file }

  public func tensor(named name: String) throws(FileError) -> Tensor<Float> {
    let array = try contents.array(name)
    return Tensor(shape: array.shape, elements: try array.values(nil, as: Float.self))
  }

  private enum Layout {
    case model
    case weights
    case arrays

    init(of contents: HDF5File, _ root: [String: ArchiveAttribute]) {
      if root["model_config"] != nil || contents.hasGroup("/model_weights") {
        self = .model
      } else if root["layer_names"] != nil || root["layer_names0"] != nil {
        self = .weights
      } else {
        self = .arrays
      }
    }
  }
}

/// The layers that a group of a Keras file lists, with their weights, in the file's order.
private struct KerasLayerList {
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
        throw FileError(
          .missing, file: contents.file, object: path,
          "The file lists a layer '\(name)' but holds nothing of that name; it is damaged, so save it again.")
      }
    }
    let own = try Self.layer(Self.ownWeights, in: contents, at: prefix + Self.ownWeights)
    if !own.weightNames.isEmpty { layers.append(own) }
  }

  // The group of the weights that belong to no layer but to the model.
  private static let ownWeights = "top_level_model_weights"

  private static func layer(_ name: String, in contents: HDF5File, at path: String) throws(FileError)
    -> CheckpointLayer
  {
    let weightNames = try contents.attributes(of: path).textList("weight_names") ?? []
    return CheckpointLayer(
      name: name, weightNames: weightNames,
      entryNames: weightNames.map { HDF5File.normalized(path + "/" + $0) })
  }
}

extension ArchiveAttribute {
  /// The text, or the first of a list.
  fileprivate var firstText: String? {
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
  fileprivate func textList(_ name: String) -> [String]? {
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
