public import BayesTensor
import RealModule

/// The probabilities of a batch and the split of its uncertainty.
public struct UncertaintySplit: Sendable, Equatable {
  /// Mean over samples, `[batch, classes]`; rows sum to one.  For labels, the probability of each, `[batch, labels]`.
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
  /// Labels are yes or no each by itself, and their entropies are added up.
  ///
  /// - Precondition: the likelihood is not Gaussian.
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
    if likelihood == .multilabel { return labelSplit() }
    precondition(
      likelihood == .categorical || likelihood == .binary,
      "A \(likelihood.rawValue) output has no distribution over classes.")
    let (rowCount, width, classCount) = (rowCount, logitCount, classCount)
    var probabilities = Tensor<Double>(zeros: [rowCount, classCount])
    var conditional = Tensor<Double>(zeros: [rowCount])
    var total = Tensor<Double>(zeros: [rowCount])
    // Samples outermost, as they lie in memory; each row still adds its samples in order.
    var block = SoftmaxBlock(rowCount: rowCount, classCount: classCount)
    logits.withSpan { logits in
      probabilities.withMutableSpan { probabilities in
        conditional.withMutableSpan { conditional in
          for sample in 0..<sampleCount {
            let weight = sampleWeights?[sample] ?? 1 / Double(sampleCount)
            for first in stride(from: 0, to: rowCount, by: block.rowCount) {
              let count = min(block.rowCount, rowCount - first)
              block.read(logits, from: (sample * rowCount + first) * width, rowCount: count, width: width)
              for row in 0..<count {
                conditional[first + row] += weight * block.add(
                  row, weight: weight, to: &probabilities, at: (first + row) * classCount)
              }
            }
          }
        }
      }
    }
    probabilities.withSpan { probabilities in
      total.withMutableSpan { total in
        for row in 0..<rowCount {
          var sum = 0.0
          for index in row * classCount..<(row + 1) * classCount where probabilities[index] > 0 {
            sum -= probabilities[index] * Double.log(probabilities[index])
          }
          total[row] = sum
        }
      }
    }
    var aleatoric = total
    var epistemic = Tensor<Double>(zeros: [rowCount])
    if sampleCount > 1 {
      for row in 0..<rowCount {
        aleatoric[row] = min(total[row], conditional[row])
        epistemic[row] = max(0, total[row] - conditional[row])
      }
    }
    return UncertaintySplit(
      probabilities: probabilities, total: total, aleatoric: aleatoric, epistemic: epistemic)
  }

  /// The split where each logit is a yes or no of its own.
  private func labelSplit() -> UncertaintySplit {
    var probabilities = Tensor<Double>(zeros: [rowCount, logitCount])
    var (total, aleatoric) = (Tensor<Double>(zeros: [rowCount]), Tensor<Double>(zeros: [rowCount]))
    for sample in 0..<sampleCount {
      let weight = sampleWeights?[sample] ?? 1 / Double(sampleCount)
      for row in 0..<rowCount {
        for k in 0..<logitCount {
          let z = Double(logits[(sample * rowCount + row) * logitCount + k])
          let decay = Double.exp(-abs(z))
          probabilities[row * logitCount + k] += weight * (z >= 0 ? 1 : decay) / (1 + decay)
          // −p log p − (1 − p) log (1 − p) with p = σ(z).
          aleatoric[row] += weight * (Double.log(onePlus: decay) + abs(z) * decay / (1 + decay))
        }
      }
    }
    for row in 0..<rowCount {
      for k in 0..<logitCount {
        let p = probabilities[row * logitCount + k]
        total[row] += entropy([p, 1 - p])
      }
    }
    if sampleCount == 1 { aleatoric = total }
    var epistemic = total
    for row in 0..<rowCount {
      aleatoric[row] = min(total[row], aleatoric[row])
      epistemic[row] = total[row] - aleatoric[row]
    }
    return UncertaintySplit(
      probabilities: probabilities, total: total, aleatoric: aleatoric, epistemic: epistemic)
  }

  /// The mean probabilities, `[batch, classes]`.
  public func probabilities() -> Tensor<Double> { uncertaintySplit().probabilities }
}

/// The softmax of a few rows at once, so that their exponentials are computed together.
private struct SoftmaxBlock {
  let rowCount: Int
  private let classCount: Int
  /// `z − max`, and after those of all rows `exp(z − max)`, `[2, rows, classes]`.
  private var numbers: [Double]

  /// As many of the rows as stay in the nearest cache, and one at least.
  init(rowCount: Int, classCount: Int) {
    self.rowCount = max(1, min(rowCount, 1024 / max(1, classCount)))
    self.classCount = classCount
    numbers = [Double](repeating: 0, count: 2 * self.rowCount * classCount)
  }

  /// Reads rows of `width` logits; a single logit `z` of two classes stands for the pair `(0, z)`.
  mutating func read(_ logits: Span<Float>, from first: Int, rowCount: Int, width: Int) {
    let classCount = classCount
    let offset = classCount - width
    let half = self.rowCount * classCount
    var (source, target) = (first, 0)
    var numbers = numbers.mutableSpan
    for _ in 0..<rowCount {
      var maximum = offset == 0 ? -Float.infinity : 0
      for position in source..<source + width { maximum = logits[position] > maximum ? logits[position] : maximum }
      let largest = Double(maximum)
      for index in 0..<offset { numbers[target + index] = -largest }
      for index in 0..<width { numbers[target + offset + index] = Double(logits[source + index]) - largest }
      source += width
      target += classCount
    }
    for position in 0..<target { numbers[half + position] = numbers[position] }
    numbers.formExponentials(in: half..<half + target)
  }

  /// Adds the probabilities of one row, times a weight, to some others, and returns their entropy.
  ///
  ///     p = exp(z − max) / S,   H[p] = log S − Σ p (z − max)
  ///
  /// One exponential a class and one logarithm a row: the entropy needs no logarithm of each `p`.
  func add(_ row: Int, weight: Double, to probabilities: inout MutableSpan<Double>, at start: Int) -> Double {
    let numbers = numbers.span
    let first = row * classCount
    let half = rowCount * classCount
    var sum = 0.0
    var weighted = 0.0
    for gap in first..<first + classCount {
      let exponential = numbers[half + gap]
      sum += exponential
      // Where the exponential is zero the gap may be infinite.
      if exponential > 0 { weighted += exponential * numbers[gap] }
    }
    let scale = weight / sum
    for index in 0..<classCount { probabilities[start + index] += scale * numbers[half + first + index] }
    return Double.log(sum) - weighted / sum
  }
}
