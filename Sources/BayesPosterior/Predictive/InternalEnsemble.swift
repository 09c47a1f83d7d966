public import BayesPrediction
import BayesTensor
import RealModule

/// How an exit's own prediction is joined with those of the exits before it, which cost nothing more.
///
/// The weight of an exit is `w = F / F_K`, the cost up to it over that of the last.
public enum InternalEnsemble: String, Hashable, Sendable, Codable, CaseIterable {
  /// `Σ w p / Σ w` over the exits so far; draws stay draws, so that its epistemic part holds what exits disagree in.
  ///
  /// - Source: Meronen et al. 2024, arXiv:2302.06359 (model-internal ensembling).
  case costWeighted = "cost-weighted"

  /// `∏ p^(w / wₖ)`, normalised: the exit's own opinion counts once, earlier ones by their share of its cost.
  ///
  /// It becomes surer with every exit that agrees and says nothing of an epistemic part.
  ///
  /// - Source: products of exits: Jazbec et al. 2023, arXiv:2306.02652, whose weights grow with the exit too.
  case productOfExperts = "product-of-experts"

  /// The joint prediction at the last of some exits.
  ///
  /// - Parameters:
  ///   - predictions: each exit's own, from the first on, for the same rows.
  ///   - costs: to each of these exits; only their ratios matter.
  /// - Precondition: there is at least one exit, and outputs are distributions over the same classes.
  public func callAsFunction(_ predictions: [Prediction], costs: [Double]) -> Prediction {
    switch self {
    case .costWeighted: return mixture(of: predictions, weights: costs)
    case .productOfExperts: return product(of: predictions, exponents: costs.map { $0 / costs[costs.count - 1] })
    }
  }

  private func product(of predictions: [Prediction], exponents: [Double]) -> Prediction {
    let last = predictions[predictions.count - 1]
    guard predictions.count > 1 else { return last }
    let (rowCount, classCount) = (last.rowCount, last.classCount)
    var logarithms = Tensor<Double>(zeros: [rowCount, classCount])
    for (exponent, prediction) in zip(exponents, predictions) {
      let probabilities = prediction.probabilities()
      for position in 0..<logarithms.count {
        // A class that an exit rules out keeps a place in the order of those that it rules out.
        logarithms[position] += exponent * Double.log(max(probabilities[position], .leastNormalMagnitude))
      }
    }
    for row in 0..<rowCount {
      let normalizer = logSumExp((0..<classCount).map { logarithms[row, $0] })
      for k in 0..<classCount { logarithms[row, k] -= normalizer }
    }
    let probabilities = logarithms.map { Double.exp($0) }
    let isBinary = last.likelihood == .binary
    let logits = Tensor<Float>(
      shape: [1, rowCount, last.logitCount],
      isBinary
        ? (0..<rowCount).map { Float(logarithms[$0, 1] - logarithms[$0, 0]) } : logarithms.elements.map { Float($0) })
    return Prediction(
      logits: logits, likelihood: last.likelihood, exit: last.exit, scale: isBinary ? .logits : .logProbabilities,
      closedForm: Prediction.ClosedForm(
        probabilities: probabilities, total: totalEntropy(probabilities, last.likelihood), aleatoric: nil))
  }
}
