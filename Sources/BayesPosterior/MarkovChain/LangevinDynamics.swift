/// Gradient steps with noise (SGLD).
///
///     w ← w − h ∇F + √(2 h T) e
///
/// - Source: Welling and Teh 2011; here in the units of a mean loss.
public struct LangevinDynamics: TransitionKernel {
  public static let memory: ChainMemory = []

  /// `T`; zero for none.
  public let temperature: Double

  /// - Precondition: the temperature is finite and not negative.
  public init(temperature: Double) {
    requireTemperature(temperature)
    self.temperature = temperature
  }

  public func constants(stepSize: Double) -> (rate: Float, deviation: Float) {
    (Float(stepSize), Float((2 * stepSize * temperature).squareRoot()))
  }

  @inline(__always)
  public func move(
    _ weight: inout ChainWeight, gradient: Float, penalty: (strength: Float, centre: Float), noise: Float,
    _ constants: (rate: Float, deviation: Float)
  ) {
    let force = gradient + penalty.strength * (weight.position - penalty.centre)
    weight.position += constants.deviation * noise - constants.rate * force
  }

  public func effectiveTemperature(stepSize: Double) -> Double { temperature }
}

/// Gradient steps with noise, both scaled by the size of each weight's gradients (pSGLD).
///
///     V ← a V + (1 − a) g²,   P = 1 / (δ + √V)
///     w ← w − h P ∇F + √(2 h P T) e
///
/// The term by which the change of `P` would move the chain is left out, as usual.
///
/// - Source: Li et al. 2016, arXiv:1512.07666; here in the units of a mean loss.
public struct PreconditionedLangevinDynamics: TransitionKernel {
  public static let memory: ChainMemory = .scale

  /// `T`; zero for none.
  public let temperature: Double
  /// `a`; one leaves `V` as it is.
  public let decay: Double
  /// `δ`
  public let floor: Double

  /// - Precondition: the temperature is finite and not negative, the decay in `0...1`, the floor positive.
  public init(temperature: Double, decay: Double = 0.99, floor: Double = 1e-5) {
    requireTemperature(temperature)
    requireScale(decay: decay, floor: floor)
    (self.temperature, self.decay, self.floor) = (temperature, decay, floor)
  }

  public struct Constants: Sendable {
    fileprivate var rate, variance: Float
    fileprivate var scale: GradientScale
  }

  public func constants(stepSize: Double) -> Constants {
    Constants(
      rate: Float(stepSize), variance: Float(2 * stepSize * temperature), scale: GradientScale(decay: decay, floor: floor))
  }

  @inline(__always)
  public func move(
    _ weight: inout ChainWeight, gradient: Float, penalty: (strength: Float, centre: Float), noise: Float,
    _ constants: Constants
  ) {
    let scale = constants.scale.update(&weight, gradient: gradient)
    let force = gradient + penalty.strength * (weight.position - penalty.centre)
    weight.position += (constants.variance * scale).squareRoot() * noise - constants.rate * scale * force
  }

  public func effectiveTemperature(stepSize: Double) -> Double { temperature }
}

/// Traps temperatures that are none.
func requireTemperature(_ temperature: Double) {
  precondition(
    temperature >= 0 && temperature.isFinite, "A temperature is finite and not negative; got \(temperature).")
}

/// A running mean of a weight's squared gradients, by whose root its steps are divided.
///
///     V ← a V + (1 − a) g²,   M = 1 / (δ + √V)
struct GradientScale: Sendable {
  private let decay, floor: Float

  /// - Parameters:
  ///   - decay: `a`; one leaves `V` as it is.
  ///   - floor: `δ`
  init(decay: Double, floor: Double) { (self.decay, self.floor) = (Float(decay), Float(floor)) }

  /// Learns from a gradient.
  ///
  /// - Returns: `M`
  @inline(__always)
  func update(_ weight: inout ChainWeight, gradient: Float) -> Float {
    weight.scale = decay * weight.scale + (1 - decay) * gradient * gradient
    return 1 / (floor + weight.scale.squareRoot())
  }
}

/// Traps running means of squared gradients that are none.
func requireScale(decay: Double, floor: Double) {
  precondition((0...1).contains(decay), "A decay is from zero to one; got \(decay).")
  precondition(floor > 0 && floor.isFinite, "A floor is finite and above zero; got \(floor).")
}
