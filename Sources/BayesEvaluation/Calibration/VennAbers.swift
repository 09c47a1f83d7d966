public import BayesPrediction

/// The two probabilities of an inductive Venn-Abers predictor, as steps.
///
/// `p₀` and `p₁` are what isotonic regressions give at a probability that was added to the fitted rows, once as a row
/// of another class and once as one of the class.
public struct VennAbersMap: ProbabilityMap {
  /// The probabilities of the fitted rows, ascending and distinct.
  public var positions: [Double]
  /// `p₀` by the number of positions that are not above, one more than positions.
  public var lower: [Double]
  /// `p₁` by the number of positions that are below, one more than positions.
  public var upper: [Double]

  public init(positions: [Double], lower: [Double], upper: [Double]) {
    precondition(
      lower.count == positions.count + 1 && upper.count == positions.count + 1,
      "There is one step more than positions.")
    self.positions = positions
    self.lower = lower
    self.upper = upper
  }

  /// `p₁ / (1 − p₀ + p₁)`
  public func callAsFunction(_ probability: Double, rest: Double) -> Double {
    let bounds = bounds(of: probability)
    return bounds.upper / (1 - bounds.lower + bounds.upper)
  }

  /// `p₀` and `p₁`, between which a calibrated probability lies.
  public func bounds(of probability: Double) -> (lower: Double, upper: Double) {
    (
      lower[positions.partitionPoint { $0 <= probability }], upper[positions.partitionPoint { $0 < probability }]
    )
  }

  /// A row that is added as one of the class and lies between two positions joins the next, and one of another class
  /// the one before; so there is a step a position, and one.
  init(fittedTo isClass: [Bool], at places: [Double]) {
    let groups = TiedGroup.groups(of: isClass.map { $0 ? 1 : 0 }, at: places)
    let count = groups.count
    // The last block of the regression of each beginning, and the first of that of each end.
    var beginnings: [Block] = []
    for (index, group) in groups.enumerated() {
      var block = Block(sum: group.sum, count: group.count, next: index - 1)
      while block.next >= 0, !(beginnings[block.next] < block) { block.join(beginnings[block.next]) }
      beginnings.append(block)
    }
    var ends = [Block](repeating: Block(sum: 0, count: 0, next: count), count: count)
    for (index, group) in groups.enumerated().reversed() {
      var block = Block(sum: group.sum, count: group.count, next: index + 1)
      while block.next < count, !(block < ends[block.next]) { block.join(ends[block.next]) }
      ends[index] = block
    }
    func value(at index: Int, adding label: Double) -> Double {
      var block = Block(sum: label, count: 1, next: 0)
      var (before, after) = (index - 1, index)
      if groups.indices.contains(index) {
        block.sum += groups[index].sum
        block.count += groups[index].count
        after += 1
      }
      while true {
        if before >= 0, !(beginnings[before] < block) {
          block.join(beginnings[before])
          before = block.next
        } else if after < count, !(block < ends[after]) {
          block.join(ends[after])
          after = block.next
        } else {
          return block.sum / block.count
        }
      }
    }
    self.init(
      positions: groups.map(\.position), lower: (0...count).map { $0 == 0 ? 0 : value(at: $0 - 1, adding: 0) },
      upper: (0...count).map { value(at: $0, adding: 1) })
  }

  /// Joined groups with one mean.
  private struct Block {
    var sum: Double
    var count: Double
    /// Where the neighbouring block begins, away from the end that was last added.
    var next: Int

    mutating func join(_ other: Block) {
      sum += other.sum
      count += other.count
      next = other.next
    }

    /// Whether the mean is lower; products of counts are exact.
    static func < (left: Block, right: Block) -> Bool { left.sum * right.count < right.sum * left.count }
  }
}

/// Fits an inductive Venn-Abers predictor for each class.
///
///     q(p) = p₁ / (1 − p₀ + p₁)
///
/// No probability becomes zero or one.
///
/// - Determinism: no randomness.
/// - Cost: O(rows log rows) a class, and O(blocks) of the isotonic regression a row.
/// - Source: Vovk, Petej and Fedorova 2015, arXiv:1511.00213.
public struct VennAbersCalibrator: Calibrator, Equatable {
  public init() {}

  /// - Throws: `EvaluationError.Code.unsupported` for several samples, a closed form or an output without classes;
  ///   `.shape`; `.label`; `.score` for a logit that is not a number; `.empty`.
  public func fit(
    _ prediction: Prediction, labels: [Int]
  ) throws(EvaluationError) -> OneAgainstRestCalibration<VennAbersMap> {
    try CalibrationRows(prediction, labels: labels).oneAgainstRest { chances, isClass in
      VennAbersMap(fittedTo: isClass, at: chances.map(\.probability))
    }
  }
}
