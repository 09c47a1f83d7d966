/// Scales gradients down so that their norm, taken over all tensors at once, is at most `maximum`.
///
///     g ← g · min(1, maximum / ‖g‖),      ‖g‖² = Σ over all elements of all tensors
///
/// - Returns: the norm before.
/// - Determinism: squares are summed in order, in `Double`.
/// - Precondition: `maximum` is positive.
/// - Throws: `NumericalError.Code.notFinite` where a gradient is infinite or not a number; the
///   gradients are then unchanged.
/// - Source: Pascanu et al. 2013, arXiv:1211.5063.
@specialized(where Scalar == Float)
@specialized(where Scalar == Double)
@discardableResult
public func clipGlobalNorm<Scalar: TensorScalar>(
  of gradients: inout [Tensor<Scalar>], to maximum: Double
) throws(NumericalError) -> Double {
  precondition(maximum > 0, "The largest norm of gradients is positive; got \(maximum).")
  var sum = 0.0
  for gradient in gradients {
    gradient.withSpan { span in
      for position in 0..<span.count {
        let value = Double(span[position])
        sum += value * value
      }
    }
  }
  guard sum.isFinite else {
    throw NumericalError(
      .notFinite, "The gradients' norm is \(sum.squareRoot()); lower the learning rate, or look for bad rows.")
  }
  let norm = sum.squareRoot()
  guard norm > maximum else { return norm }
  let factor = Scalar(maximum / norm)
  for index in gradients.indices {
    gradients[index].withMutableSpan { span in
      for position in 0..<span.count { span[position] *= factor }
    }
  }
  return norm
}
