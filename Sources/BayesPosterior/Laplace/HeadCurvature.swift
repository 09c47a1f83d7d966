package import BayesTensor

/// What a structure makes of some rows' features before any prior precision is known.
package struct FeatureProjection: Sendable {
  /// The number of rows.
  var rowCount: Int
  /// Numbers whose meaning is the structure's own.
  var values: Tensor<Double>
  /// `‖a‖²` of each row, for structures that need it.
  var squaredNorms: [Double] = []
}

/// The curvature of one head, from which the Gaussian of its logits follows at any prior precision.
///
/// Inputs are `a = [φ; c]` with `c` the `biasScale`: the bias then has prior precision `δ / c²` while all
/// weights have `δ`.
package protocol HeadCurvature: DeterminantRatio, Equatable {
  var logitCount: Int { get }
  /// The number of features, the appended one not counted.
  var featureCount: Int { get }
  /// Whether the head has a bias.
  var hasBias: Bool { get }
  /// `c`.
  var biasScale: Double { get }

  /// What depends on the rows only.
  ///
  /// - Shapes: features `[rows, features]`.
  func projection(of features: Tensor<Double>, on backend: any Backend) -> FeatureProjection

  /// The variances of the logits, `[rows, logits]`.
  func variances(_ projection: FeatureProjection, priorPrecision: Double, on backend: any Backend)
    -> Tensor<Double>

  /// The covariances of each row's logits.
  func covariance(_ projection: FeatureProjection, priorPrecision: Double, on backend: any Backend)
    -> LogitCovariance

  /// The covariance of all logits of all rows with each other.
  ///
  /// - Shapes: features `[rows, features]` to `[rows · logits, rows · logits]`, the logit running faster.
  func jointCovariance(features: Tensor<Double>, priorPrecision: Double, on backend: any Backend)
    -> Tensor<Double>

  /// One draw of the deviation of the weights from their mean, to be multiplied by `[φ; 1]` (`φ` without bias).
  ///
  /// - Shapes: `[features + 1, logits]`, or `[features, logits]` without a bias.
  func weightDraw(key: RandomKey, priorPrecision: Double, on backend: any Backend) -> Tensor<Double>

  /// The same curvature with `c` multiplied by a factor.
  func scalingBias(by factor: Double, on backend: any Backend) throws(NumericalError) -> Self
}

extension HeadCurvature {
  /// Features with what the bias is multiplied by.
  func inputs(_ features: Tensor<Double>) -> Tensor<Double> {
    hasBias ? appending(biasScale, to: features) : features
  }

  /// The number of inputs, the appended one counted.
  var inputCount: Int { featureCount + (hasBias ? 1 : 0) }

  /// A draw for `[φ; c]` as one for `[φ; 1]`.
  func unscaledDraw(_ draw: Tensor<Double>) -> Tensor<Double> {
    guard hasBias, biasScale != 1 else { return draw }
    var result = draw
    for k in 0..<logitCount { result[featureCount, k] *= biasScale }
    return result
  }
}
