import BayesTensor
import RealModule

extension ScoreSeparation {
  /// The normal 95 % interval of an average precision, cut to `0...1`; `nil` below two rows in either set.
  ///
  /// Its standard error is that of the infinitesimal jackknife: how the average precision moves where one row counts
  /// a little more, squared and averaged over rows.
  ///
  /// - Cost: one pass over the ranks.
  /// - Source: Efron 1982, doi:10.1137/1.9781611970319, chapter 6.
  public func averagePrecisionInterval(positive: PositiveClass) -> Interval? {
    interval(ofAveragePrecision: averagePrecision(positive: positive), positive: positive)
  }

  /// - Parameter value: the average precision of this separation.
  func interval(ofAveragePrecision value: Double, positive: PositiveClass) -> Interval? {
    let isForeign = positive == .outOfDistribution
    let positives = Double(isForeign ? foreign.count : known.count)
    let negatives = Double(isForeign ? known.count : foreign.count)
    guard positives > 1, negatives > 1 else { return nil }
    // From the loosest cut to the strictest; each group of equal scores is a cut of its own.
    var before = Cut(foreign: 0, known: 0)
    var (byPositive, byNegative) = (0.0, 0.0)
    // Taken from the first of each, so that squares of what hardly varies keep their digits.
    var origin: (own: Double, other: Double)?
    var (ownSum, ownSquares, otherSum, otherSquares) = (0.0, 0.0, 0.0, 0.0)
    for cut in Cuts(known: known, foreign: foreign, isAscending: isForeign) {
      let (foundBefore, lostBefore) = isForeign ? (before.foreign, before.known) : (before.known, before.foreign)
      let (foundAfter, lostAfter) = isForeign ? (cut.foreign, cut.known) : (cut.known, cut.foreign)
      before = cut
      let (own, other) = (Double(foundAfter - foundBefore), Double(lostAfter - lostBefore))
      let (found, lost) = (positives - Double(foundBefore), negatives - Double(lostBefore))
      let selected = found + lost
      // Derivatives of found / selected by the shares of both sets, summed over the positive rows here.
      byPositive += own * lost / (selected * selected)
      byNegative -= own * found / (selected * selected) * negatives / positives
      let start = origin ?? (found / selected + byPositive, byNegative)
      origin = start
      let (influence, otherInfluence) = (found / selected + byPositive - start.own, byNegative - start.other)
      ownSum += own * influence
      ownSquares += own * influence * influence
      otherSum += other * otherInfluence
      otherSquares += other * otherInfluence * otherInfluence
    }
    func variance(_ sum: Double, _ squares: Double, _ count: Double) -> Double {
      max(0, squares - sum * sum / count) / (count - 1) / count
    }
    let error = (variance(ownSum, ownSquares, positives) + variance(otherSum, otherSquares, negatives)).squareRoot()
    let interval = Interval.normal(center: value, standardError: error)
    return Interval(low: max(0, interval.low), high: min(1, interval.high))
  }

  /// The interval of the false positive rate at 95 %, both sets of rows drawn anew.
  ///
  /// The threshold of `m` drawn foreign rows is that of the stored row whose share of rows above is as the `k`-th
  /// smallest of `m` uniform numbers, a beta variable, and the known rows drawn above it are binomial, so that no row
  /// needs to be drawn.
  ///
  /// - Returns: `nil` below two rows in either set.
  public func falsePositiveRateInterval(_ resampling: Resampling) -> Interval? {
    guard foreign.count > 1, known.count > 1 else { return nil }
    let needed = (foreign.count * 19 + 19) / 20
    let spare = foreign.count - needed + 1
    func uniformCount(_ shape: Int) -> Int { shape <= Self.largestSummedShape ? shape : 1 }
    let uniformCounts = (uniformCount(needed), uniformCount(spare))
    let values = (0..<resampling.count).map { index -> Double in
      let uniforms = resampling.key.child(index).uniforms(uniformCounts.0 + uniformCounts.1 + 1)
      let first = Self.gamma(needed, uniforms[..<uniformCounts.0])
      let second = Self.gamma(spare, uniforms[uniformCounts.0..<uniforms.count - 1])
      let place = min(foreign.count - 1, Int(first / (first + second) * Double(foreign.count)))
      let lost = known.count - firstPlace(of: foreign[foreign.count - 1 - place])
      return Double(Self.binomial(known.count, Double(lost) / Double(known.count), uniforms[uniforms.count - 1]))
        / Double(known.count)
    }
    return resampling.interval(of: values, at: falsePositiveRateAt95, within: 0...1)
  }

  /// The number of known rows below a key.
  private func firstPlace(of key: UInt32) -> Int {
    var (low, high) = (0, known.count)
    while low < high {
      let middle = (low + high) / 2
      if known[middle] < key { low = middle + 1 } else { high = middle }
    }
    return low
  }

  private static let largestSummedShape = 20

  /// A number of the gamma distribution of a whole shape: a sum of exponentials, and for large shapes the
  /// approximation of Wilson and Hilferty 1931, doi:10.1073/pnas.17.12.684.
  private static func gamma(_ shape: Int, _ uniforms: ArraySlice<Double>) -> Double {
    guard shape > largestSummedShape, let uniform = uniforms.first else {
      return uniforms.reduce(0) { $0 - Double.log($1) }
    }
    let root = 1 - 1 / (9 * Double(shape)) + NormalDistribution.quantile(uniform) / (3 * Double(shape).squareRoot())
    return Double(shape) * max(0, root * root * root)
  }

  /// A number of the binomial distribution: by its distribution function where few are expected, else a rounded
  /// normal one with its skewness.
  private static func binomial(_ count: Int, _ share: Double, _ uniform: Double) -> Int {
    if share > 0.5 { return count - binomial(count, 1 - share, uniform) }
    guard share > 0 else { return 0 }
    let mean = Double(count) * share
    if mean > 30 {
      let z = NormalDistribution.quantile(uniform)
      let number = mean + z * (mean * (1 - share)).squareRoot() + (1 - 2 * share) * (z * z - 1) / 6
      return min(count, max(0, Int(number.rounded())))
    }
    var weight = Double.exp(Double(count) * Double.log(onePlus: -share))
    var (sum, number) = (weight, 0)
    while sum < uniform && number < count {
      weight *= Double(count - number) / Double(number + 1) * share / (1 - share)
      sum += weight
      number += 1
    }
    return number
  }
}
