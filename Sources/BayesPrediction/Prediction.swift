public import BayesTensor

/// What one exit says about a batch of rows, as draws of logits: the waist of the package.
///
/// Everything above makes predictions, everything below reads them; neither needs the other.
public struct Prediction: Sendable, Equatable {
  /// What the numbers in `logits` are.
  public enum Scale: String, Sendable, Codable {
    /// Unnormalised: energy and maximum logit may be read off them.
    case logits
    /// Normalised log-probabilities: a common shift has been lost.
    case logProbabilities
  }

  /// Probabilities and the split of their uncertainty that a closed form gives without draws.
  public struct ClosedForm: Sendable, Equatable {
    /// `[batch, classes]`; for labels the probability of each.
    public var probabilities: Tensor<Double>
    /// Entropy of the mean probabilities, `[batch]`, nats.
    public var total: Tensor<Double>
    /// Mean entropy over the posterior, `[batch]`, nats; `nil` where the closed form gives none.
    public var aleatoric: Tensor<Double>?

    public init(probabilities: Tensor<Double>, total: Tensor<Double>, aleatoric: Tensor<Double>?) {
      self.probabilities = probabilities
      self.total = total
      self.aleatoric = aleatoric
    }
  }

  /// The Gaussian of real-valued targets, its variance in the two parts it has.
  public struct Regression: Sendable, Equatable {
    /// `[batch, outputs]`
    public var mean: Tensor<Double>
    /// The variance of the mean under the posterior, `[batch, outputs]`, in the targets' units squared.
    public var epistemicVariance: Tensor<Double>
    /// The variance of a target around its mean, `[batch, outputs]`, in the targets' units squared.
    public var noiseVariance: Tensor<Double>

    public init(mean: Tensor<Double>, epistemicVariance: Tensor<Double>, noiseVariance: Tensor<Double>) {
      self.mean = mean
      self.epistemicVariance = epistemicVariance
      self.noiseVariance = noiseVariance
    }
  }

  /// `[samples, batch, logits]`, divided by the temperature where there is one; `samples` is one
  /// for a network without draws.
  public let logits: Tensor<Float>
  public let likelihood: Likelihood
  /// The index of the exit, from zero for the earliest.
  public let exit: Int
  public let scale: Scale
  /// One weight a sample, summing to one; `nil` for equal weights.
  public let sampleWeights: [Double]?
  /// The probabilities and uncertainty of a closed form, which then stand for those of `logits`.
  public let closedForm: ClosedForm?
  /// Mean and variances of Gaussian targets; `logits` then holds the means.
  public let regression: Regression?

  public init(
    logits: Tensor<Float>, likelihood: Likelihood, exit: Int, scale: Scale = .logits,
    sampleWeights: [Double]? = nil, closedForm: ClosedForm? = nil, regression: Regression? = nil
  ) {
    precondition(
      logits.shape.rank == 3, "Logits of a prediction are [samples, batch, logits]; got \(logits.shape).")
    precondition(
      sampleWeights.map { $0.count == logits.shape[0] } ?? true, "There is one weight a sample.")
    self.logits = logits
    self.likelihood = likelihood
    self.exit = exit
    self.scale = scale
    self.sampleWeights = sampleWeights
    self.closedForm = closedForm
    self.regression = regression
  }

  public var sampleCount: Int { logits.shape[0] }
  public var rowCount: Int { logits.shape[1] }
  public var logitCount: Int { logits.shape[2] }
  /// The number of columns of `probabilities()`: two where one logit says yes or no, one a label.
  public var classCount: Int { likelihood == .binary ? 2 : logitCount }
}
