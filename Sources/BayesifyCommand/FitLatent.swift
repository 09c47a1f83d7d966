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
  @OptionGroup var model: ModelOptions
  @OptionGroup var execution: ExecutionOptions

  @Flag(help: "What was fitted, in JSON on standard output.")
  var json = false

  func validate() throws {
    try tempering.validate(with: model)
    try recipe.validate()
  }

  func run() async throws {
    try model.requireTable(among: data, labels)
    try tempering.requireWritable(apartFrom: [checkpoint, data] + [labels].compactMap(\.self), model, execution)
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
    let backend = try execution.backend()
    do {
      let recipe = recipe.recipe
      var epochCount = 0
      let fitted = try await recipe.fit(
        checkpoint.frozen, training.description, training: training.dataset, on: backend,
        in: execution.context(backend, session.progress)
      ) { state in
        guard state.epochs.count > epochCount, let epoch = state.epochs.last else { return }
        epochCount = state.epochs.count
        session.progress.note(
          "epoch \(epochCount) of \(recipe.epochCount): data term \(epoch.dataTerm.significantDigits()), latent term "
            + epoch.latentTerm.significantDigits())
      }
      try await tempering.finish(fitted.posterior, [checkpoint], session, asJSON: json)
    } catch let error as NetworkError {
      throw FileError(.unsupported, file: checkpoint.file, error.message)
    }
  }
}
