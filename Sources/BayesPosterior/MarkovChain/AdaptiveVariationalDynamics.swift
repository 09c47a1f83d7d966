import BayesTensor
import RealModule

/// Steps with momentum whose preconditioner is a deviation `τ` that gradient steps on an evidence bound learn (EM-MCMC).
///
///     ρ ← ρ − η ( S² C³ ε τ + S C^1.5 e′ g − 1 / (N τ) ),   τ = 1 / (1 + exp(−ρ))
///     m ← β₁ m − C² β₂ ∇F + s e
///     w ← w + τ m
///
/// with `C²` the step size, `N` rows, `e′` the noise of the step before, which the gradient belongs to, and `s` by the mode:
///
///     as released:   s = √(2 + 2 β₁²) C^1.5 S,   a chain at the temperature  τ C S² (1 + β₁²) / (1 − β₁)
///     tempered:      s = √(2 (1 − β₁) C² T / τ)  and β₂ = 1,   a chain at the temperature T, for any β₁ and τ
///
/// - Source: Ke and Fan 2022, arXiv:2210.12957, and what its authors released; the temperatures and the tempered mode are our
///   own, for small steps and a `τ` that does not move.
public struct AdaptiveVariationalDynamics: TransitionKernel {
  public static let memory: ChainMemory = [.momentum, .scale, .noise]

  /// How noise is scaled.
  public enum Mode: Sendable, Hashable {
    /// As the authors' code does, with noise of level `S` and steps of `η` for the deviations.
    case asReleased(noiseLevel: Double, scaleRate: Double = 0.1)
    /// So that small steps keep to a temperature; deviations stay as they are.
    case tempered(temperature: Double)
  }

  public let mode: Mode
  /// `β₁`
  public let momentum: Double
  /// `β₂` as released.
  public let gradientFactor: Double
  /// `N`
  public let rowCount: Int

  /// `|ρ|` stays below this, as `1 / (N τ)` grows without bounds where `τ` vanishes.
  private static let largestLogit: Float = 8

  /// - Precondition: noise, rates and temperatures are finite and not negative, the momentum is in `0..<1`, and there are rows.
  public init(mode: Mode, rowCount: Int, momentum: Double = 0.1, gradientFactor: Double = 1) {
    switch mode {
    case .asReleased(let noiseLevel, let scaleRate):
      precondition(
        [noiseLevel, scaleRate].allSatisfy { $0 >= 0 && $0.isFinite },
        "Noise and rate are finite and not negative; got \(noiseLevel) and \(scaleRate).")
    case .tempered(let temperature): requireTemperature(temperature)
    }
    precondition((0..<1).contains(momentum), "A momentum is at least zero and below one; got \(momentum).")
    precondition(rowCount > 0, "There is one row at least; got \(rowCount).")
    (self.mode, self.rowCount, self.momentum, self.gradientFactor) = (mode, rowCount, momentum, gradientFactor)
  }

  public struct Constants: Sendable {
    /// `β₁` and `C² β₂`
    fileprivate var remaining, rate: Float
    /// `s`, or `s √τ` where it depends on `τ`.
    fileprivate var deviation: Float
    fileprivate var dividesByScale: Bool
    /// What `ε τ`, `e′ g` and `1 / τ` are multiplied by in the step of `ρ`.
    fileprivate var decay, coupling, entropy: Float
  }

  public func constants(stepSize: Double) -> Constants {
    let root = stepSize.squareRoot()
    switch mode {
    case .asReleased(let level, let rate):
      return Constants(
        remaining: Float(momentum), rate: Float(stepSize * gradientFactor),
        deviation: Float((2 + 2 * momentum * momentum).squareRoot() * root * root.squareRoot() * level),
        dividesByScale: false, decay: Float(rate * level * level * stepSize * root),
        coupling: Float(rate * level * root * root.squareRoot()), entropy: Float(rate / Double(rowCount)))
    case .tempered(let temperature):
      return Constants(
        remaining: Float(momentum), rate: Float(stepSize),
        deviation: Float((2 * (1 - momentum) * stepSize * temperature).squareRoot()), dividesByScale: true, decay: 0,
        coupling: 0, entropy: 0)
    }
  }

  public func initialWeight(at position: Float, noise: (Float, Float)) -> ChainWeight {
    ChainWeight(position: position, momentum: 0.001 * noise.0, scale: 0, noise: noise.1)
  }

  @inline(__always)
  public func move(
    _ weight: inout ChainWeight, gradient: Float, penalty: (strength: Float, centre: Float), noise: Float,
    _ constants: Constants
  ) {
    var scale = 1 / (1 + Float.exp(-weight.scale))
    if !constants.dividesByScale {
      let step =
        constants.decay * penalty.strength * scale + constants.coupling * weight.noise * gradient - constants.entropy / scale
      weight.scale = min(Self.largestLogit, max(-Self.largestLogit, weight.scale - step))
      scale = 1 / (1 + Float.exp(-weight.scale))
    }
    weight.noise = noise
    let deviation = constants.dividesByScale ? constants.deviation / scale.squareRoot() : constants.deviation
    let force = gradient + penalty.strength * (weight.position - penalty.centre)
    weight.momentum =
      (constants.remaining * weight.momentum - constants.rate * force + deviation * noise).flushed
    weight.position += scale * weight.momentum
  }

  public func effectiveTemperature(stepSize: Double) -> Double {
    switch mode {
    case .asReleased(let level, _):
      0.5 * stepSize.squareRoot() * level * level * (1 + momentum * momentum) / (1 - momentum)
    case .tempered(let temperature): temperature
    }
  }
}
