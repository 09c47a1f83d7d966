import ArgumentParser
import Bayesify
import Foundation

struct StudyPrivacy: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "privacy",
    abstract: "Tells rows of the training set from others by what models answer.",
    discussion: """
      Two attackers rank rows: by the loss of the label, and by the log-odds of the likeliest class. Measured are the \
      AUROC (DeLong's interval), balanced accuracy at the threshold that is best on one half of the rows, judged on \
      the other, and the share of members that is found where at most 0.1 % and 1 % of other rows are called members \
      (Wilson's intervals). Beside them stand accuracy and loss on both sets, for members are told by that gap: a \
      model that is merely less sure hides little.

      Give as many others as members, and at least 1000 for rates of 0.1 %; --member-rows takes a part. When the first \
      model is a posterior, its untouched network is put before it. Memory grows by 8 bytes a row and model.

      Example: bayesify study privacy model.h5 posterior.h5 --members train.h5 --member-rows 0:10000 --nonmembers \
      test.h5 --json privacy.json
      """)

  @Argument(help: "Checkpoints and posteriors.")
  var models: [String]

  @Option(help: "Labelled rows that the models were trained on: data or exit records.")
  var members: String

  @Option(help: "Labels of the members, where they are not beside the inputs.")
  var memberLabels: String?

  @Option(parsing: .unconditional, help: "Members to use, first:end.", transform: optionValue)
  var memberRows: RowRange?

  @Option(help: "Labelled rows that the models were not trained on: data or exit records.")
  var nonmembers: String

  @Option(help: "Labels of the others, where they are not beside the inputs.")
  var nonmemberLabels: String?

  @Option(parsing: .unconditional, help: "Others to use, first:end.", transform: optionValue)
  var nonmemberRows: RowRange?

  @Option(
    parsing: .unconditional, help: "The exit whose answers are seen, from 0. (default: the last)",
    transform: wholeNumber(0 ... .max))
  var exit: Int?

  @Option(help: "The checkpoint of the posteriors, where it has moved.")
  var checkpoint: String?

  @OptionGroup var outputs: StudyOutputs
  @OptionGroup var options: ModelOptions
  @OptionGroup var execution: ExecutionOptions

  func validate() throws {
    guard !models.isEmpty else { throw ValidationError("Name a checkpoint or a posterior.") }
    if options.ignoreLabel != nil {
      throw ValidationError("--ignore-label is not for membership; leave those rows out of the data.")
    }
  }

  func run() async throws {
    try options.requireTable(among: members, memberLabels, nonmembers, nonmemberLabels)
    try execution.requireWritable(
      outputs.json, outputs.markdown,
      apartFrom: models + [
        members, memberLabels, nonmembers, nonmemberLabels, checkpoint, options.classNames,
        options.checkpoint.architecture,
      ])
    let session = Session(options, execution, execution.progress())
    func input(_ specification: String, _ labels: String?, _ rows: RowRange?) throws -> RowInput {
      try RowInput(
        specification, labels: labels, labelColumn: options.labelColumn, rows: rows?.range,
        likelihood: options.likelihood)
    }
    let known = try input(members, memberLabels, memberRows)
    let foreign = try input(nonmembers, nonmemberLabels, nonmemberRows)
    var warnings: [String] = []
    if let warning = try recurrence(of: foreign, in: known) { warnings.append(warning) }
    let lineup = try Lineup(models, checkpoint: checkpoint, over: [known, foreign], session)
    try execution.requireWritable(
      outputs.json, outputs.markdown, apartFrom: lineup.inputs.map(\.recordedCheckpoint))
    var studied: [PrivacyReport.Model] = []
    var description: RecordsDescription?
    for group in lineup.groups {
      let own = try await rows(known, members, of: group, "members", "--member-labels", session)
      let other = try await rows(foreign, nonmembers, of: group, "others", "--nonmember-labels", session)
      try own.description.requireSameExits(as: other.description)
      description = description ?? own.description
      let exit = try session.exit(exit, of: own.description)
      let predictors = try group.entries.map { entry in
        try entry.model.map { try session.predictor($0, for: own.description, checkpoint: group.network) } ?? .map
      }
      let seen = try await naming(known.file) {
        try await Predictor.membershipEvidence(of: predictors, for: own, exit: exit)
      }
      let unseen = try await naming(foreign.file) {
        try await Predictor.membershipEvidence(of: predictors, for: other, exit: exit)
      }
      for (index, entry) in group.entries.enumerated() {
        warnings += entry.warnings
        studied.append(
          try PrivacyReport.Model(
            name: entry.name, method: entry.method, members: seen[index], nonMembers: unseen[index],
            key: RandomKey(seed: execution.seed)))
      }
    }
    guard let description else { preconditionFailure("There is at least one model.") }
    let exit = try session.exit(exit, of: description)
    let first = studied[0].attacks[0]
    let report = PrivacyReport(
      exit: exit, exitName: description.exits[exit].name, memberCount: first.memberCount,
      nonMemberCount: first.nonMemberCount, models: studied, warnings: warnings,
      provenance: try session.provenance(
        lineup.inputs, description, data: [("members", members), ("others", nonmembers)], details: details))
    try outputs.finish(
      report, title: "Privacy of \(URL(filePath: models[0]).lastPathComponent)", report.parts,
      warnings: report.warnings, report.provenance, session)
  }

  private var details: [String: String] {
    var details: [String: String] = [:]
    for (name, rows) in [("member rows", memberRows), ("other rows", nonmemberRows)] {
      if let range = rows?.range { details[name] = "\(range.lowerBound):\(range.upperBound)" }
    }
    return details
  }

  private func rows(
    _ input: RowInput, _ specification: String, of group: Lineup.Group, _ stage: String, _ option: String,
    _ session: Session
  ) async throws -> any ExitRecordSource {
    let rows = try await session.records(
      input, specification: specification, checkpoint: { try group.network() }, digest: group.digest,
      stored: group.preprocessing, likelihood: group.likelihood, classNames: group.classNames, stage: stage)
    try session.require([.categorical, .binary], in: rows.description)
    guard rows.description.positions.isEmpty else {
      throw FileError(
        .unsupported, file: rows.description.file,
        "Exits answer at \(Shape(rows.description.positions)) positions of a row, and membership is told by one "
          + "answer a row.")
    }
    guard rows.hasLabels else { throw input.missingLabels(stage, option: option) }
    return rows
  }

  /// Members among the others are told from themselves.
  private func recurrence(of others: RowInput, in members: RowInput) throws -> String? {
    guard let known = try members.rowDigests(), let digests = try others.rowDigests() else { return nil }
    let count = known.recurringRowCount(in: digests)
    guard count > 0 else { return nil }
    return "\(count) of the \(others.rowCount) other rows (\(others.file)) recur among the members (\(members.file)) "
      + "and cannot be told from them; privacy looks better than it is. Use rows that appear in one set only."
  }
}

extension PrivacyReport {
  fileprivate var parts: [StudyPart] {
    let rates = MembershipInference.allowedFalsePositiveRates.map { "TPR % at \(($0 * 100).significantDigits()) % FPR" }
    func mean(_ value: TrainTestGap.Mean?) -> String { value.map { number($0.value, $0.interval) } ?? "infinite" }
    return [
      .table(
        title: "Membership inference, with 95 % intervals:",
        header: ["model", "by", "AUROC", "balanced accuracy %"] + rates,
        rows: models.flatMap { model in
          model.attacks.map { attack in
            [
              model.name, attack.score.rawValue, number(attack.auroc, attack.aurocInterval),
              percent(attack.balancedAccuracy.value, attack.balancedAccuracy.interval),
            ] + attack.operations.map { percent($0.truePositiveRate.value, $0.truePositiveRate.interval) }
          }
        }, leading: 2),
      .table(
        title: "What it is told by:",
        header: [
          "model", "accuracy % of members", "of others", "gap", "loss of members, nats", "of others", "gap",
        ],
        rows: models.map { model in
          let gap = model.gap
          return [
            model.name, percent(gap.memberAccuracy.value, gap.memberAccuracy.interval),
            percent(gap.nonMemberAccuracy.value, gap.nonMemberAccuracy.interval),
            percent(gap.accuracy.value, gap.accuracy.interval), mean(gap.memberLoss), mean(gap.nonMemberLoss),
            mean(gap.loss),
          ]
        }, leading: 1),
      .sentence("\(memberCount) members and \(nonMemberCount) others, exit \(exit) (\(exitName))"),
    ]
  }
}
