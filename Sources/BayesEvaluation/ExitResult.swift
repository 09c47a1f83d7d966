/// How well one score tells one foreign set from the test set.
public struct ScoreResult: Sendable, Hashable, Codable {
  /// The area under the ROC curve; out-of-distribution is positive.
  public var auroc: Double
  /// Average precision with out-of-distribution positive.
  public var auprOut: Double
  /// Average precision with in-distribution positive.
  public var auprIn: Double
  /// The false positive rate where 95 % of the foreign rows are found.
  public var fpr95: Double
  /// DeLong's 95 % interval of `auroc`; absent below two rows in either set.
  public var aurocInterval: Interval?
  /// Whether every row has the same score, as mutual information does without draws.
  public var isConstant: Bool
  /// The curve, thinned for plotting.
  public var roc: [ROCPoint]
  /// 95 % intervals, absent below two rows in either set and from reports of earlier versions: of the infinitesimal
  /// jackknife for average precisions, of rows drawn anew for the false positive rate.
  public var auprOutInterval: Interval?
  public var auprInInterval: Interval?
  public var fpr95Interval: Interval?

  public init(
    auroc: Double, auprOut: Double, auprIn: Double, fpr95: Double, aurocInterval: Interval?,
    isConstant: Bool, roc: [ROCPoint]
  ) {
    self.auroc = auroc
    self.auprOut = auprOut
    self.auprIn = auprIn
    self.fpr95 = fpr95
    self.aurocInterval = aurocInterval
    self.isConstant = isConstant
    self.roc = roc
  }

  /// All numbers of a separation.
  public init(_ separation: ScoreSeparation, _ resampling: Resampling = Resampling()) {
    let auroc = separation.auroc
    self.init(
      auroc: auroc, auprOut: separation.averagePrecision(positive: .outOfDistribution),
      auprIn: separation.averagePrecision(positive: .inDistribution),
      fpr95: separation.falsePositiveRateAt95, aurocInterval: separation.interval(ofAUROC: auroc),
      isConstant: separation.isConstant, roc: separation.rocPoints())
    auprOutInterval = separation.interval(ofAveragePrecision: auprOut, positive: .outOfDistribution)
    auprInInterval = separation.interval(ofAveragePrecision: auprIn, positive: .inDistribution)
    fpr95Interval = separation.falsePositiveRateInterval(resampling)
  }
}

/// Mean uncertainty over a set of rows, in nats.
public struct MeanUncertainty: Sendable, Hashable, Codable {
  /// Mean entropy of the averaged probabilities.
  public var total: Double
  /// Mean of what would remain if the weights were known.
  public var aleatoric: Double
  /// Mean mutual information of class and weights.
  public var epistemic: Double
  /// Absent below two rows and from reports of earlier versions.
  public var intervals: Intervals?

  /// Normal 95 % intervals of the means.
  public struct Intervals: Sendable, Hashable, Codable {
    public var total: Interval
    public var aleatoric: Interval
    public var epistemic: Interval
  }

  public init(total: Double, aleatoric: Double, epistemic: Double) {
    self.total = total
    self.aleatoric = aleatoric
    self.epistemic = epistemic
  }
}

/// What an exit makes of one foreign set.
public struct OODResult: Sendable, Hashable, Codable {
  /// The set, as the user named it.
  public var name: String
  public var rowCount: Int
  public var uncertainty: MeanUncertainty
  /// Rows in each bin of confidence.
  public var confidenceHistogram: [Int]
  /// By name of the score; scores that the predictions do not allow are absent.
  public var scores: [String: ScoreResult]
  /// Of anomalous positions of the test images, the same within each image, by name of the score; absent of other sets.
  public var perImage: [String: ImageSeparationResult]?

  public init(
    name: String, rowCount: Int, uncertainty: MeanUncertainty, confidenceHistogram: [Int],
    scores: [String: ScoreResult]
  ) {
    self.name = name
    self.rowCount = rowCount
    self.uncertainty = uncertainty
    self.confidenceHistogram = confidenceHistogram
    self.scores = scores
  }
}

/// A calibration error with the definition that gives it meaning.
public struct CalibrationErrorResult: Sendable, Hashable, Codable {
  public var value: Double
  /// The number of bins.
  public var bins: Int
  /// The definition in words.
  public var definition: String

  public init(value: Double, bins: Int, definition: String) {
    self.value = value
    self.bins = bins
    self.definition = definition
  }
}

/// 95 % intervals of an exit's means; absent where too few rows or an infinite value allow none.
public struct ExitIntervals: Sendable, Hashable, Codable {
  /// Wilson's interval.
  public var accuracy: Interval
  /// Normal.
  public var nll: Interval?
  /// Normal.
  public var brier: Interval?

  public init(accuracy: Interval, nll: Interval?, brier: Interval?) {
    self.accuracy = accuracy
    self.nll = nll
    self.brier = brier
  }
}

extension ExitResult {
  /// The name among `settings` that says of a calibrator that it was left out, since it would have done harm.
  public static let leftAsItIs = "leftAsItIs"

  /// Whether a calibrator was to change the predictions and was left out.
  public var isLeftAsItIs: Bool { settings[Self.leftAsItIs] != nil }
}

/// All numbers of one exit of one model: plain data for reports.
///
/// Proportions are fractions; entropies and NLL are in nats.
public struct ExitResult: Sendable, Hashable, Codable {
  /// The exit's index, from zero for the earliest.
  public var index: Int
  public var name: String
  /// Multiply-adds a row to reach this exit, where known.
  public var multiplyAdds: Int?
  /// The number of test rows.
  public var rowCount: Int
  public var accuracy: Double
  /// Infinite where a label has probability zero.
  public var nll: Double
  /// The number of rows whose label has probability zero.
  public var infiniteNLLCount: Int
  public var brier: Double
  public var ece: CalibrationErrorResult
  public var intervals: ExitIntervals
  /// Mean uncertainty on the test set.
  public var uncertainty: MeanUncertainty
  /// The bins behind `ece`.
  public var reliability: [ReliabilityBin]
  /// Test rows in each bin of confidence.
  public var confidenceHistogram: [Int]
  /// One entry a class.
  public var classes: [ClassCounts]
  /// One entry a foreign set.
  public var ood: [OODResult]
  /// What was fitted for this exit, by name: `temperature`, `priorPrecision`, ….
  public var settings: [String: Double]
  /// Absent from reports of earlier versions.
  public var details: ExitDetails?
  /// Detectors on features, where they were asked for.
  public var detectors: [DetectorResult]?
  /// What a policy of trust does, where one was given for this model.
  public var trust: TrustResult?
  /// Rows to look at, at a model's deepest exit.
  public var examples: Examples?
  /// Prediction sets, where they were asked for.
  public var conformal: [ConformalResult]?
}
