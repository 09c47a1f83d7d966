import BayesEvaluation
import BayesPrediction
import BayesTensor
import RealModule
import Testing
import _BayesTestSupport

/// Intervals from rows drawn anew, against SciPy's bootstrap: see `Tests/Golden/generate/make_resampled_intervals.py`.
@Suite struct ResamplingTests {
  private struct Case {
    let expected: GoldenValue
    let models: [ExitEvaluation]

    init(_ name: String, resampling: Resampling = Resampling()) throws {
      let file = try GoldenValue(contentsOf: "ResampledIntervals/\(name).json")
      expected = file["expected"]
      let labels = file["inputs"]["labels"].numbers.map { Int($0) }
      models = try ["first", "second"].map { model in
        var evaluation = ExitEvaluation(
          index: 0, name: "last", outOfDistribution: ["strange"], scores: [MaximumProbabilityScore()],
          resampling: resampling)
        try evaluation.update(Self.prediction(file["inputs"][model]), labels: labels)
        try evaluation.update(Self.prediction(file["inputs"][model + "Foreign"]), outOfDistribution: "strange")
        return evaluation
      }
    }

    private static func prediction(_ value: GoldenValue) -> Prediction {
      let logits = value.tensor(as: Float.self)
      return Prediction(logits: logits.reshaped(to: logits.shape.batched(1)), likelihood: .categorical, exit: 0)
    }
  }

  /// Ends of intervals from sets drawn by two programs differ by luck.
  ///
  /// The 2.5 % quantile of `n` normal numbers scatters by `√(0.025 · 0.975 / n) / φ(1.96) = 2.67 / √n` standard
  /// deviations, 0.084 of 1000 and 0.060 of 2000; its distance from the mean by little more.  Half a standard
  /// deviation is five times the scatter of their difference.
  private func expectSame(
    _ interval: Interval?, _ golden: [Double], value: Double, tolerance: Double = 0.5, _ name: String
  ) throws {
    let interval = try #require(interval, "\(name)")
    expectClose(value, golden[0], tolerance: 1e-6, name)
    #expect(interval.contains(value), "\(name)")
    #expect(abs(interval.low - max(0, golden[1])) < tolerance * golden[3], "\(name): \(interval), \(golden)")
    #expect(abs(interval.high - golden[2]) < tolerance * golden[3], "\(name): \(interval), \(golden)")
  }

  @Test(arguments: ["small", "large"])
  func intervalsAgreeWithSciPy(name: String) throws {
    let values = try Case(name)
    let result = try values.models[0].result
    let details = try #require(result.details)
    let intervals = try #require(details.intervals)
    #expect(intervals.resamplings == 1000)
    for (key, interval, value) in [
      ("ece", intervals.ece, result.ece.value), ("maximum", intervals.maximum, details.calibration.maximum),
      ("rootMeanSquare", intervals.rootMeanSquare, details.calibration.rootMeanSquare),
      ("equalMass", intervals.equalMass, details.calibration.equalMass ?? .nan),
      ("aurc", intervals.aurc, details.selection.aurc),
      ("excessAURC", intervals.excessAURC, details.selection.excessAURC),
      ("augrc", intervals.augrc, details.selection.augrc),
      ("risk80", intervals.risks[0], details.selection.risks[0].risk),
      ("risk90", intervals.risks[1], details.selection.risks[1].risk),
      ("risk95", intervals.risks[2], details.selection.risks[2].risk),
      ("overlap", details.overlap?.interval, details.overlap?.mean ?? .nan),
    ] {
      try expectSame(interval, values.expected[key].numbers, value: value, key)
    }
    // Blocks take no gap for luck, and so are wider than the bootstrap where gaps are; 200 of them know their scatter
    // to a twentieth.
    let (classwise, golden) = (try #require(intervals.classwise), values.expected["classwise"].numbers)
    expectClose(details.calibration.classwise, golden[0], tolerance: 1e-6)
    let ratio = (classwise.high - classwise.low) / (3.92 * golden[3])
    #expect(0.9 < ratio && ratio < 1.5 && classwise.contains(golden[0]), "\(ratio)")
    let (parts, brier) = (details.brier, try #require(intervals.brier))
    for (key, interval, value) in [
      ("reliability", brier.reliability, parts.reliability), ("resolution", brier.resolution, parts.resolution),
      ("uncertainty", brier.uncertainty, parts.uncertainty), ("withinBins", brier.withinBins, parts.withinBins),
    ] {
      let golden = values.expected[key].numbers
      expectClose(value, golden[0], tolerance: 1e-6, key)
      // One end may be cut.
      let half = max(interval.high - value, value - interval.low)
      #expect(0.85 < half / (1.96 * golden[3]) && half / (1.96 * golden[3]) < 1.35, "\(key): \(interval), \(golden)")
      #expect(interval.contains(value) && interval.low >= (key == "withinBins" ? -2 : 0), "\(key)")
    }
    let smooth = try #require(intervals.smooth)
    let smoothRatio = (smooth.high - smooth.low) / (3.92 * values.expected["smoothDeviation"].number)
    #expect(0.85 < smoothRatio && smoothRatio < 1.3, "\(smoothRatio)")
    #expect(smooth.contains(try #require(details.calibration.smooth)))
    let scores = try #require(result.ood[0].scores["maximumProbability"])
    for (key, interval, value) in [
      ("auprOut", scores.auprOutInterval, scores.auprOut), ("auprIn", scores.auprInInterval, scores.auprIn),
      ("fpr95", scores.fpr95Interval, scores.fpr95),
    ] {
      try expectSame(interval, values.expected[key].numbers, value: value, key)
    }
    // Rules that put hardly a row elsewhere have hardly another interval.
    #expect(intervals.conventions.keys.sorted() == ["guo", "netcal", "torchmetrics"])
    for interval in intervals.conventions.values {
      expectClose(interval.high, intervals.ece?.high ?? .nan, tolerance: 1e-3)
    }
  }

  @Test(arguments: ["small", "large"])
  func differencesAreOfTheSameRows(name: String) throws {
    let values = try Case(name)
    let comparisons = try Evaluation(of: [
      ModelEvaluation(name: "first", kind: .map, exits: [values.models[0]]),
      ModelEvaluation(name: "second", kind: .map, exits: [values.models[1]]),
    ]).comparisons
    let comparison = try #require(comparisons.first)
    let auroc = try #require(comparison.ood[0].auroc["maximumProbability"])
    for (difference, key) in [(comparison.ece, "eceDifference"), (auroc, "aurocDifference")] {
      let golden = values.expected[key].numbers
      let interval = try #require(difference.interval)
      expectClose(difference.value, golden[0], tolerance: 1e-6)
      #expect(abs(interval.low - golden[1]) < 0.5 * golden[3], "\(key): \(interval), \(golden)")
      #expect(abs(interval.high - golden[2]) < 0.5 * golden[3], "\(key): \(interval), \(golden)")
    }
    // As if on different rows, the noise would be larger.
    let (first, second) = (try values.models[0].result, try values.models[1].result)
    let scores = try [first, second].map { try #require($0.ood[0].scores["maximumProbability"]) }
    let unpaired = try #require(scores[1].aurocDifference(from: scores[0]).interval)
    let paired = try #require(auroc.interval)
    #expect(paired.high - paired.low < 0.8 * (unpaired.high - unpaired.low))
    func width(_ interval: Interval?) -> Double { interval.map { $0.high - $0.low } ?? .nan }
    let apart = [first, second].map { width($0.details?.intervals?.ece) }.reduce(0) { $0 + $1 * $1 }.squareRoot()
    #expect(width(comparison.ece.interval) < 0.8 * apart)
  }

  @Test func theSmoothErrorIsItsFormula() throws {
    let file = try GoldenValue(contentsOf: "ResampledIntervals/small.json")
    let logits = file["inputs"]["first"].tensor(as: Float.self)
    let prediction = Prediction(logits: logits.reshaped(to: logits.shape.batched(1)), likelihood: .categorical, exit: 0)
    var metric = SmoothCalibrationError()
    metric.update(
      try LabelledProbabilities(prediction.probabilities(), labels: file["inputs"]["labels"].numbers.map { Int($0) }))
    let expected = file["expected"]
    expectClose(try metric.value, expected["smooth"].number, tolerance: 1e-5)
    for (deviation, value) in zip(expected["smoothAt"].numbers, expected["smoothedAt"].numbers) {
      expectClose(try metric.value(standardDeviation: deviation), value, tolerance: 2e-5)
    }
    // The tolerance of its search.
    expectClose(try metric.value, expected["relplot"].number, tolerance: 1.5e-3)

    var fixture = SmoothCalibrationError()
    fixture.update(try LabelledProbabilities(probabilitiesE, labels: labelsE))
    // With a kernel this wide, all that is left is the mean residual.
    expectClose(try fixture.value, 1.64 / 12, tolerance: 1e-5)
    expectClose(try fixture.value(standardDeviation: 0.02), 0.3110441072, tolerance: 5e-5)
    expectClose(try fixture.value(standardDeviation: 0.05), 0.2153044990, tolerance: 2e-5)
  }

  @Test func theSmoothErrorMergesAndKnowsItsLimits() throws {
    var (whole, merged) = (SmoothCalibrationError(), SmoothCalibrationError())
    whole.update(try LabelledProbabilities(probabilitiesE, labels: labelsE))
    for row in labelsE.indices {
      var shard = SmoothCalibrationError()
      shard.update(try LabelledProbabilities(probabilitiesE.rows([row]), labels: [labelsE[row]]))
      merged.merge(shard)
    }
    expectClose(try merged.value, try whole.value, tolerance: 1e-12)
    var certain = SmoothCalibrationError()
    certain.update(try LabelledProbabilities(Tensor(shape: [2, 2], [1, 0, 0, 1]), labels: [0, 1]))
    #expect(try certain.value == 0)
    certain.update(try LabelledProbabilities(Tensor(shape: [2, 2], [1, 0, 0, 1]), labels: [1, 0]))
    expectClose(try certain.value, 0.5, tolerance: 1e-4)
    #expect { try SmoothCalibrationError().value } throws: { ($0 as? EvaluationError)?.code == .empty }
  }

  /// Draws rows of two classes at five confidences, each a tenth above how often its rows are right.
  private func miscalibrated(_ key: RandomKey, count: Int, resampling: Resampling) throws -> ExitEvaluation {
    let uniforms = key.uniforms(2 * count)
    let confidences = (0..<count).map { 0.55 + 0.1 * Double(Int(5 * uniforms[$0])) }
    let labels = (0..<count).map { uniforms[count + $0] < confidences[$0] - 0.1 ? 0 : 1 }
    var evaluation = ExitEvaluation(index: 0, name: "last", resampling: resampling)
    try evaluation.update(
      Prediction(
        logits: Tensor(
          shape: [1, count, 2], confidences.flatMap { [Float(Double.log($0)), Float(Double.log(1 - $0))] }),
        likelihood: .categorical, exit: 0),
      labels: labels)
    return evaluation
  }

  /// In a simulation of the same by NumPy 946 of 1000 did.
  @Test func intervalsHoldTheTrueError() throws {
    let covered = try (0..<200).filter { trial in
      let evaluation = try miscalibrated(
        RandomKey(seed: 11).child(trial), count: 600, resampling: Resampling(count: 200, key: RandomKey(seed: 5)))
      return try evaluation.result.details?.intervals?.ece?.contains(0.1) == true
    }
    #expect(covered.count >= 180, "\(covered.count)")
  }

  /// Uncertainties spread evenly over `0...0.4`, where a share of `5u²/4` is wrong: kept up to `u`, `5u²/12` are.
  @Test func intervalsHoldTheTrueCoverage() throws {
    var covered = [0, 0, 0]
    for trial in 0..<100 {
      let count = 2000
      let uniforms = RandomKey(seed: 15).child(trial).uniforms(2 * count)
      let uncertainties = uniforms[..<count].map { 0.4 * $0 }
      var evaluation = ExitEvaluation(
        index: 0, name: "last", resampling: Resampling(count: 200, key: RandomKey(seed: 6)))
      try evaluation.update(
        Prediction(
          logits: Tensor(
            shape: [1, count, 2], uncertainties.flatMap { [Float(Double.log(1 - $0)), Float(Double.log($0))] }),
          likelihood: .categorical, exit: 0),
        labels: (0..<count).map { uniforms[count + $0] < 1.25 * uncertainties[$0] * uncertainties[$0] ? 1 : 0 })
      let details = try #require(try evaluation.result.details)
      let intervals = try #require(details.intervals?.coverages)
      #expect(intervals.count == details.selection.coverages.count)
      for (point, interval) in zip(details.selection.coverages, intervals) {
        let index = try #require([0.01, 0.02, 0.05].firstIndex(of: point.risk))
        if interval.contains((12 * point.risk / 5).squareRoot() / 0.4) { covered[index] += 1 }
      }
    }
    #expect(covered.allSatisfy { $0 >= 88 }, "\(covered)")
  }

  /// Known scores of N(0, 1) and foreign ones of N(1.5, 1), whose rates follow from the distribution.
  @Test func intervalsHoldTheTrueSeparation() throws {
    func above(_ x: Double) -> Double { Double.erfc(x / 2.0.squareRoot()) / 2 }
    // Φ⁻¹(0.95) = 1.6448536.
    let rate = above(1.5 - 1.6448536269514722)
    var precision = 0.0
    for step in -8000..<8000 {
      let x = Double(step) / 1000 + 0.0005
      let density = Double.exp(-(x - 1.5) * (x - 1.5) / 2) / (2 * Double.pi).squareRoot()
      precision += density / 1000 * above(x - 1.5) / (above(x - 1.5) + above(x))
    }
    var covered = (0, 0, 0)
    for trial in 0..<100 {
      let normals = RandomKey(seed: 12).child(trial).normals([600])
      let result = try separation(
        known: Array(normals.elements[..<300]), foreign: normals.elements[300...].map { $0 + 1.5 })
      if result.falsePositiveRateInterval(Resampling())?.contains(rate) == true { covered.0 += 1 }
      if result.averagePrecisionInterval(positive: .outOfDistribution)?.contains(precision) == true { covered.1 += 1 }
      // By symmetry the same.
      if result.averagePrecisionInterval(positive: .inDistribution)?.contains(precision) == true { covered.2 += 1 }
    }
    #expect(covered.0 >= 90 && covered.1 >= 90 && covered.2 >= 90, "\(covered)")
  }

  @Test func sameKeySameIntervals() throws {
    let (first, second) = (try Case("small"), try Case("small"))
    #expect(try first.models[0].result == second.models[0].result)
    let other = try Case("small", resampling: Resampling(key: RandomKey(seed: 1)))
    #expect(
      try other.models[0].result.details?.intervals?.ece != first.models[0].result.details?.intervals?.ece)
    #expect(try other.models[0].result.ece == first.models[0].result.ece)
  }

  /// Cells that hold hundreds of rows, by what is known in closed form.
  @Test func manyRowsHaveTheIntervalsOfTheirErrors() throws {
    let resampling = Resampling(count: 400, key: RandomKey(seed: 2))
    let count = 100_001
    let evaluation = try miscalibrated(RandomKey(seed: 13), count: count, resampling: resampling)
    let other = try miscalibrated(RandomKey(seed: 14), count: count, resampling: resampling)
    let result = try evaluation.result
    let interval = try #require(result.details?.intervals?.ece)
    #expect(interval.contains(0.1))
    // No gap changes its sign: the variance is that of the mean of right answers within bins.
    let accuracies = [0.45, 0.55, 0.65, 0.75, 0.85]
    let deviation = (accuracies.reduce(0) { $0 + $1 * (1 - $1) } / 5 / Double(count)).squareRoot()
    expectClose((interval.high - interval.low) / (3.92 * deviation), 1, tolerance: 0.2)
    let comparisons = try Evaluation(of: [
      ModelEvaluation(name: "a", kind: .map, exits: [other]),
      ModelEvaluation(name: "b", kind: .map, exits: [evaluation]),
    ]).comparisons
    let difference = try #require(comparisons.first?.ece.interval)
    let width = difference.high - difference.low
    // Rows of two draws are independent, so that variances add up.
    expectClose(width / (3.92 * deviation * 2.0.squareRoot()), 1, tolerance: 0.25)
  }

  @Test func whereThereIsNothingToDraw() throws {
    var single = ExitEvaluation(index: 0, name: "last", outOfDistribution: ["noise"])
    let row = Prediction(logits: Tensor(zeros: [1, 1, 2]), likelihood: .categorical, exit: 0)
    try single.update(row, labels: [0])
    try single.update(row, outOfDistribution: "noise")
    let result = try single.result
    #expect(result.details?.intervals == nil)
    let entropy = try #require(result.ood[0].scores["entropy"])
    #expect(entropy.fpr95Interval == nil && entropy.auprInInterval == nil && entropy.auprOutInterval == nil)
    // All rows alike: every set has the same values.
    try single.update(
      Prediction(logits: Tensor(zeros: [1, 49, 2]), likelihood: .categorical, exit: 0),
      labels: Array(repeating: 0, count: 49))
    let filled = try single.result
    let alike = try #require(filled.details?.intervals)
    #expect(alike.ece == Interval(low: 0.5, high: 0.5) && alike.aurc == Interval(low: 0, high: 0))
    var perfect = try separation(known: [1, 2, 3], foreign: [4, 5, 6])
    #expect(perfect.falsePositiveRateInterval(Resampling()) == Interval(low: 0, high: 0))
    #expect(perfect.averagePrecisionInterval(positive: .inDistribution) == Interval(low: 1, high: 1))
    perfect = try separation(known: [1, 1], foreign: [1, 1])
    #expect(perfect.falsePositiveRateInterval(Resampling()) == Interval(low: 1, high: 1))
  }
}
