import ArgumentParser
import Bayesify
import Foundation

struct StudyFirstLayerOptima: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "first-layer-optima",
    abstract: "Re-trains single layers from several starts and compares where they end.",
    discussion: """
      A layer's weights are trained by the likelihood of the labels of --data, everything else as trained, batch \
      normalisation in evaluation form: from the trained weights with rows in other orders, and from random weights. \
      Reported are, for every pair of ends and of the trained weights: the Euclidean distance of the weights, that \
      over the norm of the trained weights, their cosine, the share of held-out rows for which they name different \
      classes, and by how much the NLL half way between them lies above their mean, which is large where they are \
      optima apart and not points of one valley. Distances are of the weights as they are: all else is frozen, so that \
      units cannot change places and no permutation is sought.

      Example: bayesify study first-layer-optima model.h5 --data train.h5 --validation validation.h5 --layer conv2d \
      --layer conv2d_1 --epochs 20 --json optima.json
      """)

  enum OptimizerName: String, CaseIterable, ExpressibleByArgument { case adam, sgd }

  @Argument(help: "A checkpoint.")
  var checkpoint: String

  @Option(help: "Training rows with labels: data.")
  var data: String

  @Option(help: "Labels of the training rows, where they are not beside the inputs.")
  var labels: String?

  @Option(parsing: .unconditional, help: "Training rows to use, first:end.", transform: optionValue)
  var rows: RowRange?

  @Option(help: "Labelled rows that the network was not trained on, which ends are compared on: data.")
  var validation: String

  @Option(help: "Labels of these rows, where they are not beside the inputs.")
  var validationLabels: String?

  @Option(parsing: .unconditional, help: "Of these, rows to use, first:end.", transform: optionValue)
  var validationRows: RowRange?

  @Option(help: "A convolution or dense layer, by name; may be repeated. (default: the first on the way to the exit)")
  var layer: [String] = []

  @Option(
    parsing: .unconditional, help: "The exit whose likelihood is trained, from 0. (default: the last)",
    transform: wholeNumber(0 ... .max))
  var exit: Int?

  @Option(
    parsing: .unconditional, help: "Trainings that begin at the trained weights. (default: 2)",
    transform: wholeNumber(0...100))
  var checkpointStarts = 2

  @Option(
    parsing: .unconditional, help: "Trainings that begin at random weights. (default: 3)",
    transform: wholeNumber(0...100))
  var randomStarts = 3

  @Option(
    parsing: .unconditional, help: "Passes over the training rows. (default: 20)", transform: wholeNumber(1...100_000))
  var epochs = 20

  @Option(parsing: .unconditional, help: "Rows a step. (default: 128)", transform: wholeNumber(1...1_000_000))
  var batchRows = 128

  @Option(parsing: .unconditional, help: "adam or sgd.")
  var optimizer = OptimizerName.adam

  @Option(
    parsing: .unconditional, help: "Of sgd. (default: 0.9)",
    transform: number("a number from 0 to below 1") { $0 >= 0 && $0 < 1 })
  var momentum: Double?

  @Option(parsing: .unconditional, help: "(default: 0.001)", transform: number("a number above 0") { $0 > 0 })
  var learningRate = 1e-3

  @Option(
    parsing: .unconditional, help: "How it falls: cosine, steps (to a tenth after each third) or constant.")
  var schedule = FirstLayerInference.Schedule.cosine

  @OptionGroup var outputs: StudyOutputs
  @OptionGroup var model: ModelOptions
  @OptionGroup var execution: ExecutionOptions

  func validate() throws {
    guard checkpointStarts + randomStarts > 1 else {
      throw ValidationError("Two ends at least are compared; give more --checkpoint-starts or --random-starts.")
    }
    if momentum != nil, optimizer != .sgd { throw ValidationError("--momentum is for --optimizer sgd; leave it out.") }
    guard Set(layer).count == layer.count else { throw ValidationError("A --layer is named twice.") }
    if model.ignoreLabel != nil {
      throw ValidationError("--ignore-label is not for single layers; leave those rows out of the data.")
    }
  }

  func run() async throws {
    try model.requireTable(among: data, labels, validation, validationLabels)
    try execution.requireWritable(
      outputs.json, outputs.markdown,
      apartFrom: [
        checkpoint, data, labels, validation, validationLabels, model.classNames, model.checkpoint.architecture,
      ])
    let session = Session(model, execution, execution.progress())
    let checkpoint = try model.checkpoint.model(checkpoint)
    let training = try rows(data, labels, rows?.range, "training", "--labels", checkpoint, session)
    let held = try rows(
      validation, validationLabels, validationRows?.range, "validation", "--validation-labels", checkpoint, session)
    var warnings: [String] = []
    if let warning = try session.warningOfRecurrence(
      of: held.input, named: "validation", in: training.input, named: "training")
    {
      warnings.append(warning)
    }
    let backend = try execution.backend()
    let context = execution.context(backend, session.progress)
    var layers: [FirstLayerOptimaReport.Layer] = []
    for name in layer.isEmpty ? [nil] : layer.map({ Optional($0) }) {
      let study = study(of: name)
      do {
        layers.append(
          try await study(
            checkpoint.frozen, training: training.records, held: held.records, on: backend, in: context))
      } catch let error as NetworkError {
        throw FileError(.unsupported, file: checkpoint.file, error.message)
      }
    }
    let description = training.records.description
    let exit = try session.exit(exit, of: description)
    var details = ["epochs": "\(epochs)", "learning rate": "\(learningRate)", "rows a step": "\(batchRows)"]
    for (name, rows) in [("training rows", rows), ("validation rows", validationRows)] {
      if let range = rows?.range { details[name] = "\(range.lowerBound):\(range.upperBound)" }
    }
    let report = FirstLayerOptimaReport(
      exit: exit, exitName: description.exits[exit].name, trainingRowCount: training.records.inputRowCount,
      heldOutRowCount: held.records.inputRowCount, epochCount: epochs, layers: layers,
      warnings: warnings + layers.flatMap(\.warnings),
      provenance: try session.provenance(
        [.checkpoint(checkpoint)], description, data: [("training", data), ("validation", validation)],
        details: details))
    try outputs.finish(
      report, title: "Optima of layers of \(URL(filePath: self.checkpoint).lastPathComponent)", report.parts,
      warnings: report.warnings, report.provenance, session)
  }

  private func study(of layer: String?) -> FirstLayerOptimaStudy {
    var recipe = FirstLayerInference()
    recipe.layerName = layer
    recipe.exitIndex = exit
    recipe.descent = optimizer == .adam ? .adam : .stochastic(momentum: momentum ?? 0.9)
    recipe.schedule = schedule
    recipe.learningRate = learningRate
    recipe.epochCount = epochs
    recipe.batchRowCount = batchRows
    var study = FirstLayerOptimaStudy(recipe)
    study.checkpointStartCount = checkpointStarts
    study.randomStartCount = randomStarts
    return study
  }

  private func rows(
    _ specification: String, _ labels: String?, _ range: Range<Int>?, _ role: String, _ option: String,
    _ checkpoint: CheckpointModel, _ session: Session
  ) throws -> (input: RowInput, records: NetworkRecords) {
    let input = try RowInput(specification, labels: labels, labelColumn: model.labelColumn, rows: range)
    guard case .dataset(let dataset) = input else {
      throw FileError(
        .unsupported, file: input.file,
        "These are exit records, and an earlier layer needs the rows that they were extracted from; give the data.")
    }
    let records = try session.networkRecords(
      checkpoint, over: dataset, stored: nil, stage: role, dataDigest: try session.digest(of: specification))
    guard records.hasLabels else { throw input.missingLabels(role, option: option) }
    return (input, records)
  }
}

extension FirstLayerOptimaReport {
  fileprivate var parts: [StudyPart] {
    layers.flatMap { layer -> [StudyPart] in
      [
        .table(
          title: "Layer \(layer.name), \(layer.weightCount) weights of norm \(layer.trainedNorm.significantDigits()), "
            + "on \(heldOutRowCount) held-out rows:",
          header: ["end", "data term", "accuracy %", "NLL"],
          rows: layer.optima.map { optimum in
            [
              optimum.name, optimum.dataTerm.map { $0.significantDigits() } ?? "-",
              percent(optimum.accuracy, optimum.accuracyInterval), number(optimum.nll, optimum.nllInterval),
            ]
          }, leading: 1),
        .table(
          title: "Between them (distances of weights as they are, no permutation, for all else is frozen):",
          header: ["end", "other", "distance", "relative", "cosine", "disagreement %", "NLL half way", "rise"],
          rows: layer.pairs.map { pair in
            [
              pair.first, pair.second, pair.distance.significantDigits(),
              pair.relativeDistance.map { decimals($0, 3) } ?? "-", pair.cosine.map { decimals($0, 3) } ?? "-",
              percent(pair.disagreement, pair.disagreementInterval), decimals(pair.nllBetween, 3),
              decimals(pair.rise, 3),
            ]
          }, leading: 2),
      ] + [layer.randomPairs, layer.checkpointPairs].compactMap { reading($0) }
    }
  }

  /// What some pairs say together.
  private func reading(_ pairs: [Pair]) -> StudyPart? {
    guard let first = pairs.first else { return nil }
    func mean(_ value: (Pair) -> Double) -> Double { pairs.reduce(0) { $0 + value($1) } / Double(pairs.count) }
    let start = first.first.hasPrefix("random") ? "random weights" : "the trained weights"
    return .sentence(
      "Ends of trainings from \(start): mean distance \(mean(\.distance).significantDigits(3)), disagreement in "
        + "\(decimals(100 * mean(\.disagreement), 1)) % of rows, NLL half way above theirs by "
        + "\(decimals(mean(\.rise), 3)).")
  }
}
