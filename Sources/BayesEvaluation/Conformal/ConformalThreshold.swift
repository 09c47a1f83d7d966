/// The score that a share of exchangeable rows does not exceed, with the guarantee of finite samples.
///
///     q = the ⌈(n + 1)(1 − α)⌉-th smallest of n scores;   +∞ where that is beyond n
///
/// A new row's score is at most `q` with probability `1 − α` at least, and with `1 − α + 1/(n + 1)` at most where
/// scores do not tie.
///
/// - Source: Vovk, Gammerman and Shafer 2005; Lei et al. 2018, doi:10.1080/01621459.2017.1307116.
public struct ConformalThreshold: Sendable, Hashable {
  /// The threshold, in the scores' unit; infinite where there are too few rows for `alpha`.
  public var value: Double
  /// The share of rows that may exceed it.
  public var alpha: Double
  /// The number of scores.
  public var rowCount: Int

  /// The rank `⌈(n + 1)(1 − α)⌉` of the threshold among `n` scores.
  ///
  /// Where `(n + 1) α` is a whole number but for the rounding of `α`, it counts as that.
  public static func rank(alpha: Double, rowCount: Int) -> Int {
    let exceeding = Double(rowCount + 1) * alpha
    let nearest = exceeding.rounded()
    let isWhole = abs(exceeding - nearest) <= 4 * max(exceeding, nearest).ulp
    return rowCount + 1 - Int(isWhole ? nearest : exceeding.rounded(.down))
  }

  /// - Throws: `EvaluationError.Code.score` for an `alpha` outside the open `0...1` and for a score that is not a
  ///   number; `.empty`.
  public init(scores: [Double], alpha: Double) throws(EvaluationError) {
    try checkAlpha(alpha)
    guard !scores.isEmpty else { throw .noRows("conformal threshold") }
    for (row, score) in scores.enumerated() where score.isNaN {
      throw EvaluationError(.score, row: row, "The conformal score of row \(row) is not a number.")
    }
    self.init(checked: scores, alpha: alpha)
  }

  /// The threshold of numbers; infinite where there are none.
  init(checked scores: [Double], alpha: Double) {
    let rank = Self.rank(alpha: alpha, rowCount: scores.count)
    // An alpha so near one that the rank is zero takes the lowest score, which errs on the side of coverage.
    value = rank > scores.count ? .infinity : scores.sorted()[max(0, rank - 1)]
    self.alpha = alpha
    rowCount = scores.count
  }

  /// Whether there are too few rows for `alpha`, so that nothing is ever excluded.
  public var isInfinite: Bool { value == .infinity }

  /// What to know about an infinite threshold, as a sentence; `nil` for a finite one.
  public var notice: String? {
    guard isInfinite else { return nil }
    guard Self.rank(alpha: alpha, rowCount: rowCount) > rowCount else {
      return "The scores reach infinity at alpha \(alpha), so nothing is excluded."
    }
    return "With \(rowCount) rows alpha \(alpha) is too small, so nothing is excluded; "
      + "at least \(Self.rowsNeeded(alpha: alpha)) rows are needed."
  }

  /// The fewest rows whose threshold is finite.
  public static func rowsNeeded(alpha: Double) -> Int {
    guard alpha > 1e-15 else { return Int.max }
    var count = max(1, Int(1 / alpha) - 2)
    while rank(alpha: alpha, rowCount: count) > count { count += 1 }
    return count
  }
}

/// Refuses shares of errors that no prediction can have.
func checkAlpha(_ alpha: Double) throws(EvaluationError) {
  // Written so that a NaN is refused.
  guard alpha > 0, alpha < 1 else {
    throw EvaluationError(.score, "Alpha, the share of rows that may be missed, lies between 0 and 1; got \(alpha).")
  }
}
