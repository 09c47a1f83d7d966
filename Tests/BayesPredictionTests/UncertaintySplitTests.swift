import BayesPrediction
import BayesTensor
import RealModule
import Testing
import _BayesTestSupport

@Suite struct UncertaintySplitTests {
  /// Three members, two inputs, three classes: `Z(s, n, k) = 1.5 sin(0.4 + 0.9 (6s + 3n + k))`.
  static let members = (0..<18).map { Float(1.5 * Double.sin(0.4 + 0.9 * Double($0))) }

  /// The definition, one row at a time and with no concern for speed.
  private func plainSplit(_ prediction: Prediction, row: Int) -> (mean: [Double], conditional: Double) {
    var mean = [Double](repeating: 0, count: prediction.classCount)
    var conditional = 0.0
    for sample in 0..<prediction.sampleCount {
      let start = (sample * prediction.rowCount + row) * prediction.logitCount
      let weight = prediction.sampleWeights?[sample] ?? 1 / Double(prediction.sampleCount)
      let probabilities = logProbabilities(
        ofLogits: prediction.logits.elements[start..<start + prediction.logitCount],
        prediction.likelihood
      ).map { Double.exp($0) }
      for (index, p) in probabilities.enumerated() { mean[index] += weight * p }
      conditional += weight * entropy(probabilities)
    }
    return (mean, conditional)
  }

  @Test func splitsThePublishedFixture() {
    // Fixture M: logits are rounded to Float, hence 1e-7.
    let prediction = Prediction(
      logits: Tensor(shape: [3, 2, 3], Self.members), likelihood: .categorical, exit: 0)
    let split = prediction.uncertaintySplit()
    expectClose(split.total, Tensor(shape: [2], [0.9336100602, 0.8891181684]), tolerance: 1e-7)
    expectClose(split.aleatoric, Tensor(shape: [2], [0.8820228850, 0.8663712604]), tolerance: 1e-7)
    expectClose(split.epistemic, Tensor(shape: [2], [0.0515871751, 0.0227469079]), tolerance: 1e-7)
  }

  @Test(arguments: [Likelihood.categorical, .binary], [nil, [0.5, 0.2, 0.3]])
  func agreesWithTheDefinition(likelihood: Likelihood, weights: [Double]?) {
    let shape: Shape = likelihood == .binary ? [3, 6, 1] : [3, 2, 3]
    let prediction = Prediction(
      logits: Tensor(shape: shape, Self.members), likelihood: likelihood, exit: 0,
      sampleWeights: weights)
    let split = prediction.uncertaintySplit()
    for row in 0..<prediction.rowCount {
      let (mean, conditional) = plainSplit(prediction, row: row)
      for (index, p) in mean.enumerated() {
        expectClose(split.probabilities[row, index], p, tolerance: 1e-14)
      }
      expectClose(split.total[row], entropy(mean), tolerance: 1e-14)
      expectClose(split.aleatoric[row], conditional, tolerance: 1e-14)
      expectClose(split.epistemic[row], entropy(mean) - conditional, tolerance: 1e-14)
    }
  }

  @Test func oneSampleHasNoEpistemicPart() {
    let prediction = Prediction(
      logits: Tensor(shape: [1, 6, 3], Self.members), likelihood: .categorical, exit: 0)
    let split = prediction.uncertaintySplit()
    #expect(split.epistemic == Tensor(zeros: [6]))
    #expect(split.aleatoric == split.total)
  }

  @Test func aClassThatIsRuledOutAddsNothing() {
    let prediction = Prediction(
      logits: Tensor(shape: [2, 1, 3], [0, 0, -.infinity, 1000, -1000, -.infinity]),
      likelihood: .categorical, exit: 0, scale: .logProbabilities)
    let split = prediction.uncertaintySplit()
    #expect(split.probabilities == Tensor(shape: [1, 3], [0.75, 0.25, 0]))
    expectClose(split.aleatoric[0], Double.log(2) / 2, tolerance: 1e-15)
  }

  @Test func rowsDoNotDependOnTheirCompanions() {
    let both = Prediction(
      logits: Tensor(shape: [1, 6, 3], Self.members), likelihood: .categorical, exit: 0
    ).uncertaintySplit()
    for row in 0..<6 {
      let alone = Prediction(
        logits: Tensor(shape: [1, 1, 3], Self.members[row * 3..<row * 3 + 3]), likelihood: .categorical,
        exit: 0
      ).uncertaintySplit()
      #expect(alone.probabilities == both.probabilities.rows(row..<row + 1))
      #expect(alone.total[0] == both.total[row])
    }
  }

  /// However rows are cut into batches, and wherever one lies in them, its numbers are the same to the last bit.
  @Test(arguments: [1, 3, 10]) func batchesMakeNoDifference(width: Int) {
    let (sampleCount, rowCount) = (4, 23)
    let likelihood = width == 1 ? Likelihood.binary : .categorical
    func logit(_ sample: Int, _ row: Int, _ k: Int) -> Float {
      Float(40 * Double.sin(0.7 + 1.3 * Double((sample * rowCount + row) * width + k)))
    }
    func split(_ rows: Range<Int>) -> UncertaintySplit {
      let logits = (0..<sampleCount).flatMap { sample in
        rows.flatMap { row in (0..<width).map { logit(sample, row, $0) } }
      }
      return Prediction(
        logits: Tensor(shape: [sampleCount, rows.count, width], logits), likelihood: likelihood, exit: 0
      ).uncertaintySplit()
    }
    let whole = split(0..<rowCount)
    for size in [1, 2, 5] {
      for first in stride(from: 0, to: rowCount, by: size) {
        let rows = first..<min(first + size, rowCount)
        let part = split(rows)
        #expect(part.probabilities == whole.probabilities.rows(rows))
        #expect(part.total.elements[...] == whole.total.elements[rows])
        #expect(part.aleatoric.elements[...] == whole.aleatoric.elements[rows])
        #expect(part.epistemic.elements[...] == whole.epistemic.elements[rows])
      }
    }
  }

  @Test func whatIsNoNumberStaysNone() {
    let prediction = Prediction(
      logits: Tensor(shape: [1, 3, 2], [0, 0, .nan, 0, 1, 0]), likelihood: .categorical, exit: 0)
    let split = prediction.uncertaintySplit()
    #expect(split.probabilities[1, 0].isNaN && split.probabilities[1, 1].isNaN)
    #expect(split.probabilities[0, 0] == 0.5)
    expectClose(split.probabilities[2, 0] + split.probabilities[2, 1], 1, tolerance: 1e-15)
  }
}
