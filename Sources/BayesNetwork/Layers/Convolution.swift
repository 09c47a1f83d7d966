public import BayesTensor

/// How zeros are put around an image before a window moves over it.
public enum PaddingRule: Hashable, Sendable, Codable {
  /// None.
  case valid
  /// As many as make the output `⌈in / stride⌉`, the odd one at the bottom and the right.
  case same
  /// These.
  case explicit(SpatialPadding)

  /// The padding of one geometry.
  public func padding(
    for input: Extent2D, window: Extent2D, strides: Extent2D, dilation: Extent2D
  ) -> SpatialPadding {
    func total(_ size: Int, _ window: Int, _ stride: Int, _ dilation: Int) -> Int {
      let outputs = (size + stride - 1) / stride
      return max(0, (outputs - 1) * stride + dilation * (window - 1) + 1 - size)
    }
    switch self {
    case .valid: return .none
    case .explicit(let padding): return padding
    case .same:
      let vertical = total(input.height, window.height, strides.height, dilation.height)
      let horizontal = total(input.width, window.width, strides.width, dilation.width)
      return SpatialPadding(
        top: vertical / 2, bottom: vertical - vertical / 2, left: horizontal / 2,
        right: horizontal - horizontal / 2)
    }
  }
}

/// A two-dimensional convolution: dense, grouped or depthwise (as many groups as channels).
///
/// - Shapes: `[height, width, in]` to `[height', width', filters]`; weight
///   `[window height, window width, in / groups, filters]`, bias `[filters]`.
public struct Convolution: DifferentiableLayer, Hashable {
  public static let kind = "Convolution"
  public var filters: Int
  public var window: Extent2D
  public var strides: Extent2D
  public var dilation: Extent2D
  public var padding: PaddingRule
  public var groups: Int
  public var usesBias: Bool

  public init(
    filters: Int, window: Extent2D, strides: Extent2D = Extent2D(height: 1, width: 1),
    dilation: Extent2D = Extent2D(height: 1, width: 1), padding: PaddingRule = .valid, groups: Int = 1,
    usesBias: Bool = true
  ) {
    self.filters = filters
    self.window = window
    self.strides = strides
    self.dilation = dilation
    self.padding = padding
    self.groups = groups
    self.usesBias = usesBias
  }

  /// Whether each output pixel is one linear map of the input pixel at its place, where no border is put around the image.
  public var isPointwise: Bool {
    let one = Extent2D(height: 1, width: 1)
    return window == one && strides == one && groups == 1
  }

  /// The window's movement over an image of one size, with its padding resolved.
  public func geometry(for input: Shape) -> WindowGeometry {
    let extent = Extent2D(height: input[0], width: input[1])
    return WindowGeometry(
      window: window, strides: strides, dilation: dilation,
      padding: padding.padding(for: extent, window: window, strides: strides, dilation: dilation))
  }

  public func parameterSpecs(for inputs: [Shape]) -> [ParameterSpec] {
    let weight = ParameterSpec("weight", [window.height, window.width, inputs[0][2] / groups, filters])
    return usesBias ? [weight, ParameterSpec("bias", [filters])] : [weight]
  }

  public func outputShape(for inputs: [Shape]) throws(NetworkError) -> Shape {
    try requireInputs(inputs, rank: 3, of: Self.kind)
    try requireSettings(
      [
        filters, groups, window.height, window.width, strides.height, strides.width, dilation.height,
        dilation.width,
      ], of: Self.kind)
    try requirePadding(padding, of: Self.kind)
    guard inputs[0][2] % groups == 0, filters % groups == 0 else {
      throw NetworkError(
        "\(inputs[0][2]) channels and \(filters) filters cannot be split into \(groups) groups.")
    }
    _ = try Shape(
      checking: [window.height, window.width, inputs[0][2] / groups, filters],
      of: "The weight of \(Self.kind)")
    return try windowOutput(
      geometry(for: inputs[0]), over: inputs[0], channels: filters, of: Self.kind)
  }

  public func multiplyAdds(for inputs: [Shape], output: Shape) -> Int {
    output.elementCount * window.height * window.width * (inputs[0][2] / groups)
  }

  @specialized(where Scalar == Float)
  @specialized(where Scalar == Double)
  public func forward<Scalar: TensorScalar>(
    _ inputs: [Tensor<Scalar>], parameters: [Tensor<Scalar>], on backend: any Backend
  ) -> Tensor<Scalar> {
    backend.convolution(
      inputs[0], weight: parameters[0], bias: usesBias ? parameters[1] : nil, groups: groups,
      geometry(for: inputs[0].shape.row))
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
          ? backend.convolutionInputGradient(
            cotangent, weight: parameters[0], inputShape: inputs[0].shape, groups: groups, geometry) : nil
      ],
      parameters: request.parameters
        ? [backend.convolutionWeightGradient(cotangent, input: inputs[0], groups: groups, geometry)]
          + (usesBias ? [channelSums(of: cotangent)] : []) : parameters.map { _ in nil })
  }
}

/// The output shape of a window over an image.
func windowOutput(
  _ geometry: WindowGeometry, over input: Shape, channels: Int, of kind: String
) throws(NetworkError) -> Shape {
  let extent = geometry.outputExtent(of: Extent2D(height: input[0], width: input[1]))
  guard extent.height > 0, extent.width > 0 else {
    throw NetworkError(
      "A window of \(geometry.window.height) by \(geometry.window.width) does not fit into the \(kind)'s "
        + "input \(input).")
  }
  return try Shape(checking: [extent.height, extent.width, channels], of: kind)
}

/// Refuses explicit padding that is negative or larger than `largestSetting`.
func requirePadding(_ rule: PaddingRule, of kind: String) throws(NetworkError) {
  guard case .explicit(let padding) = rule else { return }
  let sides = [padding.top, padding.bottom, padding.left, padding.right]
  guard sides.allSatisfy({ (0...largestSetting).contains($0) }) else {
    throw NetworkError("The padding \(sides) of \(kind) must be between 0 and \(largestSetting) on each side.")
  }
}
