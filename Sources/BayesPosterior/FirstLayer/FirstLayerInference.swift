package import BayesNetwork
package import BayesTensor
import RealModule

/// Makes one layer of a trained network, the first unless another is named, Bayesian by variational inference; all else
/// stays as it was trained, batch normalisation in evaluation form.
///
/// A mean-field Gaussian `q` over the layer's weights, and bias where it has one, begins at the trained weights and
/// minimises, by draws of the weights,
///
///     J = E_q [ mean over rows of −log p(y | x, w) ] + (β / N) · KL(q ‖ prior)
///
/// with `N` the number of training rows; with `β = 1` this is minus the evidence lower bound a row.
///
/// - Source: the idea of Lei et al. 2021, arXiv:2112.06281, of which the abstract alone was followed;
///   Blundell et al. 2015, arXiv:1505.05424; flipout: Wen et al. 2018, arXiv:1803.04386; local reparametrisation: Kingma et al. 2015,
///   arXiv:1506.02557; prior around trained weights: Krishnan et al. 2020, arXiv:1906.05323.
public struct FirstLayerInference: Hashable, Sendable {
  /// What is trained.
  public enum Objective: Hashable, Sendable {
    /// Means and deviations of the weights.
    case variational
    /// The weights themselves, by the data term alone, for as long: a control.
    case fineTuning
  }

  /// Where weights are thought to lie before the data.
  public enum Prior: Hashable, Sendable {
    /// Around zero.
    case standard(deviation: Double)
    /// Around zero, with the root mean square of the layer's trained weights, bias aside, for a deviation.
    case scaled
    /// Around the trained weights (MOPED).
    case centred(deviation: Double)
  }

  /// How gradients of the expectation are estimated.
  public enum Estimator: String, CaseIterable, Sendable {
    /// One draw of the weights a batch.
    case draws
    /// One draw a batch, with signs of its own for each row, for gradients of less variance.
    case flipout
    /// Draws of the outputs of a dense layer.
    case localReparametrization = "local-reparametrization"
  }

  public enum Descent: Hashable, Sendable {
    case adam
    case stochastic(momentum: Double)
  }

  /// How learning rates fall from first to last step.
  public enum Schedule: String, CaseIterable, Sendable {
    case constant
    /// To zero, along half a cosine.
    case cosine
    /// To a tenth after each third.
    case steps
  }

  /// The deviations that training begins with.
  public enum InitialDeviation: Hashable, Sendable {
    case fixed(Double)
    /// A share of each weight's magnitude, of at least a thousandth of their root mean square.
    case share(Double)
  }

  public var objective = Objective.variational
  /// A convolution or dense layer; the first for `nil`.
  public var layerName: String?
  /// The exit whose likelihood is the data term; the last for `nil`.
  public var exitIndex: Int?
  public var prior = Prior.standard(deviation: 1)
  public var estimator = Estimator.draws
  public var descent = Descent.adam
  public var schedule = Schedule.cosine
  /// Of the means.
  public var learningRate = 1e-3
  /// Of the raw deviations.
  public var deviationLearningRate = 1e-2
  public var epochCount = 20
  /// Rows a step.
  public var batchRowCount = 128
  /// `β`.
  public var divergenceWeight = 1.0
  /// softplus(−3) unless set.
  public var initialDeviation = InitialDeviation.fixed(0.048587351573741986)
  /// How many epochs may pass without a lower validation loss before training ends, with what the best left; `nil` for
  /// no regard to validation rows.
  public var patience: Int?
  /// The number of draws that predictions use.
  public var sampleCount = 30

  public init() {}

  /// Draws of the weights for the validation loss of an epoch.
  static let validationDrawCount = 8

  /// The rate of each step of so many.
  func rates(_ peak: Double, stepCount: Int) -> LearningRateSchedule {
    switch schedule {
    case .constant: .constant(peak)
    case .cosine: .cosine(peak: peak, stepCount: stepCount)
    case .steps: .staircase(initial: peak, factor: 0.1, period: max(1, (stepCount + 2) / 3))
    }
  }

  /// The distribution that training begins with.
  package func initialDistribution(_ trained: [Tensor<Double>]) -> FactorizedGaussian {
    switch initialDeviation {
    case .fixed(let deviation):
      return FactorizedGaussian(
        means: trained, deviations: trained.map { Tensor(repeating: deviation, shape: $0.shape) })
    case .share(let share):
      let floor = 1e-3 * rootMeanSquare(trained[0])
      return FactorizedGaussian(
        means: trained,
        deviations: trained.map { $0.map { max(share * max(abs($0), floor), .leastNormalMagnitude) } })
    }
  }

  /// The prior of a layer with some trained weights.
  ///
  /// - Throws: `NetworkError` where weights that are all zero would set the deviation.
  package func prior(of trained: [Tensor<Double>]) throws(NetworkError) -> FactorizedPrior {
    let zeros = trained.map { Tensor<Double>(zeros: $0.shape) }
    switch prior {
    case .standard(let deviation): return FactorizedPrior(means: zeros, deviation: deviation)
    case .centred(let deviation): return FactorizedPrior(means: trained, deviation: deviation)
    case .scaled:
      let deviation = rootMeanSquare(trained[0])
      guard deviation > 0, deviation.isFinite else {
        throw NetworkError(
          "The layer's trained weights are all zero and give the prior no scale; choose another prior.")
      }
      return FactorizedPrior(means: zeros, deviation: deviation)
    }
  }

  /// The form in which noise enters while training.
  var noiseForm: WeightNoise.Form {
    guard objective == .variational else { return .none }
    return switch estimator {
    case .draws: .draws
    case .flipout: .flipout
    case .localReparametrization: .local
    }
  }
}

private func rootMeanSquare(_ tensor: Tensor<Double>) -> Double {
  (tensor.elements.reduce(0) { $0 + $1 * $1 } / Double(max(1, tensor.count))).squareRoot()
}
