import BayesNetwork
import BayesTensor

/// A layer whose parameters chains move.
package struct ChainLayer: Sendable, Equatable {
  package var name: String
  /// Where its parameters lie among all.
  package var parameters: Range<Int>
  /// Where the weights lie that are in groups.
  package var weights: Range<Int>
  package var groups: WeightGroups
  package var isRemovable: Bool
  package var prior: SpikeAndSlabPrior

  package init(
    name: String, parameters: Range<Int>, weights: Range<Int>, groups: WeightGroups, isRemovable: Bool,
    prior: SpikeAndSlabPrior
  ) {
    (self.name, self.parameters, self.weights) = (name, parameters, weights)
    (self.groups, self.isRemovable, self.prior) = (groups, isRemovable, prior)
  }
}

extension Network {
  /// The convolution and dense layers on the way to some nodes.
  func matrixLayers(leadingTo outputs: [Int]) -> [Int] {
    let isNeeded = isNeeded(for: outputs)
    return nodes.indices.filter { isNeeded[$0] && nodes[$0].layer is any MatrixLayer }
  }

  /// Those of them that no other comes before, or none behind.
  func endMatrixLayers(leadingTo outputs: [Int]) -> Set<Int> {
    let layers = Set(matrixLayers(leadingTo: outputs))
    var isBehind = [Bool](repeating: false, count: nodes.count)
    for index in nodes.indices { isBehind[index] = nodes[index].inputs.contains { layers.contains($0) || isBehind[$0] } }
    var isBefore = [Bool](repeating: false, count: nodes.count)
    let isNeeded = isNeeded(for: outputs)
    for index in nodes.indices.reversed() where isNeeded[index] && (layers.contains(index) || isBefore[index]) {
      for input in nodes[index].inputs { isBefore[input] = true }
    }
    return layers.filter { !isBehind[$0] || !isBefore[$0] }
  }
}
