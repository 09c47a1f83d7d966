/// The three ways to put a prior on a head whose curvature is a Kronecker product.
///
/// With `B = Σₙ (diag pₙ − pₙ pₙᵀ)` over classes and `A` the mean of `φ φᵀ` over features, the data
/// speak through `B ⊗ A`; the forms differ in where the bias and the prior precision `δ` enter.
/// Their prior precisions are different quantities: never carry a value from one form to another.
public enum KroneckerForm: String, Sendable, Codable, CaseIterable {
  /// Weights have precision `B ⊗ A + δ I`, the bias has `B + δ I`, and the two are independent.
  ///
  /// - Source: Daxberger et al. 2021, arXiv:2106.14806, as the library laplace-torch computes it.
  case kronecker

  /// Weights and bias together have precision `B ⊗ A + δ I`, with `A` the mean of `a aᵀ` and `a = [φ; 1]`.
  ///
  /// Unlike `kronecker` it keeps the correlation of weights and bias.
  case folded = "kronecker-folded"

  /// Weights and bias together have precision `(U + √τ I) ⊗ (V + √τ I)`, with `U = √N mean H`,
  /// `V = √N mean a aᵀ`, `a = [φ; 1]`, `H = diag p − p pᵀ` and `N` the number of training rows.
  ///
  /// The prior is added inside each factor, which adds `√τ (U ⊗ I + I ⊗ V)` to the exact precision
  /// `U ⊗ V + τ I`, so the variance is smaller for every input.  The prior precision `τ` is the
  /// reciprocal of the prior variance (`var0`) of the authors' code.  Where the network is certain of
  /// its training rows, `U` is nearly zero and the variance grows like the square root of `1/τ`, the
  /// same for all classes.
  ///
  /// - Source: Meronen et al. 2024, arXiv:2302.06359, as the authors' code computes it, but with the
  ///   closed form of `H`, plain means and the true number of rows.
  case factored = "kronecker-factored"
}
