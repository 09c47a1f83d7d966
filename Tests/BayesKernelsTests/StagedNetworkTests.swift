import BayesKernels
import BayesNetwork
import BayesTensor
import Testing
import _BayesTestSupport

/// Runs that stop between exits, against the whole network.
@Suite struct StagedNetworkTests {
  /// Three exits on two strands that read each other, as in multi-scale networks.
  static func network() throws -> FrozenNetwork {
    let window = Extent2D(height: 3, width: 3)
    let two = Extent2D(height: 2, width: 2)
    var builder = NetworkBuilder(input: [8, 8, 3])
    builder.add(Convolution(filters: 4, window: window, padding: .same))
    var fine = builder.add(Activation(.plainReLU))
    builder.add(Convolution(filters: 6, window: window, strides: two, padding: .same), after: fine)
    var coarse = builder.add(Activation(.plainReLU))
    var exits: [Int] = []
    for _ in 0..<3 {
      let down = builder.add(Convolution(filters: 6, window: window, strides: two, padding: .same), after: fine)
      let across = builder.add(Convolution(filters: 6, window: window, padding: .same), after: coarse)
      coarse = builder.add(Concatenation(axis: 2), after: coarse, across, down)
      builder.add(GlobalPooling(.average), after: coarse)
      exits.append(builder.add(Dense(units: 5)))
      builder.add(Convolution(filters: 4, window: window, padding: .same), after: fine)
      let next = builder.add(BatchNormalization(epsilon: 1e-3))
      let sum = builder.add(ElementwiseMerge(.add), after: next, fine)
      fine = builder.add(Activation(.plainReLU), after: sum)
    }
    return try builder.frozen(exits: exits)
  }

  @Test func stagesComputeNothingTwice() throws {
    let network = try Self.network().network
    let stages = network.stages
    #expect(stages.count == 3)
    #expect(stages[0].inputs == [0])
    #expect(stages[2].carried.isEmpty)
    var computed: Set<Int> = []
    for (stage, following) in zip(stages, stages.dropFirst()) { #expect(following.inputs == stage.carried) }
    for stage in stages {
      let needed = network.isNeeded(for: stage.answers + stage.carried, given: stage.inputs)
      let own = Set(network.nodes.indices.filter { needed[$0] }).subtracting(stage.inputs)
      #expect(computed.isDisjoint(with: own))
      computed.formUnion(own)
    }
    let all = network.isNeeded(for: stages.flatMap(\.answers))
    #expect(computed.union([0]) == Set(network.nodes.indices.filter { all[$0] }))
  }

  @Test(arguments: [false, true])
  func rowsThatStayGetTheAnswersOfTheWholeNetwork(native: Bool) async throws {
    let frozen = try Self.network()
    let backend: any NetworkBackend = native ? try NativeBackend() : ReferenceBackend()
    let input = RandomKey(seed: 2).normals([13, 8, 8, 3], as: Float.self)
    let whole = frozen.network.outputs(
      of: frozen.network.exits.map(\.logits), for: input, parameters: frozen.parameters, on: ReferenceBackend())
    let staged = try StagedNetwork(frozen, preprocessing: .identity, on: backend)
    var run = staged.run(RowBatch(input), width: 2)
    var left = Array(0..<13)
    var exit = 0
    while let answer = try await run.next() {
      #expect(run.rows == left && answer.exit == exit)
      PreparedNetworkTests.expectAgreement(answer.logits, whole[exit].rows(left))
      #expect(answer.features?.shape == [left.count, frozen.network.shapes[frozen.network.exits[exit].features ?? 0][0]])
      let kept = left.indices.filter { $0 % 3 != 1 }
      run.keep(kept)
      left = kept.map { left[$0] }
      exit += 1
    }
    #expect(exit == 3)
  }

  @Test func allRowsMayLeave() async throws {
    let staged = try StagedNetwork(Self.network(), preprocessing: .identity, on: NativeBackend())
    var run = staged.run(RowBatch(Tensor(zeros: [4, 8, 8, 3])), width: 2)
    _ = try await run.next()
    run.keep([])
    let answer = try await run.next()
    #expect(answer?.logits.shape == [0, 5])
  }

  @Test func outputsThatNeedMoreThanIsGivenAreRefused() throws {
    let frozen = try Self.network()
    for backend: any NetworkBackend in [try NativeBackend(), ReferenceBackend()] {
      #expect(throws: NetworkError.self) {
        try backend.prepare(frozen, preprocessing: .identity, inputs: [2], outputs: [3, 1])
      }
      #expect(throws: NetworkError.self) {
        try backend.prepare(frozen, preprocessing: .identity, inputs: [0], outputs: [9999])
      }
    }
  }
}
