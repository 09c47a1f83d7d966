public import BayesEvaluation
public import BayesPosterior
import BayesPrediction
public import BayesTensor
public import Foundation

/// A policy and all that it holds for: one JSON file.
///
/// `format` is `bayesify-exit-policy`, `version` 1.  Thresholds are `{"score", "logOdds"}` or null where nobody leaves;
/// numbers that JSON does not have are `"-inf"` and `"inf"`.
public struct ExitPolicyFile: Codable, Equatable, Sendable {
  /// A file, and the digest that it must have.
  public struct Bound: Codable, Hashable, Sendable {
    /// As the user named it; `nil` where only its digest is known.
    public var file: String?
    public var digest: String?

    public init(file: String?, digest: String?) {
      self.file = file
      self.digest = digest
    }
  }

  public static let format = "bayesify-exit-policy"
  public static let version = 1

  public var format = Self.format
  public var version = Self.version
  public var madeBy: String
  /// The checkpoint that the policy's records came from; its digest is unknown where records did not say it.
  public var checkpoint: Bound
  /// The posterior behind the predictions; `nil` for the network's own.
  public var posterior: Bound?
  public var validation: Bound
  public var seed: UInt64
  /// What the rows went through; `nil` where their records did not say it.
  public var preprocessing: Preprocessing?
  /// The names of the exits, the earliest first.
  public var exits: [String]
  /// What the network's own logits are divided by, one an exit; `nil` for a posterior, or as they are.
  public var temperatures: [Temperature]?
  /// How exits are joined; `nil` for each by itself, or as the posterior says.
  public var ensemble: InternalEnsemble?
  /// How many rows ran at once when costs were measured; `nil` for costs that were counted or given.
  public var measuredRowCount: Int?
  public var policy: ExitPolicy

  public init(
    madeBy: String, checkpoint: Bound, posterior: Bound?, validation: Bound, seed: UInt64,
    preprocessing: Preprocessing?, exits: [String], temperatures: [Temperature]?, ensemble: InternalEnsemble?,
    measuredRowCount: Int?, policy: ExitPolicy
  ) {
    self.madeBy = madeBy
    self.checkpoint = checkpoint
    self.posterior = posterior
    self.validation = validation
    self.seed = seed
    self.preprocessing = preprocessing
    self.exits = exits
    self.temperatures = temperatures
    self.ensemble = ensemble
    self.measuredRowCount = measuredRowCount
    self.policy = policy
  }

  /// Reads a policy and checks all of it.
  ///
  /// - Throws: `FileError` for what is no policy, is of a later version, or has parts that do not fit each other.
  public init(json: Data, file: String) throws(FileError) {
    struct Heading: Decodable {
      var format: String
      var version: Int
    }
    let decoder = JSONDecoder()
    decoder.nonConformingFloatDecodingStrategy = .convertFromString(
      positiveInfinity: "inf", negativeInfinity: "-inf", nan: "nan")
    do {
      let heading = try decoder.decode(Heading.self, from: json)
      guard heading.format == Self.format, heading.version == Self.version else {
        throw FileError(
          .unsupported, file: file,
          "It is of format '\(heading.format)', version \(heading.version), and this version reads '\(Self.format)', "
            + "version \(Self.version); give a policy that this version's 'exits tune' wrote.")
      }
      self = try decoder.decode(Self.self, from: json)
    } catch let error as FileError {
      throw error
    } catch {
      throw FileError(
        .malformed, file: file, "It is no policy (\(Self.words(error))); give one that 'exits tune' wrote.")
    }
    let counts = [exits.count, policy.exitCount] + (temperatures.map { [$0.count] } ?? [])
    guard Set(counts).count == 1, temperatures?.allSatisfy({ $0.value > 0 && $0.value.isFinite }) ?? true,
      measuredRowCount.map({ (1...ExitRecords.chunkRowCount).contains($0) }) ?? true
    else {
      throw FileError(
        .malformed, file: file,
        "Its parts are of different numbers of exits, or a temperature or count is out of range; give one that 'exits tune' wrote.")
    }
  }

  /// The part of a decoding error that tells where it is.
  private static func words(_ error: any Error) -> String {
    switch error {
    case DecodingError.keyNotFound(let key, let context):
      (context.codingPath + [key]).map(\.stringValue).joined(separator: ".") + " is missing"
    case DecodingError.typeMismatch(_, let context), DecodingError.valueNotFound(_, let context):
      context.codingPath.map(\.stringValue).joined(separator: ".") + " is of another type"
    case DecodingError.dataCorrupted(let context):
      context.codingPath.isEmpty
        ? "it is not valid JSON"
        : context.codingPath.map(\.stringValue).joined(separator: ".") + ": " + context.debugDescription
    case let error as EvaluationError: error.message
    default: "\(error)"
    }
  }

  /// The JSON, with sorted keys and a final newline.
  public func json() throws -> Data {
    let encoder = JSONEncoder()
    encoder.outputFormatting = [.prettyPrinted, .sortedKeys, .withoutEscapingSlashes]
    encoder.nonConformingFloatEncodingStrategy = .convertToString(
      positiveInfinity: "inf", negativeInfinity: "-inf", nan: "nan")
    return try encoder.encode(self) + Data("\n".utf8)
  }

  /// Refuses a model that the policy was not tuned for.
  ///
  /// - Parameters:
  ///   - file: of the policy.
  ///   - model: that is to be run, as the user named it.
  ///   - checkpointDigest: of the checkpoint behind it; `nil` where it is not known.
  ///   - posteriorDigest: of its file, where it is a posterior.
  public func requireSame(
    file: String, model: String, checkpointDigest: String?, posteriorDigest: String?
  ) throws(FileError) {
    if let known = checkpoint.digest, let checkpointDigest, known != checkpointDigest {
      throw FileError(
        .value, file: file,
        "The policy was tuned for another checkpoint (\(checkpoint.file.map { $0 + ", " } ?? "")the digests differ) than that of "
          + "\(model); tune one for this with 'exits tune'.")
    }
    switch (posterior, posteriorDigest) {
    case (nil, nil): return
    case (let known?, let digest?) where known.digest == digest: return
    case (let known?, _):
      throw FileError(
        .value, file: file,
        "The policy was tuned for the predictions of the posterior \(known.file ?? ""), and \(model) is "
          + (posteriorDigest == nil ? "none" : "another (the digests differ)") + "; give that posterior, or tune a policy for "
          + "this model with 'exits tune'.")
    case (nil, _?):
      throw FileError(
        .value, file: file,
        "The policy was tuned for the network's own predictions, and \(model) is a posterior; give the checkpoint"
          + "\(checkpoint.file.map { " " + $0 } ?? ""), or tune a policy for the posterior with 'exits tune'.")
    }
  }
}
