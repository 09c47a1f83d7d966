import BayesEvaluation
import BayesPrediction
import BayesTensor
import Testing
import _BayesTestSupport

@Suite struct DetectorSelectionTests {
  private let problem = DetectorProblem.random(rows: 200)
  private let candidates = [1, 20, 150].map { NearestNeighbourDetector(neighbourCount: $0) }

  /// Rows of another kind: their features turned round.
  private func foreign(_ file: String) -> InMemoryExitRecords {
    var rows = problem.validation
    rows.features = Tensor(shape: rows.features.shape, rows.features.elements.reversed())
    for row in 0..<rows.rowCount { rows.features[row, row % 6] += 2 }
    return problem.records(rows, file: file)
  }

  @Test func theCandidateWithTheHighestAUROCIsTaken() async throws {
    let known = problem.records(problem.validation, file: "validation.h5")
    let foreign = foreign("foreign.h5")
    let fitted = try await DetectorSelection(candidates).fit(
      problem.inputs, inDistribution: known, outOfDistribution: foreign, in: .test())
    var aurocs: [Double] = []
    for candidate in candidates {
      let alone = try await candidate.fit(problem.inputs, in: .test())
      #expect(alone.choice == nil)
      aurocs.append(
        try ScoreSeparation(
          inDistribution: await alone.scores(of: known, in: .test()),
          outOfDistribution: await alone.scores(of: foreign, in: .test())
        ).auroc)
    }
    let choice = try #require(fitted.choice)
    #expect(choice.candidates.map(\.auroc) == aurocs)
    #expect(choice.candidates.map(\.settings) == candidates.map(\.settings))
    #expect(Set(aurocs).count == 3 && choice.candidates[choice.chosen].auroc == aurocs.max())
    #expect(fitted.settings == candidates[choice.chosen].settings)
    #expect(choice.inDistributionFile == "validation.h5" && choice.outOfDistributionFile == "foreign.h5")
  }

  @Test func ofEqualCandidatesTheFirstIsTaken() async throws {
    let same = [GradNormDetector(), GradNormDetector()]
    let fitted = try await DetectorSelection(same).fit(
      problem.inputs, inDistribution: problem.records(problem.validation, file: "a"), outOfDistribution: foreign("b"),
      in: .test())
    #expect(fitted.choice?.chosen == 0)
  }

  @Test func rowsOfTheChoiceAreNotForResults() async throws {
    let known = problem.records(problem.validation, file: "validation.h5")
    let fitted = try await DetectorSelection(candidates).fit(
      problem.inputs, inDistribution: known, outOfDistribution: foreign("foreign.h5"), in: .test())
    let choice = try #require(fitted.choice)
    try choice.requireUnused("test.h5")
    for file in ["validation.h5", "foreign.h5"] {
      let error = try await evaluationError { try choice.requireUnused(file) }
      #expect(error?.code == .unsupported)
      #expect(error?.message.contains(file) == true)
    }
    let one = try await evaluationError {
      _ = try await DetectorSelection(candidates).fit(
        problem.inputs, inDistribution: known, outOfDistribution: known, in: .test())
    }
    #expect(one?.code == .unsupported)
  }

  @Test func emptySetsAreRefused() async throws {
    let known = problem.records(problem.validation, file: "a")
    let none = problem.records(problem.validation.rows([]), file: "b")
    let error = try await evaluationError {
      _ = try await DetectorSelection(candidates).fit(
        problem.inputs, inDistribution: known, outOfDistribution: none, in: .test())
    }
    #expect(error?.code == .empty)
  }
}
