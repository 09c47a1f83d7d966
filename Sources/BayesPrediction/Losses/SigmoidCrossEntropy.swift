public import BayesTensor
import RealModule

/// The negative log-likelihood of yes-or-no targets under the sigmoid of each logit.
///
///     value = Σ (1 − t) softplus(z) + t softplus(−z),      ∂/∂z = (1 − t) σ(z) − t σ(−z)
///
/// Written so that neither overflows nor cancels for large logits.
///
/// - Units: nats, summed over rows and logits.
/// - Determinism: elements are summed in order, in `Double`.
public struct SigmoidCrossEntropy: Hashable, Sendable {
  public init() {}

  /// The loss of one logit a row and its derivative.
  ///
  /// - Shapes: outputs `[rows, 1]`, one label a row, 0 or 1.
  /// - Throws: `LossError.Code.shape`; `.label`, naming the row; `.output` for a logit that is not finite.
  public func callAsFunction<Scalar: TensorScalar>(
    _ outputs: Tensor<Scalar>, labels: [Int]
  ) throws(LossError) -> LossValue<Scalar> {
    try requireLabels(labels, classCount: 2)
    return try self(outputs, targets: Tensor(shape: [labels.count, 1], labels.map { Double($0) }))
  }

  /// The loss of several logits a row, each with a target of its own, and its derivative.
  ///
  /// - Shapes: outputs and targets `[rows, logits]`; targets from 0 to 1, which are probabilities where
  ///   they are neither.
  /// - Throws: `LossError.Code.shape`; `.label`, naming the row, for a target out of range; `.output` for
  ///   a logit that is not finite.
  @specialized(where Scalar == Float)
  @specialized(where Scalar == Double)
  public func callAsFunction<Scalar: TensorScalar>(
    _ outputs: Tensor<Scalar>, targets: Tensor<Double>
  ) throws(LossError) -> LossValue<Scalar> {
    let name = "Sigmoid cross-entropy"
    try requireOutputs(outputs, rowCount: targets.shape.dimensions.first ?? 0, of: name)
    try requireTargets(targets, shape: outputs.shape, in: 0...1, of: name)
    var value = 0.0
    var cotangent = outputs
    cotangent.withMutableSpan { span in
      targets.withSpan { targets in
        for position in 0..<span.count {
          let (z, t) = (Double(span[position]), targets[position])
          let decay = Double.exp(-abs(z))
          let tail = Double.log(onePlus: decay)
          // σ(|z|) and σ(−|z|), each with all its digits.
          let (large, small) = (1 / (1 + decay), decay / (1 + decay))
          value += (1 - t) * (max(z, 0) + tail) + t * (max(-z, 0) + tail)
          span[position] = Scalar(
            z >= 0 ? (1 - t) * large - t * small : (1 - t) * small - t * large)
        }
      }
    }
    return LossValue(value: value, cotangent: cotangent)
  }
}
