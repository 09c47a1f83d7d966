public import BayesTensor

/// Every element times a constant of its own: dropout with the elements that it drops chosen.
///
/// - Shapes: unchanged; factors in the shape of a row.
public struct Mask: DifferentiableLayer, Hashable {
  public static let kind = "Mask"

  public init() {}

  public func parameterSpecs(for inputs: [Shape]) -> [ParameterSpec] {
    [ParameterSpec("factors", inputs[0], isTrained: false)]
  }

  public func outputShape(for inputs: [Shape]) throws(NetworkError) -> Shape {
    try requireInputs(inputs, of: Self.kind)
    return inputs[0]
  }

  @specialized(where Scalar == Float)
  @specialized(where Scalar == Double)
  public func forward<Scalar: TensorScalar>(
    _ inputs: [Tensor<Scalar>], parameters: [Tensor<Scalar>], on backend: any Backend
  ) -> Tensor<Scalar> {
    var output = inputs[0]
    output.withMutableSpan { span in
      parameters[0].withSpan { factors in
        for start in stride(from: 0, to: span.count, by: max(1, factors.count)) {
          for position in factors.indices { span[start + position] *= factors[position] }
        }
      }
    }
    return output
  }

  /// The cotangent times the same factors, which are never trained.
  @specialized(where Scalar == Float)
  @specialized(where Scalar == Double)
  public func pullback<Scalar: TensorScalar>(
    of cotangent: Tensor<Scalar>, inputs: [Tensor<Scalar>], parameters: [Tensor<Scalar>],
    output: Tensor<Scalar>, request: GradientRequest, on backend: any Backend
  ) -> LayerGradients<Scalar> {
    LayerGradients(
      inputs: [request.inputs[0] ? forward([cotangent], parameters: parameters, on: backend) : nil],
      parameters: [nil])
  }
}
