import BayesPrediction
import BayesTensor
import RealModule

/// Finds the leading eigenvectors of each head's generalised Gauss–Newton matrix without ever making the matrix.
///
/// A block of random directions is multiplied by the matrix in passes over the rows and made orthonormal after
/// each; what the matrix does on the space they span is then decomposed exactly.
///
/// - Determinism: the key fixes the first directions; sums are taken chunk by chunk in order.
/// - Cost: four passes, O(rows · parameters · (rank + 8)) each; memory for `parameters · (rank + 8)` numbers three
///   times.
/// - Source: Halko, Martinsson and Tropp 2011, arXiv:0909.4061, algorithm 4.4.
struct LowRankSketch {
  /// The least share of the trace that the eigenvalues kept must hold.
  let explained: Double
  /// The most eigenvectors kept.
  let rankLimit: Int

  private static let oversampling = 8
  private static let passCount = 4

  /// The curvature of every exit.
  func curvatures(
    _ checks: [ExitCheck], _ sums: [Curvature], of source: any ExitRecordSource, in context: ExecutionContext
  ) async throws -> [LowRankCurvature] {
    let backend = context.backend
    var bases: [Tensor<Double>] = []
    for (exit, check) in checks.enumerated() {
      let (inputCount, logitCount) = (check.inputCount, check.head.weight.shape[1])
      let order = inputCount * logitCount
      let width = min(order, rankLimit + Self.oversampling)
      let start: Tensor<Double> = context.key.child(-1 - exit).normals([width, order])
      bases.append(try orthonormalRows(start, on: backend))
    }
    var images = bases
    for pass in 1...Self.passCount {
      images = try await products(
        bases, checks, of: source, stage: "Finding leading curvature, pass \(pass)", in: context)
      if pass < Self.passCount {
        for exit in bases.indices { bases[exit] = try orthonormalRows(images[exit], on: backend) }
      }
    }
    var result: [LowRankCurvature] = []
    for (exit, check) in checks.enumerated() {
      let eigen = try backend.symmetricEigen(
        symmetrised(backend.product(images[exit], bases[exit], transposing: .second)))
      let trace = sums[exit][.trace] - (check.head.hasBias ? 0 : sums[exit][.biasTrace])
      var (share, kept) = (0.0, [Int]())
      for index in eigen.values.elements.indices.reversed() where kept.count < rankLimit {
        guard eigen.values[index] > 0, share < explained else { break }
        kept.append(index)
        share += eigen.values[index] / trace
      }
      let coefficients = eigen.vectors.transposed().rows(kept)
      let logitCount = check.head.weight.shape[1]
      result.append(
        LowRankCurvature(
          values: Tensor(shape: [kept.count], kept.map { eigen.values[$0] }),
          vectors: backend.product(coefficients, bases[exit]).reshaped(
            to: [kept.count * logitCount, check.inputCount]),
          explainedShare: min(1, share), logitCount: logitCount, hasBias: check.head.hasBias))
    }
    return result
  }

  /// `H v` for each row `v` of each basis.
  private func products(
    _ bases: [Tensor<Double>], _ checks: [ExitCheck], of source: any ExitRecordSource, stage: String,
    in context: ExecutionContext
  ) async throws -> [Tensor<Double>] {
    let backend = context.backend
    var sums = bases.map { Tensor<Double>(zeros: $0.shape) }
    try await source.reduceChunks(stage, in: context) { chunk in
      try zip(bases, checks).map { basis, check in
        let rows = try check.rows(of: chunk, on: backend)
        let inputs = check.head.hasBias ? appending(1, to: rows.features) : rows.features
        let (width, logitCount) = (basis.rowCount, check.head.weight.shape[1])
        let lines = basis.reshaped(to: [width * logitCount, inputs.shape[1]])
        let logits = backend.product(inputs, lines, transposing: .second)
        let curved = applyingCurvature(to: logits, rows, check.likelihood)
        return backend.product(curved, inputs, transposing: .first).reshaped(to: basis.shape)
      }
    } combine: { partials in
      for (exit, partial) in partials.enumerated() { accumulate(partial, into: &sums[exit]) }
    }
    for exit in sums.indices { context.communicator.allReduce(&sums[exit]) }
    return sums
  }
}

/// `Λₙ z` for several `z` a row.
///
/// - Shapes: `[rows, count · logits]` to the same.
private func applyingCurvature(to logits: Tensor<Double>, _ rows: HeadRows, _ likelihood: Likelihood)
  -> Tensor<Double>
{
  let logitCount = rows.logits.shape[1]
  let probabilities = likelihood == .categorical ? softmax(rows.logits) : nil
  let diagonal = curvatureDiagonal(
    rows, likelihood, probabilities: probabilities, weights: rowWeights(rows, likelihood))
  var result = logits
  let width = logits.shape[1]
  result.withMutableSpan { z in
    diagonal.withSpan { diagonal in
      func apply(_ p: Span<Double>?) {
        for row in 0..<rows.logits.rowCount {
          let first = row * logitCount
          for start in stride(from: row * width, to: (row + 1) * width, by: logitCount) {
            guard let p else {
              for k in 0..<logitCount { z[start + k] *= diagonal[first + k] }
              continue
            }
            // p ∘ (z − pᵀ z), which is p ∘ z − p pᵀ z with less cancellation.
            var mean = 0.0
            for k in 0..<logitCount { mean += p[first + k] * z[start + k] }
            for k in 0..<logitCount { z[start + k] = p[first + k] * (z[start + k] - mean) }
          }
        }
      }
      if let probabilities { probabilities.withSpan { apply($0) } } else { apply(nil) }
    }
  }
  return result
}

/// Rows that span the same space and are orthonormal.
///
/// Two rounds of the eigenvectors of the rows' products, of which those that rounding alone has made are left out.
private func orthonormalRows(_ rows: Tensor<Double>, on backend: any Backend) throws(NumericalError) -> Tensor<Double> {
  var result = rows
  for _ in 0..<2 {
    let eigen = try backend.symmetricEigen(backend.product(result, result, transposing: .second))
    let largest = eigen.values.elements.last ?? 0
    let kept = eigen.values.elements.indices.filter { eigen.values[$0] > 1e-13 * largest && eigen.values[$0] > 0 }
    let coefficients = scalingRows(
      of: eigen.vectors.transposed().rows(Array(kept)), by: kept.map { 1 / eigen.values[$0].squareRoot() })
    result = backend.product(coefficients, result)
  }
  return result
}

private func symmetrised(_ matrix: Tensor<Double>) -> Tensor<Double> {
  var result = matrix
  for row in 0..<matrix.rowCount {
    for column in 0..<matrix.rowCount { result[row, column] = (matrix[row, column] + matrix[column, row]) / 2 }
  }
  return result
}
