public import BayesEvaluation

/// A file that took part, and its digest.
public struct InputDigest: Sendable, Hashable, Codable {
  /// What it was used for: `checkpoint`, `posterior`, `test data`, ….
  public var role: String
  /// The file, as the user named it.
  public var file: String
  /// The SHA-256 of its bytes, in hexadecimal digits.
  public var digest: String

  public init(role: String, file: String, digest: String) {
    self.role = role
    self.file = file
    self.digest = digest
  }
}

/// Where a report's numbers come from; no clock, so that equal inputs give equal bytes.
public struct Provenance: Sendable, Hashable, Codable {
  /// The program's version.
  public var version: String
  /// The command line, word by word.
  public var command: [String]
  public var seed: UInt64
  /// How outputs were read: `categorical`, `binary`.
  public var likelihood: String
  /// Who computed matrix products.
  public var backend: String
  public var inputs: [InputDigest]
  /// Anything else worth keeping, by name.
  public var details: [String: String]

  public init(
    version: String, command: [String], seed: UInt64, likelihood: String, backend: String,
    inputs: [InputDigest], details: [String: String] = [:]
  ) {
    self.version = version
    self.command = command
    self.seed = seed
    self.likelihood = likelihood
    self.backend = backend
    self.inputs = inputs
    self.details = details
  }

  /// The command line as a shell takes it: words with other signs than those of plain names in single quotes.
  public var commandLine: String {
    command.map { word in
      let isPlain = !word.isEmpty && word.unicodeScalars.allSatisfy { scalar in
        ("a"..."z").contains(scalar) || ("A"..."Z").contains(scalar) || ("0"..."9").contains(scalar)
          || "-_./:=,+@%".unicodeScalars.contains(scalar)
      }
      return isPlain ? word : "'" + word.replacing("'", with: #"'\''"#) + "'"
    }.joined(separator: " ")
  }
}

/// Everything a report says: plain data, rendered by a `ReportRenderer`.
public struct Report: Sendable, Hashable, Codable {
  /// The version of the JSON shape that this program reads and writes.
  public static let schema = 1

  public var schema: Int
  public var title: String
  /// The first is the baseline that gains are measured against.
  public var models: [ModelResult]
  public var comparisons: [Comparison]
  /// What a reader must know before trusting the numbers, in whole sentences.
  public var warnings: [String]
  /// Names of the classes; empty where unknown.
  public var classNames: [String]
  public var provenance: Provenance
  /// Seconds, by name of what was timed; absent unless asked for, since they differ from run to run.
  public var timing: [String: Double]?
  /// The models on corrupted test rows, where that was asked for.
  public var shift: ShiftStudy?
  /// Test images pixel by pixel, where the network answers at each.
  public var pixelMaps: [PixelMaps]?

  public init(
    title: String, evaluation: Evaluation, warnings: [String] = [], classNames: [String] = [],
    provenance: Provenance, timing: [String: Double]? = nil
  ) {
    schema = Self.schema
    self.title = title
    models = evaluation.models
    comparisons = evaluation.comparisons
    self.warnings = warnings
    self.classNames = classNames
    self.provenance = provenance
    self.timing = timing
  }
}

/// A way of writing a report; a pure function, so the same report gives the same bytes.
public protocol ReportRenderer: Sendable {
  func render(_ report: Report) throws -> String
}
