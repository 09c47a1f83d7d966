/// More of an exit's numbers: other calibration errors, parts of the Brier score, and what selection gains.
public struct ExitDetails: Sendable, Hashable, Codable {
  public var calibration: CalibrationDetails
  /// From bins of each class's probability.
  public var brier: BrierDecomposition
  public var selection: SelectionResult
  /// The share of rows whose label is among the first few classes; empty where there are hardly more classes.
  public var topAccuracies: [TopAccuracy]
  /// `nil` without draws.
  public var disagreement: Disagreement.Value?
  /// The mean intersection over union of classes; absent from reports of earlier versions.
  public var overlap: ClassOverlap?
  /// What is taken for what, the most frequent first, at most twenty; absent from reports of earlier versions.
  public var confusions: [Confusion]?
  /// From rows drawn anew; `nil` below two rows, and absent from reports of earlier versions.
  public var intervals: ResampledIntervals?
}

/// Calibration errors by other definitions, over as many bins as `ExitResult.ece`.
public struct CalibrationDetails: Sendable, Hashable, Codable {
  /// The largest gap of a bin (MCE).
  public var maximum: Double
  /// The root of the mean squared gap.
  public var rootMeanSquare: Double
  /// The mean over classes (CCE).
  public var classwise: Double
  /// Over bins of equally many rows; `nil` where there are fewer rows than bins.
  public var equalMass: Double?
  /// Smoothed by a kernel in place of bins; absent from reports of earlier versions.
  public var smooth: Double?
  /// The expected calibration error by the rules of other tools, by name.
  public var conventions: [String: Double]
}

/// What is gained where the least confident rows are set aside.
public struct SelectionResult: Sendable, Hashable, Codable {
  /// The mean over coverages of the share of wrong rows.
  public var aurc: Double
  /// `aurc` less that of an oracle with the same accuracy.
  public var excessAURC: Double
  /// The mean over coverages of the share, of all rows, that are wrong and accepted.
  public var augrc: Double
  /// The share of wrong rows at some coverages.
  public var risks: [RiskCoveragePoint]
  /// The largest coverage at some risks; those that no coverage has are absent.
  public var coverages: [RiskCoveragePoint]
  /// The curve, thinned for plotting.
  public var curve: [RiskCoveragePoint]

  init(_ curve: RiskCoverageCurve) {
    aurc = curve.area()
    excessAURC = curve.excessArea()
    augrc = curve.generalizedArea()
    risks = [0.8, 0.9, 0.95].map { RiskCoveragePoint(coverage: $0, risk: curve.risk(atCoverage: $0)) }
    coverages = [0.01, 0.02, 0.05].compactMap { risk in
      curve.coverage(atRisk: risk).map { RiskCoveragePoint(coverage: $0, risk: risk) }
    }
    self.curve = curve.points()
  }
}

/// The share of rows whose label is among the `k` most probable classes.
public struct TopAccuracy: Sendable, Hashable, Codable {
  public var k: Int
  public var value: Double
  /// Wilson's 95 % interval.
  public var interval: Interval
}
