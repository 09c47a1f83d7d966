public import BayesTensor
import RealModule

/// The curvature of one head in the basis in which its posterior precision is diagonal.
///
/// With `Q` and `R` the eigenvectors of the class and the feature factor, and `l`, `m` their
/// eigenvalues, the precision of the head is diagonal in `Q ⊗ R` for every form and every prior
/// precision `δ`:
///
///     kronecker, kronecker-folded   Pᵢⱼ = lᵢ mⱼ + δ          (and lᵢ + δ for a bias of its own)
///     kronecker-factored            Pᵢⱼ = (lᵢ + √δ)(mⱼ + √δ)
///
/// so that the logits of an input with features `a` have covariance `Q diag(v) Qᵀ`,
///
///     vᵢ = Σⱼ (Rᵀ a)ⱼ² / Pᵢⱼ  (+ 1 / (lᵢ + δ)).
///
/// A prior precision may be infinite: then every variance is zero.
///
/// Inputs are `a = [φ; c]`; with `c` other than one the bias has prior precision `δ / c²`.
public struct KroneckerSpectrum: Sendable, Equatable {
  /// Where bias and prior enter.
  public let form: KroneckerForm
  /// Whether the head has a bias.
  public let hasBias: Bool
  /// Eigenvalues `l`, `[logits]`, none negative, and eigenvectors `Q`, `[logits, logits]`.
  public let output: SymmetricEigen
  /// Eigenvalues `m`, `[inputs]`, none negative, and eigenvectors `R`, `[inputs, inputs]`, where
  /// `inputs` is one more than the number of features if the bias is folded in.
  public let input: SymmetricEigen

  /// `c`, what the bias is multiplied by.
  package let biasScale: Double

  package init(
    form: KroneckerForm, hasBias: Bool, output: SymmetricEigen, input: SymmetricEigen, biasScale: Double = 1
  ) {
    self.form = form
    self.biasScale = biasScale
    self.hasBias = hasBias
    self.output = output
    self.input = input
  }

  /// Whether a one is appended to the features.
  var foldsBias: Bool { hasBias && form != .kronecker }
  /// Whether the bias has a precision block of its own.
  var separatesBias: Bool { hasBias && form == .kronecker }

  /// The number of logits.
  public var logitCount: Int { output.values.count }
  /// The number of features, the appended one not counted.
  public var featureCount: Int { input.values.count - (foldsBias ? 1 : 0) }
  /// The number of weights and biases.
  public var parameterCount: Int { logitCount * (input.values.count + (separatesBias ? 1 : 0)) }

  /// What the feature factor is multiplied by.
  func foldedInputs(_ features: Tensor<Double>) -> Tensor<Double> {
    foldsBias ? appending(biasScale, to: features) : features
  }

  /// The squares `(Rᵀ a)ⱼ²` of features in the eigenbasis.
  ///
  /// - Shapes: `[rows, features]` to `[rows, inputs]`.
  func squaredProjections(of features: Tensor<Double>, on backend: any Backend) -> Tensor<Double> {
    var projections = backend.product(foldedInputs(features), input.vectors)
    projections.withMutableSpan { span in
      for position in span.indices { span[position] *= span[position] }
    }
    return projections
  }

  /// The variances `v` of the logits in the eigenbasis of the class factor.
  ///
  /// - Shapes: `[rows, features]` to `[rows, logits]`.
  package func spectralVariances(
    features: Tensor<Double>, priorPrecision: Double, on backend: any Backend
  ) -> Tensor<Double> {
    varianceTable(priorPrecision: priorPrecision).spectralVariances(
      squaredProjections(of: features, on: backend), on: backend)
  }

  /// What turns squared projections into variances at a prior precision.
  func varianceTable(priorPrecision: Double) -> VarianceTable {
    let (logitCount, inputCount) = (logitCount, input.values.count)
    let shift = priorPrecision.squareRoot()
    var reciprocals = Tensor<Double>(zeros: [inputCount, logitCount])
    for j in 0..<inputCount {
      let m = input.values[j]
      for i in 0..<logitCount {
        let l = output.values[i]
        reciprocals[j, i] =
          form == .factored ? 1 / ((l + shift) * (m + shift)) : 1 / (l * m + priorPrecision)
      }
    }
    return VarianceTable(reciprocals: reciprocals, bias: biasVariances(priorPrecision: priorPrecision))
  }

  /// The variances of a bias with a block of its own in the eigenbasis of the class factor; zeros without one.
  func biasVariances(priorPrecision: Double) -> Tensor<Double> {
    let square = biasScale * biasScale
    return output.values.map { separatesBias ? square / (square * $0 + priorPrecision) : 0 }
  }

  /// `log |P| − log |δ I|`: how much the data sharpen the prior; never negative.
  ///
  /// - Units: nats.
  package func logDeterminantRatio(priorPrecision: Double) -> Double {
    let shift = priorPrecision.squareRoot()
    var sum = 0.0
    if form == .factored {
      for l in output.values.elements { sum += Double(input.values.count) * Double.log(onePlus: l / shift) }
      for m in input.values.elements { sum += Double(logitCount) * Double.log(onePlus: m / shift) }
      return sum
    }
    for l in output.values.elements {
      sum += logProductOfOnePlus(input.values, scale: l / priorPrecision)
      if separatesBias { sum += Double.log(onePlus: biasScale * biasScale * l / priorPrecision) }
    }
    return sum
  }

  /// The derivative of `logDeterminantRatio` with respect to `log δ`; never positive.
  package func logDeterminantRatioDerivative(priorPrecision: Double) -> Double {
    let shift = priorPrecision.squareRoot()
    var sum = 0.0
    if form == .factored {
      // The square root halves the derivative with respect to log δ.
      for l in output.values.elements { sum -= 0.5 * Double(input.values.count) * l / (l + shift) }
      for m in input.values.elements { sum -= 0.5 * Double(logitCount) * m / (m + shift) }
      return sum
    }
    for l in output.values.elements {
      for m in input.values.elements { sum -= l * m / (l * m + priorPrecision) }
      let ownBias = biasScale * biasScale * l
      if separatesBias { sum -= ownBias / (ownBias + priorPrecision) }
    }
    return sum
  }

  /// `Q diag(v) Qᵀ` for one row of variances in the eigenbasis.
  ///
  /// - Shapes: `[logits]` to `[logits, logits]`.
  package func covariance(spectralVariances: Tensor<Double>) -> Tensor<Double> {
    let vectors = output.vectors
    var covariance = Tensor<Double>(zeros: [logitCount, logitCount])
    for row in 0..<logitCount {
      for column in 0...row {
        var sum = 0.0
        for i in 0..<logitCount { sum += vectors[row, i] * spectralVariances[i] * vectors[column, i] }
        covariance[row, column] = sum
        covariance[column, row] = sum
      }
    }
    return covariance
  }

  /// The variances of the logits themselves, the diagonals of `Q diag(v) Qᵀ`.
  ///
  /// - Shapes: `[rows, logits]` to `[rows, logits]`.
  package func logitVariances(spectralVariances: Tensor<Double>, on backend: any Backend) -> Tensor<Double> {
    backend.product(spectralVariances, output.vectors.map { $0 * $0 }, transposing: .second)
  }
}

/// The reciprocal precisions of a head in its eigenbasis at one prior precision.
struct VarianceTable: Sendable {
  /// `1 / Pᵢⱼ`, `[inputs, logits]`.
  let reciprocals: Tensor<Double>
  /// The variance of a bias with a block of its own, `[logits]`; zeros without one.
  let bias: Tensor<Double>

  /// The variances `v` of the logits in the eigenbasis of the class factor.
  ///
  /// - Shapes: `[rows, inputs]` to `[rows, logits]`.
  func spectralVariances(_ squaredProjections: Tensor<Double>, on backend: any Backend) -> Tensor<Double> {
    var variances = backend.product(squaredProjections, reciprocals)
    let bias = bias.elements
    variances.withMutableSpan { span in
      var column = 0
      for position in span.indices {
        span[position] += bias[column]
        column = column + 1 == bias.count ? 0 : column + 1
      }
    }
    return variances
  }
}

extension KroneckerSpectrum: HeadCurvature {
  package func projection(of features: Tensor<Double>, on backend: any Backend) -> FeatureProjection {
    FeatureProjection(rowCount: features.rowCount, values: squaredProjections(of: features, on: backend))
  }

  package func variances(_ projection: FeatureProjection, priorPrecision: Double, on backend: any Backend)
    -> Tensor<Double>
  {
    logitVariances(
      spectralVariances: varianceTable(priorPrecision: priorPrecision).spectralVariances(
        projection.values, on: backend), on: backend)
  }

  package func covariance(_ projection: FeatureProjection, priorPrecision: Double, on backend: any Backend)
    -> LogitCovariance
  {
    .spectral(
      variances: varianceTable(priorPrecision: priorPrecision).spectralVariances(projection.values, on: backend),
      basis: output.vectors)
  }

  package func jointCovariance(features: Tensor<Double>, priorPrecision: Double, on backend: any Backend)
    -> Tensor<Double>
  {
    let rotated = backend.product(foldedInputs(features), input.vectors)
    let table = varianceTable(priorPrecision: priorPrecision)
    let (rowCount, inputCount) = (features.rowCount, input.values.count)
    var result = Tensor<Double>(zeros: [rowCount * logitCount, rowCount * logitCount])
    for n in 0..<rowCount {
      let own = (0..<inputCount).map { rotated[n, $0] }
      let variances = table.spectralVariances(scalingColumns(of: rotated, by: own), on: backend)
      let blocks = LogitCovariance.spectral(variances: variances, basis: output.vectors)
      for m in 0..<rowCount { place(blocks.matrix(m, on: backend), in: &result, n, m) }
    }
    return result
  }

  package func weightDraw(key: RandomKey, priorPrecision: Double, on backend: any Backend) -> Tensor<Double> {
    let table = varianceTable(priorPrecision: priorPrecision)
    var spectral: Tensor<Double> = key.normals(table.reciprocals.shape)
    for position in 0..<spectral.count { spectral[position] *= table.reciprocals[position].squareRoot() }
    if separatesBias {
      let own: Tensor<Double> = key.child(0).normals([1, logitCount])
      let rotated = scalingColumns(of: own, by: table.bias.elements.map { $0.squareRoot() })
      let weights = backend.product(
        backend.product(input.vectors, spectral), output.vectors, transposing: .second)
      return .stacking([weights, backend.product(rotated, output.vectors, transposing: .second)])
    }
    return unscaledDraw(
      backend.product(backend.product(input.vectors, spectral), output.vectors, transposing: .second))
  }

  package func scalingBias(by factor: Double, on backend: any Backend) throws(NumericalError) -> KroneckerSpectrum {
    guard hasBias, factor != 1 else { return self }
    var input = input
    if foldsBias {
      let last = self.input.values.count - 1
      var rotated = self.input.vectors
      for column in 0...last { rotated[last, column] *= factor }
      let scaled = scalingColumns(of: rotated, by: Array(self.input.values.elements))
      input = try backend.symmetricEigen(backend.product(scaled, rotated, transposing: .second))
      input.values = input.values.map { max(0, $0) }
    }
    return KroneckerSpectrum(
      form: form, hasBias: hasBias, output: output, input: input, biasScale: biasScale * factor)
  }

  /// The trace of the feature factor.
  var inputTrace: Double { input.values.elements.reduce(0, +) }
}

/// Writes a block of a matrix whose blocks are all of one size.
func place(_ block: Tensor<Double>, in matrix: inout Tensor<Double>, _ blockRow: Int, _ blockColumn: Int) {
  let (order, width) = (block.shape[1], matrix.shape[1])
  matrix.withMutableSpan { matrix in
    block.withSpan { block in
      for row in 0..<order {
        let start = (blockRow * order + row) * width + blockColumn * order
        for column in 0..<order { matrix[start + column] = block[row * order + column] }
      }
    }
  }
}
