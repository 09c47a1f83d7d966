import RealModule

extension ConformalThreshold {
  /// Where the share of covered rows lies in 95 of 100 draws of fitted and new rows, whatever the model: the central
  /// part of a beta-binomial distribution.
  ///
  ///     hits ~ BetaBinomial(m, r, n + 1 − r),   r the rank of the threshold among n scores
  ///
  /// It holds where scores do not tie; where they do, more rows are covered.  With an infinite threshold all are.
  ///
  /// - Parameter rowCount: the number `m` of new rows, positive.
  /// - Cost: O(m).
  /// - Source: Vovk 2012, "Conditional validity of inductive conformal predictors".
  public func coverageBand(rowCount: Int) -> Interval {
    Self.coverageBand(alpha: alpha, fittedRowCount: self.rowCount, rowCount: rowCount)
  }

  /// The band of thresholds among `fittedRowCount` scores.
  ///
  /// - Precondition: there is at least one new row, and `alpha` lies between zero and one.
  public static func coverageBand(alpha: Double, fittedRowCount: Int, rowCount: Int) -> Interval {
    precondition(rowCount > 0 && alpha > 0 && alpha < 1, "A band is of at least one row and of an alpha from 0 to 1.")
    let rank = max(1, rank(alpha: alpha, rowCount: fittedRowCount))
    guard rank <= fittedRowCount else { return Interval(low: 1, high: 1) }
    let (a, b, m) = (Double(rank), Double(fittedRowCount + 1 - rank), Double(rowCount))
    /// Calls `body` with the logarithm of every mass, that of no hits counted as zero.
    func forEachLogMass(_ body: (Int, Double) -> Bool) {
      var logMass = 0.0
      for hits in 0...rowCount {
        guard body(hits, logMass) else { return }
        let k = Double(hits)
        logMass += Double.log((m - k) / (k + 1) * ((k + a) / (m - k - 1 + b)))
      }
    }
    var largest = -Double.infinity
    forEachLogMass { _, logMass in
      largest = max(largest, logMass)
      return true
    }
    var total = 0.0
    forEachLogMass { _, logMass in
      total += Double.exp(logMass - largest)
      return true
    }
    var (low, high, sum) = (0, rowCount, 0.0)
    forEachLogMass { hits, logMass in
      sum += Double.exp(logMass - largest) / total
      if sum < 0.025 { low = hits + 1 }
      high = hits
      return sum < 0.975
    }
    return Interval(low: Double(min(low, high)) / m, high: Double(high) / m)
  }
}
