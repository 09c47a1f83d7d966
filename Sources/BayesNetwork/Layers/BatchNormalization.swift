public import BayesTensor

/// Batch normalisation in evaluation form: an affine map a channel with stored statistics.
///
///     y = (x − mean) / √(variance + ε) · scale + offset
///
/// - Shapes: `[…, channels]`, unchanged; parameters `[channels]` each.
public struct BatchNormalization: DifferentiableLayer, Hashable {
  public static let kind = "BatchNormalization"
  public var epsilon: Double
  /// Whether there is a learned scale.
  public var scales: Bool
  /// Whether there is a learned offset.
  public var centers: Bool

  public init(epsilon: Double, scales: Bool = true, centers: Bool = true) {
    self.epsilon = epsilon
    self.scales = scales
    self.centers = centers
  }

  public func parameterSpecs(for inputs: [Shape]) -> [ParameterSpec] {
    let channels: Shape = [inputs[0].dimensions.last ?? 0]
    return (scales ? [ParameterSpec("scale", channels)] : [])
      + (centers ? [ParameterSpec("offset", channels)] : [])
      + ["mean", "variance"].map { ParameterSpec($0, channels, isTrained: false) }
  }

  public func outputShape(for inputs: [Shape]) throws(NetworkError) -> Shape {
    try requireInputs(inputs, of: Self.kind)
    guard inputs[0].rank >= 1 else { throw NetworkError("BatchNormalization needs a channel axis.") }
    return inputs[0]
  }

  /// The factor and the offset of each channel that the layer amounts to, in `Double`.
  ///
  /// - Parameter parameters: those of `parameterSpecs`, in that order.
  @specialized(where Scalar == Float)
  @specialized(where Scalar == Double)
  public func affine<Scalar: TensorScalar>(_ parameters: [Tensor<Scalar>])
    -> (factors: [Double], offsets: [Double])
  {
    let statistics = parameters.suffix(2).map { $0.converted(to: Double.self) }
    let learned = parameters.dropLast(2).map { $0.converted(to: Double.self) }
    var factors: [Double] = []
    var offsets: [Double] = []
    for channel in 0..<statistics[0].count {
      let factor =
        (scales ? learned[0][channel] : 1) / (statistics[1][channel] + epsilon).squareRoot()
      factors.append(factor)
      offsets.append((centers ? learned[learned.count - 1][channel] : 0) - statistics[0][channel] * factor)
    }
    return (factors, offsets)
  }

  @specialized(where Scalar == Float)
  @specialized(where Scalar == Double)
  public func forward<Scalar: TensorScalar>(
    _ inputs: [Tensor<Scalar>], parameters: [Tensor<Scalar>], on backend: any Backend
  ) -> Tensor<Scalar> {
    let (factors, offsets) = affine(parameters)
    return mappingChannels(of: inputs[0], factors.map { Scalar($0) }, offsets.map { Scalar($0) })
  }

  /// The stored statistics are constants, so rows do not interact here either.
  @specialized(where Scalar == Float)
  @specialized(where Scalar == Double)
  public func pullback<Scalar: TensorScalar>(
    of cotangent: Tensor<Scalar>, inputs: [Tensor<Scalar>], parameters: [Tensor<Scalar>],
    output: Tensor<Scalar>, request: GradientRequest, on backend: any Backend
  ) -> LayerGradients<Scalar> {
    var input: Tensor<Scalar>?
    if request.inputs[0] {
      let factors = affine(parameters).factors.map { Scalar($0) }
      input = mappingChannels(of: cotangent, factors, factors.map { _ in 0 })
    }
    var learned: [Tensor<Scalar>?] = []
    if request.parameters {
      if scales {
        let mean = parameters[parameters.count - 2]
        let deviations = parameters[parameters.count - 1].elements.map {
          (Double($0) + epsilon).squareRoot()
        }
        let channels = mean.count
        var standardized = inputs[0]
        standardized.withMutableSpan { span in
          for position in 0..<span.count {
            let channel = position % channels
            span[position] = (span[position] - mean[channel]) / Scalar(deviations[channel])
          }
        }
        learned.append(channelSums(of: broadcast(cotangent, standardized, *)))
      }
      if centers { learned.append(channelSums(of: cotangent)) }
    } else {
      learned = parameters.dropLast(2).map { _ in nil }
    }
    return LayerGradients(inputs: [input], parameters: learned + [nil, nil])
  }
}

/// `x · factor + offset` with one factor and offset a channel.
func mappingChannels<Scalar: TensorScalar>(
  of input: Tensor<Scalar>, _ factors: [Scalar], _ offsets: [Scalar]
) -> Tensor<Scalar> {
  var output = input
  let channels = factors.count
  output.withMutableSpan { span in
    for position in 0..<span.count {
      let channel = position % channels
      span[position] = span[position] * factors[channel] + offsets[channel]
    }
  }
  return output
}

/// The sum over everything but the last axis, kept in `Double` since it may run over all pixels of all rows.
///
/// - Shapes: `[…, channels]` to `[channels]`.
func channelSums<Scalar: TensorScalar>(of tensor: Tensor<Scalar>) -> Tensor<Scalar> {
  let channels = tensor.shape.dimensions.last ?? 1
  var sums = [Double](repeating: 0, count: channels)
  tensor.withSpan { span in
    for position in 0..<span.count { sums[position % channels] += Double(span[position]) }
  }
  return Tensor(shape: [channels], sums.map { Scalar($0) })
}

/// `x · scale + offset`, with one number or one a channel: Keras' Rescaling and Normalization.
public struct Rescaling: DifferentiableLayer, Hashable {
  public static let kind = "Rescaling"
  public var scale: [Double]
  public var offset: [Double]

  public init(scale: [Double], offset: [Double]) {
    self.scale = scale
    self.offset = offset
  }

  /// The factor and the offset of each of `channels` channels.
  public func affine(channels: Int) -> (factors: [Double], offsets: [Double]) {
    (
      scale.count == 1 ? Array(repeating: scale[0], count: channels) : scale,
      offset.count == 1 ? Array(repeating: offset[0], count: channels) : offset
    )
  }

  public func outputShape(for inputs: [Shape]) throws(NetworkError) -> Shape {
    try requireInputs(inputs, of: Self.kind)
    let channels = inputs[0].dimensions.last ?? 1
    guard [1, channels].contains(scale.count), [1, channels].contains(offset.count) else {
      throw NetworkError(
        "Rescaling has \(scale.count) scales and \(offset.count) offsets for \(channels) channels.")
    }
    return inputs[0]
  }

  @specialized(where Scalar == Float)
  @specialized(where Scalar == Double)
  public func forward<Scalar: TensorScalar>(
    _ inputs: [Tensor<Scalar>], parameters: [Tensor<Scalar>], on backend: any Backend
  ) -> Tensor<Scalar> {
    let (factors, offsets) = affine(channels: inputs[0].shape.dimensions.last ?? 1)
    return mappingChannels(of: inputs[0], factors.map { Scalar($0) }, offsets.map { Scalar($0) })
  }

  @specialized(where Scalar == Float)
  @specialized(where Scalar == Double)
  public func pullback<Scalar: TensorScalar>(
    of cotangent: Tensor<Scalar>, inputs: [Tensor<Scalar>], parameters: [Tensor<Scalar>],
    output: Tensor<Scalar>, request: GradientRequest, on backend: any Backend
  ) -> LayerGradients<Scalar> {
    guard request.inputs[0] else { return LayerGradients(input: nil) }
    let factors = affine(channels: inputs[0].shape.dimensions.last ?? 1).factors.map { Scalar($0) }
    return LayerGradients(input: mappingChannels(of: cotangent, factors, factors.map { _ in 0 }))
  }
}
