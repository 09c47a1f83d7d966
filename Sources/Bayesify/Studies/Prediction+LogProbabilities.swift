import BayesPrediction
import BayesTensor
import RealModule

extension Prediction {
  /// The logarithms of the mean probabilities, by log-sum-exp over the samples, so that none rounds to zero.
  ///
  /// - Shapes: `[batch, classes]`.
  /// - Precondition: the likelihood is categorical or binary.
  func logMeanProbabilities() -> Tensor<Double> {
    if let closedForm { return closedForm.probabilities.map { Double.log($0) } }
    var result = Tensor<Double>(zeros: [rowCount, classCount])
    let (rowCount, width) = (rowCount, logitCount)
    logits.withSpan { logits in
      for row in 0..<rowCount {
        let samples = (0..<sampleCount).map { sample in
          let start = (sample * rowCount + row) * width
          let weight = sampleWeights?[sample] ?? 1 / Double(sampleCount)
          return logProbabilities(ofLogits: (start..<start + width).map { logits[$0] }, likelihood)
            .map { $0 + Double.log(weight) }
        }
        for k in 0..<classCount {
          result[row, k] = samples.count == 1 ? samples[0][k] : logSumExp(samples.map { $0[k] })
        }
      }
    }
    return result
  }
}

extension Tensor<Double> {
  /// The position of the largest value of a row; of equal ones the first.
  func indexOfLargest(inRow row: Int) -> Int {
    var best = 0
    for column in 1..<shape[1] where self[row, column] > self[row, best] { best = column }
    return best
  }
}
