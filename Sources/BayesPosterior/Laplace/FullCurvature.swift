package import BayesTensor

/// All of a head's generalised Gauss–Newton matrix, as its eigenvectors.
///
///     H = V diag(λ) Vᵀ,    S = J V diag(1 / (λ + δ)) Vᵀ Jᵀ,    J = I ⊗ aᵀ
///
/// - Source: Daxberger et al. 2021, arXiv:2106.14806.
package struct FullCurvature: HeadCurvature, SpectralDeterminantRatio {
  /// `λ`, `[parameters]`, none negative.
  let values: Tensor<Double>
  /// `V` with its rows cut by class and laid side by side: `[inputs, logits · parameters]`.
  let vectors: Tensor<Double>
  package let logitCount: Int
  package let hasBias: Bool
  package let biasScale: Double

  init(values: Tensor<Double>, vectors: Tensor<Double>, logitCount: Int, hasBias: Bool, biasScale: Double) {
    self.values = values
    self.vectors = vectors
    self.logitCount = logitCount
    self.hasBias = hasBias
    self.biasScale = biasScale
  }

  /// Takes the sums of a head.
  ///
  /// - Cost: O(parameters³).
  /// - Throws: `NumericalError.Code.notConverged`, `.notFinite`.
  package init(
    _ curvature: Curvature, likelihood: Likelihood, hasBias: Bool, logitCount: Int, on backend: any Backend
  ) throws(NumericalError) {
    try self.init(
      matrix: Self.matrix(curvature, likelihood, hasBias: hasBias, logitCount: logitCount),
      logitCount: logitCount, hasBias: hasBias, biasScale: 1, on: backend)
  }

  private init(
    matrix: Tensor<Double>, logitCount: Int, hasBias: Bool, biasScale: Double, on backend: any Backend
  ) throws(NumericalError) {
    let eigen = try backend.symmetricEigen(matrix)
    let order = matrix.rowCount
    let inputCount = order / logitCount
    // Rows of V are ordered by class, then input.
    var sideBySide = Tensor<Double>(zeros: [inputCount, logitCount * order])
    sideBySide.withMutableSpan { target in
      eigen.vectors.withSpan { source in
        for k in 0..<logitCount {
          for d in 0..<inputCount {
            for p in 0..<order {
              target[(d * logitCount + k) * order + p] = source[(k * inputCount + d) * order + p]
            }
          }
        }
      }
    }
    self.init(
      values: eigen.values.map { max(0, $0) }, vectors: sideBySide, logitCount: logitCount, hasBias: hasBias,
      biasScale: biasScale)
  }

  /// `H`, parameters ordered by class, then input, the bias last.
  private static func matrix(
    _ curvature: Curvature, _ likelihood: Likelihood, hasBias: Bool, logitCount: Int
  ) -> Tensor<Double> {
    let sums = curvature.parts[0]
    let summedCount = likelihood == .categorical ? sums.shape[1] / logitCount : sums.shape[1]
    let inputCount = hasBias ? summedCount : summedCount - 1
    let order = logitCount * inputCount
    var matrix = Tensor<Double>(zeros: [order, order])
    for k in 0..<logitCount {
      for d in 0..<inputCount {
        for e in 0..<inputCount {
          guard likelihood == .categorical else {
            matrix[k * inputCount + d, k * inputCount + e] =
              sums[likelihood == .multilabel ? k * summedCount + d : d, e]
            continue
          }
          // The blocks of a row sum to zero, so the diagonal one is the sum of the products beside it.
          // Computed so, it keeps its digits where the network is certain.
          var diagonal = 0.0
          for l in 0..<logitCount where l != k {
            let value = sums[k * summedCount + d, l * summedCount + e]
            matrix[k * inputCount + d, l * inputCount + e] = -value
            diagonal += value
          }
          matrix[k * inputCount + d, k * inputCount + e] = diagonal
        }
      }
    }
    return matrix
  }

  /// `λ`, ascending.
  package var eigenvalues: Tensor<Double> { values }
  package var featureCount: Int { vectors.rowCount - (hasBias ? 1 : 0) }
  package var parameterCount: Int { values.count }

  /// `(Vᵀ Jᵀ)ᵀ` of each row, `[rows · logits, parameters]`.
  package func projection(of features: Tensor<Double>, on backend: any Backend) -> FeatureProjection {
    FeatureProjection(
      rowCount: features.rowCount,
      values: backend.product(inputs(features), vectors).reshaped(
        to: [features.rowCount * logitCount, parameterCount]))
  }

  package func variances(_ projection: FeatureProjection, priorPrecision: Double, on backend: any Backend)
    -> Tensor<Double>
  {
    let reciprocals = values.map { 1 / ($0 + priorPrecision) }.reshaped(to: [parameterCount, 1])
    return backend.product(projection.values.map { $0 * $0 }, reciprocals)
      .reshaped(to: [projection.rowCount, logitCount])
  }

  package func covariance(_ projection: FeatureProjection, priorPrecision: Double, on backend: any Backend)
    -> LogitCovariance
  {
    let scaled = scaledProjection(projection.values, priorPrecision: priorPrecision)
    let blocks = (0..<projection.rowCount).map { row in
      let own = scaled.rows(row * logitCount..<(row + 1) * logitCount)
      return backend.product(own, own, transposing: .second)
    }
    return .dense(blocks.isEmpty ? Tensor(zeros: [0, logitCount]) : .stacking(blocks))
  }

  private func scaledProjection(_ projection: Tensor<Double>, priorPrecision: Double) -> Tensor<Double> {
    scalingColumns(of: projection, by: values.elements.map { 1 / ($0 + priorPrecision).squareRoot() })
  }

  package func jointCovariance(features: Tensor<Double>, priorPrecision: Double, on backend: any Backend)
    -> Tensor<Double>
  {
    let scaled = scaledProjection(
      projection(of: features, on: backend).values, priorPrecision: priorPrecision)
    return backend.product(scaled, scaled, transposing: .second)
  }

  package func weightDraw(key: RandomKey, priorPrecision: Double, on backend: any Backend) -> Tensor<Double> {
    var spectral: Tensor<Double> = key.normals([parameterCount, 1])
    for p in 0..<parameterCount { spectral[p] /= (values[p] + priorPrecision).squareRoot() }
    let order = parameterCount
    return unscaledDraw(
      backend.product(vectors.reshaped(to: [vectors.count / order, order]), spectral)
        .reshaped(to: [vectors.rowCount, logitCount]))
  }

  package func scalingBias(by factor: Double, on backend: any Backend) throws(NumericalError) -> FullCurvature {
    guard hasBias, factor != 1 else { return self }
    let (order, inputCount) = (parameterCount, inputCount)
    var rows = Tensor<Double>(zeros: [order, order])
    for k in 0..<logitCount {
      for d in 0..<inputCount {
        let scale = d == featureCount ? factor : 1
        for p in 0..<order {
          rows[k * inputCount + d, p] = scale * vectors[(d * logitCount + k) * order + p]
        }
      }
    }
    let matrix = backend.product(scalingColumns(of: rows, by: Array(values.elements)), rows, transposing: .second)
    return try FullCurvature(
      matrix: matrix, logitCount: logitCount, hasBias: hasBias, biasScale: biasScale * factor, on: backend)
  }
}
