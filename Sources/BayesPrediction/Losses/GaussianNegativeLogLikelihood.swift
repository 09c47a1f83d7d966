public import BayesTensor
import RealModule

/// The negative log-likelihood of real targets around means, with one fixed variance.
///
///     value = Σ ½ ( log 2πσ² + (t − μ)² / σ² ),      ∂/∂μ = (μ − t) / σ²
///
/// The outputs are means only, as `Likelihood.gaussian` has it; the variance is a setting.
///
/// - Shapes: outputs and targets `[rows, outputs]`.
/// - Units: nats, summed over rows and outputs; the variance in the targets' units squared.
/// - Determinism: elements are summed in order, in `Double`.
public struct GaussianNegativeLogLikelihood: Hashable, Sendable {
  /// The variance of a target around its mean.
  public let variance: Double

  /// - Precondition: the variance is positive and finite.
  public init(variance: Double = 1) {
    precondition(variance > 0 && variance.isFinite, "A variance is positive and finite; got \(variance).")
    self.variance = variance
  }

  /// The loss of some rows and its derivative.
  ///
  /// - Throws: `LossError.Code.shape`; `.label`, naming the row, for a target that is not finite;
  ///   `.output` for a mean that is not finite.
  @specialized(where Scalar == Float)
  @specialized(where Scalar == Double)
  public func callAsFunction<Scalar: TensorScalar>(
    _ outputs: Tensor<Scalar>, targets: Tensor<Double>
  ) throws(LossError) -> LossValue<Scalar> {
    let name = "A Gaussian likelihood"
    try requireOutputs(outputs, rowCount: targets.shape.dimensions.first ?? 0, of: name)
    try requireTargets(targets, shape: outputs.shape, in: -.infinity ... .infinity, of: name)
    var value = Double(outputs.count) * Double.log(2 * .pi * variance) / 2
    var cotangent = outputs
    cotangent.withMutableSpan { span in
      targets.withSpan { targets in
        for position in 0..<span.count {
          let difference = Double(span[position]) - targets[position]
          value += difference * difference / (2 * variance)
          span[position] = Scalar(difference / variance)
        }
      }
    }
    return LossValue(value: value, cotangent: cotangent)
  }
}
