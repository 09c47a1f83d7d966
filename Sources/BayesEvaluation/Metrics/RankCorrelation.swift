/// How far two rankings of the same things agree.
///
///     ρ = correlation of the ranks, ties at their mean rank
///
/// - Range: `-1...1`.
/// - Source: Spearman 1904.
public enum RankCorrelation {
  /// Spearman's coefficient; `nil` for fewer than two pairs, and where all of one side are equal.
  ///
  /// - Precondition: there are as many of both.
  public static func spearman(_ a: [Double], _ b: [Double]) -> Double? {
    precondition(a.count == b.count, "There are \(a.count) and \(b.count) numbers.")
    let (first, second) = (ranks(a), ranks(b))
    let mean = Double(a.count + 1) / 2
    func product(_ x: [Double], _ y: [Double]) -> Double { zip(x, y).reduce(0) { $0 + ($1.0 - mean) * ($1.1 - mean) } }
    let scale = (product(first, first) * product(second, second)).squareRoot()
    return a.count > 1 && scale > 0 ? product(first, second) / scale : nil
  }

  /// The rank of each number from one, of equal ones the mean.
  static func ranks(_ values: [Double]) -> [Double] {
    let order = values.indices.sorted { values[$0] < values[$1] }
    var ranks = [Double](repeating: 0, count: values.count)
    var start = 0
    while start < order.count {
      var end = start
      while end < order.count, values[order[end]] == values[order[start]] { end += 1 }
      for place in start..<end { ranks[order[place]] = Double(start + end + 1) / 2 }
      start = end
    }
    return ranks
  }
}
