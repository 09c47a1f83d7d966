public import BayesPrediction
public import BayesTensor

/// How well a detector on features tells foreign sets from the test set.
public struct DetectorResult: Sendable, Hashable, Codable {
  public var name: String
  /// The hyper-parameters by name.
  public var settings: [String: Double]
  /// Quantities that the fit found, by name.
  public var findings: [String: Double]
  /// By name of the foreign set.
  public var sets: [String: ScoreResult]

  public init(
    name: String, settings: [String: Double], findings: [String: Double], sets: [String: ScoreResult]
  ) {
    self.name = name
    self.settings = settings
    self.findings = findings
    self.sets = sets
  }

  /// Fits a detector and scores the test rows and every foreign set by it.
  ///
  /// - Throws: as `OODDetector.fit` and `FittedDetector.scores(of:in:)`.
  /// - Cost: the passes of the fit, and one over each set; 4 bytes a row are kept meanwhile.
  public init(
    of detector: any OODDetector, fittedTo inputs: DetectorInputs, test: any ExitRecordSource,
    foreign: [(name: String, rows: any ExitRecordSource)], in context: ExecutionContext
  ) async throws {
    let fitted = try await detector.fit(inputs, in: context)
    let known = try await fitted.scores(of: test, in: context)
    var sets: [String: ScoreResult] = [:]
    for (name, rows) in foreign {
      sets[name] = ScoreResult(
        try ScoreSeparation(
          inDistribution: known, outOfDistribution: try await fitted.scores(of: rows, in: context)))
    }
    self.init(name: fitted.name, settings: fitted.settings, findings: fitted.findings, sets: sets)
  }
}
