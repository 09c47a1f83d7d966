package import BayesNetwork
import BayesTensor

/// Networks drawn from one, which have a part in common.
protocol NetworkDraws: Sendable {
  /// The graph of every draw.
  var graph: Network { get }
  /// The nodes, the input perhaps among them, where what all draws have in common ends.
  var boundary: [Int] { get }
  /// Whether draws differ in the logits of each exit.
  var affectsExit: [Bool] { get }

  /// The network of one draw.
  ///
  /// - Determinism: follows from the index and the key.
  func network(draw: Int, key: RandomKey) throws(NetworkError) -> FrozenNetwork
}

extension NetworkDraws {
  /// Multiply-adds of one row to reach an exit with so many draws, earlier exits included; what the draws have in common
  /// counts once.
  func multiplyAdds(toExit exit: Int, draws: Int) -> Int {
    let outputs = graph.exits[...exit].map(\.logits)
    let isNeeded = graph.isNeeded(for: outputs)
    let isDrawn = graph.isNeeded(
      for: outputs.enumerated().filter { affectsExit[$0.offset] }.map(\.element), given: boundary + [0])
    return graph.nodes.indices.reduce(0) { sum, node in
      guard isNeeded[node] else { return sum }
      let repeats = isDrawn[node] && !boundary.contains(node) && node != 0
      return sum + graph.multiplyAdds(of: node) * (repeats ? draws : 1)
    }
  }
}

extension Network {
  /// Whether each node's output differs between draws, where those of some nodes do by themselves.
  package func changes(where isDrawn: (Int) -> Bool) -> [Bool] {
    var changes = [Bool](repeating: false, count: nodes.count)
    for index in nodes.indices { changes[index] = isDrawn(index) || nodes[index].inputs.contains { changes[$0] } }
    return changes
  }

  /// The nodes that exits need, that do not differ, and that feed those that do.
  package func boundary(of changes: [Bool]) -> [Int] {
    let isNeeded = isNeeded(for: exits.map(\.logits))
    var boundary: Set<Int> = []
    for index in nodes.indices where changes[index] && isNeeded[index] {
      boundary.formUnion(nodes[index].inputs.filter { !changes[$0] })
    }
    return boundary.sorted()
  }
}
