import BayesPrediction
package import BayesTensor
import RealModule

/// What some training rows contribute to the curvature of one head: sums, so that rows may be split
/// and added in any way.
package struct Curvature: Sendable {
  /// `Σₙ pₙ pₙᵀ` over the logits, or `Σₙ pₙ (1 − pₙ)` for a binary head; `[logits, logits]`.
  var outputSum: Tensor<Double>
  /// `Σₙ [φₙ; 1] [φₙ; 1]ᵀ`, `[features + 1, features + 1]`.
  var inputSum: Tensor<Double>
  /// The number of rows, the log-likelihood of their labels in nats, and how many of them have
  /// their label's logit on top; the last two are zero without labels.
  var totals: Tensor<Double>

  /// The sums over no rows.
  package init(featureCount: Int, logitCount: Int) {
    outputSum = Tensor(zeros: [logitCount, logitCount])
    inputSum = Tensor(zeros: [featureCount + 1, featureCount + 1])
    totals = Tensor(zeros: [3])
  }

  /// The sums over a batch.
  ///
  /// - Shapes: features `[rows, features]`, logits `[rows, logits]`, labels `[rows]`.
  /// - Precondition: the likelihood is categorical or binary and labels are in range.
  package init(
    features: Tensor<Double>, logits: Tensor<Double>, labels: [Int]?, likelihood: Likelihood,
    on backend: any Backend
  ) {
    let inputs = appendingOnes(to: features)
    inputSum = backend.product(inputs, inputs, transposing: .first)
    totals = Tensor(zeros: [3])
    totals[0] = Double(features.rowCount)
    if likelihood == .binary {
      outputSum = Tensor(zeros: [1, 1])
      for row in 0..<logits.rowCount {
        let decay = Double.exp(-abs(logits[row]))
        outputSum[0] += decay / ((1 + decay) * (1 + decay))
      }
    } else {
      let probabilities = softmax(logits)
      outputSum = backend.product(probabilities, probabilities, transposing: .first)
    }
    guard let labels else { return }
    for (row, label) in labels.enumerated() {
      let scores = ClassScores(logits: logits, row: row, likelihood)
      totals[1] += scores.logProbability(of: label)
      if scores.top == label { totals[2] += 1 }
    }
  }

  /// Adds the sums over other rows.
  package mutating func add(_ other: Curvature) {
    accumulate(other.outputSum, into: &outputSum)
    accumulate(other.inputSum, into: &inputSum)
    accumulate(other.totals, into: &totals)
  }

  /// Adds the sums of the other processes.
  mutating func reduce(over communicator: any Communicator) {
    communicator.allReduce(&outputSum)
    communicator.allReduce(&inputSum)
    communicator.allReduce(&totals)
  }
}

/// The scores of one row's classes, in `Double`.
struct ClassScores {
  private let values: [Double]

  init(logits: Tensor<Double>, row: Int, _ likelihood: Likelihood) {
    let width = logits.shape[1]
    values =
      likelihood == .binary ? [0, logits[row]] : Array(logits.elements[row * width..<(row + 1) * width])
  }

  func logProbability(of label: Int) -> Double { values[label] - logSumExp(values) }

  /// The first class of the highest score.
  var top: Int {
    var top = 0
    for index in values.indices where values[index] > values[top] { top = index }
    return top
  }
}

/// The softmax of each row.
///
/// - Shapes: `[rows, classes]` to `[rows, classes]`.
package func softmax(_ logits: Tensor<Double>) -> Tensor<Double> {
  let width = logits.shape[1]
  var result = logits
  result.withMutableSpan { span in
    for start in stride(from: 0, to: span.count, by: width) {
      var maximum = -Double.infinity
      for position in start..<start + width { maximum = max(maximum, span[position]) }
      var sum = 0.0
      for position in start..<start + width {
        span[position] = Double.exp(span[position] - maximum)
        sum += span[position]
      }
      for position in start..<start + width { span[position] /= sum }
    }
  }
  return result
}

/// Adds `values` to `sums` element by element.
private func accumulate(_ values: Tensor<Double>, into sums: inout Tensor<Double>) {
  precondition(values.shape == sums.shape, "Cannot add \(values.shape) to \(sums.shape).")
  sums.withMutableSpan { target in
    values.withSpan { source in
      for position in source.indices { target[position] += source[position] }
    }
  }
}
