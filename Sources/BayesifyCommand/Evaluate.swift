import ArgumentParser
import Bayesify
import Foundation

struct Evaluate: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Measures calibration and detection of foreign inputs against the untouched checkpoint.",
    discussion: """
      The first model is the baseline that gains are measured against; when it is a posterior, the untouched \
      network is put before it. With --validation, the network with a fitted temperature is a row of its own.

      Where a network answers at every pixel or step, each is measured as a row; neighbours are alike, so intervals come \
      out narrower than they should. Memory grows by 13 bytes a pixel for each model and exit, with --ood by 4 more for \
      each score, and with --validation by 4 for each class of a validation pixel.

      Example: bayesify evaluate model.h5 posterior.h5 --data test.h5 --validation validation.h5 \
      --ood letters=letters.h5 --json report.json --html report.html
      """)

  @Argument(
    help: "Checkpoints and posteriors. With none, exit records are measured as they are: predictions of any program.")
  var models: [String] = []

  @Option(help: "Labelled test rows: data (a file, or a folder of images by class) or exit records.")
  var data: String

  @Option(help: "Labels of the test rows, where they are not beside the inputs.")
  var labels: String?

  @Option(parsing: .unconditional, help: "Test rows to use, first:end.", transform: optionValue)
  var rows: RowRange?

  @Option(help: "Rows from elsewhere, NAME=DATA; may be repeated.", transform: optionValue)
  var ood: [NamedData] = []

  @Option(help: "Labelled rows on which a temperature is fitted: data or exit records.")
  var validation: String?

  @Option(help: "Labels of the validation rows, where they are not beside the inputs.")
  var validationLabels: String?

  @Option(parsing: .unconditional, help: "Validation rows to use, first:end.", transform: optionValue)
  var validationRows: RowRange?

  @Option(help: "Training rows: data or exit records. Test and validation rows that recur among them are warned of.")
  var reference: String?

  @Option(
    parsing: .unconditional,
    help: """
      With --ood: measure detectors on features of the first checkpoint too, 'all' or names with commas between; they are \
      fitted to the rows of --reference, react to those of --validation.
      """,
    transform: optionValue)
  var detectors: DetectorsOption?

  @Option(help: "The checkpoint of the posteriors, where it has moved.")
  var checkpoint: String?

  @Option(
    parsing: .unconditional, help: "Bins of the expected calibration error. (default: 15)", transform: wholeNumber(1...1000))
  var bins = ExpectedCalibrationError.defaultBinCount

  @Option(help: "Write the report as JSON to this file.")
  var json: String?

  @Option(help: "Write the report as a self-contained page to this file.")
  var html: String?

  @Option(help: "The report's title.")
  var title: String?

  @Flag(help: "Put seconds into the report, which then differs from run to run.")
  var timing = false

  @OptionGroup var options: ModelOptions
  @OptionGroup var execution: ExecutionOptions

  func validate() throws {
    try requireRows(of: validation, for: validationRows, validationLabels)
    if detectors != nil, ood.isEmpty {
      throw ValidationError("--detectors are measured on foreign rows; give some with --ood.")
    }
    if let json, let html, URL(filePath: json).standardizedFileURL == URL(filePath: html).standardizedFileURL {
      throw ValidationError("--json and --html need names of their own.")
    }
    guard Set(ood.map(\.name)).count == ood.count else {
      throw ValidationError("Every --ood needs a name of its own.")
    }
  }

  func run() async throws {
    try options.requireTable(among: data, labels, validation, validationLabels)
    try execution.requireWritable(
      json, html,
      apartFrom: models + ood.map(\.data)
        + [
          data, labels, validation, validationLabels, reference, checkpoint, options.classNames,
          options.checkpoint.architecture,
        ])
    let progress = execution.progress()
    let session = Session(options, execution, progress)
    let clock = ContinuousClock()
    let start = clock.now

    let likelihood = options.likelihood
    let column = options.labelColumn
    let test = try RowInput(
      data, labels: labels, labelColumn: column, rows: rows?.range, likelihood: likelihood)
    let foreign = try ood.map {
      try RowInput($0.data, labelColumn: column, likelihood: likelihood, usesLabels: false)
    }
    let held = try validation.map {
      try RowInput(
        $0, labels: validationLabels, labelColumn: column, rows: validationRows?.range, likelihood: likelihood)
    }
    var warnings = try recurrences(test, held, session)

    let reading = options.checkpoint.reading
    var lineup = try Lineup(
      try models.map { try ModelInput($0, reading: reading) }, checkpoint: checkpoint, reading: reading, records: test)
    // The checkpoint of a posterior may need it, and is opened later.
    let checkpoints = lineup.inputs.compactMap { if case .checkpoint(let model) = $0 { model } else { nil } }
    if checkpoints.count == lineup.inputs.count { try options.checkpoint.requireUse(by: checkpoints) }
    if !([test] + foreign + [held].compactMap { $0 }).contains(where: { if case .dataset = $0 { true } else { false } }),
      lineup.inputs.allSatisfy({ if case .posterior(.lastLayer, _, _) = $0 { true } else { false } })
    {
      try options.checkpoint.requireNetwork(becauseOf: "exit records and last-layer posteriors")
    }
    try execution.requireWritable(json, html, apartFrom: lineup.inputs.map(\.recordedCheckpoint))
    for index in lineup.groups.indices {
      let group = lineup.groups[index]
      let rows = ([test] + foreign + [held].compactMap { $0 }).filter {
        $0.checkpointDigest.map { $0 == group.digest } ?? true
      }
      lineup.groups[index].preprocessing = try session.agreedPreprocessing(
        [(group.preprocessingFile ?? group.entries[0].name, group.preprocessing)]
          + rows.map { ($0.file, $0.preprocessing) })
    }
    var evaluations: [ModelEvaluation] = []
    var description: RecordsDescription?
    var ignored: [String: IgnoredLabels] = [:]
    for index in lineup.groups.indices {
      let group = lineup.groups[index]
      // Detectors go over rows several times; the network goes once.
      let isForDetectors = detectors != nil && index == 0
      var all = try await records(test, data, group, "test", session)
      if isForDetectors { all = try await spooled(all) }
      try session.require([.categorical, .binary], in: all.description)
      guard all.hasLabels else {
        throw test.missingLabels("test", option: "--labels")
      }
      let source: any ExitRecordSource
      (source, ignored["test"]) = try await session.answered(all)
      for case .checkpoint(let model)? in group.entries.map(\.model) {
        try session.requireExits(of: model, in: source.description)
      }
      description = description ?? source.description
      var contestants = try await contestants(of: group, source, held, session, &warnings, &ignored)
      try await measure(&contestants, source, usesLabels: true) { exit, prediction, labels in
        try exit.update(prediction, labels: labels ?? [])
      }
      var foreignRows: [(name: String, rows: any ExitRecordSource)] = []
      for (named, input) in zip(ood, foreign) {
        var rows = try await records(input, named.data, group, named.name, session)
        if isForDetectors { rows = try await spooled(rows) }
        foreignRows.append((named.name, rows))
        try source.description.requireSameExits(as: rows.description)
        try await measure(&contestants, rows) { exit, prediction, _ in
          try exit.update(prediction, outOfDistribution: named.name)
        }
      }
      if isForDetectors, let detectors {
        let training = try reference.map { try RowInput($0, labelColumn: column, likelihood: likelihood) }
        let sets = DetectorRowSets(
          training: try await detectorRows(training, reference, group, "training", session),
          validation: try await detectorRows(held, validation, group, "validation", session),
          test: source, foreign: foreignRows)
        warnings += try await contestants[0].evaluation.measure(
          detectors, on: sets, in: execution.context(try execution.backend(), progress))
      }
      evaluations += contestants.map(\.evaluation)
    }
    progress.finishLine()
    try Task.checkCancellation()

    guard let description else { preconditionFailure("There is at least one model.") }
    let report = Report(
      title: title ?? "Can \(URL(filePath: models.first ?? data).lastPathComponent) be trusted?",
      evaluation: try Evaluation(of: evaluations), warnings: warnings, classNames: description.classNames,
      provenance: try provenance(lineup, description, test, held, foreign, ignored, session),
      timing: timing ? ["evaluate": seconds(clock.now - start)] : nil)
    for warning in warnings { progress.warn(warning) }
    var outputs: [(String, Data)] = []
    if let json { outputs.append((json, Data(try JSONRenderer().render(report).utf8))) }
    if let html { outputs.append((html, Data(HTMLRenderer().render(report).utf8))) }
    try AtomicFile.write(outputs, replacing: execution.force)
    let notes = ignored.sorted { $0.key < $1.key }.map { "ignored \($0.key) labels: \($0.value)" }
    try printAnswer(([summary(report)] + notes).joined(separator: "\n") + "\n\n" + report.verdict)
  }

  /// Warnings of rows that appear in more than one of the training, validation and test sets.
  private func recurrences(_ test: RowInput, _ held: RowInput?, _ session: Session) throws -> [String] {
    var warnings: [String] = []
    func check(_ second: RowInput?, _ secondName: String, _ first: RowInput?, _ firstName: String) throws {
      guard let first, let second else { return }
      if let warning = try session.warningOfRecurrence(of: second, named: secondName, in: first, named: firstName) {
        warnings.append(warning)
      }
    }
    let training = try reference.map {
      try RowInput($0, labelColumn: options.labelColumn, likelihood: options.likelihood, usesLabels: false)
    }
    try check(test, "test", held, "validation")
    try check(held, "validation", training, "training")
    try check(test, "test", training, "training")
    return warnings
  }

  private func seconds(_ duration: Duration) -> Double {
    Double(duration.components.seconds) + Double(duration.components.attoseconds) * 1e-18
  }

  private func records(
    _ input: RowInput, _ specification: String, _ group: Lineup.Group, _ stage: String, _ session: Session
  ) async throws -> any ExitRecordSource {
    try await session.records(
      input, specification: specification, checkpoint: { try group.network() }, digest: group.digest,
      stored: group.preprocessing, likelihood: group.likelihood, classNames: group.classNames, stage: stage)
  }

  /// Records that detectors are fitted to, where there are such rows.
  private func detectorRows(
    _ input: RowInput?, _ specification: String?, _ group: Lineup.Group, _ stage: String, _ session: Session
  ) async throws -> (any ExitRecordSource)? {
    guard let input, let specification else { return nil }
    return try await spooled(try await records(input, specification, group, stage, session))
  }

  /// The records in a file, where a network would have to run anew for each pass.
  private func spooled(_ records: any ExitRecordSource) async throws -> any ExitRecordSource {
    guard let network = records as? NetworkRecords else { return records }
    return try await SpooledRecords(network)
  }

  /// The rows of the report that one checkpoint's records serve.
  private func contestants(
    of group: Lineup.Group, _ source: any ExitRecordSource, _ held: RowInput?, _ session: Session,
    _ warnings: inout [String], _ ignored: inout [String: IgnoredLabels]
  ) async throws -> [Contestant] {
    let exits = source.description.exits
    func evaluation(
      _ name: String, _ kind: ModelKind, costs: [ExitDescription]? = nil, _ settings: (Int) -> [String: Double]
    ) -> ModelEvaluation {
      ModelEvaluation(
        name: name, kind: kind,
        exits: exits.indices.map { index in
          ExitEvaluation(
            index: index, name: exits[index].name, multiplyAdds: (costs ?? exits)[index].multiplyAdds,
            outOfDistribution: ood.map(\.name), binCount: bins, settings: settings(index),
            resampling: Resampling(key: RandomKey(seed: execution.seed)))
        })
    }
    var contestants: [Contestant] = []
    for entry in group.entries {
      switch entry.model {
      case .checkpoint, nil:
        contestants.append(
          Contestant(
            predictor: .map, evaluation: evaluation(entry.name, models.isEmpty ? .predictions : .map) { _ in [:] }))
        guard let held, let validation else { continue }
        let all = try await records(held, validation, group, "validation", session)
        let records: any ExitRecordSource
        (records, ignored["validation"]) = try await session.answered(all)
        try source.description.requireSameExits(as: records.description)
        guard records.hasLabels else {
          throw held.missingLabels("validation", option: "--validation-labels")
        }
        let temperatures = try await naming(held.file) {
          try await TemperatureScaling().fit(exits: Array(exits.indices), of: records)
        }
        for (index, temperature) in temperatures.enumerated() where temperature.isAtSearchBound {
          warnings.append(
            "Exit \(index) ('\(exits[index].name)'): the temperature of '\(entry.name)' lies at the edge of the "
              + "search, \(temperature.value.significantDigits()); look at the validation rows.")
        }
        contestants.append(
          Contestant(
            predictor: .temperature(temperatures),
            evaluation: evaluation(entry.name + " + temperature", .temperature) {
              ["temperature": temperatures[$0].value]
            }))
      case .posterior(let posterior, _, _)?:
        guard let model = entry.model else { continue }
        if posterior.needsRows, ignored["test"] != nil {
          throw FileError(
            .unsupported, file: model.file,
            "A posterior that needs rows and not only records is not measured with --ignore-label; leave the rows with that "
              + "label out of the test data.")
        }
        warnings += posterior.warnings.map { "\(entry.name): \($0)" }
        contestants.append(
          Contestant(
            predictor: try session.predictor(model, for: source.description, checkpoint: group.network),
            evaluation: evaluation(
              entry.name, ModelKind(posterior.method), costs: posterior.costs, posterior.settings)))
      }
    }
    return contestants
  }

  /// Feeds every contestant with the predictions for some rows.
  private func measure(
    _ contestants: inout [Contestant], _ source: any ExitRecordSource, usesLabels: Bool = false,
    _ update: @escaping @Sendable (inout ExitEvaluation, Prediction, [Int]?) throws -> Void
  ) async throws {
    // Moved, not copied: what is kept of all rows so far would be copied with it.
    var fed: [Contestant] = []
    swap(&fed, &contestants)
    defer { swap(&fed, &contestants) }
    var waiting = WaitingBlocks(width: execution.width, update)
    try await naming(source.description.file) {
      let description = source.description
      func check(_ records: ExitRecords) throws {
        try Task.checkCancellation()
        guard usesLabels, let labels = records.labels else { return }
        try description.requireClasses(labels) { records.place(ofRow: $0, in: description.positions) }
      }
      let predictors = fed.map(\.predictor)
      if predictors.allSatisfy(\.isPlain) {
        try await source.forEachChunk { chunk in
          try check(chunk)
          for (index, predictor) in predictors.enumerated() {
            for prediction in predictor.plainPredictions(for: chunk, description) {
              waiting.append(index, prediction, chunk)
            }
          }
          if waiting.areEnough { try await waiting.evaluate(into: &fed) { try namingExit($0, description, $1) } }
        }
        try await waiting.evaluate(into: &fed) { try namingExit($0, description, $1) }
        return
      }
      try await Predictor.predictions(of: predictors, for: source) { index, block, predictions in
        try check(block)
        for prediction in predictions {
          try namingExit(prediction.exit, description) {
            // Plain ones as above, so that their numbers are the same whatever is evaluated beside them.
            if predictors[index].isPlain {
              waiting.append(index, prediction, block)
              try waiting.evaluateInTurn(into: &fed)
            } else {
              try update(&fed[index].evaluation.exits[prediction.exit], prediction, block.labels)
            }
          }
        }
      }
    }
  }

  /// Says at which exit of which file the rows are that an evaluation refuses.
  private func namingExit(_ exit: Int, _ description: RecordsDescription, _ body: () throws -> Void) throws {
    do {
      try body()
    } catch let error as EvaluationError {
      throw FileError(
        .value, file: description.file, object: "exit \(exit) ('\(description.exits[exit].name)')", error.message)
    }
  }

  private func provenance(
    _ lineup: Lineup, _ description: RecordsDescription, _ test: RowInput, _ held: RowInput?,
    _ foreign: [RowInput], _ ignored: [String: IgnoredLabels], _ session: Session
  ) throws -> Provenance {
    var inputs: [InputDigest] = []
    for model in lineup.inputs {
      let role = if case .checkpoint = model { "checkpoint" } else { "posterior" }
      inputs.append(
        InputDigest(role: role, file: model.file, digest: try FileDigest.sha256(ofFile: model.file)))
      if case .checkpoint(let checkpoint) = model, let file = checkpoint.architectureFile {
        inputs.append(InputDigest(role: "architecture", file: file, digest: try FileDigest.sha256(ofFile: file)))
      }
    }
    var data = [("test", self.data)]
    if held != nil, let validation { data.append(("validation", validation)) }
    data += ood.map { ($0.name, $0.data) }
    for (role, specification) in data {
      inputs.append(
        InputDigest(role: role, file: specification, digest: try session.digest(of: specification)))
    }
    var details: [String: String] = [:]
    if let rows { details["test rows"] = "\(rows.range.lowerBound):\(rows.range.upperBound)" }
    if let validationRows {
      details["validation rows"] = "\(validationRows.range.lowerBound):\(validationRows.range.upperBound)"
    }
    for (name, labels) in ignored { details["ignored \(name) labels"] = labels.description }
    if let preprocessing = description.preprocessing, preprocessing != .identity {
      details["preprocessing"] =
        "scale \(preprocessing.scale), mean \(NumberList(preprocessing.mean)), std "
        + "\(NumberList(preprocessing.standardDeviation))"
    }
    return Provenance(
      version: bayesifyVersion, command: ["bayesify"] + CommandLine.arguments.dropFirst(), seed: execution.seed,
      likelihood: description.exits[0].likelihood.rawValue, backend: try execution.backend().name,
      inputs: inputs, details: details)
  }

  /// The numbers a reader wants first, as text.
  private func summary(_ report: Report) -> String {
    let names = report.models[0].exits.first?.ood.map(\.name) ?? []
    let rows = report.models.flatMap { model in
      model.exits.map { exit -> [String] in
        let scores = exit.ood.map { $0.scores["maximumProbability"].map { fixed($0.auroc) } ?? "-" }
        return [
          "\(exit.index)", model.name, fixed(exit.accuracy), fixed(exit.nll), fixed(exit.brier),
          fixed(exit.ece.value),
        ] + scores
      }
    }
    return textTable(
      ["exit", "model", "accuracy", "NLL", "Brier", "ECE"] + names.map { "AUROC \($0)" }, rows, leading: 2)
  }

  private func fixed(_ value: Double) -> String {
    value.formatted(.number.precision(.fractionLength(4)).grouping(.never).locale(Locale(identifier: "en_US_POSIX")))
  }
}

/// One row of the report while it is fed.
struct Contestant {
  var predictor: Predictor
  var evaluation: ModelEvaluation
}

/// The models of an evaluation, grouped by the checkpoint whose records serve them.
private struct Lineup {
  struct Entry {
    var name: String
    /// `nil` for the untouched network of a posterior's checkpoint.
    var model: ModelInput?
  }

  struct Group {
    var digest: String?
    var entries: [Entry]
    var preprocessing: Preprocessing?
    /// The posterior that says so.
    var preprocessingFile: String?
    var likelihood: Likelihood?
    var classNames: [String]?
    /// Opens the checkpoint, when rows must be run.
    var network: () throws -> CheckpointModel
  }

  let inputs: [ModelInput]
  var groups: [Group] = []

  /// - Parameter records: the test rows, which stand for a model where there is none.
  init(_ inputs: [ModelInput], checkpoint: String?, reading: CheckpointReading, records: RowInput) throws {
    self.inputs = inputs
    if inputs.isEmpty { groups = [Group(ofRecords: records)] }
    var names: Set<String> = []
    func unique(_ file: String) -> String {
      let stem = URL(filePath: file).deletingPathExtension().lastPathComponent
      let name = ([stem] + (2...inputs.count + 2).map { "\(stem) (\($0))" }).first { !names.contains($0) } ?? stem
      names.insert(name)
      return name
    }
    for input in inputs {
      let position: Int
      if let known = groups.firstIndex(where: { $0.digest == input.checkpointDigest }) {
        position = known
      } else {
        position = groups.count
        groups.append(
          Group(
            digest: input.checkpointDigest, entries: [],
            network: { try input.checkpoint(named: checkpoint, reading: reading) }))
        if case .posterior = input, groups.count == 1,
          !inputs.contains(where: {
            if case .checkpoint = $0 { $0.checkpointDigest == input.checkpointDigest } else { false }
          })
        {
          groups[position].entries.append(Entry(name: "untouched network", model: nil))
        }
      }
      if case .checkpoint(let model) = input { groups[position].network = { model } }
      if case .posterior = input {
        guard groups[position].preprocessing == nil || groups[position].preprocessing == input.preprocessing else {
          throw FileError(
            .value, file: input.file,
            "It was fitted with other preprocessing than another posterior here; evaluate them one at a time.")
        }
        groups[position].preprocessing = input.preprocessing
        groups[position].preprocessingFile = input.file
        groups[position].likelihood = input.likelihood
        groups[position].classNames = input.classNames
      }
      groups[position].entries.append(Entry(name: unique(input.file), model: input))
    }
  }
}

extension Lineup.Group {
  /// Exit records that are measured as they are, without a network.
  fileprivate init(ofRecords records: RowInput) {
    let name = URL(filePath: records.file).deletingPathExtension().lastPathComponent
    self.init(
      digest: records.checkpointDigest, entries: [Lineup.Entry(name: name, model: nil)],
      network: {
        throw FileError(
          .missing, file: records.file,
          "No model is named, and not all rows are exit records; name the checkpoint or the posterior to measure.")
      })
  }
}
