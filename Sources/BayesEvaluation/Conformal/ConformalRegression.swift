/// Learns how wide intervals around means must be to hold the target with a probability of `1 − alpha`.
///
///     absolute     score |y − m|        interval m ± q
///     normalized   score |y − m| / σ    interval m ± q σ
///
/// The probability is over rows that are exchangeable with the fitted ones, which must not have been used for training.
///
/// - Determinism: no randomness.
/// - Cost: O(rows log rows).
/// - Source: Lei et al. 2018, doi:10.1080/01621459.2017.1307116.
public struct ConformalRegression: Sendable, Hashable {
  public enum Score: String, Sendable, Hashable, Codable {
    case absolute
    /// In standard deviations of the forecast.
    case normalized
  }

  /// The share of rows whose interval may miss their target, between zero and one.
  public var alpha: Double
  public var score: Score

  public init(alpha: Double, score: Score = .normalized) {
    self.alpha = alpha
    self.score = score
  }

  /// - Throws: `EvaluationError.Code.score` for an `alpha` outside the open `0...1`; `.empty`.
  public func fit(_ forecasts: GaussianForecasts) throws(EvaluationError) -> ConformalIntervals {
    let scores = forecasts.targets.indices.map { row in
      let error = abs(forecasts.targets[row] - forecasts.means[row])
      return score == .absolute ? error : error / forecasts.standardDeviations[row]
    }
    return ConformalIntervals(score: score, threshold: try ConformalThreshold(scores: scores, alpha: alpha))
  }
}

/// A threshold that turns means and standard deviations into intervals.
public struct ConformalIntervals: Sendable, Hashable {
  public let score: ConformalRegression.Score
  public let threshold: ConformalThreshold

  /// The interval of one row, in the targets' unit; everything where the threshold is infinite.
  ///
  /// - Precondition: the standard deviation is positive.
  public func interval(mean: Double, standardDeviation: Double) -> PredictionInterval {
    precondition(standardDeviation > 0, "A standard deviation is positive; got \(standardDeviation).")
    let half = score == .absolute ? threshold.value : threshold.value * standardDeviation
    return PredictionInterval(lower: mean - half, upper: mean + half)
  }

  /// The intervals of forecasts, whose targets are not looked at.
  public func intervals(of forecasts: GaussianForecasts) -> [PredictionInterval] {
    zip(forecasts.means, forecasts.standardDeviations).map { interval(mean: $0, standardDeviation: $1) }
  }
}

/// Learns how far two quantiles must be moved apart to hold the target with a probability of `1 − alpha`.
///
///     score max(l − y, y − u)     interval l − q to u + q
///
/// A negative `q` moves them together; where they then pass each other the interval is empty.
///
/// - Determinism: no randomness.
/// - Cost: O(rows log rows).
/// - Source: Romano, Patterson and Candès 2019, arXiv:1905.03222.
public struct ConformalizedQuantileRegression: Sendable, Hashable {
  /// The share of rows whose interval may miss their target, between zero and one.
  public var alpha: Double

  public init(alpha: Double) { self.alpha = alpha }

  /// - Parameters:
  ///   - lower: a low quantile of each row, such as that of level `alpha / 2`; it may lie above the high one.
  ///   - upper: a high quantile of each row.
  /// - Throws: `EvaluationError.Code.score` for an `alpha` outside the open `0...1` or a number that is not finite;
  ///   `.shape` where the counts differ; `.empty`.
  public func fit(
    lower: [Double], upper: [Double], targets: [Double]
  ) throws(EvaluationError) -> ConformalizedQuantiles {
    guard lower.count == targets.count, upper.count == targets.count else {
      throw EvaluationError(
        .shape, "There are \(lower.count) lower and \(upper.count) upper quantiles and \(targets.count) targets.")
    }
    for row in targets.indices {
      guard lower[row].isFinite, upper[row].isFinite, targets[row].isFinite else {
        throw EvaluationError(
          .score, row: row,
          "Row \(row) has the quantiles \(lower[row]) and \(upper[row]) and the target \(targets[row]); all must be "
            + "finite.")
      }
    }
    let scores = targets.indices.map { max(lower[$0] - targets[$0], targets[$0] - upper[$0]) }
    return ConformalizedQuantiles(threshold: try ConformalThreshold(scores: scores, alpha: alpha))
  }
}

/// A threshold that moves two quantiles.
public struct ConformalizedQuantiles: Sendable, Hashable {
  public let threshold: ConformalThreshold

  /// The interval of one row, in the targets' unit.
  public func interval(lower: Double, upper: Double) -> PredictionInterval {
    PredictionInterval(lower: lower - threshold.value, upper: upper + threshold.value)
  }
}

/// The numbers from `lower` to `upper`, both among them; none where `lower` is above.
public struct PredictionInterval: Sendable, Hashable {
  public var lower: Double
  public var upper: Double

  public init(lower: Double, upper: Double) {
    self.lower = lower
    self.upper = upper
  }

  public var width: Double { max(0, upper - lower) }

  public func contains(_ target: Double) -> Bool { lower <= target && target <= upper }
}
