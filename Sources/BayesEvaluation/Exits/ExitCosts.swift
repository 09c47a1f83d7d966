/// What it costs a row to leave at each exit, everything before included.
public struct ExitCosts: Hashable, Sendable, Codable {
  /// What costs are counted in; an open set.
  public struct Unit: RawRepresentable, Hashable, Sendable, Codable {
    public let rawValue: String
    public init(rawValue: String) { self.rawValue = rawValue }
    public static let multiplyAdds = Unit(rawValue: "multiply-adds")
    public static let milliseconds = Unit(rawValue: "milliseconds")
  }

  public let unit: Unit
  /// One an exit, ascending.
  public let toExit: [Double]

  /// - Throws: `EvaluationError.Code.shape` where costs are no numbers, not positive or not ascending.
  public init(_ toExit: [Double], unit: Unit) throws(EvaluationError) {
    let isAscending = zip(toExit, toExit.dropFirst()).allSatisfy { $0 < $1 }
    guard let first = toExit.first, first > 0, isAscending, toExit.allSatisfy(\.isFinite) else {
      throw EvaluationError(
        .shape, "The costs of exits are positive and each is above the one before; got \(toExit) \(unit.rawValue).")
    }
    self.toExit = toExit
    self.unit = unit
  }

  /// The mean cost of rows that leave at these exits.
  public func mean(of exits: [Int]) -> Double {
    exits.reduce(0) { $0 + toExit[$1] } / Double(max(1, exits.count))
  }
}
