import BayesPrediction
import BayesTensor
import Testing

@testable import BayesEvaluation

/// Changes from untouched to corrupted rows, against their definitions.
@Suite struct ShiftTests {
  private let labels = (0..<60).map { $0 % 3 }

  /// A model that is wrong in one of so many rows, with a margin of its logits.
  private func model(
    _ name: String, wrongInOneOf period: Int, margin: Float, rows: Int = 60
  ) throws -> ModelEvaluation {
    var exit = ExitEvaluation(index: 2, name: "dense")
    let logits = (0..<rows * 3).map { position -> Float in
      let (row, kind) = (position / 3, position % 3)
      let named = row % period == 0 ? (labels[row] + 1) % 3 : labels[row]
      return kind == named ? margin + Float(row % 5) / 10 : 0
    }
    try exit.update(
      Prediction(logits: Tensor(shape: [1, rows, 3], logits), likelihood: .categorical, exit: 0),
      labels: Array(labels.prefix(rows)))
    return ModelEvaluation(name: name, kind: .map, exits: [exit])
  }

  @Test func changesAreDifferencesOfPairedRows() throws {
    let clean = [try model("a", wrongInOneOf: 10, margin: 4), try model("b", wrongInOneOf: 12, margin: 2)]
    let shifted = [try model("a", wrongInOneOf: 3, margin: 3), try model("b", wrongInOneOf: 4, margin: 2)]
    let results = try ShiftReference(clean).results(of: shifted)
    #expect(results.map(\.name) == ["a", "b"] && results[0].exits[0].againstBaseline == nil)
    for (position, result) in results.enumerated() {
      let exit = result.exits[0]
      let (own, other) = (try shifted[position].exits[0].result, try clean[position].exits[0].result)
      #expect(exit.index == 2 && exit.name == "dense" && exit.accuracy == own.accuracy && exit.nll == own.nll)
      #expect(exit.brier == own.brier && exit.ece == own.ece.value && exit.uncertainty == own.uncertainty)
      #expect(exit.intervals == own.intervals && exit.infiniteNLLCount == 0)
      #expect(exit.change.accuracy.value == own.accuracy - other.accuracy)
      #expect(exit.change.ece.value == own.ece.value - other.ece.value)
      // The paired normal interval, from the rows.
      let differences = (0..<60).map { row -> Double in
        let losses = [shifted, clean].map { Double($0[position].exits[0].losses.negativeLogLikelihoods[row]) }
        return losses[0] - losses[1]
      }
      let mean = differences.reduce(0, +) / 60
      let variance = differences.reduce(0) { $0 + ($1 - mean) * ($1 - mean) } / 59
      let interval = try #require(exit.change.nll.interval)
      #expect(abs(interval.low - (mean - 1.959963984540054 * (variance / 60).squareRoot())) < 1e-9)
      #expect(abs(interval.high - (mean + 1.959963984540054 * (variance / 60).squareRoot())) < 1e-9)
    }
    let against = try #require(results[1].exits[0].againstBaseline)
    #expect(against.accuracy.value == results[1].exits[0].accuracy - results[0].exits[0].accuracy)
    #expect(against.ece.value == results[1].exits[0].ece - results[0].exits[0].ece)
  }

  @Test func untouchedRowsDoNotChange() throws {
    let clean = [try model("a", wrongInOneOf: 10, margin: 4)]
    let change = try ShiftReference(clean).results(of: clean)[0].exits[0].change
    for difference in [change.accuracy, change.nll, change.brier, change.ece] {
      #expect(difference.value == 0 && difference.isWithinNoise)
    }
  }

  @Test func otherNumbersOfRowsAreRefused() throws {
    let clean = [try model("a", wrongInOneOf: 10, margin: 4)]
    let fewer = [try model("a", wrongInOneOf: 10, margin: 4, rows: 40)]
    let error = #expect(throws: EvaluationError.self) { try ShiftReference(clean).results(of: fewer) }
    #expect(error?.code == .shape)
    let empty = [ModelEvaluation(name: "a", kind: .map, exits: [ExitEvaluation(index: 2, name: "dense")])]
    #expect(throws: EvaluationError.self) { try ShiftReference(empty) }
  }
}
