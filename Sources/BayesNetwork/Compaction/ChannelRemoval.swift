import BayesTensor

/// The channels that can be left out of a network without changing any exit.
///
/// A channel can go where it is zero wherever it is, whatever goes in, or where nothing reads it: all weights that would are
/// zero.  Channels that are added to each other, as in residual networks, go together or not at all.
///
/// - Cost: a few passes over the weights.
public struct ChannelRemoval: Sendable, Equatable {
  /// The channels that stay of each node's output, in order.
  public let kept: [[Int]]

  /// - Parameters:
  ///   - versions: the weights of networks of this graph; what is left out can be left out of all.
  /// - Precondition: there is a version, and each has the network's parameters.
  public init(of network: Network, _ versions: [Parameters]) {
    precondition(!versions.isEmpty, "There is a network at least.")
    let ties = ChannelTies(of: network)
    let zeros = Self.zeros(network, ties, versions)
    var isHeld = Self.held(network, ties)
    let readers = Self.readers(network, ties, versions)
    var removed = Set<Int>()
    while true {
      removed = Self.removed(ties, zeros: zeros, isHeld: isHeld, readers)
      // A value without channels is none: one stays.
      let emptied = network.nodes.indices.filter { node in
        (0..<ties.count(node)).allSatisfy { removed.contains(ties.representative(ties.starts[node] + $0)) }
      }
      guard let first = emptied.first else { break }
      isHeld.insert(ties.representative(ties.starts[first]))
    }
    kept = network.nodes.indices.map { node in
      (0..<ties.count(node)).filter { !removed.contains(ties.representative(ties.starts[node] + $0)) }
    }
  }

  /// Whether anything is left out.
  public func isEmpty(for network: Network) -> Bool {
    zip(kept, network.shapes).allSatisfy { $0.count == $1.dimensions.last ?? 1 }
  }

  /// The representatives of channels that must stay.
  private static func held(_ network: Network, _ ties: ChannelTies) -> Set<Int> {
    var nodes = Set(network.exits.map(\.logits)).union([0])
    for (node, effect) in ties.effects.enumerated() where effect == .holds { nodes.formUnion(network.nodes[node].inputs + [node]) }
    return Set(nodes.flatMap { node in (0..<ties.count(node)).map { ties.representative(ties.starts[node] + $0) } })
  }

  /// Whether each channel is zero in all versions, whatever goes in.
  private static func zeros(_ network: Network, _ ties: ChannelTies, _ versions: [Parameters]) -> [Bool] {
    var zeros = [Bool](repeating: false, count: ties.starts[network.nodes.count])
    for node in network.nodes.indices {
      let weights = versions.map { version in network.parameterSpecs(of: node).compactMap { version[$0.path] } }
      let affine = (network.nodes[node].layer as? BatchNormalization).map { layer in weights.map { layer.affine($0) } } ?? []
      for channel in 0..<ties.count(node) {
        let sources = ties.sources(of: channel, ofNode: node)
        let place = ties.starts[node] + channel
        switch network.nodes[node].layer {
        case let merge as ElementwiseMerge where merge.operation == .multiply:
          zeros[place] = sources.contains { zeros[$0] }
        case is BatchNormalization where ties.effects[node] == .keeps:
          zeros[place] = affine.allSatisfy { $0.offsets[channel] == 0 && (zeros[sources[0]] || $0.factors[channel] == 0) }
        case let activation as Activation where ties.effects[node] == .keeps:
          zeros[place] = zeros[sources[0]] && activation.function.value(0.0) == 0
        case let layer as any MatrixLayer where ties.effects[node] != .holds:
          let start = ties.starts[network.nodes[node].inputs[0]]
          zeros[place] = weights.allSatisfy { layer.isZero(channel, $0) { zeros[start + $0] } }
        default: zeros[place] = !sources.isEmpty && sources.allSatisfy { zeros[$0] }
        }
      }
    }
    return zeros
  }

  /// For each representative the channels that are made of it by weights that are not zero.
  private static func readers(_ network: Network, _ ties: ChannelTies, _ versions: [Parameters]) -> [Int: Set<Int>] {
    var readers: [Int: Set<Int>] = [:]
    for node in network.nodes.indices where ties.effects[node] == .mixes {
      let (input, path) = (network.nodes[node].inputs[0], network.parameterSpecs(of: node)[0].path)
      let (inputCount, outputCount) = (ties.count(input), ties.count(node))
      for version in versions {
        version[path]?.withSpan { weights in
          for position in weights.indices where weights[position] != 0 {
            let (source, target) = (position / outputCount % inputCount, position % outputCount)
            readers[ties.representative(ties.starts[input] + source), default: []]
              .insert(ties.representative(ties.starts[node] + target))
          }
        }
      }
    }
    return readers
  }

  private static func removed(
    _ ties: ChannelTies, zeros: [Bool], isHeld: Set<Int>, _ readers: [Int: Set<Int>]
  ) -> Set<Int> {
    var isZero: [Int: Bool] = [:]
    for place in zeros.indices {
      let representative = ties.representative(place)
      isZero[representative] = (isZero[representative] ?? true) && zeros[place]
    }
    let candidates = isZero.keys.filter { !isHeld.contains($0) }
    var removed = Set(candidates.filter { isZero[$0] == true })
    // What reads is gone, so that more is not read.
    while true {
      let unread = candidates.filter { !removed.contains($0) && readers[$0, default: []].isSubset(of: removed) }
      guard !unread.isEmpty else { return removed }
      removed.formUnion(unread)
    }
  }
}

extension MatrixLayer {
  /// Whether a channel of the output is zero, whatever goes in, given channels of the input that are zero.
  fileprivate func isZero(_ channel: Int, _ parameters: [Tensor<Float>], inputIsZero: (Int) -> Bool) -> Bool {
    if usesBias, parameters[1][channel] != 0 { return false }
    let dimensions = parameters[0].shape.dimensions
    let (inputCount, outputCount) = (dimensions[dimensions.count - 2], dimensions[dimensions.count - 1])
    return parameters[0].withSpan { weights in
      for position in stride(from: channel, to: weights.count, by: outputCount) where weights[position] != 0 {
        // Of a convolution by channels there is one input, that of the output.
        let input = hasOneMatrix ? position / outputCount % inputCount : channel
        if !inputIsZero(input) { return false }
      }
      return true
    }
  }
}
