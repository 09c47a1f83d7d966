public import BayesTensor
public import Testing

/// Expects two tensors to have one shape and elements within `tolerance` of each other.
///
/// The difference allowed is `tolerance · max(1, |expected|)`: absolute for small numbers, relative
/// for large ones.  Shape is compared first, then finiteness, then values; the worst element is named.
public func expectClose<Scalar: TensorScalar>(
  _ actual: Tensor<Scalar>, _ expected: Tensor<Scalar>, tolerance: Double,
  _ comment: @autoclosure () -> String = "", sourceLocation: Testing.SourceLocation = #_sourceLocation
) {
  guard actual.shape == expected.shape else {
    Issue.record(
      "shape \(actual.shape), expected \(expected.shape) \(comment())", sourceLocation: sourceLocation)
    return
  }
  var worst = (position: -1, excess: 0.0)
  for position in 0..<actual.count {
    let difference = abs(Double(actual[position]) - Double(expected[position]))
    let excess = difference / max(1, abs(Double(expected[position])))
    // A NaN compares false, so it is caught by the negation.
    if !(excess <= tolerance), worst.position < 0 || !(excess <= worst.excess) { worst = (position, excess) }
  }
  if worst.position >= 0 {
    Issue.record(
      """
      element \(worst.position) of shape \(actual.shape) is \(actual[worst.position]), expected \
      \(expected[worst.position]): off by \(worst.excess), tolerance \(tolerance) \(comment())
      """, sourceLocation: sourceLocation)
  }
}

/// Expects two numbers to differ by at most `tolerance · max(1, |expected|)`.
public func expectClose(
  _ actual: Double, _ expected: Double, tolerance: Double, _ comment: @autoclosure () -> String = "",
  sourceLocation: Testing.SourceLocation = #_sourceLocation
) {
  expectClose(
    Tensor(shape: [1], [actual]), Tensor(shape: [1], [expected]), tolerance: tolerance, comment(),
    sourceLocation: sourceLocation)
}
