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

  package init(form: KroneckerForm, hasBias: Bool, output: SymmetricEigen, input: SymmetricEigen) {
    self.form = form
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

  /// The squares `(Rᵀ a)ⱼ²` of features in the eigenbasis.
  ///
  /// - Shapes: `[rows, features]` to `[rows, inputs]`.
  func squaredProjections(of features: Tensor<Double>, on backend: any Backend) -> Tensor<Double> {
    var projections = backend.product(foldsBias ? appendingOnes(to: features) : features, input.vectors)
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
    let bias = output.values.map { separatesBias ? 1 / ($0 + priorPrecision) : 0 }
    return VarianceTable(reciprocals: reciprocals, bias: bias)
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
      for m in input.values.elements { sum += Double.log(onePlus: l * m / priorPrecision) }
      if separatesBias { sum += Double.log(onePlus: l / priorPrecision) }
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
      if separatesBias { sum -= l / (l + priorPrecision) }
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

/// Features with a one after the last of each row.
///
/// - Shapes: `[rows, features]` to `[rows, features + 1]`.
func appendingOnes(to features: Tensor<Double>) -> Tensor<Double> {
  let (rowCount, featureCount) = (features.rowCount, features.shape[1])
  var elements = ContiguousArray<Double>()
  elements.reserveCapacity(rowCount * (featureCount + 1))
  let source = features.elements
  for row in 0..<rowCount {
    elements.append(contentsOf: source[row * featureCount..<(row + 1) * featureCount])
    elements.append(1)
  }
  return Tensor(shape: [rowCount, featureCount + 1], elements: elements)
}
