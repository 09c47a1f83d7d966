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
    var softmax = SoftmaxOfTwoRows(classCount: classCount)
    logits.withSpan { logits in
      probabilities.withMutableSpan { probabilities in
        conditional.withMutableSpan { conditional in
          for sample in 0..<sampleCount {
            let weight = sampleWeights?[sample] ?? 1 / Double(sampleCount)
            for row in stride(from: 0, to: rowCount, by: 2) {
              // The last of an odd number of rows is in both lanes.
              let rows = SIMD2(row, min(row + 1, rowCount - 1))
              let entropies = softmax.read(logits, at: (sample * rowCount &+ rows) &* width, width: width)
              for lane in 0...rows[1] - row {
                conditional[rows[lane]] += weight * entropies[lane]
                softmax.add(lane, weight: weight, to: &probabilities, at: rows[lane] * classCount)
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

/// The softmax of two rows, each in a lane of its own with the same arithmetic.
private struct SoftmaxOfTwoRows {
  /// `exp(z − max)` by class, and their sums.
  private var exponentials: [SIMD2<Double>]
  private var sums = SIMD2<Double>()

  init(classCount: Int) { exponentials = [SIMD2<Double>](repeating: SIMD2(), count: classCount) }

  /// Reads the logits of two rows and returns the entropies of their probabilities.
  ///
  ///     p = exp(z − max) / S,   H[p] = log S − Σ p (z − max)
  ///
  /// One exponential a class and one logarithm a row: the entropy needs no logarithm of each `p`.
  ///
  /// - Parameter width: the number of logits; a single logit `z` of two classes stands for the pair `(0, z)`.
  mutating func read(_ logits: Span<Float>, at starts: SIMD2<Int>, width: Int) -> SIMD2<Double> {
    let (start0, start1) = (starts[0], starts[1])
    func pair(_ index: Int) -> SIMD2<Double> {
      SIMD2(Double(logits[start0 + index]), Double(logits[start1 + index]))
    }
    let offset = exponentials.count - width
    var largest = SIMD2<Double>(repeating: offset == 0 ? -.infinity : 0)
    for index in 0..<width {
      let values = pair(index)
      largest.replace(with: values, where: values .> largest)
    }
    func gaps(_ index: Int) -> SIMD2<Double> { (index < offset ? SIMD2() : pair(index - offset)) - largest }
    var values = exponentials.mutableSpan
    for index in values.indices { values[index] = BayesPrediction.exponentials(gaps(index)) }
    var sums = SIMD2<Double>()
    var weighted = SIMD2<Double>()
    for index in values.indices {
      sums += values[index]
      // Where the exponential is zero the gap may be infinite.
      let gaps = gaps(index)
      weighted += values[index] * gaps.replacing(with: -746, where: gaps .< -746)
    }
    self.sums = sums
    return SIMD2(Double.log(sums[0]), Double.log(sums[1])) - weighted / sums
  }

  /// Adds the probabilities of one of the rows, times a weight, to some others.
  func add(_ lane: Int, weight: Double, to probabilities: inout MutableSpan<Double>, at start: Int) {
    let scale = weight / sums[lane]
    let exponentials = exponentials.span
    for index in exponentials.indices { probabilities[start + index] += scale * exponentials[index][lane] }
  }
}
