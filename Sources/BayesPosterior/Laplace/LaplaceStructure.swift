/// What a last-layer Laplace posterior keeps of the curvature of a head with `K` logits and `D` inputs.
///
/// The curvature is the generalised Gauss–Newton matrix `H = Σₙ Λₙ ⊗ aₙ aₙᵀ` of the training rows, with
/// `a = [φ; 1]` and `Λ` the second derivative of the negative log-likelihood in the logits.  The structures
/// differ in how much of `H` they keep; their prior precisions are not interchangeable.
public enum LaplaceStructure: String, Sendable, Codable, CaseIterable {
  /// All of `H`; for small heads only, as memory grows with `(K · D)²`.
  case full
  /// `B ⊗ A`, the bias a block of its own (`KroneckerForm.kronecker`).
  case kronecker
  /// `B ⊗ A` with the bias folded in (`KroneckerForm.folded`).
  case folded = "kronecker-folded"
  /// `B ⊗ A` with the prior inside each factor (`KroneckerForm.factored`).
  case factored = "kronecker-factored"
  /// The diagonal of `H`.
  case diagonal
  /// The leading eigenvectors of `H`, found by randomised subspace iteration, and the prior elsewhere.
  ///
  /// - Source: Halko, Martinsson and Tropp 2011, arXiv:0909.4061, for the iteration.
  case lowRank = "low-rank"

  /// The structure of a Kronecker form.
  public init(_ form: KroneckerForm) {
    switch form {
    case .kronecker: self = .kronecker
    case .folded: self = .folded
    case .factored: self = .factored
    }
  }

  /// Where bias and prior enter, for the structures that are Kronecker products.
  public var kroneckerForm: KroneckerForm? {
    switch self {
    case .kronecker: .kronecker
    case .folded: .folded
    case .factored: .factored
    case .full, .diagonal, .lowRank: nil
    }
  }

  /// The most parameters of a head that `full` is made for.
  public static let fullParameterLimit = 4096
}
