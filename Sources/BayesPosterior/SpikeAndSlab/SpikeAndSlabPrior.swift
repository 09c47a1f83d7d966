import RealModule

/// A prior under which a group of weights is either wide, the slab, or close to zero, the spike.
///
///     γ ~ Bernoulli(θ),   w | γ = 1 ~ N(0, 1 / (N ε₁)),   w | γ = 0 ~ N(0, 1 / (N ε₀)),   ε₀ > ε₁
///
/// Penalties `ε` belong to a mean loss over `N` rows: `½ ε ‖w‖²`.
///
/// - Source: George and McCulloch 1993; its steps of expectation are those of Ročková and George 2014 (EMVS).
public struct SpikeAndSlabPrior: Hashable, Sendable {
  /// `ε₀`
  public let spike: Double
  /// `ε₁`
  public let slab: Double
  /// `N`
  public let rowCount: Int

  /// - Precondition: the spike is above the slab, the slab above zero, and there are rows.
  public init(spike: Double, slab: Double, rowCount: Int) {
    precondition(
      slab > 0 && spike > slab && spike.isFinite, "The spike is narrower than the slab; got penalties \(spike) and \(slab).")
    precondition(rowCount > 0, "There is one row at least; got \(rowCount).")
    (self.spike, self.slab, self.rowCount) = (spike, slab, rowCount)
  }

  /// The probability that a group is in the slab.
  ///
  ///     log odds = log θ / (1 − θ) + (k / 2) log(ε₁ / ε₀) + (N / 2) (ε₀ − ε₁) ‖w‖²
  ///
  /// - Parameters:
  ///   - squares: `‖w‖²` of its weights.
  ///   - weightCount: `k`
  ///   - inclusion: `θ`
  public func responsibility(squares: Double, weightCount: Int, inclusion: Double) -> Double {
    let logOdds =
      Double.log(inclusion / (1 - inclusion)) + Double(weightCount) / 2 * Double.log(slab / spike)
      + Double(rowCount) / 2 * (spike - slab) * squares
    return 1 / (1 + Double.exp(-logOdds))
  }

  /// The penalty of a group that is in the slab with a probability.
  public func penalty(responsibility: Double) -> Double { responsibility * slab + (1 - responsibility) * spike }

  /// The mean square of its weights at which a group is as likely in the slab as in the spike.
  ///
  ///     [ log(ε₀ / ε₁) + (2 / k) log((1 − θ) / θ) ] / ( N (ε₀ − ε₁) )
  public func threshold(weightCount: Int, inclusion: Double) -> Double {
    (Double.log(spike / slab) + 2 / Double(weightCount) * Double.log((1 - inclusion) / inclusion))
      / (Double(rowCount) * (spike - slab))
  }

  /// `θ` by which groups with these responsibilities are likeliest, under a prior Beta(a, b).
  ///
  /// - Precondition: there is a group, and `a` and `b` are at least one.
  /// - Returns: a number within `1 / (2 groups)` of neither zero nor one.
  public func inclusion(responsibilities: some Collection<Double>, a: Double = 1, b: Double = 1) -> Double {
    let count = Double(responsibilities.count)
    let found = (responsibilities.reduce(0, +) + a - 1) / (count + a + b - 2)
    return min(1 - 0.5 / count, max(0.5 / count, found))
  }
}
