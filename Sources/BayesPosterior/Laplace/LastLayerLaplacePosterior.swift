public import BayesPrediction
public import BayesTensor

/// A Gaussian around the trained weights of every exit's linear head: what `LastLayerLaplace` fits.
///
/// Exits are independent of each other.  The mean is the trained head, so at zero variance and
/// temperature one every prediction is the network's own.
public struct LastLayerLaplacePosterior: Sendable, Equatable {
  /// The posterior of one head.
  public struct Exit: Sendable, Equatable {
    /// What is known of the exit, its trained head included.
    public let description: ExitDescription
    /// The curvature, in the structure's own shape.
    package internal(set) var curvature: ExitCurvature
    /// The sums that the curvature was made of, to which further rows can be added.
    package let sums: Curvature
    /// Whether the training rows had labels or targets.
    let hasAnswers: Bool
    /// The precision of the prior on every weight; in the units of the structure.
    public internal(set) var priorPrecision: Double
    /// What means and standard deviations of logits are divided by.
    public internal(set) var temperature: Double
    /// The standard deviation of Gaussian targets (where rows have noise of their own, a factor on it); one for
    /// other likelihoods.
    public internal(set) var noise: Double
    /// The weights around which the prior lies.
    public let priorMean: PriorMean
    /// How prior precision and temperature were chosen.
    public internal(set) var tuning: LaplaceTuning

    /// The precision of the prior on the bias.
    public var biasPriorPrecision: Double {
      let scale = curvature.value.biasScale
      return priorPrecision / (scale * scale)
    }

    /// The number of training rows.
    public var rowCount: Int { sums.rowCount }

    /// Whether the training rows had noise of their own.
    public var hasRowNoise: Bool { sums[.logNoise] != 0 || sums[.weight] != sums[.rowCount] }

    /// The log-likelihood of the training labels or targets at the trained weights, in nats; `nil` without them.
    public var logLikelihood: Double? {
      hasAnswers ? evidence(squaredNorm: 0).logLikelihood(noise: noise) : nil
    }

    /// The accuracy on the training rows; `nil` without labels.
    public var trainingAccuracy: Double? {
      hasAnswers && description.likelihood != .gaussian ? sums[.correctCount] / sums[.rowCount] : nil
    }

    /// The share of the curvature's trace that a low rank holds; `nil` for other structures.
    public var explainedShare: Double? {
      if case .lowRank(let lowRank) = curvature { lowRank.explainedShare } else { nil }
    }

    /// The number of eigenvectors of a low rank; `nil` for other structures.
    public var rank: Int? {
      if case .lowRank(let lowRank) = curvature { lowRank.rank } else { nil }
    }

    /// The curve that marginal likelihood tuning climbs; `nil` without training labels.
    public var marginalLikelihood: MarginalLikelihood? {
      guard hasAnswers, let head = description.head else { return nil }
      guard priorMean == .zero else { return evidence(squaredNorm: 0) }
      let scale = curvature.value.biasScale
      var squaredNorm = 0.0
      for weight in head.weight.elements { squaredNorm += Double(weight) * Double(weight) }
      if head.hasBias {
        for bias in head.bias.elements { squaredNorm += Double(bias) * Double(bias) / (scale * scale) }
      }
      return evidence(squaredNorm: squaredNorm)
    }

    private func evidence(squaredNorm: Double) -> MarginalLikelihood {
      let residuals =
        description.likelihood == .gaussian
        ? GaussianResiduals(sums, outputCount: description.logitCount) : nil
      return MarginalLikelihood(
        curvature: curvature.value, logLikelihood: sums[.logLikelihood], squaredNorm: squaredNorm,
        residuals: residuals)
    }

    /// The log marginal likelihood at the prior precision, in nats; `nil` without training labels.
    public var logMarginalLikelihood: Double? {
      marginalLikelihood?(priorPrecision: priorPrecision, noise: noise)
    }

    /// The prior precision in units of the noise, in which the curvature is kept.
    var unitPriorPrecision: Double { priorPrecision * noise * noise }

    /// The variances of the logits, the diagonal of their covariance, before any temperature.
    ///
    /// - Shapes: features `[rows, features]` to `[rows, logits]`.
    public func logitVariances(features: Tensor<Double>, on backend: any Backend) -> Tensor<Double> {
      let head = curvature.value
      return head.variances(
        head.projection(of: features, on: backend), priorPrecision: unitPriorPrecision, on: backend
      ).map { $0 * noise * noise }
    }

    /// The covariance of one row's logits, before any temperature.
    ///
    /// - Shapes: features `[features]` to `[logits, logits]`.
    public func logitCovariance(features: Tensor<Double>, on backend: any Backend) -> Tensor<Double> {
      covariance(features: features.reshaped(to: [1, features.count]), on: backend).matrix(0, on: backend)
    }

    /// The most logits of all rows that `jointLogitCovariance` takes at once.
    public static let jointLogitLimit = 4096

    /// The covariance of all logits of all rows of a small batch with each other, before any temperature.
    ///
    /// - Shapes: features `[rows, features]` to `[rows · logits, rows · logits]`, the logit running faster.
    /// - Cost: O((rows · logits)²) numbers.
    /// - Throws: `NumericalError.Code.outOfRange` for more than `jointLogitLimit` logits in all.
    public func jointLogitCovariance(features: Tensor<Double>, on backend: any Backend) throws(NumericalError)
      -> Tensor<Double>
    {
      let order = features.rowCount * description.logitCount
      guard order <= Self.jointLogitLimit else {
        throw NumericalError(
          .outOfRange,
          "\(features.rowCount) rows of \(description.logitCount) logits have a joint covariance of order \(order), "
            + "and at most \(Self.jointLogitLimit) is computed; give fewer rows.")
      }
      return curvature.value.jointCovariance(
        features: features, priorPrecision: unitPriorPrecision, on: backend
      ).map { $0 * noise * noise }
    }

    /// The covariances of some rows' logits, before any temperature.
    package func covariance(features: Tensor<Double>, on backend: any Backend) -> LogitCovariance {
      let head = curvature.value
      return head.covariance(
        head.projection(of: features, on: backend), priorPrecision: unitPriorPrecision, on: backend
      ).scaled(by: noise * noise)
    }
  }

  /// One posterior a head, earliest exit first.
  public internal(set) var exits: [Exit]
  /// What is kept of the curvature.
  public let structure: LaplaceStructure
  /// How probabilities are made, and what tuning was done for.
  public var predictive: LaplacePredictive
  /// The number of draws asked for; for predictives with draws only.
  public var sampleCount: Int
  /// The key of the draws.
  public internal(set) var drawsKey: RandomKey
  /// Whether an exit's prediction is the mean of its own and all earlier ones, weighted by their multiply-adds.
  public let isEnsemble: Bool
  /// What the posterior was fitted to: exits with their heads, names, digests and preprocessing.
  public let source: RecordsDescription
  /// What the user should know of the fit, one sentence or two each.
  public internal(set) var warnings: [String]
  /// The rows it was fitted to, as far as the caller has noted them.
  public var fittedRows: [FittedRows] = []
}

/// Which rows of which data a posterior was fitted to, so that none is added twice.
public struct FittedRows: Sendable, Equatable {
  /// What tells data apart: a digest of the file, and what names the array in it; of records, a digest of their first
  /// logits.
  public var data: String
  public var rows: Range<Int>

  public init(data: String, rows: Range<Int>) {
    self.data = data
    self.rows = rows
  }

  /// The rows that a text names, as `text` writes them.
  init?(_ text: String) {
    guard let space = text.lastIndex(of: " ") else { return nil }
    let bounds = text[space...].dropFirst().split(separator: ":").map { Int($0) }
    guard bounds.count == 2, let first = bounds[0], let end = bounds[1], first >= 0, first < end else { return nil }
    self.init(data: String(text[..<space]), rows: first..<end)
  }

  var text: String { "\(data) \(rows.lowerBound):\(rows.upperBound)" }

  /// The rows that are also among others.
  public func overlap(with others: [FittedRows]) -> Range<Int>? {
    others.lazy.filter { $0.data == data }.map { $0.rows.clamped(to: rows) }.first { !$0.isEmpty }
  }
}

/// How the prior precision and the temperature of one exit were chosen, and what else was tried.
public struct LaplaceTuning: Sendable, Equatable {
  /// One pair that was tried.
  public struct Point: Sendable, Equatable {
    /// Infinite where the head was taken without variance.
    public var priorPrecision: Double
    /// The temperature; for Gaussian exits, the noise.
    public var temperature: Double
    /// The mean negative log-likelihood of the validation labels, in nats a row.
    public var negativeLogLikelihood: Double
    /// The number of validation rows it was computed on: all, or a part for the coarse grid.
    public var rowCount: Int
  }

  /// Everything tried on validation rows, in order; empty without validation rows.
  public var trail: [Point] = []
  /// The chosen pair on all validation rows; `nil` without validation rows.  Where predictions draw, its likelihood is
  /// that with other draws than those of tuning, which the trail has.
  public var chosen: Point?
  /// The best temperature of the exit by itself without any variance, on all validation rows; a free one also where that
  /// of the posterior is fixed.
  public var withoutVariance: Point?
  /// The accuracy of the network on the validation rows; `nil` without validation rows.
  public var validationAccuracy: Double?
}
