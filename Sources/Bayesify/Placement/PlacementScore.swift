import RealModule

/// What a placement is worth on the rows of a search.
public struct PlacementScore: Hashable, Sendable, Codable {
  /// The mean negative log-likelihood of validation labels, nats, at the placement's own temperature.
  public var nll: Double
  /// That at temperature one.
  public var untemperedNLL: Double
  public var accuracy: Double
  /// Of 15 bins.
  public var ece: Double
  /// The area under the ROC curve of entropy, foreign rows positive, the mean over the foreign sets.
  public var auroc: Double
  /// Of each foreign set, by its name.
  public var aurocs: [String: Double]
  public var temperature: Double
  /// Seconds of a batch, as the cost model says, over those of the checkpoint.
  public var latency: Double

  public init(
    nll: Double, untemperedNLL: Double, accuracy: Double, ece: Double, auroc: Double, aurocs: [String: Double],
    temperature: Double, latency: Double
  ) {
    (self.nll, self.untemperedNLL, self.accuracy, self.ece) = (nll, untemperedNLL, accuracy, ece)
    (self.auroc, self.aurocs, self.temperature, self.latency) = (auroc, aurocs, temperature, latency)
  }
}

/// What placements are judged by.
///
///     F = −NLL / log K − w_e · ECE + w_o · (2 · AUROC − 1) − w_t · log(latency)
///
/// picks one; everything else is read off the front over NLL, 1 − AUROC and latency.
public struct PlacementObjective: Hashable, Sendable, Codable {
  /// `w_e`
  public var calibrationWeight = 1.0
  /// `w_o`
  public var foreignWeight = 0.5
  /// `w_t`
  public var latencyWeight = 0.1
  /// How far accuracy may lie below the checkpoint's.
  public var accuracyLoss = 0.005
  /// The largest latency; none for `nil`.
  public var latencyBudget: Double?
  /// `K`
  public var classCount: Int
  /// The checkpoint's accuracy on the same rows.
  public var referenceAccuracy: Double

  public init(classCount: Int, referenceAccuracy: Double) {
    self.classCount = classCount
    self.referenceAccuracy = referenceAccuracy
  }

  /// `F`
  public func scalar(_ score: PlacementScore) -> Double {
    -score.nll / Double.log(Double(max(2, classCount))) - calibrationWeight * score.ece
      + foreignWeight * (2 * score.auroc - 1) - latencyWeight * Double.log(score.latency)
  }

  /// The objectives of the front; of each less is better.
  public func objectives(_ score: PlacementScore) -> [Double] { [score.nll, 1 - score.auroc, score.latency] }

  /// By how much constraints are missed; zero where all hold.
  public func violation(_ score: PlacementScore) -> Double {
    let accuracy = max(0, referenceAccuracy - accuracyLoss - score.accuracy)
    return accuracy + max(0, latencyBudget.map { score.latency / $0 - 1 } ?? 0)
  }

  /// Whether one score is better than another: the one that misses less, and of two that miss nothing the larger `F`.
  public func isBetter(_ a: PlacementScore, than b: PlacementScore) -> Bool {
    let (missedByA, missedByB) = (violation(a), violation(b))
    return missedByA == missedByB ? scalar(a) > scalar(b) : missedByA < missedByB
  }

  /// Scores in fronts: those that miss no constraint by dominance, and behind them the others, each in a front of its own, by what
  /// they miss.
  func fronts(_ scores: [PlacementScore]) -> [[Int]] {
    let allowed = scores.indices.filter { violation(scores[$0]) == 0 }
    let others = scores.indices.filter { violation(scores[$0]) > 0 }
      .sorted { (violation(scores[$0]), $0) < (violation(scores[$1]), $1) }
    return ParetoFront.fronts(of: allowed.map { objectives(scores[$0]) }).map { $0.map { allowed[$0] } } + others.map { [$0] }
  }
}

extension PlacementScore {
  /// The score as numbers, the areas of foreign sets last.
  func numbers(_ sets: [String]) -> [Double] {
    [nll, untemperedNLL, accuracy, ece, auroc, temperature, latency] + sets.map { aurocs[$0] ?? 0 }
  }

  /// The score that numbers say; `nil` for another count.
  init?(_ numbers: [Double], _ sets: [String]) {
    guard numbers.count == 7 + sets.count else { return nil }
    self.init(
      nll: numbers[0], untemperedNLL: numbers[1], accuracy: numbers[2], ece: numbers[3], auroc: numbers[4],
      aurocs: Dictionary(uniqueKeysWithValues: zip(sets, numbers[7...])), temperature: numbers[5], latency: numbers[6])
  }
}
