package import BayesTensor

/// The diagonal of a head's generalised Gauss–Newton matrix, `H[k, d] = Σₙ Λₙₖₖ a_d²`.
///
///     S_kk = Σ_d a_d² / (H[k, d] + δ),    S_kl = 0
///
/// - Source: Daxberger et al. 2021, arXiv:2106.14806.
package struct DiagonalCurvature: HeadCurvature, SpectralDeterminantRatio {
  /// `H`, `[logits, inputs]`, for inputs `[φ; c]`.
  let values: Tensor<Double>
  package let hasBias: Bool
  package let biasScale: Double

  init(values: Tensor<Double>, hasBias: Bool, biasScale: Double) {
    self.values = values
    self.hasBias = hasBias
    self.biasScale = biasScale
  }

  /// Takes the sums of a head; without a bias their last column has no meaning and is left out.
  package init(_ curvature: Curvature, hasBias: Bool) {
    let sums = curvature.parts[0]
    self.init(
      values: hasBias ? sums : columns(0..<sums.shape[1] - 1, of: sums), hasBias: hasBias, biasScale: 1)
  }

  package var eigenvalues: Tensor<Double> { values }
  package var logitCount: Int { values.rowCount }
  package var featureCount: Int { values.shape[1] - (hasBias ? 1 : 0) }
  package var parameterCount: Int { values.count }

  package func projection(of features: Tensor<Double>, on backend: any Backend) -> FeatureProjection {
    FeatureProjection(rowCount: features.rowCount, values: inputs(features).map { $0 * $0 })
  }

  package func variances(_ projection: FeatureProjection, priorPrecision: Double, on backend: any Backend)
    -> Tensor<Double>
  {
    backend.product(projection.values, values.map { 1 / ($0 + priorPrecision) }, transposing: .second)
  }

  package func covariance(_ projection: FeatureProjection, priorPrecision: Double, on backend: any Backend)
    -> LogitCovariance
  {
    .diagonal(variances(projection, priorPrecision: priorPrecision, on: backend))
  }

  package func jointCovariance(features: Tensor<Double>, priorPrecision: Double, on backend: any Backend)
    -> Tensor<Double>
  {
    let inputs = inputs(features)
    let (rowCount, order) = (inputs.rowCount, inputs.rowCount * logitCount)
    var result = Tensor<Double>(zeros: [order, order])
    for k in 0..<logitCount {
      let scaled = scalingColumns(
        of: inputs, by: (0..<inputs.shape[1]).map { 1 / (values[k, $0] + priorPrecision) })
      let block = backend.product(scaled, inputs, transposing: .second)
      for n in 0..<rowCount {
        for m in 0..<rowCount { result[n * logitCount + k, m * logitCount + k] = block[n, m] }
      }
    }
    return result
  }

  package func weightDraw(key: RandomKey, priorPrecision: Double, on backend: any Backend) -> Tensor<Double> {
    var draw: Tensor<Double> = key.normals(values.shape)
    for position in 0..<draw.count { draw[position] /= (values[position] + priorPrecision).squareRoot() }
    return unscaledDraw(draw.transposed())
  }

  package func scalingBias(by factor: Double, on backend: any Backend) throws(NumericalError) -> DiagonalCurvature {
    guard hasBias, factor != 1 else { return self }
    var scaled = values
    for k in 0..<logitCount { scaled[k, featureCount] *= factor * factor }
    return DiagonalCurvature(values: scaled, hasBias: hasBias, biasScale: biasScale * factor)
  }
}
