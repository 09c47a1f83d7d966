public import ArgumentParser
import Bayesify

/// How chains over weights run, and what they remove.
struct SpikeAndSlabOptions: ParsableArguments {
  enum Selection: String, CaseIterable, ExpressibleByArgument {
    case none
    case responsibilities
    case thresholds
    case magnitude
  }

  @Option(help: "Convolution and dense layers by name, with commas between. (default: all on the way)")
  var layers: String?

  @Option(
    parsing: .unconditional, help: "The exit whose likelihood is the data term, from 0. (default: all, summed)",
    transform: wholeNumber(0 ... .max))
  var exit: Int?

  @Option(
    help: """
      How weights move: tempered or as-released (EM-MCMC), langevin (SGLD), preconditioned-langevin (pSGLD), hamiltonian \
      (SGHMC), or scale-adapted; and controls: descent, without noise and preconditioner, and swag-diagonal, draws of a \
      normal distribution with the mean and the variances of weights along descent at one rate.
      """)
  var sampler = SpikeAndSlabInference.Sampler.tempered

  @Option(
    parsing: .unconditional,
    help: "λ, as a share of the posterior's temperature; below 1 the posterior is colder. (default: 1)",
    transform: number("a number from 0 on: no temperature is below zero") { $0 >= 0 })
  var temperature: Double?

  @Option(
    parsing: .unconditional, help: "The noise level of as-released. (default: 1 / rows)",
    transform: number("a number from 0 on") { $0 >= 0 })
  var noiseLevel: Double?

  @Option(
    parsing: .unconditional, help: "What is left of a step's momentum in the next. (default: 0.1)",
    transform: number("a number from 0 on and below 1") { $0 >= 0 && $0 < 1 })
  var momentum: Double?

  @Option(
    parsing: .unconditional,
    help: "Of steps at the beginning of a cycle. (default: a quarter of what descent bears, from the loss's largest curvature)",
    transform: number("a number above 0") { $0 > 0 })
  var learningRate: Double?

  @Option(parsing: .unconditional, help: "Chains. (default: 1)", transform: wholeNumber(1...1000))
  var chains = 1

  @Option(
    parsing: .unconditional, help: "Cycles, in each of which rates fall. (default: 4)", transform: wholeNumber(1...10_000))
  var cycles = 4

  @Option(
    parsing: .unconditional, help: "Passes over the training rows in each cycle. (default: 4)",
    transform: wholeNumber(1...100_000))
  var cycleEpochs = 4

  @Option(
    parsing: .unconditional, help: "Networks kept of each cycle, one after each of its last epochs. (default: 3)",
    transform: wholeNumber(1...1000))
  var snapshots = 3

  @Option(parsing: .unconditional, help: "Rows a step. (default: 128)", transform: wholeNumber(1...1_000_000))
  var batchRows = 128

  @Option(help: "What penalties pull weights towards: zero, or the checkpoint. (default: checkpoint, zero with --select)")
  var centre: SpikeAndSlabInference.Centre?

  @Option(
    parsing: .unconditional,
    help: "ε₁, the penalty of groups in the slab. (default: of each layer 1 / (rows · mean square of its weights))",
    transform: number("a number above 0") { $0 > 0 })
  var slab: Double?

  @Option(
    parsing: .unconditional, help: "ε₀, that of groups in the spike. (default: ten times the slab's)",
    transform: number("a number above 0") { $0 > 0 })
  var spike: Double?

  @Option(
    help: """
      How groups are put into the slab or the spike: none, responsibilities (running means), or thresholds (as released); or \
      magnitude, a control: no spike, and the smallest groups are removed. (default: none, responsibilities with --sparsity)
      """)
  var select: Selection?

  @Option(
    parsing: .unconditional,
    help: "The share of weights to remove, as 0.5 or 50%, those of the smallest groups. (default: what the prior says)",
    transform: share)
  var sparsity: Double?

  @Option(
    parsing: .unconditional, help: "Of thresholds: groups of at least this mean square are in the slab. (default: 0.0001)",
    transform: number("a number from 0 on") { $0 >= 0 })
  var soft: Double?

  @Option(
    parsing: .unconditional,
    help: "Of thresholds: inputs of dense layers below this mean square, and of convolutions below this range, are removed. (default: 0.01)",
    transform: number("a number from 0 on") { $0 >= 0 })
  var hard: Double?

  @Flag(
    help: """
      Of thresholds: remove groups after every epoch, as released, and not in the last third of each cycle alone. Where rates are \
      large, weights that matter may be small for a moment.
      """)
  var removeAtAnyEpoch = false

  @Option(parsing: .unconditional, help: "Passes before groups are looked at. (default: 0)", transform: wholeNumber(0...100_000))
  var warmUp: Int?

  @Option(
    parsing: .unconditional, help: "θ, the share of groups in the slab before any are seen. (default: 0.5)",
    transform: number("a number between 0 and 1") { $0 > 0 && $0 < 1 })
  var inclusion: Double?

  @Flag(help: "Let θ follow the responsibilities.")
  var learnInclusion = false

  @Option(help: "Groups of convolutions: kernels, filters, inputs or weights. (default: filters)")
  var groups: WeightGrouping?

  @Option(help: "Groups of dense layers: inputs, filters (units) or weights. (default: inputs)")
  var denseGroups: WeightGrouping?

  @Flag(help: "Allow that weights of the first layer and of those that give logits are removed.")
  var removeEnds = false

  @Option(
    parsing: .unconditional,
    help: "Training rows from which batch normalisation is estimated for each network, 0 for none. (default: 2048)",
    transform: wholeNumber(0 ... .max))
  var statisticsRows = 2048

  @Option(
    parsing: .unconditional,
    help: "The deviation of real targets (--likelihood gaussian). (default: what the trained network is off, root mean square)",
    transform: number("a number above 0") { $0 > 0 })
  var noise: Double?

  func validate() throws {
    if let layers, layers.split(separator: ",", omittingEmptySubsequences: false).contains(where: \.isEmpty) {
      throw ValidationError("--layers '\(layers)' has an empty name; give names with commas between.")
    }
    if let names, Set(names).count != names.count {
      throw ValidationError("--layers names a layer twice; name each once.")
    }
    if temperature != nil, [.asReleased, .descent, .swagDiagonal].contains(sampler) {
      throw ValidationError(
        "--temperature is for samplers with noise by the temperature, and \(sampler.rawValue) has none; leave it out.")
    }
    if noiseLevel != nil, sampler != .asReleased {
      throw ValidationError("--noise-level is for --sampler as-released; give --temperature, or leave it out.")
    }
    if momentum != nil, sampler == .langevin || sampler == .preconditionedLangevin {
      throw ValidationError("--momentum is for samplers with one, and \(sampler.rawValue) has none; leave it out.")
    }
    let selection = selection
    if soft != nil || hard != nil || removeAtAnyEpoch, selection != .thresholds {
      throw ValidationError(
        "--soft, --hard and --remove-at-any-epoch are for --select thresholds; add it, or leave them out.")
    }
    if selection == .none {
      let names = [
        ("--warm-up", warmUp != nil), ("--spike", spike != nil), ("--inclusion", inclusion != nil),
        ("--learn-inclusion", learnInclusion), ("--groups", groups != nil), ("--dense-groups", denseGroups != nil),
        ("--remove-ends", removeEnds), ("--sparsity", sparsity != nil),
      ]
      if let name = names.first(where: \.1)?.0 {
        throw ValidationError("\(name) is for groups that are selected; add --select responsibilities, or leave it out.")
      }
    }
    if selection == .magnitude {
      let names = [("--spike", spike != nil), ("--inclusion", inclusion != nil), ("--learn-inclusion", learnInclusion)]
      if let name = names.first(where: \.1)?.0 {
        throw ValidationError("\(name) is for a prior with a spike, and --select magnitude has none; leave it out.")
      }
    }
    if denseGroups == .kernels {
      throw ValidationError("--dense-groups kernels is for convolutions; give inputs, filters or weights.")
    }
    do {
      try recipe.requireConsistency()
    } catch {
      throw ValidationError(error.message)
    }
  }

  private var names: [String]? { layers?.split(separator: ",").map(String.init) }

  private var selection: Selection { select ?? (sparsity == nil ? .none : .responsibilities) }

  var recipe: SpikeAndSlabInference {
    var recipe = SpikeAndSlabInference()
    recipe.sampler = sampler
    recipe.layerNames = names
    recipe.exitIndex = exit
    recipe.chainCount = chains
    if let temperature { recipe.temperatureShare = temperature }
    recipe.noiseLevel = noiseLevel
    if let momentum { recipe.momentum = momentum }
    recipe.learningRate = learningRate
    recipe.cycleCount = cycles
    recipe.cycleEpochCount = cycleEpochs
    recipe.snapshotCount = snapshots
    recipe.batchRowCount = batchRows
    recipe.statisticsRowCount = statisticsRows
    recipe.centre = centre ?? (selection == .none ? .checkpoint : .zero)
    (recipe.slab, recipe.spike, recipe.sparsity) = (slab, spike, sparsity)
    recipe.selection =
      switch selection {
      case .none: nil
      case .responsibilities: .responsibilities()
      case .thresholds: .thresholds(soft: soft ?? 1e-4, hard: hard ?? 1e-2)
      case .magnitude: .magnitude
      }
    if let warmUp { recipe.warmUpEpochCount = warmUp }
    if let inclusion { recipe.inclusion = inclusion }
    recipe.learnsInclusion = learnInclusion
    if let groups { recipe.convolutionGrouping = groups }
    if let denseGroups { recipe.denseGrouping = denseGroups }
    recipe.removesEnds = removeEnds
    recipe.removesAtAnyEpoch = removeAtAnyEpoch
    recipe.noise = noise
    return recipe
  }
}

extension SpikeAndSlabOptions {
  /// What the training depends on, by the names of options.
  var settings: [String: String] {
    let recipe = recipe
    var settings = [
      "--layers": layers ?? "all", "--exit": exit.map { "\($0)" } ?? "all", "--sampler": sampler.rawValue,
      "--momentum": "\(recipe.momentum)", "--learning-rate": learningRate.map { "\($0)" } ?? "rule", "--chains": "\(chains)",
      "--cycles": "\(cycles)", "--cycle-epochs": "\(cycleEpochs)", "--snapshots": "\(snapshots)",
      "--batch-rows": "\(batchRows)", "--centre": recipe.centre.rawValue, "--select": selection.rawValue,
      "--warm-up": "\(recipe.warmUpEpochCount)", "--inclusion": "\(recipe.inclusion)",
      "--learn-inclusion": "\(learnInclusion)", "--groups": recipe.convolutionGrouping.rawValue,
      "--dense-groups": recipe.denseGrouping.rawValue, "--remove-ends": "\(removeEnds)",
      "--temperature": "\(recipe.temperatureShare)",
    ]
    settings["--noise"] = noise.map { "\($0)" }
    settings["--noise-level"] = noiseLevel.map { "\($0)" }
    settings["--slab"] = slab.map { "\($0)" }
    settings["--spike"] = spike.map { "\($0)" }
    settings["--sparsity"] = sparsity.map { "\($0)" }
    if case .thresholds(let soft, let hard)? = recipe.selection {
      settings["thresholds"] = "\(soft), \(hard)" + (removeAtAnyEpoch ? ", at any epoch" : "")
    }
    return settings
  }
}

extension SpikeAndSlabInference.Sampler: ExpressibleByArgument {}
extension SpikeAndSlabInference.Centre: ExpressibleByArgument {}
extension WeightGrouping: ExpressibleByArgument {}
