import BayesNetwork
import BayesPrediction
import BayesTensor
import Testing
import _BayesTestSupport

/// Gradients of whole networks against those that PyTorch computed in double precision.
@Suite struct NetworkGradientTests {
  private static let one = Extent2D(height: 1, width: 1)
  private static let three = Extent2D(height: 3, width: 3)

  /// The graphs of `make_gradients.py`; exits are the nodes after which it takes logits.
  private static func network(_ name: String, input: Shape) throws -> Network {
    var nodes = [Node(name: "input", layer: Input(input), inputs: [])]
    func add(_ name: String, _ layer: any Layer, _ inputs: Int...) {
      nodes.append(Node(name: name, layer: layer, inputs: inputs.isEmpty ? [nodes.count - 1] : inputs))
    }
    let normalization = BatchNormalization(epsilon: 1e-3)
    let exits: [Int]
    switch name {
    case "residual":
      add("first", Convolution(filters: 4, window: three, padding: .same))
      add("first normalization", normalization)
      add("first activation", Activation(.plainReLU))
      add("second", Convolution(filters: 4, window: three, padding: .same, usesBias: false))
      add("second normalization", normalization)
      add("shortcut", Convolution(filters: 4, window: one), 0)
      add("sum", ElementwiseMerge(.add), 5, 6)
      add("activation", Activation(.plainReLU))
      add("mean", GlobalPooling(.average))
      add("head", Dense(units: 3))
      exits = [10]
    case "exits":
      add(
        "stem",
        Convolution(filters: 4, window: three, strides: Extent2D(height: 2, width: 2), padding: .same))
      add("stem normalization", normalization)
      add("stem activation", Activation(.swish))
      add(
        "maximum",
        Pooling(.maximum, window: Extent2D(height: 2, width: 2), strides: one, padding: .valid))
      add("early mean", GlobalPooling(.average))
      add("early", Dense(units: 3))
      add("depthwise", Convolution(filters: 4, window: three, padding: .same, groups: 4, usesBias: false), 4)
      add("both", Concatenation(axis: 2), 4, 7)
      add("mixing", Convolution(filters: 3, window: one))
      add("mixing activation", Activation(.elu(alpha: 1)))
      add("flat", Reshape.flatten)
      add("late", Dense(units: 3))
      exits = [6, 12]
    default:
      add(
        "stem",
        Convolution(
          filters: 4, window: Extent2D(height: 2, width: 2), dilation: Extent2D(height: 1, width: 2),
          padding: .explicit(SpatialPadding(top: 1)), groups: 2))
      add("slopes", ParametricReLU(sharedAxes: [0, 1]))
      let window = Extent2D(height: 2, width: 1)
      add("mean", Pooling(.average, window: window, strides: window, padding: .valid))
      add("larger", Upsampling(factor: Extent2D(height: 2, width: 2), interpolation: .bilinear))
      add("squeezed", GlobalPooling(.average, keepsDimensions: true))
      add("gate", Convolution(filters: 4, window: one))
      add("gate activation", Activation(.sigmoid))
      add("gated", ElementwiseMerge(.multiply), 4, 7)
      add("left", Convolution(filters: 3, window: one))
      add("left activation", Activation(.gelu))
      add("right", Convolution(filters: 3, window: one), 8)
      add("right activation", Activation(.tanh))
      add("maximum", ElementwiseMerge(.maximum), 10, 12)
      add("flat", Reshape.flatten)
      add("head", Dense(units: 4))
      exits = [15]
    }
    return try Network(
      nodes: nodes, exits: exits.map { Exit(name: nodes[$0].name, logits: $0, likelihood: .categorical) })
  }

  private struct Case {
    let network: Network
    let parameters: Parameters
    let golden: GoldenValue
    var labels: [Int] { golden["labels"]["values"].numbers.map { Int($0) } }
    /// Written as numbers of single precision, and so read.
    var input: Tensor<Float> { golden["input"].tensor(as: Float.self) }
    var outputs: [Int] { network.exits.map(\.logits) }

    init(_ name: String) throws {
      golden = try GoldenValue(contentsOf: "Gradients/network-\(name).json")
      network = try NetworkGradientTests.network(
        name, input: golden["input"].tensor(as: Double.self).shape.row)
      var parameters = Parameters()
      for (path, value) in golden["parameters"].table {
        parameters[ParameterPath(path)] = value.tensor(as: Float.self)
      }
      self.parameters = parameters
    }

    var paths: Set<ParameterPath> { Set(golden["gradients"].table.keys.map { ParameterPath($0) }) }

    func gradients<Scalar: TensorScalar>(
      _ type: Scalar.Type, withRespectTo paths: Set<ParameterPath>, includingInput: Bool
    ) throws -> (loss: Double, gradients: NetworkGradients<Scalar>) {
      var loss = 0.0
      let gradients = try network.gradients(
        of: outputs, at: input.converted(to: Scalar.self), parameters: parameters,
        withRespectTo: paths, includingInput: includingInput, on: ReferenceBackend()
      ) { outputs -> [Tensor<Scalar>] in
        let losses = try outputs.map { try SoftmaxCrossEntropy()($0, labels: labels) }
        let weighted = WeightedLoss(losses, weights: golden["exitWeights"].numbers)
        loss = weighted.value
        return weighted.cotangents
      }
      return (loss, gradients)
    }
  }

  static let names = ["residual", "exits", "gates"]

  @Test(arguments: names) func gradientsAreThoseOfPyTorch(name: String) throws {
    let test = try Case(name)
    #expect(
      Set(test.network.parameterSpecs.map(\.path)).isSuperset(of: test.paths)
        && test.network.parameterSpecs.count == test.golden["parameters"].table.count)
    // A few roundings in each precision.
    try compare(test, as: Double.self, tolerance: 1e-14)
    try compare(test, as: Float.self, tolerance: 1e-6)
  }

  /// Compares the loss, and each gradient by the norm of its error relative to its own.
  private func compare<Scalar: TensorScalar>(_ test: Case, as type: Scalar.Type, tolerance: Double) throws {
    let (loss, gradients) = try test.gradients(type, withRespectTo: test.paths, includingInput: true)
    expectClose(loss, test.golden["loss"].number, tolerance: tolerance)
    #expect(Set(gradients.parameters.keys) == test.paths)
    for (path, gradient) in gradients.parameters {
      let error = relativeError(gradient, test.golden["gradients"][path.description].tensor())
      #expect(error < tolerance, "\(path)")
    }
    let error = relativeError(try #require(gradients.input), test.golden["inputGradient"].tensor())
    #expect(error < tolerance, "the input")
  }

  private func relativeError<Scalar: TensorScalar>(_ actual: Tensor<Scalar>, _ expected: Tensor<Double>) -> Double {
    guard actual.shape == expected.shape else { return .infinity }
    let (actual, expected) = (actual.converted(to: Double.self).elements, expected.elements)
    let error = zip(actual, expected).reduce(0) { $0 + ($1.0 - $1.1) * ($1.0 - $1.1) }
    return (error / expected.reduce(0) { $0 + $1 * $1 }).squareRoot()
  }

  @Test(arguments: names) func eachGradientAloneHasTheSameBits(name: String) throws {
    let test = try Case(name)
    let all = try test.gradients(Float.self, withRespectTo: test.paths, includingInput: true).gradients
    for path in test.paths {
      let alone = try test.gradients(Float.self, withRespectTo: [path], includingInput: false).gradients
      #expect(alone.parameters == [path: try #require(all.parameters[path])])
      #expect(alone.input == nil)
    }
    let input = try test.gradients(Float.self, withRespectTo: [], includingInput: true).gradients
    #expect(input.input == all.input)
    #expect(input.parameters.isEmpty)
  }

  /// Scales its input, and expects to be asked for no more than the gradient with respect to it.
  private struct Watched: DifferentiableLayer {
    static let kind = "Watched"
    /// Whether anything may be asked of it at all.
    var mayBeAsked = true

    func parameterSpecs(for inputs: [Shape]) -> [ParameterSpec] { [ParameterSpec("factor", [1])] }
    func outputShape(for inputs: [Shape]) -> Shape { inputs[0] }
    func forward<Scalar: TensorScalar>(
      _ inputs: [Tensor<Scalar>], parameters: [Tensor<Scalar>], on backend: any Backend
    ) -> Tensor<Scalar> { inputs[0].map { $0 * parameters[0][0] } }

    func pullback<Scalar: TensorScalar>(
      of cotangent: Tensor<Scalar>, inputs: [Tensor<Scalar>], parameters: [Tensor<Scalar>],
      output: Tensor<Scalar>, request: GradientRequest, on backend: any Backend
    ) -> LayerGradients<Scalar> {
      #expect(mayBeAsked)
      #expect(request.inputs == [true])
      #expect(!request.parameters)
      return LayerGradients(inputs: [cotangent.map { $0 * parameters[0][0] }], parameters: [nil])
    }
  }

  /// Passes its input on and has no pullback.
  private struct OneWay: Layer {
    static let kind = "OneWay"
    func outputShape(for inputs: [Shape]) -> Shape { inputs[0] }
    func forward<Scalar: TensorScalar>(
      _ inputs: [Tensor<Scalar>], parameters: [Tensor<Scalar>], on backend: any Backend
    ) -> Tensor<Scalar> { inputs[0] }
  }

  private func gradients(
    _ frozen: FrozenNetwork, of outputs: [Int], withRespectTo paths: Set<ParameterPath>,
    includingInput: Bool = false, cotangents: ([Tensor<Double>]) -> [Tensor<Double>] = { $0 }
  ) throws -> NetworkGradients<Double> {
    try frozen.network.gradients(
      of: outputs, at: Tensor(shape: [2, 3], [1, 2, 3, 4, 5, 6]), parameters: frozen.parameters,
      withRespectTo: paths, includingInput: includingInput, on: ReferenceBackend(), cotangents: cotangents)
  }

  @Test func layersBeforeTheFirstChosenAreNotAsked() throws {
    var builder = NetworkBuilder(input: [3])
    builder.add(OneWay())
    builder.add(Watched(mayBeAsked: false))
    builder.add(Dense(units: 2))
    builder.add(Watched())
    let frozen = try builder.frozen()
    let path = ParameterPath("node3/weight")
    #expect(try gradients(frozen, of: [4], withRespectTo: [path]).parameters.keys.elementsEqual([path]))
  }

  @Test func branchesWithoutAChosenParameterAreNotAsked() throws {
    var builder = NetworkBuilder(input: [3])
    let chosen = builder.add(Dense(units: 3), after: 0)
    let other = builder.add(Watched(mayBeAsked: false), after: 0)
    builder.add(ElementwiseMerge(.multiply), after: chosen, other)
    let result = try gradients(try builder.frozen(), of: [3], withRespectTo: [ParameterPath("node1/bias")])
    #expect(result.parameters.count == 1)
  }

  @Test func layersWithoutAPullbackAreNamed() throws {
    var builder = NetworkBuilder(input: [3])
    builder.add(Dense(units: 2))
    builder.add(OneWay())
    let frozen = try builder.frozen()
    let error = #expect(throws: NetworkError.self) {
      _ = try gradients(frozen, of: [2], withRespectTo: [ParameterPath("node1/weight")])
    }
    #expect(
      error?.message == "Node 'node2' is of kind OneWay, which has no pullback, so no gradient passes through it.")
    // Behind the outputs it is in nobody's way.
    #expect(try gradients(frozen, of: [1], withRespectTo: [ParameterPath("node1/weight")]).parameters.count == 1)
  }

  @Test(arguments: [
    ("node1/scale", "The network has no parameter node1/scale, so there is no gradient with respect to it."),
    (
      "node2/mean",
      "node2/mean is a stored statistic and has no gradient; choose parameters that are trained."
    ),
  ])
  func pathsWithoutAGradientAreRefused(path: String, message: String) throws {
    var builder = NetworkBuilder(input: [3])
    builder.add(Dense(units: 2))
    builder.add(BatchNormalization(epsilon: 1e-3))
    let frozen = try builder.frozen()
    let error = #expect(throws: NetworkError.self) {
      _ = try gradients(frozen, of: [2], withRespectTo: [ParameterPath("node1/weight"), ParameterPath(path)])
    }
    #expect(error?.message == message)
  }

  @Test func cotangentsMustFitTheOutputs() throws {
    var builder = NetworkBuilder(input: [3])
    builder.add(Dense(units: 2))
    let frozen = try builder.frozen()
    for wrong in [[], [Tensor(zeros: [2, 3])], [Tensor(zeros: [2, 2]), Tensor(zeros: [2, 2])]] as [[Tensor<Double>]] {
      let error = #expect(throws: NetworkError.self) {
        _ = try gradients(frozen, of: [1], withRespectTo: [ParameterPath("node1/bias")]) { _ in wrong }
      }
      #expect(error?.message.hasPrefix("Cotangents of \(wrong.map(\.shape)) were given") == true)
    }
  }

  @Test func whatNoOutputDependsOnHasAGradientOfZero() throws {
    var builder = NetworkBuilder(input: [3])
    let first = builder.add(Dense(units: 2), after: 0)
    builder.add(Dense(units: 2), after: 0)
    let result = try gradients(try builder.frozen(), of: [first], withRespectTo: [ParameterPath("node2/weight")])
    #expect(result.parameters == [ParameterPath("node2/weight"): Tensor(zeros: [3, 2])])
  }

  @Test func outputsMayRepeatAndBeTheInput() throws {
    var builder = NetworkBuilder(input: [3])
    builder.add(Dense(units: 2, usesBias: false))
    let frozen = try builder.frozen()
    let once = try gradients(frozen, of: [1], withRespectTo: [ParameterPath("node1/weight")])
    let twice = try gradients(frozen, of: [1, 1], withRespectTo: [ParameterPath("node1/weight")])
    #expect(twice.parameters == once.parameters.mapValues { $0.map { 2 * $0 } })
    let input = try gradients(frozen, of: [0], withRespectTo: [], includingInput: true)
    #expect(input.input == Tensor(shape: [2, 3], [1, 2, 3, 4, 5, 6]))
  }
}
