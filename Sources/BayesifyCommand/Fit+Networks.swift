import ArgumentParser
import Bayesify

struct FitDropout: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "dropout",
    abstract: "Monte Carlo dropout: draws of the elements that a network's dropout layers drop.",
    discussion: """
      Each draw is a network of its own, whose dropout layers (Dropout, SpatialDropout) drop the same elements of every \
      row, so that predictions depend neither on the batch nor on the order of rows; the others are divided by what is \
      kept. Dropout inside recurrent layers and attention, and Gaussian and alpha dropout, are not drawn.

      With --validation each exit gets a temperature, which divides every draw's logits.

      Example: bayesify fit dropout model.h5 --draws 50 --seed 1 --scale 255 -o dropout.h5
      """)

  @Argument(help: "A checkpoint of a network with Dropout layers.")
  var checkpoint: String

  @Option(
    parsing: .unconditional, help: "The number of draws. (default: 50)",
    transform: wholeNumber(SampledNetworkPosterior.allowedDrawCounts))
  var draws = 50

  @OptionGroup var tempering: TemperingOptions
  @OptionGroup var model: ModelOptions
  @OptionGroup var execution: ExecutionOptions

  @Flag(help: "What was chosen, in JSON on standard output.")
  var json = false

  func run() async throws {
    try tempering.requireWritable(apartFrom: [checkpoint], model, execution)
    let session = Session(model, execution, execution.progress())
    let checkpoint = try model.checkpoint.model(checkpoint)
    let posterior: SampledNetworkPosterior
    do {
      posterior = try SampledNetworkPosterior(
        dropoutOf: checkpoint.frozen, draws: draws, key: RandomKey(seed: execution.seed),
        source: session.description(of: checkpoint))
    } catch let error as NetworkError {
      throw FileError(.unsupported, file: checkpoint.file, error.message)
    }
    try await tempering.finish(posterior, [checkpoint], session, asJSON: json)
  }
}

struct FitEnsemble: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "ensemble",
    abstract: "A deep ensemble: networks that were trained apart, whose probabilities are averaged.",
    discussion: """
      Members take the same rows, with the same --scale, --mean and --std, and have the same exits and classes. The file \
      holds their places and digests, not their weights.

      With --validation each exit gets a temperature, which divides every member's logits.

      Example: bayesify fit ensemble a.h5 b.h5 c.h5 --scale 255 -o ensemble.h5
      """)

  @Argument(help: "Checkpoints, two at least.")
  var members: [String]

  @OptionGroup var tempering: TemperingOptions
  @OptionGroup var model: ModelOptions
  @OptionGroup var execution: ExecutionOptions

  @Flag(help: "What was chosen, in JSON on standard output.")
  var json = false

  func validate() throws {
    guard members.count > 1 else {
      throw ValidationError("An ensemble has two members at least, and one is named; name more checkpoints.")
    }
    guard members.count <= SampledNetworkPosterior.allowedDrawCounts.upperBound else {
      throw ValidationError("An ensemble has at most \(SampledNetworkPosterior.allowedDrawCounts.upperBound) members.")
    }
  }

  func run() async throws {
    try tempering.requireWritable(apartFrom: members, model, execution)
    let session = Session(model, execution, execution.progress())
    let (posterior, checkpoints) = try ensemble(session)
    try await tempering.finish(posterior, checkpoints, session, asJSON: json)
  }

  // Not in `run`, whose optimised form Swift 6.3.1 would fail to compile.
  private func ensemble(_ session: Session) throws -> (SampledNetworkPosterior, [CheckpointModel]) {
    let checkpoints = try members.map { try CheckpointModel($0, reading: model.checkpoint.reading) }
    try model.checkpoint.requireUse(by: checkpoints)
    let posterior = try SampledNetworkPosterior(
      ensembleOf: checkpoints.map {
        (.init(file: $0.file, digest: $0.digest), $0.frozen.network, try session.description(of: $0))
      })
    return (posterior, checkpoints)
  }
}

/// Validation rows and the output of posteriors whose draws are networks.
struct TemperingOptions: ParsableArguments {
  @Option(help: "Labelled rows on which temperatures are fitted: data.")
  var validation: String?

  @Option(help: "Labels of the validation rows, where they are not beside the inputs.")
  var validationLabels: String?

  @Option(parsing: .unconditional, help: "Validation rows to use, first:end.", transform: optionValue)
  var validationRows: RowRange?

  @Option(name: .shortAndLong, help: "The posterior, HDF5.")
  var output: String

  func validate() throws {
    try OutputFormat.requireSuffix(of: output, among: [.hdf5])
    try requireRows(of: validation, for: validationRows, validationLabels)
  }

  func requireWritable(apartFrom checkpoints: [String], _ model: ModelOptions, _ execution: ExecutionOptions) throws {
    try model.requireTable(among: validation, validationLabels)
    try execution.requireWritable(
      output, apartFrom: checkpoints + [validation, validationLabels, model.classNames, model.checkpoint.architecture])
  }

  /// Fits temperatures where there are rows for that, writes the posterior, and says what was done.
  func finish(
    _ posterior: SampledNetworkPosterior, _ checkpoints: [CheckpointModel], _ session: Session, asJSON: Bool
  ) async throws {
    try await finish(posterior, checkpoints, session, asJSON: asJSON) { SampledNetworksSummary($0, output: output) }
  }

  /// - Parameters:
  ///   - training: where the training was kept, which is removed behind the posterior.
  ///   - summary: what is said of the posterior.
  func finish<Summary: Encodable & CustomStringConvertible>(
    _ posterior: SampledNetworkPosterior, _ checkpoints: [CheckpointModel], _ session: Session, asJSON: Bool,
    training: TrainingFile? = nil, summary: (SampledNetworkPosterior) -> Summary
  ) async throws {
    let (posterior, digest) = try await tempered(posterior, checkpoints, session)
    session.progress.finishLine()
    try Task.checkCancellation()
    try write(
      posterior, to: output, replacing: training?.mayReplace(output), checkpoints[0], session, validationDigest: digest)
    try training?.remove()
    for warning in posterior.warnings { session.progress.warn(warning) }
    let summary = summary(posterior)
    try printAnswer(asJSON ? try jsonText(summary) : summary.description)
  }

  /// The posterior with temperatures where there are rows for them, and the digest of those.
  func tempered(
    _ posterior: SampledNetworkPosterior, _ checkpoints: [CheckpointModel], _ session: Session
  ) async throws -> (posterior: SampledNetworkPosterior, digest: String?) {
    var posterior = posterior
    var digest: String?
    if let validation {
      let input = try RowInput(
        validation, labels: validationLabels, labelColumn: session.model.labelColumn, rows: validationRows?.range)
      guard case .dataset(let dataset) = input else {
        throw FileError(
          .unsupported, file: input.file,
          "These are exit records, and draws of networks need the rows that they were extracted from; give the data.")
      }
      digest = try session.digest(of: validation)
      let rows = try session.networkRecords(
        checkpoints[0], over: dataset, stored: nil, stage: "validation", dataDigest: digest)
      guard rows.hasLabels else { throw input.missingLabels("validation", option: "--validation-labels") }
      try await session.noteIgnored("validation", rows)
      let backend = try session.execution.backend()
      let predictor = try posterior.predictor(
        for: rows.description, of: checkpoints.map(\.frozen), on: backend,
        in: session.execution.context(backend, session.progress))
      posterior = try await posterior.tempered(by: predictor, on: rows)
    }
    return (posterior, digest)
  }

  /// Writes a posterior and where its checkpoint is.
  ///
  /// - Parameter replacing: whether a file of that name may be replaced; with --force for `nil`.
  func write(
    _ posterior: SampledNetworkPosterior, to output: String, replacing: Bool? = nil, _ checkpoint: CheckpointModel,
    _ session: Session, validationDigest: String?
  ) throws {
    let writer = try HDF5ArchiveWriter(output, replacing: replacing ?? session.execution.force)
    do {
      try posterior.write(to: writer)
      try writer.setAttribute("checkpointFile", .text(checkpoint.file), of: "/")
      if let file = checkpoint.architectureFile { try writer.setAttribute("architectureFile", .text(file), of: "/") }
      if let backend = session.model.checkpoint.kerasBackend {
        try writer.setAttribute("kerasBackend", .text(backend.rawValue), of: "/")
      }
      try writer.setAttribute("seed", .integer(Int(bitPattern: UInt(session.execution.seed))), of: "/")
      try writer.setAttribute("madeBy", .text("bayesify " + bayesifyVersion), of: "/")
      if let validationDigest { try writer.setAttribute("validationDigest", .text(validationDigest), of: "/") }
      try writer.finish()
    } catch {
      writer.discard()
      throw error
    }
  }
}

extension Session {
  /// What is known of a checkpoint's exits, before any rows.
  fileprivate func description(of checkpoint: CheckpointModel) throws -> RecordsDescription {
    try checkpoint.frozen.recordsDescription(
      file: checkpoint.file, likelihood: model.likelihood, classNames: model.names(),
      checkpointDigest: checkpoint.digest,
      preprocessing: model.preprocessing ?? .identity)
  }
}

/// What was chosen for one exit of drawn networks.
struct SampledExitSummary: Encodable {
  var name: String
  var temperature: Double
  var validationNLL: Double?
  var untemperedNLL: Double?

  static func all(of posterior: SampledNetworkPosterior) -> [SampledExitSummary] {
    zip(posterior.source.exits, posterior.exits).map {
      SampledExitSummary(
        name: $0.name, temperature: $1.temperature, validationNLL: $1.validationNLL, untemperedNLL: $1.untemperedNLL)
    }
  }

  static func table(_ exits: [SampledExitSummary]) -> String {
    textTable(
      ["exit", "name", "temperature", "validation NLL", "NLL at 1"],
      exits.enumerated().map { index, exit in
        [
          "\(index)", exit.name, exit.temperature.significantDigits(),
          exit.validationNLL.map { $0.significantDigits() } ?? "-",
          exit.untemperedNLL.map { $0.significantDigits() } ?? "-",
        ]
      }, leading: 2)
  }
}

/// What was made of several networks.
struct SampledNetworksSummary: Encodable, CustomStringConvertible {
  var output: String
  var networks: Int
  var exits: [SampledExitSummary]
  var warnings: [String]

  init(_ posterior: SampledNetworkPosterior, output: String) {
    self.output = output
    networks = posterior.sampleCount
    warnings = posterior.warnings
    exits = SampledExitSummary.all(of: posterior)
  }

  var description: String { SampledExitSummary.table(exits) + "\n\(networks) networks\nwrote \(output)" }
}
