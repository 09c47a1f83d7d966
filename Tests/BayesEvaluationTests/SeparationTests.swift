import BayesEvaluation
import Testing
import _BayesTestSupport

@Suite struct SeparationTests {
  @Test func thePublishedFixture() throws {
    let fixture = try separation(known: knownO, foreign: foreignO)
    expectClose(fixture.auroc, 0.8, tolerance: 1e-15)
    expectClose(
      fixture.averagePrecision(positive: .inDistribution), 0.8686752137, tolerance: 1e-10)
    expectClose(
      fixture.averagePrecision(positive: .outOfDistribution), 0.7513914657, tolerance: 1e-10)
    expectClose(
      fixture.averagePrecision(positive: .inDistribution, area: .trapezoid), 0.8708996559,
      tolerance: 1e-10)
    expectClose(
      fixture.averagePrecision(positive: .outOfDistribution, area: .trapezoid), 0.7460059781,
      tolerance: 1e-10)
    expectClose(fixture.falsePositiveRateAt95, 0.5, tolerance: 1e-15)
  }

  @Test func exchangingTheSetsAndTheSignGivesTheOtherConvention() throws {
    // In-distribution positive, as ODIN counts: FPR95 of the published fixture.
    let swapped = try separation(known: foreignO.map { -$0 }, foreign: knownO.map { -$0 })
    expectClose(swapped.falsePositiveRateAt95, 0.7142857143, tolerance: 1e-10)
    expectClose(swapped.auroc, 0.8, tolerance: 1e-15)
  }

  @Test func aConstantScoreTellsNothing() throws {
    let constant = try separation(known: Array(repeating: 0, count: 6), foreign: [0, 0])
    #expect(constant.isConstant)
    #expect(constant.auroc == 0.5)
    #expect(constant.falsePositiveRateAt95 == 1)
    #expect(constant.averagePrecision(positive: .outOfDistribution) == 0.25)
    #expect(constant.averagePrecision(positive: .inDistribution) == 0.75)
    #expect(constant.rocPoints().count == 2)
    #expect(constant.aurocStandardError == 0)
  }

  @Test func aPerfectScoreIsPerfectAndItsNegativeIsNot() throws {
    let perfect = try separation(known: [1, 2, 3], foreign: [4, 5, .infinity])
    #expect(perfect.auroc == 1)
    #expect(perfect.falsePositiveRateAt95 == 0)
    #expect(perfect.averagePrecision(positive: .outOfDistribution) == 1)
    #expect(perfect.averagePrecision(positive: .inDistribution) == 1)
    #expect(try separation(known: [4, 5], foreign: [1, 2, -.infinity]).auroc == 0)
  }

  @Test func exactlyNinetyFivePercentIsEnough() throws {
    // Nineteen of twenty foreign rows lie above every known one.
    let foreign = (0..<20).map { $0 == 0 ? 0.0 : 10 + Double($0) }
    #expect(try separation(known: [1, 2], foreign: foreign).falsePositiveRateAt95 == 0)
  }

  @Test func standardErrorAgreesWithTheDefinition() throws {
    // DeLong's variance from the placements of every row, by the double loop.
    func win(_ foreign: Double, _ known: Double) -> Double {
      foreign > known ? 1 : foreign == known ? 0.5 : 0
    }
    func variance(_ values: [Double]) -> Double {
      let mean = values.reduce(0, +) / Double(values.count)
      return values.reduce(0) { $0 + ($1 - mean) * ($1 - mean) } / Double(values.count - 1)
    }
    let byForeign = foreignO.map { x in knownO.reduce(0) { $0 + win(x, $1) } / Double(knownO.count) }
    let byKnown = knownO.map { y in foreignO.reduce(0) { $0 + win($1, y) } / Double(foreignO.count) }
    let expected =
      (variance(byForeign) / Double(foreignO.count) + variance(byKnown) / Double(knownO.count))
      .squareRoot()
    let fixture = try separation(known: knownO, foreign: foreignO)
    expectClose(try #require(fixture.aurocStandardError), expected, tolerance: 1e-14)
  }

  @Test func theOrderOfRowsAndOfShardsDoesNotMatter() throws {
    var shards = try sample(Array(foreignO.reversed().prefix(3)))
    shards.merge(try sample(Array(foreignO.reversed().dropFirst(3))))
    let merged = try ScoreSeparation(
      inDistribution: sample(knownO.reversed()), outOfDistribution: shards)
    #expect(merged == (try separation(known: knownO, foreign: foreignO)))
  }

  @Test func emptySetsAreRefused() {
    #expect { try separation(known: [], foreign: [1]) } throws: {
      ($0 as? EvaluationError)?.code == .empty
    }
    #expect { try separation(known: [1], foreign: []) } throws: {
      ($0 as? EvaluationError)?.code == .empty
    }
  }

  @Test func aScoreThatIsNotANumberIsRefusedByItsRow() throws {
    var scores = try sample([1, 2])
    #expect { try scores.update([3, .nan], named: "energy") } throws: { error in
      guard let error = error as? EvaluationError else { return false }
      return error.code == .score && error.row == 3 && error.message.contains("energy")
    }
    #expect(scores.scores.count == 2)
  }

  @Test func thinnedCurvesKeepTheirEndsAndRise() throws {
    let known = (0..<5000).map { Double(($0 * 7919) % 5000) }
    let foreign = (0..<4000).map { Double(($0 * 6007) % 5000) + 700 }
    let points = try separation(known: known, foreign: foreign).rocPoints(maximumCount: 50)
    #expect(points.count <= 52)
    #expect(points.first == ROCPoint(falsePositiveRate: 0, truePositiveRate: 0))
    #expect(points.last == ROCPoint(falsePositiveRate: 1, truePositiveRate: 1))
    for (before, after) in zip(points, points.dropFirst()) {
      #expect(after.falsePositiveRate >= before.falsePositiveRate)
      #expect(after.truePositiveRate >= before.truePositiveRate)
    }
  }
}
