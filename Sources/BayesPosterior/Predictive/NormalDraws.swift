package import BayesTensor

/// Standard normal draws that are shared by all rows, with their first moments made exact.
package enum NormalDraws {
  /// Draws with mean zero and, if there are more of them than dimensions, identity covariance.
  ///
  /// With more draws than dimensions they are centred and multiplied by the inverse Cholesky factor
  /// of their covariance (the mean of `z zᵀ` over draws).  With fewer that factor does not exist;
  /// then they come in pairs `z, −z`, and an odd count is raised by one.  At least twice as many
  /// draws as dimensions keep the whitened draws close to normal.
  ///
  /// - Shapes: `[count, dimension]`.
  /// - Determinism: the same key gives the same draws.
  /// - Cost: O(count · dimension² + dimension³).
  /// - Precondition: there are at least two draws and at least one dimension.
  package static func whitened(
    count: Int, dimension: Int, key: RandomKey, on backend: any Backend
  ) throws(NumericalError) -> Tensor<Double> {
    precondition(count >= 2 && dimension >= 1, "Whitening needs two draws of one dimension at least.")
    guard count > dimension else { return antithetic(count: count, dimension: dimension, key: key) }
    var draws: Tensor<Double> = key.normals([count, dimension])
    // A second round removes the rounding that a nearly singular covariance leaves after the first.
    for _ in 0..<2 {
      for column in 0..<dimension {
        var mean = 0.0
        for row in 0..<count { mean += draws[row, column] }
        mean /= Double(count)
        for row in 0..<count { draws[row, column] -= mean }
      }
      let covariance = backend.product(draws, draws, transposing: .first).map { $0 / Double(count) }
      let lower = try backend.cholesky(covariance)
      draws = backend.triangularSolution(lower, transposed: false, draws.transposed()).transposed()
    }
    return draws
  }

  /// Draws in pairs `z, −z`; an odd count is raised by one.
  ///
  /// - Shapes: `[count, dimension]`.
  package static func antithetic(count: Int, dimension: Int, key: RandomKey) -> Tensor<Double> {
    let half: Tensor<Double> = key.normals([(count + 1) / 2, dimension])
    return .stacking([half, half.map { -$0 }])
  }
}

/// Draws of the logits of some rows, `μ + √S z`, before any temperature.
///
/// In single precision the draws are as exact as the logits of a prediction, and twice as fast.
///
/// - Shapes: means `[rows, logits]` to `[samples · rows, logits]`, all rows of the first sample first.
func logitDraws<Scalar: TensorScalar>(
  means: Tensor<Double>, covariance: LogitCovariance, draws: DrawTable, on backend: any Backend
) throws(NumericalError) -> Tensor<Scalar> {
  var result: Tensor<Scalar> = try covariance.deviations(draws, on: backend)
  addRows(means, to: &result)
  return result
}

/// Adds a block of rows to every block of as many rows.
func addRows<Scalar: TensorScalar>(_ rows: Tensor<Double>, to blocks: inout Tensor<Scalar>) {
  blocks.withMutableSpan { span in
    rows.withSpan { rows in
      for start in stride(from: 0, to: span.count, by: max(1, rows.count)) {
        for position in rows.indices { span[start + position] += Scalar(rows[position]) }
      }
    }
  }
}

/// Draws of the logits of some rows, `μ + Q(√v ∘ z)`, before any temperature.
///
/// - Shapes: means and variances `[rows, logits]`, draws `[samples, logits]`, basis `[logits, logits]`
///   to `[samples · rows, logits]`, all rows of the first sample first.
package func logitDraws(
  means: Tensor<Double>, spectralVariances: Tensor<Double>, draws: Tensor<Double>, basis: Tensor<Double>,
  on backend: any Backend
) throws(NumericalError) -> Tensor<Double> {
  try logitDraws(
    means: means, covariance: .spectral(variances: spectralVariances, basis: basis), draws: .shared(draws), on: backend)
}
