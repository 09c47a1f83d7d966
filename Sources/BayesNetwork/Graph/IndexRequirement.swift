public import BayesTensor

/// What rows must hold where they choose rows of embeddings: whole numbers within the table.
public struct IndexRequirement: Sendable {
  private struct Limit: Sendable {
    /// The position among the inputs.
    var input: Int
    var node: String
    var count: Int
  }

  private let limits: [Limit]
  private let map: InputMap?
  /// The position of the network's own input, to whose rows `map` is applied.
  private let ownInput: Int?

  /// Finds the inputs whose numbers are indices.
  ///
  /// - Parameters:
  ///   - inputs: nodes whose outputs are given.
  ///   - outputs: nodes whose outputs are wanted.
  ///   - map: what is applied to rows of the network's own input before they go in.
  public init(of network: Network, given inputs: [Int], for outputs: [Int], map: InputMap?) {
    let isNeeded = network.isNeeded(for: outputs, given: inputs)
    var limits: [Limit] = []
    for index in network.nodes.indices where isNeeded[index] && !inputs.contains(index) {
      guard let embedding = network.nodes[index].layer as? Embedding else { continue }
      var source = network.nodes[index].inputs[0]
      while !inputs.contains(source), let before = network.sourceOfIndices(source) { source = before }
      guard let input = inputs.firstIndex(of: source) else { continue }
      limits.append(Limit(input: input, node: network.nodes[index].name, count: embedding.vocabulary))
    }
    self.limits = limits
    self.map = map
    ownInput = inputs.firstIndex(of: 0)
  }

  /// Whether no input's numbers are indices.
  public var isEmpty: Bool { limits.isEmpty }

  /// Refuses rows with a number that is no index.
  ///
  /// - Throws: `NumericalError.Code.outOfRange` naming the row, the element and the layer.
  public func callAsFunction(_ inputs: [RowBatch]) throws(NumericalError) {
    for limit in limits {
      let rows = inputs[limit.input]
      let numbers = limit.input == ownInput ? map.map { $0(rows) } ?? rows.tensor : rows.tensor
      let isIndex = { (number: Float) in number >= 0 && number < Float(limit.count) && number == number.rounded() }
      guard let position = numbers.elements.firstIndex(where: { !isIndex($0) }) else { continue }
      let width = numbers.count / max(1, rows.count)
      throw NumericalError(
        .outOfRange,
        "Element \(position % width) of row \(position / width) is \(numbers[position]), but the embedding "
          + "'\(limit.node)' needs a whole number from 0 to \(limit.count - 1). "
          + "Give indices as the network was trained "
          + "on, unscaled.")
    }
  }
}

extension Network {
  /// The node whose numbers a node passes on as they are.
  fileprivate func sourceOfIndices(_ node: Int) -> Int? {
    Self.passesNumbersOn(nodes[node].layer) ? nodes[node].inputs[0] : nil
  }

  /// Whether a layer gives the numbers that go in, whatever their shape.
  private static func passesNumbersOn(_ layer: any Layer) -> Bool { layer is Identity || layer is Reshape }

  /// Refuses embeddings whose indices are computed: nothing then tells whether they are whole.
  static func requireIndicesFromInput(_ nodes: [Node]) throws(NetworkError) {
    for node in nodes where node.layer is Embedding {
      var source = node.inputs[0]
      while passesNumbersOn(nodes[source].layer) { source = nodes[source].inputs[0] }
      guard nodes[source].layer is Input else {
        throw NetworkError(
          "Node '\(node.name)' is an embedding of what '\(nodes[source].name)' computes; only the network's input "
            + "can give indices.")
      }
    }
  }
}
