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
  /// How long it took, where that was asked for.
  public var seconds: DetectorSeconds?

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
  /// - Parameter isTimed: whether `seconds` are wanted, which differ from run to run.
  /// - Throws: as `OODDetector.fit` and `FittedDetector.scores(of:in:)`.
  /// - Cost: the passes of the fit, and one over each set; 4 bytes a row are kept meanwhile.
  public init(
    of detector: any OODDetector, fittedTo inputs: DetectorInputs, test: any ExitRecordSource,
    foreign: [(name: String, rows: any ExitRecordSource)], in context: ExecutionContext, isTimed: Bool = false
  ) async throws {
    let clock = ContinuousClock()
    let start = clock.now
    let fitted = try await detector.fit(inputs, in: context)
    let fit = clock.now - start
    var scoring = Duration.zero
    func scores(of rows: any ExitRecordSource) async throws -> ScoreSample {
      let start = clock.now
      let scores = try await fitted.scores(of: rows, in: context)
      scoring += clock.now - start
      return scores
    }
    let known = try await scores(of: test)
    var sets: [String: ScoreResult] = [:]
    for (name, rows) in foreign {
      sets[name] = ScoreResult(
        try ScoreSeparation(inDistribution: known, outOfDistribution: try await scores(of: rows)))
    }
    self.init(name: fitted.name, settings: fitted.settings, findings: fitted.findings, sets: sets)
    if isTimed {
      let rowCount = foreign.reduce(test.rowCount) { $0 + $1.rows.rowCount }
      seconds = DetectorSeconds(fit: fit / .seconds(1), scoringPerRow: scoring / .seconds(1) / Double(max(1, rowCount)))
    }
  }
}

/// How long a detector takes, the network's passes not counted.
public struct DetectorSeconds: Sendable, Hashable, Codable {
  /// Seconds of the fit.
  public var fit: Double
  /// Seconds to score a row of records.
  public var scoringPerRow: Double

  public init(fit: Double, scoringPerRow: Double) {
    self.fit = fit
    self.scoringPerRow = scoringPerRow
  }
}
