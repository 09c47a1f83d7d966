import BayesEvaluation
import BayesPrediction
import BayesTensor
import Testing
import _BayesTestSupport

/// Values of netcal, torchmetrics, Torch-Uncertainty, scikit-learn and uncertainty-toolbox: see
/// `Tests/Golden/generate/make_calibration_metrics.py`.
@Suite struct CalibrationMetricTests {
  private static let cases = ["fixture-E", "random-0", "random-1", "random-2", "certain"]

  private struct Case {
    let expected: GoldenValue
    let batch: LabelledProbabilities

    init(_ name: String) throws {
      let file = try GoldenValue(contentsOf: "CalibrationMetrics/\(name).json")
      expected = file["expected"]
      batch = try LabelledProbabilities(
        file["inputs"]["probabilities"].tensor(), labels: file["inputs"]["labels"].numbers.map { Int($0) })
    }

    func metric<M: Metric<LabelledProbabilities, Double>>(_ empty: M) -> M {
      var metric = empty
      metric.update(batch)
      return metric
    }

    func numbers(_ name: String) -> [Double] { expected[name].numbers }
  }

  @Test(arguments: cases)
  func binsOfOtherTools(name: String) throws {
    let values = try Case(name)
    for (index, bins) in values.numbers("bins").map({ Int($0) }).enumerated() {
      let netcal = values.metric(ExpectedCalibrationError(binCount: bins, convention: .netcal))
      expectClose(try netcal.value, values.numbers("netcalECE")[index], tolerance: 1e-12)
      expectClose(try netcal.unweightedMean, values.numbers("netcalACE")[index], tolerance: 1e-12)
      expectClose(try netcal.maximum, values.numbers("netcalMCE")[index], tolerance: 1e-12)
      // torchmetrics adds up in single precision.
      let torch = values.metric(ExpectedCalibrationError(binCount: bins, convention: .torchmetrics))
      expectClose(try torch.value, values.numbers("torchmetricsECE")[index], tolerance: 1e-6)
      expectClose(try torch.rootMeanSquare, values.numbers("torchmetricsRMS")[index], tolerance: 1e-6)
      expectClose(try torch.maximum, values.numbers("torchmetricsMCE")[index], tolerance: 1e-6)
      let classwise = values.metric(ClasswiseCalibrationError(binCount: bins, convention: .torchmetrics))
      expectClose(try classwise.value, values.numbers("torchUncertaintyClasswise")[index], tolerance: 1e-6)
      let own = values.metric(ClasswiseCalibrationError(binCount: bins))
      expectClose(try own.value, values.numbers("classwise")[index], tolerance: 1e-12)
    }
    for (index, bins) in [5, 10].enumerated() {
      let equal = values.metric(EqualMassCalibrationError(binCount: bins))
      expectClose(try equal.value, values.numbers("torchUncertaintyAdaptive")[index], tolerance: 1e-6)
    }
  }

  @Test(arguments: cases)
  func theBrierScoreFallsIntoItsParts(name: String) throws {
    let values = try Case(name)
    let parts = try values.metric(ClasswiseCalibrationError(binCount: 15)).brierDecomposition
    for (part, expected) in zip(
      [parts.reliability, parts.resolution, parts.uncertainty, parts.withinBins], values.numbers("brierParts"))
    {
      expectClose(part, expected, tolerance: 1e-12)
    }
    expectClose(
      parts.reliability - parts.resolution + parts.uncertainty + parts.withinBins,
      try values.metric(BrierScore()).value, tolerance: 1e-14)
  }

  @Test(arguments: cases)
  func risksAndCoverages(name: String) throws {
    let values = try Case(name)
    var metric = RiskCoverage()
    metric.update(values.batch)
    let curve = try metric.value
    func number(_ key: String) -> Double { values.expected[key].number }
    expectClose(curve.area(), number("aurc"), tolerance: 1e-12)
    expectClose(curve.excessArea(), number("excessAURC"), tolerance: 1e-12)
    expectClose(curve.excessArea(over: .limit), number("excessAURCLimit"), tolerance: 1e-12)
    expectClose(curve.generalizedArea(), number("augrc"), tolerance: 1e-12)
    // In single precision the probabilities of many certain rows tie at one; here they do not.
    if name != "certain" {
      expectClose(curve.area(.trapezoid), number("torchUncertaintyAURC"), tolerance: 1e-6)
      expectClose(curve.generalizedArea(.trapezoid), number("torchUncertaintyAUGRC"), tolerance: 1e-6)
    }
    expectClose(curve.risk(atCoverage: 0.8), number("torchUncertaintyRiskAt80"), tolerance: 1e-6)
    expectClose(curve.coverage(atRisk: 0.2) ?? .nan, number("torchUncertaintyCoverageAt20"), tolerance: 1e-6)
    #expect(curve.points(maximumCount: 7).last?.coverage == 1)
    expectClose(curve.points(maximumCount: 7).last?.risk ?? .nan, curve.errorRate, tolerance: 1e-15)
  }

  @Test(arguments: cases)
  func classesAmongTheFirst(name: String) throws {
    let values = try Case(name)
    expectClose(try values.metric(TopKAccuracy(2)).value, values.expected["top2"].number, tolerance: 1e-14)
    expectClose(try values.metric(TopKAccuracy(3)).value, values.expected["top3"].number, tolerance: 1e-14)
    var tally = ClassTally()
    tally.update(values.batch)
    expectClose(
      try tally.value.meanIntersectionOverUnion, values.expected["meanIntersectionOverUnion"].number,
      tolerance: 1e-14)
  }

  /// Fed in pieces, everything is as fed at once.
  @Test(arguments: [1, 7, 100])
  func shardsMergeToTheWhole(size: Int) throws {
    let values = try Case("random-1")
    let probabilities = values.batch.probabilities.values
    func merged<M: Metric<LabelledProbabilities, V>, V>(_ empty: M) throws -> M {
      var whole = empty
      for start in stride(from: 0, to: values.batch.rowCount, by: size) {
        let rows = Array(start..<min(start + size, values.batch.rowCount))
        var shard = empty
        shard.update(try LabelledProbabilities(probabilities.rows(rows), labels: rows.map { values.batch.labels[$0] }))
        whole.merge(shard)
      }
      return whole
    }
    #expect(try merged(TopKAccuracy(2)).value == values.metric(TopKAccuracy(2)).value)
    #expect(try merged(EqualMassCalibrationError()).value == values.metric(EqualMassCalibrationError()).value)
    expectClose(
      try merged(ClasswiseCalibrationError()).value, try values.metric(ClasswiseCalibrationError()).value,
      tolerance: 1e-15)
    var whole = RiskCoverage()
    whole.update(values.batch)
    #expect(try merged(RiskCoverage()).value == whole.value)
  }

  @Test(arguments: BinConvention.allCases)
  func everyConfidenceHasItsBin(convention: BinConvention) {
    for count in 1...40 {
      let bins = UnitIntervalBins(count: count, convention: convention)
      #expect(bins.index(of: 0) == (convention == .guo ? nil : 0))
      #expect(bins.index(of: 1) == (convention == .torchmetrics ? count : count - 1))
      for edge in 1..<max(2, count) where count > 1 {
        let isAbove = convention == .netcal || convention == .torchmetrics
        #expect(bins.index(of: bins.edge(edge)) == (isAbove ? edge : edge - 1))
        #expect(bins.index(of: bins.edge(edge).nextDown) == edge - 1)
        #expect(bins.index(of: bins.edge(edge).nextUp) == edge)
      }
    }
  }

  /// What is known without a library: an oracle, a constant score, a single class.
  @Test func limits() throws {
    var perfect = RiskCoverage()
    for row in 0..<10 { perfect.update(uncertainty: Double(row), isWrong: row >= 7) }
    #expect(try perfect.value.excessArea() == 0 && perfect.value.risk(atCoverage: 0.7) == 0)
    #expect(try perfect.value.coverage(atRisk: 0) == 0.7)
    var wrong = RiskCoverage()
    wrong.update(uncertainty: 0, isWrong: true)
    #expect(try wrong.value.coverage(atRisk: 0.5) == nil && wrong.value.area(.trapezoid) == 1)
    let one = try LabelledProbabilities(Tensor(shape: [2, 1], [1, 1]), labels: [0, 0])
    var classwise = ClasswiseCalibrationError()
    classwise.update(one)
    #expect(try classwise.value == 0 && classwise.brierDecomposition.uncertainty == 0)
    #expect([ClassCounts]().meanIntersectionOverUnion == 0)
  }

  @Test func nothingIsRefused() throws {
    func isEmpty(_ body: () throws -> Void) -> Bool {
      do {
        try body()
        return false
      } catch {
        return (error as? EvaluationError)?.code == .empty
      }
    }
    #expect(isEmpty { _ = try RiskCoverage().value })
    #expect(isEmpty { _ = try TopKAccuracy(1).value })
    #expect(isEmpty { _ = try ClasswiseCalibrationError().value })
    #expect(isEmpty { _ = try Disagreement().value })
    #expect(isEmpty { _ = try RegressionQuality().value })
    #expect(isEmpty { _ = try ExpectedCalibrationError(convention: .guo).maximum })
    var few = EqualMassCalibrationError(binCount: 15)
    few.update(try LabelledProbabilities(probabilitiesE, labels: labelsE))
    #expect(isEmpty { _ = try few.value })
  }

  /// By the definitions: three of four samples agree on the first row, all on the second.
  @Test func samplesThatDisagree() throws {
    let logits: [Float] = [1, 0, 5, 0, 2, 1, 4, 0, 0, 1, 3, 0, 9, 2, 2, 1]
    var metric = Disagreement()
    metric.update(Prediction(logits: Tensor(shape: [4, 2, 2], logits), likelihood: .categorical, exit: 0))
    let value = try metric.value
    expectClose(value.variationRatio, 0.125, tolerance: 1e-15)
    // Three of six pairs differ on the first row.
    expectClose(value.disagreement, 0.25, tolerance: 1e-15)
    var single = Disagreement()
    single.update(Prediction(logits: Tensor(shape: [1, 2, 1], [1, -1]), likelihood: .binary, exit: 0))
    #expect(try single.value.variationRatio == 0 && single.value.disagreement == 0)
  }
}

@Suite struct RegressionQualityTests {
  private func forecasts(_ name: String) throws -> (GaussianForecasts, GoldenValue) {
    let file = try GoldenValue(contentsOf: "CalibrationMetrics/\(name).json")
    let inputs = file["inputs"]
    return (
      try GaussianForecasts(
        means: inputs["means"].numbers, standardDeviations: inputs["standardDeviations"].numbers,
        targets: inputs["targets"].numbers), file["expected"]
    )
  }

  @Test(arguments: ["fixture-R", "regression"])
  func forecastsOfRealNumbers(name: String) throws {
    let (batch, expected) = try forecasts(name)
    var metric = RegressionQuality()
    metric.update(batch)
    let value = try metric.value
    for (number, key) in [
      (value.rootMeanSquaredCalibrationError, "rmsCalibrationError"), (value.sharpness, "sharpness"),
      (value.meanAbsoluteCalibrationError, "meanCalibrationError"), (value.negativeLogLikelihood, "nll"),
      (value.miscalibrationArea, "miscalibrationArea"), (value.continuousRankedProbabilityScore, "crps"),
      (value.checkScore, "check"), (value.intervalScore, "interval"), (value.rootMeanSquaredError, "rmse"),
      (value.meanAbsoluteError, "mae"),
    ] {
      expectClose(number, expected[key].number, tolerance: 1e-12, "\(key)")
    }
  }

  @Test func shardsMergeToTheWhole() throws {
    let (batch, _) = try forecasts("regression")
    var (whole, merged) = (RegressionQuality(), RegressionQuality())
    whole.update(batch)
    for row in batch.targets.indices {
      var shard = RegressionQuality()
      shard.update(
        try GaussianForecasts(
          means: [batch.means[row]], standardDeviations: [batch.standardDeviations[row]],
          targets: [batch.targets[row]]))
      merged.merge(shard)
    }
    #expect(try merged.value.calibration == whole.value.calibration)
    expectClose(try merged.value.intervalScore, try whole.value.intervalScore, tolerance: 1e-12)
  }

  @Test func badForecastsAreNamed() {
    func row(_ means: [Double], _ deviations: [Double], _ targets: [Double]) -> EvaluationError? {
      do {
        _ = try GaussianForecasts(means: means, standardDeviations: deviations, targets: targets, firstRow: 10)
        return nil
      } catch {
        return error
      }
    }
    #expect(row([0, 1], [1], [0, 1])?.code == .shape)
    #expect(row([0, .nan], [1, 1], [0, 1])?.row == 11)
    #expect(row([0, 1], [1, 0], [0, 1])?.message.contains("row 11 is 0.0; it must be positive") == true)
    #expect(row([0, 1], [1, 1], [.infinity, 1])?.row == 10)
    #expect(row([0], [1], [1]) == nil)
  }
}
