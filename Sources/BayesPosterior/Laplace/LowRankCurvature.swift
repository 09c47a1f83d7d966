package import BayesTensor

/// The leading eigenvectors of a head's generalised Gauss–Newton matrix, with the prior alone elsewhere.
///
///     P = δ I + Σᵣ λᵣ vᵣ vᵣᵀ,    S = ‖a‖² / δ I − Σᵣ λᵣ / (δ (λᵣ + δ)) gᵣ gᵣᵀ,    gᵣ = J vᵣ
package struct LowRankCurvature: HeadCurvature, SpectralDeterminantRatio {
  /// `λ`, `[rank]`, descending.
  let values: Tensor<Double>
  /// The eigenvectors one under the other, each `[logits, inputs]`: `[rank · logits, inputs]`.
  let vectors: Tensor<Double>
  /// The share of the trace of the whole matrix that the eigenvalues hold.
  package let explainedShare: Double
  package let logitCount: Int
  package let hasBias: Bool
  package let biasScale: Double

  package init(
    values: Tensor<Double>, vectors: Tensor<Double>, explainedShare: Double, logitCount: Int, hasBias: Bool,
    biasScale: Double = 1
  ) {
    self.values = values
    self.vectors = vectors
    self.explainedShare = explainedShare
    self.logitCount = logitCount
    self.hasBias = hasBias
    self.biasScale = biasScale
  }

  /// `λ`, descending.
  package var eigenvalues: Tensor<Double> { values }
  package var rank: Int { values.count }
  package var featureCount: Int { vectors.shape[1] - (hasBias ? 1 : 0) }
  package var parameterCount: Int { logitCount * vectors.shape[1] }

  /// `gᵣ` of each row, `[rows · rank, logits]`, and `‖a‖²`.
  package func projection(of features: Tensor<Double>, on backend: any Backend) -> FeatureProjection {
    let inputs = inputs(features)
    return FeatureProjection(
      rowCount: features.rowCount,
      values: backend.product(inputs, vectors, transposing: .second).reshaped(
        to: [features.rowCount * rank, logitCount]),
      squaredNorms: rowSums(inputs.map { $0 * $0 }))
  }

  /// `λᵣ / (δ (λᵣ + δ))`.
  private func reductions(priorPrecision: Double) -> [Double] {
    values.elements.map { $0 / (priorPrecision * ($0 + priorPrecision)) }
  }

  package func variances(_ projection: FeatureProjection, priorPrecision: Double, on backend: any Backend)
    -> Tensor<Double>
  {
    let reductions = reductions(priorPrecision: priorPrecision)
    var result = Tensor<Double>(zeros: [projection.rowCount, logitCount])
    result.withMutableSpan { result in
      projection.values.withSpan { g in
        var position = 0
        for row in 0..<projection.rowCount {
          let start = row * logitCount
          for k in 0..<logitCount { result[start + k] = projection.squaredNorms[row] / priorPrecision }
          for reduction in reductions {
            for k in 0..<logitCount {
              result[start + k] -= reduction * g[position] * g[position]
              position += 1
            }
          }
          for k in 0..<logitCount { result[start + k] = max(0, result[start + k]) }
        }
      }
    }
    return result
  }

  package func covariance(_ projection: FeatureProjection, priorPrecision: Double, on backend: any Backend)
    -> LogitCovariance
  {
    let roots = reductions(priorPrecision: priorPrecision).map { $0.squareRoot() }
    let blocks = (0..<projection.rowCount).map { row in
      let own = scalingRows(of: projection.values.rows(row * rank..<(row + 1) * rank), by: roots)
      var block = backend.product(own, own, transposing: .first).map { -$0 }
      for k in 0..<logitCount { block[k, k] += projection.squaredNorms[row] / priorPrecision }
      return block
    }
    return .dense(blocks.isEmpty ? Tensor(zeros: [0, logitCount]) : .stacking(blocks))
  }

  package func jointCovariance(features: Tensor<Double>, priorPrecision: Double, on backend: any Backend)
    -> Tensor<Double>
  {
    let inputs = inputs(features)
    let (rowCount, rank) = (inputs.rowCount, rank)
    let projection = projection(of: features, on: backend).values
    let reductions = reductions(priorPrecision: priorPrecision)
    // One line a row and logit, one column an eigenvector.
    var lines = Tensor<Double>(zeros: [rowCount * logitCount, rank])
    for n in 0..<rowCount {
      for r in 0..<rank {
        for k in 0..<logitCount {
          lines[n * logitCount + k, r] = projection[n * rank + r, k] * reductions[r].squareRoot()
        }
      }
    }
    var result = backend.product(lines, lines, transposing: .second).map { -$0 }
    let products = backend.product(inputs, inputs, transposing: .second)
    for n in 0..<rowCount {
      for m in 0..<rowCount {
        for k in 0..<logitCount {
          result[n * logitCount + k, m * logitCount + k] += products[n, m] / priorPrecision
        }
      }
    }
    return result
  }

  package func weightDraw(key: RandomKey, priorPrecision: Double, on backend: any Backend) -> Tensor<Double> {
    let draw: Tensor<Double> = key.normals([1, parameterCount])
    let basis = vectors.reshaped(to: [rank, parameterCount])
    // Along each eigenvector the deviation shrinks from 1/√δ to 1/√(λ + δ).
    let along = backend.product(draw, basis, transposing: .second)
    let shrunk = scalingColumns(
      of: along, by: values.elements.map { (priorPrecision / ($0 + priorPrecision)).squareRoot() - 1 })
    var result = backend.product(shrunk, basis)
    let scale = 1 / priorPrecision.squareRoot()
    for position in 0..<result.count { result[position] = (result[position] + draw[position]) * scale }
    return unscaledDraw(result.reshaped(to: [logitCount, vectors.shape[1]]).transposed())
  }

  package func scalingBias(by factor: Double, on backend: any Backend) throws(NumericalError) -> LowRankCurvature {
    guard hasBias, factor != 1 else { return self }
    // With W = √λ V, scaled, the matrix is Wᵀ W; its eigenvectors follow from those of W Wᵀ.
    var scaled = vectors
    for line in 0..<scaled.rowCount { scaled[line, featureCount] *= factor }
    let basis = scalingRows(
      of: scaled.reshaped(to: [rank, parameterCount]), by: values.elements.map { $0.squareRoot() })
    let (newValues, newBasis) = try eigenvectors(ofRows: basis, on: backend)
    return LowRankCurvature(
      values: newValues, vectors: newBasis.reshaped(to: [newValues.count * logitCount, vectors.shape[1]]),
      explainedShare: explainedShare, logitCount: logitCount, hasBias: hasBias, biasScale: biasScale * factor)
  }
}

/// The eigenvalues of `Wᵀ W` that are not zero, descending, and its eigenvectors as rows.
///
/// - Shapes: `[rank, n]` to `[rank']` and `[rank', n]`.
private func eigenvectors(ofRows w: Tensor<Double>, on backend: any Backend) throws(NumericalError)
  -> (values: Tensor<Double>, vectors: Tensor<Double>)
{
  let eigen = try backend.symmetricEigen(backend.product(w, w, transposing: .second))
  let largest = eigen.values.elements.last ?? 0
  let kept = eigen.values.elements.indices.reversed().filter { eigen.values[$0] > 1e-14 * largest }
  let coefficients = eigen.vectors.transposed().rows(Array(kept))
  let values = Tensor<Double>(shape: [kept.count], kept.map { eigen.values[$0] })
  return (
    values,
    scalingRows(of: backend.product(coefficients, w), by: values.elements.map { 1 / $0.squareRoot() })
  )
}
