import BayesEvaluation
import BayesTensor
import RealModule
import Testing
import _BayesTestSupport

/// Forecasts of real targets in bounded memory; numbers of networks are in `RegressionCommandTests`.
@Suite struct RegressionEvaluationTests {
  /// Forecasts of normal targets, whose deviations are wrong by a factor.
  private func forecasts(
    rowCount: Int, outputCount: Int = 1, seed: UInt64, factor: Double = 1
  ) throws -> RegressionForecasts {
    let key = RandomKey(seed: seed)
    let means: Tensor<Double> = key.child(0).normals([rowCount, outputCount])
    let errors: Tensor<Double> = key.child(1).normals([rowCount, outputCount])
    let logarithms: Tensor<Double> = key.child(2).normals([rowCount, outputCount])
    var (variances, targets) = (means, means)
    for position in 0..<means.count {
      let deviation = Double.exp(logarithms[position] / 2)
      targets[position] = means[position] + deviation * errors[position]
      variances[position] = deviation * deviation * factor * factor
    }
    return try RegressionForecasts(
      means: means, epistemicVariances: variances.map { 0.25 * $0 }, noiseVariances: variances.map { 0.75 * $0 },
      targets: targets)
  }

  private func rows(_ forecasts: RegressionForecasts, _ range: Range<Int>) throws -> RegressionForecasts {
    guard let variances = forecasts.variances, let epistemic = forecasts.epistemicVariances else { return forecasts }
    var noise = variances
    for position in 0..<noise.count { noise[position] -= epistemic[position] }
    return try RegressionForecasts(
      means: forecasts.means.rows(range), epistemicVariances: epistemic.rows(range), noiseVariances: noise.rows(range),
      targets: forecasts.targets.rows(range))
  }

  private func evaluation(
    _ outputCount: Int = 1, _ contents: ForecastContents = .parts, calibration: ForecastCalibration = .none,
    sets: Int = 60
  ) -> RegressionEvaluation {
    RegressionEvaluation(
      index: 0, name: "last", outputCount: outputCount, contents: contents, calibration: calibration,
      resampling: Resampling(count: sets))
  }

  /// The quadrature of `Tests/Golden/generate/make_regression.py`.
  @Test func recalibratedForecastsAreScoredAsByQuadrature() throws {
    for values in try GoldenValue(contentsOf: "Regression/scores.json")["cases"].list {
      let residuals = values["residuals"].numbers
      let forecasts = try GaussianForecasts(
        means: residuals.map { _ in 0 }, standardDeviations: residuals.map { _ in 1 }, targets: residuals)
      let forecast = StandardizedForecast(try QuantileRecalibration().fit(forecasts))
      #expect(!forecast.hasDensity)
      for (place, expected) in zip(values["places"].numbers, values["crps"].numbers) {
        expectClose(forecast.rankedProbabilityScore(place), expected, tolerance: 1e-9, "CRPS at \(place)")
      }
      expectClose(forecast.variance, values["variance"].number, tolerance: 1e-8)
      for (share, expected) in zip(values["shares"].numbers, values["quantiles"].numbers) {
        expectClose(forecast.quantile(share), expected, tolerance: 1e-9, "quantile \(share)")
      }
    }
  }

  /// `RegressionQuality` agrees with uncertainty-toolbox: see `CalibrationMetricTests`.
  @Test func numbersOfOneOutputAreThoseOfTheMetric() throws {
    let batch = try forecasts(rowCount: 731, seed: 1, factor: 0.8)
    var (evaluation, quality) = (evaluation(), RegressionQuality())
    try evaluation.update(batch)
    quality.update(
      try GaussianForecasts(
        means: Array(batch.means.elements),
        standardDeviations: try #require(batch.variances).elements.map { $0.squareRoot() },
        targets: Array(batch.targets.elements)))
    let (result, expected) = (try evaluation.result, try quality.value)
    for (measure, value) in [
      (RegressionMeasure.rootMeanSquaredError, expected.rootMeanSquaredError),
      (.meanAbsoluteError, expected.meanAbsoluteError), (.negativeLogLikelihood, expected.negativeLogLikelihood),
      (.continuousRankedProbabilityScore, expected.continuousRankedProbabilityScore), (.checkScore, expected.checkScore),
      (.intervalScore, expected.intervalScore), (.sharpness, expected.sharpness),
      (.miscalibrationArea, expected.miscalibrationArea),
      (.rootMeanSquaredCalibrationError, expected.rootMeanSquaredCalibrationError),
      (.meanAbsoluteCalibrationError, expected.meanAbsoluteCalibrationError),
      (.epistemicDeviation, 0.5 * expected.sharpness), (.noiseDeviation, 0.75.squareRoot() * expected.sharpness),
    ] {
      let number = try #require(result[measure])
      expectClose(number.value, value, tolerance: 1e-12, measure.rawValue)
      #expect(try #require(number.interval).contains(number.value), "\(measure)")
    }
    #expect(result.calibration.map(\.observed) == expected.calibration.map(\.observed))
    #expect(result.outputs.isEmpty && result.measures.count == RegressionMeasure.allCases.count)
  }

  @Test func shardsMakeTheWhole() throws {
    let all = try forecasts(rowCount: 1337, outputCount: 3, seed: 2)
    var (whole, merged) = (evaluation(3), evaluation(3))
    try whole.update(all)
    var first = 0
    for count in [1, 400, 199, 737] {
      var shard = merged.shard(firstRow: first)
      try shard.update(try rows(all, first..<first + count))
      merged.merge(shard)
      first += count
    }
    let (one, other) = (try whole.result, try merged.result)
    #expect(one.rowCount == other.rowCount && one.outputs.count == 3)
    for (own, theirs) in [(one.measures, other.measures)] + zip(one.outputs, other.outputs).map({ ($0.measures, $1.measures) }) {
      #expect(own.count == RegressionMeasure.allCases.count)
      for (name, number) in own {
        let twin = try #require(theirs[name])
        expectClose(twin.value, number.value, tolerance: 1e-12, name)
        let (interval, twinInterval) = (try #require(number.interval), try #require(twin.interval))
        expectClose(twinInterval.low, interval.low, tolerance: 1e-9, name)
        expectClose(twinInterval.high, interval.high, tolerance: 1e-9, name)
      }
    }
    #expect(one.calibration.map(\.observed) == other.calibration.map(\.observed))
    // The numbers over all outputs are means over them.
    for measure in [RegressionMeasure.meanAbsoluteError, .negativeLogLikelihood, .continuousRankedProbabilityScore] {
      let mean = one.outputs.reduce(0) { $0 + ($1[measure]?.value ?? .nan) } / 3
      expectClose(try #require(one[measure]).value, mean, tolerance: 1e-12)
    }
  }

  @Test func meansAloneHaveErrorsAlone() throws {
    let batch = try forecasts(rowCount: 50, outputCount: 2, seed: 3)
    var evaluation = evaluation(2, .means)
    try evaluation.update(try RegressionForecasts(means: batch.means, targets: batch.targets))
    let result = try evaluation.result
    #expect(Set(result.measures.keys) == ["rmse", "mae"] && result.calibration.isEmpty)
  }

  /// Recalibration keeps means and has no likelihood; a factor keeps what of the deviation is whose.
  @Test func calibrationsChangeWhatTheyMay() throws {
    let batch = try forecasts(rowCount: 400, seed: 4, factor: 2)
    var fit = RegressionCalibrationFit(outputCount: 1, keepsResiduals: true)
    fit.update(batch)
    let (scale, isotonic) = (try fit.scale(0), try fit.recalibration(0))
    #expect(scale.reason == nil && abs(scale.factor - 0.5) < 0.05 && scale.after < scale.before)
    #expect(isotonic.reason == nil && isotonic.after < isotonic.before / 10)
    #expect(try #require(scale.heldOutAfter) >= scale.after && #require(isotonic.heldOutAfter) >= isotonic.after)
    var models = [
      evaluation(), evaluation(calibration: .scaled([scale.factor])),
      evaluation(calibration: .recalibrated([isotonic.distribution], scaledBy: [isotonic.factor])),
    ]
    for index in models.indices { try models[index].update(batch) }
    let results = try models.map { try $0.result }
    expectClose(try #require(results[1][.negativeLogLikelihood]).value, scale.after, tolerance: 1e-12)
    expectClose(
      try #require(results[1][.epistemicDeviation]).value,
      scale.factor * (try #require(results[0][.epistemicDeviation]).value), tolerance: 1e-12)
    expectClose(try #require(results[2][.miscalibrationArea]).value, isotonic.after, tolerance: 1e-12)
    #expect(results[2][.negativeLogLikelihood] == nil && results[2][.noiseDeviation] == nil)
    #expect(results[2][.rootMeanSquaredError]?.value == results[0][.rootMeanSquaredError]?.value)
  }

  @Test func calibratorsRefuseToDoHarm() throws {
    // Residuals at the very quantiles of the normal distribution cannot be calibrated better.
    // With as many between any two of the curve's levels, its gaps are zero.
    let perfect = (1...99).flatMap { level in
      [-1, 1].map { StandardizedForecast.normal.quantile(0.5 + $0 * (Double(level) - 0.5) / 198) }
    }
    var fit = RegressionCalibrationFit(outputCount: 1, keepsResiduals: true)
    let shape: Shape = [198, 1]
    try fit.update(
      RegressionForecasts(
        means: Tensor(zeros: shape), noiseVariances: Tensor(repeating: 1, shape: shape), targets: Tensor(shape: shape, perfect)))
    let isotonic = try fit.recalibration(0)
    #expect(isotonic.reason != nil && isotonic.distribution.hasDensity && isotonic.after == isotonic.before)
    var exact = RegressionCalibrationFit(outputCount: 1, keepsResiduals: false)
    try exact.update(
      RegressionForecasts(
        means: Tensor(zeros: shape), noiseVariances: Tensor(repeating: 1, shape: shape), targets: Tensor(zeros: shape)))
    let scale = try exact.scale(0)
    #expect(scale.reason != nil && scale.factor == 1 && scale.meanSquare == 0)
    #expect(throws: EvaluationError.self) { try RegressionCalibrationFit(outputCount: 1, keepsResiduals: true).scale(0) }
  }

  /// Of rows drawn anew, 95 of 100 intervals hold the number that rows without end would have.
  @Test func intervalsCoverWhatTheyShould() throws {
    // E[NLL] = ½ log 2π + E[log s] + ½ and E[|error|] = √(2/π) E[s], with s = exp(x / 2) of a normal x.
    let truths: [(RegressionMeasure, Double)] = [
      (.negativeLogLikelihood, Double.log(2 * .pi) / 2 + 0.5),
      (.meanAbsoluteError, (2 / Double.pi).squareRoot() * Double.exp(0.125)),
    ]
    var hits = [0, 0, 0]
    let repeats = 60
    for number in 0..<repeats {
      var evaluation = evaluation(sets: 100)
      try evaluation.update(try forecasts(rowCount: 400, seed: UInt64(100 + number)))
      let result = try evaluation.result
      for (index, truth) in truths.enumerated() {
        if try #require(result[truth.0]?.interval).contains(truth.1) { hits[index] += 1 }
      }
      if try #require(result[.coverage90]?.interval).contains(0.9) { hits[2] += 1 }
    }
    // Fewer than 51 of 60 happen once in a thousand.
    #expect(hits.allSatisfy { $0 >= 51 }, "\(hits)")
  }

  @Test func comparisonsArePaired() throws {
    let batch = try forecasts(rowCount: 500, seed: 5)
    let wide = try forecasts(rowCount: 500, seed: 5, factor: 1.5)
    func model(_ name: String, _ kind: ModelKind, _ forecasts: RegressionForecasts) throws -> RegressionModelEvaluation {
      var exit = evaluation()
      try exit.update(forecasts)
      return RegressionModelEvaluation(name: name, kind: kind, exits: [exit])
    }
    let study = try RegressionStudy(of: [
      try model("first", .map, batch), try model("base", .constantDeviation, batch), try model("same", .map, batch),
      try model("wide", .map, wide),
    ])
    #expect(study.baseline == "base" && study.comparisons.map(\.model) == ["first", "same", "wide"])
    for difference in study.comparisons[1].measures.values {
      #expect(difference.value == 0 && difference.interval == Interval(low: 0, high: 0) && difference.isWithinNoise)
    }
    let rise = try #require(study.comparisons[2][.negativeLogLikelihood])
    #expect(rise.value > 0 && !rise.isWithinNoise)
    // Nothing that both share is noise: errors are the same.
    #expect(study.comparisons[2][.rootMeanSquaredError]?.interval == Interval(low: 0, high: 0))
    var other = evaluation()
    try other.update(try rows(batch, 0..<499))
    let short = RegressionModelEvaluation(name: "short", kind: .map, exits: [other])
    #expect(throws: EvaluationError.self) {
      try RegressionStudy(of: [try model("first", .map, batch), short])
    }
    #expect(throws: EvaluationError.self) { try RegressionStudy(of: []) }
    #expect(throws: EvaluationError.self) { try evaluation().result }
  }

  /// Coverage lies inside the beta-binomial band in 90 of 100 splits at least, whatever the method.
  @Test func intervalsWithAPromiseKeepIt() throws {
    var inside: [RegressionConformalMethod: Int] = [:]
    for number in 0..<100 {
      let (fitted, fresh) = (
        try forecasts(rowCount: 99, seed: UInt64(1000 + number), factor: 0.5),
        try forecasts(rowCount: 200, seed: UInt64(5000 + number), factor: 0.5)
      )
      var sets = try RegressionConformalEvaluation(alphas: [0.1], contents: .parts, outputCount: 1)
      sets.calibrate(fitted)
      try sets.takeThresholds()
      sets.update(fresh)
      for result in sets.results where result.outputs[0].band.contains(result.outputs[0].coverage) {
        inside[result.method, default: 0] += 1
      }
    }
    for method in RegressionConformalMethod.allCases { #expect(inside[method, default: 0] >= 90, "\(method): \(inside)") }
  }

  @Test func tooFewRowsGiveIntervalsWithoutEnd() throws {
    let batch = try forecasts(rowCount: 8, outputCount: 2, seed: 6)
    var sets = try RegressionConformalEvaluation(alphas: [0.1], contents: .parts, outputCount: 2)
    sets.calibrate(batch)
    try sets.takeThresholds()
    #expect(sets.results.isEmpty)
    sets.update(batch)
    for result in sets.results {
      #expect(result.outputs.allSatisfy { $0.threshold == .infinity && $0.coverage == 1 && $0.meanWidth == .infinity })
    }
    #expect(throws: EvaluationError.self) {
      try RegressionConformalEvaluation(alphas: [1], contents: .parts, outputCount: 1)
    }
    var empty = try RegressionConformalEvaluation(alphas: [0.1], contents: .means, outputCount: 1)
    #expect(throws: EvaluationError.self) { try empty.takeThresholds() }
  }

  @Test func whatIsNoForecastIsRefused() throws {
    let shape: Shape = [3, 2]
    let (zeros, ones) = (Tensor<Double>(zeros: shape), Tensor<Double>(repeating: 1, shape: shape))
    func replacing(_ tensor: Tensor<Double>, _ value: Double) -> Tensor<Double> {
      var tensor = tensor
      tensor[1, 1] = value
      return tensor
    }
    func expectRefusal(
      _ words: String, _ means: Tensor<Double>, _ epistemic: Tensor<Double>?, _ noise: Tensor<Double>?, _ targets: Tensor<Double>
    ) {
      let error = #expect(throws: EvaluationError.self) {
        try RegressionForecasts(means: means, epistemicVariances: epistemic, noiseVariances: noise, targets: targets)
      }
      #expect(error?.message.contains(words) == true, "\(error?.message ?? "")")
    }
    expectRefusal("Row 1, counted from 0, has the target nan for output 1", zeros, nil, nil, replacing(zeros, .nan))
    expectRefusal("Row 1, counted from 0, has the mean inf", replacing(zeros, .infinity), nil, nil, zeros)
    for bad in [0, -1, .nan, .infinity] {
      expectRefusal("forecast variance", zeros, nil, replacing(ones, bad), zeros)
    }
    expectRefusal("forecast variance", zeros, replacing(ones, -0.5), ones, zeros)
    expectRefusal("give one target an output", zeros, nil, nil, Tensor(zeros: [3, 1]))
    var evaluation = evaluation(3)
    #expect(throws: EvaluationError.self) {
      try evaluation.update(RegressionForecasts(means: zeros, noiseVariances: ones, targets: zeros))
    }
    var deviations = self.evaluation(2)
    #expect(throws: EvaluationError.self) {
      try deviations.update(RegressionForecasts(means: zeros, noiseVariances: ones, targets: zeros))
    }
  }
}
