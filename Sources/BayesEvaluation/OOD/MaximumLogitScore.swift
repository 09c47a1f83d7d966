public import BayesPrediction
public import BayesTensor

/// The negative largest logit `−maxₖ z̄ₖ`, with the logits averaged over samples.
///
/// One yes-or-no logit `z` is read as the pair `(−z/2, z/2)`.  Temperature is part of the logits.
///
/// - Throws: `EvaluationError.Code.unsupported` for log-probabilities, which have lost their common shift.
/// - Source: Hendrycks et al. 2022, arXiv:1911.11132.
public struct MaximumLogitScore: OODScore {
  public init() {}
  public var name: String { "maximumLogit" }

  public func isDefined(for prediction: Prediction) -> Bool { prediction.scale == .logits }

  public func values(
    of prediction: Prediction, split: UncertaintySplit
  ) throws(EvaluationError) -> Tensor<Double> {
    try requireLogits(of: prediction, for: "maximum logit")
    let logits = prediction.meanClassLogits()
    let (rowCount, classCount) = (logits.shape[0], logits.shape[1])
    return Tensor(
      shape: [rowCount],
      (0..<rowCount).map { row in
        var best = logits[row, 0]
        for column in 1..<max(1, classCount) { best = max(best, logits[row, column]) }
        return -best
      })
  }
}
