import BayesTensor

/// Steps with momentum, friction and noise (SGHMC).
///
///     m ← (1 − α) m − h ∇F + √(2 (α − β) h T) e
///     w ← w + m
///
/// - Source: Chen, Fox and Guestrin 2014, arXiv:1402.4102; here in the units of a mean loss.
public struct HamiltonianDynamics: TransitionKernel {
  public static let memory: ChainMemory = .momentum

  /// `T`; zero for none.
  public let temperature: Double
  /// `α`
  public let friction: Double
  /// `β`: the share of the friction that the gradients' own noise makes up for.
  public let gradientNoise: Double

  /// - Precondition: the temperature is finite and not negative, the friction in `0...1` and above zero, the gradients' noise
  ///   from zero to it.
  public init(temperature: Double, friction: Double = 0.1, gradientNoise: Double = 0) {
    requireTemperature(temperature)
    requireFriction(friction)
    precondition(
      (0...friction).contains(gradientNoise), "The noise of gradients is from zero to the friction; got \(gradientNoise).")
    (self.temperature, self.friction, self.gradientNoise) = (temperature, friction, gradientNoise)
  }

  public struct Constants: Sendable {
    fileprivate var remaining, rate, deviation: Float
  }

  public func constants(stepSize: Double) -> Constants {
    Constants(
      remaining: Float(1 - friction), rate: Float(stepSize),
      deviation: Float((2 * (friction - gradientNoise) * stepSize * temperature).squareRoot()))
  }

  @inline(__always)
  public func move(
    _ weight: inout ChainWeight, gradient: Float, penalty: (strength: Float, centre: Float), noise: Float,
    _ constants: Constants
  ) {
    let force = gradient + penalty.strength * (weight.position - penalty.centre)
    weight.momentum =
      (constants.remaining * weight.momentum - constants.rate * force + constants.deviation * noise).flushed
    weight.position += weight.momentum
  }

  public func effectiveTemperature(stepSize: Double) -> Double {
    temperature * (friction - gradientNoise) / friction
  }
}

/// Steps with momentum in the scale of each weight's gradients, whose own noise is taken off (scale-adapted SGHMC).
///
///     V ← a V + (1 − a) g²,   M = 1 / (δ + √V)
///     m ← (1 − α) m − h M ∇F + √max(0, 2 α h M T − (h M)² V) e
///     w ← w + m
///
/// `V` stands for the variance of a gradient of few rows.  It is learned in a burn-in and then left as it is: give the kernel
/// a decay of one from there on.
///
/// - Source: Springenberg et al. 2016, *Bayesian optimization with robust Bayesian neural networks*; here in the units of a
///   mean loss, where the original's `h⁴` is `(h M)² V`.
public struct ScaleAdaptedHamiltonianDynamics: TransitionKernel {
  public static let memory: ChainMemory = [.momentum, .scale]

  /// `T`; zero for none.
  public let temperature: Double
  /// `α`
  public let friction: Double
  /// `a`; one leaves `V` as it is.
  public let decay: Double
  /// `δ`
  public let floor: Double

  /// - Precondition: the temperature is finite and not negative, the friction in `0...1` and above zero, the decay in `0...1`,
  ///   the floor positive.
  public init(temperature: Double, friction: Double = 0.1, decay: Double = 0.99, floor: Double = 1e-5) {
    requireTemperature(temperature)
    requireFriction(friction)
    requireScale(decay: decay, floor: floor)
    (self.temperature, self.friction, self.decay, self.floor) = (temperature, friction, decay, floor)
  }

  public struct Constants: Sendable {
    fileprivate var remaining, rate, variance: Float
    fileprivate var scale: GradientScale
  }

  public func constants(stepSize: Double) -> Constants {
    Constants(
      remaining: Float(1 - friction), rate: Float(stepSize), variance: Float(2 * friction * stepSize * temperature),
      scale: GradientScale(decay: decay, floor: floor))
  }

  @inline(__always)
  public func move(
    _ weight: inout ChainWeight, gradient: Float, penalty: (strength: Float, centre: Float), noise: Float,
    _ constants: Constants
  ) {
    let scale = constants.scale.update(&weight, gradient: gradient)
    let rate = constants.rate * scale
    let variance = max(0, constants.variance * scale - rate * rate * weight.scale)
    let force = gradient + penalty.strength * (weight.position - penalty.centre)
    weight.momentum = (constants.remaining * weight.momentum - rate * force + variance.squareRoot() * noise).flushed
    weight.position += weight.momentum
  }

  public func effectiveTemperature(stepSize: Double) -> Double { temperature }
}

/// Traps frictions that are none.
func requireFriction(_ friction: Double) {
  precondition(friction > 0 && friction <= 1, "A friction is above zero and at most one; got \(friction).")
}
