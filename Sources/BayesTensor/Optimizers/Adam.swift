import RealModule

/// Gradient descent with steps scaled by running moments of each weight's gradient.
///
/// With gradient `g` (`λ θ` added for L2 decay), rate `η` and step `t` from one:
///
///     m ← β₁ m + (1 − β₁) g,      s ← β₂ s + (1 − β₂) g²
///     θ ← θ − η · m / (1 − β₁ᵗ) / ( √(s / (1 − β₂ᵗ)) + ε )
///
/// With decoupled decay this is AdamW.
///
/// - Source: Kingma and Ba 2015, arXiv:1412.6980; `ε` stands outside the corrected root, as in PyTorch.
public struct Adam<Scalar: TensorScalar>: Optimizer {
  /// What remains of the mean a step, `β₁`.
  public let meanDecay: Double
  /// What remains of the mean square a step, `β₂`.
  public let squareDecay: Double
  public let epsilon: Double
  public let weightDecay: WeightDecay
  /// The number of steps made.
  public private(set) var stepCount = 0
  private var means: [Tensor<Scalar>] = []
  private var squares: [Tensor<Scalar>] = []

  /// - Precondition: the decays are in `0..<1`, `epsilon` positive and finite, a weight decay finite and
  ///   not negative.
  public init(
    meanDecay: Double = 0.9, squareDecay: Double = 0.999, epsilon: Double = 1e-8,
    weightDecay: WeightDecay = .none
  ) {
    precondition(
      (0..<1).contains(meanDecay) && (0..<1).contains(squareDecay),
      "The decays of Adam are at least zero and below one; got \(meanDecay) and \(squareDecay).")
    precondition(epsilon > 0 && epsilon.isFinite, "Adam's epsilon is positive and finite; got \(epsilon).")
    weightDecay.requireValid()
    self.meanDecay = meanDecay
    self.squareDecay = squareDecay
    self.epsilon = epsilon
    self.weightDecay = weightDecay
  }

  /// The means and mean squares of the gradients.
  ///
  /// - Precondition: there are none of both, or as many of one as of the other.
  public var memory: OptimizerMemory<Scalar> {
    get { OptimizerMemory(stepCount: stepCount, moments: means.isEmpty ? [] : [means, squares]) }
    set {
      precondition(
        newValue.moments.isEmpty || newValue.moments.count == 2,
        "Adam remembers means and squares; got \(newValue.moments.count) moment(s).")
      stepCount = newValue.stepCount
      means = newValue.moments.first ?? []
      squares = newValue.moments.last ?? []
    }
  }

  @specialized(where Scalar == Float)
  @specialized(where Scalar == Double)
  public mutating func update(
    _ parameters: inout [Tensor<Scalar>], gradients: [Tensor<Scalar>], learningRate: Double
  ) {
    update(&parameters, gradients: gradients, learningRate: learningRate, factors: [])
  }

  /// Updates parameters of which some learn at other rates.
  ///
  /// - Parameter factors: what the rate of each tensor is multiplied by; ones where there are none.
  /// - Precondition: as the other, and there is a factor a tensor, or none.
  @specialized(where Scalar == Float)
  @specialized(where Scalar == Double)
  public mutating func update(
    _ parameters: inout [Tensor<Scalar>], gradients: [Tensor<Scalar>], learningRate: Double, factors: [Double]
  ) {
    precondition(
      [0, parameters.count].contains(factors.count), "There is a factor a tensor, \(parameters.count); got \(factors.count).")
    if means.isEmpty {
      means = parameters.map { Tensor(zeros: $0.shape) }
      squares = means
    }
    requireFit(parameters, gradients: gradients, memory: means, learningRate: learningRate)
    stepCount += 1
    let (meanRemaining, meanNew) = (Scalar(meanDecay), Scalar(1 - meanDecay))
    let (squareRemaining, squareNew) = (Scalar(squareDecay), Scalar(1 - squareDecay))
    let rootFactor = Scalar(1 / (1 - Double.pow(squareDecay, stepCount)).squareRoot())
    let floor = Scalar(epsilon)
    for index in parameters.indices {
      let own = factors.isEmpty ? learningRate : factors[index] * learningRate
      let decay = weightDecay.factors(learningRate: own)
      let (gradientFactor, parameterFactor) = (Scalar(decay.gradient), Scalar(decay.parameter))
      let rate = Scalar(own / (1 - Double.pow(meanDecay, stepCount)))
      parameters[index].withMutableSpan { parameter in
        means[index].withMutableSpan { mean in
          squares[index].withMutableSpan { square in
            gradients[index].withSpan { gradient in
              for position in 0..<parameter.count {
                let g = gradient[position] + gradientFactor * parameter[position]
                let m = (meanRemaining * mean[position] + meanNew * g).flushed
                let s = (squareRemaining * square[position] + squareNew * g * g).flushed
                mean[position] = m
                square[position] = s
                // The magnitude is the square itself; it tells the compiler that no root of a negative
                // number needs reporting, without which the loop is not vectorised.
                parameter[position] =
                  parameterFactor * parameter[position] - rate * m / (s.magnitude.squareRoot() * rootFactor + floor)
              }
            }
          }
        }
      }
    }
  }
}
