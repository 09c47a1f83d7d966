package import BayesNetwork
package import BayesTensor

/// Networks whose layers are drawn where a placement says so.
///
/// A layer's draws follow from the key, its node and the draw's index alone, so that two placements that have a layer in
/// common have its draws in common.
package struct PlacementDraws: NetworkDraws {
  package let graph: Network
  package let boundary: [Int]
  package let affectsExit: [Bool]
  private let frozen: FrozenNetwork
  private let layers: [(node: Int, distribution: LayerDistribution)]
  private let statistics: [NetworkStatistics]
  private let backend: any Backend

  /// - Parameter statistics: of batch normalisations, of each draw.
  /// - Throws: `NetworkError` where the network has no such layers.
  package init(
    _ distributions: [LayerDistribution], statistics: [NetworkStatistics] = [], of frozen: FrozenNetwork, on backend: any Backend
  ) throws(NetworkError) {
    var layers: [(node: Int, distribution: LayerDistribution)] = []
    for distribution in distributions {
      guard let node = frozen.network.nodes.firstIndex(where: { $0.name == distribution.layerName }) else {
        throw NetworkError("The network has no layer '\(distribution.layerName)'.")
      }
      layers.append((node, distribution))
    }
    let biased = try frozen.addingBiases(of: layers.map { ($0.node, $0.distribution.paths) })
    for (_, distribution) in layers { try distribution.requireShapes(in: biased) }
    try biased.network.requireStatistics(statistics)
    (self.frozen, self.layers, self.statistics, self.backend) = (biased, layers, statistics, backend)
    graph = biased.network
    let nodes = Set(layers.map(\.node))
    let changes = graph.changes { nodes.contains($0) }
    affectsExit = graph.exits.map { changes[$0.logits] }
    boundary = graph.boundary(of: changes)
  }

  /// The network as trained, with biases of zero where one is drawn of a layer that has none.
  package var base: FrozenNetwork { frozen }

  package func network(draw: Int, key: RandomKey) throws(NetworkError) -> FrozenNetwork {
    var parameters = frozen.parameters
    for (node, distribution) in layers {
      parameters = parameters.replacing(
        distribution.parameters(draw: draw, key: key.child(node), in: frozen, on: backend))
    }
    return try FrozenNetwork(graph, parameters: parameters.replacing(statistics, ofNetwork: draw))
  }
}

extension FrozenNetwork {
  /// The same network with biases of zero in layers that have none and of which one is drawn.
  fileprivate func addingBiases(of layers: [(node: Int, paths: [ParameterPath])]) throws(NetworkError) -> FrozenNetwork {
    var missing: [MemberLayer] = []
    for (node, paths) in layers where paths.contains(where: { parameters[$0] == nil }) {
      missing.append(try MemberLayer(node, of: network))
    }
    guard !missing.isEmpty else { return self }
    var all = parameters
    for layer in missing { all[layer.biasPath] = Tensor(zeros: [layer.outputCount]) }
    return try FrozenNetwork(network.addingBiases(to: missing), parameters: all)
  }
}

extension LayerDistribution {
  /// Refuses a network whose parameters have other shapes.
  fileprivate func requireShapes(in frozen: FrozenNetwork) throws(NetworkError) {
    let shapes = paths.compactMap { frozen.parameters[$0]?.shape }
    let fits =
      switch form {
      case .factorized(let means, _): means.map(\.shape) == shapes
      case .kronecker(let gaussian):
        shapes.first?.elementCount == gaussian.deviations.count && gaussian.biasDeviations?.count == shapes.dropFirst().first?[0]
      case .dropout: shapes.count == 1
      case .samples(let samples): samples.map(\.shape.row) == shapes
      }
    guard fits, shapes.count == paths.count else {
      throw NetworkError("The network has no layer '\(layerName)' with weights of these shapes.")
    }
  }
}
