public import BayesPrediction
import BayesTensor

/// What a threshold of trust is chosen by: a score a row, and whether its answer is wrong; 9 bytes a row.
public struct TrustSample: Sendable {
  public let score: any OODScore
  public private(set) var scores: [Double] = []
  public private(set) var isWrong: [Bool] = []

  public init(_ score: any OODScore) { self.score = score }

  /// Adds rows; nothing is added where it throws.
  ///
  /// - Throws: `EvaluationError.Code.unsupported` where the predictions do not allow the score; `.score`, `.probability`,
  ///   `.label`, naming the row counted over all updates.
  public mutating func update(_ prediction: Prediction, labels: [Int]) throws(EvaluationError) {
    let added = try score(prediction).elements
    if let row = added.firstIndex(where: \.isNaN) {
      throw EvaluationError(
        .score, row: scores.count + row, "The score '\(score.name)' of row \(scores.count + row) is not a number.")
    }
    let first = scores.count
    let probabilities = try ClassProbabilities(prediction.uncertaintySplit().probabilities, firstRow: first)
    let batch = try LabelledProbabilities(probabilities, labels: labels, firstRow: first)
    scores += added
    isWrong += (0..<batch.rowCount).map { !batch.isCorrect($0) }
  }
}
