import BayesTensor

/// How groups are put into the slab or the spike, and which are removed.
public enum SelectionRule: Hashable, Sendable {
  /// As the authors' code does: by the mean square of a group now, the slab from `soft` on; removed are groups below `hard`,
  /// of dense layers by their mean square, of convolutions by the range of a whole filter or of all that reads one channel; of
  /// several chains, where they are so in all of them.
  case thresholds(soft: Double, hard: Double)
  /// By running means of responsibilities, `p ← a p + (1 − a) p′`; removed are groups below one half.
  ///
  /// A group's square at one moment of a chain with noise says little: in the spike it is as large as the noise makes it.
  case responsibilities(average: Double = 0.95)
  /// A control: all groups are in the slab, and the smallest are removed.
  case magnitude
}

/// Which groups of a layer's weights are in the slab, and which were removed, as far as chains have gone.
///
/// Several chains have one selection: responsibilities are means over them, and what one of them needs is kept.
public struct GroupSelection: Sendable, Equatable {
  public let groups: WeightGroups
  /// Running means, one a group; by thresholds one or zero.
  public internal(set) var responsibilities: [Double]
  /// Running means of the groups' mean squares, one a group.
  public internal(set) var meanSquares: [Double]
  /// One a weight: 0 where it was removed, which stays so.
  public internal(set) var mask: ContiguousArray<Float>
  /// Whether anything of the layer may be removed.
  public let isRemovable: Bool
  /// Updates made.
  var updateCount = 0

  /// All groups in the slab.
  public init(_ groups: WeightGroups, isRemovable: Bool) {
    self.groups = groups
    self.isRemovable = isRemovable
    responsibilities = Array(repeating: 1, count: groups.count)
    meanSquares = Array(repeating: 0, count: groups.count)
    mask = ContiguousArray(repeating: 1, count: groups.shape.elementCount)
  }

  /// The number of weights that were removed.
  public var removedCount: Int { mask.count { $0 == 0 } }

  /// Looks at weights.
  ///
  /// - Parameters:
  ///   - chains: the layer's weights in every chain.
  ///   - inclusion: `θ`
  public mutating func update(
    from chains: [ContiguousArray<Float>], by rule: SelectionRule, _ prior: SpikeAndSlabPrior, inclusion: Double
  ) {
    let (chainCount, weightCount) = (Double(chains.count), Double(groups.weightCount))
    var (squares, found) = ([Double](repeating: 0, count: groups.count), [Double](repeating: 0, count: groups.count))
    for weights in chains {
      for (group, square) in groups.squares(of: weights.span).enumerated() {
        squares[group] += square / weightCount / chainCount
        found[group] +=
          prior.responsibility(squares: square, weightCount: groups.weightCount, inclusion: inclusion) / chainCount
      }
    }
    for group in squares.indices {
      switch rule {
      case .thresholds(let soft, _):
        responsibilities[group] = squares[group] >= soft ? 1 : 0
        meanSquares[group] = squares[group]
      case .responsibilities(let average):
        let kept = updateCount == 0 ? 0 : average
        responsibilities[group] = kept * responsibilities[group] + (1 - kept) * found[group]
        meanSquares[group] = kept * meanSquares[group] + (1 - kept) * squares[group]
      case .magnitude:
        responsibilities[group] = 1
        meanSquares[group] = squares[group]
      }
    }
    updateCount += 1
  }

  /// Removes what the rule says, but never all of a layer: of that the group with the largest square stays.
  ///
  /// - Parameter chains: the layer's weights in every chain.
  /// - Returns: whether all of the layer would have gone.
  @discardableResult
  public mutating func remove(by rule: SelectionRule, chains: [ContiguousArray<Float>]) -> Bool {
    switch rule {
    // Magnitudes are removed by the share that is asked for alone.
    case .magnitude: return false
    case .responsibilities:
      let found = responsibilities
      return remove { found[$0] < 0.5 }
    case .thresholds(_, let hard):
      guard isRemovable else { return false }
      var removed = mask
      let below = chains.map { isBelow(hard, $0) }
      for position in removed.indices where below.allSatisfy({ $0[position] }) { removed[position] = 0 }
      return replaceMask(by: removed)
    }
  }

  /// The running means of the groups' mean squares in units of the slab's variance.
  func relativeSizes(_ prior: SpikeAndSlabPrior) -> [Double] {
    meanSquares.map { $0 * Double(prior.rowCount) * prior.slab }
  }

  /// Removes groups of less than some relative size, but never all of a layer.
  ///
  /// - Returns: whether all of the layer would have gone.
  mutating func removeGroups(below size: Double, _ prior: SpikeAndSlabPrior) -> Bool {
    let sizes = relativeSizes(prior)
    return remove { sizes[$0] < size }
  }

  /// Removes groups, but never all of a layer.
  ///
  /// - Returns: whether all of the layer would have gone.
  @discardableResult
  mutating func remove(where isRemoved: (_ group: Int) -> Bool) -> Bool {
    guard isRemovable else { return false }
    var removed = mask
    for position in removed.indices where isRemoved(groups.group(at: position)) { removed[position] = 0 }
    return replaceMask(by: removed)
  }

  /// Which weights thresholds remove, as the authors' code does.
  private func isBelow(_ hard: Double, _ weights: ContiguousArray<Float>) -> [Bool] {
    var result = [Bool](repeating: false, count: weights.count)
    if groups.shape.rank == 2 {
      let columns = WeightGroups(.inputs, of: groups.shape)
      let squares = columns.squares(of: weights.span)
      let count = Double(columns.weightCount)
      for position in result.indices { result[position] = squares[columns.group(at: position)] / count < hard }
    } else {
      for grouping in [WeightGrouping.filters, .inputs] {
        let units = WeightGroups(grouping, of: groups.shape)
        let ranges = units.ranges(of: weights.span)
        for position in result.indices where ranges[units.group(at: position)] < hard { result[position] = true }
      }
    }
    return result
  }

  private mutating func replaceMask(by removed: ContiguousArray<Float>) -> Bool {
    if removed.contains(where: { $0 != 0 }) {
      mask = removed
      return false
    }
    // Groups that are gone already do not come back.
    let present = Set(mask.indices.filter { mask[$0] != 0 }.map { groups.group(at: $0) })
    let largest = present.max { (meanSquares[$0], $1) < (meanSquares[$1], $0) }
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
