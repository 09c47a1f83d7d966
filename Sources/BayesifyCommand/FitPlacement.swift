import ArgumentParser
import Bayesify
import Foundation

struct FitPlacement: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "placement",
    abstract: "The layers that a search chose, or that are named, each drawn by its own kind.",
    discussion: """
      With --placement the layers, kinds and draws are those that 'search' chose, or with --front one of its front, by rising \
      latency from 0. With --layers they are named: NAME=KIND with commas between, where a kind is laplace, vi, latent, \
      spike-slab or dropout:RATE, and a name may be last, first, last-third or all.

      All layers of one kind are fitted together to --data; Gaussians of laplace are then narrowed by one factor until draws of \
      all layers make labels of --validation most likely. Statistics of batch normalisation are estimated for each draw, from \
      --statistics-rows of the training rows. Each exit gets a temperature on --validation.

      Until the posterior is written, OUTPUT.part holds what was fitted: every kind, and of vi every epoch. A run that was interrupted \
      or killed goes on from it with --resume, to the same bits.

      Example: bayesify fit placement model.h5 --placement placement.json --data train.h5 --validation validation.h5 -o p.h5
      Example: bayesify fit placement model.h5 --layers last-third=dropout:0.1 --draws 16 --data train.h5 \
      --validation validation.h5 -o p.h5
      """)

  @Argument(help: "A checkpoint.")
  var checkpoint: String

  @Option(help: "What 'search' wrote.")
  var placement: String?

  @Option(
    parsing: .unconditional, help: "With --placement: one of its front, by rising latency from 0, in place of the chosen.",
    transform: wholeNumber(0 ... .max))
  var front: Int?

  @Option(
    parsing: .unconditional, help: "Layers and their kinds, NAME=KIND with commas between.", transform: optionValue)
  var layers: LayerKinds?

  @Option(
    parsing: .unconditional, help: "Networks that predictions average. (default: those of --placement, else 8)",
    transform: wholeNumber(1...1000))
  var draws: Int?

  @Option(help: "Training rows with labels: data.")
  var data: String

  @Option(help: "Labels of the training rows, where they are not beside the inputs.")
  var labels: String?

  @Option(parsing: .unconditional, help: "Training rows to use, first:end.", transform: optionValue)
  var rows: RowRange?

  @Option(
    parsing: .unconditional, help: "The exit whose likelihood is the data term, from 0. (default: that of --placement, else the last)",
    transform: wholeNumber(0 ... .max))
  var exit: Int?

  @Option(parsing: .unconditional, help: "Epochs of kinds that are trained. (default: 10)", transform: wholeNumber(1...10_000))
  var epochs = 10

  @Option(parsing: .unconditional, help: "Rows a step of these. (default: 128)", transform: wholeNumber(1...1_000_000))
  var batchRows = 128

  @Option(
    parsing: .unconditional, help: "Training rows that curvatures are gathered from. (default: 5000)",
    transform: wholeNumber(1...1_000_000))
  var curvatureRows = 5000

  @Option(
    parsing: .unconditional,
    help: "Training rows from which batch normalisation is estimated for each draw, 0 for none. (default: 2048)",
    transform: wholeNumber(0 ... .max))
  var statisticsRows = 2048

  @OptionGroup var tempering: TemperingOptions
  @OptionGroup var model: ModelOptions
  @OptionGroup var execution: ExecutionOptions

  @Flag(help: "Go on with the fit in OUTPUT.part, where there is one.")
  var resume = false

  @Flag(help: "What was fitted, in JSON on standard output.")
  var json = false

  private var file: TrainingFile {
    TrainingFile(
      outputs: [tempering.output], method: SampledNetworkPosterior.placementMethodName, resumes: resume, isForced: execution.force)
  }

  func validate() throws {
    guard (placement == nil) != (layers == nil) else {
      throw ValidationError("Which layers are drawn is said by --placement FILE or by --layers; give one of them.")
    }
    guard placement != nil || front == nil else {
      throw ValidationError("--front is one of a search's, and no --placement is named; leave it out.")
    }
    guard tempering.validation != nil else {
      throw ValidationError("Placements are fitted with rows that the network was not trained on; give --validation DATA.")
    }
    if model.ignoreLabel != nil {
      throw ValidationError("--ignore-label is not for placements; leave those rows out of the data.")
    }
  }

  func run() async throws {
    try model.requireTable(among: data, labels, tempering.validation, tempering.validationLabels)
    try file.requireWritable(apartFrom: [
      checkpoint, placement, data, labels, tempering.validation, tempering.validationLabels, model.classNames,
      model.checkpoint.architecture,
    ])
    let session = Session(model, execution, execution.progress())
    let found = try placement.map { try PlacementFile(json: FileContents.of($0), file: $0) }
    let checkpoint = try model.checkpoint.model(checkpoint)
    if let found, let placement {
      try found.requireSame(
        file: placement, model: checkpoint.file, checkpointDigest: checkpoint.digest, posteriorDigest: nil)
    }
    let training = try records(data, labels, rows?.range, "training", "--labels", checkpoint, session)
    guard let validation = tempering.validation else { preconditionFailure("Validation rows are required.") }
    let held = try records(
      validation, tempering.validationLabels, tempering.validationRows?.range, "validation", "--validation-labels", checkpoint,
      session)
    let posterior: SampledNetworkPosterior
    do {
      posterior = try await fit(found, checkpoint, training, held, session)
    } catch let error as NetworkError {
      throw FileError(.unsupported, file: checkpoint.file, error.message)
    }
    try await tempering.finish(posterior, [checkpoint], session, asJSON: json, training: file) {
      SampledNetworksSummary($0, output: tempering.output)
    }
  }

  private func fit(
    _ found: PlacementFile?, _ checkpoint: CheckpointModel, _ training: NetworkRecords, _ held: NetworkRecords,
    _ session: Session
  ) async throws -> SampledNetworkPosterior {
    var inference = PlacementInference()
    inference.exitIndex = try session.exit(exit ?? found?.exit, of: training.description)
    inference.epochCount = epochs
    inference.batchRowCount = batchRows
    inference.curvatureRowCount = curvatureRows
    let chosen = try found.map { try chosenPlacement($0) }
    let drawCount = draws ?? chosen?.drawCount ?? 8
    inference.sampleCount = drawCount
    var kinds: [String: PlacementKind] = [:]
    if let found, let chosen {
      for (name, kind) in found.kinds(of: chosen) { kinds[name] = PlacementKind(kind) }
    } else if let layers {
      kinds = try layers.kinds(among: inference.layers(nil, of: checkpoint.frozen).map(\.name), of: checkpoint.file)
    }
    let settings = try settings(kinds, drawCount, checkpoint, training, session)
    var earlier: PlacementTraining?
    if resume, let left: PlacementTraining = try file.earlier(settings: settings) {
      session.progress.note("resumed: \(file.part), \(left.distributions.count) layer(s) done")
      earlier = left
    }
    let backend = try execution.backend()
    var log = TrainingLog(earlier, file: file.part, settings: settings, every: 2)
    do {
      return try await inference.fit(
        kinds, drawCount: drawCount, statisticsRowCount: statisticsRows,
        searchDigests: found?.foreign.compactMap { $0.source?.digest } ?? [], in: checkpoint.frozen, training.description,
        training: training.dataset, validation: held.dataset, from: earlier, on: backend,
        in: execution.context(backend, session.progress)
      ) { state in
        _ = try log.take(state)
      }
    } catch is CancellationError {
      guard try log.write() else { throw CancellationError() }
      throw file.interruption
    }
  }

  /// What the fit depends on, by the names of options.
  private func settings(
    _ kinds: [String: PlacementKind], _ drawCount: Int, _ checkpoint: CheckpointModel, _ training: NetworkRecords,
    _ session: Session
  ) throws -> [String: String] {
    var settings = try TrainingFile.settings(
      checkpoint, data: data, labels: labels, rows: rows, training, model, execution)
    settings["layers"] = kinds.sorted { $0.key < $1.key }.map { "\($0.key)=\($0.value)" }.joined(separator: ",")
    settings["--draws"] = "\(drawCount)"
    settings["--exit"] = exit.map { "\($0)" } ?? "its own"
    settings["--epochs"] = "\(epochs)"
    settings["--batch-rows"] = "\(batchRows)"
    settings["--curvature-rows"] = "\(curvatureRows)"
    settings["--validation"] = try tempering.validation.map { try TrainingFile.named($0, try session.digest(of: $0)) }
    settings["--validation-rows"] = tempering.validationRows.map { "\($0.range)" }
    return settings
  }

  private func chosenPlacement(_ found: PlacementFile) throws -> Placement {
    guard let file = placement else { preconditionFailure("The placement is of a file.") }
    if let front {
      guard found.front.indices.contains(front) else {
        throw FileError(
          .value, file: file, "Its front has \(found.front.count) placement(s), and number \(front) is asked for; count from 0.")
      }
      return found.trail[found.front[front]].placement
    }
    guard let chosen = found.chosen else {
      throw FileError(
        .value, file: file,
        "The search chose none, for none is within its constraints; search with others, or take one of the front with --front.")
    }
    return chosen
  }

  private func records(
    _ specification: String, _ labels: String?, _ range: Range<Int>?, _ role: String, _ option: String,
    _ checkpoint: CheckpointModel, _ session: Session
  ) throws -> NetworkRecords {
    let input = try RowInput(specification, labels: labels, labelColumn: model.labelColumn, rows: range)
    guard case .dataset(let dataset) = input else {
      throw FileError(
        .unsupported, file: input.file,
        "These are exit records, and earlier layers need the rows that they were extracted from; give the data.")
    }
    let records = try session.networkRecords(
      checkpoint, over: dataset, stored: nil, stage: role, dataDigest: try session.digest(of: specification))
    guard records.hasLabels else { throw input.missingLabels(role, option: option) }
    return records
  }
}

/// Layers by name, or by where they are, with their kinds.
struct LayerKinds: OptionValue {
  static let validValues =
    "NAME=KIND with commas between: a layer's name, last, first, last-third or all; and laplace, vi, latent, spike-slab or dropout:RATE"
  private var entries: [(name: String, kind: PlacementKind)]

  init?(argument: String) {
    let words = argument.split(separator: ",", omittingEmptySubsequences: false)
    entries = words.compactMap { word in
      guard let equals = word.lastIndex(of: "="), equals != word.startIndex,
        let kind = PlacementKind(String(word[word.index(after: equals)...]))
      else { return nil }
      return (String(word[..<equals]), kind)
    }
    guard entries.count == words.count else { return nil }
  }

  /// The kind of each layer.
  ///
  /// - Parameter layers: those that can be drawn, in the order of the network.
  /// - Throws: `FileError` for a name that is none of them, or that comes twice.
  func kinds(among layers: [String], of file: String) throws(FileError) -> [String: PlacementKind] {
    var kinds: [String: PlacementKind] = [:]
    for (name, kind) in entries {
      let named: [String]
      switch name {
      case _ where layers.contains(name): named = [name]
      case "last": named = Array(layers.suffix(1))
      case "first": named = Array(layers.prefix(1))
      case "last-third": named = Array(layers.suffix(max(1, Int((Double(layers.count) / 3).rounded()))))
      case "all": named = layers
      default:
        throw FileError(
          .value, file: file,
          "There is no layer '\(name)' that can be drawn; choose among \(layers.map { "'\($0)'" }.joined(separator: ", ")), last, "
            + "first, last-third and all.")
      }
      for layer in named {
        guard kinds.updateValue(kind, forKey: layer) == nil else {
          throw FileError(.value, file: file, "--layers names the layer '\(layer)' twice; give it one kind.")
        }
      }
    }
    return kinds
  }
}
