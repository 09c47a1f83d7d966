/// Which rows an average precision looks for.
public enum PositiveClass: Sendable, Hashable {
  /// The foreign rows, found by large scores.
  case outOfDistribution
  /// The known rows, found by small scores.
  case inDistribution
}

/// How the area under a precision-recall curve is summed.
public enum PrecisionRecallArea: Sendable, Hashable {
  /// Average precision: `Σᵢ (Rᵢ − Rᵢ₋₁) Pᵢ`, as scikit-learn and torchmetrics do.
  case stepSum
  /// Trapezoids from the point of recall 0 and precision 1, as OpenOOD and pytorch-ood do; optimistic.
  case trapezoid
}

/// One point of a receiver operating characteristic; encoded as `[falsePositiveRate, truePositiveRate]`.
public struct ROCPoint: Sendable, Hashable, Codable {
  /// The share of in-distribution rows called foreign.
  public var falsePositiveRate: Double
  /// The share of foreign rows called foreign.
  public var truePositiveRate: Double

  public init(falsePositiveRate: Double, truePositiveRate: Double) {
    self.falsePositiveRate = falsePositiveRate
    self.truePositiveRate = truePositiveRate
  }

  public init(from decoder: any Decoder) throws {
    var container = try decoder.unkeyedContainer()
    falsePositiveRate = try container.decode(Double.self)
    truePositiveRate = try container.decode(Double.self)
    guard container.isAtEnd, (0...1).contains(falsePositiveRate), (0...1).contains(truePositiveRate) else {
      throw DecodingError.dataCorruptedError(
        in: container, debugDescription: "A point of a ROC curve is two numbers from 0 to 1.")
    }
  }

  public func encode(to encoder: any Encoder) throws {
    var container = encoder.unkeyedContainer()
    try container.encode(falsePositiveRate)
    try container.encode(truePositiveRate)
  }
}

/// How well a score separates foreign rows from known ones: every cut of the score, ties kept together.
///
/// Out-of-distribution is the positive class and a larger score means further out.
///
/// - Cost: O(n) in the number of rows, and again for each number; 4 bytes a row, 8 while it sorts.
/// - Determinism: does not depend on the order of the rows.
public struct ScoreSeparation: Sendable, Equatable {
  /// The rows above the cut at one distinct score and all larger ones, or below it and all smaller ones.
  struct Cut: Sendable, Equatable {
    var foreign: Int
    var known: Int
  }

  /// One cut for each distinct score, the last with all rows.
  struct Cuts: Sequence, IteratorProtocol {
    let known: [UInt32]
    let foreign: [UInt32]
    /// Whether the smallest score comes first.
    let isAscending: Bool
    private var cut = Cut(foreign: 0, known: 0)

    init(known: [UInt32], foreign: [UInt32], isAscending: Bool) {
      self.known = known
      self.foreign = foreign
      self.isAscending = isAscending
    }

    mutating func next() -> Cut? {
      let (foreignCount, knownCount) = (foreign.count, known.count)
      guard cut.foreign < foreignCount || cut.known < knownCount else { return nil }
      if isAscending {
        let score = Swift.min(
          cut.foreign < foreignCount ? foreign[cut.foreign] : .max, cut.known < knownCount ? known[cut.known] : .max)
        while cut.foreign < foreignCount && foreign[cut.foreign] == score { cut.foreign += 1 }
        while cut.known < knownCount && known[cut.known] == score { cut.known += 1 }
      } else {
        let score = Swift.max(
          cut.foreign < foreignCount ? foreign[foreignCount - 1 - cut.foreign] : 0,
          cut.known < knownCount ? known[knownCount - 1 - cut.known] : 0)
        while cut.foreign < foreignCount && foreign[foreignCount - 1 - cut.foreign] == score { cut.foreign += 1 }
        while cut.known < knownCount && known[knownCount - 1 - cut.known] == score { cut.known += 1 }
      }
      return cut
    }
  }

  /// Keys of the scores in ascending order; see `FloatOrder.sortedKeys`.
  let known: [UInt32]
  let foreign: [UInt32]

  /// - Throws: `EvaluationError.Code.empty` where either set has no rows.
  public init(inDistribution: ScoreSample, outOfDistribution: ScoreSample) throws(EvaluationError) {
    guard !inDistribution.scores.isEmpty else { throw .noRows("separation from an in-distribution set") }
    guard !outOfDistribution.scores.isEmpty else {
      throw .noRows("separation of an out-of-distribution set")
    }
    self.init(known: inDistribution.scores, foreign: outOfDistribution.scores)
  }

  /// - Precondition: neither set is empty.
  init(known: [Float], foreign: [Float]) {
    precondition(!known.isEmpty && !foreign.isEmpty, "A separation is of two sets that have rows.")
    self.known = FloatOrder.sortedKeys(of: known)
    self.foreign = FloatOrder.sortedKeys(of: foreign)
  }

  /// The cuts from the largest score down.
  var cuts: Cuts { Cuts(known: known, foreign: foreign, isAscending: false) }
  private var foreignCount: Int { foreign.count }
  private var knownCount: Int { known.count }

  /// Whether all rows have one score, so that it separates nothing.
  public var isConstant: Bool {
    known.first == known.last && foreign.first == foreign.last && known.first == foreign.first
  }

  /// The chance that a foreign row scores above a known one, ties counting one half.
  ///
  /// - Range: `0...1`; one half for a score that tells nothing.
  /// - Source: Mann and Whitney 1947, doi:10.1214/aoms/1177730491.
  public var auroc: Double {
    var doubledWins = 0
    var previous = Cut(foreign: 0, known: 0)
    for cut in cuts {
      let known = knownCount - cut.known
      let tied = cut.known - previous.known
      doubledWins += (cut.foreign - previous.foreign) * (2 * known + tied)
      previous = cut
    }
    return Double(doubledWins) / 2 / Double(foreignCount) / Double(knownCount)
  }

  /// The standard error of `auroc` after DeLong; `nil` below two rows in either set.
  ///
  /// It is zero where the sets do not overlap at all, which few rows may do by luck.
  ///
  /// - Source: DeLong, DeLong and Clarke-Pearson 1988, doi:10.2307/2531595.
  public var aurocStandardError: Double? { standardError(ofAUROC: auroc) }

  private func standardError(ofAUROC auroc: Double) -> Double? {
    guard foreignCount > 1, knownCount > 1 else { return nil }
    var foreignSquares = 0.0
    var knownSquares = 0.0
    var previous = Cut(foreign: 0, known: 0)
    for cut in cuts {
      let foreignHere = cut.foreign - previous.foreign
      let knownHere = cut.known - previous.known
      let knownBelow = (Double(knownCount - cut.known) + Double(knownHere) / 2) / Double(knownCount)
      let foreignAbove = (Double(previous.foreign) + Double(foreignHere) / 2) / Double(foreignCount)
      foreignSquares += Double(foreignHere) * (knownBelow - auroc) * (knownBelow - auroc)
      knownSquares += Double(knownHere) * (foreignAbove - auroc) * (foreignAbove - auroc)
      previous = cut
    }
    let variance =
      foreignSquares / Double(foreignCount - 1) / Double(foreignCount)
      + knownSquares / Double(knownCount - 1) / Double(knownCount)
    return variance.squareRoot()
  }

  /// The normal 95 % interval of `auroc` with DeLong's standard error, cut to `0...1`.
  public var aurocInterval: Interval? { interval(ofAUROC: auroc) }

  /// - Parameter auroc: that of this separation.
  func interval(ofAUROC auroc: Double) -> Interval? {
    standardError(ofAUROC: auroc).map {
      let interval = Interval.normal(center: auroc, standardError: $0)
      return Interval(low: max(0, interval.low), high: min(1, interval.high))
    }
  }

  /// The share of known rows called foreign at the first cut that finds 95 % of the foreign ones.
  ///
  /// - Range: `0...1`; smaller is better.
  public var falsePositiveRateAt95: Double {
    // Whole numbers, so that exactly 95 % counts as reached.
    guard let cut = cuts.first(where: { $0.foreign * 20 >= foreignCount * 19 }) else { return 1 }
    return Double(cut.known) / Double(knownCount)
  }

  /// The area under the precision-recall curve.
  ///
  /// - Range: `0...1`; a score that tells nothing has the share of positive rows.
  public func averagePrecision(
    positive: PositiveClass, area: PrecisionRecallArea = .stepSum
  ) -> Double {
    let positiveCount = positive == .outOfDistribution ? foreignCount : knownCount
    var sum = 0.0
    var found = 0
    var previousPrecision = 1.0
    // Recall and precision after each cut, from the strictest on.
    for cut in Cuts(known: known, foreign: foreign, isAscending: positive == .inDistribution) {
      let foundHere = positive == .outOfDistribution ? cut.foreign : cut.known
      let precision = Double(foundHere) / Double(cut.foreign + cut.known)
      let height: Double
      switch area {
      case .stepSum: height = precision
      case .trapezoid: height = (precision + previousPrecision) / 2
      }
      sum += Double(foundHere - found) * height
      found = foundHere
      previousPrecision = precision
    }
    return sum / Double(positiveCount)
  }

  /// The curve from `(0, 0)` to `(1, 1)`, thinned for plotting to about `maximumCount` points.
  ///
  /// Kept are the ends and the first point after every equal step along the sum of both rates, rounded
  /// to five decimals; all numbers above come from the whole curve.
  public func rocPoints(maximumCount: Int = 80) -> [ROCPoint] {
    let step = 2 / Double(max(2, maximumCount - 1))
    var points = [ROCPoint(falsePositiveRate: 0, truePositiveRate: 0)]
    var next = step
    let areAllKept = Array(cuts.prefix(max(0, maximumCount) + 1)).count <= maximumCount
    for cut in cuts {
      let point = ROCPoint(
        falsePositiveRate: Double(cut.known) / Double(knownCount),
        truePositiveRate: Double(cut.foreign) / Double(foreignCount))
      let travelled = point.falsePositiveRate + point.truePositiveRate
      let isLast = cut.foreign == foreignCount && cut.known == knownCount
      guard travelled >= next || isLast || areAllKept else { continue }
      points.append(
        ROCPoint(
          falsePositiveRate: (point.falsePositiveRate * 1e5).rounded() / 1e5,
          truePositiveRate: (point.truePositiveRate * 1e5).rounded() / 1e5))
      while next <= travelled { next += step }
    }
    return points
  }
}
