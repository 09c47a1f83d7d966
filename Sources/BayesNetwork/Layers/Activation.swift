public import BayesTensor
import RealModule

/// A function applied to every element, or, for softmax, along the last axis.
public enum ActivationFunction: Hashable, Sendable, Codable {
  case linear
  /// `max(0, x)`, with a slope below `threshold` and a ceiling where there is one.
  case relu(ceiling: Double?, negativeSlope: Double, threshold: Double)
  /// `x` above zero, `α(eˣ − 1)` below.
  case elu(alpha: Double)
  case selu
  /// `x Φ(x)`.
  case gelu
  /// The tanh approximation of `x Φ(x)`.
  case geluTanh
  case sigmoid
  /// `clip(slope · x + offset, 0, 1)`: slope 0.2 in Keras 2, 1/6 in Keras 3; offset 0.5.
  case hardSigmoid(slope: Double, offset: Double)
  case tanh
  case softplus
  case softsign
  /// `x σ(x)`
  case swish
  /// `x · clip(x/6 + 1/2, 0, 1)`
  case hardSwish
  case exponential
  /// `x tanh(softplus(x))`
  case mish
  /// `clip(x, −1, 1)`
  case hardTanh
  /// `log σ(x)`
  case logSigmoid
  /// `(x + √(x² + 4)) / 2`
  case squareplus
  /// `x − tanh x`
  case tanhShrink
  /// `x` drawn towards zero by `threshold`, and zero within it.
  case softShrink(threshold: Double)
  /// `x` beyond `threshold` on either side, zero within it.
  case hardShrink(threshold: Double)
  /// `eˣ / Σ eˣ` along the last axis.
  case softmax
  /// The logarithm of softmax.
  case logSoftmax

  /// Whether the value at an element depends on that element only.
  public var isElementwise: Bool { self != .softmax && self != .logSoftmax }

  /// `max(0, x)`.
  public static let plainReLU = ActivationFunction.relu(ceiling: nil, negativeSlope: 0, threshold: 0)

  /// The value at `x`.
  ///
  /// - Precondition: the function is elementwise.
  public func value<Scalar: TensorScalar>(_ x: Scalar) -> Scalar {
    switch self {
    case .linear: return x
    case .relu(let ceiling, let negativeSlope, let threshold):
      if x < Scalar(threshold) {
        // Without a slope the product would turn −∞ into NaN.
        return negativeSlope == 0 ? 0 : Scalar(negativeSlope) * (x - Scalar(threshold))
      }
      return ceiling.map { min(x, Scalar($0)) } ?? x
    case .elu(let alpha): return x > 0 ? x : Scalar(alpha) * Scalar.expMinusOne(x)
    case .selu:
      let scale = Scalar(1.0507009873554804934193349852946)
      return x > 0 ? scale * x : scale * Scalar(1.6732632423543772848170429916717) * Scalar.expMinusOne(x)
    case .gelu: return x / 2 * Scalar.erfc(-x * Scalar(0.5).squareRoot())
    case .geluTanh:
      let inner = Scalar(0.7978845608028654) * (x + Scalar(0.044715) * x * x * x)
      return x / 2 * (1 + Scalar.tanh(inner))
    case .sigmoid: return Self.logistic(x)
    case .hardSigmoid(let slope, let offset): return min(1, max(0, Scalar(slope) * x + Scalar(offset)))
    case .tanh: return Scalar.tanh(x)
    case .softplus: return max(x, 0) + Scalar.log(onePlus: Scalar.exp(-abs(x)))
    case .softsign: return x / (1 + abs(x))
    case .swish: return x * Self.logistic(x)
    case .hardSwish: return x * min(1, max(0, x / 6 + Scalar(0.5)))
    case .exponential: return Scalar.exp(x)
    case .mish: return x * Scalar.tanh(max(x, 0) + Scalar.log(onePlus: Scalar.exp(-abs(x))))
    case .hardTanh: return min(1, max(-1, x))
    case .logSigmoid: return min(x, 0) - Scalar.log(onePlus: Scalar.exp(-abs(x)))
    case .squareplus: return (x + (x * x + 4).squareRoot()) / 2
    case .tanhShrink: return x - Scalar.tanh(x)
    case .softShrink(let threshold):
      return x > Scalar(threshold) ? x - Scalar(threshold) : x < -Scalar(threshold) ? x + Scalar(threshold) : 0
    case .hardShrink(let threshold): return abs(x) > Scalar(threshold) ? x : 0
    case .softmax, .logSoftmax: preconditionFailure("\(self) has no value at a single element.")
    }
  }

  /// The derivative at `x`.
  ///
  /// At a kink or a jump it is the one that Keras and PyTorch take: that from below at a threshold or at
  /// zero, zero where a value is clipped.
  ///
  /// - Precondition: the function is elementwise.
  public func derivative<Scalar: TensorScalar>(_ x: Scalar) -> Scalar {
    switch self {
    case .linear: return 1
    case .relu(let ceiling, let negativeSlope, let threshold):
      if x <= Scalar(threshold) { return Scalar(negativeSlope) }
      return ceiling.map { x < Scalar($0) ? 1 : 0 } ?? 1
    case .elu(let alpha): return x > 0 ? 1 : Scalar(alpha) * Scalar.exp(x)
    case .selu:
      let scale = Scalar(1.0507009873554804934193349852946)
      return x > 0 ? scale : scale * Scalar(1.6732632423543772848170429916717) * Scalar.exp(x)
    case .gelu:
      let density = Scalar.exp(-x * x / 2) / (2 * Scalar.pi).squareRoot()
      return Scalar.erfc(-x * Scalar(0.5).squareRoot()) / 2 + x * density
    case .geluTanh:
      let factor = Scalar(0.7978845608028654)
      let t = Scalar.tanh(factor * (x + Scalar(0.044715) * x * x * x))
      return (1 + t) / 2 + x / 2 * (1 - t * t) * factor * (1 + 3 * Scalar(0.044715) * x * x)
    case .sigmoid: return Self.logistic(x) * Self.logistic(-x)
    case .hardSigmoid(let slope, let offset):
      let value = Scalar(slope) * x + Scalar(offset)
      return value > 0 && value < 1 ? Scalar(slope) : 0
    case .tanh:
      let t = Scalar.tanh(x)
      return 1 - t * t
    case .softplus: return Self.logistic(x)
    case .softsign: return 1 / ((1 + abs(x)) * (1 + abs(x)))
    case .swish: return Self.logistic(x) * (1 + x * Self.logistic(-x))
    case .hardSwish: return x <= -3 ? 0 : x >= 3 ? 1 : x / 3 + Scalar(0.5)
    case .exponential: return Scalar.exp(x)
    case .mish:
      let t = Scalar.tanh(max(x, 0) + Scalar.log(onePlus: Scalar.exp(-abs(x))))
      return t + x * (1 - t * t) * Self.logistic(x)
    case .hardTanh: return x > -1 && x < 1 ? 1 : 0
    case .logSigmoid: return Self.logistic(-x)
    case .squareplus: return (1 + x / (x * x + 4).squareRoot()) / 2
    case .tanhShrink:
      let t = Scalar.tanh(x)
      return t * t
    case .softShrink(let threshold), .hardShrink(let threshold): return abs(x) > Scalar(threshold) ? 1 : 0
    case .softmax, .logSoftmax: preconditionFailure("\(self) has no derivative at a single element.")
    }
  }

  private static func logistic<Scalar: TensorScalar>(_ x: Scalar) -> Scalar {
    x >= 0 ? 1 / (1 + Scalar.exp(-x)) : 1 - 1 / (1 + Scalar.exp(x))
  }
}

/// An activation as a step of its own.
///
/// - Shapes: unchanged.
public struct Activation: DifferentiableLayer, Hashable {
  public static let kind = "Activation"
  public var function: ActivationFunction

  public init(_ function: ActivationFunction) { self.function = function }

  public func outputShape(for inputs: [Shape]) throws(NetworkError) -> Shape {
    try requireInputs(inputs, of: Self.kind)
    return inputs[0]
  }

  @specialized(where Scalar == Float)
  @specialized(where Scalar == Double)
  public func forward<Scalar: TensorScalar>(
    _ inputs: [Tensor<Scalar>], parameters: [Tensor<Scalar>], on backend: any Backend
  ) -> Tensor<Scalar> {
    guard !function.isElementwise else { return inputs[0].map { function.value($0) } }
    var output = inputs[0]
    let width = output.shape.dimensions.last ?? 1
    let takesLogarithm = function == .logSoftmax
    output.withMutableSpan { span in
      for start in stride(from: 0, to: span.count, by: width) {
        var maximum = -Scalar.infinity
        for position in start..<start + width { maximum = max(maximum, span[position]) }
        var sum: Scalar = 0
        for position in start..<start + width {
          span[position] -= maximum
          let exponential = Scalar.exp(span[position])
          if !takesLogarithm { span[position] = exponential }
          sum += exponential
        }
        let logarithm = Scalar.log(sum)
        for position in start..<start + width {
          span[position] = takesLogarithm ? span[position] - logarithm : span[position] / sum
        }
      }
    }
    return output
  }

  /// For softmax with output `p` and cotangent `g` along the last axis:
  ///
  ///     p · (g − Σ g p)
  ///
  /// and for its logarithm, `g − p Σ g`.
  ///
  @specialized(where Scalar == Float)
  @specialized(where Scalar == Double)
  public func pullback<Scalar: TensorScalar>(
    of cotangent: Tensor<Scalar>, inputs: [Tensor<Scalar>], parameters: [Tensor<Scalar>],
    output: Tensor<Scalar>, request: GradientRequest, on backend: any Backend
  ) -> LayerGradients<Scalar> {
    guard request.inputs[0] else { return LayerGradients(input: nil) }
    guard !function.isElementwise else {
      return LayerGradients(input: broadcast(cotangent, inputs[0]) { $0 * function.derivative($1) })
    }
    var gradient = cotangent
    let width = output.shape.dimensions.last ?? 1
    for start in stride(from: 0, to: output.count, by: width) {
      var sum: Scalar = 0
      for position in start..<start + width {
        sum += function == .softmax ? cotangent[position] * output[position] : cotangent[position]
      }
      for position in start..<start + width {
        gradient[position] =
          function == .softmax
          ? output[position] * (cotangent[position] - sum)
          : cotangent[position] - Scalar.exp(output[position]) * sum
      }
    }
    return LayerGradients(input: gradient)
  }
}

/// `x` above zero, `slope · x` below, with learned slopes.
///
/// - Shapes: unchanged; slopes broadcast against a row, for example `[1, 1, channels]`.
public struct ParametricReLU: DifferentiableLayer, Hashable {
  public static let kind = "ParametricReLU"
  /// Axes of a row, from zero, along which one slope is shared.
  public var sharedAxes: [Int]

  public init(sharedAxes: [Int]) { self.sharedAxes = sharedAxes }

  public func parameterSpecs(for inputs: [Shape]) -> [ParameterSpec] {
    [
      ParameterSpec(
        "slope",
        Shape(inputs[0].dimensions.enumerated().map { sharedAxes.contains($0.offset) ? 1 : $0.element }))
    ]
  }

  public func outputShape(for inputs: [Shape]) throws(NetworkError) -> Shape {
    try requireInputs(inputs, of: Self.kind)
    guard sharedAxes.allSatisfy({ inputs[0].dimensions.indices.contains($0) }) else {
      throw NetworkError("ParametricReLU shares axes \(sharedAxes), which \(inputs[0]) does not have.")
    }
    return inputs[0]
  }

  @specialized(where Scalar == Float)
  @specialized(where Scalar == Double)
  public func forward<Scalar: TensorScalar>(
    _ inputs: [Tensor<Scalar>], parameters: [Tensor<Scalar>], on backend: any Backend
  ) -> Tensor<Scalar> {
    broadcast(inputs[0], parameters[0].reshaped(to: parameters[0].shape.batched(1))) {
      $0 > 0 ? $0 : $1 * $0
    }
  }

  /// At zero the derivative is that from below, the slope.
  @specialized(where Scalar == Float)
  @specialized(where Scalar == Double)
  public func pullback<Scalar: TensorScalar>(
    of cotangent: Tensor<Scalar>, inputs: [Tensor<Scalar>], parameters: [Tensor<Scalar>],
    output: Tensor<Scalar>, request: GradientRequest, on backend: any Backend
  ) -> LayerGradients<Scalar> {
    let slope = parameters[0].reshaped(to: parameters[0].shape.batched(1))
    var input: Tensor<Scalar>?
    if request.inputs[0] {
      input = broadcast(cotangent, broadcast(inputs[0], slope) { $0 > 0 ? 1 : $1 }, *)
    }
    var slopeGradient: Tensor<Scalar>?
    if request.parameters {
      let negative = broadcast(cotangent, inputs[0]) { $1 > 0 ? 0 : $0 * $1 }
      slopeGradient = summed(negative, to: slope.shape).reshaped(to: parameters[0].shape)
    }
    return LayerGradients(inputs: [input], parameters: [slopeGradient])
  }
}
