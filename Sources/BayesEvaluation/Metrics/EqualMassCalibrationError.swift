/// How far confidence is from accuracy, averaged over bins of equally many rows.
///
///     aECE = Σ_b (n_b / n) |accuracy_b − confidence_b|
///
/// Rows are sorted by confidence, those that tie in the order in which they came, and cut into parts that differ by one
/// row at most, the larger ones first.  Grows by 5 bytes a row.
///
/// - Range: `0...1`.
/// - Source: Nguyen and O'Connor 2015, arXiv:1508.05154; Nixon et al. 2019, arXiv:1904.01685.
public struct EqualMassCalibrationError: Metric, Equatable {
  public let binCount: Int
  private var uncertainties: [Float] = []
  private var isCorrect: [Bool] = []

  /// - Precondition: there is at least one bin.
  public init(binCount: Int = ExpectedCalibrationError.defaultBinCount) {
    precondition(binCount > 0, "There is at least one bin; got \(binCount).")
    self.binCount = binCount
  }

  public mutating func update(_ batch: LabelledProbabilities) {
    for row in 0..<batch.rowCount {
      uncertainties.append(Float(1 - batch.probabilities.confidences[row]))
      isCorrect.append(batch.isCorrect(row))
    }
  }

  public mutating func merge(_ other: EqualMassCalibrationError) {
    precondition(binCount == other.binCount, "Cannot merge \(other.binCount) bins into \(binCount).")
    uncertainties += other.uncertainties
    isCorrect += other.isCorrect
  }

  /// - Throws: `EvaluationError.Code.empty` below one row a bin.
  public var value: Double {
    get throws(EvaluationError) {
      let count = isCorrect.count
      guard count > 0 else { throw .noRows("calibration error") }
      guard count >= binCount else {
        throw EvaluationError(
          .empty, "\(binCount) bins of equally many rows need as many rows; there are \(count): use fewer bins.")
      }
      return Self.value(uncertainties: uncertainties, isCorrect: isCorrect, binCount: binCount)
    }
  }

  /// The error of rows that are kept elsewhere.
  ///
  /// - Precondition: there is at least one row a bin.
  static func value(uncertainties: [Float], isCorrect: [Bool], binCount: Int) -> Double {
    let count = isCorrect.count
    // The least confident first; of rows that tie, the first.
    let order = uncertainties.indices.sorted { (uncertainties[$1], $0) < (uncertainties[$0], $1) }
    var sum = 0.0
    var start = 0
    for bin in 0..<binCount {
      let end = start + count / binCount + (bin < count % binCount ? 1 : 0)
      var gap = 0.0
      for row in order[start..<end] { gap += (isCorrect[row] ? 1 : 0) - (1 - Double(uncertainties[row])) }
      sum += abs(gap)
      start = end
    }
    return sum / Double(count)
  }
}
