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

  public init(network: Network, sources: [ParameterPath: ParameterSource]) {
    self.network = network
    self.sources = sources
  }
}
