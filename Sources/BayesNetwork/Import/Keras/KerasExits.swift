import BayesTensor

/// Finds the logits, the features and the likelihood of each output of a network.
struct KerasExits {
  private(set) var nodes: [Node]
  private(set) var exits: [Exit] = []
  private var shapes: [Shape]
  /// How many exits each layer has made.
  private var counts: [String: Int] = [:]

  init(nodes: [Node], shapes: [Shape]) {
    self.nodes = nodes
    self.shapes = shapes
  }

  /// Adds the exit of one output.
  mutating func add(layer: String, output: Int) {
    let count = counts[layer, default: 0] + 1
    counts[layer] = count
    var exit = Exit(
      name: count == 1 ? layer : "\(layer)/\(count)", logits: passingOver(output), likelihood: nil)
    if let ending = ending(of: exit.logits) {
      exit.logits = reshaped(
        passingOver(nodes[ending.node].inputs[0]), to: shapes[output], named: exit.name + "/logits")
      exit.likelihood = ending.likelihood
    }
    if let head = Network.head(of: exit.logits, nodes, shapes) { exit.features = passingOver(nodes[head].inputs[0]) }
    exits.append(exit)
  }

  /// The softmax or sigmoid that makes an output, if one does.
  private func ending(of output: Int) -> (node: Int, likelihood: Likelihood)? {
    var index = output
    let width = shapes[output].dimensions.last
    // A single vector stays one however its axes are counted, and so do many of one width.
    while nodes[index].layer is Reshape {
      let input = passingOver(nodes[index].inputs[0])
      guard shapes[index].elementCount == shapes[index].dimensions.last || shapes[input].dimensions.last == width
      else { return nil }
      index = input
    }
    guard let activation = nodes[index].layer as? Activation, shapes[index].dimensions.last == width else { return nil }
    switch activation.function {
    case .softmax, .logSoftmax: return (index, .categorical)
    case .sigmoid: return (index, width == 1 ? .binary : .multilabel)
    default: return nil
    }
  }

  /// The node whose value a node's is, past those that change nothing.
  private func passingOver(_ index: Int) -> Int {
    var index = index
    while let input = nodes[index].inputs.first {
      let changesNothing =
        switch nodes[index].layer {
        case is Identity: true
        case let activation as Activation: activation.function == .linear
        case is Reshape: shapes[index] == shapes[input]
        default: false
        }
      guard changesNothing else { break }
      index = input
    }
    return index
  }

  /// A node's value in another shape; the node itself where it has it.
  private mutating func reshaped(_ index: Int, to shape: Shape, named name: String) -> Int {
    guard shapes[index] != shape else { return index }
    nodes.append(Node(name: name, layer: Reshape(target: shape.dimensions), inputs: [index]))
    shapes.append(shape)
    return nodes.count - 1
  }
}
