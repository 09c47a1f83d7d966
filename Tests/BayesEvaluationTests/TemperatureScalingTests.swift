import BayesEvaluation
import BayesPrediction
import BayesTensor
import RealModule
import Testing
import _BayesTestSupport

/// Checks what every calibrator promises: the loss it fits never rises, and what it claims to keep stays.
private func checkCalibrator(
  _ calibrator: some Calibrator, on prediction: Prediction, labels: [Int]
) throws {
  let calibration = try calibrator.fit(prediction, labels: labels)
  func loss(_ prediction: Prediction) throws -> Double {
    var metric = NegativeLogLikelihood()
    metric.update(try LabelledProbabilities(prediction.probabilities(), labels: labels))
    return try metric.value
  }
  let calibrated = calibration(prediction)
  // Calibrated logits are rounded to Float once more.
  #expect(try loss(calibrated) <= loss(prediction) + 1e-7)
  #expect(
    try ClassProbabilities(calibrated.probabilities()).predictedClasses
      == ClassProbabilities(prediction.probabilities()).predictedClasses)
}

@Suite struct TemperatureScalingTests {
  private let fixture = Prediction(logits: logitsT, likelihood: .categorical, exit: 0)

  @Test func thePublishedFixture() throws {
    // The published value used float64 logits, ours are rounded to Float: 1e-7 apart at most.
    let temperature = try TemperatureScaling().fit(fixture, labels: labelsT)
    expectClose(temperature.value, 1.726918466, tolerance: 2e-7)
    expectClose(temperature.nllAfter, 0.9723033554, tolerance: 1e-7)
    expectClose(temperature.nllBefore, 1.0870832370, tolerance: 1e-7)
    #expect(!temperature.isAtSearchBound)
    #expect(temperature.rowCount == 12)
  }

  @Test func theMinimumIsFoundToEightDigits() throws {
    // The slope of the loss around the answer, by an independent sum, changes its sign within 1e-8.
    let temperature = try TemperatureScaling().fit(fixture, labels: labelsT).value
    func slope(_ inverse: Double) -> Double {
      (0..<12).reduce(0) { sum, row in
        let logits = (0..<4).map { Double(logitsT[row * 4 + $0]) }
        let normalizer = logSumExp(logits.map { inverse * $0 })
        let mean = logits.reduce(0) { $0 + $1 * Double.exp(inverse * $1 - normalizer) }
        return sum + mean - logits[labelsT[row]]
      }
    }
    #expect(slope(1 / (temperature * (1 + 1e-8))) < 0)
    #expect(slope(1 / (temperature * (1 - 1e-8))) > 0)
  }

  @Test(arguments: 0..<20)
  func everyCalibratorKeepsItsContract(seed: Int) throws {
    let logits = randomLogits(rows: 40, classes: 5, seed: UInt64(seed), spread: Double(seed))
    let labels = (0..<40).map { ($0 * 3 + seed) % 5 }
    let prediction = Prediction(logits: logits, likelihood: .categorical, exit: 0)
    try checkCalibrator(TemperatureScaling(), on: prediction, labels: labels)
    let temperature = try TemperatureScaling().fit(prediction, labels: labels)
    #expect(temperature.nllAfter <= temperature.nllBefore)
  }

  @Test func yesOrNoOutputsAreCalibratedToo() throws {
    // One logit z is the pair (0, z).
    let single = randomLogits(rows: 30, classes: 1, seed: 3)
    let pairs = Tensor<Float>(shape: [1, 30, 2], single.elements.flatMap { [0, $0] })
    let labels = (0..<30).map { single[$0] > 0 || $0 % 3 == 0 ? 1 : 0 }
    let binary = try TemperatureScaling().fit(
      Prediction(logits: single, likelihood: .binary, exit: 0), labels: labels)
    let categorical = try TemperatureScaling().fit(
      Prediction(logits: pairs, likelihood: .categorical, exit: 0), labels: labels)
    #expect(binary == categorical)
    #expect(!binary.isAtSearchBound)
  }

  @Test func separableRowsEndAtTheLowerBound() throws {
    let prediction = Prediction(
      logits: Tensor(shape: [1, 2, 2], [1, 0, 0, 1]), likelihood: .categorical, exit: 0)
    let temperature = try TemperatureScaling().fit(prediction, labels: [0, 1])
    #expect(temperature.value == 0.01)
    #expect(temperature.isAtSearchBound)
  }

  @Test func alwaysWrongRowsEndAtTheUpperBound() throws {
    let prediction = Prediction(
      logits: Tensor(shape: [1, 2, 2], [1, 0, 0, 1]), likelihood: .categorical, exit: 0)
    let temperature = try TemperatureScaling().fit(prediction, labels: [1, 0])
    expectClose(temperature.value, 100, tolerance: 1e-12)
    #expect(temperature.isAtSearchBound)
  }

  @Test func logitsThatSayNothingKeepTheirTemperature() throws {
    let prediction = Prediction(logits: Tensor(zeros: [1, 3, 4]), likelihood: .categorical, exit: 0)
    let temperature = try TemperatureScaling().fit(prediction, labels: [0, 1, 2])
    #expect(temperature.value == 1)
    #expect(!temperature.isAtSearchBound)
  }

  @Test func recordsGiveTheSameAsMemory() async throws {
    let rowCount = 2500
    let logits = [1, 2].map { randomLogits(rows: rowCount, classes: 4, seed: $0) }
    let labels = (0..<rowCount).map { $0 % 4 }
    let source = InMemoryExitRecords(
      ExitRecords(
        firstRow: 0,
        exits: logits.map {
          ExitRecords.Exit(features: nil, logits: $0.reshaped(to: [rowCount, 4]))
        }, labels: labels),
      description: RecordsDescription(
        file: "records.h5",
        exits: ["early", "late"].map {
          ExitDescription(name: $0, likelihood: .categorical, logitCount: 4)
        }))
    let streamed = try await TemperatureScaling().fit(exits: [1, 0], of: source)
    let inMemory = try logits.reversed().map {
      try TemperatureScaling().fit(
        Prediction(logits: $0, likelihood: .categorical, exit: 0), labels: labels)
    }
    #expect(streamed == inMemory)
    await #expect { _ = try await TemperatureScaling().fit(exits: [2], of: source) } throws: {
      ($0 as? EvaluationError)?.code == .shape
    }
  }

  /// Of several exits, the one whose logits are to blame is named.
  @Test func theExitOfBadLogitsIsNamed() async throws {
    let source = InMemoryExitRecords(
      ExitRecords(
        firstRow: 0,
        exits: [[1, 0, 0, 1], [1, 0, .nan, 1]].map {
          ExitRecords.Exit(features: nil, logits: Tensor(shape: [2, 2], $0))
        }, labels: [0, 1]),
      description: RecordsDescription(
        file: "records.h5",
        exits: ["early", "late"].map { ExitDescription(name: $0, likelihood: .categorical, logitCount: 2) }))
    await #expect { _ = try await TemperatureScaling().fit(exits: [0, 1], of: source) } throws: {
      let error = $0 as? EvaluationError
      return error?.row == 1 && error?.message.hasPrefix("Exit 1 ('late'): A logit of row 1 is nan") == true
    }
  }

  @Test func badInputsAreRefused() {
    func code(_ prediction: Prediction, _ labels: [Int]) -> EvaluationError.Code? {
      do throws(EvaluationError) {
        _ = try TemperatureScaling().fit(prediction, labels: labels)
        return nil
      } catch {
        return error.code
      }
    }
    func row(_ values: [Float]) -> Prediction {
      Prediction(logits: Tensor(shape: [1, 1, 2], values), likelihood: .categorical, exit: 0)
    }
    #expect(code(fixture, labelsT.map { $0 + 1 }) == .label)
    #expect(code(fixture, [0]) == .shape)
    #expect(
      code(Prediction(logits: Tensor(zeros: [2, 1, 2]), likelihood: .categorical, exit: 0), [0])
        == .unsupported)
    #expect(
      code(Prediction(logits: Tensor(zeros: [1, 0, 2]), likelihood: .categorical, exit: 0), [])
        == .empty)
    #expect(code(row([.nan, 0]), [0]) == .score)
    #expect(code(row([-.infinity, 0]), [0]) == .probability)
  }

  @Test func logProbabilitiesStayNormalised() throws {
    let temperature = Temperature(
      value: 2, nllBefore: 1, nllAfter: 1, isAtSearchBound: false, rowCount: 1)
    let prediction = temperature(
      Prediction(
        logits: Tensor(shape: [1, 1, 2], [Float.log(0.9), Float.log(0.1)]), likelihood: .categorical,
        exit: 0, scale: .logProbabilities))
    expectClose(logSumExp(prediction.logits.elements.map { Double($0) }), 0, tolerance: 1e-7)
    #expect(prediction.scale == .logProbabilities)
  }
}
