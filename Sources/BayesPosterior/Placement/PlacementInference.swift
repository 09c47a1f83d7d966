public import BayesNetwork
public import BayesPrediction
public import BayesTensor
import RealModule

/// Finds, for each of some layers and each kind, a distribution of that layer's weights while all others stay as trained: what
/// placements are put together of.
///
/// - Cost: nothing of `dropout`; of `laplace` as many passes back as there are logits for each row of the curvature, once for all
///   layers, and for each layer a few passes of `tuningDrawCount` networks over the validation rows; of the other kinds, for each
///   layer, a pass forwards and back through what lies behind it for each row of each epoch.
public struct PlacementInference: Hashable, Sendable {
  /// The exit whose likelihood is the data term; the last for `nil`.
  public var exitIndex: Int?
  /// Networks of kinds that are found one by one.
  public var sampleCount = 8
  /// Epochs of kinds that are trained.
  public var epochCount = 2
  /// Rows a step.
  public var batchRowCount = 128
  /// Rows that the curvature is gathered from; its sums stand for all.
  public var curvatureRowCount = 1000
  /// Validation rows on which `laplace` is tuned.
  public var tuningRowCount = 500

  public init() {}

  /// Draws of the weights a prior precision is judged by.
  static let tuningDrawCount = 4
  /// Inputs of some layers that are dropped with a probability.
  public static func dropout(of layers: [BayesianLayer], rate: Double) -> [LayerDistribution] {
    layers.map { .dropout(of: $0, rate: rate) }
  }

  /// What one prior precision is above the next.
  fileprivate static let precisionFactor = 4.0
  fileprivate static let precisionCount = 12
  /// Losses of few draws are noisy, and one rise is not the end.
  fileprivate static let riseLimit = 2
  /// Nats a row below which a spread has gained nothing.
  fileprivate static let leastGain = 1e-4

  /// Refuses exits that placements are not for.
  ///
  /// - Throws: `FileError` naming the exit.
  public func require(_ description: RecordsDescription) throws(FileError) {
    guard description.positions.isEmpty else {
      throw FileError(
        .unsupported, file: description.file,
        "Its exits answer at \(Shape(description.positions)) positions of a row, and placements are for one answer a row; "
          + "'fit latent' takes it.")
    }
    try description.requireDataTerm(ofExit: exitIndex)
  }

  /// The layers on the way to the exit that kinds can be of: those that multiply by one matrix.
  ///
  /// - Throws: `NetworkError` for a name that is none of them, and where there is none.
  public func layers(_ names: [String]?, of frozen: FrozenNetwork) throws(NetworkError) -> [BayesianLayer] {
    let exit = frozen.network.exits[exitIndex ?? frozen.network.exits.count - 1]
    return try (names.map { LayerScope.named($0) } ?? .all).layers(of: frozen, exit: exit)
  }

  /// The distributions of some layers, each on its own.
  ///
  /// - Parameters:
  ///   - training: labelled rows, as stored.
  ///   - validation: labelled rows that the network was not trained on; for `laplace`.
  ///   - context: its key gives orders, noise and draws.
  ///   - observe: called with each distribution that is found.
  /// - Determinism: same key, same bits at any `context.width`; a layer's distribution does not depend on which others are asked
  ///   for.
  /// - Throws: `NetworkError` where a layer cannot be had; `FileError` naming the row where data are unfit; `NumericalError`;
  ///   `CancellationError`; what `observe` throws.
  public func distributions(
    of kind: PlacementKind, layers: [BayesianLayer], in frozen: FrozenNetwork, _ description: RecordsDescription,
    training: any Dataset, validation: any Dataset, on backend: any NetworkBackend, in context: ExecutionContext,
    observe: (LayerDistribution) throws -> Void = { _ in }
  ) async throws -> [LayerDistribution] {
    try require(description)
    var found: [LayerDistribution] = []
    func take(_ distribution: LayerDistribution) throws {
      found.append(distribution)
      try observe(distribution)
    }
    if kind == .laplace {
      guard !layers.isEmpty else { return [] }
      let gaussians = try await laplace(layers, frozen, description, training, in: context)
      for (layer, gaussian) in zip(layers, gaussians) {
        try take(
          try await tuned(
            gaussian, of: layer, frozen, description, validation, on: backend, in: named(context, layer, kind)))
      }
      return found
    }
    for layer in layers {
      var own = named(context, layer, kind)
      own.key = context.key.child(layer.node)
      let distributions: [LayerDistribution]
      switch kind {
      case .dropout(let rate): distributions = [.dropout(of: layer, rate: rate)]
      case .variational: distributions = [try await variational(layer, frozen, description, training, on: backend, in: own)]
      case .latent: distributions = try await latent([layer], frozen, description, training, on: backend, in: own)
      case .snapshots: distributions = try await snapshots([layer], frozen, description, training, on: backend, in: own)
      case .laplace: preconditionFailure("All layers' curvatures are gathered at once.")
      }
      for distribution in distributions { try take(distribution) }
    }
    return found
  }

  private func named(_ context: ExecutionContext, _ layer: BayesianLayer, _ kind: PlacementKind) -> ExecutionContext {
    var own = context
    own.report = { progress in
      var progress = progress
      progress.stage = "\(kind) of '\(layer.name)': \(progress.stage)"
      context.report(progress)
    }
    return own
  }

  /// So many rows at the most, spread evenly, as labels are often sorted.
  private func spread(_ dataset: any Dataset, _ count: Int) -> ChosenRows {
    let count = min(count, dataset.rowCount)
    return ChosenRows((0..<count).map { $0 * dataset.rowCount / count }, of: dataset)
  }

  // MARK: Laplace

  /// A Gaussian's eigenvectors and curvatures, and the prior precision that the marginal likelihood finds.
  private struct LaplaceLayer {
    var curvature: LayerCurvature
    var priorPrecision: Double
  }

  private func laplace(
    _ layers: [BayesianLayer], _ frozen: FrozenNetwork, _ description: RecordsDescription, _ training: any Dataset,
    in context: ExecutionContext
  ) async throws -> [LaplaceLayer] {
    let exitIndex = exitIndex ?? frozen.network.exits.count - 1
    let recipe = WeightLaplace(
      scope: .named(layers.map(\.name)), structure: .kronecker, priorPrecision: .marginalLikelihoodOfLayers)
    let count = min(curvatureRowCount, training.rowCount)
    let rows = spread(training, count)
    let fitted = try await recipe.fit(
      frozen, exit: frozen.network.exits[exitIndex], description.exits[exitIndex].likelihood,
      training: LabelledRows(
        rows, for: frozen, description.preprocessing ?? .identity, classCount: description.exits[exitIndex].classCount),
      in: context
    ).exit
    guard case .layers(let curvatures) = fitted.curvature else { preconditionFailure("Kronecker factors are layer by layer.") }
    let scale = Double(training.rowCount) / Double(count)
    return zip(curvatures, fitted.priorPrecisions).map {
      LaplaceLayer(curvature: $0.scaled(by: scale), priorPrecision: $1)
    }
  }

  /// The Gaussian at the prior precision under which its draws make validation labels most likely.
  ///
  /// The marginal likelihood belongs to a network that is linear in its weights; draws of the weights themselves want more
  /// precision, the further from the end of a network the more. It is raised until the loss rises twice in a row.
  private func tuned(
    _ layer: LaplaceLayer, of place: BayesianLayer, _ frozen: FrozenNetwork, _ description: RecordsDescription,
    _ validation: any Dataset, on backend: any NetworkBackend, in context: ExecutionContext
  ) async throws -> LayerDistribution {
    let exitIndex = exitIndex ?? frozen.network.exits.count - 1
    let rows = try StoredRows(spread(validation, tuningRowCount), description)
    func distribution(_ precision: Double) -> LayerDistribution {
      LayerDistribution(
        layerName: place.name, kind: .laplace, paths: place.paths,
        form: .kronecker(layer.curvature.gaussian(priorPrecision: precision)))
    }
    var best = (precision: layer.priorPrecision, loss: Double.infinity)
    var loss: DrawnLoss?
    var riseCount = 0
    for step in 0..<Self.precisionCount {
      let precision = layer.priorPrecision * Double.pow(Self.precisionFactor, Double(step))
      let draws = try PlacementDraws([distribution(precision)], of: frozen, on: context.backend)
      if loss == nil {
        loss = try await DrawnLoss(
          of: draws, in: frozen, exit: frozen.network.exits[exitIndex], description.preprocessing ?? .identity, rows,
          rowCount: rows.rowCount, DataTerm(description, exit: exitIndex), on: backend, width: context.width)
      }
      guard let value = try await loss?(draws, count: Self.tuningDrawCount, key: context.key) else { break }
      if value < best.loss {
        best = (precision, value)
        riseCount = 0
      } else {
        riseCount += 1
        if riseCount == Self.riseLimit { break }
      }
    }
    return distribution(best.precision)
  }

  // MARK: Kinds that are trained

  private func variational(
    _ layer: BayesianLayer, _ frozen: FrozenNetwork, _ description: RecordsDescription, _ training: any Dataset,
    on backend: any NetworkBackend, in context: ExecutionContext
  ) async throws -> LayerDistribution {
    var recipe = FirstLayerInference()
    recipe.layerName = layer.name
    recipe.exitIndex = exitIndex
    recipe.epochCount = epochCount
    recipe.batchRowCount = batchRowCount
    recipe.initialDeviation = .share(0.1)
    recipe.prior = .centred(deviation: layer.rootMeanSquare(in: frozen))
    let fitted = try await recipe.fit(
      frozen, description, training: training, validation: nil, on: backend, in: context
    ).posterior
    guard case .firstLayer(_, _, let posterior) = fitted.kind else { preconditionFailure("This is of one layer.") }
    return LayerDistribution(
      layerName: layer.name, kind: .variational, paths: posterior.weights.map(\.path),
      form: .factorized(means: posterior.weights.map(\.means), deviations: posterior.weights.map(\.deviations)))
  }

  /// Members of an ensemble that scales some layers together; draws of two layers with one index are of one member.
  private func latent(
    _ layers: [BayesianLayer], _ frozen: FrozenNetwork, _ description: RecordsDescription, _ training: any Dataset,
    on backend: any NetworkBackend, in context: ExecutionContext
  ) async throws -> [LayerDistribution] {
    var recipe = LatentInference()
    recipe.layerNames = layers.map(\.name)
    recipe.exitIndex = exitIndex
    recipe.epochCount = epochCount
    recipe.batchRowCount = batchRowCount
    recipe.drawCount = max(1, (sampleCount + recipe.memberCount - 1) / recipe.memberCount)
    // Those of several layers together differ from those of each; a placement has its own.
    recipe.statisticsRowCount = 0
    let fitted = try await recipe.fit(frozen, description, training: training, on: backend, in: context).posterior
    guard case .latent(let count, let key, let posterior) = fitted.kind else { preconditionFailure("This is of members.") }
    let draws = try LatentDraws(posterior, of: frozen, networks: count)
    // Members by turns, so that the first few networks are of different ones.
    let order = (0..<count).map { $0 % posterior.memberCount * recipe.drawCount + $0 / posterior.memberCount }
    let networks = try order.map { try draws.network(draw: $0, key: key).parameters }
    return layers.map { layer in
      let paths = ["weight", "bias"].map { ParameterPath(node: layer.name, parameter: $0) }
      return LayerDistribution(
        layerName: layer.name, kind: .latent, paths: paths,
        form: .samples(paths.map { path in stacked(networks.map { $0[path] }) }))
    }
  }

  /// Snapshots of chains over the weights of some layers together.
  private func snapshots(
    _ layers: [BayesianLayer], _ frozen: FrozenNetwork, _ description: RecordsDescription, _ training: any Dataset,
    on backend: any NetworkBackend, in context: ExecutionContext
  ) async throws -> [LayerDistribution] {
    var recipe = SpikeAndSlabInference()
    recipe.layerNames = layers.map(\.name)
    recipe.exitIndex = exitIndex
    recipe.batchRowCount = batchRowCount
    recipe.cycleEpochCount = min(2, epochCount)
    recipe.snapshotCount = recipe.cycleEpochCount
    recipe.cycleCount = max(1, (sampleCount + recipe.snapshotCount - 1) / recipe.snapshotCount)
    recipe.statisticsRowCount = 0
    let fitted = try await recipe.fit(frozen, description, training: training, on: backend, in: context).posterior
    guard case .weightSamples(let posterior) = fitted.kind else { preconditionFailure("This is of a chain.") }
    // Cycles by turns, so that the first few networks are far apart.
    let order = (0..<posterior.networkCount).sorted {
      ($0 % recipe.snapshotCount, $0) < ($1 % recipe.snapshotCount, $1)
    }
    return layers.map { layer in
      let own = Set(frozen.network.trainedPaths(of: layer.node))
      let samples = posterior.samples.filter { own.contains($0.path) }
      return LayerDistribution(
        layerName: layer.name, kind: .snapshots, paths: samples.map(\.path), form: .samples(samples.map { $0.values.rows(order) }))
    }
  }
}

extension PlacementInference {
  /// Fits a placement on its own: all layers of one kind together, with every other layer as it then is.
  ///
  /// Gaussians of `vi` are trained together (`JointVariationalInference`); members and snapshots are those of all their layers;
  /// deviations of `laplace` are narrowed by one factor until all draws together make validation labels most likely, for layers
  /// that were tuned alone lose more than the sum of what each of them does. Statistics of batch normalisation are estimated for
  /// each draw.
  ///
  /// - Parameters:
  ///   - kinds: of each layer that is drawn, by its name.
  ///   - drawCount: networks that predictions average.
  ///   - statisticsRowCount: training rows from which statistics are estimated; none for zero.
  ///   - searchDigests: of the foreign rows of the search, where there was one.
  ///   - earlier: a fit of this placement with these data and this key that was interrupted.
  ///   - observe: called with what need not be found again: after every kind, and after every epoch of `vi`.
  /// - Determinism: same key, same bits at any `context.width`, interrupted or not.
  /// - Throws: as `distributions`.
  public func fit(
    _ kinds: [String: PlacementKind], drawCount: Int, statisticsRowCount: Int = 2048, searchDigests: [String] = [],
    in frozen: FrozenNetwork, _ description: RecordsDescription, training: any Dataset, validation: any Dataset,
    from earlier: PlacementTraining? = nil, on backend: any NetworkBackend, in context: ExecutionContext,
    observe: (PlacementTraining) throws -> Void = { _ in }
  ) async throws -> SampledNetworkPosterior {
    try require(description)
    let layers = try layers(kinds.keys.sorted(), of: frozen)
    func own(_ kind: PlacementKind) -> [BayesianLayer] { layers.filter { kinds[$0.name] == kind } }
    var state = earlier ?? PlacementTraining()
    func take(_ distributions: [LayerDistribution]) throws {
      state.distributions += distributions
      state.joint = nil
      try observe(state)
    }
    for kind in Set(kinds.values).sorted(by: { "\($0)" < "\($1)" }) {
      let layers = own(kind)
      guard !state.distributions.contains(where: { $0.layerName == layers[0].name }) else { continue }
      var inner = context
      inner.key = context.key.child(0).child(layers[0].node)
      inner.report = { progress in
        var progress = progress
        progress.stage = "\(kind): \(progress.stage)"
        context.report(progress)
      }
      switch kind {
      case .dropout(let rate): try take(layers.map { .dropout(of: $0, rate: rate) })
      case .variational:
        var underWay = state
        let distributions = try await variational(
          together: layers, frozen, description, training, from: state.joint, on: backend, in: inner
        ) { joint in
          underWay.joint = joint
          try observe(underWay)
        }
        try take(distributions)
      case .latent: try take(try await latent(layers, frozen, description, training, on: backend, in: inner))
      case .snapshots: try take(try await snapshots(layers, frozen, description, training, on: backend, in: inner))
      case .laplace:
        try take(
          try await distributions(
            of: .laplace, layers: layers, in: frozen, description, training: training, validation: validation, on: backend,
            in: inner))
      }
    }
    let drawsKey = context.key.child(1)
    let (distributions, isPoint) = try await narrowed(
      layers.compactMap { layer in state.distributions.first { $0.layerName == layer.name } }, frozen, description, validation, key: drawsKey, on: backend, in: context)
    let rows = try StoredRows(training, description)
    let draws = try PlacementDraws(distributions, of: frozen, on: context.backend)
    let statistics = try await BatchStatistics(
      of: frozen, draws.graph, drawn: Set(layers.map(\.node)), description.preprocessing ?? .identity, on: backend,
      width: context.width
    ).estimate(
      rows, rowCount: min(rows.rowCount, statisticsRowCount), networkCount: drawCount,
      observe: {
        context.report(StageProgress(stage: "Statistics of batch normalisation", completed: $0, total: drawCount))
      }, network: { try draws.network(draw: $0, key: drawsKey) })
    let posterior = PlacementPosterior(
      layers: distributions, statistics: statistics, rowCount: rows.rowCount, searchDigests: searchDigests)
    var result = try SampledNetworkPosterior(
      placement: posterior, of: frozen, draws: drawCount, key: drawsKey, source: description, on: context.backend)
    if isPoint {
      result.warnings.append(
        "The Gaussians of laplace were narrowed to next to nothing: draws of these weights do not lower the negative log-likelihood of "
          + "the validation rows, and a temperature alone does as well.")
    }
    return result
  }

  /// Gaussians of some layers that were trained together.
  ///
  /// - Parameter drawsPaths: whether each step draws some of the layers alone; see `JointVariationalInference`.
  package func variational(
    together layers: [BayesianLayer], drawsPaths: Bool = false, _ frozen: FrozenNetwork, _ description: RecordsDescription,
    _ training: any Dataset, from earlier: JointVariationalTraining? = nil, on backend: any NetworkBackend,
    in context: ExecutionContext, observe: (JointVariationalTraining) throws -> Void = { _ in }
  ) async throws -> [LayerDistribution] {
    let exit = frozen.network.exits[exitIndex ?? frozen.network.exits.count - 1]
    let term = DataTerm(description, exit: exitIndex ?? frozen.network.exits.count - 1)
    let rows = try StoredRows(training, description)
    let objective = try await FlatObjective(
      of: layers.flatMap(\.paths), in: frozen, outputs: [exit.logits], preprocessing: description.preprocessing ?? .identity,
      rowCount: rows.rowCount, inputs: rows.inputs, loss: { _, values, positions in try rows.loss(values, of: positions, term) },
      answerCount: rows.answerCount, on: backend, width: context.width)
    var ranges: [Range<Int>] = []
    for layer in layers {
      let start = ranges.last?.upperBound ?? 0
      ranges.append(start..<start + layer.parameterCount)
    }
    if let earlier, earlier.distributions.map({ $0.means[0].count }) != ranges.map(\.count) {
      throw NetworkError("The training that is to go on is one of other layers; begin anew.")
    }
    var recipe = JointVariationalInference()
    recipe.drawsPaths = drawsPaths
    recipe.epochCount = epochCount
    recipe.batchRowCount = batchRowCount
    let fitted = try await recipe.fit(
      layers: ranges, origin: objective.weights(frozen.parameters), rowCount: rows.rowCount, from: earlier, key: context.key,
      report: context.report, observe: observe
    ) { try await objective($0, at: $1) }
    return zip(layers, fitted).map { layer, gaussian in
      let shapes = layer.paths.compactMap { frozen.parameters[$0]?.shape }
      func parts(_ flat: Tensor<Double>) -> [Tensor<Double>] {
        var start = 0
        return shapes.map { shape in
          defer { start += shape.elementCount }
          return Tensor(shape: shape, flat.elements[start..<start + shape.elementCount])
        }
      }
      return LayerDistribution(
        layerName: layer.name, kind: .variational, paths: layer.paths,
        form: .factorized(means: parts(gaussian.means[0]), deviations: parts(gaussian.deviations[0])))
    }
  }

  /// Gaussians from curvatures, narrowed together until the loss of validation rows rises twice in a row.
  private func narrowed(
    _ distributions: [LayerDistribution], _ frozen: FrozenNetwork, _ description: RecordsDescription,
    _ validation: any Dataset, key: RandomKey, on backend: any NetworkBackend, in context: ExecutionContext
  ) async throws -> (distributions: [LayerDistribution], isPoint: Bool) {
    guard distributions.contains(where: { $0.kind == .laplace }) else { return (distributions, false) }
    let exitIndex = exitIndex ?? frozen.network.exits.count - 1
    let rows = try StoredRows(spread(validation, tuningRowCount), description)
    let loss = try await DrawnLoss(
      of: PlacementDraws(distributions, of: frozen, on: context.backend), in: frozen, exit: frozen.network.exits[exitIndex],
      description.preprocessing ?? .identity, rows, rowCount: rows.rowCount,
      DataTerm(description, exit: exitIndex), on: backend, width: context.width)
    var best = (distributions: distributions, loss: Double.infinity)
    var point = Double.infinity
    var riseCount = 0
    for step in 0..<Self.precisionCount {
      let narrowed = distributions.map { $0.spread(by: Double.pow(Self.precisionFactor, -Double(step) / 2)) }
      let draws = try PlacementDraws(narrowed, of: frozen, on: context.backend)
      let value = try await loss(draws, count: Self.tuningDrawCount, key: key)
      context.report(StageProgress(stage: "Narrowing Gaussians together", completed: step + 1, total: Self.precisionCount))
      if value < best.loss {
        best = (narrowed, value)
        riseCount = 0
      } else {
        riseCount += 1
        if riseCount == Self.riseLimit { break }
      }
    }
    if distributions.allSatisfy({ $0.kind == .laplace }) {
      let still = distributions.map { $0.spread(by: 0) }
      point = try await loss(PlacementDraws(still, of: frozen, on: context.backend), count: 1, key: key)
    }
    return (best.distributions, best.loss > point - Self.leastGain)
  }
}

/// One parameter in each of some networks.
private func stacked(_ values: [Tensor<Float>?]) -> Tensor<Float> {
  .stacking(values.map { value in
    guard let value else { preconditionFailure("Every network has all parameters.") }
    return value.reshaped(to: value.shape.batched(1))
  })
}

extension LayerDistribution {
  /// Inputs of a layer that are dropped.
  fileprivate static func dropout(of layer: BayesianLayer, rate: Double) -> LayerDistribution {
    LayerDistribution(
      layerName: layer.name, kind: .dropout(rate), paths: [ParameterPath(node: layer.name, parameter: "weight")],
      form: .dropout(rate: rate))
  }

  /// The same Gaussian, the deviations of all its weights times a factor.
  fileprivate func spread(by factor: Double) -> LayerDistribution {
    guard case .kronecker(var gaussian) = form else { return self }
    gaussian.deviations = gaussian.deviations.map { $0 * factor }
    gaussian.biasDeviations = gaussian.biasDeviations.map { $0.map { $0 * factor } }
    return LayerDistribution(layerName: layerName, kind: kind, paths: paths, form: .kronecker(gaussian))
  }
}

extension BayesianLayer {
  /// The weight, and the bias where the layer has one.
  var paths: [ParameterPath] {
    [ParameterPath(node: name, parameter: "weight")] + (hasBias ? [ParameterPath(node: name, parameter: "bias")] : [])
  }

  /// Of the weights; one where all are zero.
  fileprivate func rootMeanSquare(in frozen: FrozenNetwork) -> Double {
    let weights = values(in: frozen).prefix(inputCount * outputCount)
    let found = (weights.reduce(0) { $0 + $1 * $1 } / Double(max(1, weights.count))).squareRoot()
    return found > 0 && found.isFinite ? found : 1
  }
}

extension LayerCurvature {
  /// The curvature of so many times as many rows.
  fileprivate func scaled(by factor: Double) -> LayerCurvature {
    switch self {
    case .diagonal(let values): return .diagonal(values.map { $0 * factor })
    case .kronecker(var output, let input, var bias):
      output.values = output.values.map { $0 * factor }
      if let own = bias?.values { bias?.values = own.map { $0 * factor } }
      return .kronecker(output: output, input: input, bias: bias)
    }
  }

  /// The Gaussian at a prior precision.
  fileprivate func gaussian(priorPrecision: Double) -> LayerDistribution.Kronecker {
    guard case .kronecker(let output, let input, let bias) = self else {
      preconditionFailure("Only Kronecker factors have eigenvectors.")
    }
    let outputs = output.values.count
    return LayerDistribution.Kronecker(
      inputVectors: input.vectors, outputVectors: output.vectors,
      deviations: Tensor(
        shape: [input.values.count, outputs],
        input.values.elements.flatMap { m in
          output.values.elements.map { 1 / ($0 * m + priorPrecision).squareRoot() }
        }),
      biasDeviations: bias.map { Tensor(shape: [outputs], $0.values.elements.map { 1 / ($0 + priorPrecision).squareRoot() }) })
  }
}
