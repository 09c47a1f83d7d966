public import BayesEvaluation
public import BayesTensor

/// Which rows of one model to trust, and all that this holds for: one JSON file.
///
/// `format` is `bayesify-trust-policy`, `version` 1.
public struct TrustPolicyFile: PolicyFile, Equatable {
  public static let formatName = "bayesify-trust-policy"
  public static let currentVersion = 1
  public static let verb = "trust tune"

  public var format = Self.formatName
  public var version = Self.currentVersion
  public var madeBy: String
  public var checkpoint: BoundFile
  public var posterior: BoundFile?
  public var validation: BoundFile
  public var seed: UInt64
  /// What the rows went through; `nil` where their records did not say it.
  public var preprocessing: Preprocessing?
  /// Whose predictions are judged.
  public var exit: Int
  public var exitName: String
  /// The name of one of `allOODScores`.
  public var score: String
  public var target: TrustTarget
  public var threshold: TrustThreshold

  public init(
    madeBy: String, checkpoint: BoundFile, posterior: BoundFile?, validation: BoundFile, seed: UInt64,
    preprocessing: Preprocessing?, exit: Int, exitName: String, score: String, target: TrustTarget,
    threshold: TrustThreshold
  ) {
    self.madeBy = madeBy
    self.checkpoint = checkpoint
    self.posterior = posterior
    self.validation = validation
    self.seed = seed
    self.preprocessing = preprocessing
    self.exit = exit
    self.exitName = exitName
    self.score = score
    self.target = target
    self.threshold = threshold
  }

  public var contradiction: String? {
    let counts = [threshold.wrongCount, threshold.trustedCount, threshold.rowCount]
    let shares = [target.maximumRisk, target.delta]
    guard rule != nil else { return "Its score '\(score)' is none of \(allOODScores.map(\.name).joined(separator: ", "))" }
    guard exit >= 0, counts == counts.sorted(), threshold.wrongCount >= 0, !threshold.value.isNaN,
      shares.allSatisfy({ $0 > 0 && $0 < 1 })
    else { return "An exit, a count, a share or the threshold is out of range" }
    if let preprocessing, !preprocessing.isInRange {
      return "The preprocessing has a scale or a deviation that is not a positive number, or a mean that is not finite"
    }
    if score == MaximumProbabilityScore().name, threshold.value.isFinite, !(0...1).contains(threshold.value) {
      return "Its threshold \(threshold.value) is no value of the score '\(score)', which lies in 0...1"
    }
    return nil
  }

  /// The decision a row; `nil` for a score that is not known.
  public var rule: TrustRule? {
    allOODScores.first { $0.name == score }.map { TrustRule(score: $0, threshold: threshold, target: target) }
  }
}
