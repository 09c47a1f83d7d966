public import BayesEvaluation
import BayesNetwork
public import BayesPosterior
public import BayesPrediction
import BayesTensor

/// A way from what left a network to predictions: the network's own, calibrated, or a posterior's.
public enum Predictor: Sendable {
  /// The logits as they are.
  case map
  /// The logits divided by one temperature an exit.
  case temperature([Temperature])
  /// The logits changed by one calibration an exit.
  case calibrated([any Calibration])
  case laplace(LastLayerLaplacePredictor)
  /// Needs the rows themselves beside their records.
  case weights(WeightLaplacePredictor)
  /// Needs the rows themselves beside their records.
  case sampled(SampledNetworkPredictor)

  /// The predictions of every exit for all rows of a source, in blocks of rows that bound the memory of draws.
  ///
  /// - Throws: `FileError` where the predictor needs rows and the source has their records alone.
  public func predictions(
    for source: any ExitRecordSource, _ body: (ExitRecords, [Prediction]) throws -> Void
  ) async throws {
    try await Self.predictions(of: [self], for: source) { _, records, predictions in try body(records, predictions) }
  }

  /// The predictions of several predictors in one pass over a source.
  ///
  /// - Parameter body: called with the index of the predictor.
  /// - Throws: as `predictions(for:_:)`.
  public static func predictions(
    of predictors: [Predictor], for source: any ExitRecordSource,
    _ body: (Int, ExitRecords, [Prediction]) throws -> Void
  ) async throws {
    func feed(_ chosen: [Int], _ records: ExitRecords, _ rows: RowBatch?) async throws {
      for index in chosen {
        try await predictors[index].predictions(for: records, rows, source.description) { try body(index, $0, $1) }
      }
    }
    let answered = source as? AnsweredExitRecords
    let needing = predictors.indices.filter { predictors[$0].needsRows }
    guard !needing.isEmpty, let network = (answered?.source ?? source) as? NetworkRecords else {
      return try await source.forEachChunk { try await feed(Array(predictors.indices), $0, nil) }
    }
    let others = predictors.indices.filter { !predictors[$0].needsRows }
    var chunks = RecordChunks()
    try await network.forEachRun(isRun: predictors.contains(where: \.needsRecords)) { records, rows in
      // Rows without an answer are passed over behind the networks: beside each may be one that has one.
      for index in needing {
        try await predictors[index].predictions(for: records, rows, source.description) { block, predictions in
          guard let answered else { return try body(index, block, predictions) }
          let indices = answered.answered(in: block)
          if !indices.isEmpty { try body(index, block.rows(indices), predictions.map { $0.rows(indices) }) }
        }
      }
      guard !others.isEmpty else { return }
      let indices = answered?.answered(in: records)
      try await chunks.append(indices.map { records.rows($0) } ?? records) { try await feed(others, $0, nil) }
    }
    try await chunks.finish { try await feed(others, $0, nil) }
  }

  /// Whether predictions need the rows themselves beside their records.
  private var needsRows: Bool {
    switch self {
    case .map, .temperature, .calibrated, .laplace: false
    case .weights, .sampled: true
    }
  }

  /// Whether predictions are the records themselves, but for a temperature or another calibration.
  public var isPlain: Bool {
    switch self {
    case .map, .temperature, .calibrated: true
    case .laplace, .weights, .sampled: false
    }
  }

  /// The predictions of every exit for a chunk of rows, which need nothing but the records.
  ///
  /// - Precondition: the predictor is plain.
  public func plainPredictions(for records: ExitRecords, _ description: RecordsDescription) -> [Prediction] {
    let plain = Self.plain(records, description)
    switch self {
    case .map: return plain
    case .temperature(let temperatures): return zip(temperatures, plain).map { $0($1) }
    case .calibrated(let calibrations): return zip(calibrations, plain).map { $0($1) }
    case .laplace, .weights, .sampled: preconditionFailure("A posterior's predictions need more than records.")
    }
  }

  /// Whether predictions need what left the network itself.
  private var needsRecords: Bool {
    if case .sampled(let predictor) = self { predictor.needsRecords } else { true }
  }

  private func predictions(
    for records: ExitRecords, _ rows: RowBatch?, _ description: RecordsDescription,
    _ body: (ExitRecords, [Prediction]) throws -> Void
  ) async throws {
    switch self {
    case .map, .temperature, .calibrated: try body(records, plainPredictions(for: records, description))
    case .laplace(let predictor):
      try await predictor.predictions(for: records, body)
    case .weights(let predictor):
      guard let rows else {
        throw FileError(
          .unsupported, file: description.file,
          "These are exit records, and a posterior over earlier layers needs the rows that they were extracted from; "
            + "give the data.")
      }
      try await predictor.predictions(for: records, of: rows, body)
    case .sampled(let predictor):
      guard let rows else {
        throw FileError(
          .unsupported, file: description.file,
          "These are exit records, and the networks of an ensemble, of dropout or of drawn weights need the rows that they were extracted from; "
            + "give the data.")
      }
      try await predictor.predictions(for: records, of: rows, body)
    }
  }

  private static func plain(_ records: ExitRecords, _ description: RecordsDescription) -> [Prediction] {
    records.exits.indices.map { index in
      let logits = records.exits[index].logits
      return Prediction(
        logits: logits.reshaped(to: logits.shape.batched(1)),
        likelihood: description.exits[index].likelihood, exit: index)
    }
  }
}
