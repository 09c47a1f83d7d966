/// What it costs a row to leave at each exit, everything before included.
public struct ExitCosts: Hashable, Sendable {
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
  /// The part of `toExit` that the posterior costs and not the network; zeros where that is not known.
  public let overheadToExit: [Double]

  /// - Throws: `EvaluationError.Code.shape` where costs are no numbers, not positive or not ascending, and for overheads
  ///   below zero or above the costs.
  public init(_ toExit: [Double], overheadToExit: [Double]? = nil, unit: Unit) throws(EvaluationError) {
    let isAscending = zip(toExit, toExit.dropFirst()).allSatisfy { $0 < $1 }
    guard let first = toExit.first, first > 0, isAscending, toExit.allSatisfy(\.isFinite) else {
      throw EvaluationError(
        .shape, "The costs of exits are positive and each is above the one before; got \(toExit) \(unit.rawValue).")
    }
    guard zip(overheadToExit ?? [], toExit).allSatisfy({ $0 >= 0 && $0 <= $1 }) else {
      throw EvaluationError(
        .shape,
        "What a posterior costs is part of the cost to each exit; got \(overheadToExit ?? []) of \(toExit) \(unit.rawValue).")
    }
    precondition(overheadToExit.map { $0.count == toExit.count } ?? true, "There is one overhead an exit.")
    self.toExit = toExit
    self.overheadToExit = overheadToExit ?? toExit.map { _ in 0 }
    self.unit = unit
  }

  /// The mean cost of rows that leave at these exits.
  public func mean(of exits: [Int]) -> Double {
    exits.reduce(0) { $0 + toExit[$1] } / Double(max(1, exits.count))
  }
}

extension ExitCosts: Codable {
  private enum Key: String, CodingKey { case unit, toExit, overheadToExit }

  /// - Throws: `EvaluationError` as `init(_:overheadToExit:unit:)`; `DecodingError`.
  public init(from decoder: any Decoder) throws {
    let values = try decoder.container(keyedBy: Key.self)
    let toExit = try values.decode([Double].self, forKey: .toExit)
    let overhead = try values.decodeIfPresent([Double].self, forKey: .overheadToExit)
    let unit = try values.decode(Unit.self, forKey: .unit)
    guard overhead.map({ $0.count == toExit.count }) ?? true, !unit.rawValue.isEmpty else {
      throw DecodingError.dataCorruptedError(
        forKey: .overheadToExit, in: values, debugDescription: "There is one overhead an exit, and a unit.")
    }
    try self.init(toExit, overheadToExit: overhead, unit: unit)
  }

  public func encode(to encoder: any Encoder) throws {
    var values = encoder.container(keyedBy: Key.self)
    try values.encode(unit, forKey: .unit)
    try values.encode(toExit, forKey: .toExit)
    try values.encode(overheadToExit, forKey: .overheadToExit)
  }
}
