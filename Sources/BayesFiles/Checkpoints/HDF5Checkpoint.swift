public import BayesNetwork
public import BayesTensor
public import Foundation

/// A checkpoint in an HDF5 file: a model or weights saved by Keras 1, 2 or 3, or any named arrays.
///
/// What the file is is judged by its content:
///
/// - a whole Keras model: `architecture` is its `model_config`, layers lie under `/model_weights`;
/// - Keras weights without a model: there is no architecture, and layers lie at the root;
/// - the weights of Keras before 1.1: layers and their arrays have numbers for names;
/// - Keras weights by objects, `.weights.h5`: there is no architecture, and no layers but `objects`;
/// - a graph that `bayesify_torch.py` wrote: `architecture` is its description; no layers;
/// - a network of Caffe, `/data/conv1/0`, or arrays that MATLAB 7.3 saved: no layers, but each entry says what it is in
///   a state dictionary of PyTorch;
/// - anything else: all arrays, and no layers.
///
/// Weights that the model owns itself are a last layer named `top_level_model_weights`.
/// An entry's name is its full path, `/model_weights/conv1/conv1/kernel:0`.  The state of an optimizer
/// is not listed.
///
/// An array that unpacks more than 200-fold is refused, as are arrays that unpack to much more than the
/// file: reading takes memory for at most 128 MiB and three times the file.
///
/// - Cost: opening costs what opening an `HDF5Archive` costs.
public struct HDF5Checkpoint: Checkpoint {
  public let format: String
  public let architecture: Data?
  public let entries: [CheckpointEntry]
  public let layers: [CheckpointLayer]
  public let objects: [CheckpointObject]
  public let kerasVersion: Int?
  public let kerasBackend: String?
  public let flattening: ImageFlattening
  private let contents: HDF5File
  private let allowance: UnpackingAllowance

  /// Opens a file.
  ///
  /// - Throws: `FileError` when it cannot be opened, is no HDF5 file, is damaged, or names a layer
  ///   that it does not hold.
  public init(_ file: String) throws(FileError) {
    try self.init(HDF5File(file))
  }

  /// Reads an open archive as a checkpoint.
  ///
  /// - Throws: `FileError` when it names a layer that it does not hold.
  public init(_ archive: HDF5Archive) throws(FileError) {
    try self.init(archive.contents)
  }

  init(_ contents: HDF5File) throws(FileError) {
    let root = try contents.attributes(of: "/")
    let layout = try Layout(of: contents, root)
    let attributes =
      try layout.root.map { (path) throws(FileError) in try contents.attributes(of: path) } ?? [:]
    let version = root["keras_version"]?.firstText ?? attributes["keras_version"]?.firstText
    switch layout {
    case .model, .weights:
      layers = try KerasLayerList(contents, layout.root ?? "/", attributes).layers
    case .positions: layers = try KerasLayerList(numberedIn: contents, attributes).layers
    case .objects, .caffe, .matlab, .arrays: layers = []
    }
    objects = layout.isOfObjects ? try KerasObjectList(contents).objects : []
    // Parts of a divided file list arrays where others list layers, and do not say who wrote them.
    let isPart = version == nil && !layers.isEmpty && layers.allSatisfy { $0.weightNames == [$0.name] }
    switch layout {
    case .model: format = "Keras \(version ?? "1") model, HDF5"
    case .weights where isPart: format = "TensorFlow weights, HDF5"
    case .weights, .positions: format = "Keras \(version ?? "1") weights, HDF5"
    case .objects: format = "Keras weights by objects, HDF5"
    case .caffe: format = "Caffe weights, HDF5"
    case .matlab: format = "MATLAB 7.3 arrays, HDF5"
    case .arrays: format = root["bayesify_graph"] == nil ? "HDF5" : "Bayesify graph and weights, HDF5"
    }
    switch layout {
    case .model, .weights, .positions:
      kerasVersion = isPart ? nil : version.map { Int($0.prefix { $0 != "." }) } ?? 1
    case .objects, .caffe, .matlab, .arrays: kerasVersion = nil
    }
    kerasBackend = root["backend"]?.firstText ?? attributes["backend"]?.firstText
    architecture = (root["model_config"] ?? root["bayesify_graph"])?.firstText.map { Data($0.utf8) }
    let states: [String: StateTensor]
    switch layout {
    case .model, .weights:
      let shapes = Dictionary(contents.entries.map { ($0.path, $0.shape) }) { first, _ in first }
      states = TensorFlowNames.states(of: layers, shapes: shapes)
      flattening = .channelsLast
    case .caffe(let arrays): (states, flattening) = (arrays.states, .channelsFirst)
    case .matlab(let arrays): (states, flattening) = (arrays.states, .columnMajor)
    case .positions, .objects, .arrays: (states, flattening) = ([:], .channelsFirst)
    }
    entries = contents.entries.filter { entry in
      !entry.path.hasPrefix("/optimizer_weights/") && !(layout.isOfObjects && entry.path.hasPrefix("/optimizer/"))
    }.map {
      CheckpointEntry(name: $0.path, shape: $0.shape, scalarType: $0.scalarType, state: states[$0.path])
    }
    allowance = UnpackingAllowance(fileSize: contents.size)
    self.contents = contents
  }

  public var file: String { contents.file }

  public func digest() throws(FileError) -> String { try FileDigest.sha256(ofFile: file) }

  public func tensor(named name: String) throws(FileError) -> Tensor<Float> {
    let array = try contents.array(name)
    try allowance.admit(array)
    return Tensor(shape: array.shape, elements: try array.values(nil, as: Float.self))
  }

  private enum Layout {
    case model
    case weights
    case positions
    case objects
    case caffe(CaffeArrays)
    case matlab(MATLABArrays)
    case arrays

    init(of contents: HDF5File, _ root: [String: ArchiveAttribute]) throws(FileError) {
      if root["model_config"] != nil || contents.hasGroup("/model_weights") {
        self = .model
      } else if root["layer_names"] != nil || root["layer_names0"] != nil {
        self = .weights
      } else if root["nb_layers"] != nil {
        self = .positions
      } else if KerasObjectList.describes(contents) {
        self = .objects
      } else if contents.isOfMATLAB {
        self = .matlab(try MATLABArrays(contents))
      } else if let arrays = try CaffeArrays(contents) {
        self = .caffe(arrays)
      } else {
        self = .arrays
      }
    }

    var isOfObjects: Bool { if case .objects = self { true } else { false } }

    /// The group that lists the layers.
    var root: String? {
      switch self {
      case .model: "/model_weights"
      case .weights, .positions: "/"
      case .objects, .caffe, .matlab, .arrays: nil
      }
    }
  }
}
