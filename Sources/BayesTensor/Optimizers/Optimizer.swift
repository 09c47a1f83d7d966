/// A rule that turns gradients into steps downhill, with what it remembers of earlier steps.
///
/// An optimizer is a value: a copy of it and of the parameters goes on from where they were.
public protocol Optimizer<Scalar>: Sendable {
  associatedtype Scalar: TensorScalar

  /// Moves parameters one step against their gradients.
  ///
  /// - Parameters:
  ///   - parameters: The same tensors, in the same order and shapes, at every call.
  ///   - gradients: One a parameter, in its shape.
  ///   - learningRate: The rate of this step; see `LearningRateSchedule`.
  /// - Determinism: elements do not interact.
  /// - Precondition: the shapes are those of the first call, and the rate is finite and not negative.
  mutating func update(
    _ parameters: inout [Tensor<Scalar>], gradients: [Tensor<Scalar>], learningRate: Double)

  /// What is remembered of earlier steps: an optimizer of the same settings that is given it goes on from there.
  var memory: OptimizerMemory<Scalar> { get set }
}

/// What an optimizer remembers of earlier steps, for trainings that are interrupted.
public struct OptimizerMemory<Scalar: TensorScalar>: Sendable, Equatable {
  /// The number of steps made, where the rule depends on it.
  public var stepCount: Int
  /// Running moments, each with one tensor a parameter; none before the first step and where the rule has none.
  public var moments: [[Tensor<Scalar>]]

  public init(stepCount: Int = 0, moments: [[Tensor<Scalar>]] = []) {
    self.stepCount = stepCount
    self.moments = moments
  }
}

/// How weights are pulled towards zero while they are trained.
public enum WeightDecay: Hashable, Sendable {
  case none
  /// `λ · parameter` is added to the gradient, as the derivative of `λ/2 · ‖parameter‖²`; in an adaptive
  /// optimizer it is rescaled with the gradient.
  case l2(Double)
  /// The parameter is multiplied by `1 − rate · λ` before the step, apart from the gradient.
  ///
  /// - Source: Loshchilov and Hutter 2019, arXiv:1711.05101.
  case decoupled(Double)

  /// What is added to the gradient, and what the parameter is multiplied by, a unit of weight.
  func factors(learningRate: Double) -> (gradient: Double, parameter: Double) {
    switch self {
    case .none: (0, 1)
    case .l2(let strength): (strength, 1)
    case .decoupled(let strength): (0, 1 - learningRate * strength)
    }
  }

  func requireValid() {
    switch self {
    case .none: break
    case .l2(let strength), .decoupled(let strength):
      precondition(
        strength >= 0 && strength.isFinite, "A weight decay is finite and not negative; got \(strength).")
    }
  }
}

/// Traps where gradients or remembered tensors do not fit the parameters.
func requireFit<Scalar: TensorScalar>(
  _ parameters: [Tensor<Scalar>], gradients: [Tensor<Scalar>], memory: [Tensor<Scalar>], learningRate: Double
) {
  let shapes = parameters.map(\.shape)
  precondition(
    gradients.map(\.shape) == shapes, "Gradients of \(gradients.map(\.shape)) do not fit parameters of \(shapes).")
  precondition(
    memory.map(\.shape) == shapes,
    "The optimizer has made steps with parameters of \(memory.map(\.shape)); now they are \(shapes).")
  precondition(
    learningRate >= 0 && learningRate.isFinite, "A learning rate is finite and not negative; got \(learningRate).")
}

extension TensorScalar {
  /// Zero in place of a subnormal number.
  ///
  /// The memory of a weight whose gradient is exactly zero decays into such numbers, which are many
  /// times slower.
  @inline(__always)
  package var flushed: Self { magnitude < .leastNormalMagnitude ? 0 : self }
}
