@testable import BayesKernels
import BayesNetwork
import BayesTensor
import Testing
import _BayesTestSupport

/// Networks of wide convolutions, whose images lie in blocks of channels.
@Suite struct ImageOrderTests {
  private static let window = Extent2D(height: 3, width: 3)

  private static func convolution(_ filters: Int, groups: Int = 1, dilation: Int = 1) -> Convolution {
    Convolution(
      filters: filters, window: window, dilation: Extent2D(height: dilation, width: dilation), padding: .same,
      groups: groups)
  }

  private static func isBlocked(_ frozen: FrozenNetwork, _ outputs: [Int]) -> Bool {
    FusedGraph(frozen, inputs: [0], outputs: outputs).mixingChannelsBeforeEnlarging().inFavorableOrders()
      .operations.contains { $0.orders.output.block != nil }
  }

  /// A stem, a wide convolution, some layers, and what follows.
  private static func expectAgreement(
    _ comment: String, image: Shape = [5, 4, 3], after add: (inout NetworkBuilder, Int, Int) -> [Int]
  ) async throws {
    var builder = NetworkBuilder(input: image)
    builder.add(convolution(64))
    builder.add(BatchNormalization(epsilon: 1e-3))
    let stem = builder.add(Activation(.plainReLU))
    let wide = builder.add(convolution(64))
    let exits = add(&builder, stem, wide)
    let frozen = try builder.frozen(exits: exits)
    let outputs = frozen.network.exits.map(\.logits) + [wide]
    #expect(isBlocked(frozen, outputs), "\(comment)")
    #expect(
      TrainingGraph(frozen, inputs: [0], outputs: outputs, training: [], includingInputs: true).forward.operations
        .contains { $0.orders.output.block != nil }, "\(comment)")
    // Sums of 576 products.
    let rows = RandomKey(seed: 3).normals(image.batched(3), as: Float.self)
    let expected = frozen.network.outputs(of: outputs, for: rows, parameters: frozen.parameters, on: ReferenceBackend())
    let prepared = try NativeBackend().prepare(frozen, preprocessing: .identity, outputs: outputs)
    let actual = try await prepared(RowBatch(rows), width: 2)
    for (actual, expected) in zip(actual, expected) {
      PreparedNetworkTests.expectAgreement(actual, expected, comment)
    }
    for width in [1, 2, 3] {
      let alone = try await prepared(RowBatch(rows.rows(2..<3)), width: width)
      for (alone, all) in zip(alone, actual) {
        #expect(alone == all.rows(2..<3), "\(comment), one row on \(width) threads")
      }
    }
    for sliceRowCount in [1, 2] {
      try await TrainingPlanTests.expectAgreement(
        frozen, outputs: outputs, rows: 3, sliceRowCount: sliceRowCount, "\(comment), backwards")
    }
  }

  /// The widest blocks that serve nearly as much of the work as narrower ones do.
  @Test func blocksAreAsWideAsMostOfTheWorkAllows() throws {
    func block(_ filters: [Int], from blocks: [ChannelBlock] = [.sixteen, .eight]) throws -> ChannelBlock? {
      var builder = NetworkBuilder(input: [6, 6, 3])
      for count in filters { builder.add(Self.convolution(count)) }
      let exit = builder.add(Activation(.plainReLU))
      let frozen = try builder.frozen(exits: [exit])
      let graph = FusedGraph(frozen, inputs: [0], outputs: frozen.network.exits.map(\.logits))
      let chosen = graph.favorableBlock(from: blocks)
      for operation in graph.inBlocks(chosen).operations {
        #expect(operation.orders.output.block.map { $0 == chosen && operation.outputShape[2] % $0.width == 0 } ?? true)
      }
      return chosen
    }
    #expect(try block([64, 64, 32]) == .sixteen)
    #expect(try block([64, 64, 32], from: [.eight]) == .eight)
    #expect(try block([24, 24, 24]) == .eight)
    #expect(try block([64, 64, 24]) == .eight)
    #expect(try block([128, 128, 24, 16]) == .eight)
    #expect(try block([256, 256, 256, 24, 8]) == .sixteen)
    #expect(try block([20, 20, 20]) == nil)
    #expect(ChannelBlock.available.last == .eight)
  }

  @Test func layersThatTakeBlocks() async throws {
    try await Self.expectAgreement("residual, pooling, product") { builder, stem, wide in
      let sum = builder.add(ElementwiseMerge(.add), after: wide, stem)
      builder.add(Activation(.plainReLU), after: sum)
      builder.add(Pooling(.maximum, window: Self.window, strides: Extent2D(height: 2, width: 2), padding: .same))
      builder.add(Self.convolution(64, groups: 64))
      builder.add(Activation(.tanh))
      builder.add(GlobalPooling(.average))
      return [builder.add(Dense(units: 5))]
    }
    try await Self.expectAgreement("normalisation before activation") { builder, stem, wide in
      let sum = builder.add(ElementwiseMerge(.multiply), after: wide, stem)
      builder.add(BatchNormalization(epsilon: 1e-3), after: sum)
      builder.add(Activation(.plainReLU))
      return [builder.add(Self.convolution(72))]
    }
    try await Self.expectAgreement("side by side, enlarged") { builder, stem, wide in
      let both = builder.add(Concatenation(axis: 2), after: stem, wide, stem)
      builder.add(Upsampling(factor: Extent2D(height: 2, width: 3), interpolation: .bilinear), after: both)
      builder.add(Activation(.tanh))
      return [builder.add(Self.convolution(64))]
    }
  }

  /// Each layer's maps behind all before it, as in DenseNet.
  @Test func whatIsJoinedIsWrittenToItsPlace() async throws {
    func grow(_ builder: inout NetworkBuilder, _ stem: Int, _ wide: Int) -> [Int] {
      var all = builder.add(Concatenation(axis: 2), after: stem, wide)
      for _ in 0..<2 {
        let new = builder.add(Self.convolution(64), after: all)
        all = builder.add(Concatenation(axis: 2), after: all, new)
      }
      builder.add(GlobalPooling(.average), after: all)
      return [builder.add(Dense(units: 5))]
    }
    try await Self.expectAgreement("joined", after: grow)

    var builder = NetworkBuilder(input: [5, 4, 3])
    let stem = builder.add(Self.convolution(64))
    let wide = builder.add(Self.convolution(64))
    let exits = grow(&builder, stem, wide)
    let frozen = try builder.frozen(exits: exits)
    let graph = FusedGraph(frozen, inputs: [0], outputs: frozen.network.exits.map(\.logits)).inFavorableOrders()
    var joined = 0
    for rowCount in [1, 2] {
      let plan = ArenaPlan(graph, rowCount: rowCount)
      for operation in graph.operations {
        guard case .concatenation = operation.kind else { continue }
        var place = plan.offsets[operation.output]
        for input in operation.inputs {
          // Rows lie apart, so that the parts of more than one cannot lie together.
          #expect((plan.offsets[input.value] == place) == (rowCount == 1))
          place += input.shape.elementCount * MemoryLayout<Float>.stride
          joined += 1
        }
      }
    }
    #expect(joined == 12)
  }

  @Test func layersThatDoNot() async throws {
    try await Self.expectAgreement("flattened") { builder, _, _ in
      builder.add(Reshape.flatten)
      return [builder.add(Dense(units: 4))]
    }
    try await Self.expectAgreement("read as an image of another shape") { builder, _, wide in
      let fewer = builder.add(Reshape(target: [5, 2, 128]), after: wide)
      let onePixel = builder.add(Reshape(target: [1, 1, 1280]), after: wide)
      let narrow = builder.add(Reshape(target: [20, 16, 4]), after: wide)
      let a = builder.add(Self.convolution(64), after: fewer)
      let b = builder.add(Convolution(filters: 8, window: Extent2D(height: 1, width: 1)), after: onePixel)
      let c = builder.add(Self.convolution(16), after: narrow)
      let d = builder.add(Pooling(
          .maximum, window: Extent2D(height: 2, width: 2), strides: Extent2D(height: 2, width: 2), padding: .valid), after: fewer)
      return [a, b, c, d, builder.add(Self.convolution(64), after: wide)]
    }
    try await Self.expectAgreement("odd channels and back") { builder, _, wide in
      let odd = builder.add(Self.convolution(13), after: wide)
      let back = builder.add(Self.convolution(64), after: odd)
      builder.add(ElementwiseMerge(.add), after: back, wide)
      return [odd, builder.add(Self.convolution(64))]
    }
    try await Self.expectAgreement("groups, wide padding, other layers") { builder, _, wide in
      let grouped = builder.add(Self.convolution(64, groups: 4), after: wide)
      let far = builder.add(Self.convolution(64, dilation: 5), after: grouped)
      builder.add(Upsampling(factor: Extent2D(height: 2, width: 2), interpolation: .nearest), after: far)
      builder.add(Permutation(order: [1, 0, 2]))
      builder.add(Concatenation(axis: 0), after: builder.add(Self.convolution(8)), builder.add(Self.convolution(8)))
      return [grouped, builder.add(Dense(units: 3))]
    }
  }

  @Test func aPixelwiseConvolutionMovesBeforeAnEnlargement() async throws {
    try await Self.expectAgreement("moved") { builder, _, wide in
      builder.add(Upsampling(factor: Extent2D(height: 3, width: 2), interpolation: .bilinear), after: wide)
      return [builder.add(Convolution(filters: 5, window: Extent2D(height: 1, width: 1)))]
    }
    try await Self.expectAgreement("read twice, activated, or made smaller") { builder, _, wide in
      let large = builder.add(
        Upsampling(factor: Extent2D(height: 2, width: 2), interpolation: .bilinear), after: wide)
      let first = builder.add(Convolution(filters: 5, window: Extent2D(height: 1, width: 1)), after: large)
      let second = builder.add(Convolution(filters: 4, window: Extent2D(height: 1, width: 1)), after: large)
      let active = builder.add(Activation(.plainReLU), after: second)
      let small = builder.add(Resizing(to: Extent2D(height: 3, width: 3), interpolation: .bilinear), after: wide)
      return [first, active, builder.add(Convolution(filters: 4, window: Extent2D(height: 1, width: 1)), after: small)]
    }
  }
}
