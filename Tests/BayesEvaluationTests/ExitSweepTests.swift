@testable import BayesEvaluation
import BayesPrediction
import BayesTensor
import Foundation
import Testing

@Suite struct ExitSweepTests {
  @Test func pointsAreWhatRowsGet() throws {
    let (table, costs) = (try MadeUpExits.table(700), try MadeUpExits.costs())
    let thresholds = ExitFamily.schedule.sweep(table)
    #expect(thresholds.count == 39)
    let other = try MadeUpExits.table(450, seed: 12)
    let sweep = try ExitSweep(thresholds, on: other, costs)
    var (losses, correct) = ([Double](repeating: 0, count: 450), [Double](repeating: 0, count: 450))
    for (index, thresholds) in thresholds.enumerated() {
      let exits = other.exits(thresholds)
      let point = sweep.points[index]
      let right = (0..<450).map { other.outcomes.isCorrect[exits[$0]][$0] }
      let nll = (0..<450).map { other.outcomes.losses[exits[$0]][$0] }
      #expect(abs(point.accuracy - Double(right.count { $0 }) / 450) < 1e-12)
      #expect(abs(point.nll - nll.reduce(0, +) / 450) < 1e-12)
      #expect(abs(point.cost - costs.mean(of: exits)) < 1e-9)
      // Fifteen bins (a, b], by sorting rows into them.
      var error = 0.0
      for bin in 0..<15 {
        let rows = (0..<450).filter {
          let confidence = other.outcomes.confidences[exits[$0]][$0]
          return confidence > Double(bin) / 15 && confidence <= Double(bin + 1) / 15
        }
        let gap = rows.reduce(0.0) { $0 + (right[$1] ? 1 : 0) - other.outcomes.confidences[exits[$1]][$1] }
        error += abs(gap) / 450
      }
      #expect(abs(point.ece - error) < 1e-12)
      for row in 0..<450 {
        losses[row] += nll[row] / 39
        correct[row] += right[row] ? 1.0 / 39 : 0
      }
    }
    #expect(zip(sweep.losses, losses).allSatisfy { abs($0 - $1) < 1e-12 })
    #expect(zip(sweep.correctness, correct).allSatisfy { abs($0 - $1) < 1e-12 })
    #expect(abs(sweep.mean.nll - sweep.points.reduce(0) { $0 + $1.nll } / 39) < 1e-12)
    #expect(sweep.exitAccuracies[2] == Double(other.outcomes.isCorrect[2].count { $0 }) / 450)
  }

  /// Four rows, two exits: straight lines by hand.
  @Test func areasAreThoseOfTrapezoids() throws {
    var outcomes = ExitOutcomes(exitCount: 2)
    outcomes.isCorrect = [[true, false, false, false], [true, true, true, false]]
    outcomes.losses = [[0, 0, 0, 0], [0, 0, 0, 0]]
    outcomes.confidences = [[0.5, 0.5, 0.5, 0.5], [0.5, 0.5, 0.5, 0.5]]
    let scores = [4.0, 3, 2, 1].map { ExitReadiness(score: $0, logOdds: 0) }
    let table = ExitTable(readiness: [scores, scores], outcomes: outcomes)
    let costs = try ExitCosts([1, 5], unit: .multiplyAdds)
    // The first two rows leave early: cost 3, right are the first and the third.
    let sweep = try ExitSweep([[ExitReadiness(score: 2.5, logOdds: 0)]], on: table, costs)
    #expect(sweep.points[0].cost == 3 && sweep.points[0].accuracy == 0.5)
    // From (1, 1/4) over (3, 1/2) to (5, 3/4).
    #expect(abs(sweep.area - 0.5) < 1e-15)
    let corners = table.oracle(costs)
    #expect(corners.map(\.cost) == [1, 3] && corners.map(\.accuracy) == [0.25, 0.75])
    let chance = table.random(ExitSchedule(ratio: 1), costs)
    #expect(chance.cost == 3 && chance.accuracy == 0.5)
  }

  /// All ways in which seven rows can leave three exits: none is better at the oracle's costs.
  @Test func theOracleIsNotBeaten() throws {
    let (predictions, labels) = MadeUpExits.predictions(7, exitCount: 3, seed: 40)
    var tables = ExitTables(exitCount: 3, scores: [.entropy])
    try tables.add(predictions, labels: labels)
    let table = tables[.entropy]
    let costs = try ExitCosts([1, 2.5, 7], unit: .milliseconds)
    let corners = table.oracle(costs)
    var best = corners.map { _ in 0.0 }
    for code in 0..<2187 {
      var (rest, exits) = (code, [Int]())
      for _ in 0..<7 {
        exits.append(rest % 3)
        rest /= 3
      }
      let accuracy = Double((0..<7).count { table.outcomes.isCorrect[exits[$0]][$0] }) / 7
      for (index, corner) in corners.enumerated() where costs.mean(of: exits) <= corner.cost + 1e-12 {
        best[index] = max(best[index], accuracy)
      }
    }
    for (corner, best) in zip(corners, best) { #expect(abs(corner.accuracy - best) < 1e-12) }
  }

  /// The interval of a mean accuracy that all thresholds share is that of a proportion.
  @Test func intervalsOfAreasAreThoseOfResampledRows() throws {
    let costs = try ExitCosts([1, 2], unit: .multiplyAdds)
    var outcomes = ExitOutcomes(exitCount: 2)
    let right = RandomKey(seed: 4).uniforms(4000).map { $0 < 0.8 }
    outcomes.isCorrect = [right, right]
    outcomes.losses = [[Double](repeating: 0, count: 4000), [Double](repeating: 0, count: 4000)]
    outcomes.confidences = [[Double](repeating: 1, count: 4000), [Double](repeating: 1, count: 4000)]
    let same = [ExitReadiness](repeating: ExitReadiness(score: 0, logOdds: 0), count: 4000)
    let table = ExitTable(readiness: [same, same], outcomes: outcomes)
    let sweep = try ExitSweep([[nil], [.everybody]], on: table, costs)
    let accuracy = Double(right.count { $0 }) / 4000
    #expect(abs(sweep.area - accuracy) < 1e-12)
    let interval = sweep.areaInterval(key: RandomKey(seed: 1))
    #expect(interval == sweep.areaInterval(key: RandomKey(seed: 1)))
    #expect(interval != sweep.areaInterval(key: RandomKey(seed: 2)))
    let half = 1.96 * (accuracy * (1 - accuracy) / 4000).squareRoot()
    // A percentile of a thousand resamplings of 200 blocks is good to about a tenth of the half width.
    #expect(abs(interval.low - (accuracy - half)) < 0.2 * half && abs(interval.high - (accuracy + half)) < 0.2 * half)
  }

  @Test func pairedDifferencesAreMeansWithTheirErrors() {
    let difference = Difference([1, 2, 4, 9], minus: [1, 1, 1, 1])
    #expect(difference.value == 3)
    // The deviations of 0, 1, 3 and 8 from 3, over 3, over 4.
    let error = ((9.0 + 4 + 0 + 25) / 3 / 4).squareRoot()
    #expect(abs((difference.interval?.low ?? 0) - (3 - 1.959963984540054 * error)) < 1e-12)
  }

  @Test func readinessIsJudgedByRightAndWrongAnswers() throws {
    let table = try MadeUpExits.table(600)
    var wins = 0.0
    let (right, wrong) = (
      (0..<600).filter { table.outcomes.isCorrect[1][$0] }, (0..<600).filter { !table.outcomes.isCorrect[1][$0] }
    )
    for a in right { for b in wrong where table.readiness[1][a].score > table.readiness[1][b].score { wins += 1 } }
    let expected = wins / Double(right.count * wrong.count)
    // Scores are ranked in single precision.
    #expect(abs(try #require(try table.auroc(exit: 1)) - expected) < 1e-4)
  }
}

@Suite struct ExitPolicyTests {
  @Test func rowsLeaveAsTheTableSays() throws {
    let (table, costs) = (try MadeUpExits.table(400), try MadeUpExits.costs())
    let policy = try ExitPolicy(score: .maximumProbability, target: .meanCost(20), costs: costs, tunedOn: table)
    let expected = table.exits(policy.choice.thresholds)
    var rows = Array(0..<400)
    for exit in 0..<4 {
      let (leaving, staying) = policy.leaving(rows.map { table.readiness[exit][$0] }, exit: exit)
      for position in leaving { #expect(expected[rows[position]] == exit) }
      rows = staying.map { rows[$0] }
    }
    #expect(rows.isEmpty && policy.rowCount == 400)
    #expect(abs(policy.costStandardError(rowCount: 400) - policy.choice.costDeviation * (2.0 / 400).squareRoot()) < 1e-12)
  }

  /// The loosest thresholds let all rows leave at once, the strictest none before the last exit.
  @Test(arguments: [ExitFamily.schedule, .common]) func extremesAreExtreme(family: ExitFamily) throws {
    let (table, costs) = (try MadeUpExits.table(60), try MadeUpExits.costs())
    #expect(ExitChoice(family.thresholds(table)(0), table, costs).shares == [1, 0, 0, 0])
    #expect(ExitChoice(family.thresholds(table)(1), table, costs).shares == [0, 0, 0, 1])
  }

  @Test func policiesComeBackFromJSON() throws {
    let (table, costs) = (try MadeUpExits.table(90), try MadeUpExits.costs())
    let encoder = JSONEncoder()
    encoder.nonConformingFloatEncodingStrategy = .convertToString(
      positiveInfinity: "inf", negativeInfinity: "-inf", nan: "nan")
    let decoder = JSONDecoder()
    decoder.nonConformingFloatDecodingStrategy = .convertFromString(
      positiveInfinity: "inf", negativeInfinity: "-inf", nan: "nan")
    let targets: [ExitTarget] = [
      .meanCost(6.86), .meanCost(20), .percentile(share: 0.9, cost: 20), .accuracy(0.5), .risk(error: 0.6, delta: 0.2),
      .schedule(ratio: 0.7),
    ]
    for target in targets {
      let policy = try ExitPolicy(score: .combined(epistemicWeight: 1.5), target: target, costs: costs, tunedOn: table)
      #expect(try decoder.decode(ExitPolicy.self, from: encoder.encode(policy)) == policy)
    }
    let policy = try ExitPolicy(score: .entropy, target: .schedule(ratio: 1), costs: costs, tunedOn: table)
    let text = String(decoding: try encoder.encode(policy), as: UTF8.self)
    for (part, other) in [("\"rowCount\":90", "\"rowCount\":0"), ("6.86,14.35", "16.86,14.35"), ("\"entropy\"", "\"mood\"")] {
      #expect(text.contains(part))
      #expect(throws: (any Error).self) {
        try decoder.decode(ExitPolicy.self, from: Data(text.replacingOccurrences(of: part, with: other).utf8))
      }
    }
  }
}

@Suite struct UncertaintyBalanceTests {
  @Test func bothPartsAreAsLargeOnAverage() throws {
    let split = MadeUpExits.predictions(200).predictions[0].uncertaintySplit()
    var balance = UncertaintyBalance()
    #expect(balance.weight == nil)
    balance.add(split)
    let weight = try #require(balance.weight)
    let (total, epistemic) = (split.total.elements.reduce(0, +), split.epistemic.elements.reduce(0, +))
    #expect(abs(weight * epistemic / total - 1) < 0.005)
  }
}
