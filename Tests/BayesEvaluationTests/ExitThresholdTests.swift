@testable import BayesEvaluation
import BayesPrediction
import BayesTensor
import RealModule
import Testing
import _BayesTestSupport

private let scores: [ExitScore] = [
  .maximumProbability, .entropy, .margin, .mutualInformation, .logitVariance, .combined(epistemicWeight: 3), .patience,
]

@Suite struct ExitScoreTests {
  private func readiness(_ score: ExitScore, _ prediction: Prediction) throws -> [ExitReadiness] {
    var states = ExitRowStates(rowCount: prediction.rowCount)
    return try score.readiness(of: prediction, prediction.uncertaintySplit(), &states)
  }

  @Test func scoresAreWhatTheirFormulasSay() throws {
    let prediction = MadeUpExits.predictions(40).predictions[1]
    let split = prediction.uncertaintySplit()
    let probabilities = (0..<40).map { row in (0..<5).map { split.probabilities[row, $0] }.sorted(by: >) }
    let largest = try readiness(.maximumProbability, prediction)
    let margin = try readiness(.margin, prediction)
    let entropy = try readiness(.entropy, prediction)
    let information = try readiness(.mutualInformation, prediction)
    let combined = try readiness(.combined(epistemicWeight: 3), prediction)
    for row in 0..<40 {
      let p = probabilities[row]
      #expect(abs(1 / (1 + Double.exp(-largest[row].score)) - p[0]) < 1e-12)
      #expect(abs(1 - Double.exp(-margin[row].score) - (p[0] - p[1])) < 1e-12)
      #expect(entropy[row].score == -split.total[row] && information[row].score == -split.epistemic[row])
      #expect(combined[row].score == -min(split.total[row], 3 * split.epistemic[row]))
    }
    let variances = try readiness(.logitVariance, prediction)
    for row in [0, 17] {
      var sum = 0.0
      let draws = (0..<4).map { sample in
        let z = (0..<5).map { Double(prediction.logits[(sample * 40 + row) * 5 + $0]) }
        return z.map { $0 - z.reduce(0, +) / 5 }
      }
      for column in 0..<5 {
        let mean = draws.reduce(0) { $0 + $1[column] } / 4
        sum += draws.reduce(0) { $0 + ($1[column] - mean) * ($1[column] - mean) } / 4
      }
      #expect(abs(variances[row].score + sum / 5) < 1e-9)
    }
  }

  /// Rows whose largest probability is one in double precision still differ.
  @Test func certainRowsDoNotTie() throws {
    let logits = Tensor<Float>(shape: [1, 3, 2], [60, 0, 50, 0, 70, 0])
    let rows = try readiness(.maximumProbability, Prediction(logits: logits, likelihood: .categorical, exit: 0))
    #expect(rows[1] < rows[0] && rows[0] < rows[2])
    #expect(abs(rows[2].score - 70) < 1e-9)
  }

  @Test func patienceCountsExitsThatAgree() throws {
    func exit(_ classes: [Int]) -> Prediction {
      Prediction(
        logits: Tensor<Float>(shape: [1, classes.count, 3], classes.flatMap { c in (0..<3).map { $0 == c ? 2 : 0 } }),
        likelihood: .categorical, exit: 0)
    }
    var states = ExitRowStates(rowCount: 4)
    var counts: [[Double]] = []
    for (index, classes) in [[0, 1, 2, 0], [0, 1, 1, 0], [0, 1, 0], [1, 1, 0]].enumerated() {
      // The second row leaves after the second exit.
      if index == 2 { states.keep([0, 2, 3]) }
      let prediction = exit(classes)
      counts.append(
        try ExitScore.patience.readiness(of: prediction, prediction.uncertaintySplit(), &states).map(\.score))
    }
    #expect(counts == [[1, 1, 1, 1], [2, 2, 1, 2], [3, 2, 3], [1, 3, 4]])
  }

  /// Draws that are all the same differ by rounding alone, which ranks nothing.
  @Test func roundingIsNothingEpistemic() throws {
    let row = randomLogits(rows: 60, classes: 5, seed: 8, spread: 9)
    let prediction = Prediction(
      logits: Tensor(shape: [7, 60, 5], Array(repeatElement(row.elements, count: 7).joined())), likelihood: .categorical,
      exit: 0)
    #expect(prediction.uncertaintySplit().epistemic.elements.contains { $0 != 0 })
    for score in [ExitScore.mutualInformation, .logitVariance, .combined(epistemicWeight: 1e15)] {
      #expect(try readiness(score, prediction).allSatisfy { $0.score == 0 }, "\(score)")
    }
    var balance = UncertaintyBalance()
    balance.add(prediction.uncertaintySplit())
    #expect(balance.weight == nil)
  }

  @Test func epistemicScoresNeedDraws() throws {
    let prediction = Prediction(logits: Tensor<Float>(zeros: [1, 2, 3]), likelihood: .categorical, exit: 1)
    for score in scores where score.needsEpistemicUncertainty {
      let error = #expect(throws: EvaluationError.self) { try readiness(score, prediction) }
      #expect(error?.message.contains("needs draws") ?? false)
    }
    let regression = Prediction(logits: Tensor<Float>(zeros: [1, 2, 3]), likelihood: .gaussian, exit: 1)
    var states = ExitRowStates(rowCount: 2)
    let split = prediction.uncertaintySplit()
    #expect(throws: EvaluationError.self) { try ExitScore.entropy.readiness(of: regression, split, &states) }
  }

  @Test func namesComeBack() {
    for score in scores { #expect(ExitScore("\(score)") == score) }
    for text in ["", "confidence", "combined", "combined:", "combined:-1", "combined:nan", "combined:0"] {
      #expect(ExitScore(text) == nil)
    }
  }
}

@Suite struct ExitThresholdTests {
  @Test func sharesAreGeometric() {
    #expect(ExitSchedule.sweep.count == 39 && ExitSchedule.sweep[0].ratio == 0.05)
    for schedule in ExitSchedule.sweep + [ExitSchedule(ratio: 1e-9), ExitSchedule(ratio: 1e9)] {
      let shares = schedule.shares(exitCount: 5)
      #expect(abs(shares.reduce(0, +) - 1) < 1e-12)
      guard schedule.ratio < 1 else { continue }
      // z (1 − p)ᵏ⁻¹ p with q = 1 − p, as MSDNet has it.
      let p = 1 - schedule.ratio
      let terms = (0..<5).map { Double.pow(1 - p, $0) * p }
      let sum = terms.reduce(0, +)
      for (a, b) in zip(shares, terms) { #expect(abs(a - b / sum) < 1e-12) }
    }
  }

  /// The walk as the method's description has it, row by row.
  @Test(arguments: [0.05, 0.5, 1, 1.95])
  func thresholdsAreThoseOfTheWalk(ratio: Double) throws {
    let table = try MadeUpExits.table(997)
    let schedule = ExitSchedule(ratio: ratio)
    let shares = schedule.shares(exitCount: 4)
    var gone = Set<Int>()
    var expected: [ExitReadiness?] = []
    for exit in 0..<3 {
      let wanted = Int((997 * shares[exit]).rounded(.down))
      var (taken, threshold) = (0, ExitReadiness?.none)
      let walk = (0..<997).sorted { table.readiness[exit][$0] > table.readiness[exit][$1] }
      for row in walk where !gone.contains(row) {
        taken += 1
        if taken == wanted { threshold = table.readiness[exit][row] }
      }
      expected.append(threshold)
      if let threshold { gone.formUnion((0..<997).filter { table.readiness[exit][$0] >= threshold }) }
    }
    let thresholds = schedule.thresholds(table)
    #expect(thresholds == expected)
    let exits = table.exits(thresholds)
    for exit in 0..<3 { #expect(exits.count { $0 == exit } == Int(997 * shares[exit])) }
  }

  @Test(arguments: scores) func costsRiseWithTheLevel(score: ExitScore) throws {
    let (table, costs) = (try MadeUpExits.table(300, score: score), try MadeUpExits.costs())
    // Shares are rounded down at three exits, so that up to three rows go on to the last.
    let rounding = 3 * (costs.toExit[3] - costs.toExit[0]) / 300
    for family in [ExitFamily.schedule, .common] {
      let thresholds = family.thresholds(table)
      var last = 0.0
      for level in stride(from: 0, through: 1, by: 1 / 64.0) {
        let cost = costs.mean(of: table.exits(thresholds(level)))
        #expect(cost >= last - rounding, "\(family) at \(level)")
        last = cost
      }
      #expect(table.exits(thresholds(0)).allSatisfy { $0 == 0 } && table.exits(thresholds(1)).allSatisfy { $0 == 3 })
    }
  }

  @Test(arguments: scores) func budgetsAreMet(score: ExitScore) throws {
    let (table, test) = (try MadeUpExits.table(1000, score: score), try MadeUpExits.table(2000, score: score, seed: 8))
    let costs = try MadeUpExits.costs()
    for step in 0..<10 {
      let budget = costs.toExit[0] + (costs.toExit[3] - costs.toExit[0]) * (0.02 + 0.098 * Double(step))
      let choice = try ExitTarget.meanCost(budget).choice(table, costs, family: ExitFamily(for: score))
      #expect(choice.meanCost <= budget && choice.meanCost > 0.995 * budget, "\(budget): \(choice.meanCost)")
      #expect(abs(choice.shares.reduce(0, +) - 1) < 1e-12)
      let other = ExitChoice(choice.thresholds, test, costs)
      let error = choice.costDeviation * (1.0 / 1000 + 1.0 / 2000).squareRoot()
      #expect(abs(other.meanCost - choice.meanCost) <= 3.5 * error, "\(budget) on other rows")
    }
    let all = try ExitTarget.meanCost(38.04).choice(table, costs)
    #expect(all.thresholds.allSatisfy { $0 == nil } && all.costDeviation < 1e-9)
    #expect(try ExitTarget.meanCost(6.86).choice(table, costs).shares[0] == 1)
  }

  @Test func percentilesAndFloorsAreMet() throws {
    let (table, costs) = (try MadeUpExits.table(2000), try MadeUpExits.costs())
    for (share, cost) in [(0.95, 14.35), (0.5, 30), (0.99, 7)] {
      let choice = try ExitTarget.percentile(share: share, cost: cost).choice(table, costs)
      let affordable = zip(choice.shares, costs.toExit).reduce(0) { $0 + ($1.1 <= cost ? $1.0 : 0) }
      // What bisection leaves is the rows that one step of the family moves, of the 2,000 a few.
      #expect(affordable >= share && affordable < share + 0.01, "\(share) at \(cost): \(affordable)")
    }
    let full = ExitChoice([nil, nil, nil], table, costs)
    let floor = full.accuracy - 0.02
    let choice = try ExitTarget.accuracy(floor).choice(table, costs)
    #expect(choice.accuracy >= floor && choice.meanCost < 0.8 * full.meanCost)
    let error = #expect(throws: EvaluationError.self) { try ExitTarget.accuracy(0.9999).choice(table, costs) }
    #expect(error?.message.contains("highest is") ?? false)
  }

  /// Of many calibration sets, at most a share of `delta` leads to thresholds with too high a risk in the population.
  @Test func risksAreKept() throws {
    let (population, costs) = (try MadeUpExits.table(6000, seed: 21), try MadeUpExits.costs())
    let plain = ExitChoice([nil, nil, nil], population, costs)
    let risk = 1 - plain.accuracy + 0.06
    let key = RandomKey(seed: 77)
    var (exceeded, saved) = (0, 0.0)
    for set in 0..<30 {
      let uniforms = key.child(set).uniforms(500)
      let rows = (0..<500).map { Int(uniforms[$0] * 6000) }
      let choice = try ExitTarget.risk(error: risk, delta: 0.1).choice(population.rows(rows), costs)
      let whole = ExitChoice(choice.thresholds, population, costs)
      if 1 - whole.accuracy > risk { exceeded += 1 }
      saved += (1 - whole.meanCost / plain.meanCost) / 30
    }
    // Above eight of thirty lies less than a hundredth of the binomial distribution of 0.1.
    #expect(exceeded <= 8)
    // A rule that never lets anybody leave would keep every risk.
    #expect(saved > 0.2)
    let error = #expect(throws: EvaluationError.self) {
      try ExitTarget.risk(error: 0.001, delta: 0.1).choice(population, costs)
    }
    #expect(error?.message.contains("are wrong") ?? false)
  }

  /// scipy.stats.binom.cdf 1.17.1.
  @Test func binomialTailsAreThoseOfSciPy() {
    let expected: [(Int, Int, Double, Double)] = [
      (0, 10, 0.1, 0.34867844009999993), (3, 10, 0.3, 0.6496107184000002), (87, 1000, 0.1, 0.09192916210561011),
      (12, 2000, 0.01, 0.03830767761147372), (999, 1000, 0.999, 0.6323045752290363),
      (250, 1000, 0.3, 0.0002598030365289303),
    ]
    for (count, total, probability, value) in expected {
      #expect(abs(binomialTail(atMost: count, of: total, probability: probability) / value - 1) < 1e-9)
    }
    #expect(binomialTail(atMost: 10, of: 10, probability: 0.3) == 1)
  }

  @Test func whatMakesNoSenseIsRefused() throws {
    let (table, costs) = (try MadeUpExits.table(50), try MadeUpExits.costs())
    let targets: [(ExitTarget, String)] = [
      (.meanCost(5), "below the cost of the first exit"), (.percentile(share: 0.9, cost: 1), "below the cost"),
      (.percentile(share: 1, cost: 20), "between 0 and 1"), (.accuracy(0), "between 0 and 1"),
      (.risk(error: 1.2, delta: 0.1), "between 0 and 1"), (.risk(error: 0.2, delta: .nan), "between 0 and 1"),
    ]
    for (target, words) in targets {
      let error = #expect(throws: EvaluationError.self) { try target.choice(table, costs) }
      #expect(error?.message.contains(words) ?? false, "\(target): \(error?.message ?? "")")
    }
    let one = ExitTables(exitCount: 1, scores: [.entropy])[.entropy]
    #expect(throws: EvaluationError.self) {
      try ExitTarget.meanCost(2).choice(one, ExitCosts([1], unit: .multiplyAdds))
    }
    let empty = ExitTables(exitCount: 4, scores: [.entropy])[.entropy]
    #expect(throws: EvaluationError.self) { try ExitTarget.meanCost(20).choice(empty, costs) }
    for wrong in [[], [0, 1], [2, 1], [1, .nan], [1, .infinity]] as [[Double]] {
      #expect(throws: EvaluationError.self) { try ExitCosts(wrong, unit: .milliseconds) }
    }
  }
}
