import ArgumentParser
import Bayesify
import Foundation

struct Heads: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Gives a trained network early exits: linear heads fitted to what named nodes compute.",
    discussion: """
      The network stays as it is. At each node of --exits-at its output is averaged over pixels or steps, and a \
      multinomial logistic regression is fitted to that on --data (rows the network was trained on): the minimum of

        mean negative log-likelihood + penalty/2 · squared weights,

      features brought to mean zero and deviation one, the bias free; as StandardScaler and LogisticRegression(C = \
      1 / (rows · penalty)) of scikit-learn. The penalty is chosen for each exit among \
      \(LogisticHeads.standardPenalties.map { String($0) }.joined(separator: ", ")) by the likelihood of --validation rows \
      (which the network was not trained on), or given.

      The file is a whole checkpoint, network and heads: every verb takes it. New exits come first, in order of cost; what the \
      network had as outputs comes as it was. Give the same --scale, --mean and --std with it. Features are kept on the disk \
      meanwhile, 4 bytes each.

      'inspect' names the nodes; a layer of Keras with an activation is two, as conv1 and conv1/activation behind it.

      Example: bayesify heads model.h5 --exits-at activation_6,activation_12 --data train.h5 --validation validation.h5 \
      --scale 255 -o model-with-exits.h5
      """)

  @Argument(help: "A checkpoint of a network that classifies.")
  var checkpoint: String

  @Option(help: "The nodes, by name, separated by commas.", transform: optionValue)
  var exitsAt: NodeNames

  @Option(help: "Training rows: data (a file, or a folder of images by class).")
  var data: String

  @Option(help: "Labels of the training rows, where they are not beside the inputs.")
  var labels: String?

  @Option(parsing: .unconditional, help: "Training rows to use, first:end.", transform: optionValue)
  var rows: RowRange?

  @Option(help: "Validation rows: data.")
  var validation: String?

  @Option(help: "Labels of the validation rows, where they are not beside the inputs.")
  var validationLabels: String?

  @Option(parsing: .unconditional, help: "Validation rows to use, first:end.", transform: optionValue)
  var validationRows: RowRange?

  @Option(
    parsing: .unconditional, help: "'validation', or a number for every exit. (default: validation)",
    transform: optionValue)
  var penalty = PenaltyOption(choice: .validation(LogisticHeads.standardPenalties))

  @Option(name: .shortAndLong, help: "The network with its new exits, HDF5.")
  var output: String

  @OptionGroup var model: ModelOptions
  @OptionGroup var execution: ExecutionOptions

  @Flag(help: "What was chosen, in JSON on standard output.")
  var json = false

  func validate() throws {
    if case .validation = penalty.choice, validation == nil {
      throw ValidationError(
        "Penalties are chosen on validation rows; give --validation DATA, or a number with --penalty.")
    }
    try OutputFormat.requireSuffix(of: output, among: [.hdf5])
    try requireRows(of: validation, for: validationRows, validationLabels)
  }

  func run() async throws {
    try model.requireTable(among: data, labels, validation, validationLabels)
    try execution.requireWritable(
      output,
      apartFrom: [
        checkpoint, data, labels, validation, validationLabels, model.classNames, model.checkpoint.architecture,
      ])
    let session = Session(model, execution, execution.progress())
    let checkpoint = try model.checkpoint.model(checkpoint)
    let frozen = checkpoint.frozen
    try frozen.network.requireGraphForm(file: checkpoint.file)
    let (exits, part) = try earlyExits(of: checkpoint)

    let training = try RowInput(data, labels: labels, labelColumn: model.labelColumn, rows: rows?.range)
    let held = try validation.map {
      try RowInput($0, labels: validationLabels, labelColumn: model.labelColumn, rows: validationRows?.range)
    }
    var warnings: [String] = []
    if let held,
      let warning = try session.warningOfRecurrence(of: held, named: "validation", in: training, named: "training")
    {
      warnings.append(warning)
    }
    let (fitted, description) = try await rowsOf(training, data, "training", checkpoint, part, session)
    try await requireSameAnswers(of: exits, in: checkpoint, fitted, training, session)
    var measured: (any ExitRecordSource)?
    if let held, let validation {
      (measured, _) = try await rowsOf(
        held, validation, "validation", checkpoint, part, session, classNames: description.classNames)
    }
    let choice = LogisticHeads(penalty: penalty.choice)
    let heads = try await choice.fit(
      training: fitted, validation: measured, in: execution.context(try execution.backend(), session.progress))
    session.progress.finishLine()
    try Task.checkCancellation()

    for (head, exit) in zip(heads, part.network.exits) where head.isAtEdge {
      warnings.append(
        "The penalty of \(exit.name) lies at the edge of the search, \(head.chosen.penalty.significantDigits()); a better one "
          + "may lie beyond it.")
    }
    for (head, exit) in zip(heads, part.network.exits) {
      let missing = head.trail.filter { !$0.isFound }
      guard !missing.isEmpty else { continue }
      warnings.append(
        "No head of \(exit.name) was found with the penalty "
          + missing.map { "\($0.penalty.significantDigits()) after \($0.evaluationCount) passes" }.joined(separator: ", ")
          + "; it was chosen among the others.")
    }
    let result = try exits.frozen(frozen, heads: heads.map { ($0.head.weight, $0.head.bias) })
    try write(
      result, exits, heads, checkpoint, description, measured?.description.dataDigest, rowCount: fitted.rowCount)
    for warning in warnings { session.progress.warn(warning) }
    let summary = HeadsSummary(output: output, result.network, exits, heads, warnings)
    try printAnswer(json ? try jsonText(summary) : summary.description)
  }

  /// The exits asked for, and the network that ends in them.
  private func earlyExits(of checkpoint: CheckpointModel) throws -> (EarlyExits, FrozenNetwork) {
    let described = try checkpoint.frozen.recordsDescription(file: checkpoint.file, likelihood: model.likelihood)
    for (index, exit) in described.exits.enumerated()
    where exit.likelihood != .categorical && exit.likelihood != .binary {
      throw FileError(
        .unsupported, file: checkpoint.file, object: "exit \(index) ('\(exit.name)')",
        "Early exits are fitted to classes, and its likelihood is \(exit.likelihood.rawValue); give a network that classifies."
      )
    }
    do {
      let exits = try EarlyExits(
        in: checkpoint.frozen.network, at: exitsAt.names, likelihood: described.exits.last?.likelihood ?? .categorical)
      return (exits, try exits.features(of: checkpoint.frozen))
    } catch {
      throw FileError(.value, file: checkpoint.file, error.message)
    }
  }

  /// Features and labels of some rows, kept on the disk.
  private func rowsOf(
    _ input: RowInput, _ specification: String, _ role: String, _ checkpoint: CheckpointModel, _ part: FrozenNetwork,
    _ session: Session, classNames: [String]? = nil
  ) async throws -> (any ExitRecordSource, RecordsDescription) {
    guard case .dataset(let dataset) = input else {
      throw FileError(
        .unsupported, file: input.file,
        "These are exit records, and new exits need the rows that they were extracted from; give the data.")
    }
    let records = try session.networkRecords(
      checkpoint, part: part, over: dataset, stored: nil, classNames: classNames, stage: role,
      dataDigest: try session.digest(of: specification))
    guard records.hasLabels else {
      throw input.missingLabels(role, option: role == "training" ? "--labels" : "--validation-labels")
    }
    try await session.announce(records)
    return (try await SpooledRecords(try await session.answered(records).rows), records.description)
  }

  /// Makes sure that the outputs that were there are what they were, to the bit.
  private func requireSameAnswers(
    of exits: EarlyExits, in checkpoint: CheckpointModel, _ records: any ExitRecordSource, _ input: RowInput,
    _ session: Session
  ) async throws {
    guard case .dataset(let dataset) = input else { return }
    let backend = try execution.backend()
    let preprocessing = records.description.preprocessing ?? .identity
    let rows = try dataset.inputs(0..<min(16, dataset.rowCount))
    func logits(_ frozen: FrozenNetwork) async throws -> [Tensor<Float>] {
      let outputs = frozen.network.exits.flatMap { exit in (exit.features.map { [$0] } ?? []) + [exit.logits] }
      let prepared = try backend.prepare(frozen, preprocessing: preprocessing, outputs: outputs)
      let values = try await prepared(rows, width: execution.width)
      let known = checkpoint.frozen.network.exits.map(\.logits)
      return zip(outputs, values).filter { known.contains($0.0) }.map(\.1)
    }
    let zeros = exits.emptyHeads
    let (before, after) = (
      try await logits(checkpoint.frozen), try await logits(exits.frozen(checkpoint.frozen, heads: zeros))
    )
    guard before != after else { return }
    throw FileError(
      .unsupported, file: checkpoint.file,
      "With exits at \(exits.nodeNames.map { "'\($0)'" }.joined(separator: ", ")) the outputs would change in their last bits, for "
        + (exits.nodeNames.count == 1 ? "this node" : "one of these nodes")
        + " is computed in one step with those that follow it; name the last of that step, which 'inspect' lists behind it.")
  }

  private func write(
    _ network: FrozenNetwork, _ exits: EarlyExits, _ heads: [FittedHead], _ checkpoint: CheckpointModel,
    _ training: RecordsDescription, _ validationDigest: String?, rowCount: Int
  ) throws {
    let writer = try HDF5ArchiveWriter(output, replacing: execution.force)
    do {
      try network.write(to: writer)
      try writer.setAttribute("madeBy", .text("bayesify " + bayesifyVersion), of: "/")
      try writer.setAttribute("originFile", .text(checkpoint.file), of: "/")
      try writer.setAttribute("originDigest", .text(checkpoint.digest), of: "/")
      let path = "/heads"
      try writer.setAttribute("rowCount", .integer(rowCount), of: path)
      if let digest = training.dataDigest { try writer.setAttribute("dataDigest", .text(digest), of: path) }
      if let validationDigest { try writer.setAttribute("validationDigest", .text(validationDigest), of: path) }
      let preprocessing = training.preprocessing ?? .identity
      try writer.setAttribute("scale", .number(preprocessing.scale), of: path)
      try writer.setAttribute("mean", .numbers(preprocessing.mean), of: path)
      try writer.setAttribute("standardDeviation", .numbers(preprocessing.standardDeviation), of: path)
      for (index, head) in heads.enumerated() {
        let path = "/heads/\(index)"
        try writer.setAttribute("node", .text(exits.nodeNames[index]), of: path)
        try writer.setAttribute("penalty", .number(head.chosen.penalty), of: path)
        try writer.setAttribute("penalties", .numbers(head.trail.map(\.penalty)), of: path)
        try writer.setAttribute("trainingNLL", .numbers(head.trail.map(\.trainingNLL)), of: path)
        if validationDigest != nil {
          try writer.setAttribute("validationNLL", .numbers(head.trail.compactMap(\.validationNLL)), of: path)
          try writer.setAttribute("validationAccuracy", .numbers(head.trail.compactMap(\.validationAccuracy)), of: path)
        }
      }
      try writer.finish()
    } catch {
      writer.discard()
      throw error
    }
  }
}

/// What was fitted.
private struct HeadsSummary: Encodable, CustomStringConvertible {
  struct ExitSummary: Encodable {
    var name: String
    var node: String
    var features: Int
    /// To reach it, earlier exits included.
    var multiplyAdds: Int
    var penalty: Double
    var trainingNLL: Double
    var validationNLL: Double?
    var validationAccuracy: Double?
    /// Passes over the training rows.
    var passes: Int
  }

  var output: String
  /// The new exits.
  var exits: [ExitSummary]
  /// Of the whole network, with the new exits.
  var multiplyAdds: Int
  var warnings: [String]

  init(output: String, _ network: Network, _ exits: EarlyExits, _ heads: [FittedHead], _ warnings: [String]) {
    self.output = output
    self.warnings = warnings
    multiplyAdds = network.multiplyAdds(toExit: network.exits.count - 1)
    self.exits = zip(heads, exits.nodeNames).map { head, node in
      let index = network.exits.firstIndex { $0.name == EarlyExits.name(at: node) } ?? 0
      return ExitSummary(
        name: network.exits[index].name, node: node, features: head.head.weight.shape[0],
        multiplyAdds: network.multiplyAdds(toExit: index), penalty: head.chosen.penalty,
        trainingNLL: head.chosen.trainingNLL, validationNLL: head.chosen.validationNLL,
        validationAccuracy: head.chosen.validationAccuracy, passes: head.chosen.evaluationCount)
    }
  }

  var description: String {
    textTable(
      ["exit", "features", "multiply-adds", "penalty", "training NLL", "validation NLL", "validation accuracy"],
      exits.map { exit in
        [
          exit.name, "\(exit.features)", "\(exit.multiplyAdds)", exit.penalty.significantDigits(),
          exit.trainingNLL.significantDigits(), exit.validationNLL.map { $0.significantDigits() } ?? "-",
          exit.validationAccuracy.map { $0.significantDigits() } ?? "-",
        ]
      }, leading: 1) + "\nthe whole network: \(multiplyAdds) multiply-adds\nwrote \(output)"
  }
}

/// Names of nodes.
struct NodeNames: OptionValue {
  static let validValues = "names of nodes separated by commas"
  var names: [String]

  init?(argument: String) {
    names = argument.split(separator: ",", omittingEmptySubsequences: false).map {
      $0.trimmingCharacters(in: .whitespaces)
    }
    guard names.allSatisfy({ !$0.isEmpty }) else { return nil }
  }
}

/// `validation` or a number.
struct PenaltyOption: OptionValue, CustomStringConvertible {
  static let validValues =
    "'validation' or a number from \(LogisticHeads.allowedPenalties.lowerBound) to \(LogisticHeads.allowedPenalties.upperBound)"
  var choice: LogisticHeads.PenaltyChoice

  init(choice: LogisticHeads.PenaltyChoice) { self.choice = choice }

  init?(argument: String) {
    if argument == "validation" {
      choice = .validation(LogisticHeads.standardPenalties)
    } else {
      guard let value = Double(argument), LogisticHeads.allowedPenalties.contains(value) else { return nil }
      choice = .fixed(value)
    }
  }

  var description: String {
    switch choice {
    case .validation: "validation"
    case .fixed(let value): "\(value)"
    }
  }
}
