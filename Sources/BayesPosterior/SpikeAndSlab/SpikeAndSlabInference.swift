import BayesTensor

/// Makes chosen layers of a trained network Bayesian by a Markov chain over their weights, under a prior that removes groups of
/// them; the network's other weights stay as trained.
///
/// The potential is the mean loss over the rows, the sum of all exits' where no exit is chosen, with a quadratic penalty of
/// each weight, which the prior gives its group; a chain at the temperature `λ / rows` draws from the posterior for `λ = 1`.
/// Rates fall along half a cosine in every cycle, at whose end networks are kept.
///
/// - Source: Ke and Fan 2022, arXiv:2210.12957; cycles: Zhang et al. 2020, arXiv:1902.03932.
public struct SpikeAndSlabInference: Hashable, Sendable {
  /// How weights move.
  public enum Sampler: String, CaseIterable, Sendable {
    /// `AdaptiveVariationalDynamics` as its authors released it: in effect close to no noise.
    case asReleased = "as-released"
    /// The same with noise by the temperature.
    case tempered
    /// `LangevinDynamics`
    case langevin
    /// `PreconditionedLangevinDynamics`
    case preconditionedLangevin = "preconditioned-langevin"
    /// `HamiltonianDynamics`
    case hamiltonian
    /// `ScaleAdaptedHamiltonianDynamics`
    case scaleAdapted = "scale-adapted"
    /// Descent with momentum, without noise and preconditioner: a control.
    case descent
  }

  /// What penalties pull weights towards.
  public enum Centre: String, CaseIterable, Sendable {
    case zero
    /// The trained weights.
    case checkpoint
  }

  public var sampler = Sampler.tempered
  /// Convolution or dense layers by name; all on the way for `nil`.
  public var layerNames: [String]?
  /// The exit whose likelihood is the data term; all for `nil`.
  public var exitIndex: Int?
  /// `λ`; nothing to `asReleased` and `descent`.
  public var temperatureShare = 1.0
  /// `S` of `asReleased`; one over the rows for `nil`.
  public var noiseLevel: Double?
  /// What is left of a step's momentum in the next.
  public var momentum = 0.1
  /// `h` at the beginning of a cycle.
  public var learningRate = 0.01
  public var cycleCount = 4
  /// Epochs of a cycle.
  public var cycleEpochCount = 4
  /// Networks kept of each cycle, after each of its last epochs.
  public var snapshotCount = 3
  /// Rows a step.
  public var batchRowCount = 128
  public var centre = Centre.checkpoint
  /// `ε₁`, and the penalty of all where nothing is selected.
  public var slab = 5e-4
  /// `ε₀`
  public var spike = 1e-3
  /// By what groups are selected; nothing is for `nil`.
  public var selection: SelectionRule?
  /// Epochs before groups are looked at.
  public var warmUpEpochCount = 0
  /// `θ` to begin with.
  public var inclusion = 0.5
  /// Whether `θ` follows the responsibilities.
  public var learnsInclusion = false
  /// The groups of convolutions and of dense layers.
  public var convolutionGrouping = WeightGrouping.filters
  public var denseGrouping = WeightGrouping.inputs
  /// Whether weights of the first layer and of those that give logits may be removed.
  public var removesEnds = false

  public init() {}

  public var epochCount: Int { cycleCount * cycleEpochCount }

  /// The kernel of these settings.
  package func kernel(rowCount: Int) -> any TransitionKernel {
    let temperature = temperatureShare / Double(rowCount)
    return switch sampler {
    case .asReleased:
      AdaptiveVariationalDynamics(
        mode: .asReleased(noiseLevel: noiseLevel ?? 1 / Double(rowCount)), rowCount: rowCount, momentum: momentum)
    case .tempered:
      AdaptiveVariationalDynamics(mode: .tempered(temperature: temperature), rowCount: rowCount, momentum: momentum)
    case .langevin: LangevinDynamics(temperature: temperature)
    case .preconditionedLangevin: PreconditionedLangevinDynamics(temperature: temperature)
    case .hamiltonian: HamiltonianDynamics(temperature: temperature, friction: 1 - momentum)
    case .scaleAdapted: ScaleAdaptedHamiltonianDynamics(temperature: temperature, friction: 1 - momentum)
    case .descent: HamiltonianDynamics(temperature: 0, friction: 1 - momentum)
    }
  }

  /// The share of the posterior's temperature at which the chain moves at the beginning of a cycle; what the sampler's formula
  /// says, which for `asReleased` is of deviations as they are to begin with.
  public func effectiveTemperatureShare(rowCount: Int) -> Double {
    kernel(rowCount: rowCount).effectiveTemperature(stepSize: learningRate) * Double(rowCount)
  }
}
