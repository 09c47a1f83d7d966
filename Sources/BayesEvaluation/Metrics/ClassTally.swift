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

/// Rows of one class that were predicted as another.
public struct Confusion: Sendable, Hashable, Codable {
  public var label: Int
  public var predicted: Int
  public var rows: Int

  public init(label: Int, predicted: Int, rows: Int) {
    self.label = label
    self.predicted = predicted
    self.rows = rows
  }
}

/// The mean over classes of `TP / (TP + FP + FN)`.
public struct ClassOverlap: Sendable, Hashable, Codable {
  public var mean: Double
  /// The 95 % interval of the infinitesimal jackknife; absent below two rows.
  public var interval: Interval?
}

/// The counts of each class, from which its recall and precision follow.
public struct ClassTally: Metric, Equatable {
  private var counts: [ClassCounts] = []
  /// The rows of each pair of different classes that occurs.
  private var mistaken: [Pair: Int] = [:]

  private struct Pair: Sendable, Hashable {
    var label: Int
    var predicted: Int
  }

  public init() {}

  public mutating func update(_ batch: LabelledProbabilities) {
    extend(to: batch.probabilities.classCount)
    for (label, predicted) in zip(batch.labels, batch.probabilities.predictedClasses) {
      counts[label].rows += 1
      counts[predicted].predicted += 1
      if label == predicted {
        counts[label].correct += 1
      } else {
        mistaken[Pair(label: label, predicted: predicted), default: 0] += 1
      }
    }
  }

  public mutating func merge(_ other: ClassTally) {
    extend(to: other.counts.count)
    for (index, added) in other.counts.enumerated() {
      counts[index].rows += added.rows
      counts[index].correct += added.correct
      counts[index].predicted += added.predicted
    }
    mistaken.merge(other.mistaken, uniquingKeysWith: +)
  }

  /// The counts in class order.
  public var value: [ClassCounts] {
    get throws(EvaluationError) {
      guard !counts.isEmpty else { throw .noRows("count of classes") }
      return counts
    }
  }

  /// What is taken for what, the most frequent first.
  public func confusions(atMost count: Int) throws(EvaluationError) -> [Confusion] {
    _ = try value
    let all = mistaken.map { Confusion(label: $0.key.label, predicted: $0.key.predicted, rows: $0.value) }
    return Array(all.sorted { ($1.rows, $0.label, $0.predicted) < ($0.rows, $1.label, $1.predicted) }.prefix(count))
  }

  /// The mean intersection over union, and how far chance moves it.
  ///
  /// The standard error is that of the infinitesimal jackknife.  A row of class `a` that is named `b` moves the mean by
  /// `(1 − IoU)/union` where they are one class, and else by `−IoU/union` of both, over the number of classes.
  ///
  /// - Source: Efron 1982, doi:10.1137/1.9781611970319, chapter 6.
  public var overlap: ClassOverlap {
    get throws(EvaluationError) {
      let counts = try value
      let mean = counts.meanIntersectionOverUnion
      let rowCount = counts.reduce(0) { $0 + $1.rows }
      guard rowCount > 1 else { return ClassOverlap(mean: mean, interval: nil) }
      let ratios = counts.map(\.intersectionOverUnion)
      let classCount = Double(ratios.count { $0 != nil })
      var squares = 0.0
      for (counts, ratio) in zip(counts, ratios) {
        guard let ratio else { continue }
        let influence = (1 - ratio) / Double(counts.union)
        squares += Double(counts.correct) * influence * influence
      }
      // Sums of floating-point numbers depend on their order, and a dictionary's is another in each run.
      for confusion in try confusions(atMost: mistaken.count) {
        let influence = [confusion.label, confusion.predicted].reduce(0) { sum, index in
          sum + (ratios[index] ?? 0) / Double(counts[index].union)
        }
        squares += Double(confusion.rows) * influence * influence
      }
      let interval = Interval.normal(center: mean, standardError: squares.squareRoot() / classCount)
      return ClassOverlap(
        mean: mean, interval: Interval(low: max(0, interval.low), high: min(1, interval.high)))
    }
  }

  private mutating func extend(to classCount: Int) {
    while counts.count < classCount { counts.append(ClassCounts()) }
  }
}

extension ClassCounts {
  /// Rows whose label or prediction is the class.
  var union: Int { rows + predicted - correct }

  /// `TP / (TP + FP + FN)`; `nil` for a class that is neither label nor prediction.
  public var intersectionOverUnion: Double? { union > 0 ? Double(correct) / Double(union) : nil }
  /// The share of the class's rows that were found; `nil` without any.
  public var recall: Double? { rows > 0 ? Double(correct) / Double(rows) : nil }
  /// The share of right ones among the rows that were predicted as the class; `nil` without any.
  public var precision: Double? { predicted > 0 ? Double(correct) / Double(predicted) : nil }
}

extension [ClassCounts] {
  /// The mean over classes of `TP / (TP + FP + FN)`, pooled over all rows; rows are pixels for segmentation.
  ///
  /// Classes that are neither labels nor predictions do not count.
  ///
  /// - Range: `0...1`.
  public var meanIntersectionOverUnion: Double {
    let ratios = compactMap(\.intersectionOverUnion)
    return ratios.reduce(0, +) / Double(Swift.max(1, ratios.count))
  }
}
