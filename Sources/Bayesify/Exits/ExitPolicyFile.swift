public import BayesEvaluation
public import BayesPosterior
import BayesPrediction
public import BayesTensor

/// A policy and all that it holds for: one JSON file.
///
/// `format` is `bayesify-exit-policy`, `version` 1.  Thresholds are `{"score", "logOdds"}` or null where nobody leaves.
public struct ExitPolicyFile: PolicyFile, Equatable {
  public static let formatName = "bayesify-exit-policy"
  public static let currentVersion = 1
  public static let verb = "exits tune"

  public var format = Self.formatName
  public var version = Self.currentVersion
  public var madeBy: String
  /// The checkpoint that the policy's records came from; its digest is unknown where records did not say it.
  public var checkpoint: BoundFile
  /// The posterior behind the predictions; `nil` for the network's own.
  public var posterior: BoundFile?
  public var validation: BoundFile
  public var seed: UInt64
  /// What the rows went through; `nil` where their records did not say it.
  public var preprocessing: Preprocessing?
  /// The names of the exits, the earliest first.
  public var exits: [String]
  /// What the network's own logits are divided by, one an exit; `nil` for a posterior, or as they are.
  public var temperatures: [Temperature]?
  /// How exits are joined; `nil` for each by itself, or as the posterior says.
  public var ensemble: InternalEnsemble?
  /// How many rows ran at once when costs were measured; `nil` for costs that were counted or given.
  public var measuredRowCount: Int?
  public var policy: ExitPolicy

  public init(
    madeBy: String, checkpoint: BoundFile, posterior: BoundFile?, validation: BoundFile, seed: UInt64,
    preprocessing: Preprocessing?, exits: [String], temperatures: [Temperature]?, ensemble: InternalEnsemble?,
    measuredRowCount: Int?, policy: ExitPolicy
  ) {
    self.madeBy = madeBy
    self.checkpoint = checkpoint
    self.posterior = posterior
    self.validation = validation
    self.seed = seed
    self.preprocessing = preprocessing
    self.exits = exits
    self.temperatures = temperatures
    self.ensemble = ensemble
    self.measuredRowCount = measuredRowCount
    self.policy = policy
  }

  public var contradiction: String? {
    let counts = [exits.count, policy.exitCount] + (temperatures.map { [$0.count] } ?? [])
    guard Set(counts).count == 1, temperatures?.allSatisfy({ $0.value > 0 && $0.value.isFinite }) ?? true,
      measuredRowCount.map({ (1...ExitRecords.chunkRowCount).contains($0) }) ?? true
    else { return "Its parts are of different numbers of exits, or a temperature or count is out of range" }
    return nil
  }
}
