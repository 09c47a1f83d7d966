import ArgumentParser
import Bayesify
import Foundation

struct FitLatent: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "latent",
    abstract: "An ensemble that scales the inputs and outputs of some layers, with latents an autoencoder a layer draws (LP-BNN).",
    discussion: """
      All weights stay as trained. Each of --members has, in every layer of --layers, a vector that scales the layer's \
      inputs, one that scales its outputs, and a bias. The vectors of the inputs are a fixed code book around one that \
      passes through a variational autoencoder a layer; predictions draw its latents, --draws for each member, the same \
      for all rows. Trained on the rows of --data are the autoencoders, the vectors of the outputs and the biases; what \
      lies before the first of the layers runs once.

      The divergence of latents from their prior is weighted by the rule 2 s² / (members · inputs), s being the share \
      --reconstruction-share of --initial-deviation: with a weight of 1, as in published code, latents collapse onto the \
      prior and tell no member from another. Means and variances of batch normalisation behind the layers are estimated \
      anew for each member, from --statistics-rows of the training rows.

      With --validation each exit gets a temperature. Controls: --control batch-ensemble trains the vectors of the \
      inputs themselves, without autoencoders; --control identity leaves every member as the network is.

      Until the posterior is written, OUTPUT.part holds the training. A run that was interrupted or killed goes on \
      from it with --resume, to the same bits as one that was not.

      Example: bayesify fit latent model.h5 --data train.h5 --layers conv5,logits --validation validation.h5 -o posterior.h5
      """)

  @Argument(help: "A checkpoint.")
  var checkpoint: String

  @Option(help: "Training rows with labels: data.")
  var data: String

  @Option(help: "Labels of the training rows, where they are not beside the inputs.")
  var labels: String?

  @Option(parsing: .unconditional, help: "Training rows to use, first:end.", transform: optionValue)
  var rows: RowRange?

  @OptionGroup var recipe: LatentOptions
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
      outputs: [tempering.output], method: SampledNetworkPosterior.latentMethodName, resumes: resume,
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
    guard training.hasLabels else { throw input.missingLabels("training", option: "--labels") }
    try await session.noteIgnored("training", training)
    let fitted = try await fit(checkpoint, training, session)
    try await tempering.finish(fitted.posterior, [checkpoint], session, asJSON: json, training: file) {
      LatentSummary($0, fitted.training, seconds: fitted.seconds, output: tempering.output)
    }
  }

  /// Trains, writing what is done from time to time.
  private func fit(
    _ checkpoint: CheckpointModel, _ training: NetworkRecords, _ session: Session
  ) async throws -> (posterior: SampledNetworkPosterior, training: LatentTraining, seconds: [Double]) {
    let settings = recipe.settings.merging(
      try TrainingFile.settings(checkpoint, data: data, labels: labels, rows: rows, training, model, execution)
    ) { $1 }
    var earlier: LatentTraining?
    if resume, let found: LatentTraining = try file.earlier(settings: settings) {
      session.progress.note("resumed: \(file.part), \(found.epochs.count) epoch(s) and \(found.stepCount) steps done")
      earlier = found
    }
    let backend = try execution.backend()
    let recipe = recipe.recipe
    var log = TrainingLog(earlier, file: file.part, settings: settings, every: saveEvery)
    do {
      let result = try await recipe.fit(
        checkpoint.frozen, training.description, training: training.dataset, from: earlier, on: backend,
        in: execution.context(backend, session.progress)
      ) { state in
        guard try log.take(state), let epoch = state.epochs.last else { return }
        session.progress.note(
          "epoch \(state.epochs.count) of \(recipe.epochCount): data term \(epoch.dataTerm.significantDigits()), latent "
            + "term \(epoch.latentTerm.significantDigits())"
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

/// What was fitted of an ensemble of scaled layers.
private struct LatentSummary: Encodable, CustomStringConvertible {
  struct Epoch: Encodable {
    var dataTerm: Double
    var latentTerm: Double
    /// Of epochs of this run.
    var seconds: Double?
  }

  var output: String
  var latent: LatentDescription
  var networks: Int
  var epochs: [Epoch]
  var exits: [SampledExitSummary]
  var warnings: [String]

  init(_ posterior: SampledNetworkPosterior, _ training: LatentTraining, seconds: [Double], output: String) {
    guard case .latent(let networks, _, let latent) = posterior.kind else {
      preconditionFailure("This is of scaled layers.")
    }
    self.output = output
    self.latent = LatentDescription(latent, networks: networks)
    self.networks = networks
    let earlierCount = training.epochs.count - seconds.count
    epochs = training.epochs.enumerated().map { index, epoch in
      Epoch(
        dataTerm: epoch.dataTerm, latentTerm: epoch.latentTerm,
        seconds: index < earlierCount ? nil : seconds[index - earlierCount])
    }
    exits = SampledExitSummary.all(of: posterior)
    warnings = posterior.warnings
  }

  var description: String {
    ([SampledExitSummary.table(exits), latent.method] + latent.lines + ["wrote \(output)"]).joined(separator: "\n")
  }
}
