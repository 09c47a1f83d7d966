public import BayesTensor

/// A row repeated along a new first axis.
///
/// - Shapes: `[…]` to `[count, …]`.
public struct Repetition: DifferentiableLayer, Hashable {
  public static let kind = "Repetition"
  public var count: Int

  public init(count: Int) { self.count = count }

  public func outputShape(for inputs: [Shape]) throws(NetworkError) -> Shape {
    try requireInputs(inputs, of: Self.kind)
    try requireSettings([count], of: Self.kind)
    return try Shape(checking: [count] + inputs[0].dimensions, of: Self.kind)
  }

  @specialized(where Scalar == Float)
  @specialized(where Scalar == Double)
  public func forward<Scalar: TensorScalar>(
    _ inputs: [Tensor<Scalar>], parameters: [Tensor<Scalar>], on backend: any Backend
  ) -> Tensor<Scalar> {
    let row = inputs[0].shape.row
    let repeated = (0..<inputs[0].rowCount).flatMap { Array(repeating: $0, count: count) }
    return inputs[0].rows(repeated).reshaped(to: Shape([inputs[0].rowCount, count] + row.dimensions))
  }

  @specialized(where Scalar == Float)
  @specialized(where Scalar == Double)
  public func pullback<Scalar: TensorScalar>(
    of cotangent: Tensor<Scalar>, inputs: [Tensor<Scalar>], parameters: [Tensor<Scalar>],
    output: Tensor<Scalar>, request: GradientRequest, on backend: any Backend
  ) -> LayerGradients<Scalar> {
    guard request.inputs[0] else { return LayerGradients(input: nil) }
    let (rowCount, width) = (inputs[0].rowCount, inputs[0].shape.row.elementCount)
    let copies = cotangent.reshaped(to: [rowCount, count, width])
    return LayerGradients(input: summed(copies, to: [rowCount, 1, width]).reshaped(to: inputs[0].shape))
  }
}
