/// When rows leave a network of several exits, and what was promised of it.
///
/// A row leaves at the first exit whose threshold its readiness meets, at the last for certain.
public struct ExitPolicy: Hashable, Sendable, Codable {
  public let score: ExitScore
  public let target: ExitTarget
  public let costs: ExitCosts
  /// The thresholds, and what they did on the rows they were chosen by.
  public let choice: ExitChoice
  /// The number of those rows.
  public let rowCount: Int

  /// Chooses thresholds on a table's rows.
  ///
  /// - Throws: as `ExitTarget.choice`.
  public init(
    score: ExitScore, target: ExitTarget, costs: ExitCosts, tunedOn table: ExitTable
  ) throws(EvaluationError) {
    self.score = score
    self.target = target
    self.costs = costs
    choice = try target.choice(table, costs, family: ExitFamily(for: score))
    rowCount = table.rowCount
  }

  public var exitCount: Int { costs.toExit.count }

  /// The positions of the rows that leave at an exit, and of those that go on.
  public func leaving(_ readiness: [ExitReadiness], exit: Int) -> (leaving: [Int], staying: [Int]) {
    guard exit < exitCount - 1 else { return (Array(readiness.indices), []) }
    guard let threshold = choice.thresholds[exit] else { return ([], Array(readiness.indices)) }
    var (leaving, staying): ([Int], [Int]) = ([], [])
    for (position, own) in readiness.enumerated() {
      if own >= threshold { leaving.append(position) } else { staying.append(position) }
    }
    return (leaving, staying)
  }

  /// How far the mean cost of other rows may lie from the promised one by chance, one standard error.
  ///
  ///     s √(1 / tuning rows + 1 / rows)
  public func costStandardError(rowCount other: Int) -> Double {
    choice.costDeviation * (1 / Double(rowCount) + 1 / Double(max(1, other))).squareRoot()
  }

  private enum Key: String, CodingKey { case score, target, costs, choice, rowCount }

  public init(from decoder: any Decoder) throws {
    let values = try decoder.container(keyedBy: Key.self)
    score = try values.decode(ExitScore.self, forKey: .score)
    target = try values.decode(ExitTarget.self, forKey: .target)
    costs = try values.decode(ExitCosts.self, forKey: .costs)
    choice = try values.decode(ExitChoice.self, forKey: .choice)
    rowCount = try values.decode(Int.self, forKey: .rowCount)
    let isWhole = choice.thresholds.count == costs.toExit.count - 1 && choice.shares.count == costs.toExit.count
    func fault(_ message: String) -> DecodingError {
      .dataCorrupted(DecodingError.Context(codingPath: decoder.codingPath, debugDescription: message))
    }
    guard isWhole, rowCount > 0 else {
      throw fault("there is a cost and a share an exit, a threshold an exit but the last, and a row")
    }
    let thresholds = choice.thresholds.compactMap { $0 }.flatMap { [$0.score, $0.logOdds] }
    guard !thresholds.contains(where: \.isNaN) else { throw fault("a threshold is not a number") }
    // Means of costs and shares are rounded.
    let range = costs.toExit[0] * (1 - 1e-9)...costs.toExit[costs.toExit.count - 1] * (1 + 1e-9)
    guard range.contains(choice.meanCost), choice.costDeviation >= 0, choice.costDeviation.isFinite else {
      throw fault("choice.meanCost lies outside the costs, or choice.costDeviation is below zero")
    }
    guard (choice.shares + [choice.accuracy]).allSatisfy((0...1).contains), abs(choice.shares.reduce(0, +) - 1) < 1e-9 else {
      throw fault("choice.shares and choice.accuracy are shares, and all rows leave somewhere")
    }
  }
}
