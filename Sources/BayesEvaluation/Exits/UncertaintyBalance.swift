public import BayesPrediction
import BayesTensor

/// How much larger total uncertainty is than its epistemic part, on average over rows.
///
/// With that weight both parts of `ExitScore.combined` count alike; mutual information is mostly a small part of the
/// entropy, so that a weight near one would make the score the mutual information alone.
public struct UncertaintyBalance: Sendable, Equatable {
  private var total = 0.0
  private var epistemic = 0.0

  public init() {}

  /// Adds rows.
  public mutating func add(_ split: UncertaintySplit) {
    for row in 0..<split.total.count {
      total += split.total[row]
      epistemic += split.epistemic[row]
    }
  }

  /// `Σ H / Σ I`, to three digits; `nil` where nothing is epistemic beyond rounding.
  public var weight: Double? {
    guard total > 0, epistemic > 1e-13 * total else { return nil }
    return Double((total / epistemic).significantDigits(3))
  }
}
