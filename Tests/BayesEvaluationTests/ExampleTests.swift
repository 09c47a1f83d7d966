import BayesEvaluation
import BayesPrediction
import BayesTensor
import RealModule
import Testing

/// The rows that a reader looks at first.
struct ExampleTests {
  private let logits = RandomKey(seed: 8).normals([90, 4], as: Float.self)
  private let labels = (0..<90).map { ($0 * 7) % 4 }

  private func evaluation(_ rows: Range<Int>) throws -> ExitEvaluation {
    var evaluation = ExitEvaluation(index: 0, name: "exit")
    evaluation.examples = ExampleTally(count: 5)
    for part in [rows.lowerBound..<rows.lowerBound + 7, rows.lowerBound + 7..<rows.upperBound] {
      let batch = logits.rows(part).reshaped(to: [1, part.count, 4])
      try evaluation.update(Prediction(logits: batch, likelihood: .categorical, exit: 0), labels: Array(labels[part]))
    }
    return evaluation
  }

  /// By sorting all rows.
  @Test func theyAreTheFirstOfAllRowsSorted() throws {
    let examples = try #require(try evaluation(0..<90).result.examples)
    let rows = (0..<90).map { row -> (row: Int, predicted: Int, confidence: Double, entropy: Double) in
      let values = (0..<4).map { Double.exp(Double(logits[row, $0])) }
      let shares = values.map { $0 / values.reduce(0, +) }
      let best = shares.indices.max { shares[$0] < shares[$1] } ?? 0
      return (row, best, shares[best], -shares.reduce(0) { $0 + $1 * Double.log($1) })
    }
    let uncertain = rows.sorted { $0.entropy > $1.entropy }.prefix(5)
    let wrong = rows.filter { $0.predicted != labels[$0.row] }.sorted { $0.confidence > $1.confidence }.prefix(5)
    #expect(examples.mostUncertain.map(\.row) == uncertain.map(\.row))
    #expect(examples.mostConfidentlyWrong.map(\.row) == wrong.map(\.row))
    for (own, expected) in zip(examples.mostConfidentlyWrong, wrong) {
      #expect(own.label == labels[own.row] && own.predicted == expected.predicted)
      #expect(abs(own.confidence - expected.confidence) < 1e-12 && abs(own.entropy - expected.entropy) < 1e-12)
    }
  }

  @Test func shardsMerge() throws {
    var first = try evaluation(0..<40)
    first.merge(try evaluation(40..<90))
    #expect(try first.result.examples == evaluation(0..<90).result.examples)
  }
}
