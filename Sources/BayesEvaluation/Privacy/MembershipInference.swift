public import BayesTensor
import RealModule

/// What an attacker sees of one set of rows: how well a model knows each.
///
/// Grows by 8 bytes a row.
public struct MembershipEvidence: Sendable, Equatable {
  /// What rows are ranked by.
  public enum Score: String, Sendable, Hashable, CaseIterable, Codable {
    /// The negative loss of the label.
    case loss
    /// The log-odds of the likeliest class, which order rows as its probability does without rounding to 1.
    case confidence
  }

  private(set) var losses = ScoreSample()
  private(set) var confidences = ScoreSample()
  /// Rows whose likeliest class is their label; of equal ones the first counts.
  public private(set) var correctCount = 0
  public var rowCount: Int { losses.scores.count }

  public init() {}

  /// Adds rows.
  ///
  /// - Parameter logProbabilities: logarithms of the predictive probabilities of classes, `[rows, classes]`.
  /// - Throws: `EvaluationError` for a label that names no class, a number of labels that is another than that of rows,
  ///   and a value that is not a number; nothing is added then.
  public mutating func update(logProbabilities: Tensor<Double>, labels: [Int]) throws(EvaluationError) {
    guard logProbabilities.shape.rank == 2, logProbabilities.rowCount == labels.count, logProbabilities.shape[1] > 1
    else {
      throw EvaluationError(
        .shape,
        "Log-probabilities are of shape \(logProbabilities.shape) and there are \(labels.count) labels; give one a "
          + "row.")
    }
    let classCount = logProbabilities.shape[1]
    var (known, sure, correct): ([Double], [Double], Int) = ([], [], 0)
    for (row, label) in labels.enumerated() {
      guard (0..<classCount).contains(label) else {
        throw EvaluationError(
          .label, row: rowCount + row,
          "The label \(label) of row \(rowCount + row) names none of \(classCount) classes.")
      }
      let values = (0..<classCount).map { logProbabilities[row, $0] }
      var best = 0
      for k in values.indices where values[k] > values[best] { best = k }
      // By the others: rows that are known by more than 37 nats would all have a loss of zero by the label's own.
      known.append(-Self.softplus(Self.logSumExp(values, but: label) - values[label]))
      sure.append(values[best] - Self.logSumExp(values, but: best))
      if best == label { correct += 1 }
    }
    let checkedLosses = try ScoreSample.checked(known, named: "log-probability of the label", firstRow: rowCount)
    let checkedConfidences = try ScoreSample.checked(sure, named: "log-odds", firstRow: rowCount)
    losses.append(checkedLosses)
    confidences.append(checkedConfidences)
    correctCount += correct
  }

  func scores(_ score: Score) -> ScoreSample { score == .loss ? losses : confidences }

  /// `log Σ exp` of all values but one; not a number where one of all is none.
  private static func logSumExp(_ values: [Double], but excluded: Int) -> Double {
    if values.contains(where: \.isNaN) { return .nan }
    var largest = -Double.infinity
    for k in values.indices where k != excluded { largest = max(largest, values[k]) }
    guard largest.isFinite else { return largest }
    var sum = 0.0
    for k in values.indices where k != excluded { sum += Double.exp(values[k] - largest) }
    return largest + Double.log(sum)
  }

  /// `log(1 + exp x)`, without overflow.
  private static func softplus(_ x: Double) -> Double { max(x, 0) + Double.log(onePlus: Double.exp(-abs(x))) }
}

/// How well members of the training set are told from other rows by what a model answers.
public struct MembershipInference: Sendable, Hashable, Codable {
  /// A proportion with its 95 % interval.
  public struct Proportion: Sendable, Hashable, Codable {
    public var value: Double
    public var interval: Interval
  }

  /// The share of members that are found where so many others are called members.
  public struct Operation: Sendable, Hashable, Codable {
    /// The false positive rate that is allowed.
    public var allowed: Double
    /// The one that the threshold has, at most `allowed`.
    public var falsePositiveRate: Double
    /// With Wilson's interval, the threshold held fixed.
    public var truePositiveRate: Proportion
  }

  public var score: MembershipEvidence.Score
  public var memberCount: Int
  public var nonMemberCount: Int
  /// The chance that a member ranks above another row, ties counting one half.
  public var auroc: Double
  /// After DeLong; `nil` below two rows in either set.
  public var aurocInterval: Interval?
  /// The mean of both rates of right answers on one half of the rows, at the threshold that is best on the other half.
  public var balancedAccuracy: Proportion
  /// At 0.1 % and 1 %.
  public var operations: [Operation]
  /// Accuracy on members less that on others, with Newcombe's interval.
  public var accuracyGap: Proportion
  /// What the user should know.
  public var warnings: [String]

  public static let allowedFalsePositiveRates = [0.001, 0.01]

  /// - Parameter key: of the halves.
  /// - Throws: `EvaluationError.Code.empty` below two rows in either set.
  /// - Source: Yeom et al. 2018, arXiv:1709.01604; Carlini et al. 2022, arXiv:2112.03570, for rates at few false
  ///   positives; Newcombe 1998, doi:10.1002/(SICI)1097-0258(19980430)17:8<873::AID-SIM779>3.0.CO;2-I.
  public init(
    members: MembershipEvidence, nonMembers: MembershipEvidence, score: MembershipEvidence.Score, key: RandomKey
  ) throws(EvaluationError) {
    guard members.rowCount > 1, nonMembers.rowCount > 1 else {
      throw EvaluationError(
        .empty,
        "There are \(members.rowCount) members and \(nonMembers.rowCount) others; give two rows or more of each.")
    }
    self.score = score
    (memberCount, nonMemberCount) = (members.rowCount, nonMembers.rowCount)
    let separation = try ScoreSeparation(
      inDistribution: nonMembers.scores(score), outOfDistribution: members.scores(score))
    auroc = separation.auroc
    aurocInterval = separation.aurocInterval
    operations = Self.allowedFalsePositiveRates.map { rate in
      var last = ScoreSeparation.Cut(foreign: 0, known: 0)
      for cut in separation.cuts {
        guard Double(cut.known) <= rate * Double(nonMembers.rowCount) else { break }
        last = cut
      }
      return Operation(
        allowed: rate, falsePositiveRate: Double(last.known) / Double(nonMembers.rowCount),
        truePositiveRate: Proportion(
          value: Double(last.foreign) / Double(members.rowCount),
          interval: .wilson(successes: last.foreign, of: members.rowCount)))
    }
    balancedAccuracy = Self.balancedAccuracy(
      members.scores(score).scores, nonMembers.scores(score).scores, key: key)
    accuracyGap = try TrainTestGap(members: members, nonMembers: nonMembers).accuracy
    warnings = Self.allowedFalsePositiveRates.filter { $0 * Double(nonMembers.rowCount) < 1 }.map {
      "\(nonMembers.rowCount) other rows are too few for a false positive rate of \(($0 * 100).significantDigits()) %, "
        + "so that the threshold lies above all of them."
    }
    if separation.isConstant { warnings.append("All rows have one score, which tells nothing of membership.") }
  }

  /// At the first half's best threshold, the strictest of equally good ones.
  private static func balancedAccuracy(
    _ members: [Float], _ nonMembers: [Float], key: RandomKey
  ) -> Proportion {
    func halves(_ scores: [Float], _ key: RandomKey) -> (chosen: [Float], held: [Float]) {
      let order = key.permutation(scores.count)
      let middle = scores.count / 2
      return (order[..<middle].map { scores[$0] }, order[middle...].map { scores[$0] })
    }
    let own = halves(members, key.child(0))
    let other = halves(nonMembers, key.child(1))
    // Above all scores nothing is called a member, which is right for one half.
    var (best, threshold) = (0.5, Float.infinity)
    var isStrict = true
    let (ownSorted, otherSorted) = (own.chosen.sorted(by: >), other.chosen.sorted(by: >))
    var (ownCount, otherCount) = (0, 0)
    while ownCount < ownSorted.count || otherCount < otherSorted.count {
      let score = max(
        ownCount < ownSorted.count ? ownSorted[ownCount] : -.infinity,
        otherCount < otherSorted.count ? otherSorted[otherCount] : -.infinity)
      while ownCount < ownSorted.count, ownSorted[ownCount] == score { ownCount += 1 }
      while otherCount < otherSorted.count, otherSorted[otherCount] == score { otherCount += 1 }
      let value =
        (Double(ownCount) / Double(ownSorted.count) + 1 - Double(otherCount) / Double(otherSorted.count)) / 2
      if value > best { (best, threshold, isStrict) = (value, score, false) }
    }
    let found = isStrict ? 0 : own.held.count { $0 >= threshold }
    let refused = isStrict ? other.held.count : other.held.count { $0 < threshold }
    let foundShare = Double(found) / Double(own.held.count)
    let refusedShare = Double(refused) / Double(other.held.count)
    let (first, second) = (
      Interval.wilson(successes: found, of: own.held.count), Interval.wilson(successes: refused, of: other.held.count)
    )
    let value = (foundShare + refusedShare) / 2
    return Proportion(
      value: value,
      interval: Interval(
        low: value - hypotenuse(foundShare - first.low, refusedShare - second.low) / 2,
        high: value + hypotenuse(first.high - foundShare, second.high - refusedShare) / 2))
  }
}

/// How far two independent deviations lead together.
func hypotenuse(_ a: Double, _ b: Double) -> Double { (a * a + b * b).squareRoot() }
