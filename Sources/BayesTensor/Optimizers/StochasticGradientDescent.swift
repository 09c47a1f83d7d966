/// Gradient descent, with momentum where there is one.
///
/// With gradient `g` (`λ θ` added for L2 decay), rate `η` and momentum `μ`:
///
///     v ← μ v + g
///     θ ← θ − η v              classical
///     θ ← θ − η (g + μ v)      Nesterov
///
/// The velocity starts at zero and is not damped, as in PyTorch.
///
/// - Source: Sutskever et al. 2013; the form is PyTorch's, in which a new rate takes effect at once.
public struct StochasticGradientDescent<Scalar: TensorScalar>: Optimizer {
  /// What remains of a step in the next.
  public enum Momentum: Hashable, Sendable {
    case none
    case classical(Double)
    case nesterov(Double)
  }

  public let momentum: Momentum
  public let weightDecay: WeightDecay
  /// One tensor a parameter; empty before the first step and without momentum.
  private var velocities: [Tensor<Scalar>] = []

  /// - Precondition: a momentum is in `0..<1`, a weight decay finite and not negative.
  public init(momentum: Momentum = .none, weightDecay: WeightDecay = .none) {
    switch momentum {
    case .none: break
    case .classical(let value), .nesterov(let value):
      precondition((0..<1).contains(value), "A momentum is at least zero and below one; got \(value).")
    }
    weightDecay.requireValid()
    self.momentum = momentum
    self.weightDecay = weightDecay
  }

  /// The velocities.
  ///
  /// - Precondition: there is one moment at most.
  public var memory: OptimizerMemory<Scalar> {
    get { OptimizerMemory(moments: velocities.isEmpty ? [] : [velocities]) }
    set {
      precondition(
        newValue.moments.count <= 1,
        "Gradient descent remembers velocities alone; got \(newValue.moments.count) moments.")
      velocities = newValue.moments.first ?? []
    }
  }

  @specialized(where Scalar == Float)
  @specialized(where Scalar == Double)
  public mutating func update(
    _ parameters: inout [Tensor<Scalar>], gradients: [Tensor<Scalar>], learningRate: Double
  ) {
    let decay = weightDecay.factors(learningRate: learningRate)
    let (gradientFactor, parameterFactor) = (Scalar(decay.gradient), Scalar(decay.parameter))
    let rate = Scalar(learningRate)
    // The step is `rate · (ahead · g + behind · v)`.
    let remaining: Scalar
    let (ahead, behind): (Scalar, Scalar)
    switch momentum {
    case .none:
      requireFit(parameters, gradients: gradients, memory: parameters, learningRate: learningRate)
      for index in parameters.indices {
        parameters[index].withMutableSpan { parameter in
          gradients[index].withSpan { gradient in
            for position in 0..<parameter.count {
              let g = gradient[position] + gradientFactor * parameter[position]
              parameter[position] = parameterFactor * parameter[position] - rate * g
            }
          }
        }
      }
      return
    case .classical(let value): (remaining, ahead, behind) = (Scalar(value), 0, 1)
    case .nesterov(let value): (remaining, ahead, behind) = (Scalar(value), 1, Scalar(value))
    }
    if velocities.isEmpty { velocities = parameters.map { Tensor(zeros: $0.shape) } }
    requireFit(parameters, gradients: gradients, memory: velocities, learningRate: learningRate)
    for index in parameters.indices {
      parameters[index].withMutableSpan { parameter in
        velocities[index].withMutableSpan { velocity in
          gradients[index].withSpan { gradient in
            for position in 0..<parameter.count {
              let g = gradient[position] + gradientFactor * parameter[position]
              let v = (remaining * velocity[position] + g).flushed
              velocity[position] = v
              parameter[position] = parameterFactor * parameter[position] - rate * (ahead * g + behind * v)
            }
          }
        }
      }
    }
  }
}
