public import BayesTensor
import RealModule

/// Laplace's approximation of the log marginal likelihood of a head, as a function of its prior precision.
///
///     log Z(δ) = log p(y | θ) − ½ ( log |P| − log |δ I| + δ ‖θ‖² )
///
/// where `θ` are the head's trained weights and bias, and `P` the posterior precision.
///
/// - Units: nats, summed over the training rows.
/// - Source: MacKay 1992; Immer et al. 2021, arXiv:2104.04975.
public struct MarginalLikelihood: Sendable {
  let spectrum: KroneckerSpectrum
  let logLikelihood: Double
  let squaredNorm: Double

  package init(spectrum: KroneckerSpectrum, logLikelihood: Double, squaredNorm: Double) {
    self.spectrum = spectrum
    self.logLikelihood = logLikelihood
    self.squaredNorm = squaredNorm
  }

  /// The log marginal likelihood at a prior precision.
  ///
  /// - Cost: O(features · logits).
  public func callAsFunction(priorPrecision: Double) -> Double {
    logLikelihood
      - 0.5 * (spectrum.logDeterminantRatio(priorPrecision: priorPrecision) + priorPrecision * squaredNorm)
  }

  /// The derivative with respect to the logarithm of the prior precision.
  public func derivative(priorPrecision: Double) -> Double {
    -0.5
      * (spectrum.logDeterminantRatioDerivative(priorPrecision: priorPrecision)
        + priorPrecision * squaredNorm)
  }

  /// The prior precision of the highest marginal likelihood.
  ///
  /// No maximum lies above `parameters / ‖θ‖²`, since there the fit's cost outgrows all that the
  /// determinants can give.  Twelve decades below that bound are searched, an eighth of a decade at
  /// a time, and the best of them is refined by golden-section search.
  ///
  /// - Returns: the prior precision, and whether it is the lowest that was tried, which means that
  ///   the training rows say nothing about the head.
  /// - Throws: `NumericalError.Code.notFinite` where all weights are zero, as then no prior
  ///   precision is best.
  public func maximum() throws(NumericalError) -> (priorPrecision: Double, isLowest: Bool) {
    guard squaredNorm > 0, squaredNorm.isFinite else {
      throw NumericalError(
        .notFinite,
        "The marginal likelihood has no maximum: the squared norm of the head's weights is "
          + "\(squaredNorm). Choose the prior precision by validation, or give one.")
    }
    let highest = Double.log(Double(spectrum.parameterCount) / squaredNorm)
    let spacing = Double.log(10) / 8
    let grid = (0...96).map { highest - Double(96 - $0) * spacing }
    let values = grid.map { callAsFunction(priorPrecision: Double.exp($0)) }
    var best = 0
    for index in values.indices where values[index] > values[best] { best = index }
    var (low, high) = (grid[max(0, best - 1)], grid[min(96, best + 1)])
    let ratio = (Double.sqrt(5) - 1) / 2
    var (left, right) = (high - ratio * (high - low), low + ratio * (high - low))
    var leftValue = callAsFunction(priorPrecision: Double.exp(left))
    var rightValue = callAsFunction(priorPrecision: Double.exp(right))
    // Below a relative width of 1e-8 the values differ by less than rounding.
    while high - low > 1e-8 {
      if leftValue < rightValue {
        (low, left, leftValue) = (left, right, rightValue)
        right = low + ratio * (high - low)
        rightValue = callAsFunction(priorPrecision: Double.exp(right))
      } else {
        (high, right, rightValue) = (right, left, leftValue)
        left = high - ratio * (high - low)
        leftValue = callAsFunction(priorPrecision: Double.exp(left))
      }
    }
    return (Double.exp((low + high) / 2), best == 0)
  }

  /// The prior precision after steps of Adam on its logarithm, as laplace-torch chooses it.
  ///
  /// It stops before the maximum; use `maximum()` unless a value of that library is to be reproduced.
  ///
  /// - Source: defaults of laplace-torch 0.3.
  public func priorPrecisionByAdam(
    stepCount: Int = 100, stepSize: Double = 0.1, initial: Double = 1
  ) -> Double {
    var logarithm = [Tensor(shape: [1], [Double.log(initial)])]
    var adam = Adam<Double>()
    for _ in 0..<stepCount {
      let gradient = -derivative(priorPrecision: Double.exp(logarithm[0][0]))
      adam.update(&logarithm, gradients: [Tensor(shape: [1], [gradient])], learningRate: stepSize)
    }
    return Double.exp(logarithm[0][0])
  }
}
