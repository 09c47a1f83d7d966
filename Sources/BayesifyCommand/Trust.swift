import ArgumentParser
import Bayesify
import Foundation

struct Trust: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Decides row by row whether a model's answer is to be trusted.",
    discussion: """
      'tune' chooses up to which uncertainty answers are trusted, so that of those no more than a share is wrong, and \
      writes a policy; 'predict --policy' marks rows by it, and 'evaluate --policy' measures it.

      Example: bayesify trust tune posterior.h5 --validation validation.h5 --max-risk 0.02 -o trust.json
      Example: bayesify predict posterior.h5 --policy trust.json --data new.h5 -o predictions.h5
      """,
    subcommands: [TrustTune.self])
}

struct TrustTune: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "tune",
    abstract: "Chooses up to which uncertainty answers are trusted.",
    discussion: """
      The share of wrong answers among the rows trusted exceeds --max-risk with a probability of at most --delta, over \
      draws of the validation rows: exact binomial tests in ten fixed sequences, corrected for their number. The promise \
      is for new rows that come as these did, whatever the score and however wrong its probabilities; rows from elsewhere \
      have none. The validation rows must have tuned nothing else of the model: neither weights nor a temperature.

      Memory grows by 9 bytes a row.

      Example: bayesify trust tune posterior.h5 --validation validation.h5 --max-risk 0.02 -o trust.json
      """)

  @Argument(help: "A checkpoint, a posterior, or the exit records of validation rows.")
  var model: String

  @Option(help: "Labelled rows the network was not trained on: data or exit records.")
  var validation: String?

  @Option(help: "Labels of the validation rows, where they are not beside the inputs.")
  var validationLabels: String?

  @Option(parsing: .unconditional, help: "Validation rows to use, first:end.", transform: optionValue)
  var validationRows: RowRange?

  @Option(
    parsing: .unconditional, help: "The largest share of wrong answers among trusted rows.", transform: share)
  var maxRisk: Double

  @Option(
    parsing: .unconditional, help: "How probable it may be that it is exceeded. (default: 0.1)", transform: share)
  var delta = 0.1

  @Option(
    parsing: .unconditional, help: "What makes a row untrusted where it is large. (default: maximum-probability)",
    transform: optionValue)
  var score = TrustScoreOption.standard

  @Option(
    parsing: .unconditional, help: "The exit whose answers are judged, from 0. (default: the last)",
    transform: wholeNumber(0...Int.max))
  var exit: Int?

  @Option(help: "The checkpoint of a posterior, where it has moved.")
  var checkpoint: String?

  @Option(name: .shortAndLong, help: "The policy, JSON.")
  var output: String

  @OptionGroup var options: ModelOptions
  @OptionGroup var execution: ExecutionOptions

  @Flag(help: "What was chosen in JSON on standard output.")
  var json = false

  func validate() throws { try requireRows(of: validation, for: nil, validationLabels) }

  func run() async throws {
    try options.requireTable(among: validation, validationLabels)
    try execution.requireWritable(
      output, apartFrom: [model, validation, validationLabels, checkpoint, options.classNames])
    let progress = execution.progress()
    let session = Session(options, execution, progress)
    let subject = try ExitsSubject(model, options)
    guard let specification = validation ?? (subject.model == nil ? model : nil) else {
      throw ValidationError("Give labelled validation rows with --validation DATA.")
    }
    let input = try RowInput(
      specification, labels: validationLabels, labelColumn: options.labelColumn, rows: validationRows?.range,
      likelihood: options.likelihood)
    let all = try await subject.records(input, specification, checkpoint: checkpoint, stage: "validation", session)
    try session.require([.categorical, .binary], in: all.description)
    guard all.hasLabels else { throw input.missingLabels("validation", option: "--validation-labels") }
    let (source, _) = try await session.answered(all)
    let description = source.description
    let exit = exit ?? description.exits.count - 1
    guard exit < description.exits.count else {
      throw FileError(
        .value, file: model,
        "It has \(description.exits.count) exit(s), counted from 0, and --exit asks for \(exit); ask for one of these.")
    }
    let predictor = try subject.predictor(for: description, checkpoint: checkpoint, session)
    var sample = TrustSample(score.score)
    try await naming(input.file) {
      try await predictor.predictions(for: source) { block, predictions in
        try Task.checkCancellation()
        let labels = block.labels ?? []
        try description.requireClasses(labels) { block.place(ofRow: $0, in: description.positions) }
        for prediction in predictions where prediction.exit == exit {
          try sample.update(prediction, labels: labels)
        }
      }
    }
    progress.finishLine()
    if validationRows == nil, case .posterior(let posterior, let file, _)? = subject.model,
      let warning = try session.warningOfReuse(by: posterior, file, of: specification)
    {
      progress.warn("\(warning) The promise below does not hold.")
    }
    let target = TrustTarget(maximumRisk: maxRisk, delta: delta)
    let threshold = try await naming(input.file) { try target.threshold(scores: sample.scores, isWrong: sample.isWrong) }
    let file = TrustPolicyFile(
      madeBy: "bayesify " + bayesifyVersion,
      checkpoint: BoundFile(
        file: checkpoint ?? (subject.isPosterior ? subject.model?.recordedCheckpoint : subject.model?.file),
        digest: subject.model?.checkpointDigest ?? description.checkpointDigest),
      posterior: subject.isPosterior ? BoundFile(file: model, digest: try subject.posteriorDigest()) : nil,
      validation: BoundFile(file: specification, digest: try session.digest(of: specification)),
      seed: execution.seed, preprocessing: description.preprocessing, exit: exit,
      exitName: description.exits[exit].name, score: score.score.name, target: target, threshold: threshold)
    try Task.checkCancellation()
    try AtomicFile.write(try file.json(), to: output, replacing: execution.force)
    if json {
      return try printAnswer(String(decoding: try file.json(), as: UTF8.self).trimmingCharacters(in: .newlines))
    }
    try printAnswer(file.summary + "\nwrote \(output)")
  }
}

/// One of the scores of a prediction, by name.
struct TrustScoreOption: OptionValue, CustomStringConvertible {
  static let validValues = allOODScores.map { words($0.name) }.joined(separator: ", ")
  static let standard = TrustScoreOption(score: MaximumProbabilityScore())
  let score: any OODScore

  private init(score: any OODScore) { self.score = score }

  init?(argument: String) {
    guard let score = allOODScores.first(where: { Self.words($0.name) == argument }) else { return nil }
    self.score = score
  }

  var description: String { Self.words(score.name) }

  /// `mutual-information` of `mutualInformation`.
  static func words(_ name: String) -> String {
    name.reduce(into: "") { $0 += $1.isUppercase ? "-" + $1.lowercased() : String($1) }
  }
}

extension TrustPolicyFile {
  /// What was chosen, in words.
  var summary: String {
    let trusted = Double(threshold.trustedCount)
    let percent = { (value: Double) in "\((value * 100).significantDigits(3)) %" }
    let condition = TrustCondition(score: score, threshold: threshold.value)
    return "exit \(exit) (\(exitName)): rows are trusted \(condition.words)\n"
      + "trusted \(threshold.trustedCount) of \(threshold.rowCount) rows (\(percent(trusted / Double(threshold.rowCount)))), of "
      + "which \(threshold.wrongCount) are wrong (\(percent(Double(threshold.wrongCount) / trusted)))\n"
      + "on new rows at most \(percent(target.maximumRisk)) of the trusted are wrong, with a probability of at least "
      + "\(percent(1 - target.delta))"
  }

  /// The place of its exit among those of a network.
  func exit(in description: RecordsDescription, policy: String) throws(FileError) -> Int {
    guard description.exits.indices.contains(exit), description.exits[exit].name == exitName else {
      throw FileError(
        .value, file: policy,
        "The policy is for exit \(exit) ('\(exitName)'), and the exits of \(description.file) are "
          + "\(description.exits.map(\.name).joined(separator: ", ")); tune one for this with 'trust tune'.")
    }
    return exit
  }

  /// Counts of what it trusts among some rows.
  func tally(for description: RecordsDescription, policy: String) throws(FileError) -> TrustTally? {
    _ = try exit(in: description, policy: policy)
    return rule.map { TrustTally($0) }
  }
}

extension TrustResult {
  /// How many rows are trusted, and how many of these are wrong.
  var sentence: String {
    let percent = { (value: Double?) in value.map { " (\(($0 * 100).significantDigits(3)) %)" } ?? "" }
    let labelled =
      test.labelledCount > 0
      ? ", of which \(test.wrongCount) of \(test.labelledCount)\(percent(test.risk)) are wrong; promised were at most "
        + "\((maximumRisk * 100).significantDigits(3)) %" : ""
    return "trusted \(test.trustedCount) of \(test.rowCount) rows\(percent(test.coverage))\(labelled)"
  }
}
