public import BayesNetwork

/// What is drawn together or not at all.
public enum PlacementSites: String, CaseIterable, Sendable, Hashable, Codable {
  /// Each layer by itself.
  case layers
  /// Layers between two nodes that everything passes through, as those of a residual block.
  case blocks

  /// The sites of some layers, in the order of the network.
  ///
  /// - Parameters:
  ///   - layers: by name, and their nodes, in rising order.
  ///   - exit: that predictions are of.
  public func sites(_ layers: [(name: String, node: Int)], of network: Network, exit: Int) -> [PlacementSpace.Site] {
    guard self == .blocks else { return layers.map { PlacementSpace.Site(name: $0.name, layers: [$0.name]) } }
    let cuts = network.cuts(leadingTo: network.exits[exit].logits)
    let blocks = Dictionary(grouping: layers) { layer in cuts.count { $0 < layer.node } }
    return blocks.sorted { $0.key < $1.key }.map { _, layers in
      let names = layers.map(\.name)
      return PlacementSpace.Site(
        name: names.count == 1 ? names[0] : "\(names[0]) to \(names[names.count - 1])", layers: names)
    }
  }
}

extension Network {
  /// The nodes that every way from the input to a node passes through.
  fileprivate func cuts(leadingTo output: Int) -> [Int] {
    let isNeeded = isNeeded(for: [output])
    var lastReader = [Int](repeating: -1, count: nodes.count)
    for index in nodes.indices where isNeeded[index] {
      for input in nodes[index].inputs { lastReader[input] = index }
    }
    var cuts: [Int] = []
    // The furthest reader of anything before.
    var reach = 0
    for index in nodes.indices where isNeeded[index] {
      if reach <= index { cuts.append(index) }
      reach = max(reach, lastReader[index])
    }
    return cuts
  }
}
