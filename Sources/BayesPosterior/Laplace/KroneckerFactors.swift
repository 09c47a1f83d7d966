public import BayesPrediction
public import BayesTensor

/// The curvature of one head over all training rows, as a Kronecker product of two small matrices.
///
///     B = Σₙ (diag pₙ − pₙ pₙᵀ),    A = (1/N) Σₙ aₙ aₙᵀ,    a = [φ; 1]
///
/// `B ⊗ A` approximates the generalised Gauss–Newton matrix of the head, and equals it where
/// `diag p − p pᵀ` is the same for every row.
///
/// - Source: Ritter et al. 2018; Daxberger et al. 2021, arXiv:2106.14806.
public struct KroneckerFactors: Sendable, Equatable {
  /// `B`, `[logits, logits]`; for binary and multilabel heads the diagonal `Σ p (1 − p)`, for Gaussian ones `Σ w I`
  /// with the rows' weights `w` (one without noise of their own).
  public let output: Tensor<Double>
  /// `A` with the one appended, `[features + 1, features + 1]`; without its last row and column it
  /// is the mean of `φ φᵀ`.  Rows with noise of their own count with their weight.
  public let input: Tensor<Double>
  /// The number of rows, `N`.
  public let rowCount: Int
  /// The log-likelihood of the training labels, in nats; `nil` without labels.
  public let logLikelihood: Double?
  /// The share of rows whose label has the highest logit; `nil` without labels.
  public let accuracy: Double?

  /// Makes the factors of summed rows.
  ///
  /// - Precondition: there is at least one row.
  package init(_ curvature: Curvature, likelihood: Likelihood, hasLabels: Bool) {
    rowCount = curvature.rowCount
    precondition(rowCount > 0, "Kronecker factors need at least one row.")
    let weight = curvature[.weight]
    input = curvature.parts[1].map { $0 / weight }
    logLikelihood = hasLabels ? curvature[.logLikelihood] : nil
    accuracy = hasLabels ? curvature[.correctCount] / Double(rowCount) : nil
    var output = curvature.parts[0]
    if likelihood == .categorical {
      // The rows of diag p − p pᵀ sum to zero, so the diagonal is the sum of the products beside
      // it.  Computed so, it keeps its digits where the network is certain and p (1 − p) would not.
      for row in 0..<output.rowCount {
        var diagonal = 0.0
        for column in 0..<output.rowCount where column != row {
          diagonal += output[row, column]
          output[row, column] = -output[row, column]
        }
        output[row, row] = diagonal
      }
    }
    self.output = output
  }

  /// The factors of every exit, from one pass over the training rows.
  ///
  /// - Parameters:
  ///   - source: Training rows with features and linear heads at every exit; labels are used where
  ///     there are any.
  ///   - context: Its `communicator`'s other processes add the rows that they hold.
  /// - Determinism: the same bits at any `context.width`; sums are taken chunk by chunk in order.
  /// - Cost: O(rows · (features² + logits²)) an exit.
  /// - Throws: `FileError` naming the exit, and the row where there is one, when the rows do not fit;
  ///   `CancellationError`.
  public static func gather(
    from source: any ExitRecordSource, in context: ExecutionContext
  ) async throws -> [KroneckerFactors] {
    let checks = try ExitCheck.all(of: source.description)
    return zip(try await Curvature.gather(.kronecker, from: source, checks, in: context), checks).map {
      KroneckerFactors($0, likelihood: $1.likelihood, hasLabels: source.hasLabels)
    }
  }

  /// Both factors' eigenvalues and eigenvectors, prepared for a form.
  ///
  /// Negative eigenvalues, which are rounding, become zero.
  ///
  /// - Parameter hasBias: Whether the head has a bias; without one no form has a bias block.
  /// - Cost: O(features³ + logits³).
  /// - Throws: `NumericalError.Code.notConverged`, `.notFinite`.
  public func spectrum(form: KroneckerForm, hasBias: Bool, on backend: any Backend) throws(NumericalError)
    -> KroneckerSpectrum
  {
    let foldsBias = hasBias && form != .kronecker
    // The authors' code splits the number of rows evenly: √N in each factor.
    let scale = form == .factored ? Double(rowCount).squareRoot() : 1
    var outputEigen = try backend.symmetricEigen(output)
    outputEigen.values = outputEigen.values.map { max(0, $0) / scale }
    var inputEigen = try backend.symmetricEigen(foldsBias ? input : inputWithoutOne)
    inputEigen.values = inputEigen.values.map { max(0, $0) * scale }
    return KroneckerSpectrum(form: form, hasBias: hasBias, output: outputEigen, input: inputEigen)
  }

  /// The mean of `φ φᵀ`, `[features, features]`.
  var inputWithoutOne: Tensor<Double> {
    let featureCount = input.rowCount - 1
    var result = Tensor<Double>(zeros: [featureCount, featureCount])
    for row in 0..<featureCount {
      for column in 0..<featureCount { result[row, column] = input[row, column] }
    }
    return result
  }
}
