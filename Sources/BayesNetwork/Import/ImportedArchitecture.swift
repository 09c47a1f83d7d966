public import BayesTensor

/// A description of an architecture read from a checkpoint: a graph, and where its weights are.
public struct ImportedArchitecture: Sendable {
  public var network: Network
  public var sources: [ParameterPath: ParameterSource]

  /// The network that one file describes, in whatever form, and where in another its weights are.
  ///
  /// No tensor is read.
  ///
  /// - Throws: `FileError`: `.missing` where there is no description, `.malformed` where it makes no sense,
  ///   `.unsupported` where it names what cannot be imported.
  public init(
    of checkpoint: some Checkpoint, describedBy other: some Checkpoint, backend: KerasBackend? = nil
  ) throws(FileError) {
    if let data = other.architecture, GraphDescription.describes(data) {
      self = try GraphArchitecture.network(
        of: checkpoint, describedBy: other, GraphDescription(parsing: data, file: other.file))
    } else {
      self = try KerasArchitecture.network(of: checkpoint, describedBy: other, backend: backend)
    }
  }

  /// Exchanges the rows of dense layers that read a flattened image: PyTorch flattens channels first.
  mutating func readFlattenedImagesChannelsFirst() {
    for node in network.nodes where node.layer is Dense {
      var input = node.inputs[0]
      // What changes no order may stand between.
      while network.nodes[input].layer is Identity || network.nodes[input].layer is Activation {
        input = network.nodes[input].inputs[0]
      }
      guard network.nodes[input].layer is Reshape, network.shapes[input].rank == 1 else { continue }
      let image = network.shapes[network.nodes[input].inputs[0]]
      let path = ParameterPath(node: node.name, parameter: "weight")
      guard image.rank == 3, var source = sources[path], source.storedShape.rank == 2 else { continue }
      source.extents = [source.storedShape[0], image[2], image[0], image[1]]
      source.axes = [2, 3, 1, 0]
      sources[path] = source
    }
  }

  public init(network: Network, sources: [ParameterPath: ParameterSource]) {
    self.network = network
    self.sources = sources
  }
}
