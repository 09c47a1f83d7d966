public import BayesNetwork
import BayesTensor

/// Makes chosen layers of a trained network Bayesian by a Markov chain over their weights, under a prior that removes groups of
/// them; the network's other weights stay as trained.
///
/// The potential is the mean loss over the rows, the sum of all exits' where no exit is chosen, with a quadratic penalty of
/// each weight, which the prior gives its group; a chain at the temperature `λ / rows` draws from the posterior for `λ = 1`.
/// Moved are a layer's weight and bias, and scale and offset of the batch normalisation behind it, whose statistics are
/// estimated anew where weights were removed, and for networks that are kept.  Penalties pull biases, scales and offsets towards what was trained.
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
    /// Draws of a normal distribution with the mean and the variances of weights along descent at one rate: a control.
    ///
    /// - Source: Maddox et al. 2019, arXiv:1902.02476 (SWAG-Diagonal).
    case swagDiagonal = "swag-diagonal"
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
  public var chainCount = 1
  /// `λ`; nothing to `asReleased`, `descent` and `swagDiagonal`.
  public var temperatureShare = 1.0
  /// `S` of `asReleased`; one over the rows for `nil`.
  public var noiseLevel: Double?
  /// What is left of a step's momentum in the next.
  public var momentum = 0.1
  /// `h` at the beginning of a cycle; for `nil` a quarter of what descent on the trained network's loss bears, see
  /// `CurvatureProbe`.
  public var learningRate: Double?
  public var cycleCount = 4
  /// Epochs of a cycle.
  public var cycleEpochCount = 4
  /// Networks kept of each cycle, after each of its last epochs.
  public var snapshotCount = 3
  /// Rows a step.
  public var batchRowCount = 128
  /// Rows from which statistics of batch normalisation are estimated for each network that is kept; none for zero.
  public var statisticsRowCount = 2048
  public var centre = Centre.checkpoint
  /// `ε₁`, and the penalty of all where nothing is selected; for `nil` that of a layer whose trained weights are as wide as
  /// the slab, `1 / (rows · mean square)`.
  public var slab: Double?
  /// `ε₀`; ten times the slab's for `nil`.
  public var spike: Double?
  /// By what groups are selected; nothing is for `nil`.
  public var selection: SelectionRule?
  /// The share of the chosen layers' weights that are to be removed, those of the smallest groups, in place of the groups
  /// that are rather in the spike.
  public var sparsity: Double?
  /// Epochs before groups are looked at.
  public var warmUpEpochCount = 0
  /// Whether thresholds remove groups after every epoch, as released, and not in the last third of each cycle alone.
  public var removesAtAnyEpoch = false
  /// `θ` to begin with.
  public var inclusion = 0.5
  /// Whether `θ` follows the responsibilities.
  public var learnsInclusion = false
  /// The groups of convolutions and of dense layers.
  public var convolutionGrouping = WeightGrouping.filters
  public var denseGrouping = WeightGrouping.inputs
  /// Whether weights of the first layer and of those that give logits may be removed.
  public var removesEnds = false
  /// The deviation of real targets around the outputs; for `nil` the root mean square of what the trained network is off.
  public var noise: Double?

  public init() {}

  public var epochCount: Int { cycleCount * cycleEpochCount }
  /// The networks that are kept where nothing is removed.
  public var networkCount: Int { chainCount * cycleCount * min(snapshotCount, cycleEpochCount) }
  /// Steps between looks at the groups by responsibilities.
  static let selectionInterval = 8

  /// The prior of a layer's groups.
  ///
  /// - Parameter weights: the trained ones.
  func prior(of weights: Span<Float>, rowCount: Int) -> SpikeAndSlabPrior {
    var squares = 0.0
    for index in weights.indices { squares += Double(weights[index]) * Double(weights[index]) }
    let meanSquare = max(1e-12, squares / Double(max(1, weights.count)))
    let slab = slab ?? spike.map { $0 / Self.spikeFactor } ?? 1 / (Double(rowCount) * meanSquare)
    return SpikeAndSlabPrior(spike: spike ?? Self.spikeFactor * slab, slab: slab, rowCount: rowCount)
  }

  private static let spikeFactor = 10.0
  /// Of running means of squared gradients that are learned in the first cycle.
  private static let adaptationDecay = 0.99

  /// The kernel of these settings.
  ///
  /// - Parameter isAdapting: whether preconditioners that stay as they are later on still learn.
  package func kernel(rowCount: Int, isAdapting: Bool = false) -> any TransitionKernel {
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
    case .scaleAdapted:
      ScaleAdaptedHamiltonianDynamics(
        temperature: temperature, friction: 1 - momentum, decay: isAdapting ? Self.adaptationDecay : 1)
    case .descent, .swagDiagonal: HamiltonianDynamics(temperature: 0, friction: 1 - momentum)
    }
  }

  /// The share of the posterior's temperature at which the chain moves at the beginning of a cycle; what the sampler's formula
  /// says, which for `asReleased` is of deviations as they are to begin with.
  ///
  /// - Parameter stepSize: at the beginning of a cycle; it matters to `asReleased` alone.
  public func effectiveTemperatureShare(stepSize: Double, rowCount: Int) -> Double {
    kernel(rowCount: rowCount).effectiveTemperature(stepSize: stepSize) * Double(rowCount)
  }

  /// Refuses settings that cannot be together.
  ///
  /// - Throws: `NetworkError` saying what to change.
  public func requireConsistency() throws(NetworkError) {
    guard temperatureShare >= 0, temperatureShare.isFinite else {
      throw NetworkError("The temperature is \(temperatureShare), and none is below zero; give one from 0 on.")
    }
    if let slab, let spike, spike <= slab {
      throw NetworkError("The spike's penalty, \(spike), must be above the slab's, \(slab); raise it, or lower the other.")
    }
    if let noise, !(noise > 0 && noise.isFinite) {
      throw NetworkError("The deviation of targets is \(noise), and none is below or at zero; give one above.")
    }
    guard let selection else {
      guard sparsity == nil else { throw NetworkError("A sparsity is met by removing groups, and none are selected.") }
      return
    }
    if case .magnitude = selection, sparsity == nil {
      throw NetworkError("The smallest groups are to be removed, and it is not said how many; give a sparsity.")
    }
    guard centre == .zero else {
      throw NetworkError(
        "Groups are selected by how far they are from zero, and the penalty pulls towards the checkpoint; centre it at zero.")
    }
    var lastEpoch = epochCount
    if removesAtCycleEnds { lastEpoch = removalCycleCount * cycleEpochCount }
    guard warmUpEpochCount < lastEpoch else {
      throw NetworkError(
        "Nothing would be removed: the warm-up takes \(warmUpEpochCount) epoch(s), and the last removal is after \(lastEpoch) of "
          + "\(epochCount); shorten the warm-up, or add cycles.")
    }
    if let sparsity, case .thresholds = selection {
      throw NetworkError("Thresholds are given, and a sparsity of \(sparsity) asks for others; leave one of them out.")
    }
  }
}

extension SpikeAndSlabInference {
  /// What a long-lived force moves a weight by in a step, for a step size and a preconditioner of one.
  var drift: Double {
    switch sampler {
    // Deviations begin at a half.
    case .asReleased, .tempered: 0.5 / (1 - momentum)
    case .hamiltonian, .scaleAdapted, .descent, .swagDiagonal: 1 / (1 - momentum)
    case .langevin, .preconditionedLangevin: 1
    }
  }

  /// The cycles at whose ends groups are removed: the first half of all, so that what is left recovers in the others.
  var removalCycleCount: Int { min((cycleCount + 1) / 2, cycleCount - 1) }

  /// Whether groups are removed at the ends of cycles, and not by thresholds.
  var removesAtCycleEnds: Bool {
    switch selection {
    case .responsibilities, .magnitude: true
    case .thresholds, nil: false
    }
  }

  /// Whether steps are divided by the size of each weight's gradients.
  var isPreconditioned: Bool { sampler == .preconditionedLangevin || sampler == .scaleAdapted }
}
