public import BayesEvaluation
public import BayesPosterior
public import BayesPrediction

/// A way from exit records to predictions: the network's own, tempered, or a posterior's.
public enum Predictor: Sendable {
  /// The logits as they are.
  case map
  /// The logits divided by one temperature an exit.
  case temperature([Temperature])
  case laplace(LastLayerLaplacePredictor)

  /// The predictions of every exit for some rows, in blocks of rows that bound the memory of draws.
  public func predictions(
    for records: ExitRecords, _ description: RecordsDescription,
    _ body: (ExitRecords, [Prediction]) throws -> Void
  ) throws {
    switch self {
    case .map: try body(records, Self.plain(records, description))
    case .temperature(let temperatures):
      try body(records, zip(temperatures, Self.plain(records, description)).map { $0($1) })
    case .laplace(let predictor):
      for block in predictor.blocks(of: records) { try body(block, predictor.predict(block)) }
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
