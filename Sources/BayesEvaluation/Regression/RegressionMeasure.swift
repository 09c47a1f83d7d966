/// A number of forecasts of real targets; the raw value is its name in reports and in conditions on them.
public enum RegressionMeasure: String, Sendable, Hashable, Codable, CaseIterable {
  case rootMeanSquaredError = "rmse"
  case meanAbsoluteError = "mae"
  case negativeLogLikelihood = "nll"
  case continuousRankedProbabilityScore = "crps"
  case checkScore = "check"
  case intervalScore = "interval"
  /// The root of the mean forecast variance.
  case sharpness
  /// The root of the mean variance of the means under the posterior.
  case epistemicDeviation = "epistemic"
  /// The root of the mean variance of targets around their means.
  case noiseDeviation = "noise"
  case miscalibrationArea = "miscalibration"
  case rootMeanSquaredCalibrationError = "calibration-rms"
  case meanAbsoluteCalibrationError = "calibration-mae"
  /// The share of targets in central intervals of 50 %.
  case coverage50
  case coverage80
  case coverage90
  /// The share of targets in central intervals of 95 %.
  case coverage95 = "coverage"

  /// The probability of the central intervals whose coverage this is; `nil` for other numbers.
  public var coverageLevel: Double? {
    switch self {
    case .coverage50: 0.5
    case .coverage80: 0.8
    case .coverage90: 0.9
    case .coverage95: 0.95
    default: nil
    }
  }

  /// Whether a smaller number is a better forecast; sharpness, its parts and coverage are neither good nor bad alone.
  public var isLoss: Bool {
    switch self {
    case .sharpness, .epistemicDeviation, .noiseDeviation, .coverage50, .coverage80, .coverage90, .coverage95: false
    default: true
    }
  }

  /// Whether it is a share or an area of shares, from zero to one.
  public var isShare: Bool {
    switch self {
    case .miscalibrationArea, .rootMeanSquaredCalibrationError, .meanAbsoluteCalibrationError: true
    default: coverageLevel != nil
    }
  }

  /// What the number may be.
  var range: ClosedRange<Double> {
    if isShare { return 0...1 }
    return self == .negativeLogLikelihood ? -.infinity ... .infinity : 0 ... .infinity
  }

  /// The central intervals whose coverage is reported, by rising probability.
  static let coverages: [(measure: RegressionMeasure, level: Double)] = allCases.compactMap { measure in
    measure.coverageLevel.map { (measure, $0) }
  }
}

/// A number with how far chance may move it.
public struct MeasuredNumber: Sendable, Hashable, Codable {
  public var value: Double
  /// The 95 % interval; absent where none can be given.
  public var interval: Interval?

  public init(value: Double, interval: Interval?) {
    self.value = value
    self.interval = interval
  }
}
