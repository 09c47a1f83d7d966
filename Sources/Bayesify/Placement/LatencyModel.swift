public import BayesNetwork
import BayesTensor

/// What predictions of placements take, from times of parts of the network.
///
/// With `D` the nodes behind any drawn layer, what lies before them runs once and they run for each of `S` draws:
///
///     latency = t(before D) + S · t(D)
///
/// Of each site alone both times are measured; `D` of several sites is that of the one with the largest part behind it and, where
/// sites lie side by side, what the others add, whose time is taken from multiply-adds.
///
/// - Determinism: none; times differ from run to run, so that a search keeps those it began with.
public struct LatencyModel: Sendable, Hashable, Codable {
  /// The times of one site.
  public struct Part: Sendable, Hashable, Codable {
    /// Seconds of a batch through what lies before the site.
    public var before: Double
    /// Seconds of a batch from there to the exit.
    public var behind: Double

    public init(before: Double, behind: Double) { (self.before, self.behind) = (before, behind) }
  }

  public var batchRowCount: Int
  public var threadCount: Int
  /// Seconds of a batch through the whole network.
  public var whole: Double
  /// One a site.
  public var parts: [Part]
  /// The nodes behind each site on the way to the exit.
  private var nodes: [[Int]]
  private var multiplyAdds: [Int]

  public init(
    batchRowCount: Int, threadCount: Int, whole: Double, parts: [Part], space: PlacementSpace, network: Network, exit: Int
  ) {
    self.batchRowCount = batchRowCount
    self.threadCount = threadCount
    self.whole = whole
    self.parts = parts
    let isNeeded = network.isNeeded(for: [network.exits[exit].logits])
    nodes = space.sites.map { site in
      let own = Set(site.layers)
      var changes = [Bool](repeating: false, count: network.nodes.count)
      for index in network.nodes.indices {
        changes[index] = own.contains(network.nodes[index].name) || network.nodes[index].inputs.contains { changes[$0] }
      }
      return network.nodes.indices.filter { changes[$0] && isNeeded[$0] }
    }
    multiplyAdds = network.nodes.indices.map { network.multiplyAdds(of: $0) }
  }

  /// Seconds of a batch.
  public func seconds(_ placement: Placement) -> Double {
    let drawn = placement.genes.indices.filter { placement.genes[$0] > 0 }
    guard let largest = drawn.max(by: { (parts[$0].behind, -$0) < (parts[$1].behind, -$1) }) else { return whole }
    let known = Set(nodes[largest])
    let added = Set(drawn.flatMap { nodes[$0] }).subtracting(known).reduce(0) { $0 + multiplyAdds[$1] }
    let total = multiplyAdds.reduce(0, +)
    let extra = min(parts[largest].before, whole * Double(added) / Double(max(1, total)))
    return parts[largest].before - extra + Double(placement.drawCount) * (parts[largest].behind + extra)
  }

  /// Seconds over those of the checkpoint.
  public func latency(_ placement: Placement) -> Double { seconds(placement) / whole }
}
