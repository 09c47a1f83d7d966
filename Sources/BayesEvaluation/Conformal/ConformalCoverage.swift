/// How often sets hold the true class, and how large they are: counts over rows, in bounded memory.
///
///     coverage = #{n : yₙ ∈ setₙ} / N,   mean size = Σ |setₙ| / N;   of a class, among its rows
public struct SetCoverage: Metric, Equatable {
  private var counts: [Int]
  private var hits: [Int]
  private var sizes: [Int]
  private var emptyCount = 0
  private var singletonCount = 0

  /// - Precondition: there is a class at least.
  public init(classCount: Int) {
    precondition(classCount > 0, "There is one class at least; got \(classCount).")
    counts = [Int](repeating: 0, count: classCount)
    hits = counts
    sizes = counts
  }

  public mutating func update(_ batch: LabelledSets) {
    precondition(batch.classCount == counts.count, "Sets of \(batch.classCount) classes; expected \(counts.count).")
    for (set, label) in zip(batch.sets, batch.labels) {
      counts[label] += 1
      sizes[label] += set.count
      if set.contains(label) { hits[label] += 1 }
      if set.isEmpty { emptyCount += 1 }
      if set.count == 1 { singletonCount += 1 }
    }
  }

  public mutating func merge(_ other: SetCoverage) {
    precondition(other.counts.count == counts.count, "Coverages of one number of classes are merged.")
    for index in counts.indices {
      counts[index] += other.counts[index]
      hits[index] += other.hits[index]
      sizes[index] += other.sizes[index]
    }
    emptyCount += other.emptyCount
    singletonCount += other.singletonCount
  }

  public var value: SetCoverageResult {
    get throws(EvaluationError) {
      let count = counts.reduce(0, +)
      guard count > 0 else { throw .noRows("coverage") }
      return SetCoverageResult(
        rowCount: count, hitCount: hits.reduce(0, +), coverage: Double(hits.reduce(0, +)) / Double(count),
        meanSize: Double(sizes.reduce(0, +)) / Double(count), emptyShare: Double(emptyCount) / Double(count),
        singletonShare: Double(singletonCount) / Double(count),
        classes: counts.indices.map { index in
          let rows = counts[index]
          return SetCoverageResult.Class(
            rowCount: rows, coverage: rows > 0 ? Double(hits[index]) / Double(rows) : nil,
            meanSize: rows > 0 ? Double(sizes[index]) / Double(rows) : nil)
        })
    }
  }
}

/// The coverage and the mean size of sets of classes; see `SetCoverage`.
public struct SetCoverageResult: Sendable, Hashable, Codable {
  /// That of the rows of one class; `nil` where there are none.
  public struct Class: Sendable, Hashable, Codable {
    public var rowCount: Int
    public var coverage: Double?
    public var meanSize: Double?
  }

  public var rowCount: Int
  /// The number of rows whose set holds their class.
  public var hitCount: Int
  public var coverage: Double
  /// In classes.
  public var meanSize: Double
  /// The share of sets without any class.
  public var emptyShare: Double
  /// The share of sets with one class.
  public var singletonShare: Double
  public var classes: [Class]
}

/// Sets of classes with the class that each row truly has, checked once.
public struct LabelledSets: Sendable, Equatable {
  public let sets: [[Int]]
  public let labels: [Int]
  public let classCount: Int

  /// - Throws: `EvaluationError.Code.shape` where the counts differ; `.label`, naming the row, for a label or a member
  ///   outside `0..<classCount`.
  public init(_ sets: [[Int]], labels: [Int], classCount: Int, firstRow: Int = 0) throws(EvaluationError) {
    try checkLabels(labels, rowCount: sets.count, classCount: classCount, firstRow: firstRow)
    for (row, set) in sets.enumerated() {
      for member in set where !(0..<classCount).contains(member) {
        throw EvaluationError(
          .label, row: firstRow + row,
          "The set of row \(firstRow + row) holds \(member); with \(classCount) classes, they are 0 to "
            + "\(classCount - 1).")
      }
    }
    self.sets = sets
    self.labels = labels
    self.classCount = classCount
  }
}

/// How often intervals hold the target, and how wide they are: sums over rows, in bounded memory.
///
///     coverage = #{n : lₙ ≤ yₙ ≤ uₙ} / N,   mean width = Σ max(0, uₙ − lₙ) / N
public struct IntervalCoverage: Metric, Equatable {
  private var count = 0
  private var hits = 0
  private var width = 0.0

  public init() {}

  /// Adds one row.
  public mutating func add(_ interval: PredictionInterval, target: Double) {
    count += 1
    if interval.contains(target) { hits += 1 }
    width += interval.width
  }

  /// Adds rows, each an interval and its target.
  public mutating func update(_ batch: [(interval: PredictionInterval, target: Double)]) {
    for row in batch { add(row.interval, target: row.target) }
  }

  public mutating func merge(_ other: IntervalCoverage) {
    count += other.count
    hits += other.hits
    width += other.width
  }

  public var value: IntervalCoverageResult {
    get throws(EvaluationError) {
      guard count > 0 else { throw .noRows("coverage") }
      return IntervalCoverageResult(
        rowCount: count, coverage: Double(hits) / Double(count), meanWidth: width / Double(count))
    }
  }
}

/// The coverage and the mean width of intervals; see `IntervalCoverage`.
public struct IntervalCoverageResult: Sendable, Hashable, Codable {
  public var rowCount: Int
  public var coverage: Double
  /// In the targets' unit; infinite where an interval is everything.
  public var meanWidth: Double
}
