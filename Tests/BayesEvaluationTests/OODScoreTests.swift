import BayesEvaluation
import BayesPrediction
import BayesTensor
import RealModule
import Testing
import _BayesTestSupport

/// Checks what every score promises: it rises as rows get less certain, does not depend on a row's
/// companions, and gives one number a row.
private func checkOODScore(_ score: some OODScore) throws {
  // Row after row, the common logit falls and the one that the two samples disagree on rises.
  let rowCount = 8
  var logits = Tensor<Float>(zeros: [2, rowCount, 3])
  for row in 0..<rowCount {
    let doubt = Float(row) / Float(2 * rowCount)
    logits[row * 3] = 6 * (1 - doubt)
    logits[row * 3 + 1] = 3 * doubt
    logits[(rowCount + row) * 3] = 6 * (1 - doubt)
    logits[(rowCount + row) * 3 + 2] = 3 * doubt
  }
  let prediction = Prediction(logits: logits, likelihood: .categorical, exit: 0)
  let values = try score(prediction)
  #expect(values.shape == [rowCount])
  for row in 1..<rowCount {
    #expect(values[row] > values[row - 1], "\(score.name) does not rise at row \(row)")
  }
  for row in 0..<rowCount {
    let alone = Prediction(
      logits: Tensor(
        shape: [2, 1, 3],
        logits.elements[row * 3..<row * 3 + 3]
          + logits.elements[(rowCount + row) * 3..<(rowCount + row) * 3 + 3]),
      likelihood: .categorical, exit: 0)
    #expect(try score(alone)[0] == values[row])
  }
}

@Suite struct OODScoreTests {
  @Test(arguments: allOODScores.indices)
  func everyScoreKeepsItsContract(index: Int) throws { try checkOODScore(allOODScores[index]) }

  @Test func namesAreThoseOfTheReport() {
    #expect(
      standardOODScores.map(\.name) == ["maximumProbability", "entropy", "mutualInformation", "energy"])
    #expect(
      allOODScores.map(\.name) == standardOODScores.map(\.name) + [
        "maximumLogit", "generalizedEntropy", "expectedEntropy", "probabilityVariance",
      ])
  }

  @Test func publishedValuesWithTheirSignTurned() throws {
    // Fixture D of the score definitions: two rows of logits, printed to nine digits.
    let prediction = Prediction(
      logits: Tensor(
        shape: [1, 2, 3],
        [0.58093785, 0.355779624, -0.269291499, 1.995759644, 0.651525441, -1.406989601]),
      likelihood: .categorical, exit: 0)
    let probability = try MaximumProbabilityScore()(prediction)
    expectClose(probability, Tensor(shape: [2], [1 - 0.449295478, 1 - 0.772785016]), tolerance: 1e-7)
    expectClose(
      try EntropyScore()(prediction), Tensor(shape: [2], [1.044078560, 0.616128632]), tolerance: 1e-7)
    expectClose(
      try EnergyScore()(prediction), Tensor(shape: [2], [-1.381012378, -2.253514029]), tolerance: 1e-7)
    #expect(try MutualInformationScore()(prediction) == Tensor(zeros: [2]))
    expectClose(
      try MaximumLogitScore()(prediction), Tensor(shape: [2], [-0.58093785, -1.995759644]), tolerance: 1e-7)
    expectClose(
      try GeneralizedEntropyScore(exponent: 0.1, classLimit: 3)(prediction),
      Tensor(shape: [2], [2.562971499, 2.365010496]), tolerance: 1e-7)
    let temperature = Temperature(value: 1000, nllBefore: 0, nllAfter: 0, isAtSearchBound: false, rowCount: 1)
    expectClose(
      try MaximumProbabilityScore()(temperature(prediction)),
      Tensor(shape: [2], [1 - 0.333452821, 1 - 0.333860867]), tolerance: 1e-9)
    #expect(try ExpectedEntropyScore()(prediction) == EntropyScore()(prediction))
    #expect(try ProbabilityVarianceScore()(prediction) == Tensor(zeros: [2]))
  }

  @Test func generalizedEntropyLooksAtTheLargestProbabilities() throws {
    let prediction = Prediction(
      logits: Tensor(shape: [1, 2, 3], [-100, 0, 0, 0, 100, 0]), likelihood: .categorical, exit: 0)
    let two = try GeneralizedEntropyScore(exponent: 0.5, classLimit: 2)(prediction)
    // Two halves; one class that is certain.
    expectClose(two, Tensor(shape: [2], [1, 0]), tolerance: 1e-15)
  }

  @Test func varianceOfTwoSamplesThatDisagree() throws {
    let prediction = Prediction(
      logits: Tensor(shape: [2, 1, 1], [-100, 100]), likelihood: .binary, exit: 0, sampleWeights: [0.25, 0.75])
    expectClose(try ProbabilityVarianceScore()(prediction)[0], 0.1875, tolerance: 1e-15)
    expectClose(try MaximumLogitScore()(prediction)[0], -25, tolerance: 1e-15)
  }

  @Test func varianceRefusesAClosedForm() {
    let probabilities = Tensor<Double>(shape: [1, 2], [0.5, 0.5])
    let prediction = Prediction(
      logits: Tensor(zeros: [1, 1, 2]), likelihood: .categorical, exit: 0,
      closedForm: Prediction.ClosedForm(
        probabilities: probabilities, total: Tensor(zeros: [1]), aleatoric: nil))
    #expect(!ProbabilityVarianceScore().isDefined(for: prediction))
    #expect { try ProbabilityVarianceScore()(prediction) } throws: {
      ($0 as? EvaluationError)?.code == .unsupported
    }
  }

  @Test func energyAveragesLogitsWithTheirWeights() throws {
    let prediction = Prediction(
      logits: Tensor(shape: [2, 1, 2], [0, 4, 4, 0]), likelihood: .categorical, exit: 0,
      sampleWeights: [0.25, 0.75])
    expectClose(try EnergyScore()(prediction)[0], -logSumExp([3, 1]), tolerance: 1e-15)
  }

  @Test func energyOfOneLogitRanksAsConfidenceDoes() throws {
    let prediction = Prediction(
      logits: Tensor(shape: [1, 3, 1], [-4, 0, 2]), likelihood: .binary, exit: 0)
    let energy = try EnergyScore()(prediction)
    let probability = try MaximumProbabilityScore()(prediction)
    #expect(energy[1] > energy[2] && energy[2] > energy[0])
    #expect(probability[1] > probability[2] && probability[2] > probability[0])
  }

  @Test func energyRefusesLogProbabilities() {
    let prediction = Prediction(
      logits: Tensor(shape: [1, 1, 2], [-0.7, -0.7]), likelihood: .categorical, exit: 0,
      scale: .logProbabilities)
    #expect(!EnergyScore().isDefined(for: prediction))
    #expect { try EnergyScore()(prediction) } throws: {
      ($0 as? EvaluationError)?.code == .unsupported
    }
    #expect(!MaximumLogitScore().isDefined(for: prediction))
    #expect { try MaximumLogitScore()(prediction) } throws: {
      ($0 as? EvaluationError)?.code == .unsupported
    }
  }

  @Test func outputsWithoutClassesAreRefused() {
    let prediction = Prediction(
      logits: Tensor(shape: [1, 1, 2], [0, 0]), likelihood: .gaussian, exit: 0)
    #expect { try EntropyScore()(prediction) } throws: {
      ($0 as? EvaluationError)?.code == .unsupported
    }
  }
}
