/// Normal distributions of real numbers, with the numbers that came true, checked once.
public struct GaussianForecasts: Sendable, Equatable {
  public let means: [Double]
  /// In the targets' unit; all positive.
  public let standardDeviations: [Double]
  public let targets: [Double]

  /// - Throws: `EvaluationError.Code.shape` where the counts differ; `.score`, naming the row, for a mean or a target that
  ///   is not finite and a standard deviation that is not positive.
  public init(
    means: [Double], standardDeviations: [Double], targets: [Double], firstRow: Int = 0
  ) throws(EvaluationError) {
    guard means.count == targets.count, standardDeviations.count == targets.count else {
      throw EvaluationError(
        .shape,
        "There are \(means.count) means, \(standardDeviations.count) standard deviations and \(targets.count) targets.")
    }
    for row in targets.indices {
      guard means[row].isFinite, targets[row].isFinite else {
        throw EvaluationError(
          .score, row: firstRow + row,
          "The mean of row \(firstRow + row) is \(means[row]) and its target \(targets[row]); both must be finite.")
      }
      guard standardDeviations[row].isFinite, standardDeviations[row] > 0 else {
        throw EvaluationError(
          .score, row: firstRow + row,
          "The standard deviation of row \(firstRow + row) is \(standardDeviations[row]); it must be positive.")
      }
    }
    self.means = means
    self.standardDeviations = standardDeviations
    self.targets = targets
  }
}
