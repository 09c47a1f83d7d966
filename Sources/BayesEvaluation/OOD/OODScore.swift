public import BayesPrediction
public import BayesTensor
import RealModule

/// One number a row that grows as the row moves away from the training data.
///
/// Larger is further for every score, so that an AUROC has one meaning.
public protocol OODScore: Sendable {
  /// The key under which reports list the score.
  var name: String { get }

  /// Whether `prediction` holds what the score needs.
  func isDefined(for prediction: Prediction) -> Bool

  /// The scores of a batch, `[batch]`.
  ///
  /// - Parameter split: the uncertainty of `prediction`, which several scores share.
  /// - Throws: `EvaluationError.Code.unsupported` where the score is not defined.
  func values(of prediction: Prediction, split: UncertaintySplit) throws(EvaluationError) -> Tensor<Double>
}

extension OODScore {
  public func isDefined(for prediction: Prediction) -> Bool { true }

  /// The scores of a batch, `[batch]`.
  ///
  /// - Throws: `EvaluationError.Code.unsupported` where the score is not defined.
  public func callAsFunction(_ prediction: Prediction) throws(EvaluationError) -> Tensor<Double> {
    try checkHasClasses(prediction)
    return try values(of: prediction, split: prediction.uncertaintySplit())
  }
}

/// Refuses log-probabilities where a score is of logits.
func requireLogits(of prediction: Prediction, for score: String) throws(EvaluationError) {
  guard prediction.scale == .logits else {
    throw EvaluationError(
      .unsupported,
      "The \(score) needs logits, and these predictions hold log-probabilities, from which it cannot be recovered; give "
        + "logits or leave the \(score) out.")
  }
}

/// Refuses a prediction that is not a distribution over classes.
func checkHasClasses(_ prediction: Prediction) throws(EvaluationError) {
  try checkHasClasses(prediction.likelihood)
}

/// Refuses a likelihood without a distribution over classes.
func checkHasClasses(_ likelihood: Likelihood) throws(EvaluationError) {
  switch likelihood {
  case .categorical, .binary: break
  case .multilabel, .gaussian:
    throw EvaluationError(
      .unsupported,
      "A \(likelihood.rawValue) output has no distribution over classes; evaluation needs a "
        + "categorical or a binary one.")
  }
}

/// `1 − maxₖ p̄ₖ`, with the probabilities averaged over samples.
///
/// - Range: `0...1`.
/// - Source: Hendrycks and Gimpel 2017, arXiv:1610.02136.
public struct MaximumProbabilityScore: OODScore {
  public init() {}
  public var name: String { "maximumProbability" }

  public func values(of prediction: Prediction, split: UncertaintySplit) -> Tensor<Double> {
    let (rowCount, classCount) = (split.probabilities.shape[0], split.probabilities.shape[1])
    return Tensor(
      shape: [rowCount],
      (0..<rowCount).map { row in
        var best = split.probabilities[row, 0]
        for column in 1..<max(1, classCount) { best = max(best, split.probabilities[row, column]) }
        return 1 - best
      })
  }
}

/// The entropy `H[p̄]` of the probabilities averaged over samples.
///
/// - Units: nats.
public struct EntropyScore: OODScore {
  public init() {}
  public var name: String { "entropy" }

  public func values(of prediction: Prediction, split: UncertaintySplit) -> Tensor<Double> { split.total }
}

/// The mutual information of class and weights, `H[p̄] − mean H[p]`; zero without draws.
///
/// - Units: nats.
/// - Source: Depeweg et al. 2018, arXiv:1710.07283.
public struct MutualInformationScore: OODScore {
  public init() {}
  public var name: String { "mutualInformation" }

  public func values(of prediction: Prediction, split: UncertaintySplit) -> Tensor<Double> {
    split.epistemic
  }
}

/// The negative log-sum-exp `−log Σₖ exp z̄ₖ` of the logits.
///
/// Of several samples the logits are averaged first, with the samples' weights: for a posterior
/// centred on the trained weights this stays close to the trained network's energy, while averaging
/// energies would add the spread of the logits to it.  One yes-or-no logit `z` is read as the pair
/// `(−z/2, z/2)`, and then ranks as the maximum probability does.  Temperature is part of the logits.
///
/// - Units: nats.
/// - Throws: `EvaluationError.Code.unsupported` for log-probabilities, whose log-sum-exp is always zero.
/// - Source: Liu et al. 2020, arXiv:2010.03759.
public struct EnergyScore: OODScore {
  public init() {}
  public var name: String { "energy" }

  public func isDefined(for prediction: Prediction) -> Bool { prediction.scale == .logits }

  public func values(
    of prediction: Prediction, split: UncertaintySplit
  ) throws(EvaluationError) -> Tensor<Double> {
    try requireLogits(of: prediction, for: "energy")
    let logits = prediction.meanClassLogits()
    let (rowCount, classCount) = (logits.shape[0], logits.shape[1])
    return Tensor(
      shape: [rowCount],
      (0..<rowCount).map { -logSumExp(logits.elements[$0 * classCount..<($0 + 1) * classCount]) })
  }
}

extension Prediction {
  /// The logits averaged over samples with the samples' weights, `[batch, classes]`.
  ///
  /// One yes-or-no logit `z` is read as the pair `(−z/2, z/2)`.
  ///
  /// - Precondition: the likelihood is categorical or binary.
  func meanClassLogits() -> Tensor<Double> {
    var means = Tensor<Double>(zeros: [rowCount, logitCount])
    logits.withSpan { logits in
      means.withMutableSpan { means in
        for sample in 0..<sampleCount {
          let weight = sampleWeights?[sample] ?? 1 / Double(sampleCount)
          let start = sample * means.count
          for position in means.indices { means[position] += weight * Double(logits[start + position]) }
        }
      }
    }
    return likelihood == .binary ? classPair(means) : means
  }
}

/// Both classes' columns for one yes-or-no column `z`: `(−z/2, z/2)`.
///
/// Their difference is `z`, so that probabilities stay, and neither class is preferred.
///
/// - Shapes: `[rows, 1]` to `[rows, 2]`.
func classPair(_ column: Tensor<Double>) -> Tensor<Double> {
  Tensor(shape: [column.rowCount, 2], column.elements.flatMap { [-$0 / 2, $0 / 2] })
}

/// The scores of every report: maximum probability, entropy, mutual information and energy.
public let standardOODScores: [any OODScore] = [
  MaximumProbabilityScore(), EntropyScore(), MutualInformationScore(), EnergyScore(),
]

/// All scores that need nothing but a prediction.
public let allOODScores: [any OODScore] =
  standardOODScores + [
    MaximumLogitScore(), GeneralizedEntropyScore(), ExpectedEntropyScore(), ProbabilityVarianceScore(),
  ]
