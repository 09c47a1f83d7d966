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
    try values.withSpan { (values) throws(EvaluationError) in
      for row in 0..<rowCount {
        let start = row * classCount
        var sum = 0.0
        var best = 0
        var largest = -Double.infinity
        for column in 0..<classCount {
          let p = values[start + column]
          // Written so that a NaN fails; rounding may carry a sum of sample weights just above one.
          guard p >= 0, p <= 1 + 1e-9 else {
            throw EvaluationError(
              .probability, row: firstRow + row,
              "The probability of class \(column) in row \(firstRow + row) is \(p); it must be a number "
                + "from 0 to 1.")
          }
          sum += p
          if p > largest { (best, largest) = (column, p) }
        }
        guard abs(sum - 1) <= Self.sumTolerance else {
          throw EvaluationError(
            .probability, row: firstRow + row,
            "The probabilities of row \(firstRow + row) sum to \(sum), not to 1.")
        }
        predictedClasses[row] = best
        confidences[row] = min(1, largest)
      }
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
  /// `−log p(label)` of each row, in nats; infinite where that probability is zero.
  let negativeLogLikelihoods: [Double]
  /// `Σₖ (pₖ − [k = label])²` of each row.
  let squaredErrors: [Double]
  /// How many classes come before each row's label: the more probable ones, and of equally probable ones those of lower
  /// index.
  let labelRanks: [Int]

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
    var likelihoods = [Double](repeating: 0, count: labels.count)
    var (squares, ranks) = (likelihoods, [Int](repeating: 0, count: labels.count))
    let classCount = probabilities.classCount
    probabilities.values.withSpan { values in
      for (row, label) in labels.enumerated() {
        let start = row * classCount
        let own = values[start + label]
        var (sum, ahead) = (0.0, 0)
        for column in 0..<classCount {
          let p = values[start + column]
          let difference = p - (column == label ? 1 : 0)
          sum += difference * difference
          if p > own || (p == own && column < label) { ahead += 1 }
        }
        likelihoods[row] = -Double.log(min(1, own))
        squares[row] = sum
        ranks[row] = ahead
      }
    }
    (negativeLogLikelihoods, squaredErrors, labelRanks) = (likelihoods, squares, ranks)
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
