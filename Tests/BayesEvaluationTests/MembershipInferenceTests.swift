import BayesEvaluation
import BayesTensor
import RealModule
import Testing
import _BayesTestSupport

/// Membership inference against scikit-learn, and where the answer is known.
struct MembershipInferenceTests {
  private static func evidence(_ golden: GoldenValue) throws -> MembershipEvidence {
    let logs: Tensor<Double> = golden["logProbabilities"].tensor()
    let labels = golden["labels"]["values"].numbers.map { Int($0) }
    var evidence = MembershipEvidence()
    // In two parts, as streams come.
    try evidence.update(logProbabilities: logs.rows(0..<100), labels: Array(labels[..<100]))
    try evidence.update(logProbabilities: logs.rows(100..<labels.count), labels: Array(labels[100...]))
    return evidence
  }

  @Test(arguments: MembershipEvidence.Score.allCases)
  func ranksAreThoseOfScikitLearn(score: MembershipEvidence.Score) throws {
    let golden = try GoldenValue(contentsOf: "Robustness/membership.json")
    let members = try Self.evidence(golden["members"])
    let others = try Self.evidence(golden["others"])
    let result = try MembershipInference(members: members, nonMembers: others, score: score, key: RandomKey(seed: 1))
    let expected = golden[score.rawValue]
    expectClose(result.auroc, expected["auroc"].number, tolerance: 1e-12)
    for (operation, rate) in zip(result.operations, expected["rates"].numbers) {
      expectClose(operation.truePositiveRate.value, rate, tolerance: 1e-12)
      #expect(operation.falsePositiveRate <= operation.allowed)
      #expect(operation.truePositiveRate.interval.contains(rate))
    }
    let gap = golden["members"]["accuracy"].number - golden["others"]["accuracy"].number
    expectClose(result.accuracyGap.value, gap, tolerance: 1e-12)
    #expect(result.accuracyGap.interval.contains(gap))
    #expect(result.balancedAccuracy.interval.contains(result.balancedAccuracy.value))
    #expect(result.warnings.isEmpty)
  }

  private static func made(_ logs: [Double]) throws -> MembershipEvidence {
    var evidence = MembershipEvidence()
    let others = logs.map { Double.log(1 - Double.exp($0)) }
    try evidence.update(
      logProbabilities: Tensor(shape: [logs.count, 2], zip(logs, others).flatMap { [$0, $1] }),
      labels: logs.map { _ in 0 })
    return evidence
  }

  @Test func setsApartAreToldAndEqualOnesAreNot() throws {
    let known = try Self.made((0..<40).map { -0.001 - 0.0001 * Double($0) })
    let unknown = try Self.made((0..<40).map { -0.3 - 0.01 * Double($0) })
    let apart = try MembershipInference(members: known, nonMembers: unknown, score: .loss, key: RandomKey(seed: 1))
    #expect(apart.auroc == 1 && apart.balancedAccuracy.value == 1)
    #expect(apart.operations.allSatisfy { $0.truePositiveRate.value == 1 && $0.falsePositiveRate == 0 })
    #expect(apart.warnings.count == 2)
    let same = try MembershipInference(members: known, nonMembers: known, score: .loss, key: RandomKey(seed: 1))
    #expect(same.auroc == 0.5 && same.accuracyGap.value == 0)
    #expect(same.balancedAccuracy.interval.contains(0.5))
  }

  /// The gap of losses by its definition, with the standard error of two independent means.
  @Test func theGapOfLossesIsThatOfTwoMeans() throws {
    func rows(_ golden: GoldenValue) -> [Double] {
      let logs: Tensor<Double> = golden["logProbabilities"].tensor()
      return golden["labels"]["values"].numbers.enumerated().map { -logs[$0, Int($1)] }
    }
    func mean(_ values: [Double]) -> Double { values.reduce(0, +) / Double(values.count) }
    func squaredError(_ values: [Double]) -> Double {
      let center = mean(values)
      return values.reduce(0) { $0 + ($1 - center) * ($1 - center) } / Double(values.count * (values.count - 1))
    }
    let golden = try GoldenValue(contentsOf: "Robustness/membership.json")
    let gap = try TrainTestGap(
      members: Self.evidence(golden["members"]), nonMembers: Self.evidence(golden["others"]))
    let (own, other) = (rows(golden["members"]), rows(golden["others"]))
    let error = (squaredError(own) + squaredError(other)).squareRoot()
    let loss = try #require(gap.loss)
    // Scores are kept in single precision.
    expectClose(loss.value, mean(other) - mean(own), tolerance: 1e-6)
    expectClose(loss.interval?.high ?? .nan, loss.value + 1.959963984540054 * error, tolerance: 1e-6)
    expectClose(loss.interval?.low ?? .nan, loss.value - 1.959963984540054 * error, tolerance: 1e-6)
    expectClose(gap.memberAccuracy.value, golden["members"]["accuracy"].number, tolerance: 1e-12)
    expectClose(gap.accuracy.value, gap.memberAccuracy.value - gap.nonMemberAccuracy.value, tolerance: 1e-12)
    #expect(throws: EvaluationError.self) {
      try TrainTestGap(members: MembershipEvidence(), nonMembers: MembershipEvidence())
    }
    // One label of probability zero makes a loss infinite, which is not hidden in a mean.
    var certain = MembershipEvidence()
    try certain.update(logProbabilities: Tensor(shape: [2, 2], [0, -.infinity, 0, -.infinity]), labels: [0, 1])
    let infinite = try TrainTestGap(members: certain, nonMembers: certain)
    #expect(infinite.memberLoss == nil && infinite.loss == nil && infinite.accuracy.value == 0)
  }

  /// Probabilities that round to one still rank rows by their losses.
  @Test func rowsThatAreKnownForSureAreTold() throws {
    func evidence(_ margins: [Double]) throws -> MembershipEvidence {
      var evidence = MembershipEvidence()
      try evidence.update(
        logProbabilities: Tensor(shape: [margins.count, 2], margins.flatMap { [0, -$0] }),
        labels: margins.map { _ in 0 })
      return evidence
    }
    let members = try evidence((0..<20).map { 60 + Double($0) })
    let others = try evidence((0..<20).map { 39 + Double($0) })
    let result = try MembershipInference(members: members, nonMembers: others, score: .loss, key: RandomKey(seed: 1))
    #expect(result.auroc == 1 && result.operations.allSatisfy { $0.truePositiveRate.value == 1 })
  }

  @Test func whatCannotBeJudgedIsRefused() throws {
    var evidence = MembershipEvidence()
    let error = #expect(throws: EvaluationError.self) {
      try evidence.update(logProbabilities: Tensor(shape: [1, 2], [-0.1, -2.3]), labels: [2])
    }
    #expect(error?.message == "The label 2 of row 0 names none of 2 classes.")
    #expect(throws: EvaluationError.self) {
      try evidence.update(logProbabilities: Tensor(shape: [1, 2], [.nan, -2.3]), labels: [0])
    }
    #expect(evidence.rowCount == 0)
    let empty = #expect(throws: EvaluationError.self) {
      try MembershipInference(
        members: evidence, nonMembers: Self.made([-0.1, -0.2]), score: .loss, key: RandomKey(seed: 1))
    }
    #expect(empty?.message == "There are 0 members and 2 others; give two rows or more of each.")
  }
}
