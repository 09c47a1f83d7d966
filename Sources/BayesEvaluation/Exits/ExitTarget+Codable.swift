extension ExitTarget: Codable {
  private enum Key: String, CodingKey { case kind, ratio, cost, share, accuracy, error, delta }

  private enum Kind: String, Codable {
    case schedule
    case meanCost = "mean-cost"
    case percentile, accuracy, risk
  }

  public init(from decoder: any Decoder) throws {
    let values = try decoder.container(keyedBy: Key.self)
    func number(_ key: Key) throws -> Double { try values.decode(Double.self, forKey: key) }
    switch try values.decode(Kind.self, forKey: .kind) {
    case .schedule: self = .schedule(ratio: try number(.ratio))
    case .meanCost: self = .meanCost(try number(.cost))
    case .percentile: self = .percentile(share: try number(.share), cost: try number(.cost))
    case .accuracy: self = .accuracy(try number(.accuracy))
    case .risk: self = .risk(error: try number(.error), delta: try number(.delta))
    }
  }

  public func encode(to encoder: any Encoder) throws {
    var values = encoder.container(keyedBy: Key.self)
    func encode(_ kind: Kind, _ numbers: [(Key, Double)]) throws {
      try values.encode(kind, forKey: .kind)
      for (key, number) in numbers { try values.encode(number, forKey: key) }
    }
    switch self {
    case .schedule(let ratio): try encode(.schedule, [(.ratio, ratio)])
    case .meanCost(let cost): try encode(.meanCost, [(.cost, cost)])
    case .percentile(let share, let cost): try encode(.percentile, [(.share, share), (.cost, cost)])
    case .accuracy(let floor): try encode(.accuracy, [(.accuracy, floor)])
    case .risk(let error, let delta): try encode(.risk, [(.error, error), (.delta, delta)])
    }
  }
}
