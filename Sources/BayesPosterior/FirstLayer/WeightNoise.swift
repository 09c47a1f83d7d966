import BayesNetwork
import BayesTensor

/// A network in which the noise of one layer's weights enters in the way of an estimator, and what turns its gradients
/// into those of means and deviations.
struct WeightNoise: Sendable {
  /// How noise enters.
  enum Form: Sendable {
    /// Not at all: the weights are the means.
    case none
    /// One draw of the weights for all rows of a batch: `w = μ + σ ∘ ε`.
    case draws
    /// `layer(x; μ) + r ∘ layer(x ∘ s; σ ∘ ε)` with signs `s` and `r` of each row and channel.
    case flipout
    /// `layer(x; μ) + √layer(x²; σ²) ∘ ζ` with a normal number for each row and unit.
    case local
  }

  /// Random numbers of one step.
  struct Numbers: Sendable {
    /// Normal numbers in the shapes of the layer's parameters; none where rows have their own.
    var weights: [Tensor<Double>] = []
    /// For each node where noise enters, numbers of each row and channel, `[rows, channels]`: signs, or normal numbers.
    var channels: [Tensor<Float>] = []
  }

  /// One draw of the noise.
  struct Draw: Sendable {
    /// The values of `paths`.
    var parameters: Parameters
    /// The values of the nodes where noise enters, behind those of the boundary.
    var inputs: [RowBatch]
    /// What the gradients of the weights that carry the noise are multiplied by to become those of `σ`.
    var factors: [Tensor<Double>]
  }

  let form: Form
  let layer: VariationalLayer
  /// The network with the noise.
  let frozen: FrozenNetwork
  /// The exit's logits in it.
  let output: Int
  /// Where the frozen prefix ends, as nodes of the network without noise.
  let boundary: [Int]
  /// The same nodes in the network with noise, and behind them those where noise enters.
  let inputs: [Int]
  /// The parameters that carry the noise; those of the layer itself where it has no twin.
  private let noisyPaths: [ParameterPath]

  /// The parameters whose gradients are wanted.
  var paths: Set<ParameterPath> { Set(layer.paths + noisyPaths) }

  /// - Throws: `NetworkError` where an estimator is not for the layer, or no gradient passes to it.
  init(_ form: Form, of layer: VariationalLayer, in frozen: FrozenNetwork, exit: Exit) throws(NetworkError) {
    let network = frozen.network
    self.form = form
    self.layer = layer
    boundary = try network.frozenBoundary(of: [exit.logits], training: Set(layer.paths))
    switch form {
    case .none, .draws:
      self.frozen = frozen
      output = exit.logits
      inputs = boundary
      noisyPaths = layer.paths
      return
    case .flipout: break
    case .local:
      guard network.nodes[layer.node].layer is Dense, network.shapes[layer.node].rank == 1 else {
        throw NetworkError(
          "Local reparametrisation of '\(layer.name)' would draw its output at every position on its own, which is another "
            + "model than one draw of its weights; it is for dense layers with one output a row. Choose draws or flipout."
        )
      }
    }
    var nodes = Array(network.nodes[..<layer.node])
    let original = network.nodes[layer.node]
    let input = original.inputs[0]
    func add(_ suffix: String, _ layer: any Layer, _ inputs: [Int]) -> Int {
      var name = original.name + " " + suffix
      while network.nodes.contains(where: { $0.name == name }) { name += "'" }
      nodes.append(Node(name: name, layer: layer, inputs: inputs))
      return nodes.count - 1
    }
    nodes.append(original)
    let mean = nodes.count - 1
    var noiseNodes: [Int] = []
    let (twin, sum): (Int, Int)
    if form == .flipout {
      let inputSigns = add("input signs", Input(network.shapes[input]), [])
      let outputSigns = add("output signs", Input(network.shapes[layer.node]), [])
      twin = add(
        "perturbation", original.layer, [add("flipped input", ElementwiseMerge(.multiply), [input, inputSigns])])
      sum = add(
        "sum", ElementwiseMerge(.add),
        [mean, add("flipped perturbation", ElementwiseMerge(.multiply), [twin, outputSigns])])
      noiseNodes = [inputSigns, outputSigns]
    } else {
      let noise = add("noise", Input(network.shapes[layer.node]), [])
      twin = add("variance", original.layer, [add("squared input", ElementwiseMerge(.multiply), [input, input])])
      let deviation = add("deviation", SquareRoot(), [twin])
      sum = add(
        "sum", ElementwiseMerge(.add), [mean, add("scaled noise", ElementwiseMerge(.multiply), [deviation, noise])])
      noiseNodes = [noise]
    }
    let shift = sum - layer.node
    func moved(_ index: Int) -> Int { index < layer.node ? index : index + shift }
    nodes += network.nodes[(layer.node + 1)...].map {
      Node(name: $0.name, layer: $0.layer, inputs: $0.inputs.map(moved))
    }
    output = moved(exit.logits)
    let graph = try Network(
      nodes: nodes, exits: [Exit(name: exit.name, logits: output, likelihood: exit.likelihood)])
    noisyPaths = graph.parameterSpecs(of: twin).map(\.path)
    var parameters = frozen.parameters
    for spec in graph.parameterSpecs(of: twin) { parameters[spec.path] = Tensor(zeros: spec.shape) }
    self.frozen = try FrozenNetwork(graph, parameters: parameters)
    inputs = boundary.map(moved) + noiseNodes
  }

  /// Draws the random numbers of a step with so many rows.
  ///
  /// - Determinism: follows from the key.
  func numbers(rowCount: Int, key: RandomKey) -> Numbers {
    var numbers = Numbers()
    if form == .draws || form == .flipout {
      let specs = frozen.network.parameterSpecs(of: layer.node)
      numbers.weights = specs.enumerated().map { key.child($0.offset).normals($0.element.shape) }
    }
    numbers.channels = noiseShapes.enumerated().map { index, shape in
      let key = key.child(100 + index)
      let channels: Shape = [rowCount, shape.dimensions.last ?? 1]
      guard form == .flipout else { return key.normals(channels, as: Float.self) }
      return Tensor(shape: channels, key.uniforms(channels.elementCount).map { $0 < 0.5 ? -1 : 1 })
    }
    return numbers
  }

  /// The noise that random numbers make of a distribution.
  func draw(_ distribution: FactorizedGaussian, _ numbers: Numbers) -> Draw {
    let deviations = distribution.deviations
    let noise = zip(noiseShapes, numbers.channels).map { spread($1, over: $0) }
    switch form {
    case .none:
      return Draw(parameters: layer.parameters(distribution.means), inputs: [], factors: [])
    case .draws:
      let weights = zip(distribution.means, zip(deviations, numbers.weights)).map { mean, other in
        Tensor<Double>(shape: mean.shape, (0..<mean.count).map { mean[$0] + other.0[$0] * other.1[$0] })
      }
      return Draw(parameters: layer.parameters(weights), inputs: [], factors: numbers.weights)
    case .flipout:
      let perturbations = zip(deviations, numbers.weights).map { product($0, $1) }
      return Draw(
        parameters: parameters(distribution.means, perturbations), inputs: noise, factors: numbers.weights)
    case .local:
      return Draw(
        parameters: parameters(distribution.means, deviations.map { $0.map { $0 * $0 } }), inputs: noise,
        factors: deviations.map { $0.map { 2 * $0 } })
    }
  }

  /// The shapes of a row at the nodes where noise enters.
  private var noiseShapes: [Shape] { inputs.dropFirst(boundary.count).map { frozen.network.shapes[$0] } }

  /// The gradient with respect to means and raw deviations from those of the parameters, at a draw.
  func gradient(
    _ gradients: Parameters, at draw: Draw, of distribution: FactorizedGaussian
  ) -> FactorizedGaussian.Gradient {
    func found(_ paths: [ParameterPath]) -> [Tensor<Double>] {
      zip(paths, distribution.means).map { path, mean in
        gradients[path]?.converted(to: Double.self) ?? Tensor(zeros: mean.shape)
      }
    }
    let means = found(layer.paths)
    guard form != .none else {
      return FactorizedGaussian.Gradient(means: means, rawDeviations: means.map { Tensor(zeros: $0.shape) })
    }
    let deviations = zip(found(noisyPaths), draw.factors).map { product($0, $1) }
    return FactorizedGaussian.Gradient(
      means: means,
      rawDeviations: zip(deviations, distribution.rawDeviations).map { product($0, $1.map { sigmoid($0) }) })
  }

  private func parameters(_ means: [Tensor<Double>], _ noisy: [Tensor<Double>]) -> Parameters {
    layer.parameters(means).replacing(
      Parameters(Dictionary(uniqueKeysWithValues: zip(noisyPaths, noisy.map { $0.converted(to: Float.self) }))))
  }

  /// Numbers of each row and channel at all positions of rows of a shape.
  private func spread(_ numbers: Tensor<Float>, over shape: Shape) -> RowBatch {
    let (rowCount, channels) = (numbers.rowCount, numbers.shape[1])
    return RowBatch(
      Tensor<Float>(shape: shape.batched(rowCount)) { span in
        numbers.withSpan { numbers in
          for row in 0..<rowCount {
            for _ in 0..<shape.elementCount / max(1, channels) {
              for channel in 0..<channels { span.append(numbers[row * channels + channel]) }
            }
          }
        }
      })
  }
}

private func product(_ a: Tensor<Double>, _ b: Tensor<Double>) -> Tensor<Double> {
  Tensor(shape: a.shape, zip(a.elements, b.elements).map { $0 * $1 })
}

/// The root of every element; that of a negative one, which is rounding, is zero.
private struct SquareRoot: DifferentiableLayer {
  static let kind = "SquareRoot"

  func outputShape(for inputs: [Shape]) throws(NetworkError) -> Shape { inputs[0] }

  func forward<Scalar: TensorScalar>(
    _ inputs: [Tensor<Scalar>], parameters: [Tensor<Scalar>], on backend: any Backend
  ) -> Tensor<Scalar> {
    inputs[0].map { max($0, 0).squareRoot() }
  }

  /// The derivative at zero, where a row has no noise at all, is taken for zero.
  func pullback<Scalar: TensorScalar>(
    of cotangent: Tensor<Scalar>, inputs: [Tensor<Scalar>], parameters: [Tensor<Scalar>],
    output: Tensor<Scalar>, request: GradientRequest, on backend: any Backend
  ) -> LayerGradients<Scalar> {
    let gradient = Tensor<Scalar>(
      shape: output.shape, zip(cotangent.elements, output.elements).map { $1 > 0 ? $0 / (2 * $1) : 0 })
    return LayerGradients(inputs: [request.inputs[0] ? gradient : nil], parameters: [])
  }
}
