import ArgumentParser
import Bayesify
import Foundation

struct StudyRobustness: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "robustness",
    abstract: "Attacks models and controls: accuracy and likelihood over the size of the attack.",
    discussion: """
      Rows are moved by at most an epsilon so that the loss of their label rises: by one step along the gradient \
      (fgsm) or by --steps projected ones from --restarts random starts, the strongest of which counts (pgd). \
      --epsilon is the largest change of a value, --epsilon-l2 the Euclidean length of the change, both in the units \
      of the stored values: 8 for 8/255 of bytes, 0.03 of values from 0 to 1. Attacked rows stay within --pixel-range.

      A model without draws is attacked along its gradient. One with draws (first-layer VI, dropout, ensembles, \
      Laplace of last layers) is attacked along that of a single draw, of the mean of its distribution, and of the \
      expectation over --attack-draws fresh draws, as −(logsumexp log p − log draws); averaged-probability takes the \
      same in single precision, which underflows, to show what that hides. Of dropout, the attacker's draws are made \
      once; those of Laplace are draws of the weights, whatever the posterior predicts by. 'transfer' attacks with \
      rows made on another network: --transfer-from, or the first model named that is a checkpoint. What answers is \
      the model as it predicts, with its own draws and temperature. A row is right where it is right as it is and \
      attacked; 'worst of all' counts rows that no attack fools.

      The models may be controls of each other; when the first is a posterior, its untouched network is put before it. \
      Posteriors over several layers, and those that average exits, meet transfer alone.

      Example: bayesify study robustness model.h5 posterior.h5 tuned.h5 mean.h5 --data test.h5 --rows 0:500 --epsilon \
      2,4,8 --json robustness.json
      """)

  @Argument(help: "Checkpoints and posteriors.")
  var models: [String]

  @Option(help: "Labelled rows: data (a file, or a folder of images by class).")
  var data: String

  @Option(help: "Labels of the rows, where they are not beside the inputs.")
  var labels: String?

  @Option(parsing: .unconditional, help: "Rows to use, first:end.", transform: optionValue)
  var rows: RowRange?

  @Option(parsing: .unconditional, help: "Largest changes of a value, with commas between.", transform: optionValue)
  var epsilon: RadiusList?

  @Option(
    name: .customLong("epsilon-l2"), parsing: .unconditional, help: "Lengths of the change, with commas between.",
    transform: optionValue)
  var epsilonEuclidean: RadiusList?

  @Option(
    parsing: .unconditional, help: "fgsm, pgd, or both with a comma between. (default: both)", transform: optionValue)
  var attacks: MethodList?

  @Option(
    parsing: .unconditional,
    help: """
      Some of single-draw, mean, expectation, averaged-probability and transfer, with commas between. (default: all \
      but averaged-probability)
      """,
    transform: optionValue)
  var attackers: AttackerList?

  @Option(help: "A checkpoint on which rows for transfer are made.")
  var transferFrom: String?

  @Option(
    parsing: .unconditional, help: "Steps of pgd, of 2.5 epsilon / steps. (default: 20)",
    transform: wholeNumber(1...10_000))
  var steps = 20

  @Option(parsing: .unconditional, help: "Random starts of pgd. (default: 2)", transform: wholeNumber(1...1000))
  var restarts = 2

  @Option(parsing: .unconditional, help: "Draws of an expectation. (default: 10)", transform: wholeNumber(1...10_000))
  var attackDraws = 10

  @Option(
    parsing: .unconditional,
    help: """
      The least and the largest value that a row may have, as stored, LOW:HIGH. (default: from 0 to 1 where no value \
      is larger, to the largest where that is at most 127, else to 255)
      """,
    transform: optionValue)
  var pixelRange: PixelRangeOption?

  @Option(
    parsing: .unconditional, help: "The exit whose answers count, from 0. (default: the last)",
    transform: wholeNumber(0 ... .max))
  var exit: Int?

  @Option(help: "The checkpoint of the posteriors, where it has moved.")
  var checkpoint: String?

  @OptionGroup var outputs: StudyOutputs
  @OptionGroup var options: ModelOptions
  @OptionGroup var execution: ExecutionOptions

  func validate() throws {
    guard !models.isEmpty else { throw ValidationError("Name a checkpoint or a posterior.") }
    guard epsilon != nil || epsilonEuclidean != nil else {
      throw ValidationError("Say how far rows may move, in the units of stored values: --epsilon or --epsilon-l2.")
    }
    if let transferFrom, let attackers, !attackers.values.contains(.transfer) {
      throw ValidationError(
        "--transfer-from \(transferFrom) is for transfer, which --attackers leaves out; add it there.")
    }
    if options.ignoreLabel != nil {
      throw ValidationError("--ignore-label is not for attacks; leave those rows out of the data.")
    }
  }

  func run() async throws {
    try options.requireTable(among: data, labels)
    try execution.requireWritable(
      outputs.json, outputs.markdown,
      apartFrom: models + [
        data, labels, checkpoint, transferFrom, options.classNames, options.checkpoint.architecture,
      ])
    let session = Session(options, execution, execution.progress())
    let input = try RowInput(data, labels: labels, labelColumn: options.labelColumn, rows: rows?.range)
    guard case .dataset(let dataset) = input else {
      throw FileError(
        .unsupported, file: input.file,
        "These are exit records, and attacks change the rows before the network sees them; give the data.")
    }
    let lineup = try Lineup(models, checkpoint: checkpoint, over: [input], session)
    try execution.requireWritable(
      outputs.json, outputs.markdown, apartFrom: lineup.inputs.map(\.recordedCheckpoint))
    var (attacked, warnings): ([RobustnessStudy.Model], [String]) = ([], [])
    for group in lineup.groups {
      let found = try attackedModels(of: group, over: dataset, input, session)
      attacked += found.models
      warnings += found.warnings
    }
    let description = attacked[0].records.description
    let study = try study(description, dataset)
    let source = try transferSource(&attacked, study.exit, session)
    for model in attacked.dropFirst() {
      let other = model.records.description
      guard other.exits.indices.contains(study.exit),
        other.exits[study.exit].logitCount == description.exits[study.exit].logitCount
      else {
        throw FileError(
          .shape, file: data,
          "'\(model.name)' has no exit \(study.exit) of as many classes as '\(attacked[0].name)'; attack networks of "
            + "the same classes together.")
      }
    }
    let results = try await study(
      attacked, transferFrom: source?.target, key: RandomKey(seed: execution.seed).child(0), width: execution.width,
      report: session.progress.report)
    var inputs = lineup.inputs
    if let source { inputs.append(.checkpoint(source.checkpoint)) }
    let report = RobustnessReport(
      of: study, exitName: description.exits[study.exit].name, rowCount: dataset.rowCount,
      transferSource: source?.checkpoint.file ?? attacked.first(where: \.isSource)?.name, models: results,
      warnings: warnings,
      provenance: try session.provenance(
        inputs, description, data: [("test", data)],
        details: rows.map { ["test rows": "\($0.range.lowerBound):\($0.range.upperBound)"] } ?? [:]))
    try outputs.finish(
      report, title: "Robustness of \(URL(filePath: models[0]).lastPathComponent)", report.parts,
      warnings: report.warnings, report.provenance, session)
  }

  private func study(_ description: RecordsDescription, _ dataset: any Dataset) throws -> RobustnessStudy {
    let range = try pixelRange?.range ?? PixelRange(of: dataset)
    var study = RobustnessStudy(
      exit: exit ?? description.exits.count - 1, range: Float(range.low)...Float(range.high))
    study.methods = attacks?.values ?? RobustnessStudy.Method.allCases
    study.attackers = attackers?.values ?? RobustnessStudy.Attacker.usual
    study.radii[.maximum] = epsilon?.values
    study.radii[.euclidean] = epsilonEuclidean?.values
    study.stepCount = steps
    study.restartCount = restarts
    study.drawCount = attackDraws
    return study
  }

  /// The models that one checkpoint serves.
  private func attackedModels(
    of group: Lineup.Group, over dataset: any Dataset, _ input: RowInput, _ session: Session
  ) throws -> (models: [RobustnessStudy.Model], warnings: [String]) {
    let checkpoint = try group.network()
    let records = try session.networkRecords(
      checkpoint, over: dataset, stored: group.preprocessing, likelihood: group.likelihood,
      classNames: group.classNames, stage: "test", dataDigest: try session.digest(of: data))
    let description = records.description
    guard description.positions.isEmpty else {
      throw FileError(
        .unsupported, file: checkpoint.file,
        "Its exits answer at \(Shape(description.positions)) positions of a row, and attacks are on one answer a row.")
    }
    try session.require([.categorical], in: description)
    guard records.hasLabels else { throw input.missingLabels("test", option: "--labels") }
    let exit = try session.exit(exit, of: description)
    // Predictions of blocks are no news.
    let silent = Session(options, execution, ProgressPrinter(isQuiet: true))
    var (models, warnings): ([RobustnessStudy.Model], [String]) = ([], [])
    for entry in group.entries {
      let predictor: Predictor =
        try entry.model.map { try silent.predictor($0, for: description) { checkpoint } } ?? .map
      let (target, mean, warning) = try targets(of: entry, checkpoint, exit, description)
      models.append(
        RobustnessStudy.Model(
          name: entry.name, method: entry.method, records: records, predictor: predictor, target: target, mean: mean))
      warnings += entry.warnings + [warning].compactMap(\.self)
    }
    return (models, warnings)
  }

  /// What an attacker sees of a model and of the mean of its distribution, or why nothing.
  private func targets(
    of entry: Lineup.Entry, _ checkpoint: CheckpointModel, _ exit: Int, _ description: RecordsDescription
  ) throws -> (target: AttackTarget?, mean: AttackTarget?, warning: String?) {
    let (backend, preprocessing) = (try execution.backend(), description.preprocessing ?? .identity)
    let key = RandomKey(seed: execution.seed).child(1)
    func plain(temperature: Double = 1) throws -> AttackTarget {
      try AttackTarget(
        [checkpoint.frozen], exit: exit, temperature: temperature, preprocessing: preprocessing, on: backend)
    }
    do {
      guard case .posterior(let posterior, _, _)? = entry.model, let model = entry.model else {
        return (try plain(), nil, nil)
      }
      switch posterior {
      case .weights:
        return (
          nil, nil,
          "\(entry.name): gradients of draws of several layers' weights are not followed, so it meets rows made for "
            + "transfer alone; that says little of its robustness."
        )
      case .lastLayer(let laplace) where laplace.isEnsemble:
        return (
          nil, nil,
          "\(entry.name): gradients of means over exits are not followed, so it meets rows made for transfer alone; "
            + "that says little of its robustness."
        )
      case .lastLayer(let laplace):
        let target = try AttackTarget(
          laplace, of: checkpoint.frozen, exit: exit, preprocessing: preprocessing, on: backend)
        return (target, target.isRandom ? try plain(temperature: laplace.exits[exit].temperature) : nil, nil)
      case .sampled(let sampled):
        let networks = try model.networks(checkpoint, reading: options.checkpoint.reading).map(\.frozen)
        let target = try AttackTarget(
          sampled, of: networks, exit: exit, draws: attackDraws, key: key, preprocessing: preprocessing, on: backend)
        guard target.isRandom else { return (target, nil, nil) }
        let temperature = sampled.exits[exit].temperature
        switch sampled.kind {
        case .ensemble: return (target, nil, nil)
        case .dropout, .latent, .weightSamples, .placement: return (target, try plain(temperature: temperature), nil)
        case .firstLayer(_, _, let layer):
          return (
            target,
            try AttackTarget(
              layer.meanAlone, of: checkpoint.frozen, exit: exit, temperature: temperature,
              preprocessing: preprocessing, on: backend),
            nil
          )
        }
      }
    } catch let error as NetworkError {
      throw FileError(.unsupported, file: entry.model?.file ?? checkpoint.file, error.message)
    }
  }

  /// The network that rows for transfer are made on: another, or one of the models, which is then marked.
  private func transferSource(
    _ models: inout [RobustnessStudy.Model], _ exit: Int, _ session: Session
  ) throws -> (target: AttackTarget, checkpoint: CheckpointModel)? {
    guard attackers?.values.contains(.transfer) ?? true else { return nil }
    guard let transferFrom else {
      if let index = models.firstIndex(where: { $0.method == ModelKind.map.name }) { models[index].isSource = true }
      return nil
    }
    let checkpoint = try CheckpointModel(transferFrom, reading: options.checkpoint.reading)
    let description = try checkpoint.frozen.recordsDescription(
      file: checkpoint.file, likelihood: options.likelihood ?? .categorical)
    let known = models[0].records.description
    guard description.exits.indices.contains(exit), description.exits[exit].logitCount == known.exits[exit].logitCount,
      checkpoint.frozen.network.inputShape.elementCount == models[0].records.dataset.rowShape.elementCount
    else {
      throw FileError(
        .shape, file: transferFrom,
        "Rows for transfer are made on it, and it takes other rows, or has no exit \(exit) of as many classes, as "
          + "\(models[0].name); give a network for the same rows and classes.")
    }
    do {
      return (
        try AttackTarget(
          [checkpoint.frozen], exit: exit, preprocessing: known.preprocessing ?? .identity, on: execution.backend()),
        checkpoint
      )
    } catch let error as NetworkError {
      throw FileError(.unsupported, file: transferFrom, error.message)
    }
  }
}

/// Sizes of attacks.
struct RadiusList: OptionValue {
  static let validValues = "numbers above 0 with commas between, as 2,4,8"
  var values: [Double]

  init?(argument: String) {
    values = []
    for word in argument.split(separator: ",", omittingEmptySubsequences: false) {
      guard let value = Double(word), value > 0, value.isFinite, !values.contains(value) else { return nil }
      values.append(value)
    }
    values.sort()
  }
}

/// Ways to move rows.
struct MethodList: OptionValue {
  static let validValues = "fgsm, pgd, or both with a comma between"
  var values: [RobustnessStudy.Method]

  init?(argument: String) {
    values = []
    for word in argument.split(separator: ",", omittingEmptySubsequences: false) {
      guard let value = RobustnessStudy.Method(rawValue: word.lowercased()), !values.contains(value) else { return nil }
      values.append(value)
    }
  }
}

/// Whose gradients attacks follow.
struct AttackerList: OptionValue {
  static let validValues =
    "some of single-draw, mean, expectation, averaged-probability and transfer, with commas between"
  var values: [RobustnessStudy.Attacker]

  init?(argument: String) {
    values = []
    for word in argument.split(separator: ",", omittingEmptySubsequences: false) {
      guard let value = RobustnessStudy.Attacker(rawValue: word.lowercased()), value != .gradient,
        !values.contains(value)
      else { return nil }
      values.append(value)
    }
  }
}

extension RobustnessReport {
  /// Accuracy and likelihood over the size of the attack, a table a norm.
  fileprivate var parts: [StudyPart] {
    var parts: [StudyPart] = []
    for norm in AdversarialAttack.Norm.allCases {
      guard let radii = models[0].worst.first(where: { $0.norm == norm })?.points.map(\.epsilon) else { continue }
      let header = ["model", "attack", "0"] + radii.map { $0.significantDigits() }
      let size = norm == .maximum ? "largest change of a value" : "length of the change"
      func rows(
        _ curves: (Model) -> [Curve], _ cell: (Point) -> String
      ) -> [[String]] {
        models.flatMap { model in
          curves(model).filter { $0.norm == norm }.map { curve in
            [model.name, curve.name, cell(model.clean)] + curve.points.map(cell)
          }
        }
      }
      parts.append(
        .table(
          title: "Accuracy in percent, with 95 % intervals, by \(size):", header: header,
          rows: rows({ $0.curves + $0.worst }) { percent($0.accuracy, $0.accuracyInterval) }, leading: 2))
      parts.append(
        .table(
          title: "NLL of attacked rows, nats, by \(size):", header: header,
          rows: rows({ $0.curves }) { point in point.nll.map { number($0, point.nllInterval) } ?? "infinite" },
          leading: 2))
    }
    let source = transferSource.map { ", transfer from \($0)" } ?? ""
    return parts + [
      .sentence(
        "\(rowCount) rows, exit \(exit) (\(exitName)), values within \(range[0].significantDigits()) to "
          + "\(range[1].significantDigits()); pgd of \(stepCount) steps and \(restartCount) start(s), expectations of "
          + "\(drawCount) draws\(source)")
    ]
  }
}
