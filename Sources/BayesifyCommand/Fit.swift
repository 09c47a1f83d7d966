public import ArgumentParser
import Bayesify

struct Fit: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Makes chosen layers of a trained network Bayesian.",
    discussion: "Example: bayesify fit laplace model.h5 --data train.h5 --validation validation.h5 -o posterior.h5",
    subcommands: [FitLaplace.self, FitFirstLayer.self, FitLatent.self, FitSpikeSlab.self, FitPlacement.self, FitDropout.self, FitEnsemble.self])
}

struct FitLaplace: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "laplace",
    abstract: "A Gaussian around the last layer of every exit, or around more layers, from the curvature.",
    discussion: """
      The trained weights stay the mean. The curvature comes from --data (rows the network was trained on); \
      prior precision and temperature are chosen on --validation (rows it was not trained on) or, for the \
      prior, by the marginal likelihood.

      Structures: kronecker (bias a block of its own, as laplace-torch), kronecker-folded (bias folded in, \
      exact), kronecker-factored (prior inside each factor, as in Meronen et al.), full (small heads), \
      diagonal, low-rank (leading eigenvectors, the prior elsewhere). Prior precisions of different \
      structures are different quantities.

      Predictives: whitened, antithetic (shared draws), function-space (each row's own), weights (draws of all \
      weights), probit, centred-probit, mean-field, bridge, bridge-normalized (closed forms), plain.

      With --layers the weights of more layers are Bayesian, in a network that is linear in them around the trained \
      ones; structures are then kronecker, full (up to 4096 weights) and diagonal, and exits are softmax or sigmoid. \
      That costs as many ways back through the network as there are classes, for every row fitted or predicted: it is \
      for small networks, a few layers, or --subnetwork. Rows must be data, not records.

      Labels of multilabel and Gaussian exits are targets [rows, outputs]: y of the data (zeros and ones, or real \
      numbers), or /targets of records. Gaussian exits have a noise in place of a temperature; in records each row \
      may have its own, /noise [rows].

      Where a network answers at every pixel or step through a 1x1 convolution or a dense layer, each is a row to fit; \
      labels are then [rows, height, width] or [rows, steps]. Validation records are kept on the disk meanwhile, 4 bytes \
      for each feature and class of each pixel.

      Example: bayesify fit laplace model.h5 --data train.h5 --validation test.h5 --validation-rows 0:5000 \
      --scale 255 -o posterior.h5
      Example: bayesify fit laplace model.h5 --layers last:2 --data train.h5 --prior-precision marginal-likelihood \
      --temperature 1 -o posterior.h5
      """)

  @Argument(help: "A checkpoint, or exit records of the training rows.")
  var source: String

  @Option(
    help: """
      Training rows: data (a file, or a folder of images by class) or exit records. Not needed when SOURCE holds their \
      records.
      """)
  var data: String?

  @Option(help: "Labels of the training rows, where they are not beside the inputs.")
  var labels: String?

  @Option(parsing: .unconditional, help: "Training rows to use, first:end.", transform: optionValue)
  var rows: RowRange?

  @Option(help: "Validation rows: data or exit records.")
  var validation: String?

  @Option(help: "Labels of the validation rows, where they are not beside the inputs.")
  var validationLabels: String?

  @Option(parsing: .unconditional, help: "Validation rows to use, first:end.", transform: optionValue)
  var validationRows: RowRange?

  @Option(
    name: [.long, .customLong("form")], parsing: .unconditional,
    help: "kronecker, kronecker-folded, kronecker-factored, full, diagonal or low-rank. (default: kronecker)")
  var structure: LaplaceStructure?

  @Option(
    parsing: .unconditional,
    help: """
      Which layers: last (of every exit), last:N (the last N that multiply by a matrix), all, or names separated by \
      commas, of layers on the way to every exit. Any but last leaves no use for --prior-mean, --greedy-ensemble, \
      --continue, --noise and --ignore-label. (default: last)
      """, transform: optionValue)
  var layers = LayersOption(scope: nil)

  @Option(
    parsing: .unconditional,
    help: "With --layers: how many weights, those of the largest variance; structures full and diagonal.",
    transform: wholeNumber(1 ... .max))
  var subnetwork: Int?

  @Option(parsing: .unconditional, help: "How probabilities are made; see above. (default: whitened)")
  var predictive: LaplacePredictive?

  @Option(
    parsing: .unconditional, help: "Draws of predictives that draw; best at least twice the number of classes. (default: 50)",
    transform: wholeNumber(LastLayerLaplace.allowedSampleCounts))
  var draws: Int?

  @Option(
    parsing: .unconditional, help: "For low-rank: the share of the curvature to keep, between 0 and 1. (default: 0.95)",
    transform: number("a number above 0 and at most 1") { $0 > 0 && $0 <= 1 })
  var explained: Double?

  @Option(
    parsing: .unconditional, help: "For low-rank: the most eigenvectors. (default: 100)",
    transform: wholeNumber(1 ... .max))
  var rank: Int?

  @Option(
    parsing: .unconditional, help: "'validation', 'marginal-likelihood', or a number for every exit. (default: validation)",
    transform: optionValue)
  var priorPrecision = PriorChoice(choice: .validation)

  @Option(
    parsing: .unconditional,
    help: "'validation', or a number for every exit; Gaussian ones have none. (default: validation)",
    transform: optionValue)
  var temperature: TemperatureOption?

  @Option(parsing: .unconditional, help: "Where the prior lies: zero, or checkpoint (the trained weights). (default: zero)")
  var priorMean: PriorMean?

  @Option(
    parsing: .unconditional,
    help: """
      What shares a prior precision that the marginal likelihood chooses: shared (all exits), exit, group (weights and \
      bias apart) or layer (with --layers).
      """)
  var priorScope: PriorScope = .exit

  @Option(
    parsing: .unconditional,
    help: """
      For Gaussian targets: 'learned', or their standard deviation; where records have noise of each row's own, a \
      factor on it. (default: learned)
      """, transform: optionValue)
  var noise: NoiseOption?

  @Flag(help: "Tune exits greedily as the mean of all exits up to each, and predict so.")
  var greedyEnsemble = false

  @Option(
    name: .customLong("continue"),
    help: """
      A posterior of the same checkpoint, to which these training rows are added. Its structure, predictive, draws, prior \
      mean and ensemble are kept where no others are given; prior precisions and temperatures are chosen anew.
      """)
  var earlier: String?

  @Flag(help: "With --continue: count rows again that the posterior was fitted to before.")
  var allowRepeatedRows = false

  @Option(name: .shortAndLong, help: "The posterior, HDF5.")
  var output: String

  @OptionGroup var model: ModelOptions
  @OptionGroup var execution: ExecutionOptions

  @Flag(help: "What was chosen, in JSON on standard output.")
  var json = false

  func validate() throws {
    try OutputFormat.requireSuffix(of: output, among: [.hdf5])
    try requireRows(of: validation, for: validationRows, validationLabels)
    if earlier == nil || predictive != nil { try requireDraws(by: predictive ?? .whitened) }
    // What continues a posterior has that one's structure.
    if earlier == nil || structure != nil { try requireRankOptions(for: structure ?? .kronecker) }
    if priorScope != .exit, priorPrecision.choice != .marginalLikelihood {
      throw ValidationError(
        "--prior-scope is for --prior-precision marginal-likelihood; validation chooses one prior precision an exit.")
    }
    try requirePriorMean(priorMean ?? .zero)
    if allowRepeatedRows, earlier == nil {
      throw ValidationError("--allow-repeated-rows is for --continue; leave it out.")
    }
    if greedyEnsemble, validation == nil {
      throw ValidationError("--greedy-ensemble chooses on validation rows; give --validation DATA.")
    }
    if recipe(.kronecker, nil).needsValidation([.gaussian]) && validation == nil { throw Self.missingValidation }
    try validateLayers()
  }

  static let missingValidation = ValidationError(
    "Prior precision and temperature are chosen on validation rows; give --validation DATA, or "
      + "--prior-precision marginal-likelihood and --temperature 1 (which Gaussian exits do not have).")

  private func requirePriorMean(_ priorMean: PriorMean) throws {
    guard priorMean == .checkpoint, priorPrecision.choice == .marginalLikelihood else { return }
    throw ValidationError(
      "With the prior at the checkpoint the marginal likelihood rises with the prior precision without end; choose it "
        + "by validation, or give a number.")
  }

  private func requireDraws(by predictive: LaplacePredictive) throws {
    guard draws != nil, !predictive.usesDraws else { return }
    throw ValidationError(
      "--draws is for predictives that draw (whitened, antithetic, function-space, weights), and \(predictive.rawValue) "
        + "has none; leave it out, or give one that does.")
  }

  private func requireRankOptions(for structure: LaplaceStructure) throws {
    guard structure != .lowRank, let name = rank != nil ? "--rank" : explained != nil ? "--explained" : nil else { return }
    throw ValidationError(
      "\(name) is for --structure low-rank, and the structure is \(structure.rawValue); leave it out, or give that structure.")
  }

  /// Refuses options that exits of these likelihoods do not take.
  private func requireUse(byExitsOf description: RecordsDescription) throws {
    let isGaussian = description.exits.map { $0.likelihood == .gaussian }
    if noise != nil, !isGaussian.contains(true) {
      throw ValidationError(
        "--noise is for Gaussian exits, and those of \(description.file) are "
          + "\(description.exits.first?.likelihood.rawValue ?? "none"); leave it out.")
    }
    if model.ignoreLabel != nil, !description.exits.contains(where: { $0.likelihood == .categorical || $0.likelihood == .binary }) {
      throw ValidationError(
        "--ignore-label is for exits with classes, and those of \(description.file) have targets; leave the rows without any "
          + "out of the data.")
    }
    if temperature != nil, !isGaussian.contains(false) {
      throw ValidationError(
        "--temperature is for exits with classes or labels, and those of \(description.file) are Gaussian, with a noise in "
          + "its place; leave it out, or give --noise.")
    }
  }

  /// What to say where the predictive that was asked for means the same as another at all exits.
  private func predictiveWarning(_ description: RecordsDescription) -> String? {
    guard let predictive, predictive != .plain else { return nil }
    let likelihoods = Set(description.exits.map(\.likelihood))
    if likelihoods == [.gaussian] {
      return "--predictive \(predictive.rawValue) makes no difference: predictions of Gaussian exits are an exact mean and "
        + "variance, whatever the predictive (but plain, which has no variance of the weights)."
    }
    if predictive == .meanField || predictive == .centredProbit, likelihoods.isSubset(of: [.binary, .multilabel]) {
      return "--predictive \(predictive.rawValue) is the same as probit here: it is about what the logits of several classes "
        + "share, and each of these stands alone."
    }
    return nil
  }

  /// - Parameter earlier: the posterior that is continued, which stands where no option does.
  private func recipe(_ structure: LaplaceStructure, _ earlier: LastLayerLaplacePosterior?) -> LastLayerLaplace {
    var recipe = LastLayerLaplace(
      structure: structure, predictive: predictive ?? earlier?.predictive ?? .whitened,
      sampleCount: draws ?? earlier?.sampleCount ?? 50, priorPrecision: priorPrecision.choice,
      temperature: temperature?.choice ?? .validation)
    recipe.priorMean = priorMean ?? earlier?.exits.first?.priorMean ?? .zero
    recipe.priorScope = priorScope
    recipe.noise = noise?.choice ?? .learned
    if let explained { recipe.explained = explained }
    if let rank { recipe.rankLimit = rank }
    recipe.ensembles = greedyEnsemble || earlier?.isEnsemble ?? false
    return recipe
  }

  func run() async throws {
    try model.requireTable(among: data, labels, validation, validationLabels)
    try execution.requireWritable(
      output, apartFrom: [
        source, data, labels, validation, validationLabels, model.classNames, model.checkpoint.architecture, earlier,
      ])
    let progress = execution.progress()
    let session = Session(model, execution, progress)
    if let scope = layers.scope { return try await fitWeights(of: scope, session) }
    let continued = try earlier.map(Self.lastLayerPosterior)
    let recipe = recipe(structure ?? continued?.structure ?? .kronecker, continued)
    try requireRankOptions(for: recipe.structure)
    try requireDraws(by: recipe.predictive)
    try requirePriorMean(recipe.priorMean)
    let input = try TrainingInput(self, session)
    var warnings: [String] = []

    var training = try await input.records(input.training, input.trainingSpecification, "training", session)
    let fittedRows = try input.training.fittedRows(
      input.trainingSpecification, rows?.range, dataDigest: training.description.dataDigest)
    if let continued { try recipe.requireContinuation(of: continued, with: training.description) }
    if let continued, let earlier, !allowRepeatedRows, let twice = fittedRows.overlap(with: continued.fittedRows) {
      throw FileError(
        .value, file: input.training.file,
        "Rows \(twice.lowerBound):\(twice.upperBound) are among those that \(earlier) was fitted to, and would count twice; "
          + "give rows that are new (--rows), or --allow-repeated-rows where they are to count again.")
    }
    if let continued, let earlier, let digest = training.description.dataDigest,
      !continued.fittedRows.contains(where: { $0.data == fittedRows.data }),
      continued.source.dataDigest == digest || continued.fittedRows.contains(where: { $0.data == digest })
    {
      warnings.append(
        "\(input.training.file) holds rows of the data that \(earlier) was fitted to; where they are the same rows they count "
          + "twice.")
    }
    try requireUse(byExitsOf: training.description)
    if let warning = predictiveWarning(training.description) { warnings.append(warning) }
    if validation == nil, recipe.needsValidation(training.description.exits.map(\.likelihood)) {
      throw Self.missingValidation
    }
    // A low rank reads the rows several times; the network runs once.
    if recipe.structure == .lowRank, let records = training as? NetworkRecords {
      training = try await SpooledRecords(records)
    }
    var ignored: [String: IgnoredLabels] = [:]
    (training, ignored["training"]) = try await session.answered(training)
    var held: (any ExitRecordSource)?
    if let validation = input.validation, let specification = self.validation {
      if let warning = try session.warningOfRecurrence(
        of: validation, named: "validation", in: input.training, named: "training")
      {
        warnings.append(warning)
      }
      let records = try await input.records(validation, specification, "validation", session)
      guard records.hasLabels || records.hasTargets else {
        throw validation.missingLabels("validation", option: "--validation-labels")
      }
      // Tuning reads the records many times; the network runs once.
      if let records = records as? NetworkRecords {
        held = try await SpooledRecords(records)
      } else {
        held = records
      }
      if let records = held { (held, ignored["validation"]) = try await session.answered(records) }
    }

    let context = execution.context(try execution.backend(), progress)
    var posterior = try await recipe.fit(
      training: training, validation: held, continuing: continued, in: context)
    posterior.fittedRows = (continued?.fittedRows ?? []) + [fittedRows]
    progress.finishLine()
    try Task.checkCancellation()
    try write(posterior.write, input, validationDigest: held?.description.dataDigest)
    for warning in warnings + posterior.warnings { progress.warn(warning) }
    let summary = FitSummary(
      posterior, output: output, warnings: warnings + posterior.warnings, ignored: ignored.isEmpty ? nil : ignored)
    try printAnswer(json ? try jsonText(summary) : summary.description)
  }

  /// The posterior to which rows are added.
  private static func lastLayerPosterior(_ file: String) throws -> LastLayerLaplacePosterior {
    switch try FittedPosterior(from: HDF5Archive(file)) {
    case .lastLayer(let posterior): return posterior
    case .weights:
      throw FileError(
        .unsupported, file: file,
        "This posterior is one of earlier layers (--layers), to which no rows can be added; fit all rows at once with "
          + "--layers, or continue a posterior of last layers.")
    case .sampled:
      throw FileError(
        .unsupported, file: file,
        "Its networks were sampled, and no rows can be added to them; continue a posterior of last layers.")
    }
  }

  /// Writes a posterior, whole or not at all, and where its checkpoint is.
  func write(
    _ posterior: (any ArrayArchiveWriter) throws -> Void, _ input: TrainingInput, validationDigest: String?
  ) throws {
    let writer = try HDF5ArchiveWriter(output, replacing: execution.force)
    do {
      try posterior(writer)
      if let file = input.checkpoint?.file {
        try writer.setAttribute("checkpointFile", .text(file), of: "/")
      }
      if let file = input.checkpoint?.architectureFile {
        try writer.setAttribute("architectureFile", .text(file), of: "/")
      }
      if let backend = model.checkpoint.kerasBackend {
        try writer.setAttribute("kerasBackend", .text(backend.rawValue), of: "/")
      }
      try writer.setAttribute("seed", .integer(Int(bitPattern: UInt(execution.seed))), of: "/")
      try writer.setAttribute("madeBy", .text("bayesify " + bayesifyVersion), of: "/")
      if let validationDigest { try writer.setAttribute("validationDigest", .text(validationDigest), of: "/") }
      try writer.finish()
    } catch {
      writer.discard()
      throw error
    }
  }
}

/// The rows of a fit, and the checkpoint that runs them where one is needed.
struct TrainingInput {
  let checkpoint: CheckpointModel?
  let training: RowInput
  let trainingSpecification: String
  let validation: RowInput?
  private let preprocessing: Preprocessing?

  init(_ command: FitLaplace, _ session: Session) throws {
    let likelihood = command.model.likelihood
    let sourceIsRecords = try HDF5Archive.recognizes(command.source)
      && HDF5Archive(command.source).holdsExitRecords
    if sourceIsRecords { try command.model.checkpoint.requireNetwork(becauseOf: "exit records") }
    checkpoint = sourceIsRecords ? nil : try command.model.checkpoint.model(command.source)
    guard let specification = command.data ?? (sourceIsRecords ? command.source : nil) else {
      throw ValidationError("Give the training rows with --data DATA.")
    }
    trainingSpecification = specification
    training = try RowInput(
      specification, labels: command.labels, labelColumn: command.model.labelColumn, rows: command.rows?.range,
      likelihood: likelihood)
    validation = try command.validation.map {
      try RowInput(
        $0, labels: command.validationLabels, labelColumn: command.model.labelColumn,
        rows: command.validationRows?.range, likelihood: likelihood)
    }
    preprocessing = try session.agreedPreprocessing(
      [training, validation].compactMap { $0 }.map { ($0.file, $0.preprocessing) })
    if checkpoint == nil {
      for case .dataset(let dataset)? in [training, validation] {
        throw FileError(
          .value, file: dataset.file,
          "\(command.source) holds exit records, so no network can run these rows; give their exit records, "
            + "or the checkpoint in place of \(command.source).")
      }
    }
  }

  func records(_ input: RowInput, _ specification: String, _ role: String, _ session: Session) async throws
    -> any ExitRecordSource
  {
    let records = try await session.records(
      input, specification: specification,
      checkpoint: {
        guard let checkpoint else { preconditionFailure("Rows without a network are records.") }
        return checkpoint
      }, digest: checkpoint?.digest, stored: preprocessing, stage: role)
    guard let checkpoint, let archived = records as? ArchivedExitRecords else { return records }
    // Records from elsewhere may lack what the checkpoint has; that they fit each other is checked row by row.
    let network = try checkpoint.frozen.recordsDescription(
      file: checkpoint.file, likelihood: archived.description.exits.first?.likelihood)
    try network.requireSameExits(as: archived.description)
    return archived.withHeads(of: network)
  }
}

/// What a fit has chosen.
struct FitSummary: Encodable, CustomStringConvertible {
  struct ExitSummary: Encodable {
    var name: String
    var priorPrecision: Double
    /// Of several layers with values of their own.
    var priorPrecisions: [Double]?
    /// Of more than last layers.
    var layers: [String]?
    var parameters: Int?
    /// Where it is not that of the weights.
    var biasPriorPrecision: Double?
    var temperature: Double
    /// Of Gaussian targets.
    var noise: Double?
    /// Of a low rank.
    var rank: Int?
    var explainedShare: Double?
    var validationNLL: Double?
    var validationNLLOfTemperatureAlone: Double?
    var logMarginalLikelihood: Double?
  }

  var output: String
  var structure: String
  var exits: [ExitSummary]
  var warnings: [String]
  /// Labels that were passed over, by the set of rows; absent where no label is ignored.
  var ignored: [String: IgnoredLabels]?

  init(
    _ posterior: LastLayerLaplacePosterior, output: String, warnings: [String], ignored: [String: IgnoredLabels]?
  ) {
    self.output = output
    self.warnings = warnings
    self.ignored = ignored
    structure = posterior.structure.rawValue
    exits = posterior.exits.map {
      ExitSummary(
        name: $0.description.name, priorPrecision: $0.priorPrecision,
        biasPriorPrecision: $0.biasPriorPrecision == $0.priorPrecision ? nil : $0.biasPriorPrecision,
        temperature: $0.temperature, noise: $0.description.likelihood == .gaussian ? $0.noise : nil,
        rank: $0.rank, explainedShare: $0.explainedShare,
        validationNLL: $0.tuning.chosen?.negativeLogLikelihood,
        validationNLLOfTemperatureAlone: $0.tuning.withoutVariance?.negativeLogLikelihood,
        logMarginalLikelihood: $0.logMarginalLikelihood)
    }
  }

  init(_ posterior: WeightLaplacePosterior, output: String, warnings: [String]) {
    self.output = output
    self.warnings = warnings
    structure = posterior.structure.rawValue
    exits = zip(posterior.source.exits, posterior.exits).map { description, exit in
      let isOne = Set(exit.priorPrecisions).count == 1
      return ExitSummary(
        name: description.name, priorPrecision: exit.priorPrecisions[0],
        priorPrecisions: isOne ? nil : exit.priorPrecisions, layers: exit.layers.map(\.name),
        parameters: exit.parameterCount, temperature: exit.temperature,
        validationNLL: exit.tuning.chosen?.negativeLogLikelihood,
        validationNLLOfTemperatureAlone: exit.tuning.withoutVariance?.negativeLogLikelihood,
        logMarginalLikelihood: exit.logMarginalLikelihood)
    }
  }

  var description: String {
    let isGaussian = exits.contains { $0.noise != nil }
    return textTable(
      [
        "exit", "name", "prior precision", isGaussian ? "noise" : "temperature", "validation NLL",
        isGaussian ? "noise alone" : "temperature alone",
      ],
      exits.enumerated().map { index, exit in
        [
          "\(index)", exit.name,
          (exit.priorPrecisions ?? [exit.priorPrecision]).map { $0.significantDigits() }.joined(separator: " ")
            + (exit.biasPriorPrecision.map { " (bias \($0.significantDigits()))" } ?? ""),
          (exit.noise ?? exit.temperature).significantDigits(),
          exit.validationNLL.map { $0.significantDigits() } ?? "-",
          exit.validationNLLOfTemperatureAlone.map { $0.significantDigits() } ?? "-",
        ]
      }, leading: 2)
      + exits.compactMap { exit in
        exit.rank.flatMap { rank in
          exit.explainedShare.map {
            "\n\(exit.name): \(rank) eigenvectors, \(($0 * 1000).rounded() / 10) % of the curvature"
          }
        }
      }.joined()
      + exits.compactMap { exit in
        exit.parameters.flatMap { parameters in
          exit.layers.map { "\n\(exit.name): \(parameters) weights of \($0.count) layer(s)" }
        }
      }.joined()
      + (ignored ?? [:]).sorted { $0.key < $1.key }.map { "\nignored \($0.key) labels: \($0.value)" }.joined()
      + "\nwrote \(output)"
  }
}

extension LaplaceStructure: ExpressibleByArgument {}
extension PriorMean: ExpressibleByArgument {}
extension PriorScope: ExpressibleByArgument {}
extension LaplacePredictive: ExpressibleByArgument {}
