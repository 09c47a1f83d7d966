import BayesKernels
import BayesNetwork
import BayesPosterior
import BayesPrediction
import BayesTensor
import Testing
import _BayesTestSupport

/// What dropout makes of a network.
struct ThinnedNetworkTests {
  private func network(rates: [Double] = [0.3, 0.6]) throws -> FrozenNetwork {
    var builder = NetworkBuilder(input: [5, 5, 4])
    builder.add(Convolution(filters: 16, window: Extent2D(height: 3, width: 3), padding: .same))
    let spatial = builder.add(Identity(dropoutRate: rates[0], dropoutSharedAxes: [0, 1]))
    builder.add(GlobalPooling(.average), after: spatial)
    let early = builder.add(Dense(units: 3))
    builder.add(Reshape.flatten, after: spatial)
    builder.add(Identity(dropoutRate: rates[1]))
    let last = builder.add(Dense(units: 3))
    return try builder.frozen(exits: [early, last])
  }

  @Test func masksKeepWhatTheRateSaysAndScaleIt() throws {
    let thinned = try ThinnedNetworks(network())
    #expect(thinned.sites.map(\.name) == ["node2", "node6"] && thinned.sites.map(\.rate) == [0.3, 0.6])
    #expect(thinned.affectsExit == [true, true])
    var (dropped, count) = ([0, 0], [0, 0])
    let key = RandomKey(seed: 4)
    for draw in 0..<200 {
      let parameters = try thinned.network(draw: draw, key: key).parameters
      let spatial = try #require(parameters[ParameterPath("node2/factors")])
      let single = try #require(parameters[ParameterPath("node6/factors")])
      #expect(spatial.shape == [5, 5, 16] && single.shape == [400])
      // Whole channels at once.
      for position in 16..<spatial.count { #expect(spatial[position] == spatial[position % 16]) }
      for (index, (values, kept)) in [
        (spatial.elements[..<16], Float(1 / 0.7)), (single.elements[...], Float(1 / 0.4)),
      ].enumerated() {
        #expect(values.allSatisfy { $0 == 0 || $0 == kept })
        dropped[index] += values.count { $0 == 0 }
        count[index] += values.count
      }
    }
    // Within four standard errors.
    for (index, rate) in [0.3, 0.6].enumerated() {
      let share = Double(dropped[index]) / Double(count[index])
      #expect(abs(share - rate) < 4 * (rate * (1 - rate) / Double(count[index])).squareRoot(), "\(share)")
    }
    let (one, other) = (try thinned.network(draw: 1, key: key), try thinned.network(draw: 2, key: key))
    #expect(one.parameters != other.parameters)
    #expect(try one.parameters == ThinnedNetworks(network()).network(draw: 1, key: key).parameters)
    #expect(try one.parameters != thinned.network(draw: 1, key: RandomKey(seed: 5)).parameters)
  }

  @Test func everythingIsDroppedAtRateOne() throws {
    let thinned = try ThinnedNetworks(network(rates: [0, 1]))
    #expect(thinned.sites.map(\.name) == ["node6"] && thinned.affectsExit == [false, true])
    let factors = try thinned.network(draw: 0, key: RandomKey(seed: 1)).parameters[ParameterPath("node6/factors")]
    #expect(factors == Tensor(zeros: [400]))
  }

  /// What comes before the first dropout is computed once, and natively; the sum must be the network's.
  @Test func drawsAreThoseOfTheReference() async throws {
    let frozen = try network()
    let native = try NativeBackend()
    let source = RecordsDescription(
      file: "network",
      exits: frozen.network.exits.map { ExitDescription(name: $0.name, likelihood: .categorical, logitCount: 3) })
    let key = RandomKey(seed: 9)
    let posterior = try SampledNetworkPosterior(dropoutOf: frozen, draws: 5, key: key, source: source)
    let inputs = key.normals([7, 5, 5, 4], as: Float.self)
    let logits = frozen.network.outputs(
      of: frozen.network.exits.map(\.logits), for: inputs, parameters: frozen.parameters, on: ReferenceBackend())
    let records = ExitRecords(firstRow: 0, exits: logits.map { .init(features: nil, logits: $0) }, labels: nil)
    let predictor = try posterior.predictor(
      for: source, of: [frozen], on: native, in: ExecutionContext(backend: native, key: key, width: 2))
    let thinned = try ThinnedNetworks(frozen)
    var rowCount = 0
    try await predictor.predictions(for: records, of: RowBatch(inputs)) { block, predictions in
      rowCount += block.rowCount
      #expect(predictions.map(\.sampleCount) == [5, 5])
      for draw in 0..<5 {
        let network = try thinned.network(draw: draw, key: key)
        let expected = network.network.outputs(
          of: network.network.exits.map(\.logits), for: inputs, parameters: network.parameters, on: ReferenceBackend())
        for (exit, own) in expected.enumerated() {
          let actual = predictions[exit].logits.elements[draw * 21..<(draw + 1) * 21]
          expectClose(Tensor(shape: [7, 3], actual), own, tolerance: 1e-5)
        }
      }
    }
    #expect(rowCount == 7)
  }

  @Test func drawnLayersAreCountedOnceADraw() throws {
    let frozen = try network(rates: [0, 0.5])
    let thinned = try ThinnedNetworks(frozen)
    let convolution = 5 * 5 * 16 * 9 * 4
    #expect(thinned.multiplyAdds(toExit: 0, draws: 10) == convolution + 48)
    #expect(thinned.multiplyAdds(toExit: 1, draws: 10) == convolution + 48 + 10 * 1200)
    #expect(try ThinnedNetworks(network()).multiplyAdds(toExit: 1, draws: 10) == convolution + 10 * (48 + 1200))
  }

  @Test(arguments: [([0, 0.0], "rate zero"), ([], "no dropout layer")] as [([Double], String)])
  func networksWithoutDropoutAreRefused(rates: [Double], words: String) throws {
    var builder = NetworkBuilder(input: [4])
    for rate in rates { builder.add(Identity(dropoutRate: rate)) }
    builder.add(Dense(units: 3))
    let frozen = try builder.frozen()
    let error = #expect(throws: NetworkError.self) { try ThinnedNetworks(frozen) }
    #expect(error?.message.contains(words) == true)
  }
}
