public import BayesTensor
public import RealModule

/// `log Σ exp(values)`, computed without overflow.
///
/// Inlinable: other modules' loops over rows spend a third of their time in it where it is not compiled for their
/// collections.
@inlinable
public func logSumExp(_ values: some Collection<Double>) -> Double {
  let maximum = values.max() ?? -.infinity
  guard maximum.isFinite else { return maximum }
  var sum = 0.0
  for value in values { sum += Double.exp(value - maximum) }
  return maximum + Double.log(sum)
}

/// The log-probabilities of one row of logits under a likelihood.
///
/// - Shapes: `[logits]` to `[classes]`; one binary logit `z` gives `[log σ(−z), log σ(z)]`.
/// - Precondition: the likelihood is categorical or binary.
public func logProbabilities(ofLogits row: some Collection<Float>, _ likelihood: Likelihood) -> [Double] {
  let values: [Double]
  switch likelihood {
  case .categorical: values = row.map(Double.init)
  case .binary: values = [0, Double(row.first ?? 0)]
  case .multilabel, .gaussian:
    preconditionFailure("A \(likelihood.rawValue) output has no distribution over classes.")
  }
  let normalizer = logSumExp(values)
  return values.map { $0 - normalizer }
}

/// The entropy `−Σ p log p` of a distribution, in nats; `0 log 0` is zero.
@inlinable
public func entropy(_ probabilities: some Collection<Double>) -> Double {
  var sum = 0.0
  for p in probabilities where p > 0 { sum -= p * Double.log(p) }
  return sum
}
