import RealModule

/// Which rows a model may be trusted with: its rows from the most to the least confident, and which of them are wrong.
///
/// Grows by 5 bytes a row, since ranks need all rows at once.  Confidences are kept as `1 − max p` in single precision,
/// which tells apart what lies close to one; rows that tie stay in the order in which they came.
public struct RiskCoverage: Metric, Equatable {
  private var uncertainties: [Float] = []
  private var isWrong: [Bool] = []

  public init() {}

  public mutating func update(_ batch: LabelledProbabilities) {
    for row in 0..<batch.rowCount {
      update(uncertainty: 1 - batch.probabilities.confidences[row], isWrong: !batch.isCorrect(row))
    }
  }

  /// Adds one row; a larger uncertainty means less confidence.
  ///
  /// - Precondition: the uncertainty is a number.
  public mutating func update(uncertainty: Double, isWrong: Bool) {
    precondition(!uncertainty.isNaN, "An uncertainty is a number.")
    uncertainties.append(Float(uncertainty))
    self.isWrong.append(isWrong)
  }

  public mutating func merge(_ other: RiskCoverage) {
    uncertainties += other.uncertainties
    isWrong += other.isWrong
  }

  /// The curve over all rows seen.
  ///
  /// - Cost: O(n), once.
  public var value: RiskCoverageCurve {
    get throws(EvaluationError) {
      guard !isWrong.isEmpty else { throw .noRows("risk") }
      return RiskCoverageCurve(uncertainties: uncertainties, isWrong: isWrong)
    }
  }
}

/// The share of wrong answers among the `k` most confident rows, for every `k`.
///
/// - Cost: a bit a row; each number is a pass over them.
/// - Source: El-Yaniv and Wiener 2010; Geifman and El-Yaniv 2017, arXiv:1705.08500.
public struct RiskCoverageCurve: Sendable, Equatable {
  /// How the curve is averaged over coverage.
  public enum Area: String, Sendable, Hashable, CaseIterable {
    /// The mean of the values at coverages `1/n, 2/n, …, 1`.
    case mean
    /// Trapezoids from `1/n` to one, divided by their width `1 − 1/n`, as in Torch-Uncertainty.
    case trapezoid
  }

  /// The lowest area that rows of this accuracy can have, which the excess is measured from.
  public enum Oracle: String, Sendable, Hashable, CaseIterable {
    /// That of the same number of rows, the wrong ones last, averaged in the same way.
    case sameRows
    /// That of infinitely many rows, `r + (1 − r) ln (1 − r)` for the error rate `r`.
    case limit
  }

  /// The number of rows.
  public let rowCount: Int
  /// Whether each row is wrong, the most confident row in the lowest bit of the first word.
  private let words: [UInt64]
  private let wrongCount: Int

  /// - Precondition: there is one row at least.
  init(uncertainties: [Float], isWrong: [Bool]) {
    self.init(order: FloatOrder(uncertainties)) { isWrong[$0] }
  }

  /// - Parameter order: of the uncertainties.
  /// - Precondition: there is one row at least.
  init(order: FloatOrder, isWrong: (Int) -> Bool) {
    rowCount = order.places.count
    var words = [UInt64](repeating: 0, count: (rowCount + 63) / 64)
    var wrongCount = 0
    for (index, place) in order.places.enumerated() where isWrong(Int(place)) {
      words[index >> 6] |= 1 << UInt64(index & 63)
      wrongCount += 1
    }
    self.words = words
    self.wrongCount = wrongCount
  }

  /// The share of wrong rows of all.
  public var errorRate: Double { Double(wrongCount) / Double(rowCount) }

  /// The area under the risk-coverage curve (AURC), the mean over coverages of the share of wrong rows.
  ///
  /// - Range: `0...1`; smaller is better, and an accurate model has a small one whatever its confidences are worth.
  public func area(_ area: Area = .mean) -> Double {
    average(area) { Double($1) / Double($0) }
  }

  /// The area less that of an oracle that knows which rows are wrong (E-AURC).
  ///
  /// - Source: Geifman, Uziel and El-Yaniv 2018, arXiv:1805.08206.
  public func excessArea(over oracle: Oracle = .sameRows, _ area: Area = .mean) -> Double {
    switch oracle {
    case .sameRows:
      let right = rowCount - wrongCount
      return self.area(area) - average(area) { accepted, _ in Double(max(0, accepted - right)) / Double(accepted) }
    case .limit:
      let right = 1 - errorRate
      return self.area(area) - (errorRate + (right > 0 ? right * Double.log(right) : 0))
    }
  }

  /// The area under the generalised risk-coverage curve (AUGRC): the mean over coverages of the share, of all rows, that
  /// are wrong and accepted.
  ///
  /// - Range: `0...½`; smaller is better.
  /// - Source: Traub et al. 2024, arXiv:2407.01032.
  public func generalizedArea(_ area: Area = .mean) -> Double {
    average(area) { Double($1) / Double(rowCount) }
  }

  /// The share of wrong rows among the most confident ones that make up a share of all.
  ///
  /// - Precondition: the coverage is above zero and at most one.
  public func risk(atCoverage coverage: Double) -> Double {
    precondition(coverage > 0 && coverage <= 1, "A coverage is above 0 and at most 1; got \(coverage).")
    let count = min(rowCount, max(1, Int((coverage * Double(rowCount)).rounded(.up))))
    var wrong = words[..<(count >> 6)].reduce(0) { $0 + $1.nonzeroBitCount }
    if count & 63 > 0 { wrong += (words[count >> 6] << UInt64(64 - count & 63)).nonzeroBitCount }
    return Double(wrong) / Double(count)
  }

  /// The largest share of rows, the most confident ones, of which no more than a share is wrong; `nil` where even the
  /// most confident row is.
  ///
  /// What is right here may be wrong on other rows; a threshold with a guarantee comes from elsewhere.
  public func coverage(atRisk risk: Double) -> Double? {
    var largest: Int?
    forEachCoverage { accepted, wrong in
      if Double(wrong) <= risk * Double(accepted) { largest = accepted }
    }
    return largest.map { Double($0) / Double(rowCount) }
  }

  /// Points of the curve for plotting, at about `maximumCount` equal steps of coverage, one last.
  public func points(maximumCount: Int = 80) -> [RiskCoveragePoint] {
    let count = min(rowCount, max(1, maximumCount))
    var points: [RiskCoveragePoint] = []
    forEachCoverage { accepted, wrong in
      guard accepted == (points.count + 1) * rowCount / count else { return }
      points.append(
        RiskCoveragePoint(
          coverage: Double(accepted) / Double(rowCount), risk: Double(wrong) / Double(accepted)))
    }
    return points
  }

  /// Calls `body` with the number of rows accepted, one to all, and of the wrong ones among them.
  @inline(__always)
  private func forEachCoverage(_ body: (_ accepted: Int, _ wrong: Int) -> Void) {
    var wrong = 0
    for index in 0..<rowCount {
      wrong += Int(words[index >> 6] >> UInt64(index & 63) & 1)
      body(index + 1, wrong)
    }
  }

  @inline(__always)
  private func average(_ area: Area, _ value: (_ accepted: Int, _ wrong: Int) -> Double) -> Double {
    var (sum, first, last) = (0.0, 0.0, 0.0)
    forEachCoverage { accepted, wrong in
      last = value(accepted, wrong)
      if accepted == 1 { first = last }
      sum += last
    }
    guard area == .trapezoid else { return sum / Double(rowCount) }
    guard rowCount > 1 else { return first }
    return (sum - (first + last) / 2) / Double(rowCount - 1)
  }
}

/// One point of a risk-coverage curve.
public struct RiskCoveragePoint: Sendable, Hashable, Codable {
  /// The share of rows that are accepted.
  public var coverage: Double
  /// The share of wrong rows among them.
  public var risk: Double
}
