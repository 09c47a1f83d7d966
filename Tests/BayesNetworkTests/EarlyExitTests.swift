import BayesNetwork
import BayesTensor
import Testing
import _BayesTestSupport

/// Exits added to a network.
struct EarlyExitTests {
  /// A map, a sequence and vectors on the way to one output, and a second output beside it.
  private func network() throws -> FrozenNetwork {
    var builder = NetworkBuilder(input: [4, 4, 2])
    let two = Extent2D(height: 2, width: 2)
    let map = builder.add(Convolution(filters: 3, window: two))
    builder.add(Reshape(target: [9, 3]))
    let sequence = builder.add(Activation(.tanh))
    builder.add(Reshape.flatten, after: sequence)
    let vector = builder.add(Dense(units: 6))
    let side = builder.add(Dense(units: 5), after: vector)
    let hidden = builder.add(Dense(units: 7), after: vector)
    builder.add(Activation(.plainReLU), after: hidden)
    let last = builder.add(Dense(units: 5))
    builder.add(Activation(.softmax), after: last)
    #expect([map, sequence, vector, side, hidden, last] == [1, 3, 5, 6, 7, 9])
    return try builder.frozen(exits: [side, last])
  }

  @Test func exitsAreAveragesThroughADenseLayer() throws {
    let frozen = try network()
    let exits = try EarlyExits(in: frozen.network, at: ["node5", "node3", "node1"], likelihood: .categorical)
    #expect(exits.nodeNames == ["node1", "node3", "node5"])
    let names = exits.network.exits.map(\.name)
    #expect(names == ["exit_node1", "exit_node3", "exit_node5", "node6", "node9"])
    let key = RandomKey(seed: 3)
    let heads = exits.emptyHeads.enumerated().map { index, head in
      (
        weight: key.child(index).child(0).normals(head.weight.shape, as: Float.self),
        bias: key.child(index).child(1).normals(head.bias.shape, as: Float.self)
      )
    }
    let whole = try exits.frozen(frozen, heads: heads)
    let backend = ReferenceBackend()
    let inputs = key.normals([3, 4, 4, 2], as: Float.self)
    let outputs = whole.network.outputs(
      of: whole.network.exits.map(\.logits), for: inputs, parameters: whole.parameters, on: backend)
    let before = frozen.network.outputs(of: [6, 9, 1, 3, 5], for: inputs, parameters: frozen.parameters, on: backend)
    // The outputs that were there, to the bit.
    #expect(outputs[3] == before[0] && outputs[4] == before[1])
    for (index, node) in before[2...].enumerated() {
      let width = node.shape.dimensions.last ?? 0
      let places = node.count / 3 / width
      for row in 0..<3 {
        for k in 0..<5 {
          var expected = Double(heads[index].bias[k])
          for feature in 0..<width {
            var mean = 0.0
            for place in 0..<places { mean += Double(node[(row * places + place) * width + feature]) / Double(places) }
            expected += mean * Double(heads[index].weight[feature, k])
          }
          expectClose(Double(outputs[index][row, k]), expected, tolerance: 1e-5)
        }
      }
    }
    // Features alone are what the heads see.
    let features = try exits.features(of: frozen)
    #expect(features.network.exits.map(\.name) == ["exit_node1", "exit_node3", "exit_node5"])
    #expect(features.network.exits.map { features.network.shapes[$0.features ?? 0] } == [[3], [3], [6]])
  }

  @Test(
    arguments: [
      (["nod5"], "There is no node 'nod5'; those most like it are 'node5'"),
      (["input"], "is the input"), (["node9"], "is an output or lies behind one"),
      (["node10"], "is an output or lies behind one"),
      (["node6"], "is an output or lies behind one"), (["node8"], "no fewer multiply-adds"),
      (["node1", "node1"], "named twice"),
    ] as [([String], String)])
  func nodesThatCannotHaveExitsAreRefused(names: [String], words: String) throws {
    let network = try network().network
    let error = #expect(throws: NetworkError.self) {
      try EarlyExits(in: network, at: names, likelihood: .categorical)
    }
    #expect(error?.message.contains(words) == true, "\(error?.message ?? "")")
  }

  @Test func exitsAreAddedOnce() throws {
    let network = try network().network
    let once = try EarlyExits(in: network, at: ["node3"], likelihood: .categorical).network
    let error = #expect(throws: NetworkError.self) { try EarlyExits(in: once, at: ["node3"], likelihood: .categorical) }
    #expect(error?.message.contains("already") == true)
    #expect(try EarlyExits(in: once, at: ["node5"], likelihood: .categorical).network.exits.count == 4)
  }

  @Test func branchesToOtherExitsAndPixelsAreRefused() throws {
    var builder = NetworkBuilder(input: [3, 3, 2])
    let early = builder.add(Convolution(filters: 4, window: Extent2D(height: 1, width: 1)))
    builder.add(GlobalPooling(.average), after: early)
    let side = builder.add(Dense(units: 3))
    builder.add(Reshape.flatten, after: early)
    let last = builder.add(Dense(units: 3))
    let network = try builder.frozen(exits: [side, last]).network
    let error = #expect(throws: NetworkError.self) {
      try EarlyExits(in: network, at: ["node2"], likelihood: .categorical)
    }
    #expect(error?.message.contains("leads to exit 'node3' alone") == true, "\(error?.message ?? "")")
    let pixels = try builder.frozen(exits: [early]).network
    let other = #expect(throws: NetworkError.self) {
      try EarlyExits(in: pixels, at: ["node1"], likelihood: .categorical)
    }
    #expect(other?.message.contains("several positions") == true, "\(other?.message ?? "")")
  }
}
