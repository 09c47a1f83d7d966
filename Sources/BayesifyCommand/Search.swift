import ArgumentParser
import Bayesify
import Foundation

struct Search: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Searches which layers to make Bayesian, and how.",
    discussion: """
      Every layer gets a distribution of each of --kinds, found while all other layers stay as trained; a placement says \
      which layers are drawn, by which kind, and how many draws predictions average. It is scored on --search-rows of \
      --validation and on foreign rows: those that are made of validation rows (--made), of classes that the network does \
      not know (--held-out), or of --ood. Test sets must be others: --test-ood names them beforehand, and 'evaluate' \
      refuses those of the search.

      Scores are the NLL of validation labels at the placement's own temperature, ECE, the AUROC of entropy, and the latency \
      by a model of measured times: what lies before the first drawn layer runs once. All placements that none dominates in \
      NLL, AUROC and latency are given, and one is chosen by

          F = -NLL / log K - w_e ECE + w_o (2 AUROC - 1) - w_t log(latency)

      among those whose accuracy stays within --accuracy-loss and whose latency within --latency-budget. The best five are \
      scored anew, with other draws and all validation rows, before one of them is chosen. 'fit placement' then fits it on its \
      own: only that is to be measured.

      Until the answer is written, OUTPUT.part holds what was found. A search that was interrupted or killed goes on from it \
      with --resume, to the same answer.

      Example: bayesify search model.h5 --data train.h5 --validation validation.h5 --latency-budget 2x -o placement.json
      """)

  @Argument(help: "A checkpoint.")
  var checkpoint: String

  @Option(help: "Training rows with labels: data.")
  var data: String

  @Option(help: "Labels of the training rows, where they are not beside the inputs.")
  var labels: String?

  @Option(parsing: .unconditional, help: "Training rows to use, first:end.", transform: optionValue)
  var rows: RowRange?

  @Option(help: "Labelled rows that the network was not trained on: data.")
  var validation: String

  @Option(help: "Labels of the validation rows, where they are not beside the inputs.")
  var validationLabels: String?

  @Option(parsing: .unconditional, help: "Validation rows to use, first:end.", transform: optionValue)
  var validationRows: RowRange?

  @Option(help: "Foreign rows of the search, NAME=DATA; may be repeated.", transform: optionValue)
  var ood: [NamedData] = []

  @Option(
    help: "Foreign rows that will measure what is found, NAME=DATA; may be repeated. None may be among those of the search.",
    transform: optionValue)
  var testOod: [NamedData] = []

  @OptionGroup var recipe: SearchOptions

  @Option(name: .shortAndLong, help: "What was found, JSON.")
  var output: String

  @Option(help: "Write what was found as a self-contained page to this file.")
  var html: String?

  @Option(
    parsing: .unconditional, help: "Time so many placements, and put the cost model beside the clock. (default: none)",
    transform: wholeNumber(2...1000))
  var checkTimes: Int?

  @Option(
    parsing: .unconditional,
    help: "Fit so many placements on their own, from the best to the worst, and put both scores side by side. (default: none)",
    transform: wholeNumber(2...1000))
  var checkRefits: Int?

  @Option(parsing: .unconditional, help: "Epochs of these fits. (default: 10)", transform: wholeNumber(1...10_000))
  var refitEpochs = 10

  @Flag(help: "Go on with the search in OUTPUT.part, where there is one.")
  var resume = false

  @OptionGroup var model: ModelOptions
  @OptionGroup var execution: ExecutionOptions

  func validate() throws {
    try recipe.validate()
    guard URL(filePath: output).pathExtension.lowercased() == "json" else {
      throw ValidationError("-o \(output) is no JSON file; give a name that ends in .json.")
    }
    if recipe.made.sets.isEmpty, ood.isEmpty, recipe.heldOut == nil {
      throw ValidationError("There are no foreign rows to search with; give --ood, --held-out or --made.")
    }
    let names = ood.map(\.name) + recipe.made.sets.map(\.rawValue) + (recipe.heldOut == nil ? [] : ["held-out classes"])
    guard Set(names).count == names.count else {
      throw ValidationError("Two foreign sets have one name, of \(names.joined(separator: ", ")); give each its own.")
    }
    if model.ignoreLabel != nil {
      throw ValidationError("--ignore-label is not for placements; leave those rows out of the data.")
    }
  }

  private var file: TrainingFile {
    TrainingFile(outputs: [output], method: "", resumes: resume, isForced: execution.force)
  }

  func run() async throws {
    try model.requireTable(among: data, labels, validation, validationLabels)
    let inputs =
      [checkpoint, data, labels, validation, validationLabels, model.classNames, model.checkpoint.architecture]
      + (ood + testOod).map(\.data)
    try file.requireWritable(apartFrom: inputs)
    try execution.requireWritable(html, apartFrom: inputs + [output])
    let session = Session(model, execution, execution.progress())
    try requireOtherTestSets(session)
    let checkpoint = try model.checkpoint.model(checkpoint)
    let training = try records(data, labels, rows?.range, "training", "--labels", checkpoint, session)
    let held = try records(
      validation, validationLabels, validationRows?.range, "validation", "--validation-labels", checkpoint, session)
    if let warning = try session.warningOfRecurrence(
      of: held.input, named: "validation", in: training.input, named: "training")
    {
      session.progress.warn(warning)
    }
    let found: PlacementFile
    do {
      found = try await search(checkpoint, training.records, held.records, session)
    } catch let error as NetworkError {
      throw FileError(.unsupported, file: checkpoint.file, error.message)
    }
    session.progress.finishLine()
    try Task.checkCancellation()
    var files = [(output, try found.json())]
    if let html { files.append((html, Data(try page(found, checkpoint, training.records.description, session).utf8))) }
    try AtomicFile.write(files, replacing: true)
    try file.remove()
    try printAnswer((found.lines + [files.map { "wrote \($0.0)" }.joined(separator: "\n")]).joined(separator: "\n"))
  }

  private func page(
    _ found: PlacementFile, _ checkpoint: CheckpointModel, _ description: RecordsDescription, _ session: Session
  ) throws -> String {
    let provenance = try session.provenance(
      [.checkpoint(checkpoint)], description, data: [("training", data), ("validation", validation)], details: [:])
    return found.report(
      title: "Placements of \(URL(filePath: self.checkpoint).lastPathComponent)", warnings: found.warnings, provenance: provenance
    ).html()
  }

  /// Refuses rows of the search that are to measure its result.
  private func requireOtherTestSets(_ session: Session) throws {
    let searched = try ood.map { ($0, try session.digest(of: $0.data)) }
    for test in testOod {
      let digest = try session.digest(of: test.data)
      guard let same = searched.first(where: { $0.1 == digest })?.0 else { continue }
      throw FileError(
        .value, file: test.data,
        "These are the rows of --ood \(same.name) too: what is searched with them flatters on them. Search with others, or "
          + "leave --ood out, so that foreign rows are made.")
    }
  }

  private func records(
    _ specification: String, _ labels: String?, _ range: Range<Int>?, _ role: String, _ option: String,
    _ checkpoint: CheckpointModel, _ session: Session
  ) throws -> (input: RowInput, records: NetworkRecords) {
    let input = try RowInput(specification, labels: labels, labelColumn: model.labelColumn, rows: range)
    guard case .dataset(let dataset) = input else {
      throw FileError(
        .unsupported, file: input.file,
        "These are exit records, and earlier layers need the rows that they were extracted from; give the data.")
    }
    let records = try session.networkRecords(
      checkpoint, over: dataset, stored: nil, stage: role, dataDigest: try session.digest(of: specification))
    guard records.hasLabels else { throw input.missingLabels(role, option: option) }
    return (input, records)
  }

  private func search(
    _ checkpoint: CheckpointModel, _ training: NetworkRecords, _ held: NetworkRecords, _ session: Session
  ) async throws -> PlacementFile {
    let (network, description) = (checkpoint.frozen.network, training.description)
    let exit = try session.exit(recipe.exit, of: description)
    var study = recipe.study
    try study.inference.require(description)
    let layers = try study.inference.layers(recipe.layerNames, of: checkpoint.frozen)
    let space = PlacementSpace(
      sites: recipe.sites.sites(layers.map { ($0.name, $0.node) }, of: network, exit: exit),
      kinds: recipe.kinds.kinds.map(\.description), drawCounts: recipe.draws.counts)
    study.refittedCount = checkRefits ?? 0
    study.refitEpochCount = refitEpochs
    study.search.strategy =
      recipe.strategy ?? (space.count.map { $0 <= study.search.evaluationCount } ?? false ? .exhaustive : .evolution)
    if study.search.strategy == .exhaustive, space.count.map({ $0 > 1_000_000 }) ?? true {
      throw ValidationError(
        "There are more than a million placements; give another --strategy, fewer --layers, or --sites blocks.")
    }
    let foreign = try ood.map { named in
      let input = try RowInput(named.data, labelColumn: model.labelColumn, usesLabels: false)
      guard case .dataset(let dataset) = input else {
        throw FileError(.unsupported, file: input.file, "These are exit records; give the rows that they were extracted from.")
      }
      return (name: named.name, rows: dataset)
    }
    let backend = try execution.backend()
    let context = execution.context(backend, session.progress)
    let source = PlacementRows.Source(
      validation: held.dataset, heldOutLabels: Set(recipe.heldOut?.labels ?? []), made: recipe.made.sets, foreign: foreign)
    let classCount = description.exits[exit].classCount
    let subject = PlacementStudy.Subject(
      frozen: checkpoint.frozen, description: description, training: training.dataset,
      validation: try source.knownRows(),
      rows: try PlacementRows(
        source, count: recipe.searchRows, foreignCount: recipe.foreignRows, classCount: classCount,
        inputShape: network.inputShape, key: context.key.child(20)),
      allRows: try PlacementRows(
        source, count: nil, foreignCount: nil, classCount: classCount,
        inputShape: network.inputShape, key: context.key.child(21)))
    let settings = recipe.settings.merging(
      try TrainingFile.settings(checkpoint, data: data, labels: labels, rows: rows, training, model, execution)
    ) { $1 }.merging(try foreignSettings(session)) { $1 }
    var earlier: PlacementTraining?
    if resume, let found: PlacementTraining = try file.earlier(settings: settings) {
      session.progress.note(
        "resumed: \(file.part), \(found.distributions.count) distribution(s) and \(found.scores?.rowCount ?? 0) score(s) done")
      earlier = found
    }
    session.progress.note(
      "\(space.sites.count) sites, \(space.kinds.count) kinds: \(space.count.map { "\($0)" } ?? "countless") placements, by "
        + "\(study.search.strategy.rawValue)")
    var log = TrainingLog(earlier, file: file.part, settings: settings, every: 2)
    let found: PlacementStudy.Finding
    do {
      found = try await study(
        subject, space, objective: { objective($0, classCount) }, from: earlier, on: backend, in: context
      ) { state in
        _ = try log.take(state)
      }
    } catch is CancellationError {
      guard try log.write() else { throw CancellationError() }
      throw file.interruption
    }
    var check: LatencyCheck?
    if let checkTimes {
      let count = min(study.timedRowCount, subject.rows.validation.count)
      check = try await LatencyCheck(
        of: found.latency, checkpoint.frozen, description, exit: exit, space: space,
        rows: subject.rows.validation.rows(Array(0..<count)), count: checkTimes, on: backend, in: context)
    }
    return try placementFile(checkpoint, description, exit, space, study, found, check, subject, session)
  }

  private func objective(_ reference: PlacementScore, _ classCount: Int) -> PlacementObjective {
    var objective = PlacementObjective(classCount: classCount, referenceAccuracy: reference.accuracy)
    objective.calibrationWeight = recipe.calibrationWeight
    objective.foreignWeight = recipe.foreignWeight
    objective.latencyWeight = recipe.latencyWeight
    if let accuracyLoss = recipe.accuracyLoss { objective.accuracyLoss = accuracyLoss }
    objective.latencyBudget = recipe.latencyBudget?.factor
    return objective
  }

  private func foreignSettings(_ session: Session) throws -> [String: String] {
    var settings = ["--validation": try TrainingFile.named(validation, try session.digest(of: validation))]
    settings["--validation-labels"] = try validationLabels.map { try FileDigest.sha256(ofData: $0) }
    settings["--validation-rows"] = validationRows.map { "\($0.range)" }
    settings["--ood"] = try ood.map { "\($0.name)=\(try session.digest(of: $0.data))" }.joined(separator: ",")
    return settings
  }

  private func placementFile(
    _ checkpoint: CheckpointModel, _ description: RecordsDescription, _ exit: Int, _ space: PlacementSpace,
    _ study: PlacementStudy, _ found: PlacementStudy.Finding, _ check: LatencyCheck?, _ subject: PlacementStudy.Subject,
    _ session: Session
  ) throws -> PlacementFile {
    let sets = try subject.rows.foreign.map { set in
      let source = try ood.first { $0.name == set.name }.map {
        BoundFile(file: $0.data, digest: try session.digest(of: $0.data))
      }
      return PlacementFile.ForeignSet(name: set.name, source: source, rowCount: set.rows.count)
    }
    return PlacementFile(
      madeBy: "bayesify " + bayesifyVersion, checkpoint: BoundFile(file: checkpoint.file, digest: checkpoint.digest),
      validation: BoundFile(file: validation, digest: try session.digest(of: validation)), seed: execution.seed,
      preprocessing: description.preprocessing, exit: exit, exitName: description.exits[exit].name, space: space,
      search: study.search, foreign: sets, validationRowCount: subject.rows.labels.count, latencyCheck: check, found)
  }
}

extension PlacementFile {
  /// What the user should know.
  fileprivate var warnings: [String] {
    var warnings: [String] = []
    if chosen == nil {
      warnings.append(
        "No placement was found whose accuracy and latency are within the constraints; allow more --accuracy-loss or a larger "
          + "--latency-budget.")
    }
    if let best = rescored.first, best.scalar <= objective.scalar(freshReference) {
      warnings.append(
        "No placement that was scored anew has a larger F than the untouched network with a temperature; there is nothing gained by "
          + "drawing layers here.")
    }
    if let name = foreign.map(\.name).first(where: { name in (reference.aurocs[name] ?? 0) > 0.999 }) {
      warnings.append(
        "The untouched network tells the foreign rows '\(name)' from known ones already (AUROC above 0.999), so that they say "
          + "nothing of placements; search with others.")
    }
    return warnings
  }

  /// What was found, for a terminal.
  fileprivate var lines: [String] {
    func cells(_ name: String, _ placement: Placement, _ score: PlacementScore) -> [String] {
      [
        name, "\(placement.drawCount)", decimals(score.nll, 4), decimals(100 * score.accuracy, 2), decimals(score.ece, 4),
        decimals(score.auroc, 4), decimals(score.latency, 2), decimals(objective.scalar(score), 4),
      ]
    }
    let header = ["placement", "draws", "NLL", "accuracy %", "ECE", "AUROC", "latency", "F"]
    var lines = [
      textTable(
        header,
        [cells("as trained", space.none, reference)]
          + baselines.map { cells($0.name, $0.entry.placement, $0.entry.score) }, leading: 1)
    ]
    lines += [
      "", "the front, \(front.count) of \(trail.count):",
      textTable(header, front.map { cells(name(of: trail[$0].placement), trail[$0].placement, trail[$0].score) }, leading: 1),
    ]
    if !rescored.isEmpty {
      lines += [
        "", "the best, scored anew with other draws and all rows:",
        textTable(
          header,
          [cells("as trained", space.none, freshReference)]
            + rescored.map { cells(name(of: $0.placement), $0.placement, $0.fresh) }, leading: 1),
      ]
    }
    if let latencyCheck {
      lines += [
        "",
        "cost model against the clock, \(latencyCheck.rows.count) placements: Spearman "
          + "\(latencyCheck.rankCorrelation.map { decimals($0, 3) } ?? "-"), median error "
          + "\(decimals(100 * latencyCheck.medianError, 1)) %",
      ]
    }
    if let refitCheck {
      lines += [
        "",
        "search against fits, \(refitCheck.rows.count) placements: Spearman "
          + "\(refitCheck.rankCorrelation.map { decimals($0, 3) } ?? "-")",
      ]
    }
    lines += ["", chosen.map { "chosen: \(name(of: $0)), \($0.drawCount) draws" } ?? "chosen: none"]
    return lines + warnings.map { "warning: \($0)" }
  }
}
