public import BayesPrediction

/// What rows get at each exit.
public struct ExitOutcomes: Sendable, Equatable {
  /// `[exit][row]`, whether the exit names the row's label.
  public internal(set) var isCorrect: [[Bool]]
  /// `[exit][row]`, `−log p(label)`, nats.
  public internal(set) var losses: [[Double]]
  /// `[exit][row]`, the largest probability.
  public internal(set) var confidences: [[Double]]

  init(exitCount: Int) {
    isCorrect = Array(repeating: [], count: exitCount)
    losses = Array(repeating: [], count: exitCount)
    confidences = Array(repeating: [], count: exitCount)
  }

  mutating func add(_ rows: LabelledProbabilities, exit: Int) {
    for row in 0..<rows.rowCount {
      isCorrect[exit].append(rows.isCorrect(row))
      losses[exit].append(rows.negativeLogLikelihoods[row])
      confidences[exit].append(rows.probabilities.confidences[row])
    }
  }

  /// Keeps some rows, in the order given.
  mutating func select(_ rows: [Int]) {
    for exit in isCorrect.indices {
      isCorrect[exit] = rows.map { isCorrect[exit][$0] }
      losses[exit] = rows.map { losses[exit][$0] }
      confidences[exit] = rows.map { confidences[exit][$0] }
    }
  }
}

/// For each exit, how ready rows are to leave there by one score, and what they get: all that thresholds are chosen by.
///
/// - Cost: 33 bytes a row and exit, 17 of which tables of other scores of the same predictions share.
public struct ExitTable: Sendable, Equatable {
  /// `[exit][row]`
  public internal(set) var readiness: [[ExitReadiness]]
  public internal(set) var outcomes: ExitOutcomes

  public var exitCount: Int { readiness.count }
  public var rowCount: Int { readiness[0].count }

  /// Keeps some rows, in the order given.
  mutating func select(_ rows: [Int]) {
    for exit in readiness.indices { readiness[exit] = rows.map { readiness[exit][$0] } }
    outcomes.select(rows)
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

/// The tables of several scores of the same predictions, while rows are added.
public struct ExitTables: Sendable {
  public let scores: [ExitScore]
  private var readiness: [[[ExitReadiness]]]
  public private(set) var outcomes: ExitOutcomes

  public init(exitCount: Int, scores: [ExitScore]) {
    precondition(exitCount > 0, "A network has an exit.")
    self.scores = scores
    readiness = scores.map { _ in Array(repeating: [], count: exitCount) }
    outcomes = ExitOutcomes(exitCount: exitCount)
  }

  public var rowCount: Int { outcomes.losses[0].count }

  /// The table of one of the scores.
  ///
  /// - Precondition: it is among `scores`.
  public subscript(score: ExitScore) -> ExitTable {
    guard let index = scores.firstIndex(of: score) else { preconditionFailure("There is no table of \(score).") }
    return ExitTable(readiness: readiness[index], outcomes: outcomes)
  }

  /// Adds rows.
  ///
  /// - Parameters:
  ///   - predictions: of every exit, for the same rows.
  ///   - labels: one a row.
  /// - Throws: `EvaluationError`, naming the row, where probabilities, labels or a score are unfit.
  public mutating func add(_ predictions: [Prediction], labels: [Int]) throws(EvaluationError) {
    precondition(predictions.count == outcomes.losses.count, "There is one prediction an exit.")
    let first = rowCount
    var states = scores.map { _ in ExitRowStates(rowCount: labels.count) }
    for (exit, prediction) in predictions.enumerated() {
      let split = prediction.uncertaintySplit()
      outcomes.add(try LabelledProbabilities(split.probabilities, labels: labels, firstRow: first), exit: exit)
      for (index, score) in scores.enumerated() {
        readiness[index][exit] += try score.readiness(of: prediction, split, &states[index])
      }
    }
  }
}
