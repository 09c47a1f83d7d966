public import BayesTensor
import RealModule

/// Laplace's approximation of the log marginal likelihood of a head, as a function of its prior precision.
///
///     log Z(δ) = log p(y | θ) − ½ ( log |P| − log |P₀| + δ ‖θ − θ₀‖² )
///
/// where `θ` are the head's trained weights and bias, `θ₀` the prior's mean, `P₀` its precision and `P` the posterior
/// precision.  For Gaussian targets of noise `σ` it is a function of both, and `P / σ⁻²` one of `δ σ²`.
///
/// - Units: nats, summed over the training rows.
/// - Source: MacKay 1992; Immer et al. 2021, arXiv:2104.04975.
public struct MarginalLikelihood: Sendable {
  let curvature: any DeterminantRatio
  private let labelLikelihood: Double
  let squaredNorm: Double
  let residuals: GaussianResiduals?

  package init(
    curvature: any DeterminantRatio, logLikelihood: Double, squaredNorm: Double, residuals: GaussianResiduals? = nil
  ) {
    self.curvature = curvature
    labelLikelihood = logLikelihood
    self.squaredNorm = squaredNorm
    self.residuals = residuals
  }

  /// `log p(y | θ)` at the trained weights.
  package func logLikelihood(noise: Double = 1) -> Double {
    residuals?.logLikelihood(noise: noise) ?? labelLikelihood
  }

  /// The log marginal likelihood at a prior precision and, for Gaussian targets, a noise.
  ///
  /// - Cost: O(features · logits).
  public func callAsFunction(priorPrecision: Double, noise: Double = 1) -> Double {
    logLikelihood(noise: noise)
      - 0.5
      * (curvature.logDeterminantRatio(priorPrecision: priorPrecision * noise * noise)
        + priorPrecision * squaredNorm)
  }

  /// The derivative with respect to the logarithm of the prior precision.
  public func derivative(priorPrecision: Double, noise: Double = 1) -> Double {
    -0.5
      * (curvature.logDeterminantRatioDerivative(priorPrecision: priorPrecision * noise * noise)
        + priorPrecision * squaredNorm)
  }

  /// The highest point of a marginal likelihood.
  public struct Maximum: Sendable, Equatable {
    public var priorPrecision: Double
    /// The noise of Gaussian targets.
    public var noise = 1.0
    /// Whether the prior precision is the lowest that was tried: the training rows say nothing about the head.
    public var isLowest: Bool

    /// What the user should know where it is the lowest.
    var lowestWarning: String {
      "the marginal likelihood still rises at the lowest prior precision tried, \(priorPrecision.significantDigits()): the "
        + "training rows hardly bend the likelihood. Choose the prior precision by validation."
    }
  }

  /// The prior precision of the highest marginal likelihood.
  ///
  /// No maximum lies above `parameters / ‖θ − θ₀‖²`, since there the fit's cost outgrows all that the
  /// determinants can give.  Twelve decades below that bound are searched, an eighth of a decade at
  /// a time, and the best of them is refined by golden-section search.
  ///
  /// - Parameter noise: the noise of Gaussian targets.
  /// - Throws: `NumericalError.Code.notFinite` where the weights are the prior's mean, as then no prior
  ///   precision is best.
  public func maximum(noise: Double = 1) throws(NumericalError) -> Maximum {
    try MarginalLikelihood.maximum(ofSum: [self], noises: [noise])
  }

  /// The one prior precision for several heads of the highest marginal likelihood of all together.
  ///
  /// - Throws: as `maximum(noise:)`.
  static func maximum(ofSum curves: [MarginalLikelihood], noises: [Double]) throws(NumericalError) -> Maximum {
    let squaredNorm = curves.reduce(0) { $0 + $1.squaredNorm }
    try requireNorm(squaredNorm)
    let parameterCount = curves.reduce(0) { $0 + $1.curvature.parameterCount }
    let bound = Double.log(Double(parameterCount) / squaredNorm)
    let (logarithm, isLowest) = highestPoint(below: bound, decades: 12) { x in
      var sum = 0.0
      for (curve, noise) in zip(curves, noises) { sum += curve(priorPrecision: Double.exp(x), noise: noise) }
      return sum
    }
    let highest = isLowest ? logarithm : zero(near: logarithm) { x in
      var sum = 0.0
      for (curve, noise) in zip(curves, noises) { sum += curve.derivative(priorPrecision: Double.exp(x), noise: noise) }
      return sum
    }
    return Maximum(priorPrecision: Double.exp(highest), noise: noises[0], isLowest: isLowest)
  }

  /// Prior precision and noise of the highest marginal likelihood of Gaussian targets.
  ///
  /// At a given `ε = δ σ²` the best noise is `σ² = (SSE + ε ‖θ − θ₀‖²) / (rows · outputs)`, so `ε` alone is searched.
  ///
  /// - Throws: `NumericalError.Code.notFinite` where the weights are the prior's mean or fit all targets exactly.
  package func maximumWithNoise() throws(NumericalError) -> Maximum {
    guard let residuals else { return try maximum() }
    try Self.requireNorm(squaredNorm)
    guard residuals.squaredError > 0 else {
      throw NumericalError(.notFinite, Self.noResiduals)
    }
    func noise(_ scaled: Double) -> Double {
      ((residuals.squaredError + scaled * squaredNorm) / residuals.count).squareRoot()
    }
    // Beyond this the noise is that of targets around nothing and the evidence falls.
    let bound = Double.log(max(Double(curvature.parameterCount), residuals.count) * 100
      * (1 + residuals.squaredError / squaredNorm))
    let (logarithm, isLowest) = Self.highestPoint(below: bound, decades: 18) { x in
      let scaled = Double.exp(x)
      let noise = noise(scaled)
      return self(priorPrecision: scaled / (noise * noise), noise: noise)
    }
    // The noise is the best at each `ε`, so that only the prior precision's change counts.
    let highest = isLowest ? logarithm : Self.zero(near: logarithm) { x in
      let scaled = Double.exp(x)
      let noise = noise(scaled)
      return derivative(priorPrecision: scaled / (noise * noise), noise: noise)
    }
    let scaled = Double.exp(highest)
    let best = noise(scaled)
    return Maximum(priorPrecision: scaled / (best * best), noise: best, isLowest: isLowest)
  }

  /// The noise of the highest marginal likelihood at a prior precision.
  func bestNoise(priorPrecision: Double) -> Double {
    guard let residuals, residuals.squaredError > 0 else { return 1 }
    // Without any prior the noise is at most this, and the posterior's degrees of freedom raise it little.
    let bound = Double.log((residuals.squaredError / residuals.count).squareRoot()) + 5
    let (logarithm, isLowest) = Self.highestPoint(below: bound, decades: 6) {
      self(priorPrecision: priorPrecision, noise: Double.exp($0))
    }
    if isLowest { return Double.exp(logarithm) }
    return Double.exp(
      Self.zero(near: logarithm) { x in
        // With `ε = δ σ²`: the change with the noise at a fixed `ε`, and that of `ε` with the noise.
        let noise = Double.exp(x)
        return (residuals.squaredError / (noise * noise) + priorPrecision * squaredNorm) - residuals.count
          + 2 * derivative(priorPrecision: priorPrecision, noise: noise)
      })
  }

  /// Where a falling derivative is zero, near a highest point.
  ///
  /// Values near a maximum differ by less than rounding long before its place does, and rows in another order would
  /// move it.
  private static func zero(near point: Double, _ derivative: (Double) -> Double) -> Double {
    var reach = 1e-4
    while !(derivative(point - reach) > 0 && derivative(point + reach) < 0) {
      reach *= 4
      // A maximum without a change of sign is flat to rounding.
      if reach > 1 { return point }
    }
    var (low, high) = (point - reach, point + reach)
    for _ in 0..<60 {
      let middle = (low + high) / 2
      if derivative(middle) > 0 { low = middle } else { high = middle }
    }
    return (low + high) / 2
  }

  /// Why there is no noise to learn.
  static let noResiduals =
    "The noise cannot be learned: the network meets every training target exactly; give it with --noise."

  private static func requireNorm(_ squaredNorm: Double) throws(NumericalError) {
    guard squaredNorm > 0, squaredNorm.isFinite else {
      throw NumericalError(
        .notFinite,
        "The marginal likelihood has no maximum: the squared distance of the head's weights from the prior's mean is "
          + "\(squaredNorm). Choose the prior precision by validation, or give one.")
    }
  }

  /// The highest point of a function on some decades below a bound, in natural logarithms, and whether it is the
  /// first of them.
  static func highestPoint<Failure: Error>(
    below bound: Double, decades: Int, pointsPerDecade: Int = 8,
    _ value: (Double) throws(Failure) -> Double
  ) throws(Failure) -> (point: Double, isLowest: Bool) {
    let last = decades * pointsPerDecade
    let spacing = Double.log(10) / Double(pointsPerDecade)
    let grid = (0...last).map { bound - Double(last - $0) * spacing }
    var values: [Double] = []
    for point in grid { values.append(try value(point)) }
    var best = 0
    for index in values.indices where values[index] > values[best] { best = index }
    var (low, high) = (grid[max(0, best - 1)], grid[min(last, best + 1)])
    let ratio = (Double.sqrt(5) - 1) / 2
    var (left, right) = (high - ratio * (high - low), low + ratio * (high - low))
    var (leftValue, rightValue) = (try value(left), try value(right))
    // Closer to the maximum values differ by little more than rounding.
    while high - low > 1e-5 {
      if leftValue < rightValue {
        (low, left, leftValue) = (left, right, rightValue)
        right = low + ratio * (high - low)
        rightValue = try value(right)
      } else {
        (high, right, rightValue) = (right, left, leftValue)
        left = high - ratio * (high - low)
        leftValue = try value(left)
      }
    }
    return ((low + high) / 2, best == 0)
  }

  /// The prior precision after steps of Adam on its logarithm, as laplace-torch chooses it.
  ///
  /// It stops before the maximum; use `maximum()` unless a value of that library is to be reproduced.
  ///
  /// - Source: defaults of laplace-torch 0.3.
  public func priorPrecisionByAdam(
    stepCount: Int = 100, stepSize: Double = 0.1, initial: Double = 1, noise: Double = 1
  ) -> Double {
    var logarithm = [Tensor(shape: [1], [Double.log(initial)])]
    var adam = Adam<Double>()
    for _ in 0..<stepCount {
      let gradient = -derivative(priorPrecision: Double.exp(logarithm[0][0]), noise: noise)
      adam.update(&logarithm, gradients: [Tensor(shape: [1], [gradient])], learningRate: stepSize)
    }
    return Double.exp(logarithm[0][0])
  }
}

/// How far Gaussian training targets lie from the network's outputs.
package struct GaussianResiduals: Sendable, Equatable {
  /// `Σ (t − μ)² / s²`, `s` the row's noise in units of the common one.
  var squaredError: Double
  /// Rows times outputs.
  var count: Double
  /// `Σ log s` over rows and outputs.
  var logNoise: Double

  package init(_ sums: Curvature, outputCount: Int) {
    squaredError = sums[.squaredError]
    count = sums[.rowCount] * Double(outputCount)
    logNoise = sums[.logNoise] * Double(outputCount)
  }

  /// `Σ log N(t; μ, σ² s²)`.
  func logLikelihood(noise: Double) -> Double {
    -squaredError / (2 * noise * noise) - count * Double.log(noise * (2 * Double.pi).squareRoot()) - logNoise
  }
}
