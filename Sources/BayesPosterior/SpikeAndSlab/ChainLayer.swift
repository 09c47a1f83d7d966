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
  /// Where vectors begin that have a number an output: those that are zero where nothing leads to an output any more.
  package var vectors: [Int]
  package var isRemovable: Bool
  package var prior: SpikeAndSlabPrior

  package init(
    name: String, parameters: Range<Int>, weights: Range<Int>, groups: WeightGroups, vectors: [Int] = [],
    isRemovable: Bool, prior: SpikeAndSlabPrior
  ) {
    (self.name, self.parameters, self.weights) = (name, parameters, weights)
    (self.groups, self.vectors, self.isRemovable, self.prior) = (groups, vectors, isRemovable, prior)
  }
}

extension ChainLayer {
  /// Puts what was removed of the layer into a mask of all parameters.
  func mark(_ removed: ContiguousArray<Float>, in mask: inout ContiguousArray<Float>) {
    mask.replaceSubrange(weights, with: removed)
    let outputCount = groups.shape[groups.shape.rank - 1]
    for output in 0..<outputCount
    where stride(from: output, to: removed.count, by: outputCount).allSatisfy({ removed[$0] == 0 }) {
      for vector in vectors { mask[vector + output] = 0 }
    }
  }
}

extension Network {
  /// The batch normalisation that alone reads a node.
  func normalization(behind node: Int) -> Int? {
    let readers = nodes.indices.filter { nodes[$0].inputs.contains(node) }
    guard readers.count == 1, nodes[readers[0]].layer is BatchNormalization, !exits.contains(where: { $0.logits == node }) else {
      return nil
    }
    return readers[0]
  }

  /// The trained parameters of a layer and of the batch normalisation that alone reads it.
  func trainedPaths(of node: Int) -> [ParameterPath] {
    ([node] + (normalization(behind: node).map { [$0] } ?? [])).flatMap { node in
      let inputs = nodes[node].inputs.map { shapes[$0] }
      return nodes[node].layer.parameterSpecs(for: inputs).filter(\.isTrained).map {
        ParameterPath(node: nodes[node].name, parameter: $0.name)
      }
    }
  }

  /// The convolution and dense layers on the way to some nodes.
  func matrixLayers(leadingTo outputs: [Int]) -> [Int] {
    let isNeeded = isNeeded(for: outputs)
    return nodes.indices.filter { isNeeded[$0] && nodes[$0].layer is any MatrixLayer }
  }

  /// Those of them that no other comes before, and those that none comes behind.
  func endMatrixLayers(leadingTo outputs: [Int]) -> (first: Set<Int>, last: Set<Int>) {
    let layers = Set(matrixLayers(leadingTo: outputs))
    var isBehind = [Bool](repeating: false, count: nodes.count)
    for index in nodes.indices { isBehind[index] = nodes[index].inputs.contains { layers.contains($0) || isBehind[$0] } }
    var isBefore = [Bool](repeating: false, count: nodes.count)
    let isNeeded = isNeeded(for: outputs)
    for index in nodes.indices.reversed() where isNeeded[index] && (layers.contains(index) || isBefore[index]) {
      for input in nodes[index].inputs { isBefore[input] = true }
    }
    return (layers.filter { !isBehind[$0] }, layers.filter { !isBefore[$0] })
  }
}
