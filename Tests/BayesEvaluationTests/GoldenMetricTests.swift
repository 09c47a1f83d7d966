import BayesEvaluation
import BayesPrediction
import BayesTensor
import Testing
import _BayesTestSupport

/// Values of scikit-learn, SciPy and NumPy: see `Tests/Golden/generate/make_metrics.py`.
@Suite struct GoldenMetricTests {
  private func file(_ name: String) throws -> (inputs: GoldenValue, expected: GoldenValue) {
    let file = try GoldenValue(contentsOf: "Metrics/\(name).json")
    return (file["inputs"], file["expected"])
  }

  private func labels(_ inputs: GoldenValue) -> [Int] { inputs["labels"].numbers.map { Int($0) } }

  @Test(arguments: ["classification-random", "classification-tied"])
  func classification(name: String) throws {
    let (inputs, expected) = try file(name)
    let batch = try LabelledProbabilities(inputs["probabilities"].tensor(), labels: labels(inputs))
    func value<M: Metric<LabelledProbabilities, Double>>(_ empty: M) throws -> Double {
      var metric = empty
      metric.update(batch)
      return try metric.value
    }
    #expect(try value(Accuracy()) == expected["accuracy"].number)
    // Sums of 200 doubles in another order.
    expectClose(try value(NegativeLogLikelihood()), expected["nll"].number, tolerance: 1e-14)
    expectClose(try value(BrierScore()), expected["brier"].number, tolerance: 1e-14)
    expectClose(
      try value(ExpectedCalibrationError(binCount: 15)), expected["ece15"].number, tolerance: 1e-14)
    expectClose(
      try value(ExpectedCalibrationError(binCount: 10)), expected["ece10"].number, tolerance: 1e-14)
  }

  @Test(arguments: ["detection-random", "detection-tied", "detection-constant", "fixture-O"])
  func detection(name: String) throws {
    let (inputs, expected) = try file(name)
    let result = try separation(known: inputs["inScores"].numbers, foreign: inputs["outScores"].numbers)
    // No two scores of these files are rounded to one Float, so ranks are exact.
    let tolerance = 1e-14
    expectClose(result.auroc, expected["auroc"].number, tolerance: tolerance)
    expectClose(result.falsePositiveRateAt95, expected["fpr95"].number, tolerance: tolerance)
    for (area, suffix) in [(PrecisionRecallArea.stepSum, "AveragePrecision"), (.trapezoid, "Trapezoid")] {
      expectClose(
        result.averagePrecision(positive: .outOfDistribution, area: area),
        expected["auprOut\(suffix)"].number, tolerance: tolerance)
      expectClose(
        result.averagePrecision(positive: .inDistribution, area: area),
        expected["auprIn\(suffix)"].number, tolerance: tolerance)
    }
  }

  @Test(arguments: ["fixture-T", "temperature-overconfident", "temperature-underconfident"])
  func temperature(name: String) throws {
    let (inputs, expected) = try file(name)
    let logits = inputs["logits"].tensor(as: Float.self)
    let temperature = try TemperatureScaling().fit(
      Prediction(
        logits: logits.reshaped(to: [1, logits.shape[0], logits.shape[1]]), likelihood: .categorical,
        exit: 0), labels: labels(inputs))
    // Logits are rounded to Float: one part in ten million each, averaged over the rows.
    expectClose(temperature.value, expected["temperature"].number, tolerance: 2e-7)
    expectClose(temperature.nllAfter, expected["nll"].number, tolerance: 1e-7)
    expectClose(temperature.nllBefore, expected["nllAtOne"].number, tolerance: 1e-7)
  }

  @Test(arguments: ["mutual-information", "fixture-M"])
  func uncertainty(name: String) throws {
    let (inputs, expected) = try file(name)
    let split = Prediction(logits: inputs["logits"].tensor(as: Float.self), likelihood: .categorical, exit: 0)
      .uncertaintySplit()
    // Logits of up to ten are rounded to Float, at most 5e-7 off.
    expectClose(split.total, expected["totalEntropy"].tensor(), tolerance: 1e-6)
    expectClose(split.aleatoric, expected["aleatoricEntropy"].tensor(), tolerance: 1e-6)
    expectClose(split.epistemic, expected["mutualInformation"].tensor(), tolerance: 1e-6)
  }
}
