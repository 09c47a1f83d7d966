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
      return Self.value(
        uncertainties: uncertainties, isCorrect: isCorrect, order: FloatOrder(uncertainties), binCount: binCount)
    }
  }

  /// The error of rows that are kept elsewhere.
  ///
  /// - Parameter order: of the uncertainties.
  /// - Precondition: there is at least one row a bin.
  static func value(uncertainties: [Float], isCorrect: [Bool], order: FloatOrder, binCount: Int) -> Double {
    let count = isCorrect.count
    var (sum, gap) = (0.0, 0.0)
    var (bin, added) = (0, 0)
    var binEnd = count / binCount + (count % binCount > 0 ? 1 : 0)
    // The least confident first; of rows that tie, the first.
    var end = count
    while end > 0 {
      let uncertainty = uncertainties[Int(order.places[end - 1])]
      var start = end - 1
      while start > 0, uncertainties[Int(order.places[start - 1])] == uncertainty { start -= 1 }
      for position in start..<end {
        gap += (isCorrect[Int(order.places[position])] ? 1 : 0) - (1 - Double(uncertainty))
        added += 1
        guard added == binEnd else { continue }
        sum += abs(gap)
        gap = 0
        bin += 1
        binEnd += count / binCount + (bin < count % binCount ? 1 : 0)
      }
      end = start
    }
    return sum / Double(count)
  }
}
