import RealModule

/// What thresholds of exits are chosen for.
public enum ExitTarget: Hashable, Sendable {
  /// The shares of an `ExitSchedule` with this ratio, whatever they cost.
  case schedule(ratio: Double)
  /// The mean cost of a row is at most this.
  case meanCost(Double)
  /// This share of the rows costs at most this each.
  case percentile(share: Double, cost: Double)
  /// The cheapest thresholds with which at least this share of the tuning rows gets its label; no promise for others.
  case accuracy(Double)
  /// The cheapest thresholds whose share of wrong answers exceeds `error` with probability at most `delta`.
  case risk(error: Double, delta: Double)
}

/// Thresholds of exits, and what they do on the rows they were chosen by.
public struct ExitChoice: Hashable, Sendable, Codable {
  /// One an exit but the last; nobody leaves where there is none.
  public var thresholds: [ExitReadiness?]
  /// The mean cost of a tuning row.
  public var meanCost: Double
  /// The standard deviation of a tuning row's cost.
  public var costDeviation: Double
  /// The share of the tuning rows that get their label.
  public var accuracy: Double
  /// The share of the tuning rows that leave at each exit.
  public var shares: [Double]
}

extension ExitTarget {
  /// Thresholds of a family that meet the target on a table's rows.
  ///
  /// Costs rise with the level of a family but where rows tie, so the largest level that keeps to a cost is found by
  /// bisection.  Accuracies do not, so that a floor is sought on a grid.  A risk is tested on every second row, from
  /// the dearest thresholds on, which the other rows have set; the first that fails ends the search, so that no
  /// correction for many tests is due.
  ///
  /// - Throws: `EvaluationError.Code.empty` without rows, `.unsupported` for a network with one exit, and for a target
  ///   that no thresholds meet.
  /// - Determinism: equal tables give equal thresholds.
  /// - Cost: O(exits · rows · log rows) for each of about fifty levels; of a risk two hundred, of a floor two thousand.
  /// - Source: fixed-sequence tests: Angelopoulos et al. 2021, arXiv:2110.01052.
  public func choice(
    _ table: ExitTable, _ costs: ExitCosts, family: ExitFamily = .schedule
  ) throws(EvaluationError) -> ExitChoice {
    precondition(costs.toExit.count == table.exitCount, "There is one cost an exit.")
    guard table.exitCount > 1 else {
      throw EvaluationError(
        .unsupported, "The network has one exit, so that no row can leave early; give a network with several.")
    }
    guard table.rowCount > 0 else { throw EvaluationError(.empty, "There are no rows to choose thresholds by.") }
    try requireSense(costs)
    let thresholds: [ExitReadiness?]
    switch self {
    case .schedule(let ratio): thresholds = ExitSchedule(ratio: ratio).thresholds(table)
    case .meanCost(let budget):
      thresholds = Self.dearest(family.thresholds(table)) {
        // The mean of equal costs may round above them.
        costs.mean(of: table.exits($0)) <= budget * (1 + 1e-12)
      }
    case .percentile(let share, let cost):
      let affordable = costs.toExit.lastIndex { $0 <= cost } ?? 0
      thresholds = Self.dearest(family.thresholds(table)) { thresholds in
        let exits = table.exits(thresholds)
        return Double(exits.count { $0 <= affordable }) >= share * Double(exits.count)
      }
    case .accuracy(let floor): thresholds = try Self.cheapest(table, accuracy: floor, costs, family)
    case .risk(let error, let delta): thresholds = try Self.tested(table, error: error, delta: delta, family)
    }
    return ExitChoice(thresholds, table, costs)
  }

  private func requireSense(_ costs: ExitCosts) throws(EvaluationError) {
    switch self {
    case .schedule(let ratio):
      guard ratio > 0, ratio.isFinite else {
        throw EvaluationError(.unsupported, "The ratio of a schedule is a positive number; got \(ratio).")
      }
    case .meanCost(let cost), .percentile(_, let cost):
      guard cost >= costs.toExit[0] else {
        throw EvaluationError(
          .unsupported,
          "A budget of \(cost) \(costs.unit.rawValue) is below the cost of the first exit, \(costs.toExit[0]); no row can "
            + "leave before that.")
      }
      if case .percentile(let share, _) = self { try Self.requireShare(share, "A percentile") }
    case .accuracy(let floor): try Self.requireShare(floor, "An accuracy")
    case .risk(let error, let delta):
      try Self.requireShare(error, "A risk")
      try Self.requireShare(delta, "The probability of exceeding a risk")
    }
  }

  private static func requireShare(_ value: Double, _ name: String) throws(EvaluationError) {
    guard value > 0, value < 1 else {
      throw EvaluationError(.unsupported, "\(name) lies between 0 and 1; got \(value).")
    }
  }

  /// The thresholds of the largest level that is allowed, where smaller ones are too.
  private static func dearest(
    _ thresholds: (Double) -> [ExitReadiness?], _ isAllowed: ([ExitReadiness?]) -> Bool
  ) -> [ExitReadiness?] {
    if isAllowed(thresholds(1)) { return thresholds(1) }
    // Every allowed budget pays for everybody at the first exit.
    var (low, high, best) = (0.0, 1.0, thresholds(0))
    for _ in 0..<48 {
      let middle = (low + high) / 2
      let candidate = thresholds(middle)
      if isAllowed(candidate) { (low, best) = (middle, candidate) } else { high = middle }
    }
    return best
  }

  /// From the dearest to the cheapest, so dense that a step moves few rows; of schedules those in the middle do.
  private static func descending(_ family: ExitFamily, count: Int) -> [Double] {
    let grid = (1..<count).map { 1 - Double($0) / Double(count) }
    return [1] + (family == .schedule ? grid.map { 0.5 + ($0 - 0.5) * 0.4 } : grid) + [0]
  }

  private static func cheapest(
    _ table: ExitTable, accuracy floor: Double, _ costs: ExitCosts, _ family: ExitFamily
  ) throws(EvaluationError) -> [ExitReadiness?] {
    let candidates = descending(family, count: 2000).map(family.thresholds(table))
    let choices = candidates.map { ExitChoice($0, table, costs) }
    guard let best = choices.filter({ $0.accuracy >= floor }).min(by: { $0.meanCost < $1.meanCost }) else {
      let highest = choices.reduce(0) { max($0, $1.accuracy) }
      throw EvaluationError(
        .unsupported,
        "No thresholds reach an accuracy of \(floor) on these rows; the highest is \(highest). Ask for less.")
    }
    return best.thresholds
  }

  private static func tested(
    _ table: ExitTable, error: Double, delta: Double, _ family: ExitFamily
  ) throws(EvaluationError) -> [ExitReadiness?] {
    // Thresholds must not know the labels that they are tested with, nor those rows' readiness.
    let setting = table.rows(stride(from: 0, to: table.rowCount, by: 2))
    let testing = table.rows(stride(from: 1, to: table.rowCount, by: 2))
    var accepted: [ExitReadiness?]?
    for thresholds in descending(family, count: 200).lazy.map(family.thresholds(setting)) {
      let exits = testing.exits(thresholds)
      let errors = exits.indices.count { !testing.outcomes.isCorrect[exits[$0]][$0] }
      guard binomialTail(atMost: errors, of: exits.count, probability: error) <= delta else { break }
      accepted = thresholds
    }
    guard let accepted else {
      let errors = testing.outcomes.isCorrect[table.exitCount - 1].count { !$0 }
      throw EvaluationError(
        .unsupported,
        "No thresholds keep a risk of \(error) with probability \(1 - delta): at the last exit alone \(errors) of "
          + "\(testing.rowCount) tested rows are wrong. Allow more, or give more rows.")
    }
    return accepted
  }
}

/// `P(X ≤ count)` of a binomial variable.
///
/// - Cost: O(count).
func binomialTail(atMost count: Int, of total: Int, probability: Double) -> Double {
  guard count < total else { return 1 }
  let logOdds = Double.log(probability) - Double.log(onePlus: -probability)
  var logTerm = Double(total) * Double.log(onePlus: -probability)
  var (largest, terms) = (logTerm, [logTerm])
  for successes in stride(from: 1, through: count, by: 1) {
    logTerm += Double.log(Double(total - successes + 1)) - Double.log(Double(successes)) + logOdds
    largest = max(largest, logTerm)
    terms.append(logTerm)
  }
  return min(1, Double.exp(largest) * terms.reduce(0) { $0 + Double.exp($1 - largest) })
}

extension ExitTable {
  /// Some of the rows.
  func rows(_ chosen: some Sequence<Int>) -> ExitTable {
    let chosen = Array(chosen)
    var part = self
    part.select(chosen)
    return part
  }
}

extension ExitChoice {
  /// What thresholds do on the rows of a table.
  public init(_ thresholds: [ExitReadiness?], _ table: ExitTable, _ costs: ExitCosts) {
    let exits = table.exits(thresholds)
    let rowCount = Double(max(1, exits.count))
    let mean = costs.mean(of: exits)
    let squares = exits.reduce(0) { $0 + (costs.toExit[$1] - mean) * (costs.toExit[$1] - mean) }
    self.init(
      thresholds: thresholds, meanCost: mean, costDeviation: (squares / max(1, rowCount - 1)).squareRoot(),
      accuracy: Double(exits.indices.count { table.outcomes.isCorrect[exits[$0]][$0] }) / rowCount,
      shares: (0..<table.exitCount).map { exit in Double(exits.count { $0 == exit }) / rowCount })
  }
}
