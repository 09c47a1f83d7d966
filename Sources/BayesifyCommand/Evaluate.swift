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
      each score, and with --validation by 4 for each class of a validation pixel; with --calibrators by some 40, with \
      --conformal by 48 for each validation pixel, model and exit.

      With --shift, the test images are corrupted too, in every way named and at five severities, and every model is \
      measured on each: five passes more for each way, or as many as --severities are named. Strengths are those of Hendrycks and Dietterich (2019) for \
      small images; rotations, by 15 to 75 degrees, those of Ovadia et al. (2019).

      Networks of real targets (--likelihood gaussian, where posteriors and records do not say so) are measured by errors, \
      Gaussian likelihood, CRPS, interval score, sharpness and the calibration of central intervals. Targets are y of the \
      data, /targets of records. The network alone gives means; with --validation it gets one standard deviation an \
      output, fitted to those rows, which is the baseline. Records without a model have deviations where they hold /noise. \
      --calibrators are then deviation-scaling and isotonic, --conformal makes intervals. Test rows leave nothing behind; \
      with isotonic, validation rows take 8 bytes each for every output of every model and exit, with --conformal 16, and 8 \
      more for every alpha. --ood, --detectors, --policy, --shift and --bins are for classes alone.

      Example: bayesify evaluate model.h5 posterior.h5 --data test.h5 --validation validation.h5 \
      --ood letters=letters.h5 --json report.json --html report.html
      Example: bayesify evaluate model.h5 posterior.h5 --likelihood gaussian --data test.h5 --validation validation.h5 \
      --calibrators all --conformal 0.1 --html report.html
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

  @Option(
    parsing: .unconditional,
    help: """
      The label of anomalous test rows or pixels, which are of no class: they count as a foreign set, 'anomalies', that is \
      told from the other test rows, for pixels within each image too.
      """,
    transform: wholeNumber(0...Int(Int32.max)))
  var anomalyLabel: Int?

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

  @Option(help: "A policy of 'trust tune': which test and foreign rows it trusts, and how many of these are wrong.")
  var policy: String?
  @OptionGroup var calibration: CalibrationOptions
  @Option(
    parsing: .unconditional,
    help: """
      Measure on corrupted test images too: 'all' or names with commas between, of noise, blur, contrast, brightness, \
      jpeg, rotation.
      """,
    transform: optionValue)
  var shift: ShiftOption?

  @Option(
    parsing: .unconditional,
    help: "With --shift: how strongly images are corrupted, as 3 or 1,3,5. (default: 1,2,3,4,5)",
    transform: optionValue)
  var severities: SeverityList?

  @Option(
    parsing: .unconditional,
    help: """
      With --shift: the stored values of a black and a full pixel, LOW:HIGH. (default: from 0 to 1 where no value is \
      larger, to the largest where that is at most 127, else to 255)
      """,
    transform: optionValue)
  var pixelRange: PixelRangeOption?

  @Option(help: "The checkpoint of the posteriors, where it has moved.")
  var checkpoint: String?

  @Option(
    parsing: .unconditional, help: "Bins of the expected calibration error. (default: 15)", transform: wholeNumber(1...1000))
  var bins = ExpectedCalibrationError.defaultBinCount

  @Option(help: "Write the report as JSON to this file.")
  var json: String?

  @Option(help: "Write the report as a self-contained page to this file.")
  var html: String?

  @Option(help: "Write the report's summary as Markdown, for pull requests, to this file.")
  var markdown: String?

  @Option(
    help: """
      End with exit code 1 where this holds of the last model named, at its deepest exit: 'ece>0.03', 'accuracy<0.9', \
      'auroc:letters<0.95', of regressions 'crps>0.4'; of another model by its name and a slash before. May be repeated; \
      reports are written all the same.
      """,
    transform: optionValue)
  var failIf: [ReportCondition] = []

  @Option(help: "The report's title.")
  var title: String?

  @Flag(help: "Put seconds into the report, which then differs from run to run.")
  var timing = false

  @OptionGroup var options: ModelOptions
  @OptionGroup var execution: ExecutionOptions

  func validate() throws {
    try requireRows(of: validation, for: validationRows, validationLabels)
    try calibration.requireValidation(validation)
    if options.likelihood == .gaussian { try requireRegressionOptions() }
    let given = [("--pixel-range", pixelRange != nil), ("--severities", severities != nil)]
    if shift == nil, let name = given.first(where: \.1)?.0 {
      throw ValidationError("\(name) is for corrupted images, and none are asked for; add --shift, or leave it out.")
    }
    let reports = [json, html, markdown].compactMap { $0.map { URL(filePath: $0).standardizedFileURL } }
    guard Set(reports).count == reports.count else {
      throw ValidationError(
        "--json, --html and --markdown need files of their own; "
          + "\([json, html, markdown].compactMap { $0 }.joined(separator: ", ")) are not all different.")
    }
    if let condition = failIf.first(where: { condition in
      condition.set.map { !foreignNames.contains($0) } ?? false
    }) {
      throw ValidationError("--fail-if '\(condition.text)' names a set that no --ood does.")
    }
    var names: Set<String> = []
    if let twice = foreignNames.first(where: { !names.insert($0).inserted }) {
      throw ValidationError(
        "Two foreign sets are named '\(twice)'"
          + (twice == Self.anomalySetName && anomalyLabel != nil ? ", as that of --anomaly-label is" : "")
          + "; give every set a name of its own.")
    }
    if let anomalyLabel, anomalyLabel == options.ignoreLabel {
      throw ValidationError(
        "--anomaly-label and --ignore-label are both \(anomalyLabel); anomalies are measured, and what is ignored is not.")
    }
  }

  /// What the rows of --anomaly-label are called among the foreign sets.
  private static let anomalySetName = "anomalies"

  private var foreignNames: [String] { ood.map(\.name) + (anomalyLabel == nil ? [] : [Self.anomalySetName]) }

  /// Refuses foreign rows that a placement was searched with.
  private func requireUnsearched(_ models: [ModelInput], _ session: Session) throws {
    for case .posterior(.sampled(let posterior), let file, _) in models {
      guard case .placement(_, _, let placement) = posterior.kind, !placement.searchDigests.isEmpty else { continue }
      for named in ood where placement.searchDigests.contains(try session.digest(of: named.data)) {
        throw FileError(
          .value, file: named.data,
          "The placement of \(file) was searched with these foreign rows, and what is said of them would flatter; measure it with "
            + "others.")
      }
    }
  }

  func run() async throws {
    try options.requireTable(among: data, labels, validation, validationLabels)
    try execution.requireWritable(
      json, html, markdown,
      apartFrom: models + ood.map(\.data)
        + [
          data, labels, validation, validationLabels, reference, checkpoint, policy, options.classNames,
          options.checkpoint.architecture,
        ])
    let trust = try policy.map { try TrustPolicyFile(option: $0) }
    let progress = execution.progress()
    let session = Session(options, execution, progress)
    let clock = ContinuousClock()
    let start = clock.now

    let likelihood = options.likelihood
    let column = options.labelColumn
    let test = try RowInput(
      data, labels: labels, labelColumn: column, rows: rows?.range, likelihood: likelihood)
    if case .records(let records) = test, records.description.isRegression { try requireRegressionOptions() }
    let foreign = try ood.map {
      try RowInput($0.data, labelColumn: column, likelihood: likelihood, usesLabels: false)
    }
    let held = try validation.map {
      try RowInput(
        $0, labels: validationLabels, labelColumn: column, rows: validationRows?.range, likelihood: likelihood)
    }
    var warnings = try recurrences(test, held, session)
    if case .records(let records) = test, try records.looksLikeProbabilities {
      warnings.append(
        "The logits of \(data) are such as probabilities are, from 0 to 1 with the sum 1; if they are, write their logarithms "
          + "(Documentation/ExitRecords.md).")
    }
    if let trust, let policy, rows == nil, try trust.validation.digest == session.digest(of: data) {
      warnings.append(
        "The policy \(policy) was tuned on rows of \(data), all of which it is measured on; what is said of it flatters. Use "
          + "rows that tuned nothing.")
    }

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
    try requireUnsearched(lineup.inputs, session)
    try execution.requireWritable(json, html, markdown, apartFrom: lineup.inputs.map(\.recordedCheckpoint))
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
    var plan = try shift.map { try ShiftPlan($0, severities, pixelRange, of: test, seed: execution.seed) }
    var shiftRuns: [ShiftRun] = []
    var maps = PixelMapGathering()
    var description: RecordsDescription?
    var ignored: [String: IgnoredLabels] = [:]
    for index in lineup.groups.indices {
      let group = lineup.groups[index]
      // Detectors go over rows several times; the network goes once.
      let isForDetectors = detectors != nil && index == 0
      var all = try await records(test, data, group, anomalyLabel: anomalyLabel, "test", session)
      let network = all as? NetworkRecords
      if all.description.isRegression {
        return try await evaluateRegression(
          lineup, test: test, validation: held, warnings: warnings, session, clock: clock, since: start)
      }
      // Not sooner: of real numbers there is neither.
      if detectors != nil, ood.isEmpty {
        throw ValidationError("--detectors are measured on foreign rows; give some with --ood.")
      }
      try calibration.requireForClasses(all.description.file)
      if let condition = failIf.first(where: { !$0.isOfClasses }) {
        throw ValidationError(
          "--fail-if '\(condition.text)' is of real numbers, and the outputs of \(all.description.file) are classes; give one "
            + "of accuracy, nll, brier, ece, auroc:SET and the others that --help names.")
      }
      if let network { try plan?.adapt(to: network.description) }
      if isForDetectors { all = try await spooled(all) }
      try session.require([.categorical, .binary], in: all.description)
      guard all.hasLabels else {
        throw test.missingLabels("test", option: "--labels")
      }
      let source: any ExitRecordSource
      (source, ignored["test"]) = try await session.answered(all)
      if let anomalyLabel { try await requireAnomalies(of: anomalyLabel, in: source) }
      for case .checkpoint(let model)? in group.entries.map(\.model) {
        try session.requireExits(of: model, in: source.description)
      }
      description = description ?? source.description
      let heldRows = try await validationRows(held, of: group, like: source.description, session, &ignored)
      var contestants = try await contestants(of: group, source, heldRows, session, &warnings, ignored)
      try await calibrateSets(of: &contestants, on: heldRows, file: validation ?? data)
      if source.description.positions.isEmpty, ignored["test"] == nil {
        for index in contestants.indices { contestants[index].keepsExamples() }
      }
      if let trust, let policy { try judge(&contestants, by: trust, policy, group, source.description, session, &warnings) }
      try await measure(&contestants, source, usesLabels: true) { [anomalyLabel] exit, prediction, rows in
        guard let anomalyLabel else { return try exit.update(prediction, labels: rows.labels ?? []) }
        try exit.update(
          prediction, labels: rows.labels ?? [], anomaly: anomalyLabel, outOfDistribution: Self.anomalySetName,
          images: rows.images(positionCount: source.description.positionCount))
      }
      for index in contestants.indices { try contestants[index].finishSets() }
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
          detectors, on: sets, isTimed: timing, in: execution.context(try execution.backend(), progress))
      }
      evaluations += contestants.map(\.evaluation)
      if let network { try await maps.add(contestants, network, firstRow: rows?.range.lowerBound ?? 0) }
      if let network, plan != nil { shiftRuns.append(ShiftRun(network: network, contestants: contestants)) }
    }
    var shifted: ShiftStudy?
    if let plan {
      shifted = try await study(plan, of: shiftRuns, session)
      warnings += plan.warnings
    }
    progress.finishLine()
    try Task.checkCancellation()

    guard let description else { preconditionFailure("There is at least one model.") }
    if let trust, let policy, !evaluations.contains(where: { $0.exits.contains { $0.trust != nil } }) {
      let bound = trust.posterior ?? trust.checkpoint
      throw FileError(
        .value, file: policy,
        "None of the models is the one it was tuned for\(bound.file.map { ", \($0)" } ?? ""); name that too, or tune a "
          + "policy for one of these with 'trust tune'.")
    }
    var evaluation = try await Evaluation(of: evaluations, width: execution.width)
    try evaluation.illustrateExamples(from: test, firstRow: rows?.range.lowerBound ?? 0)
    warnings += warningsOfUnboundedSets(evaluations, classNames: description.classNames)
    var report = Report(
      title: title ?? "Can \(URL(filePath: models.first ?? data).lastPathComponent) be trusted?",
      evaluation: evaluation, warnings: warnings, classNames: description.classNames,
      provenance: try provenance(lineup, description, test, held, foreign, ignored, session),
      timing: timing ? ["evaluate": seconds(clock.now - start)] : nil)
    report.shift = shifted
    if !maps.maps.isEmpty { report.pixelMaps = maps.maps }
    for warning in warnings { progress.warn(warning) }
    var outputs: [(String, Data)] = []
    if let json { outputs.append((json, Data(try JSONRenderer().render(report).utf8))) }
    if let html { outputs.append((html, Data(HTMLRenderer().render(report).utf8))) }
    if let markdown { outputs.append((markdown, Data(MarkdownRenderer().render(report).utf8))) }
    try AtomicFile.write(outputs, replacing: execution.force)
    let notes = ignored.sorted { $0.key < $1.key }.map { "ignored \($0.key) labels: \($0.value)" }
    let tables = [summary(report), setsSummary(report)].compactMap { $0 }
    let parts = tables.map { [$0] } + [notes, [report.verdict], report.trustSummary, report.shiftSummary]
    try printAnswer(parts.filter { !$0.isEmpty }.map { $0.joined(separator: "\n") }.joined(separator: "\n\n"))
    // Predictions without a model are the only ones.
    let subject = lineup.names.last ?? report.models[0].name
    let violations = try failIf.compactMap { try $0.violation(in: report, of: subject) }
    if !violations.isEmpty { throw FailedCondition(message: violations.joined(separator: " ")) }
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

  func seconds(_ duration: Duration) -> Double {
    Double(duration.components.seconds) + Double(duration.components.attoseconds) * 1e-18
  }

  func records(
    _ input: RowInput, _ specification: String, _ group: Lineup.Group, anomalyLabel: Int? = nil, _ stage: String,
    _ session: Session
  ) async throws -> any ExitRecordSource {
    try await session.records(
      input, specification: specification, checkpoint: { try group.network() }, digest: group.digest,
      stored: group.preprocessing, likelihood: group.likelihood, classNames: group.classNames, anomalyLabel: anomalyLabel,
      stage: stage)
  }

  /// Refuses a label of anomalies that is a class's, or that no row has.
  private func requireAnomalies(of label: Int, in source: any ExitRecordSource) async throws {
    let description = source.description
    guard label >= description.exits.map(\.classCount).max() ?? 0 else {
      throw FileError(
        .value, file: description.file, object: "labels",
        "Label \(label) is a class of the network, so its rows are no anomalies; leave --anomaly-label out, or give the label "
          + "of those that no class is for.")
    }
    var (count, others) = (0, 0)
    try await source.forEachLabels { labels in
      for candidate in labels { if candidate == label { count += 1 } else { others += 1 } }
    }
    guard count > 0, others > 0 else {
      throw FileError(
        .value, file: description.file, object: "labels",
        (count == 0 ? "No label is \(label), that of anomalies" : "All labels are \(label), that of anomalies")
          + ", so nothing can be told apart; leave --anomaly-label out, or give other rows.")
    }
  }

  /// Gives the policy to the model it was tuned for, where that is one of the contestants.
  private func judge(
    _ contestants: inout [Contestant], by trust: TrustPolicyFile, _ policy: String, _ group: Lineup.Group,
    _ description: RecordsDescription, _ session: Session, _ warnings: inout [String]
  ) throws {
    guard trust.checkpoint.digest == nil || group.digest == nil || trust.checkpoint.digest == group.digest else { return }
    for index in contestants.indices where try contestants[index].isBound(to: trust) {
      _ = try session.agreedPreprocessing([
        (policy, trust.preprocessing), (description.file, description.preprocessing),
      ])
      if let warning = trust.warning(
        file: policy, model: contestants[index].evaluation.name, checkpointDigest: group.digest)
      {
        warnings.append(warning)
      }
      contestants[index].evaluation.exits[try trust.exit(in: description, policy: policy)].trust = trust.rule.map {
        TrustTally($0)
      }
    }
  }

  /// Records that detectors are fitted to, where there are such rows.
  private func detectorRows(
    _ input: RowInput?, _ specification: String?, _ group: Lineup.Group, _ stage: String, _ session: Session
  ) async throws -> (any ExitRecordSource)? {
    guard let input, let specification else { return nil }
    return try await spooled(try await records(input, specification, group, stage, session))
  }

  /// The records in a file, where a network would have to run anew for each pass.
  func spooled(_ records: any ExitRecordSource) async throws -> any ExitRecordSource {
    guard let network = records as? NetworkRecords else { return records }
    return try await SpooledRecords(network)
  }

  /// Below it a user is told that the validation rows are few: the error of a temperature's logarithm is then some tenths.
  private static let leastTuningRowCount = 100

  /// The rows of the report that one checkpoint's records serve.
  private func contestants(
    of group: Lineup.Group, _ source: any ExitRecordSource, _ held: ValidationRows?, _ session: Session,
    _ warnings: inout [String], _ ignored: [String: IgnoredLabels]
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
            outOfDistribution: foreignNames, binCount: bins, settings: settings(index),
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
        guard let held else { continue }
        if held.tuning.rowCount < Self.leastTuningRowCount {
          warnings.append(
            "The temperature of '\(entry.name)' is fitted to \(held.tuning.rowCount) validation row(s), which are few; give "
              + "\(Self.leastTuningRowCount) at least, better thousands.")
        }
        let temperatures = try await naming(held.tuning.description.file) {
          try await TemperatureScaling().fit(exits: Array(exits.indices), of: held.tuning)
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
        contestants += try await calibrated(entry.name, on: held.tuning, session.progress, &warnings) {
          evaluation($0, $1, $2)
        }
      case .posterior(let posterior, let file, _)?:
        guard let model = entry.model else { continue }
        warnings += posterior.warnings.map { "\(entry.name): \($0)" }
        if rows == nil, let warning = try session.warningOfReuse(by: posterior, file, of: data) {
          warnings.append(warning)
        }
        contestants.append(
          Contestant(
            predictor: try session.predictor(model, for: source.description, checkpoint: group.network),
            evaluation: evaluation(
              entry.name, ModelKind(posterior.method), costs: posterior.costs, posterior.settings),
            posterior: file))
      }
    }
    return contestants
  }

  /// Feeds the prediction sets of a contestant, where they are measured.
  private func feedSets(
    of contestant: inout Contestant, _ prediction: Prediction, _ labels: [Int]?, _ description: RecordsDescription
  ) throws {
    guard !contestant.sets.isEmpty else { return }
    let labels = labels ?? []
    // Anomalous rows are of no class that a set could hold.
    let classed = labels.indices.filter { labels[$0] != description.anomalyLabel }
    try namingExit(prediction.exit, description) {
      try contestant.sets[prediction.exit].update(
        classed.count == labels.count ? prediction : prediction.rows(classed), labels: classed.map { labels[$0] })
    }
  }

  /// Feeds every contestant with the predictions for some rows.
  func measure(
    _ contestants: inout [Contestant], _ source: any ExitRecordSource, usesLabels: Bool = false,
    _ update: @escaping WaitingBlocks.Update
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
              if usesLabels { try feedSets(of: &fed[index], prediction, chunk.labels, description) }
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
              try update(&fed[index].evaluation.exits[prediction.exit], prediction, BlockRows(block))
            }
          }
          if usesLabels { try feedSets(of: &fed[index], prediction, block.labels, description) }
        }
      }
    }
  }

  /// Says at which exit of which file the rows are that an evaluation refuses.
  func namingExit(_ exit: Int, _ description: RecordsDescription, _ body: () throws -> Void) throws {
    do {
      try body()
    } catch let error as EvaluationError {
      throw FileError(
        .value, file: description.file, object: "exit \(exit) ('\(description.exits[exit].name)')", error.message)
    }
  }

  func provenance(
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
    if let reference { data.append(("training", reference)) }
    if let names = options.classNames { data.append(("class names", names)) }
    for (role, specification) in data {
      inputs.append(
        InputDigest(role: role, file: specification, digest: try session.digest(of: specification)))
    }
    var details: [String: String] = [:]
    if let rows { details["test rows"] = "\(rows.range.lowerBound):\(rows.range.upperBound)" }
    if let validationRows {
      details["validation rows"] = "\(validationRows.range.lowerBound):\(validationRows.range.upperBound)"
    }
    if let apart = calibration.conformalRows?.range {
      details["conformal rows"] = "\(apart.lowerBound):\(apart.upperBound)"
    }
    for (name, labels) in ignored { details["ignored \(name) labels"] = labels.description }
    if let anomalyLabel { details["anomaly label"] = "\(anomalyLabel)" }
    if let preprocessing = description.preprocessing, preprocessing != .identity {
      details["preprocessing"] =
        "scale \(preprocessing.scale), mean \(NumberList(preprocessing.mean)), std "
        + "\(NumberList(preprocessing.standardDeviation))"
    }
    if let policy {
      inputs.append(InputDigest(role: "policy", file: policy, digest: try FileDigest.sha256(ofFile: policy)))
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
    let table = textTable(
      ["exit", "model", "accuracy", "NLL", "Brier", "ECE"] + names.map { "AUROC \($0)" }, rows, leading: 2)
    return names.isEmpty ? table : table + "\nAUROC: of the maximum probability (other scores: --json, --html)"
  }

  func fixed(_ value: Double) -> String {
    value.formatted(.number.precision(.fractionLength(4)).grouping(.never).locale(Locale(identifier: "en_US_POSIX")))
  }
}

/// A number is what `--fail-if` was to fail at.
struct FailedCondition: Error {
  var message: String
}

/// One row of the report while it is fed.
struct Contestant {
  var predictor: Predictor
  var evaluation: ModelEvaluation
  /// The posterior's file.
  var posterior: String?

  /// The prediction sets of each exit, where they are measured.
  var sets: [ConformalEvaluation] = []

  /// Keeps the rows to look at, at the deepest exit.
  mutating func keepsExamples() {
    evaluation.exits[evaluation.exits.count - 1].examples = ExampleTally()
  }

  /// Whether a policy was tuned for these predictions, given that it was for this checkpoint.
  func isBound(to trust: TrustPolicyFile) throws -> Bool {
    guard let bound = trust.posterior else { return evaluation.kind == .map || evaluation.kind == .predictions }
    return try posterior.map { try FileDigest.sha256(ofFile: $0) == bound.digest } ?? false
  }
}

/// The models of an evaluation, grouped by the checkpoint whose records serve them.
struct Lineup {
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

    /// Whether the network as it is is among the models.
    var hasPlainNetwork: Bool { entries.contains { if case .posterior? = $0.model { false } else { true } } }
    /// Whether a posterior needs rows, and not only what left the network's exits.
    var needsRows: Bool {
      entries.contains { if case .posterior(let posterior, _, _)? = $0.model { posterior.needsRows } else { false } }
    }
  }

  let inputs: [ModelInput]
  /// What the inputs are called in the report.
  let names: [String]
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
    self.names = inputs.map { unique($0.file) }
    for (input, name) in zip(inputs, self.names) {
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
      groups[position].entries.append(Entry(name: name, model: input))
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
