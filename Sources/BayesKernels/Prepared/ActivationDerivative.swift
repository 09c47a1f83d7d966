import BayesNetwork
import BayesTensor

/// The derivative of an activation as a function of its result, where there is one.
enum ActivationDerivative: Sendable, Equatable {
  /// One between zero and the ceiling, `slope` below, zero above.
  case relu(slope: Float, ceiling: Float)
  /// One above zero, `result + alpha` below.
  case elu(alpha: Float)
  /// `1 − result²`
  case tanh
  /// `result · (1 − result)`
  case sigmoid
  /// `result`
  case exponential

  init?(_ function: ActivationFunction) {
    switch function {
    case .relu(let ceiling, let negativeSlope, let threshold):
      // With a slope that is not positive the result does not tell on which side of zero the input lay.
      guard threshold == 0, negativeSlope >= 0 else { return nil }
      self = .relu(slope: Float(negativeSlope), ceiling: ceiling.map { Float($0) } ?? .infinity)
    case .elu(let alpha):
      guard alpha >= 0 else { return nil }
      self = .elu(alpha: Float(alpha))
    case .tanh: self = .tanh
    case .sigmoid: self = .sigmoid
    case .exponential: self = .exponential
    default: return nil
    }
  }

  /// Sets each of `count` elements of `target` to the sum of the sources times the derivative at `result`.
  ///
  /// `target` may be one of the sources.
  @unsafe func multiply(
    _ a: UnsafePointer<Float>, _ b: UnsafePointer<Float>?, at result: UnsafePointer<Float>,
    into target: UnsafeMutablePointer<Float>, count: Int
  ) {
    // One loop a case, so that each runs on whole vectors.
    switch self {
    case .relu(let slope, let ceiling):
      if let b = unsafe b {
        for i in 0..<count {
          let y = unsafe result[i]
          unsafe target[i] = (a[i] + b[i]) * (y > 0 ? (y < ceiling ? 1 : 0) : slope)
        }
      } else {
        for i in 0..<count {
          let y = unsafe result[i]
          unsafe target[i] = a[i] * (y > 0 ? (y < ceiling ? 1 : 0) : slope)
        }
      }
    case .elu(let alpha): unsafe multiply(a, b, at: result, into: target, count) { $0 > 0 ? 1 : $0 + alpha }
    case .tanh: unsafe multiply(a, b, at: result, into: target, count) { 1 - $0 * $0 }
    case .sigmoid: unsafe multiply(a, b, at: result, into: target, count) { $0 * (1 - $0) }
    case .exponential: unsafe multiply(a, b, at: result, into: target, count) { $0 }
    }
  }

  @unsafe @inline(__always) private func multiply(
    _ a: UnsafePointer<Float>, _ b: UnsafePointer<Float>?, at result: UnsafePointer<Float>,
    into target: UnsafeMutablePointer<Float>, _ count: Int, _ derivative: (Float) -> Float
  ) {
    if let b = unsafe b {
      for i in 0..<count { unsafe target[i] = (a[i] + b[i]) * derivative(result[i]) }
    } else {
      for i in 0..<count { unsafe target[i] = a[i] * derivative(result[i]) }
    }
  }
}
