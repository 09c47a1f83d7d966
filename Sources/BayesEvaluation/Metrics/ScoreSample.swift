/// The scores of a set of rows; larger means further from the training data.
///
/// Rank metrics need all scores at once, so this grows by 4 bytes a row: scores are rounded to
/// `Float`, which may tie scores that differ by less than one part in ten million.
public struct ScoreSample: Sendable, Equatable {
  /// The scores in the order in which they were fed.
  public private(set) var scores: [Float] = []

  public init() {}

  /// Adds scores.
  ///
  /// - Parameter name: the score, for messages.
  /// - Throws: `EvaluationError.Code.score`, naming the row, for a score that is not a number; nothing
  ///   is added then.
  public mutating func update(_ added: some Collection<Double>, named name: String) throws(EvaluationError) {
    append(try Self.checked(added, named: name, firstRow: scores.count))
  }

  /// Scores in the precision in which they are kept.
  ///
  /// - Parameters:
  ///   - name: the score, for messages.
  ///   - firstRow: the index of the first row; for messages.
  /// - Throws: as `update(_:named:)`.
  static func checked(
    _ added: some Collection<Double>, named name: String, firstRow: Int
  ) throws(EvaluationError) -> [Float] {
    for (offset, score) in added.enumerated() where score.isNaN {
      throw EvaluationError(
        .score, row: firstRow + offset, "The score '\(name)' of row \(firstRow + offset) is not a number.")
    }
    return added.map { Float($0) }
  }

  /// Adds scores that are numbers.
  mutating func append(_ added: [Float]) { scores.append(contentsOf: added) }

  /// Adds everything that `other` has seen.
  public mutating func merge(_ other: ScoreSample) { scores.append(contentsOf: other.scores) }
}
