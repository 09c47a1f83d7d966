import RealModule

/// How good Gaussian forecasts of real numbers are: sums over rows, in bounded memory.
///
/// With the residual `z = (y − m) / s`, averages over rows of
///
///     NLL       ½ log 2π + log s + ½ z²
///     CRPS      s (z (2Φ(z) − 1) + 2φ(z) − 1/√π)
///     check     mean over q = .01, …, .99 of max(q (y − y_q), (q − 1) (y − y_q)),  y_q = m + s Φ⁻¹(q)
///     interval  mean over p = .01, …, .99 of (u − l) + 2/(1 − p) ((l − y)⁺ + (y − u)⁺),  (l, u) the central interval
///
/// and calibration: how far the share of targets in central intervals of probability `p` is from `p`, at 100 equal
/// steps of `p` from zero to one.
///
/// - Units: NLL in nats; CRPS, check and interval score, sharpness and errors in the targets' unit.
/// - Source: Gneiting and Raftery 2007, doi:10.1198/016214506000001437; Kuleshov et al. 2018, arXiv:1807.00263; levels
///   as in Chung et al. 2021, arXiv:2109.10254.
public struct RegressionQuality: Metric, Equatable {
  private static let levelCount = 100
  /// Half the width of the central intervals, in standard deviations.
  private static let widths = (0..<levelCount).map {
    NormalDistribution.quantile(0.5 + Double($0) / Double(levelCount - 1) / 2)
  }
  private static let quantileLevels = (1...99).map {
    (level: Double($0) / 100, z: NormalDistribution.quantile(Double($0) / 100))
  }
  private static let intervalLevels = (1...99).map {
    (level: Double($0) / 100, z: NormalDistribution.quantile(0.5 + Double($0) / 200))
  }

  private var negativeLogLikelihood = RowMean()
  private var rankedProbability = RowMean()
  private var check = RowMean()
  private var interval = RowMean()
  private var variance = RowMean()
  private var squaredError = RowMean()
  private var absoluteError = RowMean()
  /// At each place, the rows whose target lies in the central interval there and not in the one before.
  private var firstLevels = Array(repeating: 0, count: levelCount)

  public init() {}

  public mutating func update(_ batch: GaussianForecasts) {
    for row in batch.targets.indices {
      let (s, error) = (batch.standardDeviations[row], batch.targets[row] - batch.means[row])
      let z = error / s
      negativeLogLikelihood.add(Double.log(2 * .pi) / 2 + Double.log(s) + z * z / 2)
      rankedProbability.add(
        s * (z * (2 * NormalDistribution.probability(below: z) - 1) + 2 * NormalDistribution.density(z)
          - 1 / Double.pi.squareRoot()))
      check.add(
        s * Self.quantileLevels.reduce(0) { $0 + max($1.level * (z - $1.z), ($1.level - 1) * (z - $1.z)) } / 99)
      interval.add(
        s * Self.intervalLevels.reduce(0) { $0 + 2 * $1.z + 2 / (1 - $1.level) * max(0, abs(z) - $1.z) } / 99)
      variance.add(s * s)
      squaredError.add(error * error)
      absoluteError.add(abs(error))
      firstLevels[Self.firstLevel(holding: abs(z))] += 1
    }
  }

  /// The first central interval that holds a residual; the last holds all.
  private static func firstLevel(holding z: Double) -> Int {
    var (low, high) = (0, levelCount - 1)
    while low < high {
      let middle = (low + high) / 2
      if z <= widths[middle] { high = middle } else { low = middle + 1 }
    }
    return low
  }

  public mutating func merge(_ other: RegressionQuality) {
    negativeLogLikelihood.merge(other.negativeLogLikelihood)
    rankedProbability.merge(other.rankedProbability)
    check.merge(other.check)
    interval.merge(other.interval)
    variance.merge(other.variance)
    squaredError.merge(other.squaredError)
    absoluteError.merge(other.absoluteError)
    for level in firstLevels.indices { firstLevels[level] += other.firstLevels[level] }
  }

  public var value: RegressionResult {
    get throws(EvaluationError) {
      guard variance.count > 0 else { throw .noRows("quality of forecasts") }
      var coverages: [Double] = []
      var count = 0
      for rows in firstLevels {
        count += rows
        coverages.append(Double(count) / Double(variance.count))
      }
      return RegressionResult(
        rowCount: variance.count, rootMeanSquaredError: squaredError.mean.squareRoot(),
        meanAbsoluteError: absoluteError.mean, negativeLogLikelihood: negativeLogLikelihood.mean,
        continuousRankedProbabilityScore: rankedProbability.mean, checkScore: check.mean,
        intervalScore: interval.mean, sharpness: variance.mean.squareRoot(),
        calibration: coverages.enumerated().map {
          CoveragePoint(nominal: Double($0) / Double(Self.levelCount - 1), observed: $1)
        })
    }
  }
}

/// The share of targets in central intervals of one probability.
public struct CoveragePoint: Sendable, Hashable, Codable {
  public var nominal: Double
  public var observed: Double
}

/// The quality of Gaussian forecasts; see `RegressionQuality` for definitions and units.
public struct RegressionResult: Sendable, Hashable, Codable {
  public var rowCount: Int
  public var rootMeanSquaredError: Double
  public var meanAbsoluteError: Double
  public var negativeLogLikelihood: Double
  public var continuousRankedProbabilityScore: Double
  public var checkScore: Double
  public var intervalScore: Double
  /// The root of the mean forecast variance.
  public var sharpness: Double
  /// From the probability zero to one.
  public var calibration: [CoveragePoint]

  /// The root mean squared difference of observed and nominal coverage.
  public var rootMeanSquaredCalibrationError: Double { gaps.rootMeanSquare }

  /// The mean absolute difference of observed and nominal coverage.
  public var meanAbsoluteCalibrationError: Double { gaps.meanAbsolute }

  /// The area between the polygon of observed coverage and the diagonal.
  public var miscalibrationArea: Double { gaps.area }

  private var gaps: CoverageGaps {
    CoverageGaps(nominal: calibration.map(\.nominal), observed: calibration.map(\.observed))
  }
}

/// How far the shares of targets in central intervals lie from the intervals' probabilities.
struct CoverageGaps: Sendable {
  private let nominal: [Double]
  /// Observed minus nominal.
  private let gaps: [Double]

  init(nominal: [Double], observed: [Double]) {
    self.nominal = nominal
    gaps = zip(observed, nominal).map { $0 - $1 }
  }

  var rootMeanSquare: Double { (gaps.reduce(0) { $0 + $1 * $1 } / Double(gaps.count)).squareRoot() }

  var meanAbsolute: Double { gaps.reduce(0) { $0 + abs($1) } / Double(gaps.count) }

  /// Between the polygon of observed shares and the diagonal.
  var area: Double {
    var area = 0.0
    for index in 1..<gaps.count {
      let width = nominal[index] - nominal[index - 1]
      let (first, second) = (gaps[index - 1], gaps[index])
      let sum = abs(first) + abs(second)
      // Two triangles where the polygon crosses the diagonal.
      area += width / 2 * (first * second >= 0 ? sum : (first * first + second * second) / sum)
    }
    return area
  }
}
