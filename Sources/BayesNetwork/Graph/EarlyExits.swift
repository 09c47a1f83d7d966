public import BayesTensor

/// Linear exits to be added to a network at chosen nodes.
///
/// An exit reads the node's output, averaged over the pixels of a map `[height, width, channels]` or over the steps of a
/// sequence `[steps, channels]`, through one dense layer.  Nothing that was there changes.
public struct EarlyExits: Sendable {
  /// The network with the new exits beside those it had; its last exit is the one it had last.
  public let network: Network
  /// The name of the node that each new exit reads, in the order of the exits.
  public let nodeNames: [String]
  /// The node of each new exit's dense layer, in the order of the exits.
  private let heads: [Int]

  /// Plans exits with as many logits as the last exit has.
  ///
  /// - Parameters:
  ///   - names: names of nodes, in any order.
  ///   - likelihood: how the new exits are read, and those that leave it open.
  /// - Throws: `NetworkError` for a name that no node has (with those most like it), comes twice, or has an exit already;
  ///   for the input, the last exit and what lies behind or beside the way to it; for shapes other than vectors, maps and
  ///   sequences; and where an exit would cost as much as the last.
  public init(in network: Network, at names: [String], likelihood: Likelihood) throws(NetworkError) {
    guard let last = network.exits.last else { preconditionFailure("A network has an exit.") }
    let logitCount = network.shapes[last.logits].dimensions.last ?? 1
    guard network.shapes[last.logits].elementCount == logitCount else {
      throw NetworkError(
        "The output '\(last.name)' answers at several positions (\(network.shapes[last.logits]) a row), and early exits have "
          + "one answer a row; give a network that classifies whole rows.")
    }
    let isNeeded = network.isNeeded(for: [last.logits])
    var places: [Int] = []
    for name in names {
      let place = try Self.place(of: name, in: network, isNeeded, last)
      guard !places.contains(place) else {
        throw NetworkError("Node '\(name)' is named twice; name each node once.")
      }
      guard !network.nodes.contains(where: { $0.name == Self.name(at: name) }) else {
        throw NetworkError("There is an exit at node '\(name)' already; name another node.")
      }
      places.append(place)
    }
    var nodes = network.nodes
    // Of exits that cost the same the one at the earlier node comes first.
    let planned = places.sorted().map { place in
      let name = network.nodes[place].name
      return (name: name, head: Self.append(Self.name(at: name), reading: place, of: network, logitCount, to: &nodes))
    }
    let exits = planned.map { _, head in
      Exit(name: nodes[head].name, logits: head, features: nodes[head].inputs[0], likelihood: likelihood)
    }
    // What was said of exits that leave their reading open is kept.
    let others = network.exits.map { exit in
      Exit(name: exit.name, logits: exit.logits, features: exit.features, likelihood: exit.likelihood ?? likelihood)
    }
    let whole = try Network(nodes: nodes, exits: exits + others)
    let full = Network.cost(of: [last.logits], whole.nodes, whole.shapes)
    for (name, head) in planned where Network.cost(of: [head], whole.nodes, whole.shapes) >= full {
      throw NetworkError(
        "An exit at node '\(name)' would cost no fewer multiply-adds than the output '\(last.name)'; name an earlier node."
      )
    }
    // Exits are in order of cost.
    let order = whole.exits.compactMap { exit in planned.first { $0.head == exit.logits } }
    self.network = whole
    nodeNames = order.map(\.name)
    heads = order.map(\.head)
  }

  /// The name of an exit, and of its dense layer, at a node.
  public static func name(at node: String) -> String { "exit_" + node }

  /// Heads of zeros for the new exits.
  public var emptyHeads: [(weight: Tensor<Float>, bias: Tensor<Float>)] {
    heads.map { node in
      let shapes = network.parameterSpecs(of: node).map(\.shape)
      return (Tensor(zeros: shapes[0]), Tensor(zeros: shapes[1]))
    }
  }

  /// The new exits alone, with weights of zero: what records of their features are made with.
  public func features(of frozen: FrozenNetwork) throws(NetworkError) -> FrozenNetwork {
    let own = network.exits.filter { heads.contains($0.logits) }
    return try FrozenNetwork(
      Network(nodes: network.nodes, exits: own),
      parameters: parameters(of: frozen, emptyHeads))
  }

  /// The whole network with heads for the new exits, in their order.
  ///
  /// - Shapes: weights `[features, logits]`, biases `[logits]`.
  /// - Throws: `NetworkError` for a head of another shape.
  public func frozen(
    _ frozen: FrozenNetwork, heads: [(weight: Tensor<Float>, bias: Tensor<Float>)]
  ) throws(NetworkError) -> FrozenNetwork {
    try FrozenNetwork(network, parameters: parameters(of: frozen, heads))
  }

  private func parameters(
    of frozen: FrozenNetwork, _ values: [(weight: Tensor<Float>, bias: Tensor<Float>)]
  ) -> Parameters {
    var parameters = frozen.parameters
    for (head, value) in zip(heads, values) {
      let paths = network.parameterSpecs(of: head).map(\.path)
      parameters[paths[0]] = value.weight
      parameters[paths[1]] = value.bias
    }
    return parameters
  }

  /// The node of a name, where an exit may be.
  private static func place(
    of name: String, in network: Network, _ isNeeded: [Bool], _ last: Exit
  ) throws(NetworkError) -> Int {
    guard let node = network.nodes.firstIndex(where: { $0.name == name }) else {
      let near = network.nodes.dropFirst().map(\.name).sorted {
        let (a, b) = (distance($0, name), distance($1, name))
        return (a, $0) < (b, $1)
      }
      throw NetworkError(
        "There is no node '\(name)'; those most like it are \(near.prefix(4).map { "'\($0)'" }.joined(separator: ", ")), and "
          + "'inspect' lists all.")
    }
    guard node > 0 else {
      throw NetworkError("Node '\(name)' is the input, which nothing has been computed from; name a later node.")
    }
    guard node != last.logits, isNeeded[node] else {
      let leadsOn = network.exits.first { network.isNeeded(for: [$0.logits])[node] && $0.logits != node }
      throw NetworkError(
        leadsOn.map {
          "Node '\(name)' leads to exit '\($0.name)' alone and not on to the output '\(last.name)'; name a node on the way "
            + "there."
        } ?? "Node '\(name)' is an output or lies behind one; name a node before the output '\(last.name)'.")
    }
    guard (1...3).contains(network.shapes[node].rank) else {
      throw NetworkError(
        "Node '\(name)' gives \(network.shapes[node]) a row; an exit reads a vector, a sequence [steps, channels] or a map "
          + "[height, width, channels].")
    }
    return node
  }

  /// Appends the nodes of an exit and returns that of its dense layer.
  private static func append(
    _ exit: String, reading node: Int, of network: Network, _ logitCount: Int, to nodes: inout [Node]
  ) -> Int {
    var input = node
    let shape = network.shapes[node]
    if shape.rank == 2 {
      nodes.append(Node(name: exit + "_steps", layer: Reshape(target: [1] + shape.dimensions), inputs: [input]))
      input = nodes.count - 1
    }
    if shape.rank > 1 {
      nodes.append(Node(name: exit + "_pooling", layer: GlobalPooling(.average), inputs: [input]))
      input = nodes.count - 1
    }
    nodes.append(Node(name: exit, layer: Dense(units: logitCount), inputs: [input]))
    return nodes.count - 1
  }

  /// How many letters must be put in, left out or exchanged to make one name another.
  private static func distance(_ first: String, _ second: String) -> Int {
    let (a, b) = (Array(first.lowercased()), Array(second.lowercased()))
    var row = Array(0...b.count)
    for i in a.indices {
      var diagonal = row[0]
      row[0] = i + 1
      for j in b.indices {
        let above = row[j + 1]
        row[j + 1] = min(min(above, row[j]) + 1, diagonal + (a[i] == b[j] ? 0 : 1))
        diagonal = above
      }
    }
    return row[b.count]
  }
}
