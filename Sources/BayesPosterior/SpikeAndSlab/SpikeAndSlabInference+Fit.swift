public import BayesNetwork
public import BayesPrediction
public import BayesTensor

extension SpikeAndSlabInference {
  /// Runs the chains, or goes on with them, and keeps networks.
  ///
  /// - Parameters:
  ///   - description: what is known of the exits, with the preprocessing.
  ///   - training: labelled rows, as stored.
  ///   - earlier: a training with this recipe, these data and this key that was interrupted.
  ///   - context: its key gives the order of rows and the noise.
  ///   - observe: called before the first step, and after every one, with what the next one depends on.
  /// - Returns: the posterior, and the training at its end.
  /// - Determinism: same key, same bits at any `context.width`, interrupted or not.
  /// - Cost: for each chain a pass forwards and back through what lies behind the first of the layers for each row of each
  ///   epoch; then for each network that is kept one through it over the rows of the statistics.  Memory for the networks
  ///   that are kept, and for the stored rows up to 1 GiB and their labels up to 256 MiB, beyond which they are read one by
  ///   one.
  /// - Throws: `NetworkError` where a layer cannot be had or settings cannot be together; `FileError` naming the row where
  ///   data are unfit; `NumericalError` where the loss diverges; `CancellationError`; what `observe` throws.
  public func fit(
    _ frozen: FrozenNetwork, _ description: RecordsDescription, training: any Dataset,
    from earlier: SpikeAndSlabTraining? = nil, on backend: any NetworkBackend, in context: ExecutionContext,
    observe: (SpikeAndSlabTraining) throws -> Void = { _ in }
  ) async throws -> (posterior: SampledNetworkPosterior, training: SpikeAndSlabTraining) {
    try requireConsistency()
    try description.requireDataTerm(ofExit: exitIndex, acceptsTargets: true)
    let exits = exitIndex.map { [$0] } ?? Array(frozen.network.exits.indices)
    let outputs = exits.map { frozen.network.exits[$0].logits }
    let preprocessing = description.preprocessing ?? .identity
    let rows = try StoredRows(training, description)
    let noise =
      description.isRegression
      ? try await deviation(of: rows, in: frozen, output: outputs[outputs.count - 1], preprocessing, on: backend, context) : nil
    let terms = exits.map { DataTerm(description, exit: $0, noise: noise ?? 1) }
    let nodes = try matrixLayers(of: frozen.network, leadingTo: outputs)
    var objective = try await FlatObjective(
      of: nodes.flatMap { frozen.network.trainedPaths(of: $0) }, in: frozen, outputs: outputs,
      preprocessing: preprocessing, rowCount: rows.rowCount, inputs: rows.inputs,
      loss: { output, values, positions in try rows.loss(values, of: positions, terms[output]) },
      answerCount: rows.answerCount, on: backend, width: context.width)
    let origin = objective.weights(frozen.parameters)
    let layers = chainLayers(nodes, of: frozen.network, outputs, objective, origin, rowCount: rows.rowCount)
    if selection != nil, !layers.contains(where: \.isRemovable) {
      throw NetworkError(
        "Nothing may be removed of the first layer and of those that give logits, and no others are chosen; choose others, "
          + "or allow it.")
    }
    var training: SpikeAndSlabTraining
    if let earlier {
      training = earlier
    } else {
      training = try await begin(
        at: origin, layers, rowCount: rows.rowCount, key: context.key, in: context,
        objective: { [objective] in try await objective($0, at: $1) })
    }
    guard fits(training, layers, origin, rowCount: rows.rowCount) else {
      throw NetworkError(
        "The training that is to go on is one of other layers or chains, of other rows or steps; begin anew.")
    }
    if !training.statistics.isEmpty { objective = try objective.replacing(frozen.replacing(training.statistics)) }
    let normalizations = BatchStatistics(
      of: frozen, frozen.network, drawn: Set(nodes), preprocessing, on: backend, width: context.width)
    try observe(training)
    try await run(
      &training, layers, from: origin, rowCount: rows.rowCount, key: context.key, in: context,
      objective: { try await objective($0, at: $1) },
      restate: { weights in
        let network = try FrozenNetwork(frozen.network, parameters: frozen.parameters.replacing(objective.parameters(weights)))
        let statistics = try await normalizations.estimate(
          rows, rowCount: min(rows.rowCount, statisticsRowCount), networkCount: 1
        ) { _ in network }
        objective = try objective.replacing(frozen.replacing(statistics))
        return statistics
      }, observe: observe)
    let networks = networks(of: training, key: context.key)
    var found = posterior(training, networks, layers, objective, rowCount: rows.rowCount)
    found.statistics = try await statistics(of: found, in: frozen, normalizations, rows, context)
    if sampler != .swagDiagonal {
      found.agreement = try await agreement(
        of: found, in: frozen, output: exits.count - 1, outputs, preprocessing, rows, terms, on: backend, context)
    }
    var result = try SampledNetworkPosterior(weightSamples: found, of: frozen, source: description)
    if let noise { for index in result.exits.indices { result.exits[index].noise = noise } }
    return (result, training)
  }

  /// The deviation of targets around the outputs.
  private func deviation(
    of rows: StoredRows, in frozen: FrozenNetwork, output: Int, _ preprocessing: Preprocessing,
    on backend: any NetworkBackend, _ context: ExecutionContext
  ) async throws -> Double {
    if let noise { return noise }
    let found = try await rows.residualDeviation(
      frozen, output: output, preprocessing, on: backend, width: context.width)
    guard found > 0, found.isFinite else {
      throw NetworkError(
        "The trained network is off its training targets by \(found), which is no deviation of targets; give one.")
    }
    return found
  }

  /// The layers by name, or all, in the order of their nodes.
  private func matrixLayers(of network: Network, leadingTo outputs: [Int]) throws(NetworkError) -> [Int] {
    let candidates = network.matrixLayers(leadingTo: outputs)
    guard !candidates.isEmpty else {
      throw NetworkError("There is no convolution and no dense layer on the way to the chosen exits.")
    }
    guard let layerNames else { return candidates }
    return try layerNames.map { name throws(NetworkError) in
      guard let node = candidates.first(where: { network.nodes[$0].name == name }) else {
        throw NetworkError(
          "There is no convolution or dense layer '\(name)' on the way to the chosen exits; choose among "
            + candidates.map { "'\(network.nodes[$0].name)'" }.joined(separator: ", ") + ".")
      }
      return node
    }.sorted()
  }

  private func chainLayers(
    _ nodes: [Int], of network: Network, _ outputs: [Int], _ objective: FlatObjective, _ origin: ContiguousArray<Float>,
    rowCount: Int
  ) -> [ChainLayer] {
    let ends = network.endMatrixLayers(leadingTo: outputs)
    return nodes.map { node in
      let name = network.nodes[node].name
      let own = Set(network.trainedPaths(of: node))
      let places = objective.places.filter { own.contains($0.path) }
      let weights = places[0]
      let isConvolution = weights.shape.rank > 2
      return ChainLayer(
        name: name, parameters: weights.range.lowerBound..<places[places.count - 1].range.upperBound, weights: weights.range,
        groups: WeightGroups(isConvolution ? convolutionGrouping : denseGrouping, of: weights.shape),
        // What gives logits keeps its biases.
        vectors: ends.last.contains(node) ? [] : places.dropFirst().map(\.range.lowerBound),
        isRemovable: removesEnds || !ends.first.union(ends.last).contains(node),
        prior: prior(of: origin.span.extracting(weights.range), rowCount: rowCount))
    }
  }

  /// Whether a training can be one of this recipe.
  private func fits(
    _ training: SpikeAndSlabTraining, _ layers: [ChainLayer], _ origin: ContiguousArray<Float>, rowCount: Int
  ) -> Bool {
    let begun = begin(at: origin, layers, stepSize: 1, rowCount: rowCount, key: RandomKey(seed: 0))
    let steps = stepCount(rowCount: rowCount)
    return training.chains.count == chainCount
      && zip(training.chains, begun.chains).allSatisfy { $0.isOfKind($1) }
      && training.moments.map(\.means.count) == begun.moments.map(\.means.count)
      && training.selections.map(\.groups) == begun.selections.map(\.groups)
      && training.selections.map(\.isRemovable) == begun.selections.map(\.isRemovable)
      && (0...steps).contains(training.stepCount - training.epochs.count * steps) && training.epochs.count <= epochCount
  }

  /// The weights of the networks that are kept, chain by chain.
  private func networks(of training: SpikeAndSlabTraining, key: RandomKey) -> [ContiguousArray<Float>] {
    guard sampler == .swagDiagonal else { return training.snapshots.flatMap(\.self) }
    return training.moments.enumerated().flatMap { chain, moments in
      (0..<networkCount / chainCount).map { moments.draw(key: key.child(5).child(chain).child($0)) }
    }
  }

  /// What is left of the chains at their end.
  private func posterior(
    _ training: SpikeAndSlabTraining, _ networks: [ContiguousArray<Float>], _ layers: [ChainLayer],
    _ objective: FlatObjective, rowCount: Int
  ) -> WeightSamplePosterior {
    WeightSamplePosterior(
      sampler: sampler, temperatureShare: temperatureShare,
      effectiveTemperatureShare: effectiveTemperatureShare(stepSize: training.stepSize, rowCount: rowCount),
      learningRate: training.stepSize, centre: centre,
      chainCount: chainCount, cycleCount: cycleCount, epochCount: training.epochs.count, rowCount: rowCount,
      exitIndex: exitIndex, inclusion: training.inclusion, loss: training.epochs.last?.loss ?? 0,
      layers: layers.enumerated().map { index, layer in
        let selection = training.selections.isEmpty ? nil : training.selections[index]
        return WeightSamplePosterior.Layer(
          name: layer.name, weightCount: layer.weights.count, removedCount: selection?.removedCount ?? 0,
          slab: layer.prior.slab, spike: selection.map { _ in layer.prior.spike },
          responsibilities: selection?.responsibilities ?? [])
      },
      rescuedLayers: training.rescuedLayers,
      samples: objective.places.map { place in
        var values = ContiguousArray<Float>()
        values.reserveCapacity(networks.count * place.range.count)
        for network in networks { values += network[place.range] }
        return WeightSamplePosterior.Samples(
          path: place.path, values: Tensor(shape: place.shape.batched(networks.count), elements: values))
      })
  }

  private func statistics(
    of found: WeightSamplePosterior, in frozen: FrozenNetwork, _ normalizations: BatchStatistics, _ rows: StoredRows,
    _ context: ExecutionContext
  ) async throws -> [NetworkStatistics] {
    let networks = try WeightSampleDraws(found, of: frozen)
    return try await normalizations.estimate(
      rows, rowCount: min(rows.rowCount, statisticsRowCount), networkCount: found.networkCount,
      observe: {
        context.report(
          StageProgress(stage: "Statistics", completed: $0, total: found.networkCount, unit: "networks"))
      }, network: { try networks.network($0) })
  }

  /// Rows by whose labels chains are compared.
  private static let comparedRowCount = 512

  private func agreement(
    of found: WeightSamplePosterior, in frozen: FrozenNetwork, output: Int, _ outputs: [Int],
    _ preprocessing: Preprocessing, _ rows: StoredRows, _ terms: [DataTerm], on backend: any NetworkBackend,
    _ context: ExecutionContext
  ) async throws -> ChainAgreement? {
    let networks = try WeightSampleDraws(found, of: frozen)
    var values: [[Double]] = []
    for index in 0..<found.networkCount {
      values.append(
        try await rows.logProbabilities(
          try networks.network(index), first: min(rows.rowCount, Self.comparedRowCount), output: outputs[output],
          preprocessing, on: backend, width: context.width, terms[output]))
    }
    let each = found.networkCount / found.chainCount
    return ChainAgreement((0..<found.chainCount).map { Array(values[$0 * each..<($0 + 1) * each]) })
  }
}

extension FrozenNetwork {
  /// The same with the statistics of one network.
  fileprivate func replacing(_ statistics: [NetworkStatistics]) throws(NetworkError) -> FrozenNetwork {
    try FrozenNetwork(network, parameters: parameters.replacing(statistics, ofNetwork: 0))
  }
}
