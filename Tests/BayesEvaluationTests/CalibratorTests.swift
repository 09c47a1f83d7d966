import BayesEvaluation
import BayesPrediction
import BayesTensor
import Foundation
import RealModule
import Testing
import _BayesTestSupport

/// Values of scikit-learn, SciPy, netcal and venn-abers: see `Tests/Golden/generate/make_calibrators.py`.
@Suite struct CalibratorTests {
  private static let cases = ["binary", "pair", "three", "five"]

  private struct Case {
    let expected: GoldenValue
    let rows: Prediction
    let fresh: Prediction
    let labels: [Int]
    let penalties: [[Double]]

    init(_ name: String) throws {
      let file = try GoldenValue(contentsOf: "Calibrators/\(name).json")
      func prediction(_ key: String) -> Prediction {
        let logits = file["inputs"][key].tensor(as: Float.self)
        return Prediction(
          logits: logits.reshaped(to: [1, logits.shape[0], logits.shape[1]]),
          likelihood: name == "binary" ? .binary : .categorical, exit: 0)
      }
      (rows, fresh) = (prediction("logits"), prediction("fresh"))
      labels = file["inputs"]["labels"].numbers.map { Int($0) }
      penalties = file["penalties"].list.map(\.numbers)
      expected = file["expected"]
    }

    /// Fits, and compares the probabilities of fresh rows; calibrated logits are rounded to Float.
    func check<C: Calibrator>(_ calibrator: C, _ probabilities: GoldenValue) throws -> C.Fitted
    where C.Fitted: SummarizedCalibration {
      let calibration = try calibrator.fit(rows, labels: labels)
      #expect(!calibration.summary.isIdentity && calibration.summary.rowCount == labels.count)
      expectClose(calibration.summary.nllBefore, expected["nllBefore"].number, tolerance: 1e-13)
      expectClose(calibration(fresh).probabilities(), probabilities.tensor(), tolerance: 5e-7, "\(calibrator)")
      return calibration
    }

    func checkAffine(_ calibrator: some Calibrator<AffineCalibration>, _ golden: GoldenValue) throws {
      let calibration = try check(calibrator, golden["probabilities"])
      #expect(calibration.isConverged)
      let count = calibration.intercepts.count
      expectClose(
        Tensor(shape: [count, count], calibration.weights), golden["weights"].tensor(), tolerance: 2e-6)
      expectClose(
        Tensor(shape: [count], calibration.intercepts), golden["intercepts"].tensor(), tolerance: 2e-6)
      // With a penalty this is not what is lowest, and follows the weights' last digits.
      expectClose(calibration.summary.nllAfter, golden["nll"].number, tolerance: 2e-9)
    }
  }

  /// A search takes minutes where classes are many, and ends when nobody wants its result.
  @Test func aCancelledSearchEnds() async throws {
    let values = try Case(Self.cases[0])
    let task = Task {
      while !Task.isCancelled { await Task.yield() }
      return try MatrixScaling().fit(values.rows, labels: values.labels)
    }
    task.cancel()
    let calibration = try await task.value
    let count = calibration.intercepts.count
    #expect(!calibration.isConverged && calibration.intercepts == [Double](repeating: 0, count: count))
    #expect(calibration.weights == (0..<count * count).map { $0 % (count + 1) == 0 ? 1 : 0 })
  }

  @Test(arguments: cases, [0, 1])
  func affineMapsAreThoseOfSciPy(name: String, penalty: Int) throws {
    let values = try Case(name)
    let (offDiagonal, intercept) = (values.penalties[penalty][0], values.penalties[penalty][1])
    try values.checkAffine(VectorScaling(interceptPenalty: intercept), values.expected["vector"].list[penalty])
    try values.checkAffine(
      MatrixScaling(offDiagonalPenalty: offDiagonal, interceptPenalty: intercept),
      values.expected["matrix"].list[penalty])
    try values.checkAffine(
      DirichletCalibrator(offDiagonalPenalty: offDiagonal, interceptPenalty: intercept),
      values.expected["dirichlet"].list[penalty])
  }

  @Test(arguments: cases)
  func withoutPenaltiesMatrixScalingIsLogisticRegression(name: String) throws {
    let values = try Case(name)
    _ = try values.check(
      MatrixScaling(offDiagonalPenalty: 0, interceptPenalty: 0), values.expected["logisticRegression"])
  }

  @Test(arguments: cases)
  func classesAgainstTheRestAreThoseOfLibraries(name: String) throws {
    let values = try Case(name)
    _ = try values.check(IsotonicRegression(), values.expected["isotonic"])
    _ = try values.check(BetaCalibrator(), values.expected["beta"])
    _ = try values.check(VennAbersCalibrator(), values.expected["vennAbers"])
    for (index, bins) in [5, 15].enumerated() {
      _ = try values.check(
        HistogramBinning(binCount: bins, convention: .netcal), values.expected["histogram"].list[index])
      // No probability lies on an edge.
      _ = try values.check(HistogramBinning(binCount: bins), values.expected["histogram"].list[index])
    }
  }

  /// Labels that call for negative factors give the lowest point with a factor of zero, as SciPy's with bounds.
  @Test func factorsOfBetaCalibrationsAreNotNegative() throws {
    var zeros = Set<[Bool]>()
    for value in try GoldenValue(contentsOf: "Calibrators/constrained-beta.json")["cases"].list {
      func prediction(_ key: String) -> Prediction {
        let logits = value[key].numbers
        return Prediction(
          logits: Tensor(shape: [1, logits.count, 1], logits.map { Float($0) }), likelihood: .binary, exit: 0)
      }
      let calibration = try BetaCalibrator().fit(
        prediction("logits"), labels: value["labels"].numbers.map { Int($0) })
      let map = calibration.maps[0]
      #expect(map.logarithmFactor >= 0 && map.restFactor >= 0 && !calibration.summary.isIdentity)
      zeros.insert([map.logarithmFactor == 0, map.restFactor == 0])
      let probabilities = calibration(prediction("fresh")).probabilities()
      for (row, expected) in value["probabilities"].numbers.enumerated() {
        expectClose(probabilities[row, 1], expected, tolerance: 5e-7)
      }
    }
    // One, the other, and both of them.
    #expect(zeros.isSuperset(of: [[true, false], [false, true], [true, true]]), "\(zeros)")
  }

  @Test func regressionIsCalibratedAsBySciPyAndScikitLearn() throws {
    let file = try GoldenValue(contentsOf: "Calibrators/regression.json")
    let (inputs, expected) = (file["inputs"], file["expected"])
    let forecasts = try GaussianForecasts(
      means: inputs["means"].numbers, standardDeviations: inputs["standardDeviations"].numbers,
      targets: inputs["targets"].numbers)
    let scale = try DeviationScaling().fit(forecasts)
    // A search along a line knows the minimum to half the digits of its height.
    expectClose(scale.factor, expected["scale"].number, tolerance: 1e-7)
    expectClose(scale.factor, expected["closedForm"].number, tolerance: 1e-14)
    expectClose(scale.summary.nllBefore, expected["nllBefore"].number, tolerance: 1e-13)
    expectClose(scale.summary.nllAfter, expected["nllAfter"].number, tolerance: 1e-13)
    #expect(scale([1, 2]) == [scale.factor, 2 * scale.factor])
    let levels = try QuantileRecalibration().fit(forecasts)
    #expect(levels.rowCount == 80)
    expectClose(levels.meanGapBefore, expected["meanGap"].number, tolerance: 1e-12)
    for (level, share) in zip(expected["levels"].numbers, expected["shares"].numbers) {
      expectClose(levels.share(belowLevel: level), share, tolerance: 1e-10)
      let inverse = levels.level(ofShare: level)
      expectClose(levels.share(belowLevel: inverse), level, tolerance: 1e-12)
    }
    // Four fifths of the fitted targets lie between the calibrated tenth and nine tenths.
    let covered = forecasts.targets.indices.filter { row in
      let (mean, deviation) = (forecasts.means[row], forecasts.standardDeviations[row])
      let low = levels.quantile(0.1, mean: mean, standardDeviation: deviation)
      let high = levels.quantile(0.9, mean: mean, standardDeviation: deviation)
      return low < forecasts.targets[row] && forecasts.targets[row] <= high + 1e-9
    }
    #expect(covered.count == 64)
  }

  private static let calibrators: [any Calibrator] = [
    VectorScaling(), MatrixScaling(), DirichletCalibrator(), HistogramBinning(), IsotonicRegression(),
    BetaCalibrator(), VennAbersCalibrator(),
  ]

  private func loss(_ prediction: Prediction, _ labels: [Int]) throws -> Double {
    var metric = NegativeLogLikelihood()
    metric.update(try LabelledProbabilities(prediction.probabilities(), labels: labels))
    return try metric.value
  }

  private func summary(_ calibrator: some Calibrator, _ prediction: Prediction, _ labels: [Int]) throws
    -> (summary: CalibrationSummary, calibrated: Prediction)
  {
    let calibration = try calibrator.fit(prediction, labels: labels)
    let summary = try #require(calibration as? any SummarizedCalibration).summary
    return (summary, calibration(prediction))
  }

  /// No likelihood falls, and the summary tells the truth of what the calibration gives.
  @Test(arguments: 0..<12)
  func everyCalibratorKeepsItsContract(seed: Int) throws {
    let isBinary = seed % 3 == 0
    let logits = randomLogits(
      rows: 60, classes: isBinary ? 1 : 2 + seed % 4, seed: UInt64(seed), spread: 1 + Double(seed))
    for likelihood in isBinary ? [Likelihood.binary] : [.categorical] {
      let prediction = Prediction(logits: logits, likelihood: likelihood, exit: 3)
      let labels = (0..<60).map { ($0 * 3 + seed) % prediction.classCount }
      for calibrator in Self.calibrators {
        let (summary, calibrated) = try summary(calibrator, prediction, labels)
        #expect(summary.nllAfter <= summary.nllBefore)
        #expect(calibrated.exit == 3 && calibrated.likelihood == likelihood)
        expectClose(try loss(prediction, labels), summary.nllBefore, tolerance: 1e-12)
        expectClose(try loss(calibrated, labels), summary.nllAfter, tolerance: 1e-6, "\(calibrator)")
        if summary.isIdentity { #expect(calibrated == prediction) }
      }
    }
  }

  /// One binary logit `z` is the pair `(0, z)`.
  @Test func yesOrNoOutputsArePairs() throws {
    let values = try Case("binary")
    let pairs = Prediction(
      logits: Tensor(shape: [1, 150, 2], values.rows.logits.elements.flatMap { [0, $0] }), likelihood: .categorical,
      exit: 0)
    for calibrator in Self.calibrators {
      let single = try summary(calibrator, values.rows, values.labels)
      let pair = try summary(calibrator, pairs, values.labels)
      #expect(single.summary == pair.summary)
      expectClose(single.calibrated.probabilities(), pair.calibrated.probabilities(), tolerance: 1e-6)
    }
  }

  /// Where a rule fitted to classes one by one would do harm together, nothing is changed.
  @Test func whatWouldMakeThingsWorseIsLeftOut() throws {
    // The frequencies of bins lose which of two rows is the surer.
    let rows: [[Float]] = [[0.9, 0.1], [0.6, 0.4], [0.4, 0.6], [0.1, 0.9]]
    let prediction = Prediction(
      logits: Tensor(shape: [1, 4, 2], rows.flatMap { $0.map { Float.log($0) } }), likelihood: .categorical, exit: 0)
    let labels = [0, 1, 0, 1]
    let calibration = try HistogramBinning(binCount: 1).fit(prediction, labels: labels)
    #expect(calibration.summary.isIdentity)
    #expect(calibration.summary.nllAfter == calibration.summary.nllBefore)
    #expect(calibration.summary.reason?.hasPrefix("The negative log-likelihood of the fitted rows would rise") == true)
    #expect(calibration(prediction) == prediction)
  }

  /// A label of probability zero can be mended; classes that none has keep a distribution.
  @Test func infinitelySureRows() throws {
    let prediction = Prediction(
      logits: Tensor(
        shape: [1, 4, 3], [0, -.infinity, -1, -.infinity, 0, -.infinity, 200, 0, 1, 0, 1, 2]),
      likelihood: .categorical, exit: 0, scale: .logProbabilities)
    for calibrator in Self.calibrators {
      let (summary, calibrated) = try summary(calibrator, prediction, [1, 0, 0, 1])
      #expect(summary.nllBefore == .infinity)
      _ = try ClassProbabilities(calibrated.probabilities())
    }
    let binary = Prediction(logits: Tensor(shape: [1, 3, 1], [-200, 0, 200]), likelihood: .binary, exit: 0)
    for calibrator in Self.calibrators {
      let (_, calibrated) = try summary(calibrator, binary, [0, 1, 1])
      #expect(calibrated.logits.elements.allSatisfy { $0.isFinite })
      _ = try ClassProbabilities(calibrated.probabilities())
    }
  }

  @Test func logProbabilitiesStayNormalised() throws {
    let values = try Case("three")
    for calibrator in Self.calibrators {
      let normalized = Prediction(
        logits: Tensor(
          shape: values.rows.logits.shape,
          (0..<150).flatMap { row in
            logProbabilities(ofLogits: values.rows.logits.elements[row * 3..<row * 3 + 3], .categorical).map {
              Float($0)
            }
          }), likelihood: .categorical, exit: 0, scale: .logProbabilities)
      let calibrated = try summary(calibrator, normalized, values.labels).calibrated
      #expect(calibrated.scale == .logProbabilities)
      for row in 0..<150 {
        let sum = calibrated.logits.elements[row * 3..<row * 3 + 3].reduce(0) { $0 + Double.exp(Double($1)) }
        expectClose(sum, 1, tolerance: 1e-5)
      }
    }
  }

  /// Written and read, a calibration is the same.
  @Test func calibrationsAreStored() throws {
    let values = try Case("three")
    func check<C: Calibrator>(_ calibrator: C) throws where C.Fitted: Codable & Equatable {
      let calibration = try calibrator.fit(values.rows, labels: values.labels)
      let data = try JSONEncoder().encode(calibration)
      #expect(try JSONDecoder().decode(C.Fitted.self, from: data) == calibration)
    }
    try check(MatrixScaling())
    try check(HistogramBinning())
    try check(IsotonicRegression())
    try check(BetaCalibrator())
    try check(VennAbersCalibrator())
  }

  /// The bounds of a Venn-Abers predictor hold the rate of its class between them, and never touch zero and one alike.
  @Test func theBoundsOfVennAbersPredictors() throws {
    let values = try Case("five")
    let calibration = try VennAbersCalibrator().fit(values.rows, labels: values.labels)
    for map in calibration.maps {
      var last = (lower: 0.0, upper: 0.0)
      for step in 0...200 {
        let bounds = map.bounds(of: Double(step) / 200)
        #expect(bounds.lower <= bounds.upper && bounds.lower >= last.lower && bounds.upper >= last.upper)
        #expect(bounds.lower < 1 && bounds.upper > 0)
        last = bounds
      }
    }
  }

  @Test func badInputsAreRefused() throws {
    func code(_ calibrator: any Calibrator, _ prediction: Prediction, _ labels: [Int]) -> EvaluationError.Code? {
      do throws(EvaluationError) {
        _ = try calibrator.fit(prediction, labels: labels)
        return nil
      } catch {
        return error.code
      }
    }
    func row(_ values: [Float], likelihood: Likelihood = .categorical) -> Prediction {
      Prediction(logits: Tensor(shape: [1, 1, values.count], values), likelihood: likelihood, exit: 0)
    }
    let samples = Prediction(logits: Tensor(zeros: [2, 1, 2]), likelihood: .categorical, exit: 0)
    let none = Prediction(logits: Tensor(zeros: [1, 0, 2]), likelihood: .categorical, exit: 0)
    for calibrator in Self.calibrators {
      #expect(code(calibrator, row([0, 1]), [2]) == .label)
      #expect(code(calibrator, row([0, 1]), [0, 1]) == .shape)
      #expect(code(calibrator, samples, [0]) == .unsupported)
      #expect(code(calibrator, row([0]), [0]) == .unsupported)
      #expect(code(calibrator, row([0, 1], likelihood: .multilabel), [0]) == .unsupported)
      #expect(code(calibrator, row([0, 1], likelihood: .gaussian), [0]) == .unsupported)
      #expect(code(calibrator, none, []) == .empty)
      #expect(code(calibrator, row([.nan, 0]), [0]) == .score)
      #expect(code(calibrator, row([.infinity, 0]), [0]) == .score)
      #expect(code(calibrator, row([-.infinity, -.infinity]), [0]) == .score)
    }
    let nothing = try GaussianForecasts(means: [], standardDeviations: [], targets: [])
    #expect(throws: EvaluationError.self) { try DeviationScaling().fit(nothing) }
    #expect(throws: EvaluationError.self) { try QuantileRecalibration().fit(nothing) }
    // Forecasts without an error have no best standard deviation.
    let perfect = try DeviationScaling().fit(
      GaussianForecasts(means: [1, 2], standardDeviations: [1, 2], targets: [1, 2]))
    #expect(perfect.factor == 1 && perfect.summary.isIdentity)
  }
}
