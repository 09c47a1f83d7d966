/// A quantity computed from batches in bounded memory: a small state.
///
/// Feeding shards to copies and merging them gives the value of feeding everything to one: exactly
/// where the state is made of counts, up to rounding where it is made of sums.
public protocol Metric<Batch, Value>: Sendable {
  associatedtype Batch
  associatedtype Value

  /// Adds a batch.
  mutating func update(_ batch: Batch)

  /// Adds everything that `other` has seen.
  mutating func merge(_ other: Self)

  /// The quantity over all rows seen.
  ///
  /// - Throws: `EvaluationError.Code.empty` before the first row.
  var value: Value { get throws(EvaluationError) }
}

extension EvaluationError {
  /// The refusal to give a quantity of no rows.
  static func noRows(_ quantity: String) -> EvaluationError {
    EvaluationError(.empty, "There is no \(quantity) of no rows; give at least one.")
  }
}
