public import BayesNetwork
public import BayesTensor

/// A graph under construction, for tests.
public struct NetworkBuilder {
  public private(set) var nodes: [Node]

  public init(input: Shape) { nodes = [Node(name: "input", layer: Input(input), inputs: [])] }

  /// Adds a layer behind `inputs` (the last node when none are given) and returns its index.
  @discardableResult
  public mutating func add(_ layer: any Layer, after inputs: Int...) -> Int {
    add(layer, after: inputs)
  }

  /// Adds a layer behind `inputs` (the last node when there are none) and returns its index.
  @discardableResult
  public mutating func add(_ layer: any Layer, after inputs: [Int]) -> Int {
    nodes.append(
      Node(
        name: "node\(nodes.count)", layer: layer, inputs: inputs.isEmpty ? [nodes.count - 1] : inputs))
    return nodes.count - 1
  }

  /// The network with an exit at each of `exits` (the last node when none are given) and random weights.
  ///
  /// Weights are normal with a spread that keeps activations near one; variances are positive.
  public func frozen(exits: [Int] = [], seed: UInt64 = 1) throws(NetworkError) -> FrozenNetwork {
    let nodes = nodes
    let network = try Network(
      nodes: nodes,
      exits: (exits.isEmpty ? [nodes.count - 1] : exits).map { index in
        Exit(
          name: nodes[index].name, logits: index,
          features: nodes[index].layer is Dense ? nodes[index].inputs[0] : nil, likelihood: .categorical)
      })
    var parameters = Parameters()
    let key = RandomKey(seed: seed)
    for (index, spec) in network.parameterSpecs.enumerated() {
      let normals = key.child(index).normals(spec.shape, as: Float.self)
      let fanIn = Float(max(1, spec.shape.dimensions.dropLast().reduce(1, *)))
      parameters[spec.path] =
        spec.path.description.hasSuffix("variance")
        ? normals.map { 0.5 + abs($0) }
        : spec.shape.rank > 1 ? normals.map { $0 / fanIn.squareRoot() } : normals.map { $0 * 0.5 }
    }
    return try FrozenNetwork(network, parameters: parameters)
  }
}
