import ArgumentParser
import Bayesify
import Foundation

struct FitSpikeSlab: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "spike-slab",
    abstract: "Networks that a Markov chain over weights comes by, with groups of weights removed (EM-MCMC, SGLD, SGHMC).",
    discussion: """
      Chains begin at the checkpoint and move the weights of --layers; all else stays as trained, and what lies before the \
      first of the layers runs once. Rates fall in every cycle along half a cosine, and networks are kept at its end: the \
      samples that predictions average. --temperature 1 is the posterior's; what the sampler's own formula comes to is \
      printed before the run.

      To remove weights, add --sparsity 50% or --select responsibilities: each group of weights (--groups, --dense-groups) is \
      either in the slab, which its layer's trained weights fill, or in the spike around zero, and running means of the \
      probabilities say which. Groups are removed for good at the ends of the first half of the cycles, in equal shares, and \
      networks of the other half are kept; the first layer and those that give logits are spared without --remove-ends. Without either option nothing is removed, and penalties pull \
      towards the checkpoint.

      Means and variances of batch normalisation behind the layers are estimated anew for each network, from \
      --statistics-rows of the training rows. With --validation each exit gets a temperature of its logits.

      Until the posterior is written, OUTPUT.part holds the chains. A run that was interrupted or killed goes on from it \
      with --resume, to the same bits as one that was not.

      Example: bayesify fit spike-slab model.h5 --data train.h5 --sparsity 50% --validation validation.h5 -o posterior.h5
      """)

  @Argument(help: "A checkpoint.")
  var checkpoint: String

  @Option(help: "Training rows with labels: data.")
  var data: String

  @Option(help: "Labels of the training rows, where they are not beside the inputs.")
  var labels: String?

  @Option(parsing: .unconditional, help: "Training rows to use, first:end.", transform: optionValue)
  var rows: RowRange?

  @OptionGroup var recipe: SpikeAndSlabOptions
  @OptionGroup var tempering: TemperingOptions

  @Flag(help: "Go on with the training in OUTPUT.part, where there is one.")
  var resume = false

  @Option(
    parsing: .unconditional, help: "Seconds between writes of OUTPUT.part within an epoch. (default: 10)",
    transform: number("a number from 0 on") { $0 >= 0 })
  var saveEvery = 10.0

  @OptionGroup var model: ModelOptions
  @OptionGroup var execution: ExecutionOptions

  @Flag(help: "What was fitted, in JSON on standard output.")
  var json = false

  func validate() throws {
    try recipe.validate()
  }

  private var file: TrainingFile {
    TrainingFile(
      outputs: [tempering.output], method: SampledNetworkPosterior.weightSamplesMethodName, resumes: resume,
      isForced: execution.force)
  }

  func run() async throws {
    try model.requireTable(among: data, labels, tempering.validation, tempering.validationLabels)
    try file.requireWritable(apartFrom: [
      checkpoint, data, labels, tempering.validation, tempering.validationLabels, model.classNames,
      model.checkpoint.architecture,
    ])
    let session = Session(model, execution, execution.progress())
    let checkpoint = try model.checkpoint.model(checkpoint)
    let input = try RowInput(data, labels: labels, labelColumn: model.labelColumn, rows: rows?.range)
    guard case .dataset(let dataset) = input else {
      throw FileError(
        .unsupported, file: input.file,
        "These are exit records, and earlier layers need the rows that they were extracted from; give the data.")
    }
    let training = try session.networkRecords(
      checkpoint, over: dataset, stored: nil, stage: "training", dataDigest: try session.digest(of: data))
    guard training.hasLabels || training.hasTargets else { throw input.missingLabels("training", option: "--labels") }
    guard !training.hasTargets || tempering.validation == nil else {
      throw ValidationError(
        "--validation is for temperatures, and \(checkpoint.file) has exits of real targets, which have none; leave --validation "
          + "out.")
    }
    guard training.hasTargets || recipe.noise == nil else {
      throw ValidationError("--noise is for real targets, and those of \(checkpoint.file) are classes; leave it out.")
    }
    try await session.noteIgnored("training", training)
    let fitted = try await fit(checkpoint, training, session)
    try await tempering.finish(fitted.posterior, [checkpoint], session, asJSON: json, training: file) {
      SpikeAndSlabSummary($0, fitted.training, seconds: fitted.seconds, output: tempering.output)
    }
  }

  /// Runs the chains, writing what is done from time to time.
  private func fit(
    _ checkpoint: CheckpointModel, _ training: NetworkRecords, _ session: Session
  ) async throws -> (posterior: SampledNetworkPosterior, training: SpikeAndSlabTraining, seconds: [Double]) {
    let settings = recipe.settings.merging(
      try TrainingFile.settings(checkpoint, data: data, labels: labels, rows: rows, training, model, execution)
    ) { $1 }
    var earlier: SpikeAndSlabTraining?
    if resume, let found: SpikeAndSlabTraining = try file.earlier(settings: settings) {
      session.progress.note(
        "resumed: \(file.part), \(found.epochs.count) epoch(s) and \(found.stepCount) steps a chain done")
      earlier = found
    }
    let backend = try execution.backend()
    let recipe = recipe.recipe
    var isAnnounced = false
    var log = TrainingLog(earlier, file: file.part, settings: settings, every: saveEvery)
    do {
      let result = try await recipe.fit(
        checkpoint.frozen, training.description, training: training.dataset, from: earlier, on: backend,
        in: execution.context(backend, session.progress)
      ) { state in
        if !isAnnounced {
          session.progress.note(announcement(state, recipe, rowCount: training.rowCount))
          isAnnounced = true
        }
        guard try log.take(state), let epoch = state.epochs.last else { return }
        session.progress.note(
          "epoch \(state.epochs.count) of \(recipe.epochCount): loss \(epoch.loss.significantDigits())"
            + (recipe.selection == nil ? "" : ", \((100 * epoch.sparsity).significantDigits(3)) % removed")
            + (log.seconds.last.map { ", \($0.significantDigits(3)) s" } ?? ""))
      }
      return (result.posterior, result.training, log.seconds)
    } catch let error as NetworkError {
      throw FileError(.unsupported, file: checkpoint.file, error.message)
    } catch is CancellationError {
      guard try log.write() else { throw CancellationError() }
      throw file.interruption
    }
  }
}

/// What is said before chains run.
private func announcement(_ training: SpikeAndSlabTraining, _ recipe: SpikeAndSlabInference, rowCount: Int) -> String {
  let share = recipe.effectiveTemperatureShare(stepSize: training.stepSize, rowCount: rowCount)
  return "\(recipe.sampler.rawValue), steps of \(training.stepSize.significantDigits(3)), at \(share.significantDigits(3)) of the "
    + "posterior's temperature as its formula says for small steps; \(recipe.networkCount) networks at most"
}

/// What was fitted of networks of chains.
private struct SpikeAndSlabSummary: Encodable, CustomStringConvertible {
  struct Epoch: Encodable {
    var loss: Double
    var sparsity: Double
    /// Of epochs of this run.
    var seconds: Double?
  }

  var output: String
  var chains: WeightSamplesDescription
  var networks: Int
  var epochs: [Epoch]
  var exits: [SampledExitSummary]
  var warnings: [String]

  init(_ posterior: SampledNetworkPosterior, _ training: SpikeAndSlabTraining, seconds: [Double], output: String) {
    guard case .weightSamples(let samples) = posterior.kind else { preconditionFailure("This is of chains over weights.") }
    self.output = output
    chains = WeightSamplesDescription(samples)
    networks = samples.networkCount
    let earlierCount = training.epochs.count - seconds.count
    epochs = training.epochs.enumerated().map { index, epoch in
      Epoch(loss: epoch.loss, sparsity: epoch.sparsity, seconds: index < earlierCount ? nil : seconds[index - earlierCount])
    }
    exits = SampledExitSummary.all(of: posterior)
    warnings = posterior.warnings
  }

  var description: String {
    ([SampledExitSummary.table(exits), chains.method] + chains.lines + ["wrote \(output)"]).joined(separator: "\n")
  }
}
