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
  /// - Cost: O(n log n), once.
  public var value: RiskCoverageCurve {
    get throws(EvaluationError) {
      guard !isWrong.isEmpty else { throw .noRows("risk") }
      return RiskCoverageCurve(uncertainties: uncertainties, isWrong: isWrong)
    }
  }
}

/// The share of wrong answers among the `k` most confident rows, for every `k`.
///
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

  /// `k ↦` wrong rows among the `k` most confident; the first is `k = 1`.
  private let wrongCounts: [Int]

  /// - Precondition: there is one row at least.
  init(uncertainties: [Float], isWrong: [Bool]) {
    var count = 0
    wrongCounts = uncertainties.indices.sorted { (uncertainties[$0], $0) < (uncertainties[$1], $1) }.map {
      if isWrong[$0] { count += 1 }
      return count
    }
  }

  public var rowCount: Int { wrongCounts.count }

  /// The share of wrong rows of all.
  public var errorRate: Double { Double(wrongCounts[rowCount - 1]) / Double(rowCount) }

  /// The area under the risk-coverage curve (AURC), the mean over coverages of the share of wrong rows.
  ///
  /// - Range: `0...1`; smaller is better, and an accurate model has a small one whatever its confidences are worth.
  public func area(_ area: Area = .mean) -> Double {
    average(area) { Double(wrongCounts[$0]) / Double($0 + 1) }
  }

  /// The area less that of an oracle that knows which rows are wrong (E-AURC).
  ///
  /// - Source: Geifman, Uziel and El-Yaniv 2018, arXiv:1805.08206.
  public func excessArea(over oracle: Oracle = .sameRows, _ area: Area = .mean) -> Double {
    switch oracle {
    case .sameRows:
      let right = rowCount - wrongCounts[rowCount - 1]
      return self.area(area) - average(area) { Double(max(0, $0 + 1 - right)) / Double($0 + 1) }
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
    average(area) { Double(wrongCounts[$0]) / Double(rowCount) }
  }

  /// The share of wrong rows among the most confident ones that make up a share of all.
  ///
  /// - Precondition: the coverage is above zero and at most one.
  public func risk(atCoverage coverage: Double) -> Double {
    precondition(coverage > 0 && coverage <= 1, "A coverage is above 0 and at most 1; got \(coverage).")
    let count = min(rowCount, max(1, Int((coverage * Double(rowCount)).rounded(.up))))
    return Double(wrongCounts[count - 1]) / Double(count)
  }

  /// The largest share of rows, the most confident ones, of which no more than a share is wrong; `nil` where even the
  /// most confident row is.
  ///
  /// What is right here may be wrong on other rows; a threshold with a guarantee comes from elsewhere.
  public func coverage(atRisk risk: Double) -> Double? {
    wrongCounts.indices.last { Double(wrongCounts[$0]) <= risk * Double($0 + 1) }
      .map { Double($0 + 1) / Double(rowCount) }
  }

  /// Points of the curve for plotting, at about `maximumCount` equal steps of coverage, one last.
  public func points(maximumCount: Int = 80) -> [RiskCoveragePoint] {
    let count = min(rowCount, max(1, maximumCount))
    return (1...count).map { step in
      let accepted = step * rowCount / count
      return RiskCoveragePoint(
        coverage: Double(accepted) / Double(rowCount), risk: Double(wrongCounts[accepted - 1]) / Double(accepted))
    }
  }

  private func average(_ area: Area, _ value: (Int) -> Double) -> Double {
    var sum = 0.0
    for index in 0..<rowCount { sum += value(index) }
    guard area == .trapezoid else { return sum / Double(rowCount) }
    guard rowCount > 1 else { return value(0) }
    return (sum - (value(0) + value(rowCount - 1)) / 2) / Double(rowCount - 1)
  }
}

/// One point of a risk-coverage curve.
public struct RiskCoveragePoint: Sendable, Hashable, Codable {
  /// The share of rows that are accepted.
  public var coverage: Double
  /// The share of wrong rows among them.
  public var risk: Double
}
