/// How many of the rows that are trusted may be wrong: what a threshold of trust is chosen for.
///
///     P(R(θ) > maximumRisk) ≤ delta,    R(θ) = P(wrong | score < θ)
///
/// over draws of the tuning rows, for new rows that come as those did, independently of each other.  Nothing is promised of
/// rows from elsewhere.
///
/// Candidates are the scores at 200 equal steps of coverage.  Given its threshold, the rows below it are a sample of all
/// rows below it, so that the number of wrong ones among them is binomial and tested exactly.  Ten fixed sequences of tests,
/// each with `delta / 10` and each up to its first failure, go from starts at 5, 10, 15, 20, 30, 40, 50, 60, 75 and 90 % to
/// higher coverage; the widest threshold that any of them accepts is taken.  Which starts, is our choice.
///
/// - Determinism: equal rows in any order give equal thresholds.
/// - Source: selective risk: Geifman and El-Yaniv 2017, arXiv:1705.08500; sequences with several starts: Angelopoulos et al.
///   2021, arXiv:2110.01052.
public struct TrustTarget: Sendable, Hashable, Codable {
  /// The largest share of wrong answers among trusted rows.
  public var maximumRisk: Double
  /// How probable it may be that it is exceeded.
  public var delta: Double

  private static let stepCount = 200
  private static let starts = [10, 20, 30, 40, 60, 80, 100, 120, 150, 180]

  /// - Precondition: both lie between 0 and 1.
  public init(maximumRisk: Double, delta: Double) {
    precondition(
      maximumRisk > 0 && maximumRisk < 1 && delta > 0 && delta < 1,
      "A risk and its probability lie between 0 and 1; got \(maximumRisk) and \(delta).")
    self.maximumRisk = maximumRisk
    self.delta = delta
  }

  /// The widest threshold that meets the target.
  ///
  /// - Parameters:
  ///   - scores: one a row; larger is less to be trusted.
  ///   - isWrong: whether the row's answer is not its label.
  /// - Throws: `EvaluationError.Code.empty` without rows; `.unsupported` where no threshold meets the target.
  /// - Precondition: scores are numbers, as many as there are answers.
  /// - Cost: O(n log n), and O(wrong rows) a test.
  public func threshold(scores: [Double], isWrong: [Bool]) throws(EvaluationError) -> TrustThreshold {
    precondition(scores.count == isWrong.count, "There is one score an answer.")
    guard !scores.isEmpty else { throw .noRows("threshold") }
    let ranked = RankedAnswers(scores: scores, isWrong: isWrong)
    var widest: TrustThreshold?
    for start in Self.starts {
      for step in start...Self.stepCount {
        let candidate = ranked.threshold(count: step * scores.count / Self.stepCount)
        guard isMet(by: candidate) else { break }
        if widest.map({ candidate.trustedCount > $0.trustedCount }) ?? true { widest = candidate }
      }
    }
    guard let widest else {
      let strictest = ranked.threshold(count: Self.starts[0] * scores.count / Self.stepCount)
      throw EvaluationError(
        .unsupported,
        "No threshold keeps a risk of \(maximumRisk) with probability \(1 - delta): of the \(strictest.trustedCount) most "
          + "trusted of \(scores.count) rows \(strictest.wrongCount) are wrong. Allow more, or give more rows or another score.")
    }
    return widest
  }

  private func isMet(by candidate: TrustThreshold) -> Bool {
    candidate.trustedCount > 0
      && binomialTail(atMost: candidate.wrongCount, of: candidate.trustedCount, probability: maximumRisk)
        <= delta / Double(Self.starts.count)
  }
}

/// Up to which score rows are trusted, and what that does on the rows it was chosen by.
public struct TrustThreshold: Sendable, Hashable, Codable {
  /// Rows whose score lies below are trusted; infinite where all are.
  public var value: Double
  /// The number of rows it was chosen by.
  public var rowCount: Int
  /// Those of them that are trusted.
  public var trustedCount: Int
  /// Those of the trusted that are wrong.
  public var wrongCount: Int

  public init(value: Double, rowCount: Int, trustedCount: Int, wrongCount: Int) {
    self.value = value
    self.rowCount = rowCount
    self.trustedCount = trustedCount
    self.wrongCount = wrongCount
  }
}

/// Rows from the most to the least trusted.
private struct RankedAnswers {
  private let scores: [Double]
  /// `k ↦` wrong rows among the first `k`.
  private let wrongCounts: [Int]

  init(scores: [Double], isWrong: [Bool]) {
    let order = scores.indices.sorted { scores[$0] < scores[$1] }
    self.scores = order.map { scores[$0] }
    var counts = [0]
    for row in order { counts.append(counts[counts.count - 1] + (isWrong[row] ? 1 : 0)) }
    wrongCounts = counts
  }

  /// The threshold that leaves at most `count` rows below it; of rows that tie, none or all.
  func threshold(count: Int) -> TrustThreshold {
    guard count < scores.count else {
      return TrustThreshold(
        value: .infinity, rowCount: scores.count, trustedCount: scores.count, wrongCount: wrongCounts[scores.count])
    }
    let value = scores[count]
    var (low, high) = (0, count)
    while low < high {
      let middle = (low + high) / 2
      if scores[middle] < value { low = middle + 1 } else { high = middle }
    }
    return TrustThreshold(value: value, rowCount: scores.count, trustedCount: low, wrongCount: wrongCounts[low])
  }
}
