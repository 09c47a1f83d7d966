public import BayesTensor
import RealModule

/// Independent Gaussians over the weights of a layer.
///
///     q(w) = Π N(wᵢ; μᵢ, σᵢ²),      σᵢ = softplus(ρᵢ) = log(1 + exp ρᵢ)
///
/// - Source: Graves 2011; Blundell et al. 2015, arXiv:1505.05424.
public struct FactorizedGaussian: Sendable, Equatable {
  /// `μ`, one tensor a parameter.
  public internal(set) var means: [Tensor<Double>]
  /// `ρ`, in the shapes of the means.
  public internal(set) var rawDeviations: [Tensor<Double>]

  /// - Precondition: there are as many tensors of both, in the same shapes.
  public init(means: [Tensor<Double>], rawDeviations: [Tensor<Double>]) {
    precondition(
      means.map(\.shape) == rawDeviations.map(\.shape),
      "Means of \(means.map(\.shape)) and deviations of \(rawDeviations.map(\.shape)) do not fit each other.")
    self.means = means
    self.rawDeviations = rawDeviations
  }

  /// - Precondition: deviations are positive and have the shapes of the means.
  public init(means: [Tensor<Double>], deviations: [Tensor<Double>]) {
    precondition(
      deviations.allSatisfy { $0.elements.allSatisfy { $0 > 0 && $0.isFinite } }, "Deviations are positive and finite.")
    self.init(means: means, rawDeviations: deviations.map { $0.map { inverseSoftplus($0) } })
  }

  /// `σ`.
  public var deviations: [Tensor<Double>] { rawDeviations.map { $0.map { softplus($0) } } }

  /// The Kullback-Leibler divergence from a prior, in nats, summed over all weights, and its gradient.
  ///
  ///     KL(q ‖ p) = Σᵢ log(s / σᵢ) + (σᵢ² + (μᵢ − mᵢ)²) / 2s² − ½
  ///     ∂/∂μᵢ = (μᵢ − mᵢ) / s²,      ∂/∂ρᵢ = (σᵢ / s² − 1 / σᵢ) · sigmoid(ρᵢ)
  ///
  /// - Determinism: weights are summed in order.
  /// - Precondition: the prior is one of these weights.
  public func divergence(from prior: FactorizedPrior) -> (value: Double, gradient: Gradient) {
    precondition(prior.means.map(\.shape) == means.map(\.shape), "The prior is one of other weights.")
    let squared = prior.deviation * prior.deviation
    var value = 0.0
    var gradient = Gradient(means: means, rawDeviations: rawDeviations)
    for (index, (mean, raw)) in zip(means, rawDeviations).enumerated() {
      for position in 0..<mean.count {
        let difference = mean[position] - prior.means[index][position]
        let deviation = softplus(raw[position])
        value +=
          Double.log(prior.deviation / deviation)
          + (deviation * deviation + difference * difference) / (2 * squared) - 0.5
        gradient.means[index][position] = difference / squared
        gradient.rawDeviations[index][position] = (deviation / squared - 1 / deviation) * sigmoid(raw[position])
      }
    }
    return (value, gradient)
  }

  /// A derivative with respect to `μ` and `ρ`.
  public struct Gradient: Sendable, Equatable {
    public internal(set) var means: [Tensor<Double>]
    public internal(set) var rawDeviations: [Tensor<Double>]
  }
}

/// Where a layer's weights are thought to lie before the data: independent Gaussians of one deviation.
public struct FactorizedPrior: Sendable, Equatable {
  /// One tensor a parameter.
  public let means: [Tensor<Double>]
  public let deviation: Double

  /// - Precondition: the deviation is positive and finite.
  public init(means: [Tensor<Double>], deviation: Double) {
    precondition(deviation > 0 && deviation.isFinite, "A deviation is positive and finite; got \(deviation).")
    self.means = means
    self.deviation = deviation
  }
}

/// The `x` whose softplus is `value`.
///
/// - Precondition: the value is positive.
func inverseSoftplus(_ value: Double) -> Double {
  // Written so that neither a large nor a small value loses digits.
  value + Double.log(-Double.expMinusOne(-value))
}

/// The derivative of `softplus`.
func sigmoid(_ x: Double) -> Double {
  let decay = Double.exp(-abs(x))
  return x >= 0 ? 1 / (1 + decay) : decay / (1 + decay)
}
