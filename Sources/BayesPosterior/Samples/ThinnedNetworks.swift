public import BayesNetwork
public import BayesTensor

/// The networks that dropout makes of one, each with some elements dropped for all rows alike.
///
/// An element of a dropout layer of rate `r` is zero with probability `r`, and `1 / (1 − r)` times itself otherwise.
///
/// - Determinism: what a draw drops follows from the key, the draw's index and the layer's place in the network.
/// - Source: Gal and Ghahramani 2016, arXiv:1506.02142.
public struct ThinnedNetworks: NetworkDraws {
  /// One dropout layer on the way to an exit.
  public struct Site: Sendable, Equatable {
    /// The layer's name.
    public let name: String
    /// The probability with which an element is dropped, above zero.
    public let rate: Double
    /// The layer's node.
    let node: Int
    /// Axes of a row along which elements are dropped together.
    let sharedAxes: Set<Int>
  }

  public let sites: [Site]
  private let frozen: FrozenNetwork
  /// The network with a mask in place of each dropout layer.
  private let masked: Network
  /// The nodes, besides the input, where what all draws have in common ends.
  let boundary: [Int]
  /// Whether draws differ in the logits of each exit.
  public let affectsExit: [Bool]

  /// - Throws: `NetworkError` where no dropout layer of a rate above zero is on the way to an exit.
  public init(_ frozen: FrozenNetwork) throws(NetworkError) {
    let network = frozen.network
    let isNeeded = network.isNeeded(for: network.exits.map(\.logits))
    var sites: [Site] = []
    var nodes = network.nodes
    var hasDropout = false
    for index in nodes.indices where isNeeded[index] {
      guard let layer = nodes[index].layer as? Identity, let rate = layer.dropoutRate else { continue }
      hasDropout = true
      guard rate > 0 else { continue }
      sites.append(
        Site(name: nodes[index].name, rate: rate, node: index, sharedAxes: Set(layer.dropoutSharedAxes ?? [])))
      nodes[index].layer = Mask()
    }
    guard !sites.isEmpty else {
      throw NetworkError(
        hasDropout
          ? "All its dropout layers have the rate zero, and draws of it would all be the same; give a network that was "
            + "trained with dropout."
          : "It has no dropout layer on the way to an output, so there is nothing to draw; give a network that was trained with "
            + "Dropout layers.")
    }
    self.sites = sites
    self.frozen = frozen
    masked = try Network(
      nodes: nodes, exits: network.exits.map { Exit(name: $0.name, logits: $0.logits, likelihood: $0.likelihood) })
    let changes = masked.changes { nodes[$0].layer is Mask }
    affectsExit = masked.exits.map { changes[$0.logits] }
    boundary = masked.boundary(of: changes)
  }

  /// The network of one draw.
  public func network(draw: Int, key: RandomKey) throws(NetworkError) -> FrozenNetwork {
    var parameters = frozen.parameters
    for site in sites {
      parameters[ParameterPath(node: site.name, parameter: "factors")] = factors(
        of: site, key.child(draw).child(site.node))
    }
    return try FrozenNetwork(masked, parameters: parameters)
  }

  /// Multiply-adds of one row to reach an exit with so many draws, earlier exits included; what the draws have in common
  /// counts once.
  public func multiplyAdds(toExit exit: Int, draws: Int) -> Int {
    (self as any NetworkDraws).multiplyAdds(toExit: exit, draws: draws)
  }

  var graph: Network { masked }

  private func factors(of site: Site, _ key: RandomKey) -> Tensor<Float> {
    let shape = masked.shapes[site.node]
    let own = Shape(shape.dimensions.enumerated().map { site.sharedAxes.contains($0.offset) ? 1 : $0.element })
    let kept = site.rate < 1 ? Float(1 / (1 - site.rate)) : 0
    let drawn = key.uniforms(own.elementCount).map { $0 < site.rate ? 0 : kept }
    guard own != shape else { return Tensor(shape: shape, drawn) }
    var result = Tensor<Float>(zeros: shape)
    for position in 0..<result.count {
      var (rest, source, stride) = (position, 0, 1)
      for axis in shape.dimensions.indices.reversed() {
        if own[axis] > 1 { source += rest % shape[axis] * stride }
        rest /= shape[axis]
        stride *= own[axis]
      }
      result[position] = drawn[source]
    }
    return result
  }
}
