public import BayesPrediction
public import BayesTensor

/// A kind of calibration that can be fitted to labelled rows and nothing else.
public enum CalibrationMethod: String, Sendable, Hashable, CaseIterable {
  case vector
  case matrix
  case dirichlet
  case histogram
  case isotonic
  case beta
  case vennAbers = "venn-abers"

  /// The name in sentences and tables.
  public var title: String {
    switch self {
    case .vector: "vector scaling"
    case .matrix: "matrix scaling"
    case .dirichlet: "Dirichlet calibration"
    case .histogram: "histogram binning"
    case .isotonic: "isotonic regression"
    case .beta: "beta calibration"
    case .vennAbers: "Venn-Abers"
    }
  }

  /// The calibrators among which cross-validation chooses, the least penalised first, with what tells them apart.
  public var candidates: [(calibrator: any Calibrator, settings: [String: Double])] {
    switch self {
    case .vector:
      [0, 0.01, 0.1, 1].map { (VectorScaling(interceptPenalty: $0), ["interceptPenalty": $0]) }
    case .matrix:
      [0.01, 0.1, 1, 10, 100].map {
        (
          MatrixScaling(offDiagonalPenalty: $0, interceptPenalty: $0),
          ["offDiagonalPenalty": $0, "interceptPenalty": $0]
        )
      }
    case .dirichlet:
      [0.01, 0.1, 1, 10, 100].map {
        (
          DirichletCalibrator(offDiagonalPenalty: $0, interceptPenalty: $0),
          ["offDiagonalPenalty": $0, "interceptPenalty": $0]
        )
      }
    case .histogram:
      [(HistogramBinning(), ["bins": Double(HistogramBinning().binCount)])]
    case .isotonic: [(IsotonicRegression(), [:])]
    case .beta: [(BetaCalibrator(), [:])]
    case .vennAbers: [(VennAbersCalibrator(), [:])]
    }
  }

  /// Fits the candidate whose held-out rows are most likely, to all rows.
  ///
  /// - Throws: as the calibrators' `fit`.
  /// - Cost: a fit of every candidate to each fold's complement, and one more; where rows are copied, 4 bytes a logit.
  public func fit(
    _ prediction: Prediction, labels: [Int], by validation: CalibrationCrossValidation
  ) throws(EvaluationError) -> ChosenCalibration {
    let candidates = candidates
    let losses = try validation.losses(of: candidates.map(\.calibrator), prediction, labels: labels)
    // Of equal ones the most penalised.
    let best =
      losses.candidates.indices.min { (losses.candidates[$0], -$0) < (losses.candidates[$1], -$1) }
      ?? candidates.count - 1
    return ChosenCalibration(
      calibration: try candidates[best].calibrator.fit(prediction, labels: labels), settings: candidates[best].settings,
      heldOut: losses.candidates.isEmpty ? nil : .init(nll: losses.candidates[best], untouchedNLL: losses.untouched))
  }
}

/// Leaves predictions as they are.
public struct NoCalibration: Calibration, Equatable {
  public init() {}

  public func callAsFunction(_ prediction: Prediction) -> Prediction { prediction }
}

/// A calibration that was chosen among several.
public struct ChosenCalibration: Sendable {
  /// What rows that were held out in turn say of the choice.
  public struct HeldOut: Sendable, Hashable {
    /// The mean negative log-likelihood of calibrated rows, nats.
    public var nll: Double
    /// That of the same rows as they are, nats.
    public var untouchedNLL: Double
  }

  public var calibration: any Calibration
  /// What tells the chosen calibrator from other candidates, by name.
  public var settings: [String: Double]
  /// `nil` where there are too few rows to hold any out.
  public var heldOut: HeldOut?

  /// Whether rows that were held out in turn are less likely with it than as they are.
  public var isHarmful: Bool { heldOut.map { $0.nll > $0.untouchedNLL } ?? false }

  /// Whether nothing says that it does no harm, since there were too few rows to hold any out.
  public var isUnchecked: Bool { heldOut == nil }

  /// The calibration, or where it is harmful or unchecked none.
  public var applied: any Calibration { isHarmful || isUnchecked ? NoCalibration() : calibration }

  /// What the calibration did to the rows that it was fitted to; `nil` where it does not say.
  public var summary: CalibrationSummary? { (calibration as? any SummarizedCalibration)?.summary }
}

/// Cross-validation of calibrators: every row is held out once.
///
/// - Determinism: the folds are those of a permutation of the rows that follows from the key.
public struct CalibrationCrossValidation: Sendable, Hashable {
  public var foldCount: Int
  public var key: RandomKey

  /// - Precondition: there are two folds at least.
  public init(foldCount: Int = 5, key: RandomKey) {
    precondition(foldCount > 1, "There are two folds at least; got \(foldCount).")
    self.foldCount = foldCount
    self.key = key
  }

  /// The rows of each fold, in ascending order; none where there are fewer rows than folds.
  public func folds(rowCount: Int) -> [[Int]] {
    guard rowCount >= foldCount else { return [] }
    let order = key.permutation(rowCount)
    return (0..<foldCount).map { fold in stride(from: fold, to: rowCount, by: foldCount).map { order[$0] }.sorted() }
  }

  /// The mean negative log-likelihood of held-out rows, nats: of each calibrator, and of the rows as they are.
  ///
  /// - Returns: no losses where there are fewer rows than folds.
  /// - Throws: as the calibrators' `fit`.
  public func losses(
    of calibrators: [any Calibrator], _ prediction: Prediction, labels: [Int]
  ) throws(EvaluationError) -> (candidates: [Double], untouched: Double) {
    try checkLabels(labels, rowCount: prediction.rowCount, classCount: prediction.classCount)
    var untouched = NegativeLogLikelihood()
    var candidates = calibrators.map { _ in NegativeLogLikelihood() }
    let folds = folds(rowCount: prediction.rowCount)
    guard !folds.isEmpty else { return ([], .nan) }
    for (number, fold) in folds.enumerated() {
      let others = folds.indices.filter { $0 != number }.flatMap { folds[$0] }.sorted()
      let (fitted, held) = (prediction.rows(others), prediction.rows(fold))
      let (fittedLabels, heldLabels) = (others.map { labels[$0] }, fold.map { labels[$0] })
      untouched.update(try LabelledProbabilities(held.probabilities(), labels: heldLabels))
      for (index, calibrator) in calibrators.enumerated() {
        let calibration = try calibrator.fit(fitted, labels: fittedLabels)
        candidates[index].update(
          try LabelledProbabilities(calibration(held).probabilities(), labels: heldLabels))
      }
    }
    var values: [Double] = []
    for metric in candidates { values.append(try metric.value) }
    return (values, try untouched.value)
  }
}
