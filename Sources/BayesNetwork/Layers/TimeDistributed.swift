public import BayesTensor

/// One layer applied to every step of a sequence, with the same parameters.
///
/// - Shapes: `[steps, …]` to `[steps, …]`, the rest as the layer has it.
public struct TimeDistributed<Inner: Layer>: Layer {
  public static var kind: String { "TimeDistributed" }
  public var layer: Inner

  public init(_ layer: Inner) { self.layer = layer }

  /// The steps that the layer sees as rows.
  private func steps(_ inputs: [Shape]) -> [Shape] { inputs.map(\.row) }

  public func parameterSpecs(for inputs: [Shape]) -> [ParameterSpec] {
    layer.parameterSpecs(for: steps(inputs))
  }

  public func outputShape(for inputs: [Shape]) throws(NetworkError) -> Shape {
    guard let count = inputs.first?.dimensions.first, inputs.allSatisfy({ $0.dimensions.first == count }) else {
      throw NetworkError("\(Self.kind) takes sequences of equal length; it was given \(inputs).")
    }
    let output = try layer.outputShape(for: steps(inputs))
    return try Shape(checking: [count] + output.dimensions, of: Self.kind)
  }

  public func multiplyAdds(for inputs: [Shape], output: Shape) -> Int {
    inputs[0][0] * layer.multiplyAdds(for: steps(inputs), output: output.row)
  }

  /// A batch of sequences as a batch of steps.
  private func flattened<Scalar: TensorScalar>(_ batch: Tensor<Scalar>) -> Tensor<Scalar> {
    batch.reshaped(to: batch.shape.row.row.batched(batch.shape[0] * batch.shape[1]))
  }

  public func forward<Scalar: TensorScalar>(
    _ inputs: [Tensor<Scalar>], parameters: [Tensor<Scalar>], on backend: any Backend
  ) -> Tensor<Scalar> {
    let result = layer.forward(inputs.map { flattened($0) }, parameters: parameters, on: backend)
    return result.reshaped(to: Shape([inputs[0].shape[0], inputs[0].shape[1]] + result.shape.row.dimensions))
  }
}

extension TimeDistributed: DifferentiableLayer where Inner: DifferentiableLayer {
  public func pullback<Scalar: TensorScalar>(
    of cotangent: Tensor<Scalar>, inputs: [Tensor<Scalar>], parameters: [Tensor<Scalar>],
    output: Tensor<Scalar>, request: GradientRequest, on backend: any Backend
  ) -> LayerGradients<Scalar> {
    let gradients = layer.pullback(
      of: flattened(cotangent), inputs: inputs.map { flattened($0) }, parameters: parameters,
      output: flattened(output), request: request, on: backend)
    return LayerGradients(
      inputs: zip(gradients.inputs, inputs).map { $0?.reshaped(to: $1.shape) }, parameters: gradients.parameters)
  }
}
