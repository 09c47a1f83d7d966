public import BayesNetwork
public import BayesPrediction
public import BayesTensor

extension LatentInference {
  /// Trains the members, or goes on with a training.
  ///
  /// - Parameters:
  ///   - description: what is known of the exits, with the preprocessing.
  ///   - training: labelled rows, as stored.
  ///   - earlier: a training with this recipe, these data and this key that was interrupted.
  ///   - context: its key gives the members, the order of rows, the noise, and the draws of predictions.
  ///   - observe: called after every step with what the next one depends on.
  /// - Returns: the posterior, and the training at its end.
  /// - Determinism: same key, same bits at any `context.width`, interrupted or not.
  /// - Cost: a pass forwards and back through what lies behind the first of the layers for each row of each epoch, with
  ///   `.replicated` for each member; then one through it for each batch normalisation and member over the rows of the
  ///   statistics.  Memory for the stored rows up to 1 GiB and their labels up to 256 MiB, beyond which they are read
  ///   one by one.
  /// - Precondition: settings are in range.
  /// - Throws: `NetworkError` where a layer cannot be had; `FileError` naming the row where data are unfit;
  ///   `NumericalError` where the loss diverges; `CancellationError`; what `observe` throws.
  public func fit(
    _ frozen: FrozenNetwork, _ description: RecordsDescription, training: any Dataset, from earlier: LatentTraining? = nil,
    on backend: any NetworkBackend, in context: ExecutionContext, observe: (LatentTraining) throws -> Void = { _ in }
  ) async throws -> (posterior: SampledNetworkPosterior, training: LatentTraining) {
    try description.requireDataTerm(ofExit: exitIndex)
    let exitIndex = exitIndex ?? frozen.network.exits.count - 1
    let exit = frozen.network.exits[exitIndex]
    let preprocessing = description.preprocessing ?? .identity
    let rows = try StoredRows(training, description)
    let loss = DataTerm(description, exit: exitIndex)
    let layers = try await memberLayers(of: frozen, exit: exit, context) { network in
      try await rows.meanLoss(
        [network], first: min(rows.rowCount, LatentPlacement.rowCount(positionCount: rows.positionCount)),
        output: exit.logits, preprocessing, on: backend, width: context.width, loss)
    }
    let objective = try await LatentObjective(
      self, layers, of: frozen, exit: exit, preprocessing: preprocessing, rowCount: rows.rowCount, inputs: rows.inputs,
      loss: { try loss($0, rows.labels($1)) }, answerCount: rows.answerCount, on: backend, width: context.width)
    var training = earlier ?? LatentTraining(initialMembers(of: layers, in: frozen, context))
    guard fits(training, layers, rowCount: rows.rowCount) else {
      throw NetworkError(
        "The training that is to go on is one of other layers or members, of other rows or steps; begin anew.")
    }
    try await run(&training, objective, rowCount: rows.rowCount, in: context, observe: observe)
    let found = LatentPosterior(
      form: form, layers: training.layers, statistics: [],
      divergenceWeights: layers.map { divergenceWeight(inputCount: $0.inputCount) }, rowCount: rows.rowCount,
      epochCount: training.epochs.count, exitIndex: exitIndex, dataTerm: training.epochs.last?.dataTerm ?? 0)
    // Latents are at their means.
    let means = try LatentDraws(found, of: frozen, networks: memberCount)
    let statistics = try await BatchStatistics(
      of: frozen, means.graph, drawn: Set(layers.map(\.node)), preprocessing, on: backend, width: context.width
    ).estimate(rows, rowCount: min(rows.rowCount, statisticsRowCount), networkCount: memberCount) { member in
      try means.network(member: member) { Tensor(zeros: [1, $1.latentCount]) }
    }
    return (
      try SampledNetworkPosterior(
        latent: found.replacing(statistics), of: frozen, draws: drawCount, key: context.key.child(2), source: description),
      training
    )
  }

  /// The layers by name, or those of `LatentPlacement`, in the order of their nodes.
  private func memberLayers(
    of frozen: FrozenNetwork, exit: Exit, _ context: ExecutionContext, meanLoss: (FrozenNetwork) async throws -> Double
  ) async throws -> [MemberLayer] {
    let network = frozen.network
    let isNeeded = network.isNeeded(for: [exit.logits])
    let candidates = network.nodes.indices.filter { isNeeded[$0] && network.nodes[$0].layer is any MatrixLayer }
    guard !candidates.isEmpty else {
      throw NetworkError("There is no convolution and no dense layer on the way to exit '\(exit.name)'.")
    }
    guard let layerNames else {
      return try await LatentPlacement(self, of: frozen, exit: exit, key: context.key.child(5))
        .layers(among: candidates, meanLoss: meanLoss)
    }
    return try layerNames.map { name in
      guard let node = candidates.first(where: { network.nodes[$0].name == name }) else {
        throw NetworkError(
          "There is no convolution or dense layer '\(name)' on the way to exit '\(exit.name)'; choose among "
            + candidates.map { "'\(network.nodes[$0].name)'" }.joined(separator: ", ") + ".")
      }
      return try MemberLayer(node, of: network)
    }.sorted { $0.node < $1.node }
  }

  private func initialMembers(
    of layers: [MemberLayer], in frozen: FrozenNetwork, _ context: ExecutionContext
  ) -> [LatentPosterior.Layer] {
    layers.enumerated().map { index, layer in
      context.report(StageProgress(stage: "Warming up", completed: index, total: layers.count, unit: "layers"))
      let key = context.key.child(4).child(index)
      return warmedUp(
        initialMembers(of: layer, bias: layer.bias(in: frozen), key: key.child(0)), stepCount: warmUpStepCount,
        key: key.child(1))
    }
  }

  /// The steps of an epoch.
  private func stepCount(rowCount: Int) -> Int { (rowCount + batchRowCount - 1) / batchRowCount }

  /// Whether a training can be one of this recipe.
  private func fits(_ training: LatentTraining, _ layers: [MemberLayer], rowCount: Int) -> Bool {
    let steps = stepCount(rowCount: rowCount)
    return training.layers.map(\.name) == layers.map(\.name)
      && zip(training.layers, layers).allSatisfy {
        $0.inputs.shape == [memberCount, $1.inputCount] && $0.outputs.shape == [memberCount, $1.outputCount]
          && ($0.autoencoder?.latentCount ?? latentCount) == latentCount && $0.autoencoder?.decode == form.decode
      }
      && (0...steps).contains(training.stepCount - training.epochs.count * steps) && training.epochs.count <= epochCount
      && [training.vectorMemory, training.autoencoderMemory].allSatisfy { [0, 2].contains($0.moments.count) }
  }

  /// Makes the steps that remain.
  package func run(
    _ training: inout LatentTraining, _ objective: LatentObjective, rowCount: Int, in context: ExecutionContext,
    observe: (LatentTraining) throws -> Void
  ) async throws {
    let stepsAnEpoch = stepCount(rowCount: rowCount)
    let rates = LearningRateSchedule.cosine(peak: learningRate, stepCount: stepsAnEpoch * epochCount)
    var optimizers = (vectors: Adam<Double>(), autoencoders: Adam<Double>(weightDecay: Self.decay))
    optimizers.vectors.memory = training.vectorMemory
    optimizers.autoencoders.memory = training.autoencoderMemory
    while training.epochs.count < epochCount {
      let epoch = training.epochs.count
      let stage = "Epoch \(epoch + 1) of \(epochCount)"
      let order = context.key.child(0).child(epoch).permutation(rowCount)
      for step in training.stepCount - epoch * stepsAnEpoch..<stepsAnEpoch {
        try Task.checkCancellation()
        let rows = Array(order[step * batchRowCount..<min(rowCount, (step + 1) * batchRowCount)])
        let value = try await objective(training.layers, at: rows, key: context.key.child(1).child(training.stepCount))
        var gradients = value.vectors + value.autoencoders
        do {
          try clipGlobalNorm(of: &gradients, to: Self.largestNorm)
        } catch {
          throw LatentObjective.divergence
        }
        let rate = rates.rate(at: training.stepCount)
        optimizers.vectors.update(
          &training.vectors, gradients: Array(gradients.prefix(value.vectors.count)), learningRate: rate)
        optimizers.autoencoders.update(
          &training.autoencoders, gradients: Array(gradients.dropFirst(value.vectors.count)), learningRate: rate,
          factors: training.layers.flatMap { $0.autoencoder?.rateFactors ?? [] })
        training.vectorMemory = optimizers.vectors.memory
        training.autoencoderMemory = optimizers.autoencoders.memory
        training.sums.dataTerm += value.dataTerm * Double(rows.count)
        training.sums.latentTerm += value.latentTerm * Double(rows.count)
        training.stepCount += 1
        context.report(
          StageProgress(stage: stage, completed: min(rowCount, (step + 1) * batchRowCount), total: rowCount))
        if step + 1 < stepsAnEpoch { try observe(training) }
      }
      let count = Double(rowCount)
      training.epochs.append(
        LatentTraining.Epoch(
          dataTerm: training.sums.dataTerm / count, latentTerm: training.sums.latentTerm / count))
      training.sums = LatentTraining.Epoch(dataTerm: 0, latentTerm: 0)
      try observe(training)
    }
  }
}
