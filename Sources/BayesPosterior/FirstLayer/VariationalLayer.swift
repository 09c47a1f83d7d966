public import BayesNetwork
import BayesTensor

/// The layer whose weights, and bias where it has one, a mean-field Gaussian is over.
public struct VariationalLayer: Sendable, Equatable {
  /// The node of the network.
  public let node: Int
  public let name: String
  /// The weight, and the bias where there is one.
  public let paths: [ParameterPath]

  /// Chooses a layer on the way to an exit.
  ///
  /// - Parameter name: a convolution or dense layer; the first for `nil`.
  /// - Throws: `NetworkError` where there is no such layer, or where its weights occur at another place too.
  public init(_ name: String?, of frozen: FrozenNetwork, exit: Exit) throws(NetworkError) {
    let network = frozen.network
    let isNeeded = network.isNeeded(for: [exit.logits])
    let candidates = network.nodes.indices.filter { isNeeded[$0] && network.nodes[$0].layer is any MatrixLayer }
    guard let node = name == nil ? candidates.first : candidates.first(where: { network.nodes[$0].name == name }) else {
      let names = candidates.map { "'\(network.nodes[$0].name)'" }
      throw NetworkError(
        name.map {
          "There is no convolution or dense layer '\($0)' on the way to exit '\(exit.name)'; choose among "
            + names.joined(separator: ", ") + "."
        } ?? "There is no convolution and no dense layer on the way to exit '\(exit.name)'.")
    }
    self.node = node
    self.name = network.nodes[node].name
    paths = network.parameterSpecs(of: node).map(\.path)
    let own = paths.map { frozen.parameters[$0] }
    // Uses of one layer at several places come with equal weights.
    for other in candidates where other != node {
      guard network.parameterSpecs(of: other).map({ frozen.parameters[$0.path] }) == own else { continue }
      throw NetworkError(
        "The weights of '\(self.name)' are those of '\(network.nodes[other].name)' too, and would have to change together; "
          + "choose another layer.")
    }
  }

  /// The trained weights.
  func values(in frozen: FrozenNetwork) -> [Tensor<Double>] {
    paths.compactMap { frozen.parameters[$0]?.converted(to: Double.self) }
  }

  /// Parameters in their places.
  func parameters(_ values: [Tensor<Double>]) -> Parameters {
    Parameters(Dictionary(uniqueKeysWithValues: zip(paths, values.map { $0.converted(to: Float.self) })))
  }
}
