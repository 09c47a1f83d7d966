public import BayesTensor
import RealModule

/// The negative log-likelihood of class labels under the softmax of logits.
///
///     value = Σₙ log Σₖ exp(zₙₖ − zₙᵧ),      ∂/∂zₙₖ = pₙₖ − [k = yₙ]
///
/// Logits are shifted by their largest, and the derivative at the label is minus the other classes'
/// probabilities, so neither overflows nor cancels for large logits.
///
/// - Shapes: outputs `[rows, classes]`, one label a row; pixels are rows of their own.
/// - Units: nats, summed over rows.
/// - Determinism: rows are summed in order, in `Double`.
public struct SoftmaxCrossEntropy: Hashable, Sendable {
  public init() {}

  /// The loss of some rows and its derivative.
  ///
  /// - Throws: `LossError.Code.shape`; `.label`, naming the row, for a label outside `0..<classes`;
  ///   `.output` for a logit that is not finite.
  @specialized(where Scalar == Float)
  @specialized(where Scalar == Double)
  public func callAsFunction<Scalar: TensorScalar>(
    _ outputs: Tensor<Scalar>, labels: [Int]
  ) throws(LossError) -> LossValue<Scalar> {
    try requireOutputs(outputs, rowCount: labels.count, of: "Softmax cross-entropy")
    let classCount = outputs.shape[1]
    try requireLabels(labels, classCount: classCount)
    var value = 0.0
    var cotangent = outputs
    var weights = [Double](repeating: 0, count: classCount)
    cotangent.withMutableSpan { span in
      for (row, label) in labels.enumerated() {
        let first = row * classCount
        var largest = 0
        for k in 1..<max(1, classCount) where span[first + k] > span[first + largest] { largest = k }
        let maximum = Double(span[first + largest])
        // The largest term is one; leaving it out keeps the digits of the others.
        var rest = 0.0
        for k in 0..<classCount {
          weights[k] = Double.exp(Double(span[first + k]) - maximum)
          if k != largest { rest += weights[k] }
        }
        value += maximum - Double(span[first + label]) + Double.log(onePlus: rest)
        var others = 0.0
        for k in 0..<classCount where k != label {
          let probability = weights[k] / (1 + rest)
          others += probability
          span[first + k] = Scalar(probability)
        }
        span[first + label] = Scalar(-others)
      }
    }
    return LossValue(value: value, cotangent: cotangent)
  }
}

/// Refuses labels that name no class.
func requireLabels(_ labels: [Int], classCount: Int) throws(LossError) {
  guard let row = labels.firstIndex(where: { !(0..<classCount).contains($0) }) else { return }
  throw LossError(
    .label, row: row,
    "Row \(row) of the batch has label \(labels[row]); there are \(classCount) classes, so labels are 0 to "
      + "\(classCount - 1).")
}
