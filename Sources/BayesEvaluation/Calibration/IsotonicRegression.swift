public import BayesPrediction

/// A polygon that never falls, constant beyond its ends.
public struct IsotonicMap: ProbabilityMap {
  /// Where the polygon bends, ascending.
  public var positions: [Double]
  /// Its heights there.
  public var values: [Double]

  /// - Precondition: there are as many positions as values, and at least one.
  public init(positions: [Double], values: [Double]) {
    precondition(
      !positions.isEmpty && positions.count == values.count,
      "A polygon has a value a position; got \(positions.count) and \(values.count).")
    self.positions = positions
    self.values = values
  }

  public func callAsFunction(_ probability: Double, rest: Double) -> Double { self(probability) }

  /// The height at a position.
  public func callAsFunction(_ position: Double) -> Double {
    let upper = positions.partitionPoint { $0 < position }
    guard upper > 0 else { return values[0] }
    guard upper < positions.count else { return values[upper - 1] }
    let (x0, x1, y0, y1) = (positions[upper - 1], positions[upper], values[upper - 1], values[upper])
    if position == x1 { return y1 }
    return min(y1, y0 + (y1 - y0) * ((position - x0) / (x1 - x0)))
  }

  /// The least-squares fit of numbers at positions, among all functions that never fall.
  ///
  /// Pool adjacent violators: numbers at equal positions are averaged, and neighbours that fall are joined.
  ///
  /// - Cost: O(n log n).
  /// - Precondition: there is at least one number, and one a position.
  /// - Source: Ayer et al. 1955, doi:10.1214/aoms/1177728423.
  init(fittedTo targets: [Double], at places: [Double]) {
    precondition(!targets.isEmpty && targets.count == places.count, "There is one number a position.")
    var blocks: [(first: Double, last: Double, sum: Double, count: Double)] = []
    for group in TiedGroup.groups(of: targets, at: places) {
      var block = (first: group.position, last: group.position, sum: group.sum, count: group.count)
      // Cross-multiplied, so that equal means of counts are found equal.
      while let before = blocks.last, before.sum * block.count >= block.sum * before.count {
        block = (before.first, block.last, before.sum + block.sum, before.count + block.count)
        blocks.removeLast()
      }
      blocks.append(block)
    }
    var (positions, values) = ([Double](), [Double]())
    for block in blocks {
      for position in block.first == block.last ? [block.first] : [block.first, block.last] {
        positions.append(position)
        values.append(block.sum / block.count)
      }
    }
    self.init(positions: positions, values: values)
  }
}

/// All numbers at one position.
struct TiedGroup {
  var position: Double
  var sum: Double
  var count: Double

  /// Numbers by ascending position.
  static func groups(of targets: [Double], at positions: [Double]) -> [TiedGroup] {
    var groups: [TiedGroup] = []
    for index in positions.indices.sorted(by: { (positions[$0], $0) < (positions[$1], $1) }) {
      if let last = groups.last, last.position == positions[index] {
        groups[groups.count - 1].sum += targets[index]
        groups[groups.count - 1].count += 1
      } else {
        groups.append(TiedGroup(position: positions[index], sum: targets[index], count: 1))
      }
    }
    return groups
  }
}

extension RandomAccessCollection where Index == Int {
  /// The number of first elements that a condition holds for, which holds for no later one.
  func partitionPoint(_ isBefore: (Element) -> Bool) -> Int {
    var (low, high) = (startIndex, endIndex)
    while low < high {
      let middle = (low + high) / 2
      if isBefore(self[middle]) { low = middle + 1 } else { high = middle }
    }
    return low
  }
}

/// Fits the frequency of each class as a function of its probability that never falls.
///
///     q = argmin Σ_n ( q(pₙ) − [yₙ = k] )²   among functions that never fall; in between, straight lines
///
/// The order of a class's probabilities over rows is kept but for ties; the most probable class of a row can change.
/// Probabilities below those of all rows of a class become zero.
///
/// - Determinism: no randomness.
/// - Cost: O(rows log rows) a class.
/// - Source: Zadrozny and Elkan 2002, doi:10.1145/775047.775151.
public struct IsotonicRegression: Calibrator, Equatable {
  public init() {}

  /// - Throws: `EvaluationError.Code.unsupported` for several samples, a closed form or an output without classes;
  ///   `.shape`; `.label`; `.score` for a logit that is not a number; `.empty`.
  public func fit(
    _ prediction: Prediction, labels: [Int]
  ) throws(EvaluationError) -> OneAgainstRestCalibration<IsotonicMap> {
    try CalibrationRows(prediction, labels: labels).oneAgainstRest { chances, isClass in
      IsotonicMap(fittedTo: isClass.map { $0 ? 1 : 0 }, at: chances.map(\.probability))
    }
  }
}
