public import BayesEvaluation
public import BayesPrediction
public import BayesReport
public import BayesTensor

/// Measures accuracy against cost of kinds of predictions and policies, on rows that chose nothing.
///
/// - Cost: 33 bytes a row, exit and score for one kind of predictions at a time, and 16 bytes a row for each that was
///   measured.
/// - Determinism: same key, same numbers.
public struct ExitStudy: Sendable {
  /// One kind of predictions, with a predictor a seed.
  public struct Subject: Sendable {
    public var name: String
    public var predictors: [ExitwisePredictor]
    public var costs: ExitCosts
    /// What was chosen for each exit, by name.
    public var settings: [[String: Double]]
    /// Whether its policies are compared with each other at equal cost.
    public var comparesPolicies: Bool

    /// - Precondition: there is a predictor.
    public init(
      name: String, predictors: [ExitwisePredictor], costs: ExitCosts, settings: [[String: Double]],
      comparesPolicies: Bool
    ) {
      precondition(!predictors.isEmpty, "A subject has a predictor.")
      self.name = name
      self.predictors = predictors
      self.costs = costs
      self.settings = settings
      self.comparesPolicies = comparesPolicies
    }
  }

  /// What is kept of a subject.
  private struct Measured: Sendable {
    var variant: ExitStudyReport.Variant
    /// Of the largest probability, averaged over schedules and seeds, a row each.
    var losses: [Double]
    var correctness: [Double]
  }

  private let scores: [ExitScore]
  private let combinedWeight: Double?
  private let key: RandomKey
  private var measured: [Measured] = []
  private var policyComparisons: [ExitStudyReport.PolicyComparison] = []
  private var budgets: [ExitStudyReport.Budget] = []
  private var oracle: [ExitStudyReport.BoundPoint] = []
  private var random: [ExitStudyReport.BoundPoint] = []
  private var rowCounts = (validation: 0, test: 0)

  /// - Parameters:
  ///   - scores: by which rows leave, beside the largest probability; those that need an epistemic part are left out where
  ///     there is none.
  ///   - combinedWeight: of `ExitScore.combined`; what balances its parts on the validation rows for `nil`.
  ///   - key: of the resamplings.
  public init(scores: [ExitScore], combinedWeight: Double? = nil, key: RandomKey) {
    self.combinedWeight = combinedWeight
    self.scores = [.maximumProbability] + scores.filter { $0 != .maximumProbability }
    self.key = key
  }

  /// The number of budgets whose keeping is shown.
  private static let budgetCount = 10

  /// Measures a kind of predictions.
  ///
  /// - Parameters:
  ///   - validation: labelled rows on which thresholds are chosen.
  ///   - test: labelled rows.
  /// - Throws: `EvaluationError`, as `ExitTables.add` and `ExitTarget.choice`; as `ExitwisePredictor.predictions`.
  public mutating func measure(
    _ subject: Subject, validation: any ExitRecordSource, test: any ExitRecordSource
  ) async throws {
    var scores = scores.filter { !$0.needsEpistemicUncertainty }
    if subject.predictors[0].hasEpistemicUncertainty {
      scores += self.scores.filter {
        $0.needsEpistemicUncertainty && ($0 != .logitVariance || subject.predictors[0].hasDraws)
      }
      let balance = combinedWeight == nil ? try await subject.predictors[0].balance(for: validation) : UncertaintyBalance()
      if let weight = combinedWeight ?? balance.weight { scores.append(.combined(epistemicWeight: weight)) }
    }
    var runs: [[Run]] = []
    var comparisons: [[Run]] = []
    for (seed, predictor) in subject.predictors.enumerated() {
      let chosen = try await tables(predictor, validation, scores)
      let other = try await tables(predictor, test, scores)
      rowCounts = (chosen.rowCount, other.rowCount)
      if measured.isEmpty, seed == 0 { setBounds(other[.maximumProbability], subject.costs) }
      runs.append(
        try scores.map { score in
          Run(
            sweep: try ExitSweep(ExitFamily(for: score).sweep(chosen[score]), on: other[score], subject.costs),
            auroc: try seed == 0 ? subject.costs.toExit.indices.map { try other[score].auroc(exit: $0) } : [])
        })
      guard subject.comparesPolicies else { continue }
      comparisons.append(try equalCosts(chosen, other, scores, subject.costs))
      if seed == 0 { try checkBudgets(chosen, other, scores, subject) }
    }
    note(subject, scores, runs)
    for index in scores.indices.dropFirst() where subject.comparesPolicies {
      let (reference, own) = (comparisons.map { $0[0].sweep }, comparisons.map { $0[index].sweep })
      policyComparisons.append(
        ExitStudyReport.PolicyComparison(
          variant: subject.name, score: scores[index].description,
          accuracy: Difference(mean(own.map(\.correctness)), minus: mean(reference.map(\.correctness))),
          nll: Difference(mean(own.map(\.losses)), minus: mean(reference.map(\.losses))),
          costShare: (average(own) { $0.cost } - average(reference) { $0.cost }) / (subject.costs.toExit.last ?? 1)))
    }
  }

  /// What one seed gave for one score.
  private struct Run {
    var sweep: ExitSweep
    var auroc: [Double?] = []
  }

  private func tables(
    _ predictor: ExitwisePredictor, _ source: any ExitRecordSource, _ scores: [ExitScore]
  ) async throws -> ExitTables {
    var tables = ExitTables(exitCount: predictor.exitCount, scores: scores)
    try await predictor.predictions(for: source) { block, predictions in
      try Task.checkCancellation()
      try tables.add(predictions, labels: block.labels ?? [])
    }
    return tables
  }

  /// The sweeps of all scores over the mean costs of the first's schedules.
  private func equalCosts(
    _ chosen: ExitTables, _ other: ExitTables, _ scores: [ExitScore], _ costs: ExitCosts
  ) throws -> [Run] {
    let reference = chosen[.maximumProbability]
    let sweep = try ExitSweep(ExitFamily.schedule.sweep(reference), on: reference, costs)
    return try scores.map { score in
      let family = ExitFamily(for: score)
      let thresholds = try sweep.points.map {
        try ExitTarget.meanCost($0.cost).choice(chosen[score], costs, family: family).thresholds
      }
      return Run(sweep: try ExitSweep(thresholds, on: other[score], costs))
    }
  }

  private mutating func checkBudgets(
    _ chosen: ExitTables, _ other: ExitTables, _ scores: [ExitScore], _ subject: Subject
  ) throws {
    let costs = subject.costs
    let (low, high) = (costs.toExit[0], costs.toExit[costs.toExit.count - 1])
    for score in scores {
      for step in 1...Self.budgetCount {
        try Task.checkCancellation()
        let budget = low + (high - low) * Double(step) / Double(Self.budgetCount + 1)
        let policy = try ExitPolicy(score: score, target: .meanCost(budget), costs: costs, tunedOn: chosen[score])
        let cost = costs.mean(of: other[score].exits(policy.choice.thresholds))
        budgets.append(
          ExitStudyReport.Budget(
            variant: subject.name, score: score.description, budget: budget, validationCost: policy.choice.meanCost,
            testCost: cost,
            standardErrors: (cost - policy.choice.meanCost) / policy.costStandardError(rowCount: other.rowCount)))
      }
    }
  }

  private mutating func setBounds(_ table: ExitTable, _ costs: ExitCosts) {
    oracle = table.oracle(costs).map { ExitStudyReport.BoundPoint(cost: $0.cost, accuracy: $0.accuracy) }
    random = ExitSchedule.sweep.map { table.random($0, costs) }
      .map { ExitStudyReport.BoundPoint(cost: $0.cost, accuracy: $0.accuracy) }
  }

  private mutating func note(_ subject: Subject, _ scores: [ExitScore], _ runs: [[Run]]) {
    let policies = scores.enumerated().map { index, score in
      let sweeps = runs.map { $0[index].sweep }
      return ExitStudyReport.Policy(
        score: score.description, mean: mean(sweeps),
        area: sweeps.reduce(0) { $0 + $1.area } / Double(sweeps.count),
        areaInterval: sweeps[0].areaInterval(key: key.child(measured.count).child(index)),
        points: sweeps[0].points, auroc: runs[0][index].auroc)
    }
    let sweeps = runs.map { $0[0].sweep }
    let variant = ExitStudyReport.Variant(
      name: subject.name, seedCount: subject.predictors.count, costs: subject.costs, settings: subject.settings,
      mean: policies[0].mean, deviations: sweeps.count > 1 ? deviations(sweeps.map(\.mean)) : nil,
      exitAccuracies: sweeps[0].exitAccuracies, policies: policies)
    measured.append(
      Measured(variant: variant, losses: mean(sweeps.map(\.losses)), correctness: mean(sweeps.map(\.correctness))))
  }

  private func average(_ sweeps: [ExitSweep], _ value: (ExitPoint) -> Double) -> Double {
    sweeps.reduce(0) { $0 + value($1.mean) } / Double(sweeps.count)
  }

  private func mean(_ sweeps: [ExitSweep]) -> ExitPoint {
    ExitPoint(
      cost: average(sweeps, \.cost), accuracy: average(sweeps, \.accuracy), nll: average(sweeps, \.nll),
      ece: average(sweeps, \.ece),
      shares: sweeps[0].points[0].shares.indices.map { exit in average(sweeps) { $0.shares[exit] } })
  }

  /// The means of each row over seeds.
  private func mean(_ values: [[Double]]) -> [Double] {
    guard values.count > 1 else { return values[0] }
    return values[0].indices.map { row in values.reduce(0) { $0 + $1[row] } / Double(values.count) }
  }

  private func deviations(_ points: [ExitPoint]) -> [String: Double] {
    func deviation(_ value: (ExitPoint) -> Double) -> Double {
      let mean = points.reduce(0) { $0 + value($1) } / Double(points.count)
      let squares = points.reduce(0) { $0 + (value($1) - mean) * (value($1) - mean) }
      return (squares / Double(points.count - 1)).squareRoot()
    }
    return ["accuracy": deviation(\.accuracy), "nll": deviation(\.nll), "ece": deviation(\.ece)]
  }

  /// The report of all that was measured.
  ///
  /// - Parameter pairs: names of kinds of predictions that are compared, the reference second.
  public func report(
    title: String, exits: [String], comparing pairs: [(String, String)], warnings: [String], provenance: Provenance
  ) -> ExitStudyReport {
    func find(_ name: String) -> Measured? { measured.first { $0.variant.name == name } }
    return ExitStudyReport(
      title: title, exits: exits, validationRowCount: rowCounts.validation, testRowCount: rowCounts.test,
      variants: measured.map(\.variant),
      variantComparisons: pairs.compactMap { own, reference in
        guard let own = find(own), let reference = find(reference) else { return nil }
        return ExitStudyReport.VariantComparison(
          variant: own.variant.name, reference: reference.variant.name,
          accuracy: Difference(own.correctness, minus: reference.correctness),
          nll: Difference(own.losses, minus: reference.losses))
      },
      policyComparisons: policyComparisons, budgets: budgets, oracle: oracle, random: random, warnings: warnings,
      provenance: provenance)
  }
}
