package import BayesTensor
import RealModule

/// What the marginal likelihood needs of a curvature.
package protocol DeterminantRatio: Sendable {
  /// The number of weights and biases.
  var parameterCount: Int { get }

  /// `log |P| − log |P₀|`: how much the data sharpen the prior, in nats; never negative.
  func logDeterminantRatio(priorPrecision: Double) -> Double

  /// The derivative of `logDeterminantRatio` with respect to `log δ`; never positive.
  func logDeterminantRatioDerivative(priorPrecision: Double) -> Double
}

/// A curvature to which the prior adds `δ` in every direction, so that its eigenvalues say all.
///
///     log |P| − log |P₀| = Σ log(1 + λ / δ)
package protocol SpectralDeterminantRatio: DeterminantRatio {
  /// `λ`, none negative, in any order; those that are zero may be left out.
  var eigenvalues: Tensor<Double> { get }
}

extension SpectralDeterminantRatio {
  package func logDeterminantRatio(priorPrecision: Double) -> Double {
    logProductOfOnePlus(eigenvalues, scale: 1 / priorPrecision)
  }

  package func logDeterminantRatioDerivative(priorPrecision: Double) -> Double {
    var sum = 0.0
    for value in eigenvalues.elements { sum -= value / (value + priorPrecision) }
    return sum
  }
}

/// `Σ log(1 + scale · xⱼ)`, with one logarithm for many factors.
///
/// The product of terms `1 + y` is kept as it is while it is far from overflow; small terms go into a sum of their
/// own logarithms, whose digits a product would lose.
func logProductOfOnePlus(_ values: Tensor<Double>, scale: Double) -> Double {
  values.withSpan { values in
    var (sum, product) = (0.0, 1.0)
    for j in values.indices {
      let term = scale * values[j]
      if term < 1e-3 || term > 1e50 {
        sum += Double.log(onePlus: term)
      } else {
        product *= 1 + term
        if product > 1e200 {
          sum += Double.log(product)
          product = 1
        }
      }
    }
    return sum + Double.log(product)
  }
}
