import RealModule

/// A family of exit thresholds with one parameter, from the cheapest to the dearest.
///
///     rₖ = qᵏ / Σᵢ qⁱ,   k = 1…K
///
/// is the share of rows that is to leave at exit `k`: below one early exits get more, at one all alike.
///
/// - Source: Huang et al. 2018, arXiv:1703.09844, section 4.4; continued past one as by Meronen et al. 2024,
///   arXiv:2302.06359.
public struct ExitSchedule: Hashable, Sendable, Codable {
  /// `q`
  public var ratio: Double

  public init(ratio: Double) {
    precondition(ratio > 0 && ratio.isFinite, "A ratio is positive; got \(ratio).")
    self.ratio = ratio
  }

  /// The 39 schedules of the paper: `q = 0.05, 0.10, …, 1.95`.
  public static let sweep = (1...39).map { ExitSchedule(ratio: Double($0) / 20) }

  /// The share of each exit; they sum to one.
  public func shares(exitCount: Int) -> [Double] {
    // The largest power is one, so that none overflows.
    let powers = (0..<exitCount).map { exit in
      ratio < 1 ? Double.pow(ratio, exit) : Double.pow(1 / ratio, exitCount - 1 - exit)
    }
    let sum = powers.reduce(0, +)
    return powers.map { $0 / sum }
  }

  /// Thresholds with which as many rows of a table leave at each exit as the schedule says.
  ///
  /// From the first exit on, the threshold is the readiness of the last of the `⌊rows · rₖ⌋` readiest rows that have
  /// not left before; there is none where that is no row or fewer are left.  Rows that tie leave together.
  public func thresholds(_ table: ExitTable) -> [ExitReadiness?] { thresholds(table, order: ReadinessOrder(table)) }

  func thresholds(_ table: ExitTable, order: ReadinessOrder) -> [ExitReadiness?] {
    let shares = shares(exitCount: table.exitCount)
    var hasLeft = [Bool](repeating: false, count: table.rowCount)
    return (0..<table.exitCount - 1).map { exit in
      let wanted = Int(Double(table.rowCount) * shares[exit])
      guard wanted > 0 else { return nil }
      let readiness = table.readiness[exit]
      var (leaving, threshold): ([Int], ExitReadiness?) = ([], nil)
      for row in order.rows[exit] where !hasLeft[row] {
        if let threshold, readiness[row] < threshold { break }
        leaving.append(row)
        if leaving.count == wanted { threshold = readiness[row] }
      }
      guard threshold != nil else { return nil }
      for row in leaving { hasLeft[row] = true }
      return threshold
    }
  }
}

/// For each exit but the last the rows of a table, the readiest first.
struct ReadinessOrder: Sendable {
  let rows: [[Int]]

  init(_ table: ExitTable) {
    rows = table.readiness.dropLast().map { readiness in
      // Rows that tie keep their order.
      readiness.indices.sorted { readiness[$0] == readiness[$1] ? $0 < $1 : readiness[$0] > readiness[$1] }
    }
  }
}
