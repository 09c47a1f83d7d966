public import BayesNetwork
import BayesPrediction
public import BayesTensor
import RealModule

/// Approximates the posterior of the weights of chosen layers by a Gaussian around the trained weights.
///
/// The network is taken as linear in those weights around the trained ones, so that the logits of an input are
/// Gaussian in closed form,
///
///     μ = f(x, θ),    S = J P⁻¹ Jᵀ,    P = Σₙ Jₙᵀ Λₙ Jₙ + δ I
///
/// with `J` the derivative of the logits with respect to the weights and `Λ` the second derivative of the negative
/// log-likelihood.  Other weights (normalisations, grouped convolutions) stay at their trained values.
///
/// - Cost: as many ways back through the network as there are logits, for every training row and every row that is
///   predicted; memory for `logits · parameters` numbers a row.  Meant for small networks, a few layers, or a chosen
///   subset of weights; `LastLayerLaplace` is far cheaper where the last layer is enough.
/// - Source: Daxberger et al. 2021, arXiv:2106.14806; Immer et al. 2021, arXiv:2008.08400 (linearised prediction);
///   Daxberger et al. 2021, arXiv:2010.14689 (subnetwork).
public struct WeightLaplace: Hashable, Sendable {
  /// Where prior precisions come from.
  public enum PriorPrecisionChoice: Hashable, Sendable {
    /// The highest marginal likelihood of the training labels, with one value for all weights.
    case marginalLikelihood
    /// The same with a value for each layer; with `WeightStructure.full` there is one for all.
    case marginalLikelihoodOfLayers
    /// One value for all weights.
    case fixed(Double)
  }

  public var scope: LayerScope
  public var structure: WeightStructure
  /// How many weights are Bayesian: those of the largest posterior variance under the diagonal structure; all for `nil`.
  public var subnetworkCount: Int?
  public var priorPrecision: PriorPrecisionChoice

  /// - Precondition: a fixed prior precision is positive and finite; a subnetwork has a weight, and its structure is no
  ///   Kronecker product.
  public init(
    scope: LayerScope = .all, structure: WeightStructure = .kronecker, subnetworkCount: Int? = nil,
    priorPrecision: PriorPrecisionChoice = .marginalLikelihood
  ) {
    if case .fixed(let value) = priorPrecision {
      precondition(value > 0 && value.isFinite, "A prior precision is positive and finite; got \(value).")
    }
    precondition(subnetworkCount.map { $0 > 0 } ?? true, "A subnetwork has one weight at least.")
    precondition(
      subnetworkCount == nil || structure != .kronecker,
      "Chosen weights are no Kronecker product; choose the full or the diagonal structure.")
    self.scope = scope
    self.structure = structure
    self.subnetworkCount = subnetworkCount
    self.priorPrecision = priorPrecision
  }

  /// Fits the posterior of one exit.
  ///
  /// - Parameters:
  ///   - training: rows that the network was trained on, as stored.  Labels are used for the value of the marginal
  ///     likelihood; its maximum does not depend on them.
  ///   - likelihood: categorical or binary.
  /// - Determinism: the same bits at any `context.width`.
  /// - Throws: `NetworkError` where a layer cannot be chosen, no gradient passes, the likelihood is another, or a row
  ///   has several answers;
  ///   `NumericalError` where a matrix cannot be factorised or the marginal likelihood has no maximum; `FileError`
  ///   naming the row where data are unfit; `CancellationError`.
  public func fit(
    _ frozen: FrozenNetwork, exit: Exit, likelihood: Likelihood, preprocessing: Preprocessing,
    training: any Dataset, in context: ExecutionContext
  ) async throws -> WeightLaplacePosterior {
    let map = try InputMap(preprocessing, for: frozen.network.inputShape)
    let rowShape = frozen.network.inputShape
    let read: @Sendable (Range<Int>) throws -> (Tensor<Float>, [Int]?) = { rows in
      let inputs = map(try training.inputs(rows)).reshaped(to: rowShape.batched(rows.count))
      return (inputs, training.hasLabels ? try training.labels(rows) : nil)
    }
    return try await fit(frozen, exit: exit, likelihood, rowCount: training.rowCount, in: context, read)
  }

  /// Fits to rows that are read as tensors.
  package func fit<Scalar: TensorScalar>(
    _ frozen: FrozenNetwork, exit: Exit, _ likelihood: Likelihood, rowCount: Int, in context: ExecutionContext,
    _ read: @escaping @Sendable (Range<Int>) throws -> (Tensor<Scalar>, [Int]?)
  ) async throws -> WeightLaplacePosterior {
    guard likelihood == .categorical || likelihood == .binary else {
      throw NetworkError(
        "Exit '\(exit.name)' is \(likelihood.rawValue); the weights of whole networks are fitted for categorical and "
          + "binary exits alone. Fit its last layer.")
    }
    let shape = frozen.network.shapes[exit.logits]
    guard shape.elementCount == shape.dimensions.last else {
      throw NetworkError(
        "Exit '\(exit.name)' gives \(shape) a row; the weights of whole networks are fitted for one answer a row alone. "
          + "Fit its last layer.")
    }
    let layers = try scope.layers(of: frozen, exit: exit)
    let parameterCount = layers.reduce(0) { $0 + $1.parameterCount }
    let backend = context.backend

    func gather(_ structure: WeightStructure, selection: [Int]?) async throws -> WeightCurvatureSums {
      var sums = WeightCurvatureSums(structure, layers, selection: selection)
      let numbersPerRow = structure == .kronecker
        ? layers.reduce(0) { $0 + $1.parameterCount } : parameterCount * frozen.network.shapes[exit.logits].elementCount
      let blockRowCount = max(1, min(64, (1 << 23) / max(1, numbersPerRow)))
      let blocks = stride(from: 0, to: rowCount, by: blockRowCount).map { $0..<min($0 + blockRowCount, rowCount) }
      for first in stride(from: 0, to: blocks.count, by: context.width) {
        try Task.checkCancellation()
        let window = Array(blocks[first..<min(first + context.width, blocks.count)])
        let partials = try await inOrder(window) { rows in
          let (inputs, labels) = try read(rows)
          let jacobian = try WeightJacobian(frozen, exit: exit, layers: layers, at: inputs, on: backend)
          return WeightCurvatureSums(
            of: jacobian, labels: labels, likelihood, structure, layers, selection: selection, on: backend)
        }
        for partial in partials { sums.add(partial) }
        context.report(
          StageProgress(stage: "Gathering curvature", completed: window.last?.upperBound ?? 0, total: rowCount))
      }
      return sums
    }

    var selection: [Int]?
    if let count = subnetworkCount, count < parameterCount {
      let diagonal = try await gather(.diagonal, selection: nil).parts[0]
      // The smallest curvature leaves the largest variance.
      let byCurvature = diagonal.elements.indices.sorted { (diagonal[$0], $0) < (diagonal[$1], $1) }
      selection = byCurvature.prefix(count).sorted()
    }
    let chosenCount = selection?.count ?? parameterCount
    guard structure != .full || chosenCount <= WeightStructure.fullParameterLimit else {
      throw NetworkError(
        "The full structure is for at most \(WeightStructure.fullParameterLimit) weights, and these are \(chosenCount); "
          + "choose fewer layers, a subnetwork, or the Kronecker or diagonal structure.")
    }
    let sums = try await gather(structure, selection: selection)
    let curvature = try sums.curvature(structure, layers, on: backend)
    var posterior = WeightLaplacePosterior(
      layers: layers, selection: selection, curvature: curvature, exit: exit, likelihood: likelihood,
      priorPrecisions: curvature.parts.map { _ in 1 }, rowCount: sums.rowCount, logLikelihood: sums.logLikelihood)
    switch priorPrecision {
    case .fixed(let value): posterior.priorPrecisions = curvature.parts.map { _ in value }
    case .marginalLikelihood:
      let best = try MarginalLikelihood.maximum(
        ofSum: posterior.marginalLikelihoods, noises: curvature.parts.map { _ in 1 })
      posterior.priorPrecisions = curvature.parts.map { _ in best.priorPrecision }
    case .marginalLikelihoodOfLayers:
      posterior.priorPrecisions = try posterior.marginalLikelihoods.map { try $0.maximum().priorPrecision }
    }
    return posterior
  }
}

/// A Gaussian around the trained weights of chosen layers: what `WeightLaplace` fits.
public struct WeightLaplacePosterior: Sendable, Equatable {
  public let layers: [BayesianLayer]
  /// The parameters that are Bayesian, in rising order, where they are not all.
  public let selection: [Int]?
  package let curvature: WeightCurvature
  public let exit: Exit
  public let likelihood: Likelihood
  /// The precision of the prior around zero on every weight, one for each independent part of the curvature.
  public internal(set) var priorPrecisions: [Double]
  /// The number of training rows.
  public let rowCount: Int
  /// The log-likelihood of the training labels at the trained weights, in nats; `nil` without labels.
  public let logLikelihood: Double?

  /// The marginal likelihood of each part, the likelihood of the labels with the first.
  package var marginalLikelihoods: [MarginalLikelihood] {
    let parts = curvature.parts
    let norms: [Double]
    if parts.count == layers.count, selection == nil {
      norms = layers.map(\.squaredNorm)
    } else {
      let weights = layers.flatMap { Array($0.weight.elements) + ($0.bias.map { Array($0.elements) } ?? []) }
      norms = [(selection.map { $0.map { weights[$0] } } ?? weights).reduce(0) { $0 + $1 * $1 }]
    }
    return zip(parts, norms).enumerated().map { index, part in
      MarginalLikelihood(curvature: part.0, logLikelihood: index == 0 ? logLikelihood ?? 0 : 0, squaredNorm: part.1)
    }
  }

  /// The log marginal likelihood of the training labels, in nats; `nil` without labels.
  public var logMarginalLikelihood: Double? {
    guard logLikelihood != nil else { return nil }
    return zip(marginalLikelihoods, priorPrecisions).reduce(0) { $0 + $1.0(priorPrecision: $1.1) }
  }

  /// The means of the logits, and the covariances that the weights' uncertainty gives each row's.
  ///
  /// - Shapes: inputs `[rows] + inputShape`, preprocessed; means `[rows, logits]`.
  /// - Throws: `NetworkError` where no gradient passes on the way to a layer.
  package func logits<Scalar: TensorScalar>(
    of frozen: FrozenNetwork, at inputs: Tensor<Scalar>, on backend: any Backend
  ) throws(NetworkError) -> (means: Tensor<Double>, covariance: LogitCovariance) {
    let jacobian = try WeightJacobian(frozen, exit: exit, layers: layers, at: inputs, on: backend)
    let whole = jacobian.matrix()
    let whitened = curvature.whitened(
      selection.map { selected($0, of: whole) } ?? whole, priorPrecisions: priorPrecisions, on: backend)
    let logitCount = jacobian.logits.shape[1]
    let blocks = (0..<inputs.rowCount).map { row in
      let own = whitened.rows(row * logitCount..<(row + 1) * logitCount)
      return backend.product(own, own, transposing: .second)
    }
    return (
      jacobian.logits.converted(to: Double.self),
      .dense(blocks.isEmpty ? Tensor(zeros: [0, logitCount]) : .stacking(blocks))
    )
  }
}
