import BayesPrediction
package import BayesTensor
import RealModule

/// Logits whose softmax (sigmoid, for one logit or labels) is a closed form's answer, for mean and covariance that
/// have been divided by the temperature.
///
/// The bridges' are the logarithms of Dirichlet parameters, not shifted.
///
/// - Shapes: means `[rows, logits]` to the same.
/// - Precondition: the predictive is a closed form.
package func closedFormLogits(
  _ predictive: LaplacePredictive, means: Tensor<Double>, covariance: LogitCovariance, on backend: any Backend
) -> Tensor<Double> {
  switch predictive {
  case .plain: return means
  case .probit:
    return probitLogits(means: means, variances: covariance.variances(on: backend), temperature: 1)
  case .centredProbit:
    let centred = centredMoments(means: means, covariance: covariance, on: backend)
    return probitLogits(means: centred.means, variances: centred.variances, temperature: 1)
  case .meanField: return meanFieldLogits(means: means, covariance: covariance, on: backend)
  case .bridge, .normalizedBridge:
    return bridgeLogParameters(
      means: means, covariance: covariance, isNormalized: predictive == .normalizedBridge, on: backend)
  case .whitened, .antithetic, .functionSpace, .weights:
    preconditionFailure("'\(predictive.rawValue)' is no closed form.")
  }
}

/// As `closedFormLogits`, where each logit is a yes or no of its own.
///
/// A logit `z` is the pair of logits `∓z/2`, so that nothing is shared: all three probits are one, and the bridge's
/// Dirichlet has the network's own mean.
package func closedFormSigmoidLogits(
  _ predictive: LaplacePredictive, means: Tensor<Double>, variances: Tensor<Double>
) -> Tensor<Double> {
  switch predictive {
  case .plain, .bridge: return means
  case .normalizedBridge:
    var result = means
    for position in 0..<result.count { result[position] *= 2 / max(variances[position], tiniest).squareRoot() }
    return result
  default: return probitLogits(means: means, variances: variances, temperature: 1)
  }
}

/// Below this a variance is rounding.
private let tiniest = 1e-290

/// `μₖ / √(T² + π/8 · Sₖₖ)`: the logits of MacKay's approximation, mean and deviation divided by `T`.
///
/// - Shapes: `[rows, logits]` each.
package func probitLogits(
  means: Tensor<Double>, variances: Tensor<Double>, temperature: Double
) -> Tensor<Double> {
  var logits = means
  for position in 0..<logits.count {
    logits[position] /= (temperature * temperature + Double.pi / 8 * variances[position]).squareRoot()
  }
  return logits
}

/// Means and variances after the direction that all logits share has been projected off.
private func centredMoments(means: Tensor<Double>, covariance: LogitCovariance, on backend: any Backend)
  -> (means: Tensor<Double>, variances: Tensor<Double>)
{
  var (centred, variances) = (means, covariance.variances(on: backend))
  let sums = covariance.sums(on: backend)
  let width = means.shape[1]
  let count = Double(width)
  for row in 0..<means.rowCount {
    var (mean, total) = (0.0, 0.0)
    for k in 0..<width {
      mean += means[row, k] / count
      total += sums[row, k]
    }
    for k in 0..<width {
      centred[row, k] -= mean
      variances[row, k] = max(0, variances[row, k] - 2 * sums[row, k] / count + total / (count * count))
    }
  }
  return (centred, variances)
}

/// `−log Σⱼ exp(−(μₖ − μⱼ) / √(1 + π/8 · (Sₖₖ + Sⱼⱼ − 2 Sₖⱼ)))`.
private func meanFieldLogits(means: Tensor<Double>, covariance: LogitCovariance, on backend: any Backend)
  -> Tensor<Double>
{
  let width = means.shape[1]
  var result = means
  var terms = [Double](repeating: 0, count: width)
  for row in 0..<means.rowCount {
    let matrix = covariance.matrix(row, on: backend)
    for k in 0..<width {
      for j in 0..<width {
        let spread = max(0, matrix[k, k] + matrix[j, j] - 2 * matrix[k, j])
        terms[j] = -(means[row, k] - means[row, j]) / (1 + Double.pi / 8 * spread).squareRoot()
      }
      result[row, k] = -logSumExp(terms)
    }
  }
  return result
}

/// The logarithms of the Laplace bridge's Dirichlet parameters.
///
/// Computed with logarithms throughout, so that saturated logits keep finite probabilities.
private func bridgeLogParameters(
  means: Tensor<Double>, covariance: LogitCovariance, isNormalized: Bool, on backend: any Backend
) -> Tensor<Double> {
  let width = means.shape[1]
  let count = Double(width)
  let variances = covariance.variances(on: backend)
  let sums = covariance.sums(on: backend)
  var result = means
  var (mean, variance) = ([Double](repeating: 0, count: width), [Double](repeating: 0, count: width))
  for row in 0..<means.rowCount {
    var (meanSum, total) = (0.0, 0.0)
    for k in 0..<width {
      meanSum += means[row, k]
      total += sums[row, k]
    }
    for k in 0..<width {
      // A covariance whose sum vanishes lies in the projection already.
      let share = total > tiniest ? sums[row, k] / total : 1 / count
      mean[k] = means[row, k] - share * meanSum
      variance[k] = max(variances[row, k] - share * sums[row, k], tiniest)
    }
    if isNormalized {
      let scale = max(variance.reduce(0, +) / count / (count / 2).squareRoot(), tiniest)
      for k in 0..<width {
        mean[k] /= scale.squareRoot()
        variance[k] /= scale
      }
    }
    let normalizer = logSumExp(mean.map { -$0 }) - 2 * Double.log(count)
    let constant = width > 2 ? Double.log(1 - 2 / count) : -Double.infinity
    for k in 0..<width {
      result[row, k] = logSumExp([constant, mean[k] + normalizer]) - Double.log(variance[k])
    }
  }
  return result
}

/// The expected entropy of a distribution drawn from a Dirichlet, in nats.
///
///     E[H] = ψ(α₀ + 1) − Σ (αₖ / α₀) ψ(αₖ + 1)
///
/// - Parameter logParameters: `log αₖ`.
package func expectedEntropy(logParameters: [Double]) -> Double {
  let logTotal = logSumExp(logParameters)
  var sum = 0.0
  // Parameters that overflow leave no spread: the expected entropy is that of the mean.
  guard logTotal < 600 else {
    return entropy(logParameters.map { Double.exp($0 - logTotal) })
  }
  for value in logParameters { sum += Double.exp(value - logTotal) * digamma(Double.exp(value) + 1) }
  return max(0, digamma(Double.exp(logTotal) + 1) - sum)
}

/// The derivative of the logarithm of the gamma function, for `x ≥ 1`.
///
/// - Source: Abramowitz and Stegun, 6.3.5 and 6.3.18.
package func digamma(_ x: Double) -> Double {
  var (x, shift) = (x, 0.0)
  while x < 10 {
    shift -= 1 / x
    x += 1
  }
  let r = 1 / (x * x)
  let tail = r * (1 / 132.0 - r * (691 / 32760.0 - r / 12))
  let series = r * (1 / 12.0 - r * (1 / 120.0 - r * (1 / 252.0 - r * (1 / 240.0 - tail))))
  return shift + Double.log(x) - 0.5 / x - series
}
