/// A number of a model minus that of its reference, with how far chance may move it.
public struct Difference: Sendable, Hashable, Codable {
  /// Model minus reference; not a number where both are infinite.
  public var value: Double
  /// The 95 % interval; absent where none can be given.
  public var interval: Interval?

  public init(value: Double, interval: Interval?) {
    self.value = value
    self.interval = interval
  }

  /// Whether no difference at all is among the plausible values; without an interval nothing is known but of infinite ones.
  public var isWithinNoise: Bool { interval?.contains(0) ?? value.isFinite }
}

/// The differences in AUROC on one foreign set.
public struct OODComparison: Sendable, Hashable, Codable {
  /// The foreign set.
  public var name: String
  /// By name of the score.
  public var auroc: [String: Difference]

  public init(name: String, auroc: [String: Difference]) {
    self.name = name
    self.auroc = auroc
  }
}

/// One exit of a model against the same exit of a reference, on the same rows.
///
/// All are compared on the same rows: accuracy, NLL and Brier score by the normal interval of the mean paired difference,
/// ECE by sets of rows drawn anew for both models at once, AUROC by DeLong's paired standard error.
public struct Comparison: Sendable, Hashable, Codable {
  public var model: String
  public var reference: String
  /// The exit's index.
  public var exit: Int
  public var accuracy: Difference
  public var nll: Difference
  public var brier: Difference
  public var ece: Difference
  /// One entry a foreign set.
  public var ood: [OODComparison]

  public init(
    model: String, reference: String, exit: Int, accuracy: Difference, nll: Difference,
    brier: Difference, ece: Difference, ood: [OODComparison]
  ) {
    self.model = model
    self.reference = reference
    self.exit = exit
    self.accuracy = accuracy
    self.nll = nll
    self.brier = brier
    self.ece = ece
    self.ood = ood
  }
}

extension Comparison {
  /// Compares two exits whose results have been computed already.
  init(
    of exit: ExitEvaluation, _ result: ExitResult, named model: String,
    against other: ExitEvaluation, _ otherResult: ExitResult, named reference: String
  ) throws(EvaluationError) {
    guard exit.rowCount == other.rowCount else {
      throw EvaluationError(
        .shape,
        "'\(model)' was evaluated on \(exit.rowCount) rows and '\(reference)' on \(other.rowCount); "
          + "models are compared on the same rows.")
    }
    self.init(
      model: model, reference: reference, exit: exit.index,
      accuracy: Difference(
        zip(exit.losses.correct, other.losses.correct).lazy
          .map { ($0 ? 1.0 : 0) - ($1 ? 1.0 : 0) },
        value: result.accuracy - otherResult.accuracy),
      nll: Difference(
        zip(exit.losses.negativeLogLikelihoods, other.losses.negativeLogLikelihoods).lazy
          .map { Double($0) - Double($1) }, value: result.nll - otherResult.nll),
      brier: Difference(
        zip(exit.losses.squaredErrors, other.losses.squaredErrors).lazy.map { Double($0) - Double($1) },
        value: result.brier - otherResult.brier),
      ece: Difference(
        calibrationErrorsOf: exit.losses, minus: other.losses, value: result.ece.value - otherResult.ece.value,
        binCount: exit.calibrationError.bins.count, exit.resampling),
      ood: [])
    ood = result.ood.compactMap { set in
      otherResult.ood.first { $0.name == set.name }.map { otherSet in
        OODComparison(
          name: set.name,
          auroc: set.scores.reduce(into: [:]) { differences, entry in
            // A score that ranks no row is no detector to compare with.
            guard let otherScore = otherSet.scores[entry.key], entry.value.isConstant == otherScore.isConstant else { return }
            let unpaired = entry.value.aurocDifference(from: otherScore)
            guard let own = exit.samples(entry.key, ofSet: set.name),
              let theirs = other.samples(entry.key, ofSet: set.name),
              let paired = Difference(aurocOf: own, minus: theirs, value: unpaired.value)
            else { return differences[entry.key] = unpaired }
            differences[entry.key] = paired
          })
      }
    }
  }
}

extension Difference {
  /// The difference of two means whose rows are paired.
  fileprivate init(_ rows: some Sequence<Double>, value: Double) {
    var mean = RowMean()
    for row in rows { mean.add(row) }
    self.init(value: value, interval: mean.interval)
  }

  /// The mean difference of values of the same rows, with its normal 95 % interval.
  ///
  /// - Precondition: there are as many values on both sides, two at least.
  public init(_ own: [Double], minus other: [Double]) {
    precondition(own.count == other.count && own.count > 1, "Values are paired row by row.")
    let differences = zip(own, other).lazy.map { $0 - $1 }
    self.init(differences, value: differences.reduce(0, +) / Double(own.count))
  }

  /// The difference of two numbers with independent errors.
  fileprivate init(value: Double, standardErrors: [Double]) {
    guard standardErrors.count == 2 else {
      self.init(value: value, interval: nil)
      return
    }
    let (a, b) = (standardErrors[0], standardErrors[1])
    self.init(value: value, interval: .normal(center: value, standardError: (a * a + b * b).squareRoot()))
  }
}

extension ScoreResult {
  /// This AUROC minus another, as if the two scores had been computed on different rows.
  public func aurocDifference(from other: ScoreResult) -> Difference {
    Difference(
      value: auroc - other.auroc,
      standardErrors: [self, other].compactMap(\.aurocStandardError))
  }

  /// The standard error behind `aurocInterval`, whose end towards one half is never cut off.
  private var aurocStandardError: Double? {
    aurocInterval.map { max(auroc - $0.low, $0.high - auroc) / Interval.normalQuantile }
  }
}
