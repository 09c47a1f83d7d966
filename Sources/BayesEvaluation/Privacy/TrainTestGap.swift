/// How much better a model answers the rows that it was trained on than others: what membership is told by.
public struct TrainTestGap: Sendable, Hashable, Codable {
  /// A mean over rows, nats, with its normal 95 % interval.
  public struct Mean: Sendable, Hashable, Codable {
    public var value: Double
    /// Absent below two rows.
    public var interval: Interval?
  }

  public var memberAccuracy: MembershipInference.Proportion
  public var nonMemberAccuracy: MembershipInference.Proportion
  /// Accuracy on members less that on others, with Newcombe's interval.
  public var accuracy: MembershipInference.Proportion
  /// The mean loss of members' labels; absent where one is infinite.
  public var memberLoss: Mean?
  /// That of others; absent where one is infinite.
  public var nonMemberLoss: Mean?
  /// The mean loss on others less that on members, with Welch's standard error; absent where one is infinite.
  public var loss: Mean?

  /// - Throws: `EvaluationError.Code.empty` for a set without rows.
  /// - Source: Newcombe 1998, doi:10.1002/(SICI)1097-0258(19980430)17:8<873::AID-SIM779>3.0.CO;2-I; Welch 1947,
  ///   doi:10.1093/biomet/34.1-2.28.
  public init(members: MembershipEvidence, nonMembers: MembershipEvidence) throws(EvaluationError) {
    guard members.rowCount > 0, nonMembers.rowCount > 0 else {
      throw EvaluationError(
        .empty, "There are \(members.rowCount) members and \(nonMembers.rowCount) others; give rows of each.")
    }
    func share(_ evidence: MembershipEvidence) -> MembershipInference.Proportion {
      MembershipInference.Proportion(
        value: Double(evidence.correctCount) / Double(evidence.rowCount),
        interval: .wilson(successes: evidence.correctCount, of: evidence.rowCount))
    }
    let (own, other) = (share(members), share(nonMembers))
    let difference = own.value - other.value
    (memberAccuracy, nonMemberAccuracy) = (own, other)
    accuracy = MembershipInference.Proportion(
      value: difference,
      interval: Interval(
        low: difference - hypotenuse(own.value - own.interval.low, other.interval.high - other.value),
        high: difference + hypotenuse(own.interval.high - own.value, other.value - other.interval.low)))
    func mean(_ evidence: MembershipEvidence) -> Mean? {
      var mean = RowMean()
      for score in evidence.losses.scores { mean.add(-Double(score)) }
      return mean.mean.isFinite ? Mean(value: mean.mean, interval: mean.interval) : nil
    }
    (memberLoss, nonMemberLoss) = (mean(members), mean(nonMembers))
    if let memberLoss, let nonMemberLoss {
      let value = nonMemberLoss.value - memberLoss.value
      var interval: Interval?
      if let a = memberLoss.interval, let b = nonMemberLoss.interval {
        let half = hypotenuse((a.high - a.low) / 2, (b.high - b.low) / 2)
        interval = Interval(low: value - half, high: value + half)
      }
      loss = Mean(value: value, interval: interval)
    }
  }
}
