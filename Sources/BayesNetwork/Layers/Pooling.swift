public import BayesTensor

/// The maximum or mean over a window that moves over an image.
///
/// - Shapes: `[height, width, channels]` to `[height', width', channels]`.
public struct Pooling: DifferentiableLayer, Hashable {
  public static let kind = "Pooling"
  public var operation: PoolingKind
  public var window: Extent2D
  public var strides: Extent2D
  public var padding: PaddingRule

  public init(_ operation: PoolingKind, window: Extent2D, strides: Extent2D, padding: PaddingRule) {
    self.operation = operation
    self.window = window
    self.strides = strides
    self.padding = padding
  }

  /// The window's movement over an image of one size, with its padding resolved.
  public func geometry(for input: Shape) -> WindowGeometry {
    let one = Extent2D(height: 1, width: 1)
    let extent = Extent2D(height: input[0], width: input[1])
    return WindowGeometry(
      window: window, strides: strides,
      padding: padding.padding(for: extent, window: window, strides: strides, dilation: one))
  }

  public func outputShape(for inputs: [Shape]) throws(NetworkError) -> Shape {
    try requireInputs(inputs, rank: 3, of: Self.kind)
    try requireSettings([window.height, window.width, strides.height, strides.width], of: Self.kind)
    try requirePadding(padding, of: Self.kind)
    return try windowOutput(
      geometry(for: inputs[0]), over: inputs[0], channels: inputs[0][2], of: Self.kind)
  }

  @specialized(where Scalar == Float)
  @specialized(where Scalar == Double)
  public func forward<Scalar: TensorScalar>(
    _ inputs: [Tensor<Scalar>], parameters: [Tensor<Scalar>], on backend: any Backend
  ) -> Tensor<Scalar> {
    backend.pooling(inputs[0], operation, geometry(for: inputs[0].shape.row))
  }

  /// Of equal maxima in a window the first in row-major order takes all.
  @specialized(where Scalar == Float)
  @specialized(where Scalar == Double)
  public func pullback<Scalar: TensorScalar>(
    of cotangent: Tensor<Scalar>, inputs: [Tensor<Scalar>], parameters: [Tensor<Scalar>],
    output: Tensor<Scalar>, request: GradientRequest, on backend: any Backend
  ) -> LayerGradients<Scalar> {
    LayerGradients(
      input: request.inputs[0]
        ? backend.poolingInputGradient(
          cotangent, input: inputs[0], operation, geometry(for: inputs[0].shape.row)) : nil)
  }
}

/// The maximum or mean over a whole image.
///
/// - Shapes: `[height, width, channels]` to `[channels]`, or `[1, 1, channels]`.
public struct GlobalPooling: DifferentiableLayer, Hashable {
  public static let kind = "GlobalPooling"
  public var operation: PoolingKind
  public var keepsDimensions: Bool

  public init(_ operation: PoolingKind, keepsDimensions: Bool = false) {
    self.operation = operation
    self.keepsDimensions = keepsDimensions
  }

  public func outputShape(for inputs: [Shape]) throws(NetworkError) -> Shape {
    try requireInputs(inputs, rank: 3, of: Self.kind)
    return keepsDimensions ? [1, 1, inputs[0][2]] : [inputs[0][2]]
  }

  @specialized(where Scalar == Float)
  @specialized(where Scalar == Double)
  public func forward<Scalar: TensorScalar>(
    _ inputs: [Tensor<Scalar>], parameters: [Tensor<Scalar>], on backend: any Backend
  ) -> Tensor<Scalar> {
    let row = inputs[0].shape.row
    let pooled = backend.pooling(
      inputs[0], operation, WindowGeometry(window: Extent2D(height: row[0], width: row[1])))
    let shape: Shape = keepsDimensions ? [1, 1, row[2]] : [row[2]]
    return pooled.reshaped(to: shape.batched(inputs[0].rowCount))
  }

  /// Of equal maxima the first in row-major order takes all.
  @specialized(where Scalar == Float)
  @specialized(where Scalar == Double)
  public func pullback<Scalar: TensorScalar>(
    of cotangent: Tensor<Scalar>, inputs: [Tensor<Scalar>], parameters: [Tensor<Scalar>],
    output: Tensor<Scalar>, request: GradientRequest, on backend: any Backend
  ) -> LayerGradients<Scalar> {
    guard request.inputs[0] else { return LayerGradients(input: nil) }
    let row = inputs[0].shape.row
    return LayerGradients(
      input: backend.poolingInputGradient(
        cotangent.reshaped(to: [inputs[0].rowCount, 1, 1, row[2]]), input: inputs[0], operation,
        WindowGeometry(window: Extent2D(height: row[0], width: row[1]))))
  }
}
