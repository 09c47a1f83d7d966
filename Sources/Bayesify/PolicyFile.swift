import BayesEvaluation
public import BayesTensor
public import Foundation

/// A file, and the digest that it must have.
public struct BoundFile: Codable, Hashable, Sendable {
  /// As the user named it; `nil` where only its digest is known.
  public var file: String?
  public var digest: String?

  public init(file: String?, digest: String?) {
    self.file = file
    self.digest = digest
  }
}

/// What was tuned for the predictions of one model, in one JSON file that says which model that is.
///
/// Numbers that JSON does not have are `"-inf"` and `"inf"`.
public protocol PolicyFile: Codable, Sendable {
  /// What the files call themselves.
  static var formatName: String { get }
  static var currentVersion: Int { get }
  /// What writes them, as users call it.
  static var verb: String { get }

  /// The checkpoint that the policy's predictions came from; its digest is unknown where records did not say it.
  var checkpoint: BoundFile { get }
  /// The posterior behind the predictions; `nil` for the network's own.
  var posterior: BoundFile? { get }

  /// What its parts contradict each other in, as the end of a sentence; `nil` where they do not.
  var contradiction: String? { get }
}

private struct PolicyHeading: Decodable {
  var format: String
  var version: Int
}

extension PolicyFile {
  /// Reads a policy and checks all of it.
  ///
  /// - Throws: `FileError` for what is no policy, is of a later version, or has parts that do not fit each other.
  public init(json: Data, file: String) throws(FileError) {
    let decoder = JSONDecoder()
    decoder.nonConformingFloatDecodingStrategy = .convertFromString(
      positiveInfinity: "inf", negativeInfinity: "-inf", nan: "nan")
    do {
      let heading = try decoder.decode(PolicyHeading.self, from: json)
      guard heading.format == Self.formatName, heading.version == Self.currentVersion else {
        throw FileError(
          .unsupported, file: file,
          "It is of format '\(heading.format)', version \(heading.version), and this version reads '\(Self.formatName)', "
            + "version \(Self.currentVersion); give a policy that this version's '\(Self.verb)' wrote.")
      }
      self = try decoder.decode(Self.self, from: json)
    } catch let error as FileError {
      throw error
    } catch {
      throw FileError(
        .malformed, file: file, "It is no policy (\(policyFault(error))); give one that '\(Self.verb)' wrote.")
    }
    guard let contradiction else { return }
    throw FileError(.malformed, file: file, "\(contradiction); give one that '\(Self.verb)' wrote.")
  }

  /// The JSON, with sorted keys and a final newline.
  public func json() throws -> Data {
    let encoder = JSONEncoder()
    encoder.outputFormatting = [.prettyPrinted, .sortedKeys, .withoutEscapingSlashes]
    encoder.nonConformingFloatEncodingStrategy = .convertToString(
      positiveInfinity: "inf", negativeInfinity: "-inf", nan: "nan")
    return try encoder.encode(self) + Data("\n".utf8)
  }

  /// That nothing says whether the policy was tuned for a model, where one of them names no checkpoint.
  ///
  /// Parameters are those of `requireSame(file:model:checkpointDigest:posteriorDigest:)`.
  public func warning(file: String, model: String, checkpointDigest: String?) -> String? {
    guard checkpoint.digest == nil || checkpointDigest == nil else { return nil }
    return "That the policy \(file) was tuned for \(model) is taken on trust, since they do not both say of which checkpoint "
      + "they are."
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
          + "\(model); tune one for this with '\(Self.verb)'.")
    }
    switch (posterior, posteriorDigest) {
    case (nil, nil): return
    case (let known?, let digest?) where known.digest == digest: return
    case (let known?, _):
      throw FileError(
        .value, file: file,
        "The policy was tuned for the predictions of the posterior \(known.file ?? ""), and \(model) is "
          + (posteriorDigest == nil ? "none" : "another (the digests differ)") + "; give that posterior, or tune a policy for "
          + "this model with '\(Self.verb)'.")
    case (nil, _?):
      throw FileError(
        .value, file: file,
        "The policy was tuned for the network's own predictions, and \(model) is a posterior; give the checkpoint"
          + "\(checkpoint.file.map { " " + $0 } ?? ""), or tune a policy for the posterior with '\(Self.verb)'.")
    }
  }
}

/// The part of a decoding error that tells where it is.
private func policyFault(_ error: any Error) -> String {
  switch error {
  case DecodingError.keyNotFound(let key, let context):
    (context.codingPath + [key]).map(\.stringValue).joined(separator: ".") + " is missing"
  case DecodingError.typeMismatch(_, let context), DecodingError.valueNotFound(_, let context):
    context.codingPath.map(\.stringValue).joined(separator: ".") + " is of another type"
  case DecodingError.dataCorrupted(let context):
    context.codingPath.isEmpty
      ? "it is not valid JSON, or a number in it is out of range"
      : context.codingPath.map(\.stringValue).joined(separator: ".") + ": " + context.debugDescription
  case let error as EvaluationError: error.message
  default: "\(error)"
  }
}
