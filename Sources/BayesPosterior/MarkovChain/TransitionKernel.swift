/// One weight of a chain, and what a kernel remembers of it.
public struct ChainWeight: Sendable, Equatable {
  public var position: Float
  public var momentum: Float
  /// What a preconditioner is learned in: a running mean of squared gradients, or a logit.
  public var scale: Float
  /// The last step's noise, a standard normal number.
  public var noise: Float

  public init(position: Float, momentum: Float = 0, scale: Float = 0, noise: Float = 0) {
    (self.position, self.momentum, self.scale, self.noise) = (position, momentum, scale, noise)
  }
}

/// What a kernel remembers of every weight beside its position.
public struct ChainMemory: OptionSet, Sendable, Hashable {
  public let rawValue: Int

  public init(rawValue: Int) { self.rawValue = rawValue }

  public static let momentum = ChainMemory(rawValue: 1)
  public static let scale = ChainMemory(rawValue: 2)
  public static let noise = ChainMemory(rawValue: 4)
}

/// One step of a Markov chain over weights, each of which moves by itself.
///
/// The potential is a mean loss over rows with its penalties, `F(w) = f(w) + ½ Σ ε (w − c)²`; at temperature `T` the chain is
/// to have the density `exp(−F / T)` up to a constant, which for `T = 1 / rows` is the posterior.
public protocol TransitionKernel: Sendable {
  /// What is the same for all weights in a step.
  associatedtype Constants: Sendable

  static var memory: ChainMemory { get }

  /// - Parameter stepSize: `h`, what a gradient is multiplied by at the least.
  func constants(stepSize: Double) -> Constants

  /// What a weight is to begin with.
  ///
  /// - Parameter noise: two standard normal numbers.
  func initialWeight(at position: Float, noise: (Float, Float)) -> ChainWeight

  /// Moves a weight.
  ///
  /// - Parameters:
  ///   - gradient: of the mean loss.
  ///   - penalty: `ε`, and the centre `c` that it pulls towards.
  ///   - noise: a standard normal number.
  func move(
    _ weight: inout ChainWeight, gradient: Float, penalty: (strength: Float, centre: Float), noise: Float,
    _ constants: Constants)

  /// The temperature at which a chain of small steps stays, with what is learned of the weights' scales as it is to begin
  /// with; zero without noise.
  func effectiveTemperature(stepSize: Double) -> Double
}

extension TransitionKernel {
  public func initialWeight(at position: Float, noise: (Float, Float)) -> ChainWeight { ChainWeight(position: position) }
}
