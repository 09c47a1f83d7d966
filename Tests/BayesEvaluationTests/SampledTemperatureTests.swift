import BayesEvaluation
import BayesPrediction
import BayesTensor
import RealModule
import Testing
import _BayesTestSupport

/// Temperatures of means over samples.
struct SampledTemperatureTests {
  private func prediction(samples: Int, classes: Int = 3, likelihood: Likelihood = .categorical) -> Prediction {
    Prediction(
      logits: RandomKey(seed: 2).normals([samples, 60, classes], as: Float.self).map { $0 * 4 }, likelihood: likelihood,
      exit: 0)
  }

  private let labels = (0..<60).map { $0 % 3 }

  /// The mean loss at a temperature, from the probabilities.
  private func loss(_ prediction: Prediction, _ labels: [Int], temperature: Double) throws -> Double {
    let divided = Prediction(
      logits: prediction.logits.map { Float(Double($0) / temperature) }, likelihood: prediction.likelihood, exit: 0)
    var metric = NegativeLogLikelihood()
    metric.update(try LabelledProbabilities(divided.probabilities(), labels: labels))
    return try metric.value
  }

  @Test(arguments: [1, 4])
  func lossesAreThoseOfTheMeanProbabilities(samples: Int) throws {
    let prediction = prediction(samples: samples)
    var search = SampledTemperature()
    // In two parts, as rows come.
    for rows in [0..<23, 23..<60] {
      let parts = (0..<samples).map { sample in
        prediction.logits.reshaped(to: [samples * 60, 3]).rows(
          sample * 60 + rows.lowerBound..<sample * 60 + rows.upperBound)
      }
      let part = Prediction(
        logits: Tensor.stacking(parts).reshaped(to: [samples, rows.count, 3]), likelihood: .categorical, exit: 0)
      try search.update(part, labels: Array(labels[rows]))
    }
    let found = try search.temperature()
    expectClose(found.nllBefore, try loss(prediction, labels, temperature: 1), tolerance: 1e-6)
    expectClose(found.nllAfter, try loss(prediction, labels, temperature: found.value), tolerance: 1e-6)
    for step in [-1.0, 1] where !found.isAtSearchBound {
      let neighbour = found.value * Double.exp2(step / 16)
      #expect(try loss(prediction, labels, temperature: neighbour) > found.nllAfter - 1e-7)
    }
    #expect(found.nllAfter < found.nllBefore && found.rowCount == 60)
  }

  @Test func ofOneSampleItIsTheTemperature() throws {
    let prediction = Prediction(logits: logitsT, likelihood: .categorical, exit: 0)
    var search = SampledTemperature()
    try search.update(prediction, labels: labelsT)
    let exact = try TemperatureScaling().fit(prediction, labels: labelsT)
    // Half a step of the lattice.
    #expect(abs(Double.log2(try search.temperature().value / exact.value)) <= 1.0 / 32)
  }

  @Test func binaryLogitsCountAsTwo() throws {
    let prediction = prediction(samples: 3, classes: 1, likelihood: .binary)
    let labels = labels.map { $0 % 2 }
    var search = SampledTemperature()
    try search.update(prediction, labels: labels)
    let found = try search.temperature()
    expectClose(found.nllBefore, try loss(prediction, labels, temperature: 1), tolerance: 1e-6)
  }

  @Test func wrongInputIsRefused() throws {
    var search = SampledTemperature()
    #expect(throws: EvaluationError.self) { try search.temperature() }
    #expect(throws: EvaluationError.self) { try search.update(prediction(samples: 2), labels: [1]) }
    #expect(throws: EvaluationError.self) {
      try search.update(prediction(samples: 2), labels: [Int](repeating: 3, count: 60))
    }
    #expect(throws: EvaluationError.self) {
      try search.update(prediction(samples: 2, likelihood: .multilabel), labels: labels)
    }
  }
}
