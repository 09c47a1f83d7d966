import ArgumentParser
import Bayesify
import Foundation

struct ExitsCurve: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "curve",
    abstract: "Accuracy, NLL and calibration against cost, for policies and kinds of predictions.",
    discussion: """
      The eight kinds of Meronen et al. are made from the checkpoint: its own predictions, Laplace at every exit and means \
      over exits, each as it is and tuned on the validation rows; without --training, those without Laplace. Models named \
      behind the checkpoint are measured too.

      Rows that tune also choose the thresholds; the numbers are from --data. Each number is the mean over 39 schedules; \
      policies are also tuned to equal costs. Temporary files take 4 bytes for every feature and logit of every row, and \
      memory 33 bytes a row, exit and score.

      Example: bayesify exits curve model.h5 --training train.h5 --validation validation.h5 --data test.h5 \
      --json curve.json --html curve.html
      """)

  @Argument(
    help: """
      A checkpoint, or exit records of the test rows; then posteriors of the same network: of last layers, of dropout, or \
      deep ensembles.
      """)
  var models: [String]

  @Option(help: "Labelled test rows: data or exit records.")
  var data: String

  @Option(help: "Labels of the test rows, where they are not beside the inputs.")
  var labels: String?

  @Option(parsing: .unconditional, help: "Test rows to use, first:end.", transform: optionValue)
  var rows: RowRange?

  @Option(help: "Labelled rows the network was not trained on: data or exit records.")
  var validation: String

  @Option(help: "Labels of the validation rows, where they are not beside the inputs.")
  var validationLabels: String?

  @Option(parsing: .unconditional, help: "Validation rows to use, first:end.", transform: optionValue)
  var validationRows: RowRange?

  @Option(help: "Rows the network was trained on, for Laplace: data or exit records.")
  var training: String?

  @Option(parsing: .unconditional, help: "Training rows to use, first:end.", transform: optionValue)
  var trainingRows: RowRange?

  @Option(
    parsing: .unconditional, help: "The structure of Laplace, as of 'fit laplace'. (default: kronecker-factored, the paper's)")
  var structure = LaplaceStructure.factored

  @Option(
    parsing: .unconditional, help: "Draws of Laplace. (default: 50)",
    transform: wholeNumber(LastLayerLaplace.allowedSampleCounts))
  var draws = 50

  @Option(
    parsing: .unconditional, help: "How often what draws is fitted and drawn, with the seeds from --seed on. (default: 3)",
    transform: wholeNumber(1...100))
  var seeds = 3

  @Option(
    parsing: .unconditional, help: "The weight of combined:W. (default: what balances its parts on the validation rows)",
    transform: number("a number above 0") { $0 > 0 })
  var combined: Double?

  @Option(help: "The checkpoint of the posteriors, where it has moved and exit records come first.")
  var checkpoint: String?

  @Option(help: "Write the report as JSON to this file.")
  var json: String?

  @Option(help: "Write the report as a self-contained page to this file.")
  var html: String?

  @Option(help: "The report's title.")
  var title: String?

  @OptionGroup var options: ModelOptions
  @OptionGroup var execution: ExecutionOptions

  func validate() throws {
    guard !models.isEmpty else { throw ValidationError("Name a checkpoint.") }
    if trainingRows != nil, training == nil { throw ValidationError("--training-rows is for --training; leave it out.") }
    if let json, let html, URL(filePath: json).standardizedFileURL == URL(filePath: html).standardizedFileURL {
      throw ValidationError("--json and --html need names of their own.")
    }
  }

  func run() async throws {
    try options.requireTable(among: data, labels, validation, validationLabels, training)
    try execution.requireWritable(
      json, html,
      apartFrom: models + [
        data, labels, validation, validationLabels, training, checkpoint, options.classNames,
        options.checkpoint.architecture,
      ])
    let progress = execution.progress()
    let session = Session(options, execution, progress)
    let subject = try ExitsSubject(models[0], options)
    guard checkpoint == nil || subject.model == nil else {
      throw ValidationError("--checkpoint is for exit records; the checkpoint is named already, leave it out.")
    }
    guard !subject.isPosterior else {
      throw FileError(
        .unsupported, file: models[0],
        "This is a posterior; name the checkpoint (or exit records) first, and posteriors behind it.")
    }
    func input(_ specification: String, _ labels: String?, _ rows: RowRange?, usesLabels: Bool = true) throws -> RowInput {
      try RowInput(
        specification, labels: labels, labelColumn: options.labelColumn, rows: rows?.range, likelihood: options.likelihood,
        usesLabels: usesLabels)
    }
    let (test, held) = (try input(data, labels, rows), try input(validation, validationLabels, validationRows))
    let trained = try training.map { try input($0, nil, trainingRows) }
    var warnings: [String] = []
    func warn(_ second: RowInput, _ secondName: String, _ first: RowInput?, _ firstName: String) throws {
      guard let first else { return }
      if let warning = try session.warningOfRecurrence(of: second, named: secondName, in: first, named: firstName) {
        warnings.append(warning)
      }
    }
    try warn(test, "test", held, "validation")
    try warn(held, "validation", trained, "training")
    try warn(test, "test", trained, "training")

    let testSource = try await spooled(test, data, subject, "test", session)
    let heldSource = try await spooled(held, validation, subject, "validation", session)
    try session.require([.categorical, .binary], in: testSource.description)
    guard testSource.hasLabels else { throw test.missingLabels("test", option: "--labels") }
    guard heldSource.hasLabels else { throw held.missingLabels("validation", option: "--validation-labels") }
    let description = testSource.description
    try description.requireSameExits(as: heldSource.description)
    try description.requireSeveralExits(of: models[0])
    guard testSource.rowCount > 1 else {
      throw FileError(
        .value, file: test.file, "There is one test row or none, and curves compare policies over several; give more.")
    }

    let scores: [ExitScore] = [.entropy, .margin, .patience, .mutualInformation, .logitVariance]
    var study = ExitStudy(scores: scores, combinedWeight: combined, key: RandomKey(seed: execution.seed).child(1))
    func measure(_ subject: ExitStudy.Subject) async throws {
      progress.note("measure: \(subject.name)")
      try await naming(test.file) { try await study.measure(subject, validation: heldSource, test: testSource) }
    }
    let trainingSource: (any ExitRecordSource)?
    if let trained, let training {
      trainingSource = try await spooled(trained, training, subject, "training", session)
    } else {
      trainingSource = nil
    }
    for variant in ExitVariant.allCases where trainingSource != nil || !variant.usesLaplace {
      try await measure(try await self.subject(variant, trainingSource ?? heldSource, heldSource, description, session))
    }
    let temperatures = try await naming(held.file) {
      try await TemperatureScaling().fit(exits: Array(description.exits.indices), of: heldSource)
    }
    let product = try ExitwisePredictor(.temperature(temperatures), ensemble: .productOfExperts, for: description)
    try await measure(
      ExitStudy.Subject(
        name: "product of exits + temperature", predictors: [product], costs: try ExitCosts(multiplyAddsOf: product),
        settings: temperatures.map { ["temperature": $0.value] }, comparesPolicies: false))
    for file in models.dropFirst() {
      let model = try ModelInput(file, reading: options.checkpoint.reading)
      let own = try session.predictor(model, for: description) {
        try model.checkpoint(named: subject.model == nil ? checkpoint : models[0], reading: options.checkpoint.reading)
      }
      let predictor = try ExitwisePredictor(own, for: description)
      var costs = try ExitCosts(multiplyAddsOf: predictor)
      var (heldRows, testRows) = (heldSource, testSource)
      if case .posterior(.sampled(let posterior), _, _) = model {
        costs = try ExitCosts(posterior.source.exits.map { Double($0.multiplyAdds ?? 1) }, unit: .multiplyAdds)
        // Its networks read the rows themselves.
        heldRows = try await subject.records(held, validation, checkpoint: nil, stage: "validation", session)
        testRows = try await subject.records(test, data, checkpoint: nil, stage: "test", session)
      }
      progress.note("measure: \(file)")
      try await naming(test.file) {
        try await study.measure(
          ExitStudy.Subject(
            name: URL(filePath: file).deletingPathExtension().lastPathComponent, predictors: [predictor], costs: costs,
            settings: [], comparesPolicies: true),
          validation: heldRows, test: testRows)
      }
    }
    progress.finishLine()
    try Task.checkCancellation()

    var report = study.report(
      title: title ?? "Where does compute pay in \(URL(filePath: models[0]).lastPathComponent)?",
      exits: description.exits.map(\.name), comparing: Self.pairs, warnings: warnings,
      provenance: try provenance(subject, description, session))
    report.warnings += report.variants.compactMap { variant in
      let weights = variant.policies.compactMap { policy -> Double? in
        if case .combined(let weight)? = ExitScore(policy.score) { weight } else { nil }
      }
      return weights.first.flatMap { ExitScore.warning(ofWeight: $0, in: variant.name) }
    }
    for warning in report.warnings { progress.warn(warning) }
    var outputs: [(String, Data)] = []
    if let json { outputs.append((json, Data(try report.json().utf8))) }
    if let html { outputs.append((html, Data(report.html().utf8))) }
    try AtomicFile.write(outputs, replacing: execution.force)
    try printAnswer(summary(report))
  }

  /// The kinds of predictions that are compared, the reference second.
  private static let pairs: [(String, String)] = [
    (ExitVariant.laplaceTuned, ExitVariant.vanillaTuned), (.vanillaTuned, .vanilla), (.ensembleTuned, .vanillaTuned),
    (.laplaceEnsembleTuned, .ensembleTuned), (.laplaceEnsembleTuned, .vanillaTuned),
  ].map { ($0.0.name, $0.1.name) }

  /// Records that are read several times, while the network runs once.
  private func spooled(
    _ input: RowInput, _ specification: String, _ subject: ExitsSubject, _ stage: String, _ session: Session
  ) async throws -> any ExitRecordSource {
    let records = try await subject.records(input, specification, checkpoint: nil, stage: stage, session)
    guard let network = records as? NetworkRecords else { return try await session.answered(records).rows }
    return try await session.answered(try await SpooledRecords(network)).rows
  }

  private func subject(
    _ variant: ExitVariant, _ training: any ExitRecordSource, _ validation: any ExitRecordSource,
    _ description: RecordsDescription, _ session: Session
  ) async throws -> ExitStudy.Subject {
    var predictors: [ExitwisePredictor] = []
    var settings: [[String: Double]] = []
    for seed in 0..<(variant.usesLaplace ? seeds : 1) {
      var context = execution.context(try execution.backend(), session.progress)
      context.key = RandomKey(seed: execution.seed &+ UInt64(seed))
      let posterior = try await variant.recipe(structure, sampleCount: draws).fit(
        training: training, validation: variant.isTuned ? validation : nil, in: context)
      let predictor = try posterior.predictor(for: description, in: context)
      predictors.append(try ExitwisePredictor(.laplace(predictor), for: description))
      if seed == 0 {
        settings = posterior.exits.map {
          variant.usesLaplace
            ? ["temperature": $0.temperature, "priorPrecision": $0.priorPrecision] : ["temperature": $0.temperature]
        }
      }
    }
    return ExitStudy.Subject(
      name: variant.name, predictors: predictors, costs: try ExitCosts(multiplyAddsOf: predictors[0]),
      settings: settings, comparesPolicies: variant == .vanillaTuned || variant == .laplaceTuned)
  }

  private func provenance(
    _ subject: ExitsSubject, _ description: RecordsDescription, _ session: Session
  ) throws -> Provenance {
    var inputs = try models.enumerated().map { index, file in
      InputDigest(
        role: index > 0 ? "posterior" : subject.model == nil ? "records" : "checkpoint", file: file,
        digest: try FileDigest.sha256(ofFile: file))
    }
    var data = [("test", data), ("validation", validation)]
    if let training { data.append(("training", training)) }
    for (role, specification) in data {
      inputs.append(InputDigest(role: role, file: specification, digest: try session.digest(of: specification)))
    }
    return Provenance(
      version: bayesifyVersion, command: ["bayesify"] + CommandLine.arguments.dropFirst(), seed: execution.seed,
      likelihood: description.exits[0].likelihood.rawValue, backend: try execution.backend().name, inputs: inputs,
      details: ["structure": structure.rawValue, "draws": "\(draws)", "seeds": "\(seeds)"])
  }

  private func summary(_ report: ExitStudyReport) -> String {
    func fixed(_ value: Double, _ digits: Int = 4) -> String {
      value.formatted(.number.precision(.fractionLength(digits)).grouping(.never).locale(Locale(identifier: "en_US_POSIX")))
    }
    return textTable(
      ["predictions", "accuracy", "NLL", "ECE", "mean cost", "area"],
      report.variants.map { variant in
        [
          variant.name, fixed(variant.mean.accuracy), fixed(variant.mean.nll), fixed(variant.mean.ece),
          variant.costs.figure(variant.mean.cost), fixed(variant.policies[0].area),
        ]
      }, leading: 1)
      + "\n\n" + report.readings.joined(separator: "\n")
      + [json, html].compactMap { $0 }.map { "\nwrote \($0)" }.joined()
  }
}
