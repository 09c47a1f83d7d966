import BayesFiles
import BayesNetwork
import BayesPosterior
import BayesPrediction
public import BayesTensor
import Foundation
import Synchronization

/// A file that predictions can be made with.
public enum ModelInput: Sendable {
  /// The network as it was trained.
  case checkpoint(CheckpointModel)
  /// A fitted posterior, and the checkpoint it was fitted to.
  case posterior(FittedPosterior, file: String, checkpoint: RecordedCheckpoint)

  /// Opens a checkpoint or a posterior.
  ///
  /// - Parameter reading: what a checkpoint itself does not say.
  public init(_ file: String, reading: CheckpointReading = CheckpointReading()) throws(FileError) {
    if try HDF5Archive.recognizes(file) {
      let archive = try HDF5Archive(file)
      if try archive.optionalText("format") == LastLayerLaplacePosterior.formatName {
        self = .posterior(
          try FittedPosterior(from: archive), file: file,
          checkpoint: RecordedCheckpoint(
            file: try archive.optionalText("checkpointFile"),
            architecture: try archive.optionalText("architectureFile"),
            backend: try archive.optionalText("kerasBackend").flatMap(KerasBackend.init)))
        return
      }
      if archive.holdsExitRecords || archive.holdsPredictions {
        throw FileError(
          .unsupported, file: file,
          "This holds \(archive.holdsPredictions ? "predictions" : "exit records") and no model; name the checkpoint "
            + "or a posterior as the model, and exit records with --data.")
      }
      self = .checkpoint(try CheckpointModel(HDF5Checkpoint(archive), reading: reading))
    } else {
      self = .checkpoint(try CheckpointModel(file, reading: reading))
    }
  }

  public var file: String {
    switch self {
    case .checkpoint(let model): model.file
    case .posterior(_, let file, _): file
    }
  }

  /// Where the checkpoint of a posterior was when it was fitted, as the user named it.
  public var recordedCheckpoint: String? {
    if case .posterior(_, _, let recorded) = self { recorded.file } else { nil }
  }

  /// The digest of the checkpoint behind the model.
  public var checkpointDigest: String? {
    switch self {
    case .checkpoint(let model): model.digest
    case .posterior(let posterior, _, _): posterior.source.checkpointDigest
    }
  }

  /// The preprocessing the model was made with; `nil` for a bare checkpoint.
  public var preprocessing: Preprocessing? {
    switch self {
    case .checkpoint: nil
    case .posterior(let posterior, _, _): posterior.source.preprocessing
    }
  }

  public var classNames: [String] {
    switch self {
    case .checkpoint: []
    case .posterior(let posterior, _, _): posterior.source.classNames
    }
  }

  /// The likelihood the model was fitted with; `nil` for a bare checkpoint.
  public var likelihood: Likelihood? {
    switch self {
    case .checkpoint: nil
    case .posterior(let posterior, _, _): posterior.source.exits.first?.likelihood
    }
  }

  /// The checkpoint to run for this model's predictions.
  ///
  /// - Parameters:
  ///   - named: where the user says the checkpoint is; else it is looked for where it was when
  ///     the posterior was fitted, then beside the posterior.
  ///   - reading: what the user says of it; else what was said when the posterior was fitted, and its description
  ///     is looked for in the same way.
  /// - Throws: `FileError` when it is not found or is not the one that the posterior was fitted to.
  public func checkpoint(
    named: String?, reading: CheckpointReading = CheckpointReading()
  ) throws(FileError) -> CheckpointModel {
    guard case .posterior(let posterior, let file, let recorded) = self else {
      if case .checkpoint(let model) = self { return model }
      preconditionFailure("A model is a checkpoint or a posterior.")
    }
    guard let found = Self.found(named, recorded.file, beside: file) else {
      if let named { throw FileError(.missing, file: named, "There is no such file; check the path given with --checkpoint.") }
      throw FileError(
        .missing, file: file,
        "The checkpoint it was fitted to"
          + (recorded.file.map { " ('\($0)')" } ?? "") + " is not there; name it with --checkpoint FILE.")
    }
    let described = Self.found(reading.architecture, recorded.architecture, beside: file)
    let model = try recorded.model(
      found, reading: CheckpointReading(architecture: described, backend: reading.backend ?? recorded.backend))
    if let digest = posterior.source.checkpointDigest, digest != model.digest {
      throw FileError(
        .value, file: file,
        "It was fitted to another checkpoint than \(found) (the digests differ); name the right one with "
          + "--checkpoint FILE.")
    }
    return model
  }

  /// The digest of the posterior's file; `nil` for a checkpoint.
  public func posteriorDigest() throws(FileError) -> String? {
    guard case .posterior(_, let file, _) = self else { return nil }
    return try FileDigest.sha256(ofFile: file)
  }

  /// The checkpoints whose networks make this model's predictions: the one to run and, of an ensemble, the others, each
  /// looked for where it was when the posterior was made, then beside the posterior.
  ///
  /// - Parameter first: what `checkpoint(named:reading:)` gives.
  /// - Throws: `FileError` when one is not found or is another file than it was.
  public func networks(
    _ first: CheckpointModel, reading: CheckpointReading = CheckpointReading()
  ) throws(FileError) -> [CheckpointModel] {
    guard case .posterior(.sampled(let posterior), let file, let recorded) = self,
      case .ensemble(let members) = posterior.kind
    else { return [first] }
    let described = Self.found(reading.architecture, recorded.architecture, beside: file)
    var models = [first]
    for member in members.dropFirst() {
      guard let found = Self.found(nil, member.file, beside: file) else {
        throw FileError(
          .missing, file: file,
          "The member '\(member.file)' of the ensemble is not there; put it back, or beside this file.")
      }
      let model = try CheckpointModel(
        found, reading: CheckpointReading(architecture: described, backend: reading.backend ?? recorded.backend))
      guard model.digest == member.digest else {
        throw FileError(
          .value, file: file,
          "The member \(found) is another file than when the ensemble was made (the digests differ); put the old one back, or "
            + "make the ensemble anew.")
      }
      models.append(model)
    }
    return models
  }

  /// The file that the user names, or what was recorded, there or beside another file.
  private static func found(_ named: String?, _ recorded: String?, beside file: String) -> String? {
    let beside = recorded.map {
      URL(filePath: file).deletingLastPathComponent().appending(path: URL(filePath: $0).lastPathComponent).path
    }
    let candidates = named.map { [$0] } ?? [recorded, beside].compactMap { $0 }
    return candidates.first { FileManager.default.fileExists(atPath: $0) }
  }
}

/// The checkpoint that a posterior was fitted to, as the user named it then.
///
/// Copies share what was read of it, so that one command holds its weights once.
public struct RecordedCheckpoint: Sendable {
  public var file: String?
  /// The file that described the network, where the checkpoint held weights alone.
  public var architecture: String?
  /// The library that computed for Keras, where the user had to say so.
  public var backend: KerasBackend?
  private let known = KnownCheckpoint()

  public init(file: String?, architecture: String?, backend: KerasBackend?) {
    (self.file, self.architecture, self.backend) = (file, architecture, backend)
  }

  /// The checkpoint at a place, read when it is first asked for.
  fileprivate func model(_ file: String, reading: CheckpointReading) throws(FileError) -> CheckpointModel {
    try known.model(file, reading: reading)
  }
}

/// A checkpoint that was read.
private final class KnownCheckpoint: Sendable {
  private let last = Mutex<(file: String, reading: CheckpointReading, model: CheckpointModel)?>(nil)

  func model(_ file: String, reading: CheckpointReading) throws(FileError) -> CheckpointModel {
    if let known = last.withLock({ $0 }), known.file == file, known.reading == reading { return known.model }
    let model = try CheckpointModel(file, reading: reading)
    last.withLock { $0 = (file, reading, model) }
    return model
  }
}
