public import BayesPrediction
public import BayesTensor

/// A Gaussian around the trained weights of every exit's linear head: what `LastLayerLaplace` fits.
///
/// Exits are independent of each other.  The mean is the trained head, so at zero variance and
/// temperature one every prediction is the network's own.
public struct KroneckerLaplacePosterior: Sendable, Equatable {
  /// The posterior of one head.
  public struct Exit: Sendable, Equatable {
    /// What is known of the exit, its trained head included.
    public let description: ExitDescription
    /// The curvature in the basis in which every posterior precision is diagonal.
    public let spectrum: KroneckerSpectrum
    /// The precision of the prior around zero on every weight; in the units of the form.
    public internal(set) var priorPrecision: Double
    /// What means and standard deviations of logits are divided by.
    public internal(set) var temperature: Double
    /// The number of training rows.
    public let rowCount: Int
    /// The log-likelihood of the training labels at the trained weights, in nats; `nil` without labels.
    public let logLikelihood: Double?
    /// The accuracy on the training rows; `nil` without labels.
    public let trainingAccuracy: Double?
    /// How prior precision and temperature were chosen.
    public internal(set) var tuning: LaplaceTuning

    /// The curve that marginal likelihood tuning climbs; `nil` without training labels.
    public var marginalLikelihood: MarginalLikelihood? {
      guard let logLikelihood, let head = description.head else { return nil }
      var squaredNorm = 0.0
      for weight in head.weight.elements { squaredNorm += Double(weight) * Double(weight) }
      if head.hasBias { for bias in head.bias.elements { squaredNorm += Double(bias) * Double(bias) } }
      return MarginalLikelihood(
        spectrum: spectrum, logLikelihood: logLikelihood, squaredNorm: squaredNorm)
    }

    /// The log marginal likelihood at the prior precision, in nats; `nil` without training labels.
    public var logMarginalLikelihood: Double? { marginalLikelihood?(priorPrecision: priorPrecision) }

    /// The variances of the logits, the diagonal of their covariance, before any temperature.
    ///
    /// - Shapes: features `[rows, features]` to `[rows, logits]`.
    public func logitVariances(features: Tensor<Double>, on backend: any Backend) -> Tensor<Double> {
      spectrum.logitVariances(
        spectralVariances: spectralVariances(features: features, on: backend), on: backend)
    }

    /// The covariance of one row's logits, before any temperature.
    ///
    /// - Shapes: features `[features]` to `[logits, logits]`.
    public func logitCovariance(features: Tensor<Double>, on backend: any Backend) -> Tensor<Double> {
      let row = features.reshaped(to: [1, features.count])
      return spectrum.covariance(spectralVariances: spectralVariances(features: row, on: backend))
    }

    /// The variances of the logits in the eigenbasis of the class factor, `[rows, logits]`.
    package func spectralVariances(features: Tensor<Double>, on backend: any Backend) -> Tensor<Double> {
      spectrum.spectralVariances(features: features, priorPrecision: priorPrecision, on: backend)
    }
  }

  /// One posterior a head, earliest exit first.
  public internal(set) var exits: [Exit]
  /// Where bias and prior enter.
  public let form: KroneckerForm
  /// How probabilities are made, and what tuning was done for.
  public let predictive: LaplacePredictive
  /// The number of draws asked for; `whitened` only.
  public let sampleCount: Int
  /// The key of the draws.
  public let drawsKey: RandomKey
  /// What the posterior was fitted to: exits with their heads, names, digests and preprocessing.
  public let source: RecordsDescription
  /// What the user should know of the fit, one sentence or two each.
  public internal(set) var warnings: [String]
}

/// How the prior precision and the temperature of one exit were chosen, and what else was tried.
public struct LaplaceTuning: Sendable, Equatable {
  /// One pair that was tried.
  public struct Point: Sendable, Equatable {
    /// Infinite where the head was taken without variance.
    public var priorPrecision: Double
    public var temperature: Double
    /// The mean negative log-likelihood of the validation labels, in nats a row.
    public var negativeLogLikelihood: Double
    /// The number of validation rows it was computed on: all, or a part for the coarse grid.
    public var rowCount: Int
  }

  /// Everything tried on validation rows, in order; empty without validation rows.
  public var trail: [Point] = []
  /// The chosen pair on all validation rows; `nil` without validation rows.
  public var chosen: Point?
  /// The best temperature without any variance, on all validation rows.
  public var withoutVariance: Point?
  /// The accuracy of the network on the validation rows; `nil` without validation rows.
  public var validationAccuracy: Double?
}
