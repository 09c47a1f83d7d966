public import ArgumentParser
import Bayesify

/// How the weights of a layer are trained.
struct FirstLayerOptions: ParsableArguments {
  enum PriorName: String, CaseIterable, ExpressibleByArgument { case standard, scaled, centred }
  enum OptimizerName: String, CaseIterable, ExpressibleByArgument { case adam, sgd }
  enum Control: String, CaseIterable, ExpressibleByArgument {
    case none
    case fineTune = "fine-tune"
  }

  @Option(help: "A convolution or dense layer, by name. (default: the first on the way to the exit)")
  var layer: String?

  @Option(
    parsing: .unconditional, help: "The exit whose likelihood is the data term, from 0. (default: the last)",
    transform: wholeNumber(0 ... .max))
  var exit: Int?

  @Option(parsing: .unconditional, help: "standard, scaled or centred; see above.")
  var prior = PriorName.standard

  @Option(
    parsing: .unconditional, help: "The deviation of a standard or centred prior. (default: 1)",
    transform: number("a number above 0") { $0 > 0 })
  var priorDeviation: Double?

  @Option(parsing: .unconditional, help: "draws, flipout or local-reparametrization; see above.")
  var estimator = FirstLayerInference.Estimator.draws

  @Option(
    parsing: .unconditional,
    help: "The deviation of every weight at the beginning or, in percent, its share of the weight. (default: 0.0486)",
    transform: optionValue)
  var initialDeviation: InitialDeviationOption?

  @Option(
    parsing: .unconditional, help: "What the divergence is multiplied by. (default: 1)",
    transform: number("a number from 0 on") { $0 >= 0 })
  var klWeight = 1.0

  @Option(
    parsing: .unconditional, help: "Passes over the training rows. (default: 20)", transform: wholeNumber(1...100_000))
  var epochs = 20

  @Option(parsing: .unconditional, help: "Rows a step. (default: 128)", transform: wholeNumber(1...1_000_000))
  var batchRows = 128

  @Option(parsing: .unconditional, help: "adam or sgd.")
  var optimizer = OptimizerName.adam

  @Option(
    parsing: .unconditional, help: "Of sgd. (default: 0.9)",
    transform: number("a number from 0 to below 1") { $0 >= 0 && $0 < 1 })
  var momentum: Double?

  @Option(
    parsing: .unconditional, help: "Of the means. (default: 0.001)", transform: number("a number above 0") { $0 > 0 })
  var learningRate = 1e-3

  @Option(
    parsing: .unconditional, help: "Of the deviations, before softplus. (default: ten times --learning-rate)",
    transform: number("a number above 0") { $0 > 0 })
  var deviationLearningRate: Double?

  @Option(
    parsing: .unconditional, help: "How learning rates fall: cosine, steps (to a tenth after each third) or constant.")
  var schedule = FirstLayerInference.Schedule.cosine

  @Option(
    parsing: .unconditional,
    help:
      "With --validation: epochs without a lower loss there before training ends. (default: no end, the last epoch stays)",
    transform: wholeNumber(1...100_000))
  var patience: Int?

  @Option(
    name: [.long, .customLong("samples")], parsing: .unconditional, help: "Draws of predictions. (default: 30)",
    transform: wholeNumber(SampledNetworkPosterior.allowedDrawCounts))
  var draws = 30

  @Option(
    parsing: .unconditional, help: "none, or fine-tune: the weights themselves, trained as long by the data term alone."
  )
  var control = Control.none

  func validate(hasValidation: Bool) throws {
    if priorDeviation != nil, prior == .scaled {
      throw ValidationError("The trained weights set the deviation of a scaled prior; leave --prior-deviation out.")
    }
    if momentum != nil, optimizer != .sgd { throw ValidationError("--momentum is for --optimizer sgd; leave it out.") }
    if patience != nil, !hasValidation {
      throw ValidationError("--patience looks at validation rows, and none are named; give --validation DATA.")
    }
    if control == .fineTune, let name = firstVariationalOption {
      throw ValidationError("\(name) is for a distribution, and --control fine-tune has none; leave it out.")
    }
  }

  /// An option that says something of the distribution alone.
  private var firstVariationalOption: String? {
    if prior != .standard { return "--prior" }
    if priorDeviation != nil { return "--prior-deviation" }
    if estimator != .draws { return "--estimator" }
    if initialDeviation != nil { return "--initial-deviation" }
    if klWeight != 1 { return "--kl-weight" }
    if deviationLearningRate != nil { return "--deviation-learning-rate" }
    return nil
  }

  func recipe(draws: Int) -> FirstLayerInference {
    var recipe = FirstLayerInference()
    recipe.objective = control == .fineTune ? .fineTuning : .variational
    recipe.layerName = layer
    recipe.exitIndex = exit
    recipe.prior =
      switch prior {
      case .standard: .standard(deviation: priorDeviation ?? 1)
      case .scaled: .scaled
      case .centred: .centred(deviation: priorDeviation ?? 1)
      }
    recipe.estimator = estimator
    recipe.descent = optimizer == .adam ? .adam : .stochastic(momentum: momentum ?? 0.9)
    recipe.schedule = schedule
    recipe.learningRate = learningRate
    recipe.deviationLearningRate = deviationLearningRate ?? 10 * learningRate
    recipe.epochCount = epochs
    recipe.batchRowCount = batchRows
    recipe.divergenceWeight = klWeight
    if let initialDeviation { recipe.initialDeviation = initialDeviation.value }
    recipe.patience = patience
    recipe.sampleCount = draws
    return recipe
  }

  /// What the training depends on, by the names of options; how many draws are predicted with is no part of it.
  var settings: [String: String] {
    let recipe = recipe(draws: FirstLayerInference().sampleCount)
    return [
      "--control": control.rawValue, "--layer": layer ?? "first", "--exit": exit.map { "\($0)" } ?? "last",
      "--prior": "\(recipe.prior)", "--estimator": estimator.rawValue, "--optimizer": "\(recipe.descent)",
      "--schedule": schedule.rawValue, "--learning-rate": "\(learningRate)",
      "--deviation-learning-rate": "\(recipe.deviationLearningRate)", "--epochs": "\(epochs)",
      "--batch-rows": "\(batchRows)", "--kl-weight": "\(klWeight)", "--initial-deviation": "\(recipe.initialDeviation)",
      "--patience": patience.map { "\($0)" } ?? "none",
    ]
  }
}

/// A number, or a share in percent.
struct InitialDeviationOption: OptionValue {
  static let validValues = "a number above 0, or a share of each weight in percent, as 10%"
  var value: FirstLayerInference.InitialDeviation

  init?(argument: String) {
    let isShare = argument.hasSuffix("%")
    guard let number = Double(isShare ? String(argument.dropLast()) : argument), number > 0, number.isFinite else {
      return nil
    }
    value = isShare ? .share(number / 100) : .fixed(number)
  }
}

extension FirstLayerInference.Estimator: ExpressibleByArgument {}
extension FirstLayerInference.Schedule: ExpressibleByArgument {}
