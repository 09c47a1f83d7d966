import BayesPrediction
import BayesTensor
import Testing

@Suite struct PredictionRowsTests {
  private func prediction(closedForm: Bool) -> Prediction {
    let logits = RandomKey(seed: 3).normals([2, 5, 3], as: Float.self)
    let rows = Tensor<Double>(shape: [5], (0..<5).map(Double.init))
    return Prediction(
      logits: logits, likelihood: .categorical, exit: 1, scale: .logProbabilities, sampleWeights: [0.3, 0.7],
      closedForm: closedForm
        ? Prediction.ClosedForm(
          probabilities: Tensor(shape: [5, 3], (0..<15).map(Double.init)), total: rows, aleatoric: rows.map { $0 / 2 }) : nil)
  }

  @Test(arguments: [false, true]) func rowsAreTakenOutInOrder(closedForm: Bool) {
    let whole = prediction(closedForm: closedForm)
    let part = whole.rows([4, 0, 2])
    #expect(part.rowCount == 3 && part.sampleCount == 2 && part.exit == 1 && part.scale == .logProbabilities)
    for (index, row) in [4, 0, 2].enumerated() {
      for sample in 0..<2 {
        for k in 0..<3 { #expect(part.logits[(sample * 3 + index) * 3 + k] == whole.logits[(sample * 5 + row) * 3 + k]) }
      }
      #expect(part.uncertaintySplit().total[index] == whole.uncertaintySplit().total[row])
    }
  }

  @Test(arguments: [false, true]) func partsMakeTheWhole(closedForm: Bool) {
    let whole = prediction(closedForm: closedForm)
    #expect(Prediction.joining([whole.rows([0]), whole.rows([1, 2, 3]), whole.rows([4])]) == whole)
    #expect(Prediction.joining([whole]) == whole)
  }

  @Test func realNumbersAreTakenOutToo() {
    let values = Tensor<Double>(shape: [3, 2], (0..<6).map(Double.init))
    let whole = Prediction(
      logits: values.converted(to: Float.self).reshaped(to: [1, 3, 2]), likelihood: .gaussian, exit: 0,
      regression: Prediction.Regression(mean: values, epistemicVariance: values, noiseVariance: values))
    #expect(whole.rows([2]).regression?.mean.elements == [4, 5])
    #expect(Prediction.joining([whole.rows([0]), whole.rows([1, 2])]) == whole)
  }
}
