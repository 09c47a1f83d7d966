public import BayesNetwork
public import BayesPrediction
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
/// log-likelihood.  Other weights (normalisations, grouped convolutions) stay at their trained values.  Exits are fitted
/// independently, each with the layers on the way to it.
///
/// - Cost: as many ways back through the network as there are logits, for every training row and every row that is
///   predicted; memory for `logits · parameters` numbers a row, and for those of the curvature.  Meant for small
///   networks, a few layers, or a chosen subset of weights; `LastLayerLaplace` is far cheaper where the last layer is
///   enough.
/// - Source: Daxberger et al. 2021, arXiv:2106.14806; Immer et al. 2021, arXiv:2008.08400 (linearised prediction);
///   Daxberger et al. 2021, arXiv:2010.14689 (subnetwork).
public struct WeightLaplace: Hashable, Sendable {
  /// Where prior precisions come from.
  public enum PriorPrecisionChoice: Hashable, Sendable {
    /// The lowest negative log-likelihood of the validation labels, with one value for all weights of an exit.
    case validation
    /// The highest marginal likelihood of the training labels, with one value for all weights of an exit.
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
  public var temperature: LastLayerLaplace.TemperatureChoice
  /// How probabilities are made, in predictions and while tuning; all but `weights`.
  public var predictive: LaplacePredictive
  /// The number of draws of predictives that draw, at least two.
  public var sampleCount: Int

  /// - Precondition: fixed values are positive and finite; a subnetwork has a weight, and its structure is no Kronecker
  ///   product; there are two draws at least, and the predictive draws no weights.
  public init(
    scope: LayerScope = .all, structure: WeightStructure = .kronecker, subnetworkCount: Int? = nil,
    priorPrecision: PriorPrecisionChoice = .marginalLikelihood,
    temperature: LastLayerLaplace.TemperatureChoice = .fixed(1), predictive: LaplacePredictive = .whitened,
    sampleCount: Int = 50
  ) {
    if case .fixed(let value) = priorPrecision {
      precondition(value > 0 && value.isFinite, "A prior precision is positive and finite; got \(value).")
    }
    if case .fixed(let value) = temperature {
      precondition(value > 0 && value.isFinite, "A temperature is positive and finite; got \(value).")
    }
    precondition(subnetworkCount.map { $0 > 0 } ?? true, "A subnetwork has one weight at least.")
    precondition(
      subnetworkCount == nil || structure != .kronecker,
      "Chosen weights are no Kronecker product; choose the full or the diagonal structure.")
    precondition(sampleCount >= 2, "Two draws are the fewest; got \(sampleCount).")
    precondition(predictive != .weights, "Logits are drawn, not weights; choose another predictive.")
    self.scope = scope
    self.structure = structure
    self.subnetworkCount = subnetworkCount
    self.priorPrecision = priorPrecision
    self.temperature = temperature
    self.predictive = predictive
    self.sampleCount = sampleCount
  }

  /// Whether `fit` needs validation rows.
  public var needsValidation: Bool { priorPrecision == .validation || temperature == .validation }

  /// Refuses exits whose weights are not fitted, as `fit` does.
  public func requireLikelihoods(of description: RecordsDescription) throws(NetworkError) {
    for exit in description.exits { try Self.require(exit.likelihood, ofExit: exit.name) }
  }

  private static func require(_ likelihood: Likelihood, ofExit name: String) throws(NetworkError) {
    guard likelihood == .categorical || likelihood == .binary else {
      throw NetworkError(
        "Exit '\(name)' is \(likelihood.rawValue); the weights of several layers are fitted for categorical and binary "
          + "exits alone. Fit its last layer.")
    }
  }

  /// The number of weights of the chosen layers at every exit, of which a subnetwork is a part.
  ///
  /// - Throws: `NetworkError` where a layer cannot be chosen.
  public func weightCounts(of frozen: FrozenNetwork) throws(NetworkError) -> [Int] {
    var counts: [Int] = []
    for exit in frozen.network.exits {
      counts.append(try scope.layers(of: frozen, exit: exit).reduce(0) { $0 + $1.parameterCount })
    }
    return counts
  }

  /// Fits the posterior of every exit.
  ///
  /// - Parameters:
  ///   - description: what is known of the exits, as predictions will have it, with the preprocessing.
  ///   - training: rows that the network was trained on, as stored.  Labels are used for the value of the marginal
  ///     likelihood; its maximum does not depend on them.
  ///   - validation: labelled rows that the network was not trained on; may be `nil` unless `needsValidation`.
  ///   - context: its key gives the draws.
  /// - Determinism: same key, same bits at any `context.width`.
  /// - Precondition: validation rows are given if `needsValidation`.
  /// - Throws: `NetworkError` where a layer cannot be chosen, no gradient passes, the likelihood is neither categorical
  ///   nor binary, or a row has several answers; `NumericalError` where a matrix cannot be factorised or the marginal likelihood has no maximum;
  ///   `FileError` naming the row where data are unfit; `CancellationError`.
  public func fit(
    _ frozen: FrozenNetwork, _ description: RecordsDescription, training: any Dataset, validation: (any Dataset)?,
    in context: ExecutionContext
  ) async throws -> WeightLaplacePosterior {
    try requireLikelihoods(of: description)
    precondition(validation != nil || !needsValidation, "Choosing by validation needs validation rows; none were given.")
    let preprocessing = description.preprocessing ?? .identity
    func rows(_ dataset: any Dataset, exit: Int) throws -> LabelledRows<Float> {
      try LabelledRows(dataset, for: frozen, preprocessing, classCount: description.exits[exit].classCount)
    }
    // The trained weights stay in the checkpoint.
    var source = description
    for index in source.exits.indices {
      source.exits[index].featureCount = nil
      source.exits[index].head = nil
    }
    var posterior = WeightLaplacePosterior(
      exits: [], scope: scope, structure: structure, predictive: predictive, sampleCount: sampleCount,
      drawsKey: context.key, source: source, warnings: [])
    for (index, exit) in frozen.network.exits.enumerated() {
      let fitted = try await fit(
        frozen, exit: exit, description.exits[index].likelihood, training: try rows(training, exit: index),
        validation: try validation.map { try rows($0, exit: index) }, in: context)
      posterior.exits.append(fitted.exit)
      posterior.warnings += fitted.warnings.map { "Exit \(index) ('\(exit.name)'): \($0)" }
    }
    return posterior
  }

  /// Fits one exit.
  package func fit<Scalar: TensorScalar>(
    _ frozen: FrozenNetwork, exit: Exit, _ likelihood: Likelihood, training: LabelledRows<Scalar>,
    validation: LabelledRows<Scalar>? = nil, in context: ExecutionContext
  ) async throws -> (exit: WeightLaplacePosterior.Exit, warnings: [String]) {
    try Self.require(likelihood, ofExit: exit.name)
    let shape = frozen.network.shapes[exit.logits]
    guard shape.elementCount == shape.dimensions.last else {
      throw NetworkError(
        "Exit '\(exit.name)' gives \(shape) a row; the weights of several layers are fitted for one answer a row alone. "
          + "Fit its last layer.")
    }
    let layers = try scope.layers(of: frozen, exit: exit)
    let parameterCount = layers.reduce(0) { $0 + $1.parameterCount }
    if let count = subnetworkCount, count > parameterCount {
      throw NetworkError(
        "A subnetwork of \(count) weights was asked for, and the chosen layers of exit '\(exit.name)' have "
          + "\(parameterCount); ask for at most as many.")
    }
    var selection: [Int]?
    if let count = subnetworkCount, count < parameterCount {
      let sums = try await curvatureSums(frozen, exit, layers, likelihood, .diagonal, nil, of: training, in: context)
      let diagonal = sums.parts[0]
      // The smallest curvature leaves the largest variance.
      let byCurvature = diagonal.elements.indices.sorted { (diagonal[$0], $0) < (diagonal[$1], $1) }
      selection = byCurvature.prefix(count).sorted()
    }
    let chosenCount = selection?.count ?? parameterCount
    guard structure != .full || chosenCount <= WeightStructure.fullParameterLimit else {
      throw NetworkError(
        "The full structure is for at most \(WeightStructure.fullParameterLimit) weights, and the layers \(scope.text) of exit "
          + "'\(exit.name)' have \(chosenCount); give --structure kronecker or diagonal, fewer --layers, or --subnetwork "
          + "\(WeightStructure.fullParameterLimit) or less.")
    }
    let sums = try await curvatureSums(
      frozen, exit, layers, likelihood, structure, selection, of: training, in: context)
    var fitted = WeightLaplacePosterior.Exit(
      layers: layers, selection: selection, curvature: try sums.curvature(structure, layers, on: context.backend),
      rowCount: sums.rowCount, logLikelihood: sums.logLikelihood, frozen)
    if case .fixed(let value) = temperature { fitted.temperature = value }
    var warnings: [String] = []
    try choosePriorPrecisions(&fitted, &warnings)
    if let validation {
      let logitCount = frozen.network.shapes[exit.logits].elementCount
      func draws(_ key: RandomKey) throws(NumericalError) -> Tensor<Double>? {
        try predictive.tuningDraws(count: sampleCount, logitCount: logitCount, key: key, on: context.backend)
      }
      let tuning = WeightTuning(
        frozen: frozen, exit: exit, likelihood: likelihood, posterior: fitted, predictive: predictive,
        draws: try draws(context.key), otherDraws: try context.key.ofOtherDraws.compactMap(draws), rows: validation)
      let isFixed = if case .fixed = temperature { true } else { false }
      fitted.tuning = try await tuning.run(
        choosesPriorPrecision: priorPrecision == .validation && predictive != .plain, choosesTemperature: !isFixed,
        in: context)
      if let chosen = fitted.tuning.chosen {
        if priorPrecision == .validation {
          fitted.priorPrecisions = fitted.priorPrecisions.map { _ in chosen.priorPrecision }
        }
        fitted.temperature = chosen.temperature
        warnings += self.warnings(fitted.tuning)
      }
    }
    return (fitted, warnings)
  }

  private func choosePriorPrecisions(_ fitted: inout WeightLaplacePosterior.Exit, _ warnings: inout [String]) throws {
    switch priorPrecision {
    case .validation: return
    case .fixed(let value): fitted.priorPrecisions = fitted.priorPrecisions.map { _ in value }
    case .marginalLikelihood:
      let best = try MarginalLikelihood.maximum(
        ofSum: fitted.marginalLikelihoods, noises: fitted.priorPrecisions.map { _ in 1 })
      fitted.priorPrecisions = fitted.priorPrecisions.map { _ in best.priorPrecision }
      if best.isLowest { warnings.append(best.lowestWarning) }
    case .marginalLikelihoodOfLayers:
      let maxima = try fitted.marginalLikelihoods.map { try $0.maximum() }
      fitted.priorPrecisions = maxima.map(\.priorPrecision)
      if let lowest = maxima.first(where: \.isLowest) { warnings.append(lowest.lowestWarning) }
    }
  }

  private func warnings(_ tuning: LaplaceTuning) -> [String] {
    guard let chosen = tuning.chosen else { return [] }
    var warnings: [String] = []
    if temperature == .validation, let warning = chosen.edgeWarning("temperature", ValidationTuning.freeTemperatureAxis) {
      warnings.append(warning)
    }
    let tuned = tuning.chosenInTrail?.negativeLogLikelihood
    let draws = predictive.usesDraws ? LaplaceTuning.Draws(count: sampleCount, tunedValue: tuned) : nil
    if predictive != .plain, let warning = tuning.spreadWarning("temperature", draws) {
      warnings.append(warning)
    }
    return warnings
  }

  private func curvatureSums<Scalar: TensorScalar>(
    _ frozen: FrozenNetwork, _ exit: Exit, _ layers: [BayesianLayer], _ likelihood: Likelihood,
    _ structure: WeightStructure, _ selection: [Int]?, of rows: LabelledRows<Scalar>, in context: ExecutionContext
  ) async throws -> WeightCurvatureSums {
    let backend = context.backend
    var sums = WeightCurvatureSums(structure, layers, selection: selection)
    let numbersPerRow = WeightJacobian<Scalar>.numbersPerRow(
      frozen, exit, layers, isWhole: structure != .kronecker)
    try await rows.reduce(
      blocksOf: blockRowCount(numbersPerRow: numbersPerRow), "Gathering curvature", in: context
    ) { inputs, labels in
      let jacobian = try WeightJacobian(frozen, exit: exit, layers: layers, at: inputs, on: backend)
      return WeightCurvatureSums(
        of: jacobian, labels: labels, likelihood, structure, layers, selection: selection, on: backend)
    } combine: {
      sums.add($0)
    }
    return sums
  }
}

/// The most rows whose derivatives take no more than 64 MiB.
func blockRowCount(numbersPerRow: Int) -> Int { max(1, min(64, (1 << 23) / max(1, numbersPerRow))) }
