import ArgumentParser
import Bayesify

struct Predict: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Probabilities with total, aleatoric and epistemic uncertainty for every row and exit.",
    discussion: """
      Uncertainty is in nats. Networks that answer at every pixel give [rows, height, width, classes].

      Labels are passed on where data have them. One that is no class, as 255 for void pixels, is refused unless \
      --ignore-label names it; it is then passed on too.

      Example: bayesify predict posterior.h5 --data new.h5 -o predictions.h5
      """)

  @Argument(help: "A checkpoint or a posterior.")
  var model: String

  @Option(help: "The rows: data (a file, or a folder of images) or exit records.")
  var data: String

  @Option(help: "A file of labels, where they are not beside the inputs.")
  var labels: String?

  @Option(parsing: .unconditional, help: "Rows to use, first:end.", transform: optionValue)
  var rows: RowRange?

  @Option(help: "The checkpoint of a posterior, where it has moved.")
  var checkpoint: String?

  @Option(help: "A policy of 'trust tune' for this model: its exit's rows are marked as trusted (1) or not (0).")
  var policy: String?

  @Option(name: .shortAndLong, help: "The predictions, HDF5 or, by suffix, .npz.")
  var output: String

  @Flag(
    help: """
      Also the covariance of all outputs of all rows with each other, /exits/<k>/jointCovariance [rows, outputs, rows, \
      outputs], of a last-layer posterior: of logits over the temperature, of Gaussian means in units of the targets; every \
      pixel or step is a row of its own. For at most \(LastLayerLaplacePosterior.Exit.jointLogitLimit) outputs in all.
      """)
  var jointCovariance = false

  @OptionGroup var options: ModelOptions
  @OptionGroup var execution: ExecutionOptions

  @Flag(help: "A summary in JSON on standard output.")
  var json = false

  func validate() throws { try OutputFormat.requireSuffix(of: output, among: [.hdf5, .npz]) }

  func run() async throws {
    try options.requireTable(among: data, labels)
    try execution.requireWritable(
      output,
      apartFrom: [
        model, data, labels, checkpoint, policy, options.classNames, options.checkpoint.architecture,
      ])
    let trust = try policy.map { try TrustPolicyFile(option: $0) }
    let progress = execution.progress()
    let session = Session(options, execution, progress)
    let model = try ModelInput(model, reading: options.checkpoint.reading)
    if case .checkpoint(let checkpoint) = model { try options.checkpoint.requireUse(by: [checkpoint]) }
    try execution.requireWritable(output, apartFrom: [model.recordedCheckpoint])
    let input = try RowInput(
      data, labels: labels, labelColumn: options.labelColumn, rows: rows?.range, likelihood: options.likelihood)
    if let trust, let policy {
      try trust.requireSame(
        file: policy, model: model.file, checkpointDigest: model.checkpointDigest ?? input.checkpointDigest,
        posteriorDigest: try model.posteriorDigest())
      if let warning = trust.warning(
        file: policy, model: model.file, checkpointDigest: model.checkpointDigest ?? input.checkpointDigest)
      {
        progress.warn(warning)
      }
    }
    let source = try await session.records(
      input, specification: data,
      checkpoint: { try model.checkpoint(named: checkpoint, reading: options.checkpoint.reading) },
      digest: model.checkpointDigest,
      stored: session.agreedPreprocessing(
        [(model.file, model.preprocessing), (input.file, input.preprocessing)]
          + (policy.map { [($0, trust?.preprocessing)] } ?? [])),
      likelihood: model.likelihood,
      classNames: model.classNames, stage: "predict")
    if case .records = input, case .posterior(.lastLayer, _, _) = model {
      try options.checkpoint.requireNetwork(becauseOf: "exit records and a last-layer posterior")
    }
    if case .checkpoint(let model) = model { try session.requireExits(of: model, in: source.description) }
    let predictor = try session.predictor(model, for: source.description) {
      try model.checkpoint(named: checkpoint, reading: options.checkpoint.reading)
    }
    var tally = try trust.flatMap { try $0.tally(for: source.description, policy: policy ?? "") }
    var joint = jointCovariance ? try JointCovariances(model, of: source) : nil
    let archive = try archiveWriter(output, replacing: execution.force)
    var writer = try PredictionsWriter(source.description, to: archive)
    do {
      try await predictor.predictions(for: source) { block, predictions in
        try Task.checkCancellation()
        try writer.append(predictions, labels: block.labels)
        if let trust {
          for prediction in predictions where prediction.exit == trust.exit {
            let marks = try tally?.update(prediction, labels: block.labels) ?? []
            try writer.append(trusted: marks.map(\.isTrusted), scores: marks.map(\.score), exit: trust.exit)
          }
        }
        joint?.append(block)
      }
      try Task.checkCancellation()
      try joint?.write(to: archive, on: execution.backend())
      try writer.finish()
    } catch {
      writer.discard()
      throw error
    }
    progress.finishLine()
    var summary = RowsSummary(output: output, of: source)
    summary.trust = tally?.value
    try summary.show(asJSON: json, progress)
  }
}

/// The covariances of each exit's outputs, logits divided by the temperature or real numbers, between all rows.
private struct JointCovariances {
  private let exits: [LastLayerLaplacePosterior.Exit]
  private var features: [[Tensor<Float>]]

  /// - Throws: `FileError` for what is no last-layer posterior, and for too many rows.
  init(_ model: ModelInput, of source: any ExitRecordSource) throws(FileError) {
    guard case .posterior(.lastLayer(let posterior), _, _) = model else {
      throw FileError(
        .unsupported, file: model.file,
        "Joint covariances are those of a last-layer posterior, and this is none; leave --joint-covariance out.")
    }
    guard !posterior.isEnsemble else {
      throw FileError(
        .unsupported, file: model.file,
        "Its predictions are means over exits, whose covariance with each other is not modelled; leave --joint-covariance "
          + "out, or fit without --greedy-ensemble.")
    }
    exits = posterior.exits
    features = exits.map { _ in [] }
    let limit = LastLayerLaplacePosterior.Exit.jointLogitLimit
    let width = exits.map(\.description.logitCount).max() ?? 1
    guard source.rowCount * width <= limit else {
      throw FileError(
        .value, file: source.description.file,
        "\(source.rowCount) rows of \(width) outputs have a joint covariance of order \(source.rowCount * width), and at most "
          + "\(limit) is computed; give at most \(limit / width) rows (--rows), or leave --joint-covariance out.")
    }
  }

  /// Adds rows that have been predicted.
  mutating func append(_ records: ExitRecords) {
    for (index, exit) in records.exits.enumerated() { if let own = exit.features { features[index].append(own) } }
  }

  func write(to archive: any ArrayArchiveWriter, on backend: any Backend) throws {
    for (index, exit) in exits.enumerated() {
      let rows = Tensor<Float>.stacking(features[index])
      let (count, square) = (exit.description.logitCount, exit.temperature * exit.temperature)
      let covariance = try exit.jointLogitCovariance(features: rows.converted(to: Double.self), on: backend)
      try archive.write(
        covariance.map { $0 / square }.reshaped(to: [rows.rowCount, count, rows.rowCount, count]),
        at: "/exits/\(index)/jointCovariance")
    }
  }
}

/// What a verb that writes rows says at its end.
struct RowsSummary: Encodable {
  var output: String
  /// Of the network.
  var rows: Int
  /// The extents at whose positions every row has an answer, where it has several.
  var positions: [Int]?
  var exits: [String]
  /// What a policy of trust made of them.
  var trust: TrustResult?

  init(output: String, of source: any ExitRecordSource) {
    let description = source.description
    self.output = output
    rows = source.rowCount / description.positionCount
    positions = description.positions.isEmpty ? nil : description.positions
    exits = description.exits.map(\.name)
  }

  func show(asJSON: Bool, _ progress: ProgressPrinter) throws {
    if asJSON { return try printAnswer(try jsonText(self)) }
    let answers = positions.map { " of \(Shape($0)) answers" } ?? ""
    progress.note("wrote \(output): \(rows) rows\(answers), \(exits.count) exit(s)")
    if let trust { progress.note(trust.sentence) }
  }
}

/// A writer of the format that a file's suffix asks for.
func archiveWriter(_ file: String, replacing: Bool) throws -> any ArrayArchiveWriter {
  if file.lowercased().hasSuffix(".npz") { return try NPZArchiveWriter(file, replacing: replacing) }
  return try HDF5ArchiveWriter(file, replacing: replacing)
}

extension Session {
  /// Refuses records that cannot be a checkpoint's.
  func requireExits(of checkpoint: CheckpointModel, in description: RecordsDescription) throws(FileError) {
    // The records' own reading stands where the checkpoint leaves it open.
    let likelihood = checkpoint.frozen.network.exits.contains { $0.likelihood == nil }
      ? model.likelihood ?? description.exits.first?.likelihood : nil
    try checkpoint.frozen.recordsDescription(file: checkpoint.file, likelihood: likelihood)
      .requireSameExits(as: description)
  }

  /// Refuses outputs of other likelihoods than those allowed.
  func require(_ likelihoods: [Likelihood], in description: RecordsDescription) throws(FileError) {
    for (index, exit) in description.exits.enumerated() where !likelihoods.contains(exit.likelihood) {
      throw FileError(
        .unsupported, file: description.file, object: "exit \(index) ('\(exit.name)')",
        "Outputs of likelihood \(exit.likelihood.rawValue) are not handled here; "
          + likelihoods.map(\.rawValue).joined(separator: ", ") + " ones are.")
    }
  }

  /// The way from records to predictions that a model stands for.
  ///
  /// - Parameter checkpoint: opens the network that a posterior was fitted to.
  func predictor(
    _ model: ModelInput, for description: RecordsDescription, checkpoint: () throws -> CheckpointModel
  ) throws -> Predictor {
    switch model {
    case .checkpoint:
      try require([.categorical, .binary, .multilabel], in: description)
      return .map
    case .posterior(.lastLayer(let posterior), _, _):
      return .laplace(
        try posterior.predictor(for: description, in: execution.context(try execution.backend(), progress)))
    case .posterior(.weights(let posterior), _, _):
      return .weights(
        try posterior.predictor(
          for: description, of: try checkpoint().frozen, in: execution.context(try execution.backend(), progress)))
    case .posterior(.sampled(let posterior), _, _):
      let backend = try execution.backend()
      let networks = try model.networks(try checkpoint(), reading: self.model.checkpoint.reading)
      return .sampled(
        try posterior.predictor(
          for: description, of: networks.map(\.frozen), on: backend, in: execution.context(backend, progress)))
    }
  }
}
