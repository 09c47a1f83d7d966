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
  /// `B`, `[logits, logits]`; for a binary head the one number `Σ p (1 − p)`.
  public let output: Tensor<Double>
  /// `A` with the one appended, `[features + 1, features + 1]`; without its last row and column it
  /// is the mean of `φ φᵀ`.
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
    let rowCount = curvature.totals[0]
    precondition(rowCount > 0, "Kronecker factors need at least one row.")
    self.rowCount = Int(rowCount)
    input = curvature.inputSum.map { $0 / rowCount }
    logLikelihood = hasLabels ? curvature.totals[1] : nil
    accuracy = hasLabels ? curvature.totals[2] / rowCount : nil
    var output = curvature.outputSum
    if likelihood != .binary {
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
    let description = source.description
    let checks = try ExitCheck.all(of: description)
    let backend = context.backend
    var sums = checks.map {
      Curvature(featureCount: $0.head.weight.shape[0], logitCount: $0.head.weight.shape[1])
    }
    try await source.reduceChunks("Gathering curvature", in: context) { chunk in
      try checks.map { check in
        let rows = try check.rows(of: chunk, on: backend)
        return Curvature(
          features: rows.features, logits: rows.logits, labels: rows.labels,
          likelihood: check.likelihood, on: backend)
      }
    } combine: { partials in
      for (exit, partial) in partials.enumerated() { sums[exit].add(partial) }
    }
    for exit in sums.indices { sums[exit].reduce(over: context.communicator) }
    guard sums.allSatisfy({ $0.totals[0] > 0 }) else {
      throw FileError(
        .shape, file: description.file, "There are no training rows; curvature needs at least one.")
    }
    return zip(sums, checks).map {
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
