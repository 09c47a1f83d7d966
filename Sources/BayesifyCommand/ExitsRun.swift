import ArgumentParser
import Bayesify
import Foundation

struct ExitsRun: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "run",
    abstract: "Predicts with a policy: each row leaves at the first exit that is ready to let it go.",
    discussion: """
      The model is the one that the policy was tuned for: its checkpoint, or the posterior. Stages of the network run one \
      after the other on the rows that are left. What a row gets is what 'predict' gives it at that exit, to the bit where \
      64 rows or more run at once.

      The output holds /probabilities, /total, /aleatoric, /epistemic (nats), /exit (from 0) and /cost (in the policy's \
      unit) of every row, and /labels where they are known.

      Example: bayesify exits run model.h5 --policy policy.json --data new.h5 -o routed.h5
      """)

  @Argument(help: "The checkpoint or the posterior that the policy was tuned for, or exit records.")
  var model: String

  @Option(help: "A policy that 'exits tune' wrote.")
  var policy: String

  @Option(help: "The rows: data (a file, or a folder of images) or exit records. Not needed where MODEL holds records.")
  var data: String?

  @Option(help: "A file of labels, where they are not beside the inputs.")
  var labels: String?

  @Option(parsing: .unconditional, help: "Rows to use, first:end.", transform: optionValue)
  var rows: RowRange?

  @Option(
    parsing: .unconditional,
    help: "Rows that go through the stages at once. (default: as many as milliseconds were measured with, or 1024)",
    transform: wholeNumber(1...ExitRecords.chunkRowCount))
  var atOnce: Int?

  @Option(help: "The checkpoint of a posterior, where it has moved.")
  var checkpoint: String?

  @Option(name: .shortAndLong, help: "The predictions, HDF5 or, by suffix, .npz.")
  var output: String

  @OptionGroup var options: ModelOptions
  @OptionGroup var execution: ExecutionOptions

  @Flag(help: "A summary in JSON on standard output.")
  var json = false

  func validate() throws { try OutputFormat.requireSuffix(of: output, among: [.hdf5, .npz]) }

  func run() async throws {
    try options.requireTable(among: data, labels)
    try execution.requireWritable(output, apartFrom: [model, policy, data, labels, checkpoint, options.classNames])
    let file = try ExitPolicyFile(option: policy)
    let progress = execution.progress()
    let session = Session(options, execution, progress)
    let subject = try ExitsSubject(model, options)
    guard let specification = data ?? (subject.model == nil ? model : nil) else {
      throw ValidationError("Give the rows with --data DATA.")
    }
    let input = try RowInput(
      specification, labels: labels, labelColumn: options.labelColumn, rows: rows?.range, likelihood: options.likelihood)
    try file.requireSame(
      file: policy, model: model, checkpointDigest: subject.model?.checkpointDigest ?? input.checkpointDigest,
      posteriorDigest: try subject.posteriorDigest())
    if let warning = file.warning(
      file: policy, model: model, checkpointDigest: subject.model?.checkpointDigest ?? input.checkpointDigest)
    {
      progress.warn(warning)
    }
    let source = try await subject.records(
      input, specification, checkpoint: checkpoint, stage: "route", session, madeBefore: (policy, file.preprocessing))
    let description = source.description
    guard description.exits.map(\.name) == file.exits else {
      throw FileError(
        .value, file: policy,
        "The policy is for the exits \(file.exits.joined(separator: ", ")), and those of \(model) are "
          + "\(description.exits.map(\.name).joined(separator: ", ")); tune one for this with 'exits tune'.")
    }
    let predictor = try ExitwisePredictor(
      file.temperatures.map { .temperature($0) }
        ?? subject.predictor(for: description, checkpoint: checkpoint, session),
      ensemble: file.ensemble, for: description)
    try predictor.requireOneNetwork()

    let archive = try archiveWriter(output, replacing: execution.force)
    var tally = RoutingTally(file.policy)
    let clock = ContinuousClock()
    let start = clock.now
    do {
      let writer = try RoutedPredictionsWriter(file, to: archive)
      let take = { (routed: RoutedRows, labels: [Int]?) in
        try writer.append(routed, labels: labels)
        tally.add(routed, labels: labels)
      }
      if let network = source as? NetworkRecords {
        let inference = try AdaptiveInference(
          try subject.checkpoint(named: checkpoint, options).frozen, predictor, file.policy,
          preprocessing: description.preprocessing ?? .identity, on: try execution.backend(), width: execution.width)
        let rowCount = atOnce ?? file.measuredRowCount ?? ExitRecords.chunkRowCount
        if let measured = file.measuredRowCount, rowCount != measured {
          progress.warn("Costs were measured with \(measured) rows at once; with \(rowCount), rows take other times.")
        }
        try await network.forEachInputs(of: rowCount) { rows, first, labels in
          try take(try await inference(rows, firstRow: first), labels)
        }
      } else {
        try await source.forEachChunk { records in
          try take(try await AdaptiveInference.route(records, predictor, file.policy), records.labels)
        }
      }
      try Task.checkCancellation()
      try writer.finish()
    } catch {
      archive.discard()
      throw error
    }
    progress.finishLine()
    let seconds = (clock.now - start) / .seconds(1)
    if let warning = tally.warning { progress.warn(warning) }
    let summary = RoutingSummary(tally, file, output: output)
    if !json {
      let rate = (Double(tally.rowCount) / seconds).significantDigits(3)
      progress.note("\(rate) rows a second, reading and writing included")
    }
    try printAnswer(json ? try jsonText(summary) : summary.description)
  }
}

/// Which exits rows took.
private struct RoutingTally {
  let policy: ExitPolicy
  var counts: [Int]
  var correct = 0
  var labelled = 0
  var rowCount: Int { counts.reduce(0, +) }

  init(_ policy: ExitPolicy) {
    self.policy = policy
    counts = Array(repeating: 0, count: policy.exitCount)
  }

  mutating func add(_ routed: RoutedRows, labels: [Int]?) {
    for exit in routed.exits { counts[exit] += 1 }
    guard let labels else { return }
    labelled += labels.count
    let classCount = routed.probabilities.shape[1]
    for (row, label) in labels.enumerated() {
      let best = (0..<classCount).reduce(0) { routed.probabilities[row, $1] > routed.probabilities[row, $0] ? $1 : $0 }
      if best == label { correct += 1 }
    }
  }

  var meanCost: Double { mean(policy.costs.toExit) }

  /// The mean over rows of a number that each exit has.
  func mean(_ values: [Double]) -> Double {
    zip(counts, values).reduce(0) { $0 + Double($1.0) * $1.1 } / Double(max(1, rowCount))
  }

  /// How many standard errors the cost lies above the promised one.
  var deviation: Double {
    let error = policy.costStandardError(rowCount: rowCount)
    return error > 0 ? (meanCost - policy.choice.meanCost) / error : 0
  }

  var warning: String? {
    if counts.dropLast().allSatisfy({ $0 == 0 }) {
      return "No row met a threshold, so that all went through the whole network; tune the policy on rows like these."
    }
    guard abs(deviation) > 3.5 else { return nil }
    return "The cost lies \(deviation.significantDigits(3)) standard errors from the promised one, so that these rows are not "
      + "like those the policy was tuned on."
  }
}

/// What a routed pass says at its end.
private struct RoutingSummary: Encodable, CustomStringConvertible {
  struct Exit: Encodable {
    var name: String
    var rows: Int
    var cost: Double
  }

  struct Cost: Encodable {
    var unit: String
    var promised: Double
    var realised: Double
    /// How many standard errors the realised cost is above the promised.
    var standardErrors: Double
    /// Of the whole network for every row.
    var full: Double
    /// The part of the realised cost that predictions take.
    var predictions: Double
  }

  var output: String
  var rows: Int
  var exits: [Exit]
  var cost: Cost
  /// Where there are labels.
  var accuracy: Double?
  private let costs: ExitCosts

  private enum CodingKeys: String, CodingKey { case output, rows, exits, cost, accuracy }

  init(_ tally: RoutingTally, _ file: ExitPolicyFile, output: String) {
    costs = tally.policy.costs
    self.output = output
    rows = tally.rowCount
    exits = file.exits.indices.map { exit in
      Exit(name: file.exits[exit], rows: tally.counts[exit], cost: tally.policy.costs.toExit[exit])
    }
    cost = Cost(
      unit: costs.unit.rawValue, promised: tally.policy.choice.meanCost, realised: tally.meanCost,
      standardErrors: tally.deviation, full: costs.toExit[costs.toExit.count - 1],
      predictions: tally.mean(costs.overheadToExit))
    accuracy = tally.labelled > 0 ? Double(tally.correct) / Double(tally.labelled) : nil
  }

  var description: String {
    textTable(
      ["exit", "name", "cost", "rows", "share"],
      exits.enumerated().map { index, exit in
        [
          "\(index)", exit.name, costs.figure(exit.cost), "\(exit.rows)",
          "\((Double(exit.rows) / Double(max(1, rows)) * 100).significantDigits(3)) %",
        ]
      }, leading: 2)
      + "\ncost \(costs.words(cost.realised)) a row, promised \(costs.figure(cost.promised)) "
      + "(\(cost.standardErrors >= 0 ? "+" : "")\(cost.standardErrors.significantDigits(2)) standard errors), "
      + "\((cost.realised / cost.full * 100).significantDigits(3)) % of the whole network"
      + (cost.predictions > 0 ? ", of it \(costs.figure(cost.predictions)) for predictions" : "")
      + (accuracy.map { "\naccuracy \($0.significantDigits())" } ?? "") + "\nwrote \(output)"
  }
}
