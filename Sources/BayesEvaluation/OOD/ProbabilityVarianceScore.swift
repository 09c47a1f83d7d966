public import BayesPrediction
public import BayesTensor

/// The variance of the probabilities over samples, averaged over classes; zero without draws.
///
///     1/K Σₖ Σₛ wₛ (pₛₖ − p̄ₖ)²
///
/// - Range: `0...1/4`.
/// - Throws: `EvaluationError.Code.unsupported` for a closed form, whose probabilities are means already.
public struct ProbabilityVarianceScore: OODScore {
  public init() {}
  public var name: String { "probabilityVariance" }

  public func isDefined(for prediction: Prediction) -> Bool { prediction.closedForm == nil }

  public func values(
    of prediction: Prediction, split: UncertaintySplit
  ) throws(EvaluationError) -> Tensor<Double> {
    guard isDefined(for: prediction) else {
      throw EvaluationError(
        .unsupported,
        "The variance of probabilities needs samples, and these predictions hold the means of a closed form; predict "
          + "with draws or leave the variance out.")
    }
    let (rowCount, width, classCount) = (prediction.rowCount, prediction.logitCount, prediction.classCount)
    var variances = Tensor<Double>(zeros: [rowCount])
    guard prediction.sampleCount > 1 else { return variances }
    for sample in 0..<prediction.sampleCount {
      let weight = prediction.sampleWeights?[sample] ?? 1 / Double(prediction.sampleCount)
      let start = sample * rowCount * width
      let probabilities = Prediction(
        logits: Tensor(
          shape: [1, rowCount, width], prediction.logits.elements[start..<start + rowCount * width]),
        likelihood: prediction.likelihood, exit: prediction.exit, scale: prediction.scale
      ).probabilities()
      for row in 0..<rowCount {
        var sum = 0.0
        for column in 0..<classCount {
          let difference = probabilities[row, column] - split.probabilities[row, column]
          sum += difference * difference
        }
        variances[row] += weight * sum / Double(classCount)
      }
    }
    return variances
  }
}
