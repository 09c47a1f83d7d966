public import BayesTensor

/// Where rows enter the network.
public struct Input: DifferentiableLayer {
  public static let kind = "Input"
  /// The extents of one row.
  public var dimensions: [Int]

  public init(_ shape: Shape) { dimensions = shape.dimensions }

  public func outputShape(for inputs: [Shape]) throws(NetworkError) -> Shape {
    try requireInputs(inputs, count: 0, of: Self.kind)
    return try Shape(checking: dimensions, of: Self.kind)
  }

  @specialized(where Scalar == Float)
  @specialized(where Scalar == Double)
  public func forward<Scalar: TensorScalar>(
    _ inputs: [Tensor<Scalar>], parameters: [Tensor<Scalar>], on backend: any Backend
  ) -> Tensor<Scalar> {
    preconditionFailure("An input's value is the batch; it is never computed.")
  }

  @specialized(where Scalar == Float)
  @specialized(where Scalar == Double)
  public func pullback<Scalar: TensorScalar>(
    of cotangent: Tensor<Scalar>, inputs: [Tensor<Scalar>], parameters: [Tensor<Scalar>],
    output: Tensor<Scalar>, request: GradientRequest, on backend: any Backend
  ) -> LayerGradients<Scalar> {
    LayerGradients(inputs: [], parameters: [])
  }
}
