public import ArgumentParser
import Bayesify

/// How the members of a latent posterior are trained.
struct LatentOptions: ParsableArguments {
  enum Decode: String, CaseIterable, ExpressibleByArgument {
    case latentSample = "latent-sample"
    case hidden
  }
  enum Control: String, CaseIterable, ExpressibleByArgument {
    case none
    case batchEnsemble = "batch-ensemble"
    case identity
  }

  @Option(
    help: """
      Convolution and dense layers by name, with commas between. (default: as many of the last as members can scale at \
      random before the first training rows lose half a nat, within half of the network's multiply-adds)
      """)
  var layers: String?

  @Option(
    parsing: .unconditional, help: "The exit whose likelihood is the data term, from 0. (default: the last)",
    transform: wholeNumber(0 ... .max))
  var exit: Int?

  @Option(parsing: .unconditional, help: "Members. (default: 4)", transform: wholeNumber(2...1000))
  var members = 4

  @Option(parsing: .unconditional, help: "Numbers of a latent. (default: 32)", transform: wholeNumber(1...4096))
  var latents = 32

  @Option(help: "latent-sample, as in the paper, or hidden, as in its authors' convolutions.")
  var decode = Decode.latentSample

  @Option(help: "none, batch-ensemble or identity; see above.")
  var control = Control.none

  @Option(help: "split: every member learns from a share of each batch; replicated: from all of it.")
  var memberBatch = LatentInference.MemberBatch.split

  @Option(
    parsing: .unconditional, help: "Of the vectors from one, to begin with. (default: 0.25)",
    transform: number("a number above 0") { $0 > 0 })
  var initialDeviation: Double?

  @Option(
    parsing: .unconditional, help: "What the reconstruction may miss, as a share of that deviation. (default: 0.3)",
    transform: number("a number above 0") { $0 > 0 })
  var reconstructionShare: Double?

  @Option(
    parsing: .unconditional, help: "What the divergence is multiplied by. (default: the rule above)",
    transform: number("a number from 0 on") { $0 >= 0 })
  var klWeight: Double?

  @Option(
    parsing: .unconditional, help: "What the latents' noise is multiplied by. (default: 1)",
    transform: number("a number from 0 on") { $0 >= 0 })
  var noiseScale: Double?

  @Option(
    parsing: .unconditional, help: "Steps of the autoencoders by their own loss, before all else. (default: 1500)",
    transform: wholeNumber(0...1_000_000))
  var warmUpSteps: Int?

  @Option(
    parsing: .unconditional, help: "Passes over the training rows. (default: 10)", transform: wholeNumber(1...100_000))
  var epochs = 10

  @Option(parsing: .unconditional, help: "Rows a step. (default: 128)", transform: wholeNumber(1...1_000_000))
  var batchRows = 128

  @Option(
    parsing: .unconditional, help: "Of Adam, falling along half a cosine. (default: 0.001)",
    transform: number("a number above 0") { $0 > 0 })
  var learningRate = 1e-3

  @Option(
    parsing: .unconditional,
    help: "Training rows from which batch normalisation is estimated for each member, 0 for none. (default: 4096)",
    transform: wholeNumber(0 ... .max))
  var statisticsRows = 4096

  @Option(
    name: [.long, .customLong("samples")], parsing: .unconditional,
    help: "Draws of each member's latents that predictions use. (default: 4)", transform: wholeNumber(1...1000))
  var draws: Int?

  func validate() throws {
    if let layers, layers.split(separator: ",", omittingEmptySubsequences: false).contains(where: \.isEmpty) {
      throw ValidationError("--layers '\(layers)' has an empty name; give names with commas between.")
    }
    if let names, Set(names).count != names.count {
      throw ValidationError("--layers names a layer twice; name each once.")
    }
    let latentOptions: [(String, Bool)] = [
      ("--decode", decode != .latentSample), ("--reconstruction-share", reconstructionShare != nil),
      ("--kl-weight", klWeight != nil), ("--noise-scale", noiseScale != nil), ("--warm-up-steps", warmUpSteps != nil),
      ("--draws", draws != nil),
    ]
    if control != .none, let name = latentOptions.first(where: \.1)?.0 {
      throw ValidationError("\(name) is for latents, and --control \(control.rawValue) has none; leave it out.")
    }
    if control == .identity, initialDeviation != nil {
      throw ValidationError(
        "--initial-deviation is for members that differ, and those of --control identity do not; leave it out.")
    }
    let hiddenOptions: [(String, Bool)] = [("--noise-scale", noiseScale != nil), ("--draws", draws != nil)]
    if decode == .hidden, let name = hiddenOptions.first(where: \.1)?.0 {
      throw ValidationError("\(name) is for latents that are drawn, and --decode hidden draws none; leave it out.")
    }
  }

  private var names: [String]? { layers?.split(separator: ",").map(String.init) }

  var recipe: LatentInference {
    var recipe = LatentInference()
    recipe.form =
      switch (control, decode) {
      case (.none, .latentSample): .latentSample
      case (.none, .hidden): .hidden
      default: .batchEnsemble
      }
    recipe.layerNames = names
    recipe.exitIndex = exit
    recipe.memberCount = members
    recipe.latentCount = latents
    recipe.memberBatch = memberBatch
    if let initialDeviation { recipe.initialDeviation = initialDeviation }
    if let reconstructionShare { recipe.reconstructionShare = reconstructionShare }
    recipe.divergenceWeight = klWeight
    if let noiseScale { recipe.noiseScale = noiseScale }
    if let warmUpSteps { recipe.warmUpStepCount = warmUpSteps }
    recipe.learningRate = learningRate
    recipe.epochCount = epochs
    recipe.batchRowCount = batchRows
    recipe.statisticsRowCount = statisticsRows
    if let draws { recipe.drawCount = draws }
    if control == .identity {
      (recipe.initialDeviation, recipe.epochCount, recipe.statisticsRowCount) = (0, 0, 0)
    }
    return recipe
  }
}

extension LatentOptions {
  /// What the training depends on, by the names of options; how many draws are predicted with is no part of it.
  var settings: [String: String] {
    let recipe = recipe
    return [
      "--layers": layers ?? "chosen", "--exit": exit.map { "\($0)" } ?? "last", "--members": "\(members)",
      "--latents": "\(latents)", "--decode": recipe.form.rawValue, "--control": control.rawValue,
      "--member-batch": memberBatch.rawValue, "--initial-deviation": "\(recipe.initialDeviation)",
      "--reconstruction-share": "\(recipe.reconstructionShare)", "--kl-weight": klWeight.map { "\($0)" } ?? "rule",
      "--noise-scale": "\(recipe.noiseScale)", "--warm-up-steps": "\(recipe.warmUpStepCount)",
      "--epochs": "\(recipe.epochCount)", "--batch-rows": "\(batchRows)", "--learning-rate": "\(learningRate)",
    ]
  }
}

extension LatentInference.MemberBatch: ExpressibleByArgument {}
