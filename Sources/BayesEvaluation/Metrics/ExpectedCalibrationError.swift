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
/// `UnitIntervalBins`, by any of the conventions in use.
///
/// - Range: `0...1`.
/// - Source: Guo et al. 2017, arXiv:1706.04599, equation 3, whose bins are `(a, b]` too; zero,
///   which those bins leave out, is put in the first.
public struct ExpectedCalibrationError: Metric, Equatable {
  /// The number of bins where none is given.
  public static let defaultBinCount = 15

  private var sums: BinSums

  public init(binCount: Int = ExpectedCalibrationError.defaultBinCount, convention: BinConvention = .standard) {
    sums = BinSums(UnitIntervalBins(count: binCount, convention: convention))
  }

  /// The bins of confidence.
  public var bins: UnitIntervalBins { sums.bins }

  public mutating func update(_ batch: LabelledProbabilities) {
    let confidences = batch.probabilities.confidences
    sums.add(rowCount: batch.rowCount, probability: { confidences[$0] }, isEvent: { batch.isCorrect($0) })
  }

  /// Adds one row.
  mutating func update(confidence: Double, isCorrect: Bool) {
    sums.add(rowCount: 1, probability: { _ in confidence }, isEvent: { _ in isCorrect })
  }

  /// - Precondition: both have the same bins.
  public mutating func merge(_ other: ExpectedCalibrationError) { sums.merge(other.sums) }

  public var value: Double {
    get throws(EvaluationError) { try checked().meanGap }
  }

  /// The largest gap of a bin that holds a row, `max_b |accuracy_b − confidence_b|` (MCE).
  ///
  /// - Range: `0...1`; few rows in one bin are enough for a large one.
  /// - Source: Naeini et al. 2015, doi:10.1609/aaai.v29i1.9602.
  public var maximum: Double {
    get throws(EvaluationError) { try checked().gaps.max() ?? 0 }
  }

  /// The root of the mean squared gap, `√(Σ_b (n_b / n) (accuracy_b − confidence_b)²)`.
  ///
  /// - Range: `0...1`, at least the calibration error itself.
  public var rootMeanSquare: Double {
    get throws(EvaluationError) {
      let sums = try checked()
      let square = zip(sums.filled, sums.gaps).reduce(0) { $0 + Double(sums.counts[$1.0]) * $1.1 * $1.1 }
      return (square / Double(sums.rowCount)).squareRoot()
    }
  }

  /// The mean gap of the bins that hold a row, each counting alike (netcal's average calibration error).
  ///
  /// - Range: `0...1`.
  public var unweightedMean: Double {
    get throws(EvaluationError) {
      let gaps = try checked().gaps
      return gaps.reduce(0, +) / Double(max(1, gaps.count))
    }
  }

  private func checked() throws(EvaluationError) -> BinSums {
    guard sums.rowCount > 0 else { throw .noRows("calibration error") }
    return sums
  }

  /// The definition in words, for reports.
  public var definition: String {
    bins.convention == .standard
      ? "expected calibration error over \(bins.count) equally wide bins (a, b] of the largest probability, "
        + "0 in the first bin; |accuracy − mean confidence| weighted by rows"
      : "expected calibration error over \(bins.count) equally wide bins of the largest probability; "
        + "\(bins.convention.definition); |accuracy − mean confidence| weighted by rows"
  }

  /// The standard error of the value from the scatter of correctness within bins.
  ///
  ///     Var ≈ Σ_b (n_b / n)² accuracy_b (1 − accuracy_b) / n_b
  ///
  /// Confidences count as fixed and no gap as changing its sign, so near zero, where the error is
  /// biased upwards, this is a guide and not an interval.
  public var standardError: Double {
    get throws(EvaluationError) {
      let sums = try checked()
      let variance = sums.filled.reduce(0.0) { variance, bin in
        let accuracy = sums.frequency(bin)
        return variance + Double(sums.counts[bin]) * accuracy * (1 - accuracy)
      }
      return variance.squareRoot() / Double(sums.rowCount)
    }
  }

  /// All bins in ascending order, for a reliability diagram.
  public var reliability: [ReliabilityBin] {
    sums.counts.indices.map { bin in
      let count = sums.counts[bin]
      return ReliabilityBin(
        lower: bins.edge(bin), upper: bins.edge(bin + 1), count: count,
        confidence: count == 0 ? 0 : sums.meanProbability(bin),
        accuracy: count == 0 ? 0 : sums.frequency(bin))
    }
  }
}
