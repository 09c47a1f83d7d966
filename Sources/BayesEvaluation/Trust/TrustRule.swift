public import BayesPrediction
import BayesTensor

/// A decision a row at one exit: trusted where a score lies below a threshold.
public struct TrustRule: Sendable {
  /// The score, larger meaning less to be trusted.
  public let score: any OODScore
  public let threshold: TrustThreshold
  /// What the threshold was chosen for.
  public let target: TrustTarget

  public init(score: any OODScore, threshold: TrustThreshold, target: TrustTarget) {
    self.score = score
    self.threshold = threshold
    self.target = target
  }

  /// The scores of a batch, and which of its rows are trusted.
  ///
  /// - Throws: `EvaluationError.Code.unsupported` where the predictions do not allow the score.
  public func callAsFunction(_ prediction: Prediction) throws(EvaluationError) -> [TrustMark] {
    try score(prediction).elements.map { TrustMark(score: $0, isTrusted: $0 < threshold.value) }
  }
}

/// What a rule says of one row.
public struct TrustMark: Sendable, Hashable {
  public var score: Double
  /// Never where the score is not a number.
  public var isTrusted: Bool
}

/// How many rows a rule trusts and how many of these are wrong, fed batch by batch; a few counts.
public struct TrustTally: Sendable {
  public let rule: TrustRule
  private var test = TrustCounts()
  private var foreign: [(name: String, counts: TrustCounts)] = []

  public init(_ rule: TrustRule) { self.rule = rule }

  /// Adds rows and gives back what the rule says of them.
  ///
  /// - Parameter labels: one a row; what names no class is not counted among labelled rows.  `nil` where there are none.
  /// - Throws: as the rule.
  @discardableResult
  public mutating func update(_ prediction: Prediction, labels: [Int]?) throws(EvaluationError) -> [TrustMark] {
    let marks = try rule(prediction)
    guard let labels else {
      for mark in marks { test.add(mark.isTrusted, isWrong: nil) }
      return marks
    }
    let probabilities = prediction.uncertaintySplit().probabilities
    let classCount = probabilities.shape[1]
    for (row, mark) in marks.enumerated() {
      guard (0..<classCount).contains(labels[row]) else {
        test.add(mark.isTrusted, isWrong: nil)
        continue
      }
      var best = 0
      for column in 1..<max(1, classCount) where probabilities[row, column] > probabilities[row, best] { best = column }
      test.add(mark.isTrusted, isWrong: best != labels[row])
    }
    return marks
  }

  /// Adds rows of a foreign set.
  ///
  /// - Throws: as the rule.
  public mutating func update(_ prediction: Prediction, outOfDistribution name: String) throws(EvaluationError) {
    let marks = try rule(prediction)
    let index = foreign.firstIndex { $0.name == name } ?? foreign.count
    if index == foreign.count { foreign.append((name, TrustCounts())) }
    for mark in marks { foreign[index].counts.add(mark.isTrusted, isWrong: nil) }
  }

  /// Adds the rows of a later shard.
  public mutating func merge(_ other: TrustTally) {
    test.merge(other.test)
    for set in other.foreign {
      if let index = foreign.firstIndex(where: { $0.name == set.name }) {
        foreign[index].counts.merge(set.counts)
      } else {
        foreign.append(set)
      }
    }
  }

  /// The counts so far.
  public var value: TrustResult {
    TrustResult(
      score: rule.score.name, threshold: rule.threshold.value.isFinite ? rule.threshold.value : nil,
      maximumRisk: rule.target.maximumRisk, delta: rule.target.delta, test: test,
      foreign: foreign.map { TrustedSet(name: $0.name, counts: $0.counts) })
  }
}

/// Rows, those that are trusted, and those of them that are wrong.
public struct TrustCounts: Sendable, Hashable, Codable {
  public private(set) var rowCount = 0
  public private(set) var trustedCount = 0
  /// Trusted rows that have a label.
  public private(set) var labelledCount = 0
  public private(set) var wrongCount = 0

  public init() {}

  mutating func add(_ isTrusted: Bool, isWrong: Bool?) {
    rowCount += 1
    guard isTrusted else { return }
    trustedCount += 1
    guard let isWrong else { return }
    labelledCount += 1
    if isWrong { wrongCount += 1 }
  }

  mutating func merge(_ other: TrustCounts) {
    rowCount += other.rowCount
    trustedCount += other.trustedCount
    labelledCount += other.labelledCount
    wrongCount += other.wrongCount
  }

  /// The share of rows that are trusted; `nil` without rows.
  public var coverage: Double? { rowCount > 0 ? Double(trustedCount) / Double(rowCount) : nil }
  /// Wilson's interval of `coverage`.
  public var coverageInterval: Interval? { rowCount > 0 ? .wilson(successes: trustedCount, of: rowCount) : nil }
  /// The share of wrong rows among the trusted ones with a label; `nil` without such.
  public var risk: Double? { labelledCount > 0 ? Double(wrongCount) / Double(labelledCount) : nil }
  /// Wilson's interval of `risk`.
  public var riskInterval: Interval? { labelledCount > 0 ? .wilson(successes: wrongCount, of: labelledCount) : nil }
}

/// A foreign set under a rule of trust.
public struct TrustedSet: Sendable, Hashable, Codable {
  public var name: String
  public var counts: TrustCounts
}

/// What a rule of trust does on some rows: plain data for reports.
public struct TrustResult: Sendable, Hashable, Codable {
  /// The score's name.
  public var score: String
  /// Below it rows are trusted; `nil` where all are.
  public var threshold: Double?
  /// The promise: the largest share of wrong answers among trusted rows …
  public var maximumRisk: Double
  /// … which may be broken with this probability over draws of the tuning rows.
  public var delta: Double
  public var test: TrustCounts
  public var foreign: [TrustedSet]
}
