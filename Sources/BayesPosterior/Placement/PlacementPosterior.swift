import BayesTensor

/// A network some of whose layers are drawn, each by a distribution of its own; the others are as trained.
public struct PlacementPosterior: Sendable, Equatable {
  /// In the order of the network.
  public let layers: [LayerDistribution]
  /// Statistics of batch normalisations behind them, of each draw; none where they are as trained.
  public let statistics: [NetworkStatistics]
  /// The number of training rows.
  public let rowCount: Int
  /// The SHA-256 of the foreign rows that the placement was searched with, where it was: those that must not measure it.
  public var searchDigests: [String]

  public init(layers: [LayerDistribution], statistics: [NetworkStatistics], rowCount: Int, searchDigests: [String] = []) {
    self.layers = layers
    self.statistics = statistics
    self.rowCount = rowCount
    self.searchDigests = searchDigests
  }

  /// The method, as reports name it.
  public func method(draws: Int) -> String {
    let kinds = Dictionary(grouping: layers, by: \.kind)
    let parts = kinds.keys.sorted { "\($0)" < "\($1)" }.map { kind in
      let names = kinds[kind, default: []].map { "'\($0.layerName)'" }
      return "\(kind) of \(names.count > 3 ? "\(names.count) layers" : names.joined(separator: ", "))"
    }
    return "placement (\(parts.joined(separator: "; "))), \(draws) draws"
  }
}
