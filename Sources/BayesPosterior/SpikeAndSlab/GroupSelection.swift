import BayesTensor

/// How groups are put into the slab or the spike, and which are removed.
public enum SelectionRule: Hashable, Sendable {
  /// As the authors' code does: by the mean square of a group now, the slab from `soft` on; removed are groups below `hard`,
  /// of dense layers by their mean square, of convolutions by the range of a whole filter or of all that reads one channel.
  case thresholds(soft: Double, hard: Double)
  /// By running means of responsibilities, `p ← a p + (1 − a) p′`; removed are groups below one half.
  ///
  /// A group's square at one moment of a chain with noise says little: in the spike it is as large as the noise makes it.
  case responsibilities(average: Double = 0.95)
}

/// Which groups of a layer's weights are in the slab, and which were removed, as far as a chain has gone.
public struct GroupSelection: Sendable, Equatable {
  public let groups: WeightGroups
  /// Running means, one a group; by thresholds one or zero.
  public internal(set) var responsibilities: [Double]
  /// One a weight: 0 where it was removed, which stays so.
  public internal(set) var mask: ContiguousArray<Float>
  /// Whether anything of the layer may be removed.
  public let isRemovable: Bool
  /// Updates made.
  private(set) var updateCount = 0

  /// All groups in the slab.
  public init(_ groups: WeightGroups, isRemovable: Bool) {
    self.groups = groups
    self.isRemovable = isRemovable
    responsibilities = Array(repeating: 1, count: groups.count)
    mask = ContiguousArray(repeating: 1, count: groups.shape.elementCount)
  }

  /// The number of weights that were removed.
  public var removedCount: Int { mask.count { $0 == 0 } }

  /// Looks at weights.
  ///
  /// - Parameters:
  ///   - weights: the layer's.
  ///   - inclusion: `θ`
  public mutating func update(
    from weights: Span<Float>, by rule: SelectionRule, _ prior: SpikeAndSlabPrior, inclusion: Double
  ) {
    let squares = groups.squares(of: weights)
    let count = Double(groups.weightCount)
    for group in squares.indices {
      switch rule {
      case .thresholds(let soft, _): responsibilities[group] = squares[group] / count >= soft ? 1 : 0
      case .responsibilities(let average):
        let found = prior.responsibility(
          squares: squares[group], weightCount: groups.weightCount, inclusion: inclusion)
        responsibilities[group] =
          updateCount == 0 ? found : average * responsibilities[group] + (1 - average) * found
      }
    }
    updateCount += 1
  }

  /// Removes what the rule says, but never all of a layer: of that the group with the largest square stays.
  ///
  /// - Returns: whether all of the layer would have gone.
  @discardableResult
  public mutating func remove(by rule: SelectionRule, weights: Span<Float>) -> Bool {
    guard isRemovable else { return false }
    var removed = mask
    switch rule {
    case .responsibilities:
      for position in removed.indices where responsibilities[groups.group(at: position)] < 0.5 { removed[position] = 0 }
    case .thresholds(_, let hard):
      if groups.shape.rank == 2 {
        let columns = WeightGroups(.inputs, of: groups.shape)
        let squares = columns.squares(of: weights)
        let count = Double(columns.weightCount)
        for position in removed.indices where squares[columns.group(at: position)] / count < hard { removed[position] = 0 }
      } else {
        for grouping in [WeightGrouping.filters, .inputs] {
          let units = WeightGroups(grouping, of: groups.shape)
          let ranges = units.ranges(of: weights)
          for position in removed.indices where ranges[units.group(at: position)] < hard { removed[position] = 0 }
        }
      }
    }
    if removed.contains(where: { $0 != 0 }) {
      mask = removed
      return false
    }
    // Of weights that are there; groups without any come last.
    var squares = [Double](repeating: -1, count: groups.count)
    for position in mask.indices where mask[position] != 0 {
      let group = groups.group(at: position)
      squares[group] = max(0, squares[group]) + Double(weights[position]) * Double(weights[position])
    }
    let largest = squares.indices.max { squares[$0] < squares[$1] } ?? 0
    for position in mask.indices where groups.group(at: position) != largest { mask[position] = 0 }
    return true
  }

  /// The penalty of each weight.
  public func penalties(_ prior: SpikeAndSlabPrior) -> ContiguousArray<Float> {
    let ofGroups = responsibilities.map { Float(prior.penalty(responsibility: $0)) }
    return ContiguousArray(mask.indices.map { ofGroups[groups.group(at: $0)] })
  }
}

extension WeightGroups {
  /// The largest less the smallest weight of each group.
  fileprivate func ranges(of weights: Span<Float>) -> [Double] {
    var (least, most) = ([Float](repeating: .infinity, count: count), [Float](repeating: -.infinity, count: count))
    for position in 0..<weights.count {
      let group = group(at: position)
      least[group] = min(least[group], weights[position])
      most[group] = max(most[group], weights[position])
    }
    return zip(least, most).map { Double($1) - Double($0) }
  }
}
