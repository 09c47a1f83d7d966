public import BayesPrediction
import BayesTensor
import RealModule

/// Finds the temperature that makes held-out labels most likely under the mean of several samples' probabilities.
///
///     T* = argmin_T  mean_n −log Σₛ wₛ softmax(zₛₙ / T)[yₙ]
///
/// among temperatures from ¼ to 8, sixteen an octave, one among them; with samples the objective need not have one minimum
/// only, and on a lattice the lowest is found for certain, in one pass.
///
/// - Cost: `81 · samples · classes` exponentials a row; no memory for rows.
/// - Determinism: no randomness; rows are summed in order.
public struct SampledTemperature: Sendable {
  private static let temperatures = (-32...48).map { Double.exp2(Double($0) / 16) }

  private var sums = [Double](repeating: 0, count: SampledTemperature.temperatures.count)
  private var rowCount = 0

  public init() {}

  /// Takes the predictions for some rows at temperature one.
  ///
  /// - Throws: `EvaluationError.Code.unsupported` for a closed form or likelihoods without classes; `.shape`; `.label`.
  public mutating func update(_ prediction: Prediction, labels: [Int]) throws(EvaluationError) {
    guard prediction.closedForm == nil else {
      throw EvaluationError(.unsupported, "A temperature cannot be applied to the probabilities of a closed form.")
    }
    try checkHasClasses(prediction)
    try checkLabels(labels, rowCount: prediction.rowCount, classCount: prediction.classCount)
    let (width, classCount, sampleCount) = (prediction.logitCount, prediction.classCount, prediction.sampleCount)
    let offset = classCount - width
    // Logits less that of the label: the sum of their exponentials is the inverse probability.
    var gaps = [Double](repeating: 0, count: sampleCount * classCount)
    var logProbabilities = [Double](repeating: 0, count: sampleCount)
    for (row, label) in labels.enumerated() {
      prediction.logits.withSpan { logits in
        for sample in 0..<sampleCount {
          let start = (sample * labels.count + row) * width
          func logit(_ index: Int) -> Double { index < offset ? 0 : Double(logits[start + index - offset]) }
          for index in 0..<classCount { gaps[sample * classCount + index] = logit(index) - logit(label) }
        }
      }
      for (place, temperature) in Self.temperatures.enumerated() {
        for sample in 0..<sampleCount {
          let own = gaps[sample * classCount..<(sample + 1) * classCount]
          let maximum = (own.max() ?? 0) / temperature
          var sum = 0.0
          for gap in own { sum += Double.exp(gap / temperature - maximum) }
          let weight = prediction.sampleWeights?[sample] ?? 1 / Double(sampleCount)
          logProbabilities[sample] = -maximum - Double.log(sum) + Double.log(weight)
        }
        sums[place] -= logSumExp(logProbabilities)
      }
    }
    rowCount += labels.count
  }

  /// The best temperature for the rows so far, of equal ones the lowest.
  ///
  /// - Throws: `EvaluationError.Code.empty`; `.score` where a logit was not a number.
  public func temperature() throws(EvaluationError) -> Temperature {
    guard rowCount > 0 else { throw .noRows("temperature") }
    guard let best = sums.indices.filter({ sums[$0].isFinite }).min(by: { (sums[$0], $0) < (sums[$1], $1) }) else {
      throw EvaluationError(.score, "A logit is not a number, or a label has probability zero at every temperature.")
    }
    let one = sums[Self.temperatures.firstIndex(of: 1) ?? best]
    return Temperature(
      value: Self.temperatures[best], nllBefore: one / Double(rowCount), nllAfter: sums[best] / Double(rowCount),
      isAtSearchBound: best == 0 || best == sums.count - 1, rowCount: rowCount)
  }
}
