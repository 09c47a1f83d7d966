import BayesTensor

/// A convention by which the operations and the parameters of a network are counted, for one row.
public enum OperationCount: String, Hashable, Sendable, Codable, CaseIterable {
  /// The multiply-adds of linear layers, without biases, in the nodes on which exits depend; all parameters.
  case multiplyAdds = "multiply-adds"

  /// The rules by which costs of multi-scale dense networks (MSDNet) are published.
  ///
  /// A multiply-add is one operation.
  ///
  /// | layer | operations |
  /// | --- | --- |
  /// | convolution | `in · filters · window · height' · width' / groups`, without the bias |
  /// | ReLU, also as the activation of another layer | its elements |
  /// | pooling | `channels · height' · width' · window` |
  /// | dense | weights and biases, at every position |
  /// | batch normalisation, concatenation, borders, softmax | none |
  /// | others | their multiply-adds |
  ///
  /// Nothing is left out because an exit does not need it: an exit's count holds whatever is laid out before the
  /// exit branches off, all scales of a grid among it, and the heads of earlier exits. What is laid out before
  /// what is told by the number of joins (nodes with several inputs) on the longest way from the input, and between
  /// equals by the number of nodes since the last join.
  ///
  /// Parameters are those that are learned: stored means and variances are not counted.
  ///
  /// - Source: Huang et al., "Multi-Scale Dense Networks for Resource Efficient Image Classification", ICLR 2018, and
  ///   the counts its public implementations print.
  case msdnet
}

extension Network {
  /// Operations of one row through a node.
  public func operations(of node: Int, counting convention: OperationCount) -> Int {
    switch convention {
    case .multiplyAdds: multiplyAdds(of: node)
    case .msdnet: publishedOperations(of: node)
    }
  }

  /// Operations of one row to reach an exit when all earlier exits are computed too.
  public func operations(toExit exit: Int, counting convention: OperationCount) -> Int {
    sum(overNodesToExit: exit, convention) { operations(of: $0, counting: convention) }
  }

  /// The number of weights of a node.
  public func parameterCount(of node: Int, counting convention: OperationCount) -> Int {
    let inputs = nodes[node].inputs.map { shapes[$0] }
    return nodes[node].layer.parameterSpecs(for: inputs).reduce(0) { sum, spec in
      convention == .msdnet && !spec.isTrained ? sum : sum + spec.shape.elementCount
    }
  }

  /// The number of weights up to an exit, earlier exits included.
  public func parameterCount(toExit exit: Int, counting convention: OperationCount) -> Int {
    sum(overNodesToExit: exit, convention) { parameterCount(of: $0, counting: convention) }
  }

  private func sum(overNodesToExit exit: Int, _ convention: OperationCount, _ value: (Int) -> Int) -> Int {
    var isCounted = isNeeded(for: exits[...exit].map(\.logits))
    if convention == .msdnet {
      for (index, isBefore) in isLaidOut(beforeExit: exit).enumerated() where isBefore { isCounted[index] = true }
    }
    return nodes.indices.reduce(0) { sum, index in
      guard isCounted[index] else { return sum }
      let (total, overflow) = sum.addingReportingOverflow(value(index))
      return overflow ? .max : total
    }
  }

  private func publishedOperations(of node: Int) -> Int {
    let output = shapes[node]
    switch nodes[node].layer {
    case let activation as Activation:
      if case .relu = activation.function { return output.elementCount }
      return 0
    case let pooling as Pooling:
      // Wide borders let a window be larger than any image.
      let area = pooling.window.height * pooling.window.width
      let (product, overflow) = output.elementCount.multipliedReportingOverflow(by: area)
      return overflow ? .max : product
    case is GlobalPooling:
      return shapes[nodes[node].inputs[0]].elementCount
    case let dense as Dense:
      return multiplyAdds(of: node) + (dense.usesBias ? output.elementCount : 0)
    default:
      return multiplyAdds(of: node)
    }
  }

  /// Whether each node is needed by some exit and no further on than where an exit branches off from what later
  /// exits need.
  private func isLaidOut(beforeExit exit: Int) -> [Bool] {
    let needed = isNeeded(for: exits.map(\.logits))
    guard exit < exits.count - 1 else { return needed }
    let own = isNeeded(for: [exits[exit].logits])
    let later = isNeeded(for: exits[(exit + 1)...].map(\.logits))
    let places = places
    guard let end = nodes.indices.filter({ own[$0] && later[$0] }).map({ places[$0] }).max() else { return own }
    return nodes.indices.map { needed[$0] && places[$0] <= end }
  }

  private var places: [Place] {
    var places: [Place] = []
    for node in nodes {
      let last = node.inputs.map { places[$0] }.max()
      places.append(last.map { $0.next(joins: node.inputs.count > 1) } ?? Place(joins: 0, steps: 0))
    }
    return places
  }
}

/// How far from the input a node is, by the longest way.
private struct Place: Comparable {
  var joins: Int
  /// Nodes since the last join.
  var steps: Int

  func next(joins isJoin: Bool) -> Place {
    isJoin ? Place(joins: joins + 1, steps: 0) : Place(joins: joins, steps: steps + 1)
  }

  static func < (a: Place, b: Place) -> Bool { (a.joins, a.steps) < (b.joins, b.steps) }
}
