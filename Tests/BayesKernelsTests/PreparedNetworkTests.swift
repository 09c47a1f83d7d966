import BayesKernels
import BayesNetwork
import BayesTensor
import Testing
import _BayesTestSupport

/// Prepared networks against the layer-by-layer reference.
@Suite struct PreparedNetworkTests {
  /// Relative to the largest output.
  static let tolerance = 1e-5

  /// Batches of some numbers of rows, the last of them the largest, give what the reference gives.
  static func expectAgreement(
    _ frozen: FrozenNetwork, outputs: [Int]? = nil, rows: [Int] = [1, 3, 17], _ comment: String = "",
    sourceLocation: Testing.SourceLocation = #_sourceLocation
  ) async throws {
    let outputs = outputs ?? frozen.network.exits.map(\.logits)
    let input = RandomKey(seed: 9).normals(
      frozen.network.inputShape.batched(rows.reduce(0, max)), as: Float.self)
    let expected = frozen.network.outputs(
      of: outputs, for: input, parameters: frozen.parameters, on: ReferenceBackend())
    let prepared = try NativeBackend(sliceRowCount: 2).prepare(
      frozen, preprocessing: .identity, outputs: outputs)
    for count in rows {
      let actual = try await prepared(RowBatch(input.rows(0..<count)), width: 2)
      for (actual, expected) in zip(actual, expected) {
        expectAgreement(actual, expected.rows(0..<count), "\(count) rows \(comment)", sourceLocation: sourceLocation)
      }
    }
  }

  /// Differences are at most `tolerance` of the largest element.
  static func expectAgreement(
    _ actual: Tensor<Float>, _ expected: Tensor<Float>, _ comment: String = "",
    sourceLocation: Testing.SourceLocation = #_sourceLocation
  ) {
    let largest = expected.elements.reduce(0) { max($0, abs($1)) }
    guard largest > 0 else { return expectClose(actual, expected, tolerance: 0, comment, sourceLocation: sourceLocation) }
    expectClose(
      actual.map { $0 / largest }, expected.map { $0 / largest }, tolerance: tolerance, comment,
      sourceLocation: sourceLocation)
  }

  /// Other weights in a prepared network are those of one prepared anew, to the bit, and leave the first as it was.
  @Test func parametersAreReplaced() async throws {
    func network(_ seed: UInt64) throws -> FrozenNetwork {
      var builder = NetworkBuilder(input: [9, 8, 16])
      builder.add(Convolution(filters: 32, window: Extent2D(height: 3, width: 3), padding: .same))
      builder.add(BatchNormalization(epsilon: 1e-3))
      builder.add(Activation(.plainReLU))
      builder.add(Upsampling(factor: Extent2D(height: 2, width: 2), interpolation: .bilinear))
      builder.add(Convolution(filters: 5, window: Extent2D(height: 1, width: 1)))
      let network = try builder.frozen().network
      var parameters = Parameters()
      for (index, spec) in network.parameterSpecs.enumerated() {
        let values = RandomKey(seed: seed).child(index).normals(spec.shape, as: Float.self)
        parameters[spec.path] = spec.path.description.hasSuffix("variance") ? values.map { abs($0) + 0.5 } : values
      }
      return try FrozenNetwork(network, parameters: parameters)
    }
    let backend = try NativeBackend()
    let (first, second) = (try network(1), try network(2))
    let outputs = first.network.exits.map(\.logits)
    let prepared = try backend.prepare(first, preprocessing: .identity, outputs: outputs)
    let replaced = try prepared.replacingParameters { second }
    let anew = try backend.prepare(second, preprocessing: .identity, outputs: outputs)
    let rows = RandomKey(seed: 3).normals([11, 9, 8, 16], as: Float.self)
    let before = try await prepared(RowBatch(rows), width: 2)
    for (count, width) in [(1, 1), (1, 2), (3, 2), (11, 3)] {
      let own = RowBatch(rows.rows(0..<count))
      #expect(try await replaced(own, width: width) == anew(own, width: width))
    }
    #expect(try await prepared(RowBatch(rows), width: 1) == before)
    let reference = try ReferenceBackend().prepare(first, preprocessing: .identity, outputs: outputs)
    let expected = try await reference.replacingParameters { second }(RowBatch(rows), width: 1)
    Self.expectAgreement(try await replaced(RowBatch(rows), width: 2)[0], expected[0])
  }

  @Test(arguments: [PaddingRule.same, .valid])
  func convolutionsOfEveryGeometry(padding: PaddingRule) async throws {
    for size in [5, 6] {
      for window in [1, 2, 3] {
        for stride in [1, 2] {
          for dilation in stride == 1 ? [1, 2] : [1] {
            for (channels, filters, groups) in [(1, 3, 1), (3, 4, 1), (4, 6, 2), (4, 4, 4), (3, 6, 3)] {
              var builder = NetworkBuilder(input: [size, size + 1, channels])
              builder.add(
                Convolution(
                  filters: filters, window: Extent2D(height: window, width: window),
                  strides: Extent2D(height: stride, width: stride),
                  dilation: Extent2D(height: dilation, width: dilation), padding: padding, groups: groups))
              try await Self.expectAgreement(
                builder.frozen(), "size \(size) window \(window) stride \(stride) groups \(groups)")
            }
          }
        }
      }
    }
  }

  @Test(arguments: [PoolingKind.maximum, .average])
  func poolingOfEveryGeometry(kind: PoolingKind) async throws {
    for size in [4, 5] {
      for window in [2, 3] {
        for padding in [PaddingRule.same, .valid] {
          var builder = NetworkBuilder(input: [size, size + 2, 3])
          builder.add(
            Pooling(
              kind, window: Extent2D(height: window, width: window),
              strides: Extent2D(height: 2, width: 2), padding: padding))
          try await Self.expectAgreement(builder.frozen())
        }
      }
    }
    for keeps in [false, true] {
      var builder = NetworkBuilder(input: [3, 4, 5])
      builder.add(GlobalPooling(kind, keepsDimensions: keeps))
      try await Self.expectAgreement(builder.frozen())
    }
  }

  static let activations: [ActivationFunction] = [
    .linear, .plainReLU, .relu(ceiling: 6, negativeSlope: 0, threshold: 0),
    .relu(ceiling: nil, negativeSlope: 0.3, threshold: 0),
    .relu(ceiling: 2, negativeSlope: 0.1, threshold: 0.5), .elu(alpha: 0.7), .selu, .gelu, .geluTanh,
    .sigmoid, .hardSigmoid(slope: 0.2, offset: 0.5), .tanh, .softplus, .softsign, .swish, .hardSwish,
    .exponential, .mish, .softmax,
  ]

  @Test(arguments: activations)
  func activationsAloneAndFused(function: ActivationFunction) async throws {
    var alone = NetworkBuilder(input: [3, 3, 4])
    alone.add(Activation(function))
    try await Self.expectAgreement(alone.frozen())
    var fused = NetworkBuilder(input: [4, 4, 3])
    fused.add(Convolution(filters: 5, window: Extent2D(height: 3, width: 3), padding: .same))
    fused.add(BatchNormalization(epsilon: 1e-3))
    fused.add(Activation(function))
    fused.add(Reshape.flatten)
    fused.add(Dense(units: 6))
    fused.add(Activation(function))
    fused.add(Dense(units: 3))
    try await Self.expectAgreement(fused.frozen())
  }

  @Test func residualBlocksWhoseShortcutDiesOrLives() async throws {
    for keepsShortcut in [false, true] {
      for second in [false, true] {
        var builder = NetworkBuilder(input: [6, 6, 3])
        let window = Extent2D(height: 3, width: 3)
        let stem = builder.add(Convolution(filters: 8, window: window, padding: .same))
        let start = builder.add(Activation(.plainReLU), after: stem)
        builder.add(Convolution(filters: 8, window: window, padding: .same, usesBias: false), after: start)
        builder.add(BatchNormalization(epsilon: 1e-3))
        builder.add(Activation(.plainReLU))
        builder.add(Convolution(filters: 8, window: window, padding: .same))
        let branch = builder.add(BatchNormalization(epsilon: 1e-3, scales: false))
        let shortcut = second
          ? builder.add(
            Convolution(filters: 8, window: Extent2D(height: 1, width: 1), usesBias: false), after: start)
          : start
        let sum = builder.add(ElementwiseMerge(.add), after: second ? branch : shortcut, second ? shortcut : branch)
        let end = builder.add(Activation(.plainReLU), after: sum)
        let last = keepsShortcut ? builder.add(ElementwiseMerge(.multiply), after: end, start) : end
        try await Self.expectAgreement(builder.frozen(exits: [last]))
        // Asking for what lies inside a fusion must undo the fusion, not the answer.
        try await Self.expectAgreement(
          builder.frozen(exits: [last]), outputs: [stem, start, branch, shortcut, sum, end, last])
      }
    }
  }

  /// Geometries that oneDNN has no compiled kernel for, and computes by matrix products, with something to add.
  @Test(arguments: [(3, 1, 3), (3, 4, 1), (11, 1, 1)])
  func unusualConvolutionsWithSomethingAdded(window: Int, dilation: Int, groups: Int) async throws {
    for size in [6, 20] {
      for function in [ActivationFunction.linear, .plainReLU] {
        var builder = NetworkBuilder(input: [size, size, 12])
        let shortcut = builder.add(Convolution(filters: 18, window: Extent2D(height: 1, width: 1)))
        let branch = builder.add(
          Convolution(
            filters: 18, window: Extent2D(height: window, width: window),
            dilation: Extent2D(height: dilation, width: dilation), padding: .same, groups: groups), after: 0)
        builder.add(ElementwiseMerge(.add), after: branch, shortcut)
        let first = builder.add(Activation(function))
        // Where the shortcut lives on, nothing can be added in its place.
        let last = builder.add(ElementwiseMerge(.multiply), after: first, shortcut)
        let frozen = try builder.frozen(exits: [last])
        try await Self.expectAgreement(frozen, outputs: [first], "\(function), alone")
        try await Self.expectAgreement(frozen, outputs: [first, last], "\(function)")
      }
    }
  }

  @Test func mergesConcatenationsAndRearrangements() async throws {
    for operation in [ElementwiseMerge.Operation.add, .subtract, .multiply, .average, .maximum, .minimum] {
      var builder = NetworkBuilder(input: [4, 3, 4])
      let a = builder.add(Activation(.tanh), after: 0)
      let b = builder.add(BatchNormalization(epsilon: 1e-3), after: 0)
      builder.add(ElementwiseMerge(operation), after: a, b)
      builder.add(Activation(.plainReLU))
      try await Self.expectAgreement(builder.frozen())
      var broadcast = NetworkBuilder(input: [4, 3, 4])
      let pooled = broadcast.add(GlobalPooling(.average, keepsDimensions: true), after: 0)
      broadcast.add(ElementwiseMerge(operation), after: 0, pooled)
      try await Self.expectAgreement(broadcast.frozen())
    }
    for axis in 0..<3 {
      var builder = NetworkBuilder(input: [2, 2, 2])
      let a = builder.add(Activation(.tanh), after: 0)
      let b = builder.add(Rescaling(scale: [2, 3], offset: [1]), after: 0)
      builder.add(Concatenation(axis: axis), after: a, b, 0)
      try await Self.expectAgreement(builder.frozen())
    }
    let others: [any Layer] = [
      Border(SpatialPadding(top: 1, bottom: 2, left: 0, right: 3)),
      Border(SpatialPadding(top: -1, bottom: 0, left: -1, right: -1)), Permutation(order: [2, 0, 1]),
      Upsampling(factor: Extent2D(height: 2, width: 3), interpolation: .nearest),
      Upsampling(factor: Extent2D(height: 2, width: 3), interpolation: .bilinear),
      ParametricReLU(sharedAxes: [0, 1]), ParametricReLU(sharedAxes: []), Identity(), Reshape(target: [6, -1]),
      Resizing(to: Extent2D(height: 3, width: 7), interpolation: .nearest),
      Resizing(to: Extent2D(height: 6, width: 2), interpolation: .bilinear),
      LayerNormalization(axes: [2], epsilon: 1e-3), LayerNormalization(axes: [0, 1], epsilon: 1e-3, scales: false),
      GroupNormalization(groups: 3, epsilon: 1e-3), UnitNormalization(axes: [0, 2]), Repetition(count: 2),
      TimeDistributed(LayerNormalization(axes: [1], epsilon: 1e-3)),
    ]
    try await Self.expectAgreement(of: others, on: [4, 5, 3])
    var sequential: [any Layer] = [TimeDistributed(Repetition(count: 2)), TimeDistributed(Dense(units: 2))]
    for cell in [
      Recurrence.Cell.simple, .longShortTerm, .gated(resetsAfter: true), .gated(resetsAfter: false),
    ] {
      for returnsSequences in [false, true] {
        let layer = Recurrence(cell, units: 3, returnsSequences: returnsSequences)
        sequential += [layer, BidirectionalRecurrence(layer, layer, merge: .concatenate)]
      }
    }
    try await Self.expectAgreement(of: sequential, on: [5, 4])
  }

  @Test func layersOfSeveralInputs() async throws {
    let cases: [(any Layer, [Int])] = [
      (MultiHeadAttention(heads: 2, keyWidth: 3, valueWidth: 2), [1, 2]),
      (MultiHeadAttention(heads: 2, keyWidth: 3, valueWidth: 2), [1, 1]),
      (MultiHeadAttention(heads: 2, keyWidth: 3, valueWidth: 2, outputWidth: 3), [0, 1, 2]),
      (DotProduct(axes: [1, 1]), [1, 2]),
    ]
    for (layer, inputs) in cases {
      var builder = NetworkBuilder(input: [5, 4])
      let a = builder.add(Activation(.tanh), after: 0)
      let b = builder.add(Dense(units: 4), after: 0)
      let last = builder.add(layer, after: inputs.map { [0, a, b][$0] })
      builder.add(Activation(.sigmoid), after: last)
      try await Self.expectAgreement(builder.frozen(), "\(layer)")
    }
  }

  @Test(arguments: [TransposedConvolution.Padding.same, .valid])
  func transposedConvolutionsOfEveryGeometry(padding: TransposedConvolution.Padding) async throws {
    for window in [1, 2, 3, 4] {
      for stride in [1, 2, 3] {
        for dilation in [1, 2] {
          for usesBias in [false, true] {
            var builder = NetworkBuilder(input: [4, 5, 3])
            builder.add(
              TransposedConvolution(
                filters: 6, window: Extent2D(height: window, width: 3), strides: Extent2D(height: stride, width: 2),
                dilation: Extent2D(height: dilation, width: 1), padding: padding, usesBias: usesBias))
            builder.add(BatchNormalization(epsilon: 1e-3))
            builder.add(Activation(.plainReLU))
            try await Self.expectAgreement(
              builder.frozen(), "window \(window) stride \(stride) dilation \(dilation)")
          }
        }
      }
    }
  }

  /// What stands between a convolution and what can be folded into it is a reshape that keeps the channels.
  @Test func layersAlongOneAxisAreFolded() async throws {
    for target in [[6, 5], [2, 3, 5], [1, 1, 30]] {
      var builder = NetworkBuilder(input: [6, 4])
      builder.add(Reshape(target: [1, 6, 4]))
      let first = builder.add(Convolution(filters: 5, window: Extent2D(height: 1, width: 3), padding: .same))
      let second = builder.add(Reshape(target: target))
      builder.add(BatchNormalization(epsilon: 1e-3))
      let third = builder.add(Activation(.plainReLU))
      let sum = builder.add(ElementwiseMerge(.add), after: third, second)
      try await Self.expectAgreement(builder.frozen(), "\(target)")
      try await Self.expectAgreement(builder.frozen(), outputs: [first, second, third, sum], "\(target)")
    }
  }

  /// Networks are probed with fractions when they are prepared; rows are not.
  @Test func embeddings() async throws {
    var builder = NetworkBuilder(input: [6])
    builder.add(Reshape(target: [2, 3]))
    builder.add(Embedding(vocabulary: 7, width: 4))
    builder.add(Reshape.flatten)
    builder.add(Dense(units: 3))
    let frozen = try builder.frozen()
    let numbers = RandomKey(seed: 3).uniforms(60).map { Float(Int($0 * 7)) }
    let input = Tensor<Float>(shape: [10, 6], numbers)
    let expected = frozen.network.outputs(of: [4], for: input, parameters: frozen.parameters, on: ReferenceBackend())
    for sliceRowCount in [nil, 4] {
      let prepared = try NativeBackend(sliceRowCount: sliceRowCount).prepare(
        frozen, preprocessing: .identity, outputs: [4])
      let actual = try await prepared(RowBatch(input), width: 2)
      Self.expectAgreement(actual[0], expected[0])
      var wrong = input
      wrong[33] = 7
      let error = await #expect(throws: NumericalError.self) { _ = try await prepared(RowBatch(wrong), width: 2) }
      #expect(error?.code == .outOfRange)
      #expect(error?.message.hasPrefix("Element 3 of row 5 is 7.0, but the embedding 'node2'") == true)
    }
  }

  private static func expectAgreement(of layers: [any Layer], on shape: Shape) async throws {
    for layer in layers {
      var builder = NetworkBuilder(input: shape)
      builder.add(Activation(.tanh))
      builder.add(layer)
      builder.add(Activation(.sigmoid))
      try await Self.expectAgreement(builder.frozen(), "\(type(of: layer))")
    }
  }

  /// A row's bits depend neither on the number of workers nor on the rows beside it.
  @Test func sameBitsAtEveryWidthAndInAnyCompany() async throws {
    var builder = NetworkBuilder(input: [8, 8, 3])
    builder.add(Convolution(filters: 16, window: Extent2D(height: 3, width: 3), padding: .same))
    builder.add(Activation(.plainReLU))
    builder.add(GlobalPooling(.average))
    builder.add(Dense(units: 10))
    let frozen = try builder.frozen()
    let prepared = try NativeBackend(sliceRowCount: 8).prepare(
      frozen, preprocessing: .identity, outputs: frozen.network.exits.map(\.logits))
    let input = RandomKey(seed: 4).normals([37, 8, 8, 3], as: Float.self)
    let one = try await prepared(RowBatch(input), width: 1)
    for width in [2, 4] {
      let other = try await prepared(RowBatch(input), width: width)
      #expect(other == one)
    }
    let alone = try await prepared(RowBatch(input.rows(11..<12)), width: 1)
    #expect(alone[0] == one[0].rows(11..<12))
    // Slices of several sizes, as without a size asked for.
    let chosen = try NativeBackend().prepare(
      frozen, preprocessing: .identity, outputs: frozen.network.exits.map(\.logits))
    for rowCount in [1, 2, 3, 7, 8, 20, 37] {
      for width in [1, 2, 4] {
        let some = try await chosen(RowBatch(input.rows(0..<rowCount)), width: width)
        #expect(some[0] == one[0].rows(0..<rowCount), "\(rowCount) rows, width \(width)")
      }
    }
  }

  /// Dense layers of every width, alone and over images, in batches that fill no block of rows.
  @Test(arguments: [1, 3, 10, 33], [1, 2, 5, 17])
  func denseLayersInBlocks(units: Int, rows: Int) async throws {
    for input: Shape in [[7], [2, 3, 5], [5, 5, 4]] {
      var builder = NetworkBuilder(input: input)
      builder.add(Dense(units: units))
      builder.add(Activation(.plainReLU))
      let first = builder.add(Dense(units: 6))
      let second = builder.add(Dense(units: 6, usesBias: false), after: first)
      builder.add(ElementwiseMerge(.add), after: second, first)
      try await Self.expectAgreement(builder.frozen(), rows: [rows])
    }
  }

  @Test func preprocessingIsAppliedToBytes() async throws {
    var builder = NetworkBuilder(input: [1, 2, 3])
    builder.add(Identity())
    let frozen = try builder.frozen()
    let preprocessing = Preprocessing(scale: 255, mean: [0.1, 0.2, 0.3], standardDeviation: [0.5, 1, 2])
    let prepared = try NativeBackend().prepare(frozen, preprocessing: preprocessing, outputs: [1])
    let bytes: ContiguousArray<UInt8> = [0, 51, 255, 255, 102, 0]
    let output = try await prepared(RowBatch(shape: [1, 1, 2, 3], values: .bytes(bytes)), width: 1)
    expectClose(
      output[0],
      Tensor(shape: [1, 1, 2, 3], [-0.2, 0, 0.35, 1.8, 0.2, -0.15] as [Float]), tolerance: 1e-6)
    #expect(throws: NetworkError.self) {
      try NativeBackend().prepare(
        frozen, preprocessing: Preprocessing(mean: [1, 2]), outputs: [1])
    }
  }
}
