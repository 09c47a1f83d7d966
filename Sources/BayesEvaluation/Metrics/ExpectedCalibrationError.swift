/// One bin of a reliability diagram.
public struct ReliabilityBin: Sendable, Hashable, Codable {
  /// The bin's lower edge, itself outside except at zero.
  public var lower: Double
  /// The bin's upper edge, itself inside.
  public var upper: Double
  /// The number of rows.
  public var count: Int
  /// The mean confidence; zero where the bin is empty.
  public var confidence: Double
  /// The share of correct rows; zero where the bin is empty.
  public var accuracy: Double

  public init(lower: Double, upper: Double, count: Int, confidence: Double, accuracy: Double) {
    self.lower = lower
    self.upper = upper
    self.count = count
    self.confidence = confidence
    self.accuracy = accuracy
  }
}

/// How far confidence is from accuracy, averaged over bins of confidence.
///
///     ECE = Σ_b (n_b / n) |accuracy_b − confidence_b|
///
/// Confidence is the largest probability (also of a yes-or-no output); bins are those of
/// `UnitIntervalBins`.
///
/// - Range: `0...1`.
/// - Source: Guo et al. 2017, arXiv:1706.04599, equation 3, whose bins are `(a, b]` too; zero,
///   which those bins leave out, is put in the first.
public struct ExpectedCalibrationError: Metric, Equatable {
  /// The number of bins where none is given.
  public static let defaultBinCount = 15

  /// The bins of confidence.
  public let bins: UnitIntervalBins
  private var counts: [Int]
  private var correctCounts: [Int]
  private var confidenceSums: [Double]

  public init(binCount: Int = ExpectedCalibrationError.defaultBinCount) {
    bins = UnitIntervalBins(count: binCount)
    counts = Array(repeating: 0, count: binCount)
    correctCounts = counts
    confidenceSums = Array(repeating: 0, count: binCount)
  }

  public mutating func update(_ batch: LabelledProbabilities) {
    for row in 0..<batch.rowCount {
      update(confidence: batch.probabilities.confidences[row], isCorrect: batch.isCorrect(row))
    }
  }

  /// Adds one row.
  mutating func update(confidence: Double, isCorrect: Bool) {
    let bin = bins.index(of: confidence)
    counts[bin] += 1
    confidenceSums[bin] += confidence
    if isCorrect { correctCounts[bin] += 1 }
  }

  /// - Precondition: both have the same bins.
  public mutating func merge(_ other: ExpectedCalibrationError) {
    precondition(bins == other.bins, "Cannot merge \(other.bins.count) bins into \(bins.count).")
    for bin in 0..<bins.count {
      counts[bin] += other.counts[bin]
      correctCounts[bin] += other.correctCounts[bin]
      confidenceSums[bin] += other.confidenceSums[bin]
    }
  }

  private var rowCount: Int { counts.reduce(0, +) }

  public var value: Double {
    get throws(EvaluationError) {
      guard rowCount > 0 else { throw .noRows("calibration error") }
      var sum = 0.0
      for bin in 0..<bins.count { sum += abs(Double(correctCounts[bin]) - confidenceSums[bin]) }
      return sum / Double(rowCount)
    }
  }

  /// The definition in words, for reports.
  public var definition: String {
    "expected calibration error over \(bins.count) equally wide bins (a, b] of the largest probability, "
      + "0 in the first bin; |accuracy − mean confidence| weighted by rows"
  }

  /// The standard error of the value from the scatter of correctness within bins.
  ///
  ///     Var ≈ Σ_b (n_b / n)² accuracy_b (1 − accuracy_b) / n_b
  ///
  /// Confidences count as fixed and no gap as changing its sign, so near zero, where the error is
  /// biased upwards, this is a guide and not an interval.
  public var standardError: Double {
    get throws(EvaluationError) {
      let total = Double(rowCount)
      guard total > 0 else { throw .noRows("calibration error") }
      var variance = 0.0
      for bin in 0..<bins.count where counts[bin] > 0 {
        let accuracy = Double(correctCounts[bin]) / Double(counts[bin])
        variance += Double(counts[bin]) * accuracy * (1 - accuracy)
      }
      return variance.squareRoot() / total
    }
  }

  /// All bins in ascending order, for a reliability diagram.
  public var reliability: [ReliabilityBin] {
    (0..<bins.count).map { bin in
      let count = counts[bin]
      return ReliabilityBin(
        lower: bins.edge(bin), upper: bins.edge(bin + 1), count: count,
        confidence: count == 0 ? 0 : confidenceSums[bin] / Double(count),
        accuracy: count == 0 ? 0 : Double(correctCounts[bin]) / Double(count))
    }
  }
}
