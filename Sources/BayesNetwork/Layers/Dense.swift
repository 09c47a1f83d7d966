public import BayesTensor

/// A linear map of the last axis, plus a bias.
///
/// - Shapes: `[…, in]` to `[…, units]`; weight `[in, units]`, bias `[units]`.
public struct Dense: DifferentiableLayer, Hashable {
  public static let kind = "Dense"
  public var units: Int
  public var usesBias: Bool

  public init(units: Int, usesBias: Bool = true) {
    self.units = units
    self.usesBias = usesBias
  }

  public func parameterSpecs(for inputs: [Shape]) -> [ParameterSpec] {
    let weight = ParameterSpec("weight", [inputs[0].dimensions.last ?? 0, units])
    return usesBias ? [weight, ParameterSpec("bias", [units])] : [weight]
  }

  public func outputShape(for inputs: [Shape]) throws(NetworkError) -> Shape {
    try requireInputs(inputs, of: Self.kind)
    guard let width = inputs[0].dimensions.last else {
      throw NetworkError("Dense needs rows of at least one axis.")
    }
    try requireSettings([units], of: Self.kind)
    _ = try Shape(checking: [width, units], of: "The weight of \(Self.kind)")
    return try Shape(checking: inputs[0].dimensions.dropLast() + [units], of: Self.kind)
  }

  public func multiplyAdds(for inputs: [Shape], output: Shape) -> Int {
    output.elementCount * (inputs[0].dimensions.last ?? 0)
  }

  @specialized(where Scalar == Float)
  @specialized(where Scalar == Double)
  public func forward<Scalar: TensorScalar>(
    _ inputs: [Tensor<Scalar>], parameters: [Tensor<Scalar>], on backend: any Backend
  ) -> Tensor<Scalar> {
    let width = parameters[0].shape[0]
    let rowCount = inputs[0].count / width
    var product = backend.product(inputs[0].reshaped(to: [rowCount, width]), parameters[0])
    if usesBias {
      for row in 0..<rowCount {
        for unit in 0..<units { product[row, unit] += parameters[1][unit] }
      }
    }
    return product.reshaped(to: Shape(inputs[0].shape.dimensions.dropLast() + [units]))
  }

  @specialized(where Scalar == Float)
  @specialized(where Scalar == Double)
  public func pullback<Scalar: TensorScalar>(
    of cotangent: Tensor<Scalar>, inputs: [Tensor<Scalar>], parameters: [Tensor<Scalar>],
    output: Tensor<Scalar>, request: GradientRequest, on backend: any Backend
  ) -> LayerGradients<Scalar> {
    let (width, rowCount) = (parameters[0].shape[0], cotangent.count / units)
    let rows = cotangent.reshaped(to: [rowCount, units])
    return LayerGradients(
      inputs: [
        request.inputs[0]
          ? backend.product(rows, parameters[0], transposing: .second).reshaped(to: inputs[0].shape) : nil
      ],
      parameters: request.parameters
        ? [backend.product(inputs[0].reshaped(to: [rowCount, width]), rows, transposing: .first)]
          + (usesBias ? [channelSums(of: cotangent)] : []) : parameters.map { _ in nil })
  }
}
