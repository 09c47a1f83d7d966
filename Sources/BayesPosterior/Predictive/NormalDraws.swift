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
    guard count > dimension else {
      let half: Tensor<Double> = key.normals([(count + 1) / 2, dimension])
      return .stacking([half, half.map { -$0 }])
    }
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
}

/// Draws of the logits of some rows, `μ + Q(√v ∘ z)`, before any temperature.
///
/// - Shapes: means and variances `[rows, logits]`, draws `[samples, logits]`, basis `[logits, logits]`
///   to `[samples · rows, logits]`, all rows of the first sample first.
package func logitDraws(
  means: Tensor<Double>, spectralVariances: Tensor<Double>, draws: Tensor<Double>, basis: Tensor<Double>,
  on backend: any Backend
) -> Tensor<Double> {
  let (rowCount, logitCount) = (means.rowCount, means.shape[1])
  let deviations = spectralVariances.map { $0.squareRoot() }
  let scaled = Tensor<Double>(shape: [draws.rowCount * rowCount, logitCount]) { span in
    deviations.withSpan { deviations in
      draws.withSpan { draws in
        for sample in stride(from: 0, to: draws.count, by: logitCount) {
          for row in stride(from: 0, to: deviations.count, by: logitCount) {
            for column in 0..<logitCount {
              span.append(deviations[row + column] * draws[sample + column])
            }
          }
        }
      }
    }
  }
  var result = backend.product(scaled, basis, transposing: .second)
  result.withMutableSpan { span in
    means.withSpan { means in
      for start in stride(from: 0, to: span.count, by: max(1, means.count)) {
        for position in means.indices { span[start + position] += means[position] }
      }
    }
  }
  return result
}
