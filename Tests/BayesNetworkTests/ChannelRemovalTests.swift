import BayesTensor
import Testing
import _BayesTestSupport

@testable import BayesNetwork

/// Channels that can be left out of networks, and what is left.
struct ChannelRemovalTests {
  private let input: Shape = [6, 5, 3]

  /// A convolution of 3 by 3.
  private func convolution(_ filters: Int, groups: Int = 1) -> Convolution {
    Convolution(filters: filters, window: Extent2D(height: 3, width: 3), padding: .same, groups: groups)
  }

  private func relu() -> Activation { Activation(.plainReLU) }

  /// Puts channels of a node's output to zero in all parameters of the node.
  private func zeroing(_ channels: [Int], of nodes: [Int], in frozen: FrozenNetwork) throws -> FrozenNetwork {
    var parameters = frozen.parameters
    for node in nodes {
      for (path, shape) in frozen.network.parameterSpecs(of: node) {
        var tensor = try #require(parameters[path])
        let width = shape[shape.rank - 1]
        for position in 0..<tensor.count where channels.contains(position % width) { tensor[position] = 0 }
        parameters[path] = tensor
      }
    }
    return try FrozenNetwork(frozen.network, parameters: parameters)
  }

  /// What is left, and that its exits are those of the network with zeros.
  private func compacted(_ frozen: FrozenNetwork) throws -> (removal: ChannelRemoval, network: FrozenNetwork) {
    let removal = ChannelRemoval(of: frozen.network, [frozen.parameters])
    let small = try frozen.removing(removal)
    let rows: Tensor<Double> = RandomKey(seed: 7).normals(frozen.network.inputShape.batched(4))
    let (before, after) = (logits(frozen, rows), logits(small, rows))
    #expect(before.count == after.count)
    for (a, b) in zip(before, after) { expectClose(b, a, tolerance: 1e-12) }
    return (removal, small)
  }

  private func logits(_ frozen: FrozenNetwork, _ rows: Tensor<Double>) -> [Tensor<Double>] {
    var values: [Tensor<Double>] = []
    for node in frozen.network.nodes.indices {
      let parameters = frozen.network.parameterSpecs(of: node).compactMap {
        frozen.parameters[$0.path]?.converted(to: Double.self)
      }
      values.append(
        node == 0
          ? rows
          : frozen.network.nodes[node].layer.forward(
            frozen.network.nodes[node].inputs.map { values[$0] }, parameters: parameters, on: ReferenceBackend()))
    }
    return frozen.network.exits.map { values[$0.logits] }
  }

  @Test func filtersGoWithTheirNormalisationAndWhatReadsThem() throws {
    var builder = NetworkBuilder(input: input)
    let first = builder.add(convolution(6))
    let normalization = builder.add(BatchNormalization(epsilon: 1e-3))
    builder.add(relu())
    builder.add(Pooling(.maximum, window: Extent2D(height: 2, width: 2), strides: Extent2D(height: 2, width: 2), padding: .same))
    builder.add(convolution(4))
    builder.add(relu())
    builder.add(Reshape.flatten)
    builder.add(Dense(units: 5))
    let frozen = try zeroing([1, 4], of: [first, normalization], in: try builder.frozen())
    let (removal, small) = try compacted(frozen)
    #expect(removal.kept[first] == [0, 2, 3, 5] && removal.kept[first + 4] == [0, 1, 2, 3])
    #expect(small.network.shapes[first + 3] == [3, 3, 4])
    #expect(small.network.multiplyAdds(toExit: 0) == 6 * 5 * 9 * 3 * 4 + 9 * 9 * 4 * 4 + 36 * 5)
    // A normalisation that puts something in the place of zeros keeps its channel.
    let kept = try zeroing([1, 4], of: [first], in: try builder.frozen())
    #expect(try compacted(kept).removal.isEmpty(for: kept.network))
  }

  @Test func flattenedChannelsLeaveWithAllTheirPixels() throws {
    var builder = NetworkBuilder(input: input)
    let first = builder.add(convolution(3))
    builder.add(relu())
    let flat = builder.add(Reshape.flatten)
    let hidden = builder.add(Dense(units: 4))
    builder.add(Activation(.tanh))
    builder.add(Dense(units: 2))
    let frozen = try zeroing([2], of: [first, hidden], in: try builder.frozen())
    let (removal, small) = try compacted(frozen)
    #expect(removal.kept[flat].count == 60 && removal.kept[flat].allSatisfy { $0 % 3 != 2 })
    #expect(small.network.parameterSpecs(of: hidden)[0].shape == [60, 3])
  }

  /// What nothing reads goes, however large, and with it what only it reads.
  @Test func unreadChannelsGo() throws {
    var builder = NetworkBuilder(input: input)
    let first = builder.add(convolution(4))
    builder.add(relu())
    let second = builder.add(convolution(4))
    builder.add(relu())
    builder.add(GlobalPooling(.average))
    let head = builder.add(Dense(units: 3))
    var frozen = try builder.frozen()
    var parameters = frozen.parameters
    for (node, unread) in [(head, 1), (second, 3)] {
      let path = frozen.network.parameterSpecs(of: node)[0].path
      var weight = try #require(parameters[path])
      let (inputs, outputs) = (weight.shape[weight.shape.rank - 2], weight.shape[weight.shape.rank - 1])
      for position in 0..<weight.count where position / outputs % inputs == unread {
        // Of the second layer, channel 3 is read by filter 1 alone, which nothing reads.
        if node == head || position % outputs != 1 { weight[position] = 0 }
      }
      parameters[path] = weight
    }
    frozen = try FrozenNetwork(frozen.network, parameters: parameters)
    let (removal, _) = try compacted(frozen)
    #expect(removal.kept[second] == [0, 2, 3] && removal.kept[first] == [0, 1, 2])
  }

  @Test func whatIsAddedGoesTogetherOrNotAtAll() throws {
    var builder = NetworkBuilder(input: input)
    let stem = builder.add(convolution(4))
    let inner = builder.add(convolution(4), after: stem)
    let activated = builder.add(relu(), after: inner)
    let outer = builder.add(convolution(4), after: activated)
    let sum = builder.add(ElementwiseMerge(.add), after: stem, outer)
    builder.add(GlobalPooling(.maximum), after: sum)
    builder.add(Dense(units: 3))
    let one = try zeroing([0, 2], of: [outer], in: try zeroing([1], of: [inner], in: try builder.frozen()))
    let (removal, _) = try compacted(one)
    #expect(removal.kept[inner] == [0, 2, 3] && removal.kept[outer].count == 4 && removal.kept[stem].count == 4)
    let both = try zeroing([2], of: [stem], in: one)
    #expect(try compacted(both).removal.kept[sum] == [0, 1, 3])
  }

  @Test func joinedChannelsAndConvolutionsByChannel() throws {
    var builder = NetworkBuilder(input: input)
    let left = builder.add(convolution(3))
    let right = builder.add(convolution(4), after: 0)
    let joined = builder.add(Concatenation(axis: 2), after: left, right)
    let depthwise = builder.add(convolution(7, groups: 7))
    builder.add(relu())
    builder.add(convolution(2))
    let exit = builder.add(GlobalPooling(.average))
    let frozen = try zeroing(
      [0, 5], of: [depthwise],
      in: try zeroing([0], of: [left], in: try zeroing([2], of: [right], in: try builder.frozen(exits: [exit]))))
    let (removal, small) = try compacted(frozen)
    #expect(removal.kept[joined] == [1, 2, 3, 4, 6])
    #expect(removal.kept[left] == [1, 2] && removal.kept[right] == [0, 1, 3])
    #expect((small.network.nodes[depthwise].layer as? Convolution)?.groups == 5)
  }

  @Test func somethingOfEveryValueStays() throws {
    var builder = NetworkBuilder(input: input)
    let first = builder.add(convolution(3))
    builder.add(relu())
    builder.add(GlobalPooling(.average))
    builder.add(Dense(units: 3))
    let frozen = try zeroing([0, 1, 2], of: [first], in: try builder.frozen())
    #expect(try compacted(frozen).removal.kept[first] == [0])
  }

  /// Before a layer whose channels do not stay apart nothing is left out.
  @Test func otherLayersHoldTheirInputs() throws {
    var builder = NetworkBuilder(input: input)
    let first = builder.add(convolution(4))
    builder.add(LayerNormalization(axes: [2], epsilon: 1e-3))
    builder.add(GlobalPooling(.average))
    builder.add(Dense(units: 3))
    let frozen = try zeroing([1], of: [first], in: try builder.frozen())
    #expect(try compacted(frozen).removal.isEmpty(for: frozen.network))
  }

  /// Only what can be left out of all versions is.
  @Test func versionsHaveOneStructure() throws {
    var builder = NetworkBuilder(input: input)
    let first = builder.add(convolution(4))
    builder.add(relu())
    builder.add(GlobalPooling(.average))
    builder.add(Dense(units: 3))
    let frozen = try builder.frozen()
    let versions = try [[0, 1], [1, 2]].map { try zeroing($0, of: [first], in: frozen).parameters }
    #expect(ChannelRemoval(of: frozen.network, versions).kept[first] == [0, 2, 3])
  }
}
