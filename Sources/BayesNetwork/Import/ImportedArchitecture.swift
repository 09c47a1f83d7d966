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

  /// Exchanges the rows of dense layers that read a flattened image, where the file's order is not the network's.
  mutating func readFlattenedImages(_ flattening: ImageFlattening) {
    for node in network.nodes where node.layer is Dense {
      var input = node.inputs[0]
      // What changes no order may stand between.
      while network.nodes[input].layer is Identity || network.nodes[input].layer is Activation {
        input = network.nodes[input].inputs[0]
      }
      guard network.nodes[input].layer is Reshape, network.shapes[input].rank == 1 else { continue }
      var image = network.nodes[input].inputs[0]
      var order = ImageFlattening.channelsLast.axes
      if let permutation = network.nodes[image].layer as? Permutation {
        order = permutation.order
        image = network.nodes[image].inputs[0]
      }
      let extents = network.shapes[image]
      let path = ParameterPath(node: node.name, parameter: "weight")
      guard extents.rank == 3, order != flattening.axes, var source = sources[path], source.arrangedShape.rank == 2
      else { continue }
      source.extents = Shape([source.arrangedShape[0]] + flattening.axes.map { extents[$0] })
      source.axes = order.compactMap { axis in flattening.axes.firstIndex(of: axis).map { $0 + 1 } } + [0]
      sources[path] = source
    }
  }

  public init(network: Network, sources: [ParameterPath: ParameterSource]) {
    self.network = network
    self.sources = sources
  }
}
