public import BayesTensor
import RealModule

/// The probabilities of a batch and the split of its uncertainty.
public struct UncertaintySplit: Sendable, Equatable {
  /// Mean over samples, `[batch, classes]`; rows sum to one.
  public var probabilities: Tensor<Double>
  /// `H[mean p]`, `[batch]`, nats.
  public var total: Tensor<Double>
  /// `mean H[p]`, `[batch]`, nats.
  public var aleatoric: Tensor<Double>
  /// The mutual information `total − aleatoric`, `[batch]`, nats; never negative, zero without draws.
  public var epistemic: Tensor<Double>
}

extension Prediction {
  /// The mean probabilities and the split of their entropy into aleatoric and epistemic parts.
  ///
  ///     total = H[ Σₛ wₛ pₛ ],   aleatoric = Σₛ wₛ H[pₛ],   epistemic = total − aleatoric
  ///
  /// Where a closed form without an aleatoric part made the prediction, the epistemic part is
  /// not known and all of the total counts as aleatoric.
  ///
  /// - Shapes: `[batch, classes]` and `[batch]`.
  /// - Units: nats.
  /// - Precondition: the likelihood is categorical or binary.
  /// - Source: Depeweg et al. 2018, arXiv:1710.07283.
  public func uncertaintySplit() -> UncertaintySplit {
    if let closedForm {
      let aleatoric = closedForm.aleatoric ?? closedForm.total
      var epistemic = closedForm.total
      for row in 0..<rowCount { epistemic[row] = max(0, closedForm.total[row] - aleatoric[row]) }
      return UncertaintySplit(
        probabilities: closedForm.probabilities, total: closedForm.total, aleatoric: aleatoric,
        epistemic: epistemic)
    }
    var result = UncertaintySplit(
      probabilities: Tensor(zeros: [rowCount, classCount]), total: Tensor(zeros: [rowCount]),
      aleatoric: Tensor(zeros: [rowCount]), epistemic: Tensor(zeros: [rowCount]))
    let width = logitCount
    for row in 0..<rowCount {
      var mean = [Double](repeating: 0, count: classCount)
      var conditional = 0.0
      for sample in 0..<sampleCount {
        let start = (sample * rowCount + row) * width
        let weight = sampleWeights?[sample] ?? 1 / Double(sampleCount)
        let logProbabilities = logProbabilities(
          ofLogits: logits.elements[start..<start + width], likelihood)
        for (index, logProbability) in logProbabilities.enumerated() {
          let p = Double.exp(logProbability)
          mean[index] += weight * p
          if p > 0 { conditional -= weight * p * logProbability }
        }
      }
      let total = entropy(mean)
      for (index, p) in mean.enumerated() { result.probabilities[row, index] = p }
      result.total[row] = total
      result.aleatoric[row] = sampleCount == 1 ? total : min(total, conditional)
      result.epistemic[row] = sampleCount == 1 ? 0 : max(0, total - conditional)
    }
    return result
  }

  /// The mean probabilities, `[batch, classes]`.
  public func probabilities() -> Tensor<Double> { uncertaintySplit().probabilities }
}
