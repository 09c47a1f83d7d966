/// One class's rows: how many there are, how many were found, how often it was named.
public struct ClassCounts: Sendable, Hashable, Codable {
  /// Rows whose label is the class.
  public var rows: Int
  /// Those of them that were predicted as the class.
  public var correct: Int
  /// All rows that were predicted as the class.
  public var predicted: Int

  public init(rows: Int = 0, correct: Int = 0, predicted: Int = 0) {
    self.rows = rows
    self.correct = correct
    self.predicted = predicted
  }
}

/// The counts of each class, from which its recall and precision follow.
public struct ClassTally: Metric, Equatable {
  private var counts: [ClassCounts] = []

  public init() {}

  public mutating func update(_ batch: LabelledProbabilities) {
    extend(to: batch.probabilities.classCount)
    for (label, predicted) in zip(batch.labels, batch.probabilities.predictedClasses) {
      counts[label].rows += 1
      counts[predicted].predicted += 1
      if label == predicted { counts[label].correct += 1 }
    }
  }

  public mutating func merge(_ other: ClassTally) {
    extend(to: other.counts.count)
    for (index, added) in other.counts.enumerated() {
      counts[index].rows += added.rows
      counts[index].correct += added.correct
      counts[index].predicted += added.predicted
    }
  }

  /// The counts in class order.
  public var value: [ClassCounts] {
    get throws(EvaluationError) {
      guard !counts.isEmpty else { throw .noRows("count of classes") }
      return counts
    }
  }

  private mutating func extend(to classCount: Int) {
    while counts.count < classCount { counts.append(ClassCounts()) }
  }
}

extension [ClassCounts] {
  /// The mean over classes of `TP / (TP + FP + FN)`, pooled over all rows; rows are pixels for segmentation.
  ///
  /// Classes that are neither labels nor predictions do not count.
  ///
  /// - Range: `0...1`.
  public var meanIntersectionOverUnion: Double {
    let ratios = compactMap { counts -> Double? in
      let union = counts.rows + counts.predicted - counts.correct
      return union > 0 ? Double(counts.correct) / Double(union) : nil
    }
    return ratios.reduce(0, +) / Double(Swift.max(1, ratios.count))
  }
}
