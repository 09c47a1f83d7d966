/// The mean of `−log p(label)`, with the natural logarithm and no floor.
///
/// A label of probability zero makes the mean infinite; such rows are counted, not hidden.
///
/// - Units: nats.
/// - Range: `0...∞`.
public struct NegativeLogLikelihood: Metric, Equatable {
  private var finite = RowMean()
  /// The number of rows whose label has probability zero.
  public private(set) var infiniteCount = 0

  public init() {}

  public mutating func update(_ batch: LabelledProbabilities) {
    for value in batch.negativeLogLikelihoods {
      if value.isFinite { finite.add(value) } else { infiniteCount += 1 }
    }
  }

  public mutating func merge(_ other: NegativeLogLikelihood) {
    finite.merge(other.finite)
    infiniteCount += other.infiniteCount
  }

  public var value: Double {
    get throws(EvaluationError) {
      guard finite.count + infiniteCount > 0 else { throw .noRows("negative log-likelihood") }
      return infiniteCount > 0 ? .infinity : finite.mean
    }
  }

  /// The normal 95 % interval; `nil` below two rows and where the value is infinite.
  public var interval: Interval? { infiniteCount > 0 ? nil : finite.interval }
}
