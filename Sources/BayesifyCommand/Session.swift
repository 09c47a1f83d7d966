import Bayesify
import Foundation

/// What the verbs that run networks share: options, backend, progress.
struct Session {
  let model: ModelOptions
  let execution: ExecutionOptions
  let progress: ProgressPrinter

  init(_ model: ModelOptions, _ execution: ExecutionOptions, _ progress: ProgressPrinter) {
    self.model = model
    self.execution = execution
    self.progress = progress
  }

  /// A pass of a checkpoint over raw rows.
  ///
  /// - Parameters:
  ///   - part: a network made from the checkpoint, where it is not that itself.
  ///   - stored: the preprocessing that a posterior or records were made with, where there are any.
  func networkRecords(
    _ checkpoint: CheckpointModel, part: FrozenNetwork? = nil, over dataset: any Dataset, stored: Preprocessing?,
    likelihood: Likelihood? = nil, classNames: [String]? = nil, anomalyLabel: Int? = nil, stage: String,
    dataDigest: String?
  ) throws -> NetworkRecords {
    let names = try model.names()
    // What is wrong with an exit is the checkpoint's fault, whatever the rows.
    let frozen = part ?? checkpoint.frozen
    var description = try frozen.recordsDescription(
      file: checkpoint.file, likelihood: model.likelihood ?? openLikelihood(likelihood, checkpoint),
      classNames: names.isEmpty ? classNames ?? [] : names, checkpointDigest: checkpoint.digest,
      dataDigest: dataDigest, preprocessing: try model.preprocessing(stored: stored, in: dataset.file),
      ignoredLabel: model.ignoreLabel)
    description.file = dataset.file
    description.anomalyLabel = anomalyLabel
    return try NetworkRecords(
      frozen, over: dataset, description: description, stage: stage,
      on: try execution.backend(), width: execution.width, report: progress.report)
  }

  /// A fitted model's likelihood matters only where the checkpoint leaves its own open.
  private func openLikelihood(_ likelihood: Likelihood?, _ checkpoint: CheckpointModel) -> Likelihood? {
    checkpoint.frozen.network.exits.contains { $0.likelihood == nil } ? likelihood : nil
  }

  /// Records of some rows: read where the input holds them, else made by running the checkpoint.
  func records(
    _ input: RowInput, specification: String, checkpoint: () throws -> CheckpointModel, digest: String?,
    stored: Preprocessing?, likelihood: Likelihood? = nil, classNames: [String]? = nil, anomalyLabel: Int? = nil,
    stage: String
  ) async throws -> any ExitRecordSource {
    switch input {
    case .records(let archived):
      let records = archived.reading(ignoredLabel: model.ignoreLabel, anomalyLabel: anomalyLabel)
      if let made = records.description.checkpointDigest, let digest, made != digest {
        throw FileError(
          .value, file: records.description.file,
          "These records were made with another checkpoint (the digests differ); extract them anew.")
      }
      let names = try model.names()
      if !names.isEmpty { return try records.naming(classes: names) }
      if records.description.classNames.isEmpty, let classNames, !classNames.isEmpty {
        return try records.naming(classes: classNames)
      }
      return records
    case .dataset(let dataset):
      let records = try networkRecords(
        try checkpoint(), over: dataset, stored: stored, likelihood: likelihood, classNames: classNames,
        anomalyLabel: anomalyLabel, stage: stage, dataDigest: try self.digest(of: specification))
      try await announce(records)
      return records
    }
  }

  /// Records without the rows that have no answer, and how many those were; `nil` where no label is ignored.
  ///
  /// - Parameter withAnomalies: whether rows of the label of anomalies stay.
  func answered(
    _ records: any ExitRecordSource, withAnomalies: Bool = true
  ) async throws -> (rows: any ExitRecordSource, ignored: IgnoredLabels?) {
    let labels = [records.description.ignoredLabel, withAnomalies ? nil : records.description.anomalyLabel].compactMap { $0 }
    guard !labels.isEmpty, records.hasLabels else { return (records, nil) }
    let answered = try await AnsweredExitRecords(records, ignoring: labels)
    return (answered, IgnoredLabels(label: labels[0], ignored: answered.ignoredCount, total: records.rowCount))
  }

  /// Says how many labels of some rows are passed over, where a label is ignored.
  func noteIgnored(_ role: String, _ records: any ExitRecordSource) async throws {
    guard let ignored = try await answered(records).ignored else { return }
    progress.note("ignored \(role) labels: \(ignored)")
  }

  /// The preprocessing that was used before for the parts of a command; raw rows get the same.
  ///
  /// - Throws: `FileError` when two parts were made with different preprocessing, or the options ask for other.
  func agreedPreprocessing(_ parts: [(file: String, preprocessing: Preprocessing?)]) throws -> Preprocessing? {
    let known = parts.compactMap { part in part.preprocessing.map { (file: part.file, used: $0) } }
    guard let first = known.first else { return nil }
    for other in known where other.used != first.used {
      throw FileError(
        .value, file: other.file,
        "It was made with \(Self.options(of: other.used)), but \(first.file) with \(Self.options(of: first.used)); make both "
          + "with the same preprocessing.")
    }
    return try model.preprocessing(stored: first.used, in: first.file)
  }

  /// Preprocessing as options say it.
  static func options(of preprocessing: Preprocessing) -> String {
    "--scale \(preprocessing.scale) --mean \(NumberList(preprocessing.mean)) --std "
      + "\(NumberList(preprocessing.standardDeviation))"
  }

  /// Prints what a long pass will take.
  func announce(_ records: NetworkRecords) async throws {
    // A short pass is over before its estimate is read.
    guard !execution.quiet, records.inputRowCount >= min(2048, 16 * records.runRowCount) else { return }
    progress.note("estimate: \(try await records.estimate()) on \(execution.width) thread(s)")
  }

  /// The digest of a data file, or of a folder of images.
  func digest(of specification: String) throws -> String {
    try FileDigest.sha256(ofData: DatasetOptions.parse(specification).file)
  }

  /// Warns of data whose rows a posterior was fitted to or tuned on, where all of them are used again.
  func warningOfReuse(
    by posterior: FittedPosterior, _ file: String, of specification: String
  ) throws -> String? {
    let digest = try digest(of: specification)
    let uses = [
      ("fitted to", posterior.source.dataDigest),
      ("tuned on", try HDF5Archive(file).optionalText("validationDigest")),
    ]
    guard let use = uses.first(where: { $0.1 == digest })?.0 else { return nil }
    return "\(file) was \(use) rows of \(specification), all of which are used here; what is said of them flatters. Use rows "
      + "that it has not seen."
  }

  /// Warns of rows of one set that recur in another.
  func warningOfRecurrence(
    of second: RowInput, named secondName: String, in first: RowInput, named firstName: String
  ) throws -> String? {
    guard let known = try first.rowDigests(), let digests = try second.rowDigests() else {
      // Records of other programs have no digests of rows; the same file is the same rows all the same.
      guard case (.records(let own), .records(let other)) = (first, second), own.rows == other.rows,
        try first.file == second.file
          || FileDigest.sha256(ofFile: first.file) == FileDigest.sha256(ofFile: second.file)
      else { return nil }
      return "The \(secondName) rows (\(second.file)) are the \(firstName) rows (\(first.file)); what is tuned or measured on "
        + "them flatters. Use rows that appear in one set only."
    }
    let count = known.recurringRowCount(in: digests)
    guard count > 0 else { return nil }
    return "\(count) of the \(second.rowCount) \(secondName) rows (\(second.file)) recur among the \(firstName) rows "
      + "(\(first.file)); what is tuned or measured on them flatters. Use rows that appear in one set only."
  }
}

/// How many labels of some rows were passed over.
struct IgnoredLabels: Encodable, CustomStringConvertible {
  var label: Int
  var ignored: Int
  var total: Int

  var description: String { "\(ignored) of \(total) (label \(label))" }
}
