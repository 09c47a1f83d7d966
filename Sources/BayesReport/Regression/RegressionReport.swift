public import BayesEvaluation

/// Everything a report on forecasts of real targets says: plain data.
public struct RegressionReport: Sendable, Hashable, Codable {
  /// The version of the JSON shape that this program reads and writes.
  public static let schema = 1
  /// What tells its JSON from that of a report on classes.
  public static let kind = "regression"

  public var schema: Int
  public var kind: String
  public var title: String
  public var models: [RegressionModelResult]
  /// The name of the model that gains are measured against.
  public var baseline: String
  /// Every other model against the baseline.
  public var comparisons: [RegressionComparison]
  /// What a reader must know before trusting the numbers, in whole sentences.
  public var warnings: [String]
  /// Names of the outputs; empty where unknown.
  public var outputNames: [String]
  public var provenance: Provenance
  /// Seconds, by name of what was timed; absent unless asked for, since they differ from run to run.
  public var timing: [String: Double]?

  public init(
    title: String, study: RegressionStudy, warnings: [String] = [], outputNames: [String] = [],
    provenance: Provenance, timing: [String: Double]? = nil
  ) {
    schema = Self.schema
    kind = Self.kind
    self.title = title
    models = study.models
    baseline = study.baseline
    comparisons = study.comparisons
    self.warnings = warnings
    self.outputNames = outputNames
    self.provenance = provenance
    self.timing = timing
  }

  /// The baseline's numbers.
  public var baselineModel: RegressionModelResult? { models.first { $0.name == baseline } }

  /// The exit that readings speak of.
  public var deepestExitIndex: Int? { models.first?.exits.map(\.index).max() }

  /// The comparison of a model with the baseline at an exit.
  public func comparison(of model: String, exit: Int) -> RegressionComparison? {
    comparisons.first { $0.model == model && $0.exit == exit }
  }

  /// The name of an output, or its index where it has none.
  func outputName(_ index: Int) -> String {
    outputNames.indices.contains(index) ? outputNames[index] : "output \(index)"
  }

  /// All exits, the earliest first, each with every model that has it.
  var exits: [RegressionExitGroup] {
    Set(models.flatMap { $0.exits.map(\.index) }).sorted().map { index in
      let rows = models.enumerated().flatMap { position, model in
        model.exits.filter { $0.index == index }.map { (position: position, model: model, exit: $0) }
      }
      return RegressionExitGroup(
        index: index, name: rows.first?.exit.name ?? "",
        multiplyAdds: rows.lazy.compactMap(\.exit.multiplyAdds).first, rows: rows)
    }
  }
}

/// One exit with every model that has it.
struct RegressionExitGroup: Sendable {
  var index: Int
  var name: String
  var multiplyAdds: Int?
  /// In the order of the report; `position` is the model's place there.
  var rows: [(position: Int, model: RegressionModelResult, exit: RegressionExitResult)]

  /// `Exit 1, name`
  var title: String { "Exit \(index) · \(name)" }
}

extension JSONRenderer {
  /// The JSON of a report on forecasts of real targets.
  public func render(_ report: RegressionReport) throws -> String { try Self.text(report) }
}
