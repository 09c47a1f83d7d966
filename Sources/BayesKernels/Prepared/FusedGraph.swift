import BayesNetwork
import BayesTensor

/// One step of a compiled network, with what was folded into it.
struct FusedOperation: Sendable {
  enum Kind: Sendable {
    /// Borders of zeros before it are part of its padding.
    case convolution(WindowGeometry, groups: Int, weight: Tensor<Float>, bias: Tensor<Float>?)
    /// Its weight as that of a convolution, `[height, width, in, out]`; for inference only.
    case transposedConvolution(TransposedConvolution, weight: Tensor<Float>, bias: Tensor<Float>?)
    case dense(weight: Tensor<Float>, bias: Tensor<Float>?)
    case pooling(PoolingKind, WindowGeometry)
    case activation(ActivationFunction)
    /// One factor and one offset a channel.
    case channelMap(factors: [Float], offsets: [Float])
    case merge(ElementwiseMerge.Operation)
    case concatenation(axis: Int)
    case border(SpatialPadding)
    /// Bilinear interpolation between pixel centres.
    case resampling
    /// Another order of the elements of an image.
    case reorder
    /// Any other layer, by its own function.
    case layer(any Layer, [Tensor<Float>])
  }

  var kind: Kind
  /// The node of the network that this is first of all.
  var node: Int
  /// The batch normalisation whose factors and offsets are in the weights.
  var normalization: Int?
  /// Values that go in, and the shape of a row of each.
  var inputs: [(value: Int, shape: Shape)]
  /// How images lie in the inputs, and in the output and what is added to it.
  var orders = ImageOrders()
  /// A value that is added to the result before the activation.
  var residual: Int?
  /// Applied to the result last.
  var activation: ActivationFunction?
  var output: Int
  var outputShape: Shape

  /// Whether the operation has numbers of its own, and not only those that follow from its node's place.
  var hasParameters: Bool {
    switch kind {
    case .convolution, .transposedConvolution, .dense, .channelMap, .layer: true
    case .pooling, .activation, .merge, .concatenation, .border, .resampling, .reorder: false
    }
  }

  /// The rows that are computed at once, however many a slice has.
  ///
  /// Matrix products round otherwise for other numbers of rows; in blocks of one size they do not.
  var rowBlock: Int {
    guard case .dense(let weight, _) = kind else { return 1 }
    return max(1, 16 * weight.shape[0] / inputs[0].shape.elementCount)
  }
}

/// A network's needed part with batch normalisation, residual additions and activations folded
/// into the convolutions and products before them, and everything that only renames elements gone.
///
/// A value is one buffer of numbers; nodes that do nothing but reshape share the value of their input.
struct FusedGraph: Sendable {
  /// What a graph is compiled for.
  enum Purpose: Sendable {
    case inference
    /// Only what can be undone is folded: one normalisation, whose gradients follow from those of the weights,
    /// and activations whose derivative follows from their result.
    ///
    /// - Parameter apart: normalisations that are trained where the map before them is not: folded, their gradients would
    ///   need those of its weights.
    case training(apart: Set<Int>)

    var isInference: Bool { if case .inference = self { true } else { false } }
  }

  private(set) var operations: [FusedOperation] = []
  /// Elements a row of each value.
  private(set) var elementCounts: [Int] = []
  /// The value of each node given, in the order they were named; all come first.
  private(set) var inputs: [Int] = []
  /// The value of each node asked for, and the shape of a row of it.
  private(set) var outputs: [(value: Int, shape: Shape)] = []

  /// What goes in and comes out alone, for those who keep it when the operations, and the weights in them, are
  /// compiled.
  var boundary: FusedGraph {
    var graph = self
    graph.operations = []
    return graph
  }

  init(_ frozen: FrozenNetwork, inputs given: [Int], outputs wanted: [Int], for purpose: Purpose = .inference) {
    let network = frozen.network
    let needed = network.isNeeded(for: wanted, given: given)
    var consumers = Array(repeating: [Int](), count: network.nodes.count)
    for index in network.nodes.indices where needed[index] && !given.contains(index) {
      for input in network.nodes[index].inputs { consumers[input].append(index) }
    }
    var values = [Int?](repeating: nil, count: network.nodes.count)
    for node in given { values[node] = newValue(network.shapes[node]) }
    inputs = given.compactMap { values[$0] }
    // Images whose border of zeros is left to the convolutions that read them.
    var borders: [Int: SpatialPadding] = [:]

    for index in network.nodes.indices where needed[index] && values[index] == nil {
      let node = network.nodes[index]
      let inputs = node.inputs.compactMap { input in
        // Within a border that is left to this layer lies the image without it.
        let image = borders[input] == nil ? input : network.nodes[input].inputs[0]
        return values[input].map { (value: $0, shape: network.shapes[image]) }
      }
      if node.layer is Identity || node.layer is Reshape {
        values[index] = inputs[0].value
        continue
      }
      if let border = node.layer as? Border, !wanted.contains(index),
        consumers[index].allSatisfy({
          border.isPadding(
            of: network.nodes[$0].layer,
            ofNonnegative: purpose.isInference && network.isNonnegative(node.inputs[0]))
        })
      {
        values[index] = inputs[0].value
        borders[index] = border.padding
        continue
      }
      var operation = FusedOperation(
        kind: Self.kind(
          of: node.layer, inputs.map(\.shape), border: borders[node.inputs[0]] ?? .none,
          Self.tensors(of: index, in: frozen), for: purpose),
        node: index,
        inputs: inputs, output: -1, outputShape: network.shapes[index])
      var last = index
      // Swallow what follows, for as long as nobody else looks at what lies between.
      while !wanted.contains(last), consumers[last].count == 1, values[consumers[last][0]] == nil,
        Self.absorb(consumers[last][0], after: last, into: &operation, frozen, values, for: purpose)
      {
        last = consumers[last][0]
      }
      operation.output = newValue(operation.outputShape)
      values[index] = operation.output
      var swallowed = index
      while swallowed != last {
        swallowed = consumers[swallowed][0]
        values[swallowed] = operation.output
      }
      operations.append(operation)
    }
    outputs = wanted.compactMap { node in values[node].map { ($0, network.shapes[node]) } }
  }

  /// A graph of one operation from value 0 to value 1.
  init(single operation: FusedOperation) {
    operations = [operation]
    elementCounts = [operation.inputs[0].shape.elementCount, operation.outputShape.elementCount]
    inputs = [0]
    outputs = [(1, operation.outputShape)]
  }

  private mutating func newValue(_ shape: Shape) -> Int {
    elementCounts.append(shape.elementCount)
    return elementCounts.count - 1
  }

  /// The same graph with other operations, in which further values of these element counts occur.
  func replacing(
    _ operations: [FusedOperation], elementCounts: [Int], outputs: [(value: Int, shape: Shape)]
  ) -> FusedGraph {
    var result = self
    result.operations = operations
    result.elementCounts = elementCounts
    result.outputs = outputs
    return result
  }

  private static func tensors(of node: Int, in frozen: FrozenNetwork) -> [Tensor<Float>] {
    frozen.network.parameterSpecs(of: node).compactMap { frozen.parameters[$0.path] }
  }

  private static func kind(
    of layer: any Layer, _ inputs: [Shape], border: SpatialPadding, _ parameters: [Tensor<Float>],
    for purpose: Purpose
  ) -> FusedOperation.Kind {
    switch layer {
    case let layer as Convolution:
      return .convolution(
        layer.geometry(for: inputs[0], within: border), groups: layer.groups, weight: parameters[0],
        bias: layer.usesBias ? parameters[1] : nil)
    case let layer as TransposedConvolution where purpose.isInference:
      return .transposedConvolution(
        layer, weight: exchangingLastAxes(of: parameters[0]), bias: layer.usesBias ? parameters[1] : nil)
    case let layer as Dense:
      return .dense(weight: parameters[0], bias: layer.usesBias ? parameters[1] : nil)
    case let layer as Pooling:
      return .pooling(layer.operation, layer.geometry(for: inputs[0], within: border))
    case let layer as GlobalPooling:
      return .pooling(
        layer.operation, WindowGeometry(window: Extent2D(height: inputs[0][0], width: inputs[0][1])))
    case let layer as BatchNormalization:
      let (factors, offsets) = layer.affine(parameters)
      return .channelMap(factors: factors.map { Float($0) }, offsets: offsets.map { Float($0) })
    case let layer as Rescaling:
      let (factors, offsets) = layer.affine(channels: inputs[0].dimensions.last ?? 1)
      return .channelMap(factors: factors.map { Float($0) }, offsets: offsets.map { Float($0) })
    case let layer as Activation where ActivationKernel(layer.function) != nil:
      return .activation(layer.function)
    case let layer as ElementwiseMerge where Set(inputs).count == 1:
      return .merge(layer.operation)
    case let layer as Concatenation: return .concatenation(axis: layer.axis)
    case let layer as Border: return .border(layer.padding)
    case let layer as Upsampling where layer.interpolation == .bilinear: return .resampling
    case let layer as Resizing where layer.interpolation == .bilinear: return .resampling
    default: return .layer(layer, parameters)
    }
  }

  /// Folds a node into the operation that alone feeds it, where that changes nothing but speed.
  private static func absorb(
    _ node: Int, after last: Int, into operation: inout FusedOperation, _ frozen: FrozenNetwork,
    _ values: [Int?], for purpose: Purpose
  ) -> Bool {
    let network = frozen.network
    let isLinear: Bool
    var takesFactors: Bool
    switch operation.kind {
    case .convolution, .dense: (isLinear, takesFactors) = (true, true)
    case .transposedConvolution: (isLinear, takesFactors) = (false, true)
    default: (isLinear, takesFactors) = (false, false)
    }
    takesFactors = takesFactors && operation.residual == nil && operation.activation == nil
    switch network.nodes[node].layer {
    case is Identity: return true
    case is Reshape:
      // A reshape between a linear map and what follows may change what a channel is.
      return takesFactors && network.shapes[node].dimensions.last == network.shapes[last].dimensions.last
    case let layer as BatchNormalization where takesFactors:
      if case .training(let apart) = purpose {
        guard operation.normalization == nil, !apart.contains(node) else { return false }
      }
      operation.fold(layer.affine(tensors(of: node, in: frozen)))
      operation.normalization = node
      return true
    case let layer as Activation where operation.activation == nil && ActivationKernel(layer.function) != nil:
      guard purpose.isInference || ActivationDerivative(layer.function) != nil else { return false }
      switch operation.kind {
      case .convolution, .dense: break
      case .channelMap, .merge:
        guard layer.function == .plainReLU else { return false }
      default: return false
      }
      operation.activation = layer.function
      return true
    case let layer as ElementwiseMerge
    where layer.operation == .add && isLinear && operation.residual == nil && operation.activation == nil:
      let inputs = network.nodes[node].inputs
      guard inputs.count == 2, network.shapes[inputs[0]] == network.shapes[inputs[1]],
        let other = inputs.first(where: { $0 != last }), let value = values[other]
      else { return false }
      operation.residual = value
      return true
    default: return false
    }
  }
}

extension Border {
  /// Whether this border can be left to a layer that reads it: a convolution or, of numbers that are not negative, a
  /// maximum, whose window is wider than the border.
  fileprivate func isPadding(of layer: any Layer, ofNonnegative isNonnegative: Bool) -> Bool {
    let (height, width): (Int, Int)
    switch layer {
    case let layer as Convolution:
      height = layer.dilation.height * (layer.window.height - 1)
      width = layer.dilation.width * (layer.window.width - 1)
    case let layer as Pooling where layer.operation == .maximum && isNonnegative:
      // A zero of the border wins only where all else is zero.
      (height, width) = (layer.window.height - 1, layer.window.width - 1)
    default: return false
    }
    return (0...height).contains(padding.top) && (0...height).contains(padding.bottom)
      && (0...width).contains(padding.left) && (0...width).contains(padding.right)
  }
}

extension Network {
  /// Whether a node's values cannot be below zero.
  fileprivate func isNonnegative(_ node: Int) -> Bool {
    guard let activation = nodes[node].layer as? Activation,
      case .relu(_, let negativeSlope, let threshold) = activation.function
    else { return false }
    return negativeSlope == 0 && threshold >= 0
  }
}

extension Shape {
  /// The shape of an image with a border around it.
  fileprivate func within(_ border: SpatialPadding) -> Shape {
    [self[0] + border.top + border.bottom, self[1] + border.left + border.right, self[2]]
  }
}

extension WindowGeometry {
  /// The same movement over an image whose border is part of the padding.
  fileprivate func including(_ border: SpatialPadding) -> WindowGeometry {
    var geometry = self
    geometry.padding.top += border.top
    geometry.padding.bottom += border.bottom
    geometry.padding.left += border.left
    geometry.padding.right += border.right
    return geometry
  }
}

extension Convolution {
  /// The window's movement over an image that lies within a border of zeros.
  fileprivate func geometry(for image: Shape, within border: SpatialPadding) -> WindowGeometry {
    geometry(for: image.within(border)).including(border)
  }
}

extension Pooling {
  /// The window's movement over an image that lies within a border.
  fileprivate func geometry(for image: Shape, within border: SpatialPadding) -> WindowGeometry {
    geometry(for: image.within(border)).including(border)
  }
}

extension FusedOperation {
  /// Multiplies a linear map's outputs by factors and adds offsets, by changing its weights.
  fileprivate mutating func fold(_ affine: (factors: [Double], offsets: [Double])) {
    switch kind {
    case .convolution(let geometry, let groups, let weight, let bias):
      let folded = folding(affine, into: weight, bias)
      kind = .convolution(geometry, groups: groups, weight: folded.weight, bias: folded.bias)
    case .transposedConvolution(let layer, let weight, let bias):
      let folded = folding(affine, into: weight, bias)
      kind = .transposedConvolution(layer, weight: folded.weight, bias: folded.bias)
    case .dense(let weight, let bias):
      let folded = folding(affine, into: weight, bias)
      kind = .dense(weight: folded.weight, bias: folded.bias)
    default: preconditionFailure("Only linear maps take a normalisation in.")
    }
  }
}

/// The same weights with the channels of what goes in before those of what comes out, or the other way.
///
/// - Shapes: `[height, width, a, b]` to `[height, width, b, a]`.
private func exchangingLastAxes(of weight: Tensor<Float>) -> Tensor<Float> {
  let (a, b) = (weight.shape[2], weight.shape[3])
  return Tensor(shape: [weight.shape[0], weight.shape[1], b, a]) { result in
    for start in stride(from: 0, to: weight.count, by: a * b) {
      for column in 0..<b {
        for row in 0..<a { result.append(weight[start + row * b + column]) }
      }
    }
  }
}

/// The weights of a linear map whose outputs, the last axis, are multiplied by factors and moved by offsets.
func folding(
  _ affine: (factors: [Double], offsets: [Double]), into weight: Tensor<Float>, _ bias: Tensor<Float>?
) -> (weight: Tensor<Float>, bias: Tensor<Float>) {
  let channels = affine.factors.count
  var weight = weight
  weight.withMutableSpan { span in
    for start in stride(from: 0, to: span.count, by: channels) {
      for channel in 0..<channels {
        span[start + channel] = Float(Double(span[start + channel]) * affine.factors[channel])
      }
    }
  }
  return (weight, folding(affine, into: bias))
}

/// The bias of a linear map whose outputs are multiplied by factors and moved by offsets.
func folding(_ affine: (factors: [Double], offsets: [Double]), into bias: Tensor<Float>?) -> Tensor<Float> {
  let offsets = affine.factors.indices.map { channel in
    Float(Double(bias?[channel] ?? 0) * affine.factors[channel] + affine.offsets[channel])
  }
  return Tensor(shape: [offsets.count], offsets)
}
