public import BayesPrediction
public import BayesTensor

/// A detector that has been fitted to one exit, ready to score rows.
public struct FittedDetector: Sendable {
  public let name: String
  /// The index of the exit, from zero for the earliest.
  public let exit: Int
  public let likelihood: Likelihood
  public let featureCount: Int
  public let classCount: Int
  /// The hyper-parameters by name.
  public let settings: [String: Double]
  /// How the hyper-parameters were chosen, where candidates were compared.
  public internal(set) var choice: DetectorChoice?
  private let needsNonNegativeFeatures: Bool
  private let scoring: any DetectorScoring

  init(
    name: String, exit: Int, likelihood: Likelihood, featureCount: Int, classCount: Int,
    needsNonNegativeFeatures: Bool, settings: [String: Double], scoring: any DetectorScoring
  ) {
    self.name = name
    self.exit = exit
    self.likelihood = likelihood
    self.featureCount = featureCount
    self.classCount = classCount
    self.needsNonNegativeFeatures = needsNonNegativeFeatures
    self.settings = settings
    self.scoring = scoring
  }

  /// Quantities that the fit found, by name.
  public var findings: [String: Double] { scoring.findings }

  private var form: DetectorExit {
    DetectorExit(
      exit: exit, likelihood: likelihood, featureCount: featureCount,
      logitCount: likelihood == .binary ? 1 : classCount)
  }

  /// The scores of some rows; larger is further from the training data.
  ///
  /// - Shapes: `[rows, features]` and `[rows, logits]` to `[rows]`.
  /// - Parameter firstRow: the index of the first row in the whole set; for messages.
  /// - Throws: `EvaluationError.Code.shape`; `.feature` and `.score`, naming the row, for a feature or a logit that is
  ///   not finite, a negative feature that the detector cannot use, and a score that is not a number.
  public func scores(
    features: Tensor<Double>, logits: Tensor<Double>, firstRow: Int = 0, on backend: any Backend
  ) throws(EvaluationError) -> Tensor<Double> {
    let rows = DetectorRows(firstRow: firstRow, features: features, logits: logits, labels: nil)
    return try scores(of: form.checked(rows) { "Row \(firstRow + $0)" }, file: nil, on: backend)
  }

  /// The scores of all rows of some records, those that have no answer among them.
  ///
  /// - Cost: one pass; 4 bytes a row are kept.
  /// - Throws: as `scores(features:logits:firstRow:on:)`, naming the file; what the records throw.
  public func scores(of records: some ExitRecordSource, in context: ExecutionContext) async throws -> ScoreSample {
    let (form, description) = (form, records.description)
    let theirs = try DetectorExit(exit, of: description)
    guard theirs == form else {
      throw EvaluationError(
        .shape,
        "Exit \(exit) of \(description.file) has \(theirs.featureCount) features and \(theirs.logitCount) "
          + "\(theirs.likelihood.rawValue) logit(s), and the detector '\(name)' was fitted to \(form.featureCount) and "
          + "\(form.logitCount) \(form.likelihood.rawValue) one(s); give rows of one network.")
    }
    var sample = ScoreSample()
    try await records.forEachChunk { chunk in
      try Task.checkCancellation()
      let rows = try form.rows(of: chunk, description)
      try sample.update(scores(of: rows, file: description.file, on: context.backend).elements, named: name)
      context.report(
        StageProgress(
          stage: "Scoring with '\(name)'", completed: sample.scores.count, total: records.rowCount))
    }
    return sample
  }

  private func scores(
    of rows: DetectorRows, file: String?, on backend: any Backend
  ) throws(EvaluationError) -> Tensor<Double> {
    if needsNonNegativeFeatures {
      try checkNotNegative(rows.features, firstRow: rows.firstRow, file: file, detector: name)
    }
    let scores = Tensor(
      shape: [rows.rowCount], scoring.scores(features: rows.features, logits: rows.logits, on: backend))
    if let row = scores.elements.firstIndex(where: \.isNaN) {
      throw EvaluationError(
        .score, row: rows.firstRow + row,
        "The score '\(name)' of row \(rows.firstRow + row)\(file.map { " of \($0)" } ?? "") is not a number: its "
          + "features or logits are too large.")
    }
    return scores
  }
}
