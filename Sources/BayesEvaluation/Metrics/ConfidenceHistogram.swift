/// How many rows have a confidence in each bin; needs no labels.
public struct ConfidenceHistogram: Metric, Equatable {
  /// The number of bins where none is given.
  public static let defaultBinCount = 20

  /// The bins of confidence.
  public let bins: UnitIntervalBins
  private var counts: [Int]

  public init(binCount: Int = ConfidenceHistogram.defaultBinCount) {
    bins = UnitIntervalBins(count: binCount)
    counts = Array(repeating: 0, count: binCount)
  }

  public mutating func update(_ batch: ClassProbabilities) {
    for confidence in batch.confidences {
      if let bin = bins.index(of: confidence) { counts[bin] += 1 }
    }
  }

  /// - Precondition: both have the same bins.
  public mutating func merge(_ other: ConfidenceHistogram) {
    precondition(bins == other.bins, "Cannot merge \(other.bins.count) bins into \(bins.count).")
    for bin in 0..<bins.count { counts[bin] += other.counts[bin] }
  }

  /// One count a bin, in ascending order of confidence.
  public var value: [Int] {
    get throws(EvaluationError) {
      guard counts.contains(where: { $0 > 0 }) else { throw .noRows("histogram") }
      return counts
    }
  }
}
