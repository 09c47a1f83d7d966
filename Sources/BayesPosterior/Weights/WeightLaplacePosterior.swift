import BayesNetwork
public import BayesPrediction
public import BayesTensor

/// A Gaussian around the trained weights of chosen layers: what `WeightLaplace` fits.
public struct WeightLaplacePosterior: Sendable, Equatable {
  /// The posterior for one exit.
  public struct Exit: Sendable, Equatable {
    public let layers: [BayesianLayer]
    /// The parameters that are Bayesian, in rising order, where they are not all.
    public let selection: [Int]?
    package let curvature: WeightCurvature
    /// The number of training rows.
    public let rowCount: Int
    /// The log-likelihood of the training labels at the trained weights, in nats; `nil` without labels.
    public let logLikelihood: Double?
    /// `Σ θ²` of each independent part of the curvature.
    let squaredNorms: [Double]
    /// The precision of the prior around zero on every weight, one for each independent part of the curvature.
    public internal(set) var priorPrecisions: [Double]
    /// What means and standard deviations of logits are divided by.
    public internal(set) var temperature = 1.0
    /// How prior precision and temperature were chosen on validation rows.
    public internal(set) var tuning = LaplaceTuning()

    /// The number of weights that are Bayesian.
    public var parameterCount: Int { selection?.count ?? layers.reduce(0) { $0 + $1.parameterCount } }

    /// The marginal likelihood of each part, the likelihood of the labels with the first.
    package var marginalLikelihoods: [MarginalLikelihood] {
      zip(curvature.parts, squaredNorms).enumerated().map { index, part in
        MarginalLikelihood(curvature: part.0, logLikelihood: index == 0 ? logLikelihood ?? 0 : 0, squaredNorm: part.1)
      }
    }

    /// The log marginal likelihood of the training labels, in nats; `nil` without labels.
    public var logMarginalLikelihood: Double? {
      guard logLikelihood != nil else { return nil }
      return zip(marginalLikelihoods, priorPrecisions).reduce(0) { $0 + $1.0(priorPrecision: $1.1) }
    }
  }

  /// One posterior an exit, earliest first.
  public internal(set) var exits: [Exit]
  /// Which layers are Bayesian.
  public let scope: LayerScope
  public let structure: WeightStructure
  /// How probabilities are made, and what tuning was done for.
  public let predictive: LaplacePredictive
  /// The number of draws asked for; for predictives with draws only.
  public let sampleCount: Int
  /// The key of the draws.
  public let drawsKey: RandomKey
  /// What the posterior was fitted to: exits, names, digests and preprocessing.
  public let source: RecordsDescription
  /// What the user should know of the fit, one sentence or two each.
  public internal(set) var warnings: [String]
}

extension WeightLaplacePosterior.Exit {
  init(
    layers: [BayesianLayer], selection: [Int]?, curvature: WeightCurvature, rowCount: Int, logLikelihood: Double?,
    _ frozen: FrozenNetwork
  ) {
    let values = layers.map { $0.values(in: frozen) }
    let isByLayer = selection == nil && curvature.parts.count == layers.count
    let all = isByLayer ? [] : values.flatMap(\.self)
    let parts = isByLayer ? values : [selection.map { $0.map { all[$0] } } ?? all]
    self.init(
      layers: layers, selection: selection, curvature: curvature, rowCount: rowCount, logLikelihood: logLikelihood,
      squaredNorms: parts.map { $0.reduce(0) { $0 + $1 * $1 } }, priorPrecisions: curvature.parts.map { _ in 1 })
  }

  /// The covariances that the weights' uncertainty gives the logits of each row, at one prior precision after another.
  ///
  /// - Parameter priorPrecisions: each with one value for every part of the curvature.
  package func covariances<Scalar: TensorScalar>(
    of jacobian: WeightJacobian<Scalar>, priorPrecisions: [[Double]], on backend: any Backend
  ) -> [LogitCovariance] {
    let whole = jacobian.matrix()
    let rotated = curvature.rotated(selection.map { selected($0, of: whole) } ?? whole, on: backend)
    let (rowCount, logitCount) = (jacobian.logits.rowCount, jacobian.logits.shape[1])
    return priorPrecisions.map { priorPrecisions in
      let whitened = scalingColumns(of: rotated, by: curvature.deviations(priorPrecisions: priorPrecisions))
      let blocks = (0..<rowCount).map { row in
        let own = whitened.rows(row * logitCount..<(row + 1) * logitCount)
        return backend.product(own, own, transposing: .second)
      }
      return .dense(blocks.isEmpty ? Tensor(zeros: [0, logitCount]) : .stacking(blocks))
    }
  }
}
