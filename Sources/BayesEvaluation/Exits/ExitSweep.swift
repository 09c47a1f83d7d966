public import BayesTensor

/// What thresholds do on rows they were not chosen by.
public struct ExitPoint: Hashable, Sendable, Codable {
  /// The mean cost of a row.
  public var cost: Double
  public var accuracy: Double
  /// The mean negative log-likelihood at the exits taken, nats.
  public var nll: Double
  /// The expected calibration error of the confidences at the exits taken, in 15 bins.
  public var ece: Double
  /// The share of the rows that leave at each exit.
  public var shares: [Double]

  public init(cost: Double, accuracy: Double, nll: Double, ece: Double, shares: [Double]) {
    self.cost = cost
    self.accuracy = accuracy
    self.nll = nll
    self.ece = ece
    self.shares = shares
  }
}

/// The sums of costs and of right answers of the rows of each block.
private struct BlockSums: Sendable {
  var costs: [Double]
  var correct: [Double]

  init(count: Int) {
    costs = Array(repeating: 0, count: count)
    correct = costs
  }

  mutating func add(cost: Double, isCorrect: Bool, to block: Int) {
    costs[block] += cost
    correct[block] += isCorrect ? 1 : 0
  }

  /// The means over the rows of some blocks, `rowCount` in all.
  func mean(of blocks: [Int], rowCount: Double) -> (cost: Double, accuracy: Double) {
    var (cost, right) = (0.0, 0.0)
    for block in blocks {
      cost += costs[block]
      right += correct[block]
    }
    return (cost / rowCount, right / rowCount)
  }
}

/// Several thresholds on the same rows, from cheap to dear.
///
/// - Cost: two numbers a row, beside a few for each of 200 blocks of rows.
public struct ExitSweep: Sendable {
  public private(set) var points: [ExitPoint] = []
  /// Each row's loss, averaged over the points.
  public private(set) var losses: [Double]
  /// How often each row gets its label, averaged over the points.
  public private(set) var correctness: [Double]
  private let costs: ExitCosts
  private let table: ExitTable
  /// One a point; blocks are every 200th row.
  private var blockSums: [BlockSums] = []

  private static let blockCount = 200

  /// - Precondition: there is a threshold set at least, and the table has rows.
  public init(_ thresholds: [[ExitReadiness?]], on table: ExitTable, _ costs: ExitCosts) throws(EvaluationError) {
    precondition(!thresholds.isEmpty, "A sweep has points.")
    self.costs = costs
    self.table = table
    losses = Array(repeating: 0, count: table.rowCount)
    correctness = losses
    for thresholds in thresholds { try add(table.exits(thresholds)) }
    let count = Double(points.count)
    losses = losses.map { $0 / count }
    correctness = correctness.map { $0 / count }
  }

  private mutating func add(_ exits: [Int]) throws(EvaluationError) {
    var error = ExpectedCalibrationError()
    var sums = BlockSums(count: min(Self.blockCount, exits.count))
    var loss = 0.0
    for (row, exit) in exits.enumerated() {
      let isCorrect = table.outcomes.isCorrect[exit][row]
      loss += table.outcomes.losses[exit][row]
      losses[row] += table.outcomes.losses[exit][row]
      correctness[row] += isCorrect ? 1 : 0
      sums.add(cost: costs.toExit[exit], isCorrect: isCorrect, to: row % sums.costs.count)
      error.update(confidence: table.outcomes.confidences[exit][row], isCorrect: isCorrect)
    }
    let rowCount = Double(exits.count)
    points.append(
      ExitPoint(
        cost: sums.costs.reduce(0, +) / rowCount, accuracy: sums.correct.reduce(0, +) / rowCount,
        nll: loss / rowCount, ece: try error.value,
        shares: (0..<table.exitCount).map { exit in Double(exits.count { $0 == exit }) / rowCount }))
    blockSums.append(sums)
  }

  /// The means over the points; of costs too.
  public var mean: ExitPoint {
    func mean(_ value: (ExitPoint) -> Double) -> Double {
      points.reduce(0) { $0 + value($1) } / Double(points.count)
    }
    return ExitPoint(
      cost: mean(\.cost), accuracy: mean(\.accuracy), nll: mean(\.nll), ece: mean(\.ece),
      shares: (0..<table.exitCount).map { exit in mean { $0.shares[exit] } })
  }

  /// The accuracy of each exit on all rows.
  public var exitAccuracies: [Double] {
    table.outcomes.isCorrect.map { Double($0.count { $0 }) / Double(table.rowCount) }
  }

  /// The mean accuracy between the cost of the first exit and that of the last: the area under accuracy against cost,
  /// straight between the points and the two ends, where everybody leaves at once and nobody early; over its width.
  public var area: Double {
    let accuracies = exitAccuracies
    return area(points.map { ($0.cost, $0.accuracy) }, ends: (accuracies[0], accuracies[accuracies.count - 1]))
  }

  /// The 95 % interval of `area`, from 1000 resamplings of blocks of rows.
  ///
  /// - Determinism: same key, same interval.
  public func areaInterval(key: RandomKey) -> Interval {
    let blockCount = blockSums[0].costs.count
    var (first, last) = (BlockSums(count: blockCount), BlockSums(count: blockCount))
    var counts = [Double](repeating: 0, count: blockCount)
    for row in 0..<table.rowCount {
      first.add(cost: 0, isCorrect: table.outcomes.isCorrect[0][row], to: row % blockCount)
      last.add(cost: 0, isCorrect: table.outcomes.isCorrect[table.exitCount - 1][row], to: row % blockCount)
      counts[row % blockCount] += 1
    }
    let areas = (0..<1000).map { resampling -> Double in
      var drawn = [Int](repeating: 0, count: blockCount)
      for (position, uniform) in key.child(resampling).uniforms(blockCount).enumerated() {
        drawn[position] = min(blockCount - 1, Int(uniform * Double(blockCount)))
      }
      var rowCount = 0.0
      for block in drawn { rowCount += counts[block] }
      let points = blockSums.map { $0.mean(of: drawn, rowCount: rowCount) }
      return area(
        points,
        ends: (first.mean(of: drawn, rowCount: rowCount).accuracy, last.mean(of: drawn, rowCount: rowCount).accuracy))
    }.sorted()
    return Interval(low: areas[24], high: areas[974])
  }

  private func area(_ points: [(cost: Double, accuracy: Double)], ends: (Double, Double)) -> Double {
    let (low, high) = (costs.toExit[0], costs.toExit[costs.toExit.count - 1])
    let curve = ([(low, ends.0)] + points + [(high, ends.1)]).sorted { $0.0 < $1.0 }
    return zip(curve, curve.dropFirst()).reduce(0) { $0 + ($1.1.0 - $1.0.0) * ($1.1.1 + $1.0.1) / 2 } / (high - low)
  }
}

extension ExitTable {
  /// What nobody can beat with these exits: the best accuracy at a mean cost, known by the labels.
  ///
  /// Everybody leaves at the first exit, and then rows that are wrong there go on to the first exit that is right,
  /// those with the nearest first.  The rows that no exit gets right go nowhere.
  ///
  /// - Returns: The corners of accuracy against mean cost, ascending.
  public func oracle(_ costs: ExitCosts) -> [(cost: Double, accuracy: Double)] {
    var counts = [Int](repeating: 0, count: exitCount)
    for row in 0..<rowCount {
      if let exit = (0..<exitCount).first(where: { outcomes.isCorrect[$0][row] }) { counts[exit] += 1 }
    }
    var corner = (cost: costs.toExit[0], accuracy: Double(counts[0]) / Double(rowCount))
    return [corner] + (1..<exitCount).map { exit in
      let share = Double(counts[exit]) / Double(rowCount)
      corner = (corner.cost + share * (costs.toExit[exit] - costs.toExit[0]), corner.accuracy + share)
      return corner
    }
  }

  /// What rows get that leave by chance, in the shares of a schedule.
  public func random(_ schedule: ExitSchedule, _ costs: ExitCosts) -> (cost: Double, accuracy: Double) {
    let shares = schedule.shares(exitCount: exitCount)
    let accuracies = outcomes.isCorrect.map { Double($0.count { $0 }) / Double(rowCount) }
    return (
      zip(shares, costs.toExit).reduce(0) { $0 + $1.0 * $1.1 }, zip(shares, accuracies).reduce(0) { $0 + $1.0 * $1.1 }
    )
  }

  /// How well readiness at an exit tells rows that it gets right from others; `nil` where all are alike.
  ///
  /// - Returns: The area under the receiver operating characteristic.
  public func auroc(exit: Int) throws(EvaluationError) -> Double? {
    var (right, wrong) = (ScoreSample(), ScoreSample())
    for (row, readiness) in readiness[exit].enumerated() {
      // Readiness is large where uncertainty is small.
      if outcomes.isCorrect[exit][row] {
        try right.update(CollectionOfOne(-readiness.score), named: "readiness")
      } else {
        try wrong.update(CollectionOfOne(-readiness.score), named: "readiness")
      }
    }
    guard !right.scores.isEmpty, !wrong.scores.isEmpty else { return nil }
    return try ScoreSeparation(inDistribution: right, outOfDistribution: wrong).auroc
  }
}
