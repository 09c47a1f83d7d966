public import BayesTensor

/// One layer in its place in a graph.
public struct Node: Sendable {
  /// Unique in the network; for imported networks, the name the checkpoint gives the layer.
  public var name: String
  public var layer: any Layer
  /// Indices of the nodes whose outputs go in, in order; all smaller than this node's own.
  public var inputs: [Int]

  public init(name: String, layer: any Layer, inputs: [Int]) {
    self.name = name
    self.layer = layer
    self.inputs = inputs
  }
}

/// One place where a network gives an answer.
public struct Exit: Sendable, Equatable {
  public var name: String
  /// The node whose output is the logits, before any softmax or sigmoid.
  public var logits: Int
  /// The node whose output is the penultimate features, where the logits come from a linear head.
  public var features: Int?
  /// How the output is to be read; `nil` where the checkpoint leaves it open.
  public var likelihood: Likelihood?

  public init(name: String, logits: Int, features: Int? = nil, likelihood: Likelihood?) {
    self.name = name
    self.logits = logits
    self.features = features
    self.likelihood = likelihood
  }
}

/// A graph of layers with one input and one or more exits; it holds no weights.
public struct Network: Sendable {
  /// Nodes in an order in which each follows its inputs; the first is the `Input`.
  public let nodes: [Node]
  /// Exits from the earliest to the last, by cost.
  public let exits: [Exit]
  /// The shape of one output row of each node.
  public let shapes: [Shape]

  /// Makes a network, checking every name, edge and shape once.
  ///
  /// Nodes on which no exit depends are kept; they are never computed.
  ///
  /// - Throws: `NetworkError` naming the node.
  public init(nodes: [Node], exits: [Exit]) throws(NetworkError) {
    guard let first = nodes.first, first.layer is Input else {
      throw NetworkError("The first node of a network must be its input.")
    }
    var names: Set<String> = []
    var shapes: [Shape] = []
    for (index, node) in nodes.enumerated() {
      guard names.insert(node.name).inserted else {
        throw NetworkError("Two nodes are named '\(node.name)'.")
      }
      guard node.inputs.allSatisfy({ $0 >= 0 && $0 < index }) else {
        throw NetworkError("Node '\(node.name)' takes the output of a node that does not precede it.")
      }
      do {
        shapes.append(try node.layer.outputShape(for: node.inputs.map { shapes[$0] }))
      } catch {
        throw NetworkError("Node '\(node.name)': \(error.message)")
      }
    }
    try Self.requireIndicesFromInput(nodes)
    guard !exits.isEmpty else { throw NetworkError("A network needs at least one exit.") }
    for exit in exits {
      guard nodes.indices.contains(exit.logits), exit.features.map(nodes.indices.contains) ?? true else {
        throw NetworkError("Exit '\(exit.name)' refers to a node that does not exist.")
      }
      guard let features = exit.features else { continue }
      guard let head = Self.head(of: exit.logits, nodes, shapes), let input = nodes[head].inputs.first else {
        throw NetworkError("Exit '\(exit.name)' has features but its logits come from no dense layer or 1x1 convolution.")
      }
      guard shapes[features].elementCount == shapes[input].elementCount else {
        throw NetworkError("Exit '\(exit.name)' has features of \(shapes[features]) where its head takes \(shapes[input]).")
      }
    }
    self.nodes = nodes
    self.shapes = shapes
    let costs = exits.map { Self.cost(of: [$0.logits], nodes, shapes) }
    self.exits = exits.indices.sorted { (costs[$0], $0) < (costs[$1], $1) }.map { exits[$0] }
  }

  /// The shape of one input row.
  public var inputShape: Shape { shapes[0] }

  /// The parameters of a node, in the order its layer takes them.
  public func parameterSpecs(of node: Int) -> [(path: ParameterPath, shape: Shape)] {
    nodes[node].layer.parameterSpecs(for: nodes[node].inputs.map { shapes[$0] })
      .map { (ParameterPath(node: nodes[node].name, parameter: $0.name), $0.shape) }
  }

  /// The parameters of all nodes.
  public var parameterSpecs: [(path: ParameterPath, shape: Shape)] {
    nodes.indices.flatMap { parameterSpecs(of: $0) }
  }

  /// The number of weights of a node.
  public func parameterCount(of node: Int) -> Int {
    parameterSpecs(of: node).reduce(0) { $0 + $1.shape.elementCount }
  }

  /// Multiply-adds of one row through a node.
  public func multiplyAdds(of node: Int) -> Int {
    nodes[node].layer.multiplyAdds(for: nodes[node].inputs.map { shapes[$0] }, output: shapes[node])
  }

  /// Multiply-adds of one row to reach an exit when all earlier exits are computed too.
  public func multiplyAdds(toExit exit: Int) -> Int {
    Self.cost(of: exits[...exit].map(\.logits), nodes, shapes)
  }

  /// The node of an exit's linear head: a dense layer or a 1x1 convolution that makes the logits of a position from
  /// the features at the same position; `nil` where the logits come from anything else.
  public func head(of exit: Exit) -> Int? { Self.head(of: exit.logits, nodes, shapes) }

  /// As `head(of:)`; layers behind the head that change no number and keep the last axis are passed over.
  static func head(of logits: Int, _ nodes: [Node], _ shapes: [Shape]) -> Int? {
    var index = logits
    while let input = nodes[index].inputs.first {
      let isHead =
        switch nodes[index].layer {
        case is Dense: true
        case let convolution as Convolution:
          convolution.isPointwise && shapes[index].dimensions.dropLast() == shapes[input].dimensions.dropLast()
        default: false
        }
      if isHead { return index }
      let changesNothing =
        switch nodes[index].layer {
        case is Identity: true
        case let activation as Activation: activation.function == .linear
        case is Reshape: shapes[index].dimensions.last == shapes[input].dimensions.last
        default: false
        }
      guard changesNothing else { return nil }
      index = input
    }
    return nil
  }

  /// Whether each node's value must be known for the outputs of `outputs`, where those of `inputs` are given.
  public func isNeeded(for outputs: [Int], given inputs: [Int] = [0]) -> [Bool] {
    Self.isNeeded(for: outputs, given: inputs, nodes)
  }

  private static func isNeeded(for outputs: [Int], given inputs: [Int] = [0], _ nodes: [Node]) -> [Bool] {
    let isGiven = Set(inputs)
    var needed = Array(repeating: false, count: nodes.count)
    for output in outputs { needed[output] = true }
    for index in nodes.indices.reversed() where needed[index] && !isGiven.contains(index) {
      for input in nodes[index].inputs { needed[input] = true }
    }
    return needed
  }

  static func cost(of outputs: [Int], _ nodes: [Node], _ shapes: [Shape]) -> Int {
    let needed = isNeeded(for: outputs, nodes)
    return nodes.indices.reduce(0) { sum, index in
      guard needed[index] else { return sum }
      let node = nodes[index]
      let cost = node.layer.multiplyAdds(for: node.inputs.map { shapes[$0] }, output: shapes[index])
      let (total, overflow) = sum.addingReportingOverflow(cost)
      return overflow ? .max : total
    }
  }
}

extension Network {
  /// The outputs of chosen nodes for a batch, layer by layer: the reference that prepared networks
  /// are tested against.
  ///
  /// - Shapes: `inputs` `[batch] + inputShape`; results `[batch] + shapes[node]`.
  /// - Precondition: `parameters` holds every tensor of `parameterSpecs` in its shape.
  public func outputs<Scalar: TensorScalar>(
    of outputs: [Int], for inputs: Tensor<Scalar>, parameters: Parameters, on backend: any Backend
  ) -> [Tensor<Scalar>] {
    let values = values(of: outputs, for: inputs, parameters: parameters, on: backend)
    return outputs.compactMap { values[$0] }
  }

  /// The outputs of all nodes that `outputs` need, themselves among them, from a batch of inputs.
  func values<Scalar: TensorScalar>(
    of outputs: [Int], for inputs: Tensor<Scalar>, parameters: Parameters, on backend: any Backend
  ) -> [Tensor<Scalar>?] {
    values(of: outputs, given: [0: inputs], parameters: parameters, on: backend)
  }

  /// The outputs of all nodes that `outputs` need, themselves among them, from those of given nodes.
  ///
  /// - Precondition: what `outputs` need follows from what is given; shapes fit.
  func values<Scalar: TensorScalar>(
    of outputs: [Int], given: [Int: Tensor<Scalar>], parameters: Parameters, on backend: any Backend
  ) -> [Tensor<Scalar>?] {
    let needed = isNeeded(for: outputs, given: Array(given.keys))
    var values = [Tensor<Scalar>?](repeating: nil, count: nodes.count)
    for (node, value) in given {
      precondition(
        value.shape.row == shapes[node],
        "Rows of \(shapes[node]) belong at '\(nodes[node].name)'; got \(value.shape.row).")
      values[node] = value
    }
    for index in nodes.indices where needed[index] && values[index] == nil {
      precondition(index > 0, "The network's input is needed and not given.")
      let arguments = nodes[index].inputs.compactMap { values[$0] }
      values[index] = nodes[index].layer.forward(
        arguments, parameters: tensors(of: index, parameters), on: backend)
    }
    return values
  }

  /// The parameters of a node in the order its layer takes them.
  func tensors<Scalar: TensorScalar>(of index: Int, _ parameters: Parameters) -> [Tensor<Scalar>] {
    parameterSpecs(of: index).map { spec in
      guard let tensor = parameters[spec.path], tensor.shape == spec.shape else {
        preconditionFailure("The parameter \(spec.path) of shape \(spec.shape) is missing.")
      }
      return tensor.converted(to: Scalar.self)
    }
  }
}
