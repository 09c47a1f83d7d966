public import BayesTensor
import Foundation

/// Networks as Keras 1, 2 and 3 describe them in their files.
///
/// Sequential and functional models with any number of inputs and outputs are read; models inside
/// models are laid open, their layers then named `outer/inner`.  Several inputs become one vector that holds
/// them one after another, each flattened, in the model's order.  A layer that is used several times becomes a
/// node for each use, `NAME/use2`, each with the weights of all.  An activation that is a setting of a
/// layer becomes a node of its own, `NAME/activation`, and the first half of a separable convolution
/// becomes `NAME/depthwise`.  Layers along one axis become those of images of height one, between
/// reshapes called `NAME/image` and `NAME/sequence`.
///
/// Each output becomes an exit under the name of the layer that makes it.  A softmax or its logarithm at its
/// end is taken off, so that the exit gives logits: the likelihood is then categorical.  A sigmoid at its end
/// means a binary likelihood for one unit and a multilabel one for more.  With neither, the file
/// leaves the likelihood open.  Where a vector of logits comes from a dense layer, its input is the
/// exit's features.
public enum KerasArchitecture {
  /// The network that a checkpoint describes, and where in the checkpoint its weights are.
  ///
  /// No tensor is read.
  ///
  /// - Parameter backend: the library that computed for Keras, for files of Keras 1, which do not say so.
  /// - Throws: `FileError`: `.missing` where the checkpoint describes no network, `.malformed` where
  ///   the description makes no sense, `.unsupported` listing every layer that cannot be imported.
  public static func network(
    of checkpoint: some Checkpoint, backend: KerasBackend? = nil
  ) throws(FileError) -> ImportedArchitecture {
    try network(of: checkpoint, describedBy: checkpoint, backend: backend)
  }

  /// The network that one file describes, and where in another its weights are.
  ///
  /// For a checkpoint that holds weights only.
  ///
  /// - Throws: as `network(of:)`; errors name the file with the description.
  public static func network(
    of checkpoint: some Checkpoint, describedBy other: some Checkpoint, backend: KerasBackend? = nil
  ) throws(FileError) -> ImportedArchitecture {
    guard let data = other.architecture else {
      throw FileError(
        .missing, file: other.file,
        "The file holds weights but no description of the network; give one with --architecture FILE: the JSON of "
          + "model.to_json(), a Keras file that holds the whole model or, of a PyTorch module, what export of "
          + "bayesify_torch.py writes.")
    }
    let description = try KerasDescription(parsing: data, file: other.file)
    var isStateDictionary = false
    var imported = try KerasImporter(file: other.file).imported(description.model) { requests in
      if !checkpoint.objects.isEmpty { return KerasObjectWeights(checkpoint).answers(to: requests) }
      let listed = KerasListedWeights(checkpoint, backend: backend).answers(to: requests)
      if listed.allSatisfy(\.isFound) { return listed }
      // Models of a class of their own list a few layers for all, whose weights are told by their names.
      let named = KerasStateWeights(checkpoint).answers(to: requests)
      isStateDictionary = named.count(where: \.isFound) > listed.count(where: \.isFound) || checkpoint.layers.isEmpty
      return isStateDictionary ? named : listed
    }
    if isStateDictionary { imported.readFlattenedImages(checkpoint.flattening) }
    if (checkpoint.kerasBackend.flatMap(KerasBackend.init) ?? backend) == .theano {
      try refuseBorders(of: imported.network, file: checkpoint.file)
    }
    return imported
  }

  /// Refuses windows whose `same` border Theano lays elsewhere than all others: those of even extent, and those
  /// that skip places.
  private static func refuseBorders(of network: Network, file: String) throws(FileError) {
    func isUneven(_ window: Extent2D, _ strides: Extent2D) -> Bool {
      window.height % 2 == 0 || window.width % 2 == 0 || strides.height > 1 || strides.width > 1
    }
    for node in network.nodes {
      let isRefused =
        switch node.layer {
        case let layer as Convolution: layer.padding == .same && isUneven(layer.window, layer.strides)
        case let layer as Pooling: layer.padding == .same
        case let layer as TransposedConvolution: layer.padding == .same
        default: false
        }
      guard isRefused else { continue }
      throw FileError(
        .unsupported, file: file, object: node.name,
        "Theano computed the network, and lays the border 'same' of this layer elsewhere than other libraries do; "
          + "rebuild the model with ZeroPadding2D and the border 'valid', load the weights into it and save it again.")
    }
  }
}

extension FrozenNetwork {
  /// Imports the network that a Keras checkpoint describes, with its weights.
  ///
  /// - Throws: `FileError`, as `KerasArchitecture.network(of:)` and as
  ///   `init(_:loading:from:)` do.
  public init(importing checkpoint: some Checkpoint, backend: KerasBackend? = nil) throws(FileError) {
    try self.init(importing: checkpoint, describedBy: checkpoint, backend: backend)
  }

  /// Imports the weights of one Keras checkpoint into the network that another describes.
  ///
  /// - Throws: as `init(importing:)`.
  public init(
    importing checkpoint: some Checkpoint, describedBy other: some Checkpoint, backend: KerasBackend? = nil
  ) throws(FileError) {
    let imported = try ImportedArchitecture(of: checkpoint, describedBy: other, backend: backend)
    try self.init(imported.network, loading: checkpoint, from: imported.sources)
  }
}
