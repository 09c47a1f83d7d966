import RealModule

/// A factor that all standard deviations are multiplied by.
public struct DeviationScale: Sendable, Codable, Equatable {
  /// `s`, positive.
  public var factor: Double
  public var summary: CalibrationSummary

  public init(factor: Double, summary: CalibrationSummary) {
    self.factor = factor
    self.summary = summary
  }

  /// The scaled standard deviations.
  public func callAsFunction(_ standardDeviations: [Double]) -> [Double] { standardDeviations.map { $0 * factor } }
}

/// Fits the one factor of standard deviations that makes held-out targets most likely.
///
///     s² = mean_n ((yₙ − mₙ) / σₙ)²
///
/// - Determinism: no randomness; rows are summed in order.
/// - Source: Laves et al. 2021, arXiv:2104.12376.
public struct DeviationScaling: Sendable, Equatable {
  public init() {}

  /// - Throws: `EvaluationError.Code.empty`.
  public func fit(_ forecasts: GaussianForecasts) throws(EvaluationError) -> DeviationScale {
    let count = forecasts.targets.count
    guard count > 0 else { throw .noRows("factor of standard deviations") }
    var (squares, likelihood) = (0.0, 0.0)
    for row in 0..<count {
      let z = (forecasts.targets[row] - forecasts.means[row]) / forecasts.standardDeviations[row]
      squares += z * z
      likelihood += Double.log(2 * .pi) / 2 + Double.log(forecasts.standardDeviations[row]) + z * z / 2
    }
    return DeviationScale(squares: squares, likelihood: likelihood, count: count)
  }
}

extension DeviationScale {
  /// The factor of rows that have been summed up.
  ///
  /// - Parameters:
  ///   - squares: the sum of squared residuals in standard deviations.
  ///   - likelihood: the sum of negative log-likelihoods, nats.
  init(squares: Double, likelihood: Double, count: Int) {
    let (square, before) = (squares / Double(count), likelihood / Double(count))
    guard square > 0, square.isFinite else {
      self.init(
        factor: 1,
        summary: CalibrationSummary(
          nllBefore: before, nllAfter: before, rowCount: count,
          reason: "The mean squared residual in standard deviations is \(square); no factor is the best."))
      return
    }
    let summary = CalibrationSummary(
      before: before, after: before + (Double.log(square) + 1 - square) / 2, rowCount: count)
    self.init(factor: summary.isIdentity ? 1 : square.squareRoot(), summary: summary)
  }
}

/// What share of targets lies below forecast quantiles, at every level.
public struct QuantileLevels: Sendable, Codable, Equatable {
  /// From the forecast level to the observed share, from `(0, 0)` to `(1, 1)`.
  public var map: IsotonicMap
  /// The mean over fitted rows of the distance between the forecast level and the observed share.
  public var meanGapBefore: Double
  /// The number of fitted rows.
  public var rowCount: Int

  public init(map: IsotonicMap, meanGapBefore: Double, rowCount: Int) {
    self.map = map
    self.meanGapBefore = meanGapBefore
    self.rowCount = rowCount
  }

  /// The calibrated probability of a target below a number whose forecast probability is `level`.
  public func share(belowLevel level: Double) -> Double { map(level) }

  /// The forecast level whose calibrated probability is `share`, the lowest of several.
  ///
  /// - Precondition: the share lies in `0...1`.
  public func level(ofShare share: Double) -> Double {
    precondition(share >= 0 && share <= 1, "A share lies in 0...1; got \(share).")
    let upper = map.values.partitionPoint { $0 < share }
    guard upper > 0 else { return map.positions[0] }
    guard upper < map.values.count else { return map.positions[upper - 1] }
    let (x0, x1, y0, y1) = (
      map.positions[upper - 1], map.positions[upper], map.values[upper - 1], map.values[upper]
    )
    return share == y1 ? x1 : min(x1, x0 + (x1 - x0) * ((share - y0) / (y1 - y0)))
  }

  /// The calibrated quantile of a Gaussian forecast, in its unit.
  public func quantile(_ share: Double, mean: Double, standardDeviation: Double) -> Double {
    mean + standardDeviation * NormalDistribution.quantile(level(ofShare: share))
  }
}

/// Fits which share of held-out targets lies below the forecast quantiles of each level.
///
///     R = the isotonic regression of  #{m : Fₘ(yₘ) ≤ pₙ} / N  on  pₙ = Fₙ(yₙ),  with R(0) = 0 and R(1) = 1
///
/// - Determinism: no randomness.
/// - Cost: O(rows log rows).
/// - Source: Kuleshov, Fenner and Ermon 2018, arXiv:1807.00263.
public struct QuantileRecalibration: Sendable, Equatable {
  public init() {}

  /// - Throws: `EvaluationError.Code.empty`.
  public func fit(_ forecasts: GaussianForecasts) throws(EvaluationError) -> QuantileLevels {
    try fit(
      residuals: forecasts.targets.indices.map {
        (forecasts.targets[$0] - forecasts.means[$0]) / forecasts.standardDeviations[$0]
      })
  }

  /// The fit to residuals in standard deviations.
  func fit(residuals: [Double]) throws(EvaluationError) -> QuantileLevels {
    let count = residuals.count
    guard count > 0 else { throw .noRows("recalibration of quantiles") }
    let levels = residuals.map { NormalDistribution.probability(below: $0) }
    let sorted = levels.sorted()
    let shares = levels.map { level in
      Double(sorted.partitionPoint { $0 <= level }) / Double(count)
    }
    let gaps = zip(levels, shares).reduce(0) { $0 + abs($1.0 - $1.1) }
    return QuantileLevels(
      map: IsotonicMap(fittedTo: [0] + shares + [1], at: [0] + levels + [1]),
      meanGapBefore: gaps / Double(count), rowCount: count)
  }
}
