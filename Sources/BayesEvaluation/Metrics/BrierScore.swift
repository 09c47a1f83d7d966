/// The mean of `Σₖ (pₖ − [k = label])²`, summed over classes and not halved.
///
/// - Range: `0...2`.
/// - Source: Brier 1950, doi:10.1175/1520-0493(1950)078<0001:VOFEIT>2.0.CO;2.
public struct BrierScore: Metric, Equatable {
  private var errors = RowMean()

  public init() {}

  public mutating func update(_ batch: LabelledProbabilities) {
    for error in batch.squaredErrors { errors.add(error) }
  }

  public mutating func merge(_ other: BrierScore) { errors.merge(other.errors) }

  public var value: Double {
    get throws(EvaluationError) {
      guard errors.count > 0 else { throw .noRows("Brier score") }
      return errors.mean
    }
  }

  /// The normal 95 % interval; `nil` below two rows.
  public var interval: Interval? { errors.interval }
}
