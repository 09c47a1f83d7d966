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
