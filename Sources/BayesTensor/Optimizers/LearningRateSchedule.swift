import RealModule

/// The learning rate of each step of a training.
public enum LearningRateSchedule: Hashable, Sendable {
  case constant(Double)
  /// Up to `peak` in equal steps, then down to `final` along half a cosine.
  ///
  /// With `w` steps of warm-up of `n` in all, step `t`, from zero, has the rate
  ///
  ///     peak · (t + 1) / w                                                     t < w
  ///     final + (peak − final) · ½ ( 1 + cos(π (t − w) / (n − w)) )            w ≤ t < n
  ///     final                                                                  n ≤ t
  ///
  /// - Source: Loshchilov and Hutter 2017, arXiv:1608.03983.
  case cosine(peak: Double, final: Double = 0, warmUpStepCount: Int = 0, stepCount: Int)
  /// From `peak` down to zero along half a cosine, again and again.
  ///
  /// Step `t`, with periods of `p` steps, has the rate
  ///
  ///     peak · ½ ( 1 + cos(π (t mod p) / p) )
  ///
  /// - Source: Zhang et al. 2020, arXiv:1902.03932.
  case cyclical(peak: Double, period: Int)
  /// `initial`, multiplied by `factor` after every `period` steps.
  case staircase(initial: Double, factor: Double, period: Int)

  /// The rate of the step at `index`, from zero.
  ///
  /// - Precondition: the index is not negative; rates and factors are finite and not negative; counts
  ///   are not negative, the period positive, and the warm-up no longer than the whole.
  public func rate(at index: Int) -> Double {
    precondition(index >= 0, "Steps are counted from zero; got \(index).")
    switch self {
    case .constant(let rate):
      requireRates(rate)
      return rate
    case .cosine(let peak, let final, let warmUpStepCount, let stepCount):
      requireRates(peak, final)
      precondition(
        (0...stepCount).contains(warmUpStepCount),
        "A warm-up of \(warmUpStepCount) steps does not fit into \(stepCount) steps.")
      if index < warmUpStepCount { return peak * Double(index + 1) / Double(warmUpStepCount) }
      if index >= stepCount { return final }
      let progress = Double(index - warmUpStepCount) / Double(stepCount - warmUpStepCount)
      return final + (peak - final) * (1 + Double.cos(.pi * progress)) / 2
    case .cyclical(let peak, let period):
      requireRates(peak)
      precondition(period > 0, "A cycle has one step at least; got \(period).")
      return peak * (1 + Double.cos(.pi * Double(index % period) / Double(period))) / 2
    case .staircase(let initial, let factor, let period):
      requireRates(initial, factor)
      precondition(period > 0, "The period of a staircase is at least one step; got \(period).")
      return initial * Double.pow(factor, index / period)
    }
  }

  private func requireRates(_ rates: Double...) {
    precondition(
      rates.allSatisfy { $0 >= 0 && $0.isFinite }, "Rates and factors are finite and not negative; got \(rates).")
  }
}
