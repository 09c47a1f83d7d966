public import BayesEvaluation
public import BayesPrediction
public import BayesReport
public import BayesTensor

/// What membership of the training set can be told by: plain data.
public struct PrivacyReport: Sendable, Hashable, Codable {
  /// The version of the JSON shape that this program writes.
  public static let schema = 1

  public struct Model: Sendable, Hashable, Codable {
    public var name: String
    public var method: String
    /// By the loss, and by the confidence.
    public var attacks: [MembershipInference]
    public var gap: TrainTestGap

    /// - Parameter key: of the halves that thresholds are chosen and judged on.
    /// - Throws: `EvaluationError` below two rows in either set.
    public init(
      name: String, method: String, members: MembershipEvidence, nonMembers: MembershipEvidence, key: RandomKey
    ) throws(EvaluationError) {
      self.name = name
      self.method = method
      var attacks: [MembershipInference] = []
      for score in MembershipEvidence.Score.allCases {
        attacks.append(try MembershipInference(members: members, nonMembers: nonMembers, score: score, key: key))
      }
      self.attacks = attacks
      gap = try TrainTestGap(members: members, nonMembers: nonMembers)
    }
  }

  public var kind = "privacy"
  public var schemaVersion = PrivacyReport.schema
  public var memberCount: Int
  public var nonMemberCount: Int
  public var exit: Int
  public var exitName: String
  public var models: [Model]
  public var warnings: [String]
  public var provenance: Provenance

  public init(
    exit: Int, exitName: String, memberCount: Int, nonMemberCount: Int, models: [Model], warnings: [String],
    provenance: Provenance
  ) {
    self.exit = exit
    self.exitName = exitName
    self.memberCount = memberCount
    self.nonMemberCount = nonMemberCount
    self.models = models
    self.provenance = provenance
    // What is said of the sets alone is said once.
    self.warnings = (warnings + models.flatMap { $0.attacks.flatMap(\.warnings) })
      .reduce(into: []) { if !$0.contains($1) { $0.append($1) } }
  }
}

extension Predictor {
  /// What an attacker on membership sees of some rows' answers at an exit, one for each of several predictors.
  ///
  /// - Throws: `EvaluationError` for a label that is no class; as `predictions(for:_:)`.
  public static func membershipEvidence(
    of predictors: [Predictor], for source: any ExitRecordSource, exit: Int
  ) async throws -> [MembershipEvidence] {
    var evidence = predictors.map { _ in MembershipEvidence() }
    try await predictions(of: predictors, for: source) { index, records, predictions in
      try Task.checkCancellation()
      for prediction in predictions where prediction.exit == exit {
        try evidence[index].update(
          logProbabilities: prediction.logMeanProbabilities(), labels: records.labels ?? [])
      }
    }
    return evidence
  }
}
