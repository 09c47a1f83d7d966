import Bayesify
import Foundation

/// Where a training is kept until its posterior is written: OUTPUT.part, from which a run that was interrupted or killed goes
/// on.
struct TrainingFile {
  /// The posterior, and what is written beside it.
  var outputs: [String]
  /// The posterior's method.
  var method: String
  var resumes: Bool
  var isForced: Bool

  var part: String { outputs[0] + ".part" }

  var interruption: Interruption {
    Interruption(message: "Interrupted; \(part) holds what was done, and --resume goes on with it.")
  }

  /// Refuses outputs that must not be written, and a training that is begun where one is left, before any work is done.
  func requireWritable(apartFrom inputs: [String?]) throws {
    let exists = FileManager.default.fileExists(atPath: part)
    try requireOutputs([part], apartFrom: inputs, replacing: true)
    for output in outputs { try requireOutputs([output], apartFrom: inputs, replacing: mayReplace(output)) }
    guard exists, !resumes else { return }
    guard isForced else {
      throw FileError(
        .cannotWrite, file: part,
        "It holds a training that was interrupted; go on with it by --resume, or begin anew with --force.")
    }
    try remove()
  }

  /// Whether an output may be there already: a run that was killed between its last writes left it, and it will be the
  /// same again.
  func mayReplace(_ output: String) throws -> Bool {
    guard !isForced else { return true }
    guard resumes, FileManager.default.fileExists(atPath: part), FileManager.default.fileExists(atPath: output),
      try HDF5Archive.recognizes(output)
    else { return false }
    return try HDF5Archive(output).attribute("method", of: "/") == .text(method)
  }

  /// The training that was left, where one was.
  func earlier<Training: ResumableTraining>(settings: [String: String]) throws -> Training? {
    try AtomicFile.removeAbandoned(for: [part] + outputs)
    guard FileManager.default.fileExists(atPath: part) else { return nil }
    return try Training(from: HDF5Archive(part), settings: settings)
  }

  func remove() throws(FileError) {
    guard FileManager.default.fileExists(atPath: part) else { return }
    do {
      try FileManager.default.removeItem(atPath: part)
    } catch {
      throw FileError(
        .cannotWrite, file: part, "The file cannot be removed (\(error.localizedDescription)); remove it.")
    }
  }
}

extension TrainingFile {
  /// What a training depends on beside its recipe, by the names of options.
  static func settings(
    _ checkpoint: CheckpointModel, data: String, labels: String?, rows: RowRange?, _ training: NetworkRecords,
    _ model: ModelOptions, _ execution: ExecutionOptions
  ) throws -> [String: String] {
    var settings = ["checkpoint": checkpoint.digest, "--data": try named(data, training.description.dataDigest)]
    settings["--label-column"] = model.labelColumn
    settings["--labels"] = try labels.map { try FileDigest.sha256(ofData: $0) }
    settings["--rows"] = rows.map { "\($0.range)" }
    settings["--ignore-label"] = model.ignoreLabel.map { "\($0)" }
    settings["--seed"] = "\(execution.seed)"
    settings["--batch"] = execution.batch.map { "\($0)" }
    settings["--precision"] = execution.precision.rawValue
    settings["preprocessing"] = training.description.preprocessing.map { Session.options(of: $0) }
    settings["--class-names"] = training.description.classNames.joined(separator: ",")
    return settings
  }

  /// The digest of data, and the arrays that are named in them.
  static func named(_ specification: String, _ digest: String?) throws -> String {
    let options = try DatasetOptions.parse(specification).options
    return [digest, options.inputs, options.labels].compactMap(\.self).joined(separator: ":")
  }
}

/// The last state of a training, and when it was written.
struct TrainingLog<Training: ResumableTraining> {
  private var state: Training?
  private var isWritten = true
  private var epochCount: Int
  private var written = ContinuousClock.now
  private var begun = ContinuousClock.now
  /// What each epoch of this run took.
  private(set) var seconds: [Double] = []
  private let file: String
  private let settings: [String: String]
  private let interval: Duration
  /// What lies between writes at the ends of epochs at the least: they may be short.
  private static var epochInterval: Duration { .seconds(1) }

  init(_ state: Training?, file: String, settings: [String: String], every seconds: Double) {
    self.state = state
    epochCount = state?.epochCount ?? 0
    self.file = file
    self.settings = settings
    interval = .seconds(seconds)
  }

  /// Notes a state and writes it where it is time.
  ///
  /// - Returns: whether an epoch ends with it.
  mutating func take(_ state: Training) throws -> Bool {
    self.state = state
    isWritten = false
    let now = ContinuousClock.now
    let isNewEpoch = state.epochCount > epochCount
    if now - written >= (isNewEpoch ? min(interval, Self.epochInterval) : interval) { _ = try write() }
    guard isNewEpoch else { return false }
    epochCount = state.epochCount
    seconds.append((now - begun) / .seconds(1))
    begun = .now
    return true
  }

  /// Writes the last state; false where there is none.
  mutating func write() throws -> Bool {
    guard let state else { return false }
    guard !isWritten else { return true }
    let writer = try HDF5ArchiveWriter(file, replacing: true)
    do {
      try state.write(to: writer, settings: settings)
      try writer.finish()
    } catch {
      writer.discard()
      throw error
    }
    (isWritten, written) = (true, .now)
    return true
  }
}
