import RealModule

/// Thresholds of exits with one parameter, from the cheapest to the dearest.
public enum ExitFamily: String, Hashable, Sendable, Codable {
  /// Those of `ExitSchedule`, by its ratio: at every exit the readiest rows leave, however ready they are.
  case schedule
  /// One threshold at all exits.
  case common

  /// The family in which a score says what it is meant to say: agreements count only where all exits ask for as many.
  public init(for score: ExitScore) { self = score == .patience ? .common : .schedule }

  /// How far from one the ratios of schedules go, in natural logarithms: beyond, less than a row in a million moves.
  private static let reach = 14.0

  /// Thresholds of 39 levels: those of `ExitSchedule.sweep`, or levels that are evenly spread.
  public func sweep(_ table: ExitTable) -> [[ExitReadiness?]] {
    switch self {
    case .schedule:
      let order = ReadinessOrder(table)
      return ExitSchedule.sweep.map { $0.thresholds(table, order: order) }
    case .common: return (1...39).map { Double($0) / 40 }.map(thresholds(table))
    }
  }

  /// The thresholds of a table's rows at a level in `0...1`: at zero everybody leaves at the first exit, at one nobody
  /// leaves early, and in between the cost rises with the level but where rows tie.
  func thresholds(_ table: ExitTable) -> (Double) -> [ExitReadiness?] {
    let nobody = [ExitReadiness?](repeating: nil, count: table.exitCount - 1)
    let everybody = [ExitReadiness.everybody] + nobody.dropFirst()
    let levels = self == .common ? table.readiness.dropLast().joined().sorted() : []
    let order = self == .schedule ? ReadinessOrder(table) : nil
    return { level in
      if level <= 0 { return everybody }
      if level >= 1 { return nobody }
      if let order {
        return ExitSchedule(ratio: Double.exp((2 * level - 1) * Self.reach)).thresholds(table, order: order)
      }
      return nobody.map { _ in levels[min(levels.count - 1, Int(level * Double(levels.count)))] }
    }
  }
}
