import BayesPrediction
import BayesTensor

/// The form that rows of one exit must have before a detector may use them.
struct DetectorExit: Sendable, Equatable {
  let exit: Int
  let likelihood: Likelihood
  let featureCount: Int
  let logitCount: Int

  init(exit: Int, likelihood: Likelihood, featureCount: Int, logitCount: Int) {
    self.exit = exit
    self.likelihood = likelihood
    self.featureCount = featureCount
    self.logitCount = logitCount
  }

  /// - Throws: `EvaluationError.Code.shape` where there is no such exit; `.unsupported` for one without features or
  ///   classes.
  init(_ exit: Int, of description: RecordsDescription) throws(EvaluationError) {
    guard description.exits.indices.contains(exit) else {
      throw EvaluationError(
        .shape, "There is no exit \(exit); \(description.file) has \(description.exits.count).")
    }
    let own = description.exits[exit]
    try checkHasClasses(own.likelihood)
    guard let featureCount = own.featureCount ?? own.head?.weight.shape[0] else {
      throw EvaluationError(
        .unsupported,
        "Exit \(exit) ('\(own.name)') of \(description.file) has no features, which detectors work on; extract the "
          + "records from a network whose exit ends in a dense layer.")
    }
    self.init(exit: exit, likelihood: own.likelihood, featureCount: featureCount, logitCount: own.logitCount)
  }

  /// Two where one logit says yes or no.
  var classCount: Int { likelihood == .binary ? 2 : logitCount }

  /// The head in double precision, where the exit has one.
  ///
  /// - Throws: `EvaluationError.Code.shape` and `.feature` for one that does not fit the exit or is not finite.
  func head(of description: RecordsDescription) throws(EvaluationError) -> DetectorHead? {
    guard let head = description.exits[exit].head else { return nil }
    guard head.weight.shape == [featureCount, logitCount], head.bias.shape == [logitCount] else {
      throw EvaluationError(
        .shape,
        "The head of exit \(exit) of \(description.file) has a weight of \(head.weight.shape) and a bias of "
          + "\(head.bias.shape), which do not fit \(featureCount) features and \(logitCount) logits.")
    }
    guard head.weight.firstNonFinite == nil, head.bias.firstNonFinite == nil else {
      throw EvaluationError(
        .feature,
        "The head of exit \(exit) of \(description.file) holds a weight that is infinite or not a number.")
    }
    let weight = head.weight.converted(to: Double.self)
    let bias = head.bias.converted(to: Double.self)
    guard likelihood == .binary else { return DetectorHead(weight: weight, bias: bias) }
    return DetectorHead(weight: classPair(weight), bias: classPair(bias.reshaped(to: [1, 1])).reshaped(to: [2]))
  }

  /// This exit's rows of some records, without those that have no answer.
  func rows(of records: (any ExitRecordSource)?) async throws -> ExitDetectorRows? {
    guard let records else { return nil }
    return ExitDetectorRows(form: self, records: try await records.answered)
  }

  /// This exit's rows of a chunk.
  ///
  /// - Throws: `EvaluationError.Code.unsupported` where features are missing, and as `checked` does.
  func rows(of chunk: ExitRecords, _ description: RecordsDescription) throws(EvaluationError) -> DetectorRows {
    guard exit < chunk.exits.count, let features = chunk.exits[exit].features else {
      throw EvaluationError(
        .unsupported,
        "The rows of \(description.file) hold no features of exit \(exit); extract them again, features included.")
    }
    return try checked(
      DetectorRows(
        firstRow: chunk.firstRow, features: features.converted(to: Double.self),
        logits: chunk.exits[exit].logits.converted(to: Double.self), labels: chunk.labels)
    ) { description.file + ": " + chunk.place(ofRow: $0, in: description.positions) }
  }

  /// The rows, with a column of logits for every class.
  ///
  /// - Throws: `EvaluationError.Code.shape`; `.feature` and `.score`, naming the first row with a feature or a logit
  ///   that is not finite.
  func checked(
    _ rows: DetectorRows, _ place: (Int) -> String
  ) throws(EvaluationError) -> DetectorRows {
    let rowCount = rows.features.rowCount
    guard rows.features.shape == [rowCount, featureCount], rows.logits.shape == [rowCount, logitCount] else {
      throw EvaluationError(
        .shape,
        "Features of \(rows.features.shape) and logits of \(rows.logits.shape) do not fit exit \(exit), which has "
          + "\(featureCount) features and \(logitCount) logits a row.")
    }
    if let position = rows.features.firstNonFinite {
      let row = position / featureCount
      throw EvaluationError(
        .feature, row: rows.firstRow + row,
        "\(place(row)) has a feature (number \(position % featureCount) of exit \(exit)) that is infinite or not a "
          + "number; remove the row, or find out where the network overflows.")
    }
    if let position = rows.logits.firstNonFinite {
      let row = position / logitCount
      throw EvaluationError(
        .score, row: rows.firstRow + row,
        "\(place(row)) has a logit (number \(position % logitCount) of exit \(exit)) that is infinite or not a "
          + "number; remove the row, or find out where the network overflows.")
    }
    var result = rows
    if likelihood == .binary { result.logits = classPair(rows.logits) }
    return result
  }
}

/// The rows of one exit of some records.
struct ExitDetectorRows: DetectorRowSource {
  let form: DetectorExit
  let records: any ExitRecordSource

  var file: String { records.description.file }
  var rowCount: Int { records.rowCount }
  var hasLabels: Bool { records.hasLabels }

  func forEachRows(_ body: (DetectorRows) throws -> Void) async throws {
    let description = records.description
    try await records.forEachChunk { try body(try form.rows(of: $0, description)) }
  }
}

/// Refuses rows with a negative feature.
///
/// - Throws: `EvaluationError.Code.feature`, naming the row.
func checkNotNegative(
  _ features: Tensor<Double>, firstRow: Int, file: String?, detector: String
) throws(EvaluationError) {
  guard let position = features.elements.firstIndex(where: { $0 < 0 }) else { return }
  let width = features.shape[1]
  let row = firstRow + position / width
  throw EvaluationError(
    .feature, row: row,
    "The detector '\(detector)' assumes features that are not negative, as after a ReLU, and feature "
      + "\(position % width) of row \(row)\(file.map { " of \($0)" } ?? "") is \(features[position]); choose a "
      + "detector that allows both signs, such as 'knn' or 'mahalanobis'.")
}
