public import BayesEvaluation
public import BayesPosterior
public import BayesReport

/// What a study of robustness found: plain data.
public struct RobustnessReport: Sendable, Hashable, Codable {
  /// The version of the JSON shape that this program writes.
  public static let schema = 1

  /// What is left at one radius.
  public struct Point: Sendable, Hashable, Codable {
    /// In the units of stored values; zero for rows as they are.
    public var epsilon: Double
    /// The share of rows that are answered right, as they are and attacked.
    public var accuracy: Double
    /// After Wilson.
    public var accuracyInterval: Interval
    /// The mean over attacked rows of −log p(label), nats; absent where it is infinite, and for the worst of attacks.
    public var nll: Double?
    public var nllInterval: Interval?
    /// Rows that had no gradient at the first step of any start.
    public var rowsWithoutGradient: Int
    /// Rows on which the attack's loss underflowed.
    public var underflowedRows: Int
  }

  /// One attack at all radii.
  public struct Curve: Sendable, Hashable, Codable {
    public var norm: AdversarialAttack.Norm
    /// Absent for the worst of all attacks of the norm.
    public var method: RobustnessStudy.Method?
    public var attacker: RobustnessStudy.Attacker?
    public var points: [Point]
  }

  public struct Model: Sendable, Hashable, Codable {
    public var name: String
    public var method: String
    /// Whether its predictions are made of draws.
    public var hasDraws: Bool
    public var clean: Point
    public var curves: [Curve]
    /// Rows that no attack of the norm fools.
    public var worst: [Curve]
  }

  public var kind = "robustness"
  public var schemaVersion = RobustnessReport.schema
  public var rowCount: Int
  public var exit: Int
  public var exitName: String
  /// The least and the largest value of a row.
  public var range: [Double]
  public var stepCount: Int
  public var restartCount: Int
  public var drawCount: Int
  /// What rows for transfer were made on; absent where none were.
  public var transferSource: String?
  public var models: [Model]
  public var warnings: [String]
  public var provenance: Provenance

  public init(
    of study: RobustnessStudy, exitName: String, rowCount: Int, transferSource: String?, models: [Model],
    warnings: [String], provenance: Provenance
  ) {
    self.rowCount = rowCount
    exit = study.exit
    self.exitName = exitName
    range = [Double(study.range.lowerBound), Double(study.range.upperBound)]
    stepCount = study.stepCount
    restartCount = study.restartCount
    drawCount = study.drawCount
    self.transferSource = transferSource
    self.models = models
    self.provenance = provenance
    self.warnings = warnings + models.flatMap { Self.warnings(of: $0, rowCount: rowCount) }
  }

  /// What makes a model look more robust than it is.
  private static func warnings(of model: Model, rowCount: Int) -> [String] {
    var warnings: [String] = []
    for curve in model.curves where curve.attacker != .transfer {
      let found = AdversarialAttack.warnings(
        underflowed: curve.points.map(\.underflowedRows).max() ?? 0,
        withoutGradient: curve.points.map(\.rowsWithoutGradient).max() ?? 0, rowCount: rowCount)
      warnings += found.map { "\(model.name), \(curve.name): \($0)" }
    }
    for curve in model.curves where curve.attacker == .transfer {
      let own = model.curves.filter { $0.norm == curve.norm && $0.attacker != .transfer }
      guard !own.isEmpty else { continue }
      for (position, point) in curve.points.enumerated()
      where own.allSatisfy({ $0.points[position].accuracyInterval.low > point.accuracyInterval.high }) {
        warnings.append(
          "\(model.name), \(curve.name): rows that were made to fool another network fool this one more often than "
            + "those made on its own gradients (epsilon \(point.epsilon.significantDigits())), so these hide something."
        )
      }
    }
    return warnings
  }
}

extension RobustnessReport.Curve {
  /// The attack in words, as `pgd (expectation)`.
  public var name: String {
    guard let method, let attacker else { return "worst of all" }
    return "\(method.rawValue)\(norm == .euclidean ? "-l2" : "") (\(attacker.rawValue))"
  }
}
