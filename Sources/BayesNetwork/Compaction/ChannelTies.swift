import BayesTensor

/// What a layer does to the channels of its inputs, the entries of their last axis.
enum ChannelEffect: Equatable {
  /// Channels stay apart and keep their number: channel `c` of the output comes from channel `c` of every input.
  case keeps
  /// Channels stay apart, those of one input behind those of another.
  case joins
  /// The one input's channels are repeated, pixel after pixel, in one axis.
  case flattens
  /// Every channel of the output comes from all of the input, by a matrix.
  case mixes
  /// Nothing may be left out before the layer or behind it.
  case holds
}

extension Network {
  func channelEffect(of node: Int) -> ChannelEffect {
    let inputs = nodes[node].inputs.map { shapes[$0] }
    let last = shapes[node].dimensions.last
    let keepsCount = !inputs.isEmpty && inputs.allSatisfy { $0.dimensions.last == last }
    switch nodes[node].layer {
    case is Dense: return .mixes
    case let convolution as Convolution:
      if convolution.groups == 1 { return .mixes }
      return convolution.groups == inputs[0][2] && convolution.filters == inputs[0][2] ? .keeps : .holds
    case let activation as Activation: return activation.function.isElementwise ? .keeps : .holds
    case is BatchNormalization, is Identity, is Pooling, is GlobalPooling, is Border, is Upsampling, is Resizing,
      is ElementwiseMerge:
      return keepsCount ? .keeps : .holds
    case let concatenation as Concatenation:
      if concatenation.axis == shapes[node].rank - 1 { return .joins }
      return keepsCount ? .keeps : .holds
    case is Reshape:
      if shapes[node].rank == 1, inputs[0].rank > 1 { return .flattens }
      return keepsCount ? .keeps : .holds
    default: return .holds
    }
  }
}

/// The channels of all values of a network, and which of them belong together: left out in one place, they must be left out in
/// all.
struct ChannelTies {
  /// Where the channels of each node begin.
  let starts: [Int]
  let effects: [ChannelEffect]
  private var parents: [Int]
  private let network: Network

  init(of network: Network) {
    self.network = network
    effects = network.nodes.indices.map { network.channelEffect(of: $0) }
    var starts = [0]
    for shape in network.shapes { starts.append(starts[starts.count - 1] + (shape.dimensions.last ?? 1)) }
    self.starts = starts
    parents = Array(0..<starts[starts.count - 1])
    for node in network.nodes.indices {
      for (place, source) in sources(ofNode: node) { tie(place, source) }
    }
  }

  /// The number of channels of a node.
  func count(_ node: Int) -> Int { starts[node + 1] - starts[node] }

  /// Pairs of a node's channels and the channels of its inputs that they come from alone.
  private func sources(ofNode node: Int) -> [(Int, Int)] {
    let inputs = network.nodes[node].inputs
    switch effects[node] {
    case .keeps: return inputs.flatMap { input in (0..<count(node)).map { (starts[node] + $0, starts[input] + $0) } }
    case .joins:
      var place = starts[node]
      return inputs.flatMap { input in
        (0..<count(input)).map { channel in
          defer { place += 1 }
          return (place, starts[input] + channel)
        }
      }
    case .flattens: return (0..<count(node)).map { (starts[node] + $0, starts[inputs[0]] + $0 % count(inputs[0])) }
    case .mixes, .holds: return []
    }
  }

  /// The channels of the inputs that a channel of a node comes from alone.
  func sources(of channel: Int, ofNode node: Int) -> [Int] {
    let inputs = network.nodes[node].inputs
    switch effects[node] {
    case .keeps: return inputs.map { starts[$0] + channel }
    case .joins:
      var rest = channel
      for input in inputs {
        if rest < count(input) { return [starts[input] + rest] }
        rest -= count(input)
      }
      return []
    case .flattens: return [starts[inputs[0]] + channel % count(inputs[0])]
    case .mixes, .holds: return []
    }
  }

  /// The one that stands for all channels that a channel belongs together with.
  func representative(_ place: Int) -> Int {
    var place = place
    while parents[place] != place { place = parents[place] }
    return place
  }

  private mutating func tie(_ a: Int, _ b: Int) {
    let (first, second) = (representative(a), representative(b))
    parents[max(first, second)] = min(first, second)
  }
}
