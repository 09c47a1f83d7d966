@testable import BayesKernels
import BayesNetwork
import BayesTensor
import Testing
import _BayesTestSupport

/// Compiled gradients against the layer-by-layer way back.
@Suite struct TrainingPlanTests {
  /// Rounding in Float of sums of some hundred terms, relative to the largest gradient.
  static let tolerance = 1e-4

  /// A loss that weighs every output differently: half the sum of squares of what is left after fixed targets.
  static let loss: @Sendable ([Tensor<Float>], Range<Int>) -> LossGradient = { outputs, rows in
    var value = 0.0
    let cotangents = outputs.enumerated().map { index, output in
      let width = output.shape.row.elementCount
      return Tensor(
        shape: output.shape,
        (0..<output.count).map { position -> Float in
          let target = Float((position % width * 7 + (rows.lowerBound + position / width) * 3 + index) % 11) / 11 - 0.5
          let rest = output[position] - target
          value += Double(rest * rest) / 2
          return rest
        })
    }
    return LossGradient(value: value, cotangents: cotangents)
  }

  static func trainedPaths(_ network: Network) -> Set<ParameterPath> {
    Set(
      network.nodes.indices.flatMap { index in
        let node = network.nodes[index]
        return node.layer.parameterSpecs(for: node.inputs.map { network.shapes[$0] }).filter(\.isTrained).map {
          ParameterPath(node: node.name, parameter: $0.name)
        }
      })
  }

  /// Other values than the frozen ones, so that a plan that ignores them is found out.
  static func otherParameters(_ frozen: FrozenNetwork, _ paths: Set<ParameterPath>) -> Parameters {
    var current = Parameters()
    for (index, path) in paths.sorted().enumerated() {
      guard let tensor = frozen.parameters[path] else { continue }
      let noise = RandomKey(seed: 31).child(index).normals(tensor.shape, as: Float.self)
      current[path] = Tensor(shape: tensor.shape, zip(tensor.elements, noise.elements).map { $0 + 0.05 * $1 })
    }
    return current
  }

  /// Differences are at most `tolerance` of the largest element.
  static func expectAgreement(
    _ actual: Tensor<Float>, _ expected: Tensor<Float>, _ comment: String,
    sourceLocation: Testing.SourceLocation = #_sourceLocation
  ) {
    let scale = max(1e-3, expected.elements.reduce(0) { max($0, abs($1)) })
    expectClose(
      actual.map { $0 / scale }, expected.map { $0 / scale }, tolerance: tolerance, comment,
      sourceLocation: sourceLocation)
  }

  static func expectAgreement(
    _ frozen: FrozenNetwork, outputs: [Int]? = nil, of paths: Set<ParameterPath>? = nil, rows: Int = 5,
    sliceRowCount: Int? = 2, includingInputs: Bool = true, _ comment: String = "", sourceLocation: Testing.SourceLocation = #_sourceLocation
  ) async throws {
    let outputs = outputs ?? frozen.network.exits.map(\.logits)
    let paths = paths ?? trainedPaths(frozen.network)
    let input = RowBatch(RandomKey(seed: 9).normals(frozen.network.inputShape.batched(rows), as: Float.self))
    let current = otherParameters(frozen, paths)
    func gradients(_ backend: any NetworkBackend, width: Int) async throws -> TrainingGradients {
      let plan = try backend.prepareTraining(
        frozen, preprocessing: .identity, inputs: [0], outputs: outputs, of: paths, includingInputs: includingInputs)
      // The second call finds memory and weights as the first has left them.
      _ = try await plan.gradients(at: [input], parameters: Parameters(), width: width, of: loss)
      return try await plan.gradients(at: [input], parameters: current, width: width, of: loss)
    }
    let expected = try await gradients(ReferenceBackend(), width: 1)
    let actual = try await gradients(NativeBackend(sliceRowCount: sliceRowCount), width: 2)
    #expect(abs(actual.loss - expected.loss) <= 1e-4 * max(1, abs(expected.loss)), sourceLocation: sourceLocation)
    #expect(actual.parameters.paths == expected.parameters.paths, sourceLocation: sourceLocation)
    for path in expected.parameters.paths {
      guard let a = actual.parameters[path], let b = expected.parameters[path] else { continue }
      expectAgreement(a, b, "\(comment) \(path)", sourceLocation: sourceLocation)
    }
    #expect(actual.inputs.count == expected.inputs.count, sourceLocation: sourceLocation)
    for (a, b) in zip(actual.inputs, expected.inputs) {
      expectAgreement(a, b, "\(comment) input", sourceLocation: sourceLocation)
    }
  }

  @Test(arguments: [PaddingRule.same, .valid])
  func convolutionsOfEveryGeometry(padding: PaddingRule) async throws {
    for window in [1, 2, 3] {
      for stride in [1, 2] {
        for dilation in stride == 1 ? [1, 2] : [1] {
          // Those of one to three channels and eights of filters read planes and make blocks.
          for (channels, filters, groups) in [
            (1, 3, 1), (3, 4, 1), (4, 6, 2), (4, 4, 4), (3, 6, 3), (8, 16, 1), (1, 8, 1), (2, 24, 1), (3, 16, 1),
          ] {
            var builder = NetworkBuilder(input: [6, 5, channels])
            builder.add(
              Convolution(
                filters: filters, window: Extent2D(height: window, width: window),
                strides: Extent2D(height: stride, width: stride),
                dilation: Extent2D(height: dilation, width: dilation), padding: padding, groups: groups))
            try await Self.expectAgreement(
              builder.frozen(), "window \(window) stride \(stride) dilation \(dilation) groups \(groups)")
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
              kind, window: Extent2D(height: window, width: window), strides: Extent2D(height: 2, width: 2),
              padding: padding))
          try await Self.expectAgreement(builder.frozen())
        }
      }
    }
    for keeps in [false, true] {
      var builder = NetworkBuilder(input: [3, 4, 5])
      builder.add(Convolution(filters: 6, window: Extent2D(height: 1, width: 1)))
      builder.add(GlobalPooling(kind, keepsDimensions: keeps))
      try await Self.expectAgreement(builder.frozen())
    }
  }

  @Test(arguments: PreparedNetworkTests.activations)
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
    fused.add(Dense(units: 3, usesBias: false))
    try await Self.expectAgreement(fused.frozen())
  }

  @Test func residualBlocksAndChosenLayers() async throws {
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
        ? builder.add(Convolution(filters: 8, window: Extent2D(height: 1, width: 1), usesBias: false), after: start)
        : start
      let sum = builder.add(ElementwiseMerge(.add), after: branch, shortcut)
      let end = builder.add(Activation(.plainReLU), after: sum)
      let squeezed = builder.add(GlobalPooling(.average), after: end)
      let first = builder.add(Dense(units: 4), after: squeezed)
      let last = builder.add(ElementwiseMerge(.multiply), after: end, start)
      let frozen = try builder.frozen(exits: [first])
      try await Self.expectAgreement(frozen, outputs: [first, last])
      // What lies inside a fusion may be an output too, and one output may be asked for twice.
      try await Self.expectAgreement(frozen, outputs: [stem, sum, branch, first, first])
      // More slices than sums, so that sums get several each.
      try await Self.expectAgreement(frozen, rows: 40, sliceRowCount: 1, "slices of one row")
      try await Self.expectAgreement(frozen, rows: 40, sliceRowCount: nil, "slices that fit")
      for path in Self.trainedPaths(frozen.network) {
        try await Self.expectAgreement(frozen, of: [path], includingInputs: false, "only \(path)")
      }
    }
  }

  @Test func mergesAndRearrangements() async throws {
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
      TransposedConvolution(filters: 2, window: Extent2D(height: 3, width: 2), strides: Extent2D(height: 2, width: 3)),
      LayerNormalization(axes: [2], epsilon: 1e-3), LayerNormalization(axes: [0, 1], epsilon: 1e-3, scales: false),
      GroupNormalization(groups: 3, epsilon: 1e-3), UnitNormalization(axes: [0, 2]), Repetition(count: 2),
      Resizing(to: Extent2D(height: 6, width: 2), interpolation: .bilinear), Activation(.hardTanh),
      Activation(.logSoftmax), TimeDistributed(Dense(units: 2)),
    ]
    for layer in others {
      var builder = NetworkBuilder(input: [4, 5, 3])
      builder.add(BatchNormalization(epsilon: 1e-3))
      builder.add(Activation(.tanh))
      builder.add(layer)
      builder.add(Activation(.sigmoid))
      try await Self.expectAgreement(builder.frozen(), "\(type(of: layer))")
    }
  }

  @Test func layersAlongOneAxisAndTablesOfRows() async throws {
    var builder = NetworkBuilder(input: [6, 4])
    builder.add(Reshape(target: [1, 6, 4]))
    builder.add(Convolution(filters: 5, window: Extent2D(height: 1, width: 3), padding: .same))
    let shortcut = builder.add(Reshape(target: [6, 5]))
    builder.add(BatchNormalization(epsilon: 1e-3))
    let last = builder.add(Activation(.plainReLU))
    builder.add(DotProduct(axes: [1, 1]), after: last, shortcut)
    try await Self.expectAgreement(builder.frozen())
  }

  @Test func indicesAreCheckedWhereTablesAreTrained() async throws {
    var builder = NetworkBuilder(input: [4])
    builder.add(Embedding(vocabulary: 5, width: 3))
    builder.add(Reshape.flatten)
    builder.add(Dense(units: 2))
    let frozen = try builder.frozen()
    let paths: Set = [ParameterPath("node1/weight"), ParameterPath("node3/bias")]
    let sound = RowBatch(Tensor(shape: [3, 4], [0, 1, 2, 3, 4, 4, 4, 0, 1, 3, 0, 2]))
    var results: [TrainingGradients] = []
    for backend: any NetworkBackend in [ReferenceBackend(), try NativeBackend(sliceRowCount: 2)] {
      let plan = try backend.prepareTraining(frozen, outputs: [3], of: paths)
      results.append(try await plan.gradients(at: [sound], parameters: Parameters(), width: 1, of: Self.loss))
      let wrong = RowBatch(Tensor(shape: [1, 4], [0, 1, 2, 5]))
      let error = await #expect(throws: NumericalError.self) {
        _ = try await plan.gradients(at: [wrong], parameters: Parameters(), width: 1, of: Self.loss)
      }
      #expect(error?.code == .outOfRange)
    }
    for path in paths {
      let (expected, actual) = (try #require(results[0].parameters[path]), try #require(results[1].parameters[path]))
      expectClose(actual, expected, tolerance: 1e-5)
    }
  }

  /// Only what follows the given node is trained, and the gradient arrives there.
  @Test func plansMayStartInTheMiddle() async throws {
    let frozen = try StagedNetworkTests.network()
    let stage = frozen.network.stages[1]
    let key = RandomKey(seed: 3)
    let inputs = stage.inputs.enumerated().map { index, node in
      RowBatch(key.child(index).normals(frozen.network.shapes[node].batched(5), as: Float.self))
    }
    let needed = frozen.network.isNeeded(for: stage.answers, given: stage.inputs)
    let paths = Self.trainedPaths(frozen.network).filter { path in
      frozen.network.nodes.indices.contains { index in
        needed[index] && !stage.inputs.contains(index)
          && frozen.network.parameterSpecs(of: index).contains { $0.path == path }
      }
    }
    #expect(paths.count > 3)
    var results: [TrainingGradients] = []
    for backend: any NetworkBackend in [ReferenceBackend(), try NativeBackend(sliceRowCount: 2)] {
      let plan = try backend.prepareTraining(
        frozen, preprocessing: .identity, inputs: stage.inputs, outputs: stage.answers, of: paths,
        includingInputs: true)
      results.append(try await plan.gradients(at: inputs, parameters: Parameters(), width: 2, of: Self.loss))
    }
    for path in results[0].parameters.paths {
      guard let a = results[1].parameters[path], let b = results[0].parameters[path] else { continue }
      expectClose(a, b, tolerance: 1e-3, "\(path)")
    }
    for (a, b) in zip(results[1].inputs, results[0].inputs) { expectClose(a, b, tolerance: 1e-3) }
  }

  @Test func sameBitsAtEveryWidth() async throws {
    let frozen = try StagedNetworkTests.network()
    let plan = try NativeBackend().prepareTraining(
      frozen, outputs: frozen.network.exits.map(\.logits), of: Self.trainedPaths(frozen.network))
    let input = RowBatch(RandomKey(seed: 4).normals([77, 8, 8, 3], as: Float.self))
    let one = try await plan.gradients(at: [input], parameters: Parameters(), width: 1, of: Self.loss)
    for width in [2, 4] {
      let other = try await plan.gradients(at: [input], parameters: Parameters(), width: width, of: Self.loss)
      #expect(other.loss == one.loss && other.parameters == one.parameters)
      // Batches of other sizes between leave nothing behind.
      for count in [1, 6, 0] {
        let rows = RowBatch(RandomKey(seed: 5).normals([count, 8, 8, 3], as: Float.self))
        let few = try await plan.gradients(at: [rows], parameters: Parameters(), width: width, of: Self.loss)
        let isZero = few.parameters.paths.allSatisfy { few.parameters[$0]?.elements.allSatisfy { $0 == 0 } ?? true }
        #expect(isZero == (count == 0) && few.parameters.paths == one.parameters.paths)
      }
    }
  }

  @Test func slicesFillBatchesAndGiveEverySumSomething() {
    let small = TrainingSliceSizing(bytesPerRow: 100_000, weightByteCount: 1_000)
    #expect(small.sumCount == 16)
    // 33 rows in pairs would give one sum four; 1,000 in slices of 16 are eight more, but few slices.
    #expect([0, 1, 16, 31, 32, 33, 128, 256, 1000].map(small.rowCount(ofBatch:)) == [1, 1, 1, 1, 2, 1, 8, 16, 16])
    let heavy = TrainingSliceSizing(bytesPerRow: 60_000_000, weightByteCount: 102_000_000)
    #expect(heavy.sumCount == 2)
    // Never more than four rows of such a size, and no rows that only fill a slice.
    #expect([1, 2, 4, 6, 7, 8, 9, 12, 20, 128].map(heavy.rowCount(ofBatch:)) == [1, 1, 2, 1, 2, 4, 1, 2, 2, 4])
    let large = TrainingSliceSizing(bytesPerRow: 200_000_000, weightByteCount: 1_000_000)
    #expect([1, 8, 64].map(large.rowCount(ofBatch:)) == [1, 1, 1])
    let giant = TrainingSliceSizing(bytesPerRow: 1_000, weightByteCount: 400_000_000)
    #expect(giant.sumCount == 1 && giant.rowCount(ofBatch: 64) == 16)
    #expect(TrainingSliceSizing(bytesPerRow: 1, weightByteCount: 1, rowCount: 5).rowCount(ofBatch: 128) == 5)
  }

  @Test func whatHasNoGradientIsRefused() throws {
    let frozen = try StagedNetworkTests.network()
    let outputs = frozen.network.exits.map(\.logits)
    let statistic = frozen.parameters.paths.first { $0.description.hasSuffix("/mean") }
    for backend: any NetworkBackend in [ReferenceBackend(), try NativeBackend()] {
      #expect(throws: NetworkError.self) {
        try backend.prepareTraining(frozen, outputs: outputs, of: [ParameterPath("nowhere/weight")])
      }
      #expect(throws: NetworkError.self) {
        try backend.prepareTraining(frozen, outputs: outputs, of: Set(statistic.map { [$0] } ?? []))
      }
    }
  }
}
