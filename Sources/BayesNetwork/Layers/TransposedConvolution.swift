public import BayesTensor

/// A two-dimensional transposed convolution: the adjoint of a convolution, which makes images larger.
///
/// A pixel of the input adds its products with the whole window to the output, windows `strides` apart:
///
///     y[s·i + d·j − before] += Σ x[i] w[j]
///
/// - Shapes: `[height, width, in]` to `[height', width', filters]`; weight
///   `[window height, window width, filters, in]`, bias `[filters]`.
/// - Source: Dumoulin and Visin 2016, section 4; padding as in TensorFlow.
public struct TransposedConvolution: DifferentiableLayer, Hashable {
  public static let kind = "TransposedConvolution"

  /// What of the windows' union is kept.
  public enum Padding: String, Hashable, Sendable, Codable {
    /// All of it, and at least `in · stride`.
    case valid
    /// `in · stride`, where no output padding is given: the odd pixel is cut at the bottom and the right.
    case same
  }

  public var filters: Int
  public var window: Extent2D
  public var strides: Extent2D
  public var dilation: Extent2D
  public var padding: Padding
  /// Pixels added to the smallest output that the padding allows; `nil` for the usual size.
  public var outputPadding: Extent2D?
  public var usesBias: Bool

  public init(
    filters: Int, window: Extent2D, strides: Extent2D = Extent2D(height: 1, width: 1),
    dilation: Extent2D = Extent2D(height: 1, width: 1), padding: Padding = .valid,
    outputPadding: Extent2D? = nil, usesBias: Bool = true
  ) {
    self.filters = filters
    self.window = window
    self.strides = strides
    self.dilation = dilation
    self.padding = padding
    self.outputPadding = outputPadding
    self.usesBias = usesBias
  }

  /// The extent of the output along one axis.
  private func extent(_ size: Int, _ window: Int, _ stride: Int, _ dilation: Int, _ added: Int?) -> Int {
    let covered = dilation * (window - 1) + 1
    switch padding {
    case .valid: return (size - 1) * stride + covered + (added ?? max(0, stride - covered))
    case .same:
      return added.map { (size - 1) * stride + covered - 2 * (covered / 2) + $0 } ?? size * stride
    }
  }

  /// The extent of the output for an image of one size.
  private func outputExtent(for input: Shape) -> Extent2D {
    Extent2D(
      height: extent(input[0], window.height, strides.height, dilation.height, outputPadding?.height),
      width: extent(input[1], window.width, strides.width, dilation.width, outputPadding?.width))
  }

  /// The movement over the output of the convolution that this is the adjoint of.
  public func geometry(for input: Shape) -> WindowGeometry {
    let output = outputExtent(for: input)
    func cut(_ size: Int, _ output: Int, _ window: Int, _ stride: Int, _ dilation: Int) -> Int {
      max(0, (size - 1) * stride + dilation * (window - 1) + 1 - output)
    }
    let vertical = cut(input[0], output.height, window.height, strides.height, dilation.height)
    let horizontal = cut(input[1], output.width, window.width, strides.width, dilation.width)
    return WindowGeometry(
      window: window, strides: strides, dilation: dilation,
      padding: SpatialPadding(
        top: vertical / 2, bottom: vertical - vertical / 2, left: horizontal / 2,
        right: horizontal - horizontal / 2))
  }

  public func parameterSpecs(for inputs: [Shape]) -> [ParameterSpec] {
    let weight = ParameterSpec("weight", [window.height, window.width, filters, inputs[0][2]])
    return usesBias ? [weight, ParameterSpec("bias", [filters])] : [weight]
  }

  public func outputShape(for inputs: [Shape]) throws(NetworkError) -> Shape {
    try requireInputs(inputs, rank: 3, of: Self.kind)
    try requireSettings(
      [filters, window.height, window.width, strides.height, strides.width, dilation.height, dilation.width],
      of: Self.kind)
    if let outputPadding {
      let sides = [outputPadding.height, outputPadding.width]
      guard sides.allSatisfy({ (0...largestSetting).contains($0) }) else {
        throw NetworkError("The output padding \(sides) of \(Self.kind) must not be negative.")
      }
    }
    _ = try Shape(
      checking: [window.height, window.width, filters, inputs[0][2]], of: "The weight of \(Self.kind)")
    let output = outputExtent(for: inputs[0])
    let shape = try Shape(checking: [output.height, output.width, filters], of: Self.kind)
    guard geometry(for: inputs[0]).outputExtent(of: output) == Extent2D(height: inputs[0][0], width: inputs[0][1])
    else {
      throw NetworkError(
        "\(Self.kind) would make \(shape) of \(inputs[0]), which no convolution takes back; its output padding "
          + "must be smaller than its stride.")
    }
    return shape
  }

  public func multiplyAdds(for inputs: [Shape], output: Shape) -> Int {
    inputs[0].elementCount * window.height * window.width * filters
  }

  @specialized(where Scalar == Float)
  @specialized(where Scalar == Double)
  public func forward<Scalar: TensorScalar>(
    _ inputs: [Tensor<Scalar>], parameters: [Tensor<Scalar>], on backend: any Backend
  ) -> Tensor<Scalar> {
    let row = inputs[0].shape.row
    let output = outputExtent(for: row)
    var result = backend.convolutionInputGradient(
      inputs[0], weight: parameters[0], inputShape: [inputs[0].rowCount, output.height, output.width, filters],
      groups: 1, geometry(for: row))
    if usesBias {
      let count = filters
      result.withMutableSpan { result in
        parameters[1].withSpan { bias in
          for position in 0..<result.count { result[position] += bias[position % count] }
        }
      }
    }
    return result
  }

  @specialized(where Scalar == Float)
  @specialized(where Scalar == Double)
  public func pullback<Scalar: TensorScalar>(
    of cotangent: Tensor<Scalar>, inputs: [Tensor<Scalar>], parameters: [Tensor<Scalar>],
    output: Tensor<Scalar>, request: GradientRequest, on backend: any Backend
  ) -> LayerGradients<Scalar> {
    let geometry = geometry(for: inputs[0].shape.row)
    return LayerGradients(
      inputs: [
        request.inputs[0]
          ? backend.convolution(cotangent, weight: parameters[0], bias: nil, groups: 1, geometry) : nil
      ],
      parameters: request.parameters
        ? [backend.convolutionWeightGradient(inputs[0], input: cotangent, groups: 1, geometry)]
          + (usesBias ? [channelSums(of: cotangent)] : []) : parameters.map { _ in nil })
  }
}
