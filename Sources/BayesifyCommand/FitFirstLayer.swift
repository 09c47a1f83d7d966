import ArgumentParser
import Bayesify
import Foundation

struct FitFirstLayer: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "first-layer",
    abstract: "A Gaussian over the weights of the first layer, or of one other, by variational inference.",
    discussion: """
      All other weights stay as trained, batch normalisation in evaluation form. The distribution begins at the \
      trained weights, with --initial-deviation, and maximises the evidence lower bound of the rows of --data: the \
      likelihood of their labels under draws of the weights, less the divergence from --prior, summed over the weights \
      and divided by the number of rows. A --kl-weight other than 1 tempers it, and the posterior says so. Predictions \
      are means over --draws of the weights, the same for all rows; each draw runs what lies behind the layer.

      Priors: standard (around zero), scaled (around zero, as wide as the root mean square of the trained weights), \
      centred (around the trained weights, as MOPED). Estimators: draws (one of the weights a batch), flipout (signs \
      for each row), local-reparametrization (dense layers alone).

      With --validation each exit gets a temperature; with --patience too, training ends when those rows' loss falls \
      no more, and the best epoch stays. Controls: --control fine-tune trains the weights of the same layer as long \
      without any distribution; --mean-output writes the means alone as a posterior of their own; 'fit laplace' is the \
      last layer's, and --layer takes any convolution or dense layer.

      Until the posterior is written, OUTPUT.part holds the training. A run that was interrupted or killed goes on \
      from it with --resume, to the same bits as one that was not.

      Example: bayesify fit first-layer model.h5 --data train.h5 --validation validation.h5 --scale 255 -o posterior.h5
      """)

  @Argument(help: "A checkpoint.")
  var checkpoint: String

  @Option(help: "Training rows with labels: data.")
  var data: String

  @Option(help: "Labels of the training rows, where they are not beside the inputs.")
  var labels: String?

  @Option(parsing: .unconditional, help: "Training rows to use, first:end.", transform: optionValue)
  var rows: RowRange?

  @OptionGroup var recipe: FirstLayerOptions
  @OptionGroup var tempering: TemperingOptions

  @Option(help: "Also write the mean of the distribution alone, HDF5.")
  var meanOutput: String?

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

  private var file: TrainingFile {
    TrainingFile(
      outputs: [tempering.output] + (meanOutput.map { [$0] } ?? []), method: SampledNetworkPosterior.firstLayerMethodName,
      resumes: resume, isForced: execution.force)
  }

  func validate() throws {
    try recipe.validate(hasValidation: tempering.validation != nil)
    guard let meanOutput else { return }
    try OutputFormat.requireSuffix(of: meanOutput, among: [.hdf5])
    if recipe.control != .none {
      throw ValidationError("--mean-output is for a distribution, and --control fine-tune has none; leave it out.")
    }
    if meanOutput == tempering.output {
      throw ValidationError("--mean-output and -o name the same file; give two names.")
    }
  }

  func run() async throws {
    try requireWritable()
    let session = Session(model, execution, execution.progress())
    let checkpoint = try model.checkpoint.model(checkpoint)
    let recipe = recipe.recipe(draws: recipe.draws)
    let training = try rows(data, labels, rows?.range, "training", checkpoint, session)
    guard training.records.hasLabels else { throw training.input.missingLabels("training", option: "--labels") }
    try await session.noteIgnored("training", training.records)
    try recipe.require(training.records.description)
    var held: NetworkRecords?
    var warnings: [String] = []
    if let validation = tempering.validation {
      let rows = try rows(
        validation, tempering.validationLabels, tempering.validationRows?.range, "validation", checkpoint, session)
      guard rows.records.hasLabels else { throw rows.input.missingLabels("validation", option: "--validation-labels") }
      if let warning = try session.warningOfRecurrence(
        of: rows.input, named: "validation", in: training.input, named: "training")
      {
        warnings.append(warning)
      }
      held = rows.records
    }
    let fitted = try await fit(recipe, checkpoint, training.records, held, session)
    var (posterior, digest) = try await tempering.tempered(fitted.posterior, [checkpoint], session)
    posterior.warnings = warnings + posterior.warnings
    var mean: SampledNetworkPosterior?
    if meanOutput != nil, let alone = try posterior.meanAlone(of: checkpoint.frozen) {
      mean = try await tempering.tempered(alone, [checkpoint], session).posterior
    }
    session.progress.finishLine()
    try Task.checkCancellation()
    // The posterior comes last: where it is, all is done.
    if let meanOutput, let mean {
      try tempering.write(
        mean, to: meanOutput, replacing: file.mayReplace(meanOutput), checkpoint, session, validationDigest: digest)
    }
    try tempering.write(
      posterior, to: tempering.output, replacing: file.mayReplace(tempering.output), checkpoint, session,
      validationDigest: digest)
    try file.remove()
    for warning in posterior.warnings { session.progress.warn(warning) }
    let summary = FirstLayerSummary(
      posterior, fitted.training, seconds: fitted.seconds, output: tempering.output, meanOutput: meanOutput)
    try printAnswer(json ? try jsonText(summary) : summary.description)
  }

  /// Refuses outputs that must not be written, and a training that is begun where one is left, before any work is done.
  private func requireWritable() throws {
    try model.requireTable(among: data, labels, tempering.validation, tempering.validationLabels)
    let inputs = [
      checkpoint, data, labels, tempering.validation, tempering.validationLabels, model.classNames,
      model.checkpoint.architecture,
    ]
    try file.requireWritable(apartFrom: inputs)
  }

  private func rows(
    _ specification: String, _ labels: String?, _ range: Range<Int>?, _ role: String, _ checkpoint: CheckpointModel,
    _ session: Session
  ) throws -> (input: RowInput, records: NetworkRecords) {
    let input = try RowInput(specification, labels: labels, labelColumn: model.labelColumn, rows: range)
    guard case .dataset(let dataset) = input else {
      throw FileError(
        .unsupported, file: input.file,
        "These are exit records, and an earlier layer needs the rows that they were extracted from; give the data.")
    }
    return (
      input,
      try session.networkRecords(
        checkpoint, over: dataset, stored: nil, stage: role, dataDigest: try session.digest(of: specification))
    )
  }

  /// What the training depends on, by the names of options.
  private func settings(
    _ checkpoint: CheckpointModel, _ training: NetworkRecords, _ held: NetworkRecords?
  ) throws -> [String: String] {
    var settings = recipe.settings.merging(
      try TrainingFile.settings(checkpoint, data: data, labels: labels, rows: rows, training, model, execution)
    ) { $1 }
    if recipe.patience != nil, let validation = tempering.validation {
      settings["--validation"] = try TrainingFile.named(validation, held?.description.dataDigest)
      settings["--validation-labels"] = try tempering.validationLabels.map { try FileDigest.sha256(ofData: $0) }
      settings["--validation-rows"] = tempering.validationRows.map { "\($0.range)" }
    }
    return settings
  }

  /// Trains, writing what is done from time to time.
  private func fit(
    _ recipe: FirstLayerInference, _ checkpoint: CheckpointModel, _ training: NetworkRecords, _ held: NetworkRecords?,
    _ session: Session
  ) async throws -> (posterior: SampledNetworkPosterior, training: FirstLayerTraining, seconds: [Double]) {
    let settings = try settings(checkpoint, training, held)
    var earlier: FirstLayerTraining?
    if resume, let found: FirstLayerTraining = try file.earlier(settings: settings) {
      session.progress.note("resumed: \(file.part), \(found.epochs.count) epoch(s) and \(found.stepCount) steps done")
      earlier = found
    }
    let backend = try execution.backend()
    let rowCount = training.inputRowCount
    var log = TrainingLog(earlier, file: file.part, settings: settings, every: saveEvery)
    do {
      let result = try await recipe.fit(
        checkpoint.frozen, training.description, training: training.dataset, validation: held?.dataset, from: earlier,
        on: backend, in: execution.context(backend, session.progress)
      ) { state in
        if try log.take(state), let epoch = state.epochs.last {
          session.progress.note(
            Self.line(epoch, index: state.epochs.count, of: recipe.epochCount, rowCount, seconds: log.seconds.last))
        }
      }
      return (result.posterior, result.training, log.seconds)
    } catch let error as NetworkError {
      throw FileError(.unsupported, file: checkpoint.file, error.message)
    } catch is CancellationError {
      guard try log.write() else { throw CancellationError() }
      throw file.interruption
    }
  }

  private static func line(
    _ epoch: FirstLayerTraining.Epoch, index: Int, of count: Int, _ rowCount: Int, seconds: Double?
  ) -> String {
    "epoch \(index) of \(count): "
      + (epoch.divergence == 0
        ? ""
        : "ELBO \(epoch.evidenceLowerBound(rowCount: rowCount).significantDigits()) a row, KL "
          + "\(epoch.divergence.significantDigits()), ") + "data term \(epoch.dataTerm.significantDigits())"
      + (epoch.validationNLL.map { ", validation NLL \($0.significantDigits())" } ?? "")
      + (seconds.map { ", \($0.significantDigits(3)) s" } ?? "")
  }
}

/// What was fitted of one layer's weights.
private struct FirstLayerSummary: Encodable, CustomStringConvertible {
  struct EpochSummary: Encodable {
    var dataTerm: Double
    var divergence: Double
    /// A row.
    var evidenceLowerBound: Double
    var validationNLL: Double?
    /// Of epochs of this run.
    var seconds: Double?
  }

  var output: String
  var meanOutput: String?
  var method: String
  var layer: String
  var weights: Int
  var rows: Int
  var divergenceWeight: Double
  var dataTermAtTrainedWeights: Double
  /// The epoch whose weights stay, from one.
  var chosenEpoch: Int
  var deviations: [Double]
  var epochs: [EpochSummary]
  var exits: [SampledExitSummary]
  var warnings: [String]

  init(
    _ posterior: SampledNetworkPosterior, _ training: FirstLayerTraining, seconds: [Double], output: String,
    meanOutput: String?
  ) {
    guard case .firstLayer(let draws, _, let layer) = posterior.kind else {
      preconditionFailure("This is of one layer's weights.")
    }
    self.output = output
    self.meanOutput = meanOutput
    method = layer.method(draws: draws)
    self.layer = layer.layerName
    weights = layer.parameterCount
    rows = layer.rowCount
    divergenceWeight = layer.divergenceWeight
    dataTermAtTrainedWeights = layer.initialDataTerm
    chosenEpoch = layer.epochCount
    // Least, mean and greatest.
    let all = layer.weights.flatMap(\.deviations.elements)
    deviations = [all.min() ?? 0, all.reduce(0, +) / Double(max(1, all.count)), all.max() ?? 0]
    let earlierCount = training.epochs.count - seconds.count
    epochs = training.epochs.enumerated().map { index, epoch in
      EpochSummary(
        dataTerm: epoch.dataTerm, divergence: epoch.divergence,
        evidenceLowerBound: epoch.evidenceLowerBound(rowCount: layer.rowCount), validationNLL: epoch.validationNLL,
        seconds: index < earlierCount ? nil : seconds[index - earlierCount])
    }
    exits = SampledExitSummary.all(of: posterior)
    warnings = posterior.warnings
  }

  var description: String {
    SampledExitSummary.table(exits) + "\n\(method): \(weights) weights"
      + (deviations[2] > 0
        ? ", deviations " + deviations.map { $0.significantDigits(3) }.joined(separator: " / ")
          + " (least, mean, greatest)"
        : "") + "\n" + (epochs.isEmpty ? "" : lastEpoch) + "wrote "
      + [output, meanOutput].compactMap(\.self).joined(separator: ", ")
  }

  private var lastEpoch: String {
    let epoch = epochs[chosenEpoch - 1]
    return "epoch \(chosenEpoch): "
      + (epoch.divergence == 0
        ? ""
        : "ELBO \(epoch.evidenceLowerBound.significantDigits()) a row, KL \(epoch.divergence.significantDigits()), ")
      + "data term \(epoch.dataTerm.significantDigits()) (\(dataTermAtTrainedWeights.significantDigits()) at the "
      + "trained weights)\n"
  }
}
