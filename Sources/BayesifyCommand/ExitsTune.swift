import ArgumentParser
import Bayesify
import Foundation

struct ExitsTune: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "tune",
    abstract: "Chooses the thresholds at which rows leave, for a budget, an accuracy or a risk.",
    discussion: """
      One of:
        --budget B                 the mean cost of a row is at most B
        --budget B --percentile P  this share of the rows costs at most B each
        --accuracy A               the cheapest of 2,000 levels with which this share of the validation rows gets its label; \
      no promise for others
        --risk R --delta D         the cheapest whose share of wrong answers exceeds R with probability at most D, by exact \
      binomial tests on every second validation row (the others set the thresholds)
        --schedule Q               the shares Q^k of Huang et al., whatever they cost

      Costs are those of the network and, for a posterior, of its predictions; a table of yours must hold both. Measured \
      milliseconds are those of this machine, --threads and --measure rows at once.

      Rows that neither chose the checkpoint, nor the posterior, nor the temperature, are the best to tune thresholds on.
      Memory grows by 33 bytes a row and exit.

      Example: bayesify exits tune posterior.h5 --validation validation.h5 --score combined --budget 20M -o policy.json
      """)

  @Argument(help: "A checkpoint, a posterior of last layers, or the exit records of validation rows.")
  var model: String

  @Option(help: "Labelled rows the network was not trained on: data or exit records.")
  var validation: String?

  @Option(help: "Labels of the validation rows, where they are not beside the inputs.")
  var validationLabels: String?

  @Option(parsing: .unconditional, help: "Validation rows to use, first:end.", transform: optionValue)
  var validationRows: RowRange?

  @Option(
    parsing: .unconditional, help: "What makes a row ready to leave. (default: maximum-probability)",
    transform: optionValue)
  var score = ScoreOption.known(.maximumProbability)

  @Option(
    parsing: .unconditional, help: "The mean cost of a row: 20e6, 20M, or 50% of the last exit's.",
    transform: optionValue)
  var budget: BudgetOption?

  @Option(
    parsing: .unconditional, help: "With --budget: the share of rows that may cost no more.",
    transform: share)
  var percentile: Double?

  @Option(
    parsing: .unconditional, help: "The least accuracy on the validation rows.",
    transform: share)
  var accuracy: Double?

  @Option(
    parsing: .unconditional, help: "The largest share of wrong answers.",
    transform: share)
  var risk: Double?

  @Option(
    parsing: .unconditional, help: "With --risk: how probable it may be that it is exceeded. (default: 0.1)",
    transform: share)
  var delta: Double?

  @Option(
    parsing: .unconditional, help: "The ratio Q of a geometric schedule.",
    transform: number("a number above 0") { $0 > 0 })
  var schedule: Double?

  @Option(
    parsing: .unconditional,
    help: """
      What budgets are counted in: multiply-adds, milliseconds, or a .json file {"unit", "toExit"}. (default: \
      multiply-adds)
      """,
    transform: optionValue)
  var cost = CostOption.multiplyAdds

  @Option(
    parsing: .unconditional, help: "Rows at once when milliseconds are measured. (default: 128)",
    transform: wholeNumber(1...ExitRecords.chunkRowCount))
  var measure: Int?

  @Flag(help: "Fit a temperature to each exit first, on the validation rows; for checkpoints and records.")
  var temperature = false

  @Option(
    parsing: .unconditional,
    help: """
      Join each exit with those before, w being the multiply-adds up to an exit: cost-weighted (Σ w p / Σ w) or \
      product-of-experts (∏ p^(w / own w), normalised). (default: each by itself)
      """)
  var ensemble: InternalEnsemble?

  @Option(help: "The checkpoint of a posterior, where it has moved.")
  var checkpoint: String?

  @Option(name: .shortAndLong, help: "The policy, JSON.")
  var output: String

  @OptionGroup var options: ModelOptions
  @OptionGroup var execution: ExecutionOptions

  @Flag(help: "What was chosen in JSON on standard output.")
  var json = false

  func validate() throws {
    let targets = [budget != nil, accuracy != nil, risk != nil, schedule != nil].count { $0 }
    guard targets == 1 else {
      throw ValidationError("Give one of --budget, --accuracy, --risk and --schedule.")
    }
    try requireRows(of: validation, for: nil, validationLabels)
    if percentile != nil, budget == nil { throw ValidationError("--percentile is for --budget; leave it out.") }
    if delta != nil, risk == nil { throw ValidationError("--delta is for --risk; leave it out.") }
    if measure != nil, case .milliseconds = cost.model { return }
    if measure != nil { throw ValidationError("--measure is for --cost milliseconds; leave it out.") }
  }

  func run() async throws {
    try options.requireTable(among: validation, validationLabels)
    try execution.requireWritable(
      output, apartFrom: [model, validation, validationLabels, checkpoint, cost.file, options.classNames])
    let progress = execution.progress()
    let session = Session(options, execution, progress)
    let subject = try ExitsSubject(model, options)
    if temperature, subject.isPosterior {
      throw ValidationError("A posterior has temperatures of its own; leave --temperature out.")
    }
    guard let specification = validation ?? (subject.model == nil ? model : nil) else {
      throw ValidationError("Give labelled validation rows with --validation DATA.")
    }
    let input = try RowInput(
      specification, labels: validationLabels, labelColumn: options.labelColumn, rows: validationRows?.range,
      likelihood: options.likelihood)
    var source = try await subject.records(input, specification, checkpoint: checkpoint, stage: "validation", session)
    try session.require([.categorical, .binary], in: source.description)
    guard source.hasLabels else { throw input.missingLabels("validation", option: "--validation-labels") }
    try source.description.requireSeveralExits(of: model)
    let network = source as? NetworkRecords
    // What is chosen before the thresholds reads the rows too; the network runs once.
    var readsTwice = temperature
    if case .balanced = score { readsTwice = true }
    if readsTwice, let network { source = try await SpooledRecords(network) }
    (source, _) = try await session.answered(source)
    var temperatures: [Temperature]?
    if temperature {
      temperatures = try await naming(input.file) {
        try await TemperatureScaling().fit(exits: Array(source.description.exits.indices), of: source)
      }
    }
    let predictor = try ExitwisePredictor(
      temperatures.map { .temperature($0) }
        ?? subject.predictor(for: source.description, checkpoint: checkpoint, session),
      ensemble: ensemble, for: source.description)
    try predictor.requireOneNetwork()

    let score: ExitScore
    switch self.score {
    case .known(let known): score = known
    case .balanced:
      score = try await predictor.balancedScore(for: source)
      if case .combined(let weight) = score, let warning = ExitScore.warning(ofWeight: weight, in: "these predictions") {
        progress.warn(warning)
      }
    }
    var tables = ExitTables(exitCount: predictor.exitCount, scores: [score])
    try await naming(input.file) {
      try await predictor.predictions(for: source) { block, predictions in
        try Task.checkCancellation()
        try tables.add(predictions, labels: block.labels ?? [])
      }
    }
    progress.finishLine()
    let (costs, measuredRowCount) = try await costs(of: predictor, score, subject, network, session)
    let policy = try await naming(input.file) {
      try ExitPolicy(score: score, target: target(costs), costs: costs, tunedOn: tables[score])
    }
    let description = source.description
    let file = ExitPolicyFile(
      madeBy: "bayesify " + bayesifyVersion,
      checkpoint: BoundFile(
        file: checkpoint ?? (subject.isPosterior ? subject.model?.recordedCheckpoint : subject.model?.file),
        digest: subject.model?.checkpointDigest ?? description.checkpointDigest),
      posterior: subject.isPosterior ? BoundFile(file: model, digest: try subject.posteriorDigest()) : nil,
      validation: BoundFile(file: specification, digest: try session.digest(of: specification)),
      seed: execution.seed, preprocessing: description.preprocessing, exits: description.exits.map(\.name),
      temperatures: temperatures, ensemble: ensemble,
      measuredRowCount: measuredRowCount, policy: policy)
    try Task.checkCancellation()
    try AtomicFile.write(try file.json(), to: output, replacing: execution.force)
    if policy.choice.shares.last == 1 {
      progress.warn(
        "No validation row leaves before the last exit: what is asked for pays for the whole network, or needs it.")
    }
    if json {
      try printAnswer(String(decoding: try file.json(), as: UTF8.self).trimmingCharacters(in: .newlines))
    } else {
      try printAnswer(file.summary + "\nwrote \(output)")
    }
  }

  private func target(_ costs: ExitCosts) throws -> ExitTarget {
    if let budget {
      return percentile.map { .percentile(share: $0, cost: budget.cost(costs)) } ?? .meanCost(budget.cost(costs))
    }
    if let accuracy { return .accuracy(accuracy) }
    if let risk { return .risk(error: risk, delta: delta ?? 0.1) }
    if let schedule { return .schedule(ratio: schedule) }
    preconditionFailure("One target was given.")
  }

  /// What rows cost, and how many ran at once where that was measured.
  private func costs(
    of predictor: ExitwisePredictor, _ score: ExitScore, _ subject: ExitsSubject, _ network: NetworkRecords?,
    _ session: Session
  ) async throws -> (ExitCosts, measuredRowCount: Int?) {
    switch cost.model {
    case .multiplyAdds: return (try ExitCosts(multiplyAddsOf: predictor), nil)
    case .file(let file): return (try ExitCosts(table: file, exitCount: predictor.exitCount), nil)
    case .milliseconds:
      guard let network else {
        throw FileError(
          .unsupported, file: predictor.description.file,
          "Milliseconds are measured by running the network, and these are exit records; give the data and the checkpoint.")
      }
      let rows = try network.dataset.inputs(0..<min(measure ?? 128, network.dataset.rowCount))
      let timing = try await StageTiming(
        of: subject.checkpoint(named: checkpoint, options).frozen, predictor, score: score,
        preprocessing: network.description.preprocessing ?? .identity, on: try execution.backend(),
        width: execution.width, rows: rows)
      return (try await naming(network.dataset.file) { try timing.costs() }, rows.count)
    }
  }
}

extension CostOption {
  static let multiplyAdds = CostOption(model: .multiplyAdds)

  private init(model: Model) { self.model = model }
}
