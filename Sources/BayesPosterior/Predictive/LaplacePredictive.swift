/// How probabilities are made from the Gaussian that last-layer Laplace puts on an exit's logits.
///
/// With MAP logits `μ`, covariance `S = Q diag(v) Qᵀ` and temperature `T`:
///
/// - Source: Meronen et al. 2024, arXiv:2302.06359 (shared draws); Daxberger et al. 2021,
///   arXiv:2106.14806 (probit).
public enum LaplacePredictive: String, Sendable, Codable, CaseIterable {
  /// `mean over s of softmax((μ + Q(√v ∘ zₛ)) / T)`, with the same draws `zₛ` for every row.
  ///
  /// The draws are made to have mean zero and identity covariance, which removes the bias towards
  /// some classes that a small shared table has.  That needs more draws than logits; with fewer,
  /// draws come in pairs `z, −z`, which still have mean zero.  This is the reference.
  ///
  /// The draws hold all of the variance, also what the logits of a row share and softmax does not see;
  /// scores that read unnormalised draws (energy, maximum logit) do see it.
  case whitened

  /// `softmax(μₖ / √(T² + π/8 · Sₖₖ))`, one closed form, no draws.
  ///
  /// It counts the variance that all logits of a row share, which softmax does not see and the data
  /// never reduce.  With the forms `kronecker` and `kronecker-folded` that variance is large, and the
  /// probabilities come out far too uncertain (in a pilot, a mean total variation of 0.12 from the
  /// exact answer in distribution, 0.25 outside).  With `kronecker-factored` it does no harm.  For a
  /// binary exit there is nothing to share and it is accurate.
  case probit

  /// `softmax(μ / T)`: no variance, the network's own answer at a temperature.
  case plain
}
