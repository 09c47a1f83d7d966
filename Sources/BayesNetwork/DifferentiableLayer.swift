public import BayesTensor

/// Which gradients a pullback is to give.
public struct GradientRequest: Hashable, Sendable {
  /// One flag an input.
  public var inputs: [Bool]
  /// Whether the parameters' gradients are wanted: those of all parameters that are trained.
  public var parameters: Bool

  public init(inputs: [Bool], parameters: Bool) {
    self.inputs = inputs
    self.parameters = parameters
  }
}

/// The gradients of `Σ cotangent · output`, in the order of a layer's inputs and parameters.
///
/// An entry is `nil` where it was not asked for, and for parameters that are never trained.
///
/// - Shapes: those of the inputs, batch axis included, and of the parameters.
public struct LayerGradients<Scalar: TensorScalar>: Sendable {
  public var inputs: [Tensor<Scalar>?]
  public var parameters: [Tensor<Scalar>?]

  public init(inputs: [Tensor<Scalar>?], parameters: [Tensor<Scalar>?]) {
    self.inputs = inputs
    self.parameters = parameters
  }

  /// Those of a layer with one input and no parameters.
  init(input: Tensor<Scalar>?) { self.init(inputs: [input], parameters: []) }
}

/// A layer whose output has a derivative with respect to inputs and parameters.
public protocol DifferentiableLayer: Layer {
  /// The gradients of `Σ cotangent · output` that are asked for, and no others.
  ///
  /// - Parameters:
  ///   - cotangent: The derivative of a scalar with respect to the output, in the output's shape.
  ///   - inputs: What `forward` was given.
  ///   - parameters: What `forward` was given.
  ///   - output: What `forward` gave, so that it need not be computed again.
  ///   - request: One flag an input, and one for the parameters.
  func pullback<Scalar: TensorScalar>(
    of cotangent: Tensor<Scalar>, inputs: [Tensor<Scalar>], parameters: [Tensor<Scalar>],
    output: Tensor<Scalar>, request: GradientRequest, on backend: any Backend
  ) -> LayerGradients<Scalar>
}
