import BayesFiles
public import BayesNetwork
public import BayesPosterior
import BayesPrediction
import BayesTensor

/// A model without the channels that removed weights leave without effect.
public struct CompactModel: Sendable {
  /// The network of the model that is the smaller checkpoint: of a posterior the last.
  public let network: FrozenNetwork
  /// That network before.
  public let original: FrozenNetwork
  private let removal: ChannelRemoval
  private let graph: FrozenNetwork
  private let samples: WeightSamplePosterior?

  /// - Parameters:
  ///   - samples: the networks of chains; `nil` for the network itself.
  /// - Throws: `NetworkError` where the posterior is of another network.
  public init(_ frozen: FrozenNetwork, _ samples: WeightSamplePosterior?) throws(NetworkError) {
    let versions = try samples?.networks(of: frozen) ?? [frozen]
    removal = ChannelRemoval(of: frozen.network, versions.map(\.parameters))
    original = versions[versions.count - 1]
    network = try original.removing(removal)
    (graph, self.samples) = (frozen, samples)
  }

  /// Whether anything was left out.
  public var isSmaller: Bool { !removal.isEmpty(for: graph.network) }

  /// The posterior for the smaller checkpoint.
  ///
  /// - Parameters:
  ///   - posterior: that of the larger one.
  ///   - checkpoint: the smaller one, as it was written and read again.
  ///   - names: what nodes are called there.
  /// - Throws: `NetworkError` where the two do not belong together.
  public func posterior(
    _ posterior: SampledNetworkPosterior, for checkpoint: CheckpointModel, names: [String: String]
  ) throws -> SampledNetworkPosterior? {
    guard let samples else { return nil }
    var source = posterior.source
    source.checkpointDigest = checkpoint.digest
    for index in source.exits.indices { source.exits[index].name = checkpoint.frozen.network.exits[index].name }
    return try posterior.replacing(
      samples.removing(removal, of: graph.network, parameters: graph.parameters, names: names), of: checkpoint.frozen,
      source: source)
  }
}
