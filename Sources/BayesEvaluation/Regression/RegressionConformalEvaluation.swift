import BayesTensor

/// Intervals that hold the target with a promised probability, measured on new rows: thresholds from one set of rows,
/// coverage and width on another.
///
///     absolute     m ± q
///     normalized   m ± q s
///     cqr          l − q to u + q,  l and u the quantiles alpha/2 and 1 − alpha/2 of the forecast
///
/// Means alone have the first, calibrated deviations the last, since their means are those of others.  Every output has
/// thresholds of its own: the promise is of each output by itself.
///
/// - Cost: 8 bytes a calibration row for every output and method, for `cqr` and every alpha, until thresholds are taken;
///   new rows leave none.
public struct RegressionConformalEvaluation: Sendable {
  private struct Rule: Sendable {
    var method: RegressionConformalMethod
    var alpha: Double
    /// Which of the kept scores it takes its thresholds from.
    var scores: Int
    /// One an output.
    var thresholds: [ConformalThreshold] = []
    var hits: [Int]
    var widths: [RowMean]
  }

  private let calibration: ForecastCalibration
  private let outputCount: Int
  private var rules: [Rule] = []
  /// `[methods][outputs][rows]`, until thresholds are taken.
  private var scores: [[[Double]]] = []
  private var rowCount = 0
  /// Whether the model was tuned on the calibration rows; `nil` where that is not known.
  public var isTunedOnCalibrationRows: Bool?

  /// - Throws: `EvaluationError.Code.score` for an alpha outside the open `0...1`.
  public init(
    alphas: [Double], contents: ForecastContents, calibration: ForecastCalibration = .none, outputCount: Int
  ) throws(EvaluationError) {
    self.calibration = calibration
    self.outputCount = outputCount
    var methods: [RegressionConformalMethod] = contents == .means ? [.absolute] : RegressionConformalMethod.allCases
    if case .none = calibration {} else { methods = [.quantiles] }
    func empty() -> [[Double]] { Array(repeating: [], count: outputCount) }
    for method in methods {
      if method != .quantiles { scores.append(empty()) }
      for alpha in alphas {
        try checkAlpha(alpha)
        if method == .quantiles { scores.append(empty()) }
        rules.append(
          Rule(
            method: method, alpha: alpha, scores: scores.count - 1, hits: Array(repeating: 0, count: outputCount),
            widths: Array(repeating: RowMean(), count: outputCount)))
      }
    }
  }

  /// Keeps the scores of rows that thresholds are to be taken from.
  public mutating func calibrate(_ forecasts: RegressionForecasts) {
    for place in scores.indices {
      guard let rule = rules.first(where: { $0.scores == place }) else { continue }
      for output in 0..<outputCount {
        let quantiles = standardQuantiles(rule.alpha, output)
        for row in 0..<forecasts.rowCount {
          let position = row * outputCount + output
          let error = forecasts.targets[position] - forecasts.means[position]
          let deviation = deviation(forecasts, position, output)
          switch rule.method {
          case .absolute: scores[place][output].append(abs(error))
          case .normalized: scores[place][output].append(abs(error) / deviation)
          case .quantiles:
            scores[place][output].append(max(quantiles.lower * deviation - error, error - quantiles.upper * deviation))
          }
        }
      }
    }
  }

  /// Takes the thresholds, and forgets the scores.
  ///
  /// - Throws: `EvaluationError.Code.empty` without rows.
  public mutating func takeThresholds() throws(EvaluationError) {
    for index in rules.indices {
      for own in scores[rules[index].scores] {
        rules[index].thresholds.append(try ConformalThreshold(scores: own, alpha: rules[index].alpha))
      }
    }
    scores = []
  }

  /// Measures intervals on new rows.
  ///
  /// - Precondition: thresholds were taken.
  public mutating func update(_ forecasts: RegressionForecasts) {
    rowCount += forecasts.rowCount
    for index in rules.indices {
      let rule = rules[index]
      for output in 0..<outputCount {
        let quantiles = standardQuantiles(rule.alpha, output)
        for row in 0..<forecasts.rowCount {
          let position = row * outputCount + output
          let deviation = deviation(forecasts, position, output)
          let mean = forecasts.means[position]
          let interval: PredictionInterval
          switch rule.method {
          case .absolute:
            interval = ConformalIntervals(score: .absolute, threshold: rule.thresholds[output])
              .interval(mean: mean, standardDeviation: 1)
          case .normalized:
            interval = ConformalIntervals(score: .normalized, threshold: rule.thresholds[output])
              .interval(mean: mean, standardDeviation: deviation)
          case .quantiles:
            interval = ConformalizedQuantiles(threshold: rule.thresholds[output])
              .interval(lower: mean + quantiles.lower * deviation, upper: mean + quantiles.upper * deviation)
          }
          if interval.contains(forecasts.targets[position]) { rules[index].hits[output] += 1 }
          rules[index].widths[output].add(interval.width)
        }
      }
    }
  }

  /// What the intervals held; empty before the first new row.
  public var results: [RegressionConformalResult] {
    guard rowCount > 0 else { return [] }
    return rules.map { rule in
      RegressionConformalResult(
        method: rule.method, alpha: rule.alpha, calibrationRowCount: rule.thresholds[0].rowCount,
        isTunedOnCalibrationRows: isTunedOnCalibrationRows, rowCount: rowCount,
        outputs: rule.thresholds.enumerated().map { output, threshold in
          ConformalIntervalResult(
            threshold: threshold.value, coverage: Double(rule.hits[output]) / Double(rowCount),
            interval: .wilson(successes: rule.hits[output], of: rowCount),
            band: threshold.coverageBand(rowCount: rowCount), meanWidth: rule.widths[output].mean,
            meanWidthInterval: rule.widths[output].interval)
        })
    }
  }

  private func deviation(_ forecasts: RegressionForecasts, _ position: Int, _ output: Int) -> Double {
    calibration.factor(output) * (forecasts.variances?[position].squareRoot() ?? 1)
  }

  private func standardQuantiles(_ alpha: Double, _ output: Int) -> (lower: Double, upper: Double) {
    let distribution = calibration.distribution(output)
    return (distribution.quantile(alpha / 2), distribution.quantile(1 - alpha / 2))
  }
}

/// How intervals with a promise are made.
public enum RegressionConformalMethod: String, Sendable, Hashable, Codable, CaseIterable {
  case absolute
  case normalized
  case quantiles = "cqr"
}

/// What intervals of one method hold and how wide they are.
public struct RegressionConformalResult: Sendable, Hashable, Codable {
  public var method: RegressionConformalMethod
  /// The share of rows whose interval may miss their target.
  public var alpha: Double
  public var calibrationRowCount: Int
  /// Whether the model was tuned on the calibration rows, so that the promise is not exact; absent where not known.
  public var isTunedOnCalibrationRows: Bool?
  /// The number of test rows.
  public var rowCount: Int
  /// One an output.
  public var outputs: [ConformalIntervalResult]

  public init(
    method: RegressionConformalMethod, alpha: Double, calibrationRowCount: Int, isTunedOnCalibrationRows: Bool?,
    rowCount: Int, outputs: [ConformalIntervalResult]
  ) {
    self.method = method
    self.alpha = alpha
    self.calibrationRowCount = calibrationRowCount
    self.isTunedOnCalibrationRows = isTunedOnCalibrationRows
    self.rowCount = rowCount
    self.outputs = outputs
  }
}

/// The intervals of one output.
public struct ConformalIntervalResult: Sendable, Hashable, Codable {
  /// In the targets' unit, of `normalized` in standard deviations; infinite where there are too few calibration rows.
  public var threshold: Double
  /// The share of test rows whose interval holds their target.
  public var coverage: Double
  /// Wilson's 95 % interval of `coverage`.
  public var interval: Interval
  /// Where `coverage` lies in 95 of 100 draws of calibration and test rows.
  public var band: Interval
  /// In the targets' unit.
  public var meanWidth: Double
  /// The normal 95 % interval of `meanWidth`; absent where it is infinite.
  public var meanWidthInterval: Interval?

  public init(
    threshold: Double, coverage: Double, interval: Interval, band: Interval, meanWidth: Double,
    meanWidthInterval: Interval?
  ) {
    self.threshold = threshold
    self.coverage = coverage
    self.interval = interval
    self.band = band
    self.meanWidth = meanWidth
    self.meanWidthInterval = meanWidthInterval
  }
}
