public import BayesNetwork
public import BayesTensor

/// One layer whose weights a posterior is over: a matrix, and a bias where the layer has one.
public struct BayesianLayer: Sendable, Equatable {
  /// The node of the network.
  public let node: Int
  public let name: String
  /// The trained weights, `[inputs, outputs]`.
  public let weight: Tensor<Double>
  /// The trained bias, `[outputs]`; `nil` where there is none.
  public let bias: Tensor<Double>?

  public var inputCount: Int { weight.shape[0] }
  public var outputCount: Int { weight.shape[1] }
  /// The number of weights and biases.
  public var parameterCount: Int { weight.count + (bias?.count ?? 0) }

  /// The layer at a node; `nil` where it multiplies by no matrix, or by one a group.
  init?(_ frozen: FrozenNetwork, node: Int) {
    let specs = frozen.network.parameterSpecs(of: node)
    guard let layer = frozen.network.nodes[node].layer as? any MatrixLayer, layer.hasOneMatrix,
      let weight = specs.first.flatMap({ frozen.parameters[$0.path] }), let outputCount = weight.shape.dimensions.last
    else { return nil }
    self.node = node
    name = frozen.network.nodes[node].name
    self.weight = weight.converted(to: Double.self).reshaped(to: [weight.count / max(1, outputCount), outputCount])
    bias = layer.usesBias ? specs.last.flatMap { frozen.parameters[$0.path] }?.converted(to: Double.self) : nil
  }

  /// `Σ θ²`.
  var squaredNorm: Double {
    (Array(weight.elements) + (bias.map { Array($0.elements) } ?? [])).reduce(0) { $0 + $1 * $1 }
  }
}

/// Which layers on the way to an exit are Bayesian.
public enum LayerScope: Hashable, Sendable {
  /// All that multiply by one matrix: dense layers, and convolutions without groups.
  case all
  /// So many of the last of them.
  case last(Int)
  /// These, by name.
  case named([String])

  /// The layers, in the order of the network.
  ///
  /// - Throws: `NetworkError` for a name that is no such layer on the way to the exit, and where there is none.
  public func layers(of frozen: FrozenNetwork, exit: Exit) throws(NetworkError) -> [BayesianLayer] {
    let network = frozen.network
    let isNeeded = network.isNeeded(for: [exit.logits], given: [0])
    let candidates = network.nodes.indices.filter { isNeeded[$0] }.compactMap { BayesianLayer(frozen, node: $0) }
    let chosen: [BayesianLayer]
    switch self {
    case .all: chosen = candidates
    case .last(let count): chosen = Array(candidates.suffix(count))
    case .named(let names):
      for name in names where !candidates.contains(where: { $0.name == name }) {
        throw NetworkError(
          "There is no layer '\(name)' on the way to exit '\(exit.name)' that multiplies by one matrix; choose among "
            + "\(candidates.map { "'\($0.name)'" }.joined(separator: ", ")).")
      }
      chosen = candidates.filter { names.contains($0.name) }
    }
    guard !chosen.isEmpty else {
      throw NetworkError("No layer on the way to exit '\(exit.name)' is chosen; choose one at least.")
    }
    return chosen
  }
}
