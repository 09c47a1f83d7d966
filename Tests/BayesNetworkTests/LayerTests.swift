import BayesNetwork
import BayesTensor
import Foundation
import Testing
import _BayesTestSupport

/// Layers on cases small enough to work out by hand.
@Suite struct LayerTests {
  /// A shape, and values in row-major order.
  typealias Values = (Shape, [Double])

  private func expect(
    _ layer: some Layer, on inputs: [Values], parameters: [Values] = [], gives expected: Values,
    sourceLocation: Testing.SourceLocation = #_sourceLocation
  ) throws {
    #expect(try layer.outputShape(for: inputs.map(\.0)) == expected.0, sourceLocation: sourceLocation)
    let output = layer.forward(
      inputs.map { Tensor(shape: $0.0.batched(1), $0.1) },
      parameters: parameters.map { Tensor(shape: $0.0, $0.1) }, on: ReferenceBackend())
    // The cases are exact but for a last rounding or two.
    expectClose(
      output, Tensor(shape: expected.0.batched(1), expected.1), tolerance: 1e-15,
      sourceLocation: sourceLocation)
  }

  @Test func denseMapsTheLastAxis() throws {
    try expect(
      Dense(units: 2), on: [([2], [1, 2])], parameters: [([2, 2], [1, 2, 3, 4]), ([2], [10, 20])],
      gives: ([2], [17, 30]))
    try expect(
      Dense(units: 1, usesBias: false), on: [([2, 2], [1, 2, 3, 4])], parameters: [([2, 1], [1, 10])],
      gives: ([2, 1], [21, 43]))
  }

  @Test func convolutionAddsProductsUnderTheWindow() throws {
    let image: Values = ([3, 3, 1], [1, 2, 3, 4, 5, 6, 7, 8, 9])
    let diagonal: Values = ([2, 2, 1, 1], [1, 0, 0, 1])
    let window = Extent2D(height: 2, width: 2)
    try expect(
      Convolution(filters: 1, window: window, usesBias: false), on: [image], parameters: [diagonal],
      gives: ([2, 2, 1], [6, 8, 12, 14]))
    // An even window has its odd zero at the bottom and the right.
    try expect(
      Convolution(filters: 1, window: window, padding: .same), on: [image],
      parameters: [diagonal, ([1], [100])],
      gives: ([3, 3, 1], [106, 108, 103, 112, 114, 106, 107, 108, 109]))
  }

  @Test func convolutionStridesAndDilates() throws {
    try expect(
      Convolution(
        filters: 1, window: Extent2D(height: 3, width: 1), strides: Extent2D(height: 2, width: 1),
        padding: .same, usesBias: false),
      on: [([4, 1, 1], [1, 2, 3, 4])], parameters: [([3, 1, 1, 1], [1, 1, 1])],
      gives: ([2, 1, 1], [6, 7]))
    try expect(
      Convolution(
        filters: 1, window: Extent2D(height: 1, width: 2), dilation: Extent2D(height: 1, width: 3),
        usesBias: false),
      on: [([1, 5, 1], [1, 2, 3, 4, 5])], parameters: [([1, 2, 1, 1], [1, 10])],
      gives: ([1, 2, 1], [41, 52]))
  }

  @Test func groupedConvolutionKeepsGroupsApart() throws {
    let one = Extent2D(height: 1, width: 1)
    try expect(
      Convolution(filters: 4, window: one, groups: 2, usesBias: false), on: [([1, 1, 2], [1, 10])],
      parameters: [([1, 1, 1, 4], [1, 2, 3, 4])], gives: ([1, 1, 4], [1, 2, 30, 40]))
    try expect(
      Convolution(filters: 2, window: one, groups: 2, usesBias: false), on: [([1, 1, 4], [1, 2, 3, 4])],
      parameters: [([1, 1, 2, 2], [1, 10, 100, 1000])], gives: ([1, 1, 2], [201, 4030]))
  }

  @Test func batchNormalizationUsesStoredStatistics() throws {
    let statistics: [Values] = [([1], [1]), ([1], [3.75])]
    let input: [Values] = [([1], [3])]
    try expect(
      BatchNormalization(epsilon: 0.25), on: input, parameters: [([1], [5]), ([1], [7])] + statistics,
      gives: ([1], [12]))
    try expect(
      BatchNormalization(epsilon: 0.25, scales: false), on: input, parameters: [([1], [7])] + statistics,
      gives: ([1], [8]))
    try expect(
      BatchNormalization(epsilon: 0.25, centers: false), on: input, parameters: [([1], [5])] + statistics,
      gives: ([1], [5]))
    try expect(
      BatchNormalization(epsilon: 0.25, scales: false, centers: false), on: input,
      parameters: statistics, gives: ([1], [1]))
  }

  @Test func rescalingIsAffine() throws {
    try expect(
      Rescaling(scale: [2, 4], offset: [1]), on: [([2, 2], [1, 1, 2, 3])], gives: ([2, 2], [3, 5, 5, 13]))
  }

  /// Values of the definitions, computed in Python.
  @Test(arguments: [
    (ActivationFunction.linear, -1.5, -1.5),
    (.plainReLU, -2, 0), (.plainReLU, 3, 3), (.plainReLU, -.infinity, 0),
    (.relu(ceiling: 4, negativeSlope: 0.1, threshold: 0.5), -1, -0.15),
    (.relu(ceiling: 4, negativeSlope: 0.1, threshold: 0.5), 0.25, -0.025),
    (.relu(ceiling: 4, negativeSlope: 0.1, threshold: 0.5), 2, 2),
    (.relu(ceiling: 4, negativeSlope: 0.1, threshold: 0.5), 9, 4),
    (.elu(alpha: 0.5), -1, -0.31606027941427883), (.elu(alpha: 0.5), 2, 2),
    (.selu, 1, 1.0507009873554805), (.selu, -1, -1.1113307378125625),
    (.gelu, 1, 0.8413447460685429), (.geluTanh, 1, 0.8411919906082768),
    (.sigmoid, 0, 0.5), (.sigmoid, -800, 0), (.sigmoid, 800, 1),
    (.hardSigmoid(slope: 0.2, offset: 0.5), 1, 0.7), (.hardSigmoid(slope: 0.2, offset: 0.5), -3, 0),
    (.hardSigmoid(slope: 1.0 / 6, offset: 0.5), 4, 1),
    (.tanh, 1, 0.7615941559557649),
    (.softplus, 0, 0.6931471805599453), (.softplus, 800, 800), (.softplus, -800, 0),
    (.softsign, 1, 0.5), (.softsign, -3, -0.75),
    (.swish, 1, 0.7310585786300049), (.hardSwish, 1, 2.0 / 3), (.hardSwish, -4, 0),
    (.exponential, 1, 2.718281828459045), (.mish, 1, 0.8650983882673103),
  ])
  func activationsFollowTheirDefinitions(function: ActivationFunction, x: Double, expected: Double) {
    // Some formulas round a few times.
    expectClose(function.value(x), expected, tolerance: 1e-15)
  }

  @Test func softmaxRunsAlongTheLastAxisWithoutOverflow() throws {
    let e = 2.718281828459045
    try expect(
      Activation(.softmax), on: [([2, 2], [1000, 1000, 0, 1])],
      gives: ([2, 2], [0.5, 0.5, 1 / (1 + e), e / (1 + e)]))
  }

  @Test func parametricReLUBroadcastsItsSlopes() throws {
    let input: [Values] = [([1, 2, 2], [-1, -1, 2, -2])]
    try expect(
      ParametricReLU(sharedAxes: [0, 1]), on: input, parameters: [([1, 1, 2], [0.5, 0.25])],
      gives: ([1, 2, 2], [-0.5, -0.25, 2, -0.5]))
    try expect(
      ParametricReLU(sharedAxes: []), on: input, parameters: [([1, 2, 2], [1, 2, 3, 4])],
      gives: ([1, 2, 2], [-1, -2, 2, -8]))
  }

  @Test func mergingBroadcastsExtentsOfOne() throws {
    let image: Values = ([1, 2, 2], [1, 2, 3, 4])
    let channels: Values = ([1, 1, 2], [10, 3])
    try expect(ElementwiseMerge(.add), on: [image, channels], gives: ([1, 2, 2], [11, 5, 13, 7]))
    try expect(ElementwiseMerge(.subtract), on: [channels, image], gives: ([1, 2, 2], [9, 1, 7, -1]))
    try expect(ElementwiseMerge(.multiply), on: [image, channels], gives: ([1, 2, 2], [10, 6, 30, 12]))
    try expect(ElementwiseMerge(.maximum), on: [image, channels], gives: ([1, 2, 2], [10, 3, 10, 4]))
    try expect(ElementwiseMerge(.minimum), on: [image, channels], gives: ([1, 2, 2], [1, 2, 3, 3]))
    try expect(
      ElementwiseMerge(.average), on: [([2], [1, 2]), ([2], [3, 4]), ([2], [5, 9])],
      gives: ([2], [3, 5]))
  }

  @Test func concatenationJoinsAlongItsAxis() throws {
    let inputs: [Values] = [([2, 1], [1, 2]), ([2, 1], [3, 4])]
    try expect(Concatenation(axis: 0), on: inputs, gives: ([4, 1], [1, 2, 3, 4]))
    try expect(Concatenation(axis: 1), on: inputs, gives: ([2, 2], [1, 3, 2, 4]))
  }

  @Test func poolingLeavesPaddingOut() throws {
    let row: [Values] = [([1, 3, 1], [-1, -2, -6])]
    let two = Extent2D(height: 1, width: 2)
    try expect(
      Pooling(.maximum, window: two, strides: two, padding: .same), on: row,
      gives: ([1, 2, 1], [-1, -6]))
    try expect(
      Pooling(.average, window: two, strides: two, padding: .same), on: row,
      gives: ([1, 2, 1], [-1.5, -6]))
    try expect(
      Pooling(.average, window: two, strides: two, padding: .valid), on: row, gives: ([1, 1, 1], [-1.5]))
  }

  @Test func globalPoolingCoversTheImage() throws {
    let image: [Values] = [([2, 1, 2], [1, 10, 3, -20])]
    try expect(GlobalPooling(.average), on: image, gives: ([2], [2, -5]))
    try expect(GlobalPooling(.maximum, keepsDimensions: true), on: image, gives: ([1, 1, 2], [3, 10]))
  }

  @Test func rearrangingMovesElementsOnly() throws {
    let block: [Values] = [([1, 2, 3], [1, 2, 3, 4, 5, 6])]
    try expect(Reshape.flatten, on: block, gives: ([6], [1, 2, 3, 4, 5, 6]))
    try expect(Reshape(target: [3, -1]), on: block, gives: ([3, 2], [1, 2, 3, 4, 5, 6]))
    try expect(Permutation(order: [2, 0, 1]), on: block, gives: ([3, 1, 2], [1, 4, 2, 5, 3, 6]))
    try expect(Identity(dropoutRate: 0.9), on: block, gives: block[0])
  }

  @Test func bordersPadAndCrop() throws {
    let image: [Values] = [([2, 2, 1], [1, 2, 3, 4])]
    try expect(
      Border(SpatialPadding(top: 1, right: 1)), on: image, gives: ([3, 3, 1], [0, 0, 0, 1, 2, 0, 3, 4, 0]))
    try expect(Border(SpatialPadding(top: -1, left: -1)), on: image, gives: ([1, 1, 1], [4]))
    try expect(
      Border(SpatialPadding(top: -1, bottom: 1)), on: image, gives: ([2, 2, 1], [3, 4, 0, 0]))
  }

  @Test func upsamplingRepeatsOrInterpolates() throws {
    let row: [Values] = [([1, 2, 1], [0, 4])]
    let double = Extent2D(height: 1, width: 2)
    try expect(
      Upsampling(factor: double, interpolation: .nearest), on: row, gives: ([1, 4, 1], [0, 0, 4, 4]))
    try expect(
      Upsampling(factor: double, interpolation: .bilinear), on: row, gives: ([1, 4, 1], [0, 1, 3, 4]))
  }

  // MARK: Gradients

  /// Expects the gradients that a cotangent of ones gives.
  private func expectGradients(
    _ layer: some DifferentiableLayer, on inputs: [Values], parameters: [Values] = [],
    give expected: [[Double]], ofParameters expectedParameters: [[Double]?] = [],
    sourceLocation: Testing.SourceLocation = #_sourceLocation
  ) {
    let tensors = inputs.map { Tensor(shape: $0.0.batched(1), $0.1) }
    let weights = parameters.map { Tensor(shape: $0.0, $0.1) }
    let output = layer.forward(tensors, parameters: weights, on: ReferenceBackend())
    let gradients = layer.pullback(
      of: Tensor(repeating: 1, shape: output.shape), inputs: tensors, parameters: weights, output: output,
      request: GradientRequest(inputs: inputs.map { _ in true }, parameters: true), on: ReferenceBackend())
    #expect(gradients.inputs.map { $0.map { Array($0.elements) } } == expected, sourceLocation: sourceLocation)
    #expect(
      gradients.parameters.map { $0.map { Array($0.elements) } } == expectedParameters,
      sourceLocation: sourceLocation)
  }

  @Test func equalMaximaGoToTheFirst() {
    let image: Values = ([2, 3, 1], [1, 2, 2, 2, 0, 2])
    let two = Extent2D(height: 2, width: 2)
    let one = Extent2D(height: 1, width: 1)
    expectGradients(
      Pooling(.maximum, window: two, strides: one, padding: .valid), on: [image], give: [[0, 2, 0, 0, 0, 0]])
    // Padding counts in no window, however small the pixels are.
    expectGradients(
      Pooling(.maximum, window: two, strides: two, padding: .same), on: [([1, 3, 1], [-3, -3, -5])],
      give: [[1, 0, 1]])
    expectGradients(GlobalPooling(.maximum), on: [image], give: [[0, 1, 0, 0, 0, 0]])
    let rows: [Values] = [([3], [1, 2, 0]), ([3], [1, 1, 3]), ([3], [1, 2, 3])]
    expectGradients(ElementwiseMerge(.maximum), on: rows, give: [[1, 1, 0], [0, 0, 1], [0, 0, 0]])
    expectGradients(ElementwiseMerge(.minimum), on: rows, give: [[1, 0, 1], [0, 1, 0], [0, 0, 0]])
  }

  @Test func kinksHaveTheDerivativeOfKerasAndPyTorch() {
    let zero: Values = ([1], [0])
    func expect(
      _ function: ActivationFunction, _ values: [Double], _ expected: [Double],
      sourceLocation: Testing.SourceLocation = #_sourceLocation
    ) {
      expectGradients(
        Activation(function), on: [([values.count], values)], give: [expected], sourceLocation: sourceLocation)
    }
    expect(.plainReLU, [-1, 0, 1], [0, 0, 1])
    expect(.relu(ceiling: 6, negativeSlope: 0.25, threshold: 0), [-1, 0, 5, 6, 7], [0.25, 0.25, 1, 0, 0])
    expect(.relu(ceiling: nil, negativeSlope: 0, threshold: 1), [0.5, 1, 1.5], [0, 0, 1])
    expect(.elu(alpha: 0.5), [0, 1], [0.5, 1])
    expect(.hardSigmoid(slope: 0.25, offset: 0.5), [-2, 0, 2], [0, 0.25, 0])
    expect(.hardSwish, [-3, 0, 3], [0, 0.5, 1])
    expectGradients(
      ParametricReLU(sharedAxes: []), on: [zero], parameters: [([1], [0.25])], give: [[0.25]],
      ofParameters: [[0]])
  }

  @Test func productsWithZeroHaveTheOtherFactor() {
    expectGradients(
      ElementwiseMerge(.multiply), on: [([2], [0, 0]), ([2], [3, 0]), ([1], [5])],
      give: [[15, 0], [0, 0], [0]])
  }

  @Test func storedStatisticsHaveNoGradient() {
    expectGradients(
      BatchNormalization(epsilon: 0.25), on: [([2, 1], [3, 5])],
      parameters: [([1], [6]), ([1], [7]), ([1], [1]), ([1], [3.75])], give: [[3, 3]],
      ofParameters: [[3], [2], nil, nil])
  }

  // MARK: Refusals

  private static let huge = Extent2D(height: .max, width: .max)
  private static let one = Extent2D(height: 1, width: 1)

  /// Settings that make no sense; some would overflow if anything were computed with them.
  private static let senseless: [(any Layer, [Shape])] = [
    (Dense(units: 0), [[3]]), (Dense(units: .max), [[3]]), (Dense(units: 1 << 24), [[1 << 20]]),
    (Convolution(filters: 1, window: huge), [[4, 4, 1]]),
    (Convolution(filters: 1, window: huge, padding: .same), [[4, 4, 1]]),
    (Convolution(filters: 1, window: one, strides: huge, padding: .same), [[4, 4, 1]]),
    (Convolution(filters: 1, window: one, dilation: huge, padding: .same), [[4, 4, 1]]),
    (Convolution(filters: .max, window: one), [[4, 4, 1]]),
    (Convolution(filters: -1, window: one), [[4, 4, 1]]),
    (Convolution(filters: 2, window: one, groups: 0), [[4, 4, 2]]),
    (Convolution(filters: 3, window: one, groups: 2), [[4, 4, 2]]),
    (Convolution(filters: 2, window: one, groups: 2), [[4, 4, 3]]),
    (Convolution(filters: 2, window: Extent2D(height: 5, width: 1)), [[4, 4, 3]]),
    (Convolution(filters: 2, window: one, padding: .explicit(SpatialPadding(top: .max))), [[4, 4, 3]]),
    (Convolution(filters: 2, window: one, padding: .explicit(SpatialPadding(top: -1))), [[4, 4, 3]]),
    (Convolution(filters: 2, window: one), [[4, 4]]),
    (Pooling(.maximum, window: huge, strides: one, padding: .same), [[4, 4, 1]]),
    (Pooling(.maximum, window: one, strides: huge, padding: .same), [[4, 4, 1]]),
    (Pooling(.maximum, window: Extent2D(height: 9, width: 1), strides: one, padding: .valid), [[4, 4, 1]]),
    (GlobalPooling(.average), [[4]]),
    (Rescaling(scale: [1, 2], offset: [0]), [[3]]),
    (ParametricReLU(sharedAxes: [3]), [[4, 4, 1]]), (ParametricReLU(sharedAxes: [-1]), [[4]]),
    (ElementwiseMerge(.add), [[3]]), (ElementwiseMerge(.add), [[3], [4]]),
    (ElementwiseMerge(.add), [[3], [3, 1]]), (ElementwiseMerge(.subtract), [[3], [3], [3]]),
    (ElementwiseMerge(.add), [[1 << 20, 1], [1, 1 << 20]]),
    (Concatenation(axis: 1), [[3]]), (Concatenation(axis: 0), []),
    (Concatenation(axis: 0), [[2, 3], [2, 4]]), (Concatenation(axis: 0), [[2], [2, 1]]),
    (Reshape(target: [5]), [[4]]), (Reshape(target: [-1, -1]), [[4]]), (Reshape(target: []), [[1]]),
    (Reshape(target: [0, -1]), [[4]]), (Reshape(target: [-2, -2]), [[4]]),
    (Reshape(target: [.max, .max]), [[4]]), (Reshape(target: [3, -1]), [[4]]),
    (Permutation(order: [0, 0]), [[2, 2]]), (Permutation(order: [1]), [[2]]),
    (Border(SpatialPadding(top: .max, bottom: .max)), [[4, 4, 1]]),
    (Border(SpatialPadding(top: .min)), [[4, 4, 1]]), (Border(SpatialPadding(left: -4)), [[4, 4, 1]]),
    (Upsampling(factor: huge, interpolation: .nearest), [[4, 4, 1]]),
    (Upsampling(factor: Extent2D(height: 0, width: 1), interpolation: .nearest), [[4, 4, 1]]),
    (Activation(.plainReLU), []), (Identity(), [[1], [1]]), (BatchNormalization(epsilon: 0), [[1], [1]]),
  ]

  @Test(arguments: senseless.indices)
  func settingsThatMakeNoSenseAreRefused(index: Int) {
    let (layer, inputs) = Self.senseless[index]
    let error = #expect(throws: NetworkError.self, "\(layer)") { _ = try layer.outputShape(for: inputs) }
    #expect(error?.message.hasSuffix(".") == true)
  }

  @Test(arguments: ["[]", "[0]", "[-1, 4]", "[1099511627776]", "[4294967296, 4294967296]"])
  func inputsNeedPositiveExtents(extents: String) throws {
    let input = try JSONDecoder().decode(Input.self, from: Data("{\"dimensions\": \(extents)}".utf8))
    #expect(throws: NetworkError.self) { _ = try input.outputShape(for: []) }
  }
}
