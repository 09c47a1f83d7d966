public import BayesPrediction

/// For each exit, how ready rows are to leave there and what they would lose: all that thresholds are chosen by.
///
/// - Cost: 25 bytes a row and exit.
public struct ExitTable: Sendable, Equatable {
  /// `[exit][row]`
  public private(set) var readiness: [[ExitReadiness]]
  /// `[exit][row]`, whether the exit names the row's label.
  public private(set) var isCorrect: [[Bool]]
  /// `[exit][row]`, `−log p(label)`, nats.
  public private(set) var losses: [[Double]]
  private let score: ExitScore

  public init(exitCount: Int, score: ExitScore) {
    precondition(exitCount > 0, "A network has an exit.")
    self.score = score
    readiness = Array(repeating: [], count: exitCount)
    isCorrect = Array(repeating: [], count: exitCount)
    losses = Array(repeating: [], count: exitCount)
  }

  public var exitCount: Int { readiness.count }
  public var rowCount: Int { readiness[0].count }

  /// Adds rows.
  ///
  /// - Parameters:
  ///   - predictions: of every exit, for the same rows.
  ///   - labels: one a row.
  /// - Throws: `EvaluationError`, naming the row, where probabilities, labels or the score are unfit.
  public mutating func add(_ predictions: [Prediction], labels: [Int]) throws(EvaluationError) {
    precondition(predictions.count == exitCount, "There is one prediction an exit.")
    let first = rowCount
    var states = ExitRowStates(rowCount: labels.count)
    for (exit, prediction) in predictions.enumerated() {
      let split = prediction.uncertaintySplit()
      let rows = try LabelledProbabilities(split.probabilities, labels: labels, firstRow: first)
      readiness[exit] += try score.readiness(of: prediction, split, &states)
      for row in labels.indices {
        isCorrect[exit].append(rows.isCorrect(row))
        losses[exit].append(rows.negativeLogLikelihood(row))
      }
    }
  }

  /// Keeps some rows, in the order given.
  mutating func select(_ rows: [Int]) {
    for exit in readiness.indices {
      readiness[exit] = rows.map { readiness[exit][$0] }
      isCorrect[exit] = rows.map { isCorrect[exit][$0] }
      losses[exit] = rows.map { losses[exit][$0] }
    }
  }

  /// The exit at which each row leaves under thresholds: the first whose threshold it meets, else the last.
  ///
  /// - Parameter thresholds: one an exit but the last; nobody leaves where there is none.
  public func exits(_ thresholds: [ExitReadiness?]) -> [Int] {
    precondition(thresholds.count == exitCount - 1, "There is one threshold an exit but the last.")
    return (0..<rowCount).map { row in
      thresholds.indices.first { exit in thresholds[exit].map { readiness[exit][row] >= $0 } ?? false } ?? exitCount - 1
    }
  }
}
