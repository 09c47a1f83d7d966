public import BayesTensor
import RealModule

/// A batch of distributions over classes, checked once so that no metric needs to.
public struct ClassProbabilities: Sendable, Equatable {
  /// `[batch, classes]`
  public let values: Tensor<Double>
  /// The most probable class of each row; the first of equals.
  public let predictedClasses: [Int]
  /// The largest probability of each row.
  public let confidences: [Double]

  /// Rows may sum to one within this much, which leaves room for probabilities rounded by others.
  static let sumTolerance = 1e-3

  /// Checks a batch.
  ///
  /// - Shapes: `[batch, classes]` with at least one class.
  /// - Parameter firstRow: the index of the first row in the whole set; for messages.
  /// - Throws: `EvaluationError.Code.shape`; `.probability`, naming the row, for a value that is not a
  ///   number in `0...1` and for a row that does not sum to one.
  public init(_ values: Tensor<Double>, firstRow: Int = 0) throws(EvaluationError) {
    guard values.shape.rank == 2, values.shape[1] > 0 else {
      throw EvaluationError(.shape, "Probabilities are [rows, classes]; got \(values.shape).")
    }
    let (rowCount, classCount) = (values.shape[0], values.shape[1])
    var predictedClasses = [Int](repeating: 0, count: rowCount)
    var confidences = [Double](repeating: 0, count: rowCount)
    for row in 0..<rowCount {
      var sum = 0.0
      var best = 0
      for column in 0..<classCount {
        let p = values[row, column]
        // Written so that a NaN fails; rounding may carry a sum of sample weights just above one.
        guard p >= 0, p <= 1 + 1e-9 else {
          throw EvaluationError(
            .probability, row: firstRow + row,
            "The probability of class \(column) in row \(firstRow + row) is \(p); it must be a number "
              + "from 0 to 1.")
        }
        sum += p
        if p > values[row, best] { best = column }
      }
      guard abs(sum - 1) <= Self.sumTolerance else {
        throw EvaluationError(
          .probability, row: firstRow + row,
          "The probabilities of row \(firstRow + row) sum to \(sum), not to 1.")
      }
      predictedClasses[row] = best
      confidences[row] = min(1, values[row, best])
    }
    self.values = values
    self.predictedClasses = predictedClasses
    self.confidences = confidences
  }

  /// The number of rows.
  public var rowCount: Int { confidences.count }
  /// The number of classes.
  public var classCount: Int { values.shape[1] }
}

/// A batch of distributions over classes with the class that each row truly has.
public struct LabelledProbabilities: Sendable, Equatable {
  public let probabilities: ClassProbabilities
  /// One class index a row.
  public let labels: [Int]

  /// Checks and joins a batch and its labels.
  ///
  /// - Parameter firstRow: the index of the first row in the whole set; for messages.
  /// - Throws: `EvaluationError.Code.shape` where the counts differ; `.label`, naming the row, for a
  ///   label outside `0..<classes`.
  public init(
    _ probabilities: ClassProbabilities, labels: [Int], firstRow: Int = 0
  ) throws(EvaluationError) {
    try checkLabels(
      labels, rowCount: probabilities.rowCount, classCount: probabilities.classCount, firstRow: firstRow)
    self.probabilities = probabilities
    self.labels = labels
  }

  /// Checks a batch of probabilities `[batch, classes]` and its labels.
  public init(
    _ values: Tensor<Double>, labels: [Int], firstRow: Int = 0
  ) throws(EvaluationError) {
    try self.init(ClassProbabilities(values, firstRow: firstRow), labels: labels, firstRow: firstRow)
  }

  /// The number of rows.
  public var rowCount: Int { labels.count }

  /// Whether the most probable class of a row is its label.
  func isCorrect(_ row: Int) -> Bool { probabilities.predictedClasses[row] == labels[row] }

  /// `−log p(label)` of a row, in nats; infinite where that probability is zero.
  func negativeLogLikelihood(_ row: Int) -> Double {
    -Double.log(min(1, probabilities.values[row, labels[row]]))
  }

  /// `Σₖ (pₖ − [k = label])²` of a row.
  func squaredError(_ row: Int) -> Double {
    var sum = 0.0
    for column in 0..<probabilities.classCount {
      let difference = probabilities.values[row, column] - (column == labels[row] ? 1 : 0)
      sum += difference * difference
    }
    return sum
  }
}

/// Refuses labels that do not fit `rowCount` rows of `classCount` classes.
func checkLabels(
  _ labels: [Int], rowCount: Int, classCount: Int, firstRow: Int = 0
) throws(EvaluationError) {
  guard labels.count == rowCount else {
    throw EvaluationError(.shape, "There are \(labels.count) labels for \(rowCount) rows.")
  }
  for (row, label) in labels.enumerated() where !(0..<classCount).contains(label) {
    throw EvaluationError(
      .label, row: firstRow + row,
      "The label of row \(firstRow + row) is \(label); with \(classCount) classes, labels are 0 to "
        + "\(classCount - 1).")
  }
}
