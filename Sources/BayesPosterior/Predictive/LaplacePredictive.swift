/// How probabilities are made from the Gaussian that last-layer Laplace puts on an exit's logits.
///
/// With MAP logits `μ`, covariance `S` and temperature `T`; `μ` and `S` stand for `μ / T` and `S / T²` where no `T`
/// is written.  For Gaussian targets all but `plain` are the same: the exact mean and variance.
///
/// - Source: Meronen et al. 2024, arXiv:2302.06359 (shared draws); Daxberger et al. 2021, arXiv:2106.14806 (probit,
///   bridge); Hobbhahn et al. 2022, arXiv:2003.01227 (bridge); Lu et al. 2020, arXiv:2006.07584 (mean field).
public enum LaplacePredictive: String, Sendable, Codable, CaseIterable {
  /// `mean over s of softmax((μ + √S zₛ) / T)`, with the same draws `zₛ` for every row.
  ///
  /// The draws are made to have mean zero and identity covariance, which removes the bias towards
  /// some classes that a small shared table has.  That needs more draws than logits; with fewer,
  /// draws come in pairs `z, −z`, which still have mean zero.  This is the reference.
  ///
  /// The draws hold all of the variance, also what the logits of a row share and softmax does not see;
  /// scores that read unnormalised draws (energy, maximum logit) do see it.
  case whitened

  /// The same with draws in pairs `z, −z` whatever their number.
  case antithetic

  /// The same with independent draws of each row's own, exact samples of its logits.
  ///
  /// Row `n` of a set always has the draws of key `n`, whatever the batch.
  case functionSpace = "function-space"

  /// Draws of all weights, so that rows share them as functions do.
  ///
  /// Tuning uses whitened draws, which have the same distribution for each row.
  case weights

  /// `softmax(μₖ / √(T² + π/8 · Sₖₖ))`, one closed form, no draws.
  ///
  /// It counts the variance that all logits of a row share, which softmax does not see and the data
  /// never reduce.  With the structures `full`, `kronecker`, `kronecker-folded` and `low-rank` that variance is large,
  /// and the probabilities come out far too uncertain (in a pilot, a mean total variation of 0.12 from the
  /// exact answer in distribution, 0.25 outside).  With `kronecker-factored` it does no harm.  For a
  /// binary exit there is nothing to share and it is accurate.
  case probit

  /// `probit` after mean and covariance have been projected off the direction that all logits share.
  ///
  /// Its energy is that of logits that sum to zero: a score of its own, not the network's energy.
  case centredProbit = "centred-probit"

  /// `1 / Σⱼ exp(−(μₖ − μⱼ) / √(1 + π/8 · (Sₖₖ + Sⱼⱼ − 2 Sₖⱼ)))`, normalised: MacKay's approximation pair by pair.
  ///
  /// It reads differences of logits alone, so its predictions hold log-probabilities and have no energy.
  ///
  /// - Cost: O(classes²) exponentials a row, and the whole covariance, O(classes³) for Kronecker structures.
  case meanField = "mean-field"

  /// The mean of the Dirichlet that the Laplace bridge maps the Gaussian to; its uncertainty is in closed form, and its
  /// energy is `−log Σ αₖ`.
  ///
  ///     αₖ = (1 − 2/K + e^μₖ Σⱼ e^−μⱼ / K²) / Sₖₖ,  after projecting onto logits that sum to zero
  case bridge

  /// `bridge` with mean and covariance scaled first: by `c = mean Sₖₖ / √(K/2)`, `μ / √c` and `S / c`.
  ///
  /// Where the variance is small it is far surer than the network.
  case normalizedBridge = "bridge-normalized"

  /// `softmax(μ / T)`: no variance, the network's own answer at a temperature.
  case plain

  /// Whether it averages draws.
  public var usesDraws: Bool {
    switch self {
    case .whitened, .antithetic, .functionSpace, .weights: true
    case .probit, .centredProbit, .meanField, .bridge, .normalizedBridge, .plain: false
    }
  }
}
