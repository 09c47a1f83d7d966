/// Sorting of points by dominance; of every objective less is better.
///
/// One point dominates another if it is no worse in all objectives and better in one.
///
/// - Source: Deb et al. 2002, "A fast and elitist multiobjective genetic algorithm: NSGA-II", IEEE Transactions on Evolutionary
///   Computation 6(2).
public enum ParetoFront {
  /// Whether a point dominates another.
  public static func dominates(_ a: [Double], _ b: [Double]) -> Bool {
    zip(a, b).allSatisfy { $0 <= $1 } && zip(a, b).contains { $0 < $1 }
  }

  /// The positions of points that none dominates.
  ///
  /// - Cost: quadratic in their number.
  public static func indices(of points: [[Double]]) -> [Int] {
    points.indices.filter { index in !points.contains { dominates($0, points[index]) } }
  }

  /// Points in fronts: the first is of those that none dominates, the second of those that only points of the first do, and so
  /// on.
  public static func fronts(of points: [[Double]]) -> [[Int]] {
    var rest = Array(points.indices)
    var fronts: [[Int]] = []
    while !rest.isEmpty {
      let front = rest.filter { index in !rest.contains { dominates(points[$0], points[index]) } }
      fronts.append(front)
      let taken = Set(front)
      rest.removeAll { taken.contains($0) }
    }
    return fronts
  }

  /// How far the neighbours of each point of a front lie apart, summed over objectives, each as a share of its range; infinite at
  /// the ends.
  public static func crowding(of front: [[Double]]) -> [Double] {
    var distances = [Double](repeating: 0, count: front.count)
    for objective in (front.first ?? []).indices {
      let order = front.indices.sorted { (front[$0][objective], $0) < (front[$1][objective], $1) }
      guard let first = order.first, let last = order.last else { continue }
      let range = front[last][objective] - front[first][objective]
      distances[first] = .infinity
      distances[last] = .infinity
      guard range > 0, range.isFinite else { continue }
      for position in order.indices.dropFirst().dropLast() {
        let gap = front[order[position + 1]][objective] - front[order[position - 1]][objective]
        distances[order[position]] += gap / range
      }
    }
    return distances
  }
}
