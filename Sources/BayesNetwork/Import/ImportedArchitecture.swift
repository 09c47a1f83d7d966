/// A description of an architecture read from a checkpoint: a graph, and where its weights are.
public struct ImportedArchitecture: Sendable {
  public var network: Network
  public var sources: [ParameterPath: ParameterSource]

  public init(network: Network, sources: [ParameterPath: ParameterSource]) {
    self.network = network
    self.sources = sources
  }
}
