public import BayesNetwork
import BayesTensor

/// One layer whose weights a posterior is over: a matrix, and a bias where the layer has one.
public struct BayesianLayer: Sendable, Equatable {
  /// The node of the network.
  public let node: Int
  public let name: String
  /// The rows of the matrix: of a convolution, kernel height · kernel width · channels.
  public let inputCount: Int
  /// The columns of the matrix.
  public let outputCount: Int
  public let hasBias: Bool

  /// The number of weights and biases.
  public var parameterCount: Int { inputCount * outputCount + (hasBias ? outputCount : 0) }

  init(node: Int, name: String, inputCount: Int, outputCount: Int, hasBias: Bool) {
    self.node = node
    self.name = name
    self.inputCount = inputCount
    self.outputCount = outputCount
    self.hasBias = hasBias
  }

  /// The layer at a node; `nil` where it multiplies by no matrix, or by one a group.
  init?(_ frozen: FrozenNetwork, node: Int) {
    guard let layer = frozen.network.nodes[node].layer as? any MatrixLayer, layer.hasOneMatrix,
      let weight = frozen.network.parameterSpecs(of: node).first.flatMap({ frozen.parameters[$0.path] }),
      let outputCount = weight.shape.dimensions.last
    else { return nil }
    self.init(
      node: node, name: frozen.network.nodes[node].name, inputCount: weight.count / max(1, outputCount),
      outputCount: outputCount, hasBias: layer.usesBias)
  }

  /// The trained weights `[inputs, outputs]` in row-major order, and then the biases.
  func values(in frozen: FrozenNetwork) -> [Double] {
    let specs = frozen.network.parameterSpecs(of: node)
    return (hasBias ? specs[...] : specs.prefix(1)).flatMap { spec in
      frozen.parameters[spec.path]?.elements.map { Double($0) } ?? []
    }
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

  /// The scope that a text names: `all`, `last:3`, or names separated by commas.
  public init?(_ text: String) {
    let names = text.split(separator: ",").map { $0.trimmingPrefix(while: \.isWhitespace) }.map(String.init)
    if text == "all" {
      self = .all
    } else if text.hasPrefix("last:") {
      guard let count = Int(text.dropFirst("last:".count)), count > 0 else { return nil }
      self = .last(count)
    } else {
      guard !names.isEmpty else { return nil }
      self = .named(names)
    }
  }

  /// The text that names the scope.
  public var text: String {
    switch self {
    case .all: "all"
    case .last(let count): "last:\(count)"
    case .named(let names): names.joined(separator: ",")
    }
  }

  /// The layers, in the order of the network.
  ///
  /// - Throws: `NetworkError` for a name that is no such layer on the way to the exit, and where there is none.
  public func layers(of frozen: FrozenNetwork, exit: Exit) throws(NetworkError) -> [BayesianLayer] {
    let candidates = Self.candidates(in: frozen, exit: exit)
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

  /// The layers on the way to an exit among which a scope chooses.
  private static func candidates(in frozen: FrozenNetwork, exit: Exit) -> [BayesianLayer] {
    let network = frozen.network
    let isNeeded = network.isNeeded(for: [exit.logits], given: [0])
    return network.nodes.indices.filter { isNeeded[$0] }.compactMap { BayesianLayer(frozen, node: $0) }
  }

  /// The number of layers on the way to each exit among which a scope chooses.
  public static func candidateCounts(of frozen: FrozenNetwork) -> [Int] {
    frozen.network.exits.map { candidates(in: frozen, exit: $0).count }
  }
}
