public import BayesEvaluation

/// Accuracy against cost of a network whose rows leave early, for policies and kinds of predictions: plain data.
public struct ExitStudyReport: Sendable, Hashable, Codable {
  /// The version of the JSON shape that this program writes.
  public static let schema = 1

  /// One policy: a score, and thresholds of 39 levels.
  public struct Policy: Sendable, Hashable, Codable {
    public var score: String
    /// Means over the levels and seeds.
    public var mean: ExitPoint
    /// The area under accuracy against cost over its width, averaged over seeds.
    public var area: Double
    /// Of the first seed.
    public var areaInterval: Interval
    /// Of the first seed, from cheap to dear.
    public var points: [ExitPoint]
    /// The AUROC of the score for right against wrong answers, one an exit; absent where all answers are alike.
    public var auroc: [Double?]

    public init(
      score: String, mean: ExitPoint, area: Double, areaInterval: Interval, points: [ExitPoint], auroc: [Double?]
    ) {
      self.score = score
      self.mean = mean
      self.area = area
      self.areaInterval = areaInterval
      self.points = points
      self.auroc = auroc
    }
  }

  /// One kind of predictions.
  public struct Variant: Sendable, Hashable, Codable {
    public var name: String
    /// How often it was fitted and drawn, with other keys.
    public var seedCount: Int
    public var costs: ExitCosts
    /// What was chosen for each exit, by name; of the first seed.
    public var settings: [[String: Double]]
    /// Over the paper's 39 schedules of the largest probability: means over seeds.
    public var mean: ExitPoint
    /// The standard deviations over seeds of accuracy, NLL and ECE; absent with one.
    public var deviations: [String: Double]?
    /// The accuracy of each exit on all rows.
    public var exitAccuracies: [Double]
    public var policies: [Policy]

    public init(
      name: String, seedCount: Int, costs: ExitCosts, settings: [[String: Double]], mean: ExitPoint,
      deviations: [String: Double]?, exitAccuracies: [Double], policies: [Policy]
    ) {
      self.name = name
      self.seedCount = seedCount
      self.costs = costs
      self.settings = settings
      self.mean = mean
      self.deviations = deviations
      self.exitAccuracies = exitAccuracies
      self.policies = policies
    }
  }

  /// A variant against another on the same rows, averaged over the schedules.
  public struct VariantComparison: Sendable, Hashable, Codable {
    public var variant: String
    public var reference: String
    public var accuracy: Difference
    public var nll: Difference

    public init(variant: String, reference: String, accuracy: Difference, nll: Difference) {
      self.variant = variant
      self.reference = reference
      self.accuracy = accuracy
      self.nll = nll
    }
  }

  /// A score against the largest probability of the same predictions, tuned to the same budgets.
  public struct PolicyComparison: Sendable, Hashable, Codable {
    public var variant: String
    public var score: String
    public var accuracy: Difference
    public var nll: Difference
    /// The mean cost minus the reference's, as a share of the last exit's.
    public var costShare: Double

    public init(variant: String, score: String, accuracy: Difference, nll: Difference, costShare: Double) {
      self.variant = variant
      self.score = score
      self.accuracy = accuracy
      self.nll = nll
      self.costShare = costShare
    }
  }

  /// A budget that was asked for, and what it cost.
  public struct Budget: Sendable, Hashable, Codable {
    public var variant: String
    public var score: String
    public var budget: Double
    public var validationCost: Double
    public var testCost: Double
    /// How many standard errors the cost on test rows lies above that on validation rows.
    public var standardErrors: Double

    public init(
      variant: String, score: String, budget: Double, validationCost: Double, testCost: Double, standardErrors: Double
    ) {
      self.variant = variant
      self.score = score
      self.budget = budget
      self.validationCost = validationCost
      self.testCost = testCost
      self.standardErrors = standardErrors
    }
  }

  /// A point of a bound: what a share of the rows' labels, or chance, would give.
  public struct BoundPoint: Sendable, Hashable, Codable {
    public var cost: Double
    public var accuracy: Double

    public init(cost: Double, accuracy: Double) {
      self.cost = cost
      self.accuracy = accuracy
    }
  }

  public var schema = Self.schema
  public var title: String
  /// The names of the exits.
  public var exits: [String]
  public var validationRowCount: Int
  public var testRowCount: Int
  public var variants: [Variant]
  public var variantComparisons: [VariantComparison]
  public var policyComparisons: [PolicyComparison]
  public var budgets: [Budget]
  /// Of the first variant: no policy does better with its predictions.
  public var oracle: [BoundPoint]
  /// Of the first variant: rows leave by chance.
  public var random: [BoundPoint]
  public var warnings: [String]
  public var provenance: Provenance

  public init(
    title: String, exits: [String], validationRowCount: Int, testRowCount: Int, variants: [Variant],
    variantComparisons: [VariantComparison], policyComparisons: [PolicyComparison], budgets: [Budget],
    oracle: [BoundPoint], random: [BoundPoint], warnings: [String], provenance: Provenance
  ) {
    self.title = title
    self.exits = exits
    self.validationRowCount = validationRowCount
    self.testRowCount = testRowCount
    self.variants = variants
    self.variantComparisons = variantComparisons
    self.policyComparisons = policyComparisons
    self.budgets = budgets
    self.oracle = oracle
    self.random = random
    self.warnings = warnings
    self.provenance = provenance
  }
}

extension ExitStudyReport {
  /// What the numbers say, in sentences: better, equal or worse.
  public var readings: [String] {
    variantComparisons.map { comparison in
      "\(comparison.variant) against \(comparison.reference): NLL \(Self.verdict(comparison.nll, gain: -1)), accuracy "
        + "\(Self.verdict(comparison.accuracy, gain: 1))."
    }
      + policyComparisons.map { comparison in
        "\(comparison.variant), leaving by \(comparison.score) against the largest probability at equal cost: accuracy "
          + "\(Self.verdict(comparison.accuracy, gain: 1)), NLL \(Self.verdict(comparison.nll, gain: -1))."
      }
  }

  /// `better, −0.0021 (−0.0034 to −0.0008)`
  private static func verdict(_ difference: Difference, gain: Double) -> String {
    let bounds = [difference.value] + (difference.interval.map { [$0.low, $0.high] } ?? [])
    guard bounds.contains(where: { abs($0) >= 5e-5 }) else { return "the same to four decimals" }
    let numbers = Figures.signed(Figures.number(difference.value, decimals: 4))
      + (difference.interval.map {
        " (\(Figures.number($0.low, decimals: 4)) to \(Figures.number($0.high, decimals: 4)))"
      } ?? "")
    if difference.isWithinNoise { return "equal within noise, \(numbers)" }
    return (difference.value * gain > 0 ? "better, " : "worse, ") + numbers
  }
}
