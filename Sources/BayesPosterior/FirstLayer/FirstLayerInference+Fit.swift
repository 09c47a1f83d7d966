public import BayesNetwork
public import BayesPrediction
public import BayesTensor
import RealModule

extension FirstLayerInference {
  /// Refuses a description that the method is not for.
  ///
  /// - Throws: `FileError` naming the exit.
  public func require(_ description: RecordsDescription) throws(FileError) {
    guard description.positions.isEmpty else {
      throw FileError(
        .unsupported, file: description.file,
        "Its exits answer at \(Shape(description.positions)) positions of a row, and the weights of a layer are drawn for one "
          + "answer a row; 'fit laplace' and 'fit latent' take it.")
    }
    try description.requireDataTerm(ofExit: exitIndex)
  }

  /// Trains the distribution of the layer's weights, or goes on with a training.
  ///
  /// - Parameters:
  ///   - description: what is known of the exits, with the preprocessing.
  ///   - training: labelled rows, as stored.
  ///   - validation: labelled rows that neither the network nor this is trained on; needed if `patience` is set.
  ///   - earlier: a training with this recipe, these data and this key that was interrupted.
  ///   - context: its key gives the order of rows, the noise, and the draws of predictions.
  ///   - observe: called after every step and every epoch with what the next one depends on.
  /// - Returns: the posterior, and the training at its end.
  /// - Determinism: same key, same bits at any `context.width`, interrupted or not.
  /// - Cost: a pass forwards and back through what lies behind the layer for each row of each epoch; memory for the
  ///   stored rows up to 1 GiB, beyond which rows are read one by one.
  /// - Precondition: settings are in range; validation rows are given if `patience` is set.
  /// - Throws: `NetworkError` where the layer or the estimator cannot be had; `FileError` naming the row where data are
  ///   unfit; `NumericalError` where the loss diverges; `CancellationError`; what `observe` throws.
  public func fit(
    _ frozen: FrozenNetwork, _ description: RecordsDescription, training: any Dataset, validation: (any Dataset)?,
    from earlier: FirstLayerTraining? = nil, on backend: any NetworkBackend, in context: ExecutionContext,
    observe: (FirstLayerTraining) throws -> Void = { _ in }
  ) async throws -> (posterior: SampledNetworkPosterior, training: FirstLayerTraining) {
    try require(description)
    precondition(validation != nil || patience == nil, "Stopping by validation needs validation rows.")
    let exitIndex = exitIndex ?? frozen.network.exits.count - 1
    let exit = frozen.network.exits[exitIndex]
    let layer = try VariationalLayer(layerName, of: frozen, exit: exit)
    let preprocessing = description.preprocessing ?? .identity
    let rows = try StoredRows(training, description)
    let held = try patience.flatMap { _ in validation }.map { try StoredRows($0, description) }
    let loss = DataTerm(description, exit: exitIndex)
    let objective = try await FirstLayerObjective(
      self, layer, of: frozen, exit: exit, preprocessing: preprocessing, rowCount: rows.rowCount, inputs: rows.inputs,
      loss: { try loss($0, rows.labels($1)) }, on: backend, width: context.width)
    func meanLoss(_ networks: [FrozenNetwork], over rows: StoredRows, first count: Int) async throws -> Double {
      try await rows.meanLoss(
        networks, first: count, output: exit.logits, preprocessing, on: backend, width: context.width, loss)
    }
    var training = earlier ?? FirstLayerTraining(initialDistribution(layer.values(in: frozen)))
    guard training.distribution.means.map(\.shape) == layer.values(in: frozen).map(\.shape),
      fits(training, rowCount: rows.rowCount)
    else {
      throw NetworkError(
        "The training that is to go on is one of other weights than those of '\(layer.name)', of other rows or steps; begin "
          + "anew.")
    }
    if training.initialDataTerm == nil {
      // Enough to tell memorised rows.
      training.initialDataTerm = try await meanLoss([frozen], over: rows, first: min(rows.rowCount, 2048))
    }
    try await run(&training, objective, rowCount: rows.rowCount, in: context, observe: observe) { distribution in
      guard let held else { return nil }
      let draws = LayerDraws(layer, of: frozen, distribution.means, distribution.deviations)
      let count = self.objective == .variational ? Self.validationDrawCount : 1
      let networks = try (0..<count).map { try draws.network(draw: $0, key: context.key.child(3)) }
      return try await meanLoss(networks, over: held, first: held.rowCount)
    }
    return (
      try posterior(
        of: training, layer, frozen, exitIndex: exitIndex, description, rowCount: rows.rowCount, context.key),
      training
    )
  }

  /// Makes the steps that remain.
  ///
  /// - Parameter validationLoss: the loss of validation rows, where training looks at it.
  package func run(
    _ training: inout FirstLayerTraining, _ objective: FirstLayerObjective, rowCount: Int, in context: ExecutionContext,
    observe: (FirstLayerTraining) throws -> Void,
    validationLoss: (FactorizedGaussian) async throws -> Double? = { _ in nil }
  ) async throws {
    let stepsAnEpoch = stepCount(rowCount: rowCount)
    let rates = (
      means: rates(learningRate, stepCount: stepsAnEpoch * epochCount),
      deviations: rates(deviationLearningRate, stepCount: stepsAnEpoch * epochCount)
    )
    var optimizers = (means: optimizer(), deviations: optimizer())
    optimizers.means.memory = training.meanMemory
    optimizers.deviations.memory = training.deviationMemory
    while !training.isFinished {
      let epoch = training.epochs.count
      guard epoch < epochCount else {
        training.isFinished = true
        break
      }
      let stage = "Epoch \(epoch + 1) of \(epochCount)"
      let order = context.key.child(0).child(epoch).permutation(rowCount)
      for step in training.stepCount - epoch * stepsAnEpoch..<stepsAnEpoch {
        try Task.checkCancellation()
        let rows = Array(order[step * batchRowCount..<min(rowCount, (step + 1) * batchRowCount)])
        let value = try await objective(
          training.distribution, at: rows, key: context.key.child(1).child(training.stepCount))
        optimizers.means.update(
          &training.distribution.means, gradients: value.gradient.means,
          learningRate: rates.means.rate(at: training.stepCount))
        training.meanMemory = optimizers.means.memory
        if self.objective == .variational {
          optimizers.deviations.update(
            &training.distribution.rawDeviations, gradients: value.gradient.rawDeviations,
            learningRate: rates.deviations.rate(at: training.stepCount))
          training.deviationMemory = optimizers.deviations.memory
        }
        training.lossSum += value.dataTerm * Double(rows.count)
        training.stepCount += 1
        context.report(
          StageProgress(stage: stage, completed: min(rowCount, (step + 1) * batchRowCount), total: rowCount))
        if step + 1 < stepsAnEpoch { try observe(training) }
      }
      let loss = try await validationLoss(training.distribution)
      training.epochs.append(
        FirstLayerTraining.Epoch(
          dataTerm: training.lossSum / Double(rowCount), divergence: objective.divergence(of: training.distribution),
          validationNLL: loss))
      training.lossSum = 0
      stopEarly(&training, loss)
      training.isFinished = training.isFinished || training.epochs.count >= epochCount
      try observe(training)
    }
  }

  /// The steps of an epoch.
  private func stepCount(rowCount: Int) -> Int { (rowCount + batchRowCount - 1) / batchRowCount }

  /// Whether a training can be one of this recipe.
  private func fits(_ training: FirstLayerTraining, rowCount: Int) -> Bool {
    let steps = stepCount(rowCount: rowCount)
    let done = training.stepCount - training.epochs.count * steps
    let momentCounts: Set<Int> = descent == .adam ? [0, 2] : [0, 1]
    return (0...steps).contains(done) && training.epochs.count <= epochCount
      && [training.meanMemory, training.deviationMemory].allSatisfy { momentCounts.contains($0.moments.count) }
  }

  /// Notes the best epoch by validation, and ends a training that has not improved for too long.
  private func stopEarly(_ training: inout FirstLayerTraining, _ loss: Double?) {
    guard let patience, let loss else { return }
    let epoch = training.epochs.count - 1
    let lowest = training.best.flatMap { training.epochs[$0.epochIndex].validationNLL } ?? .infinity
    if loss < lowest {
      training.best = FirstLayerTraining.Best(epochIndex: epoch, distribution: training.distribution)
    } else if let best = training.best, epoch - best.epochIndex >= patience {
      training.isFinished = true
    }
  }

  private func optimizer() -> any Optimizer<Double> {
    switch descent {
    case .adam: Adam<Double>()
    case .stochastic(let momentum):
      StochasticGradientDescent<Double>(momentum: momentum > 0 ? .classical(momentum) : .none)
    }
  }

  private func posterior(
    of training: FirstLayerTraining, _ layer: VariationalLayer, _ frozen: FrozenNetwork, exitIndex: Int,
    _ description: RecordsDescription, rowCount: Int, _ key: RandomKey
  ) throws -> SampledNetworkPosterior {
    let (distribution, epochIndex) = training.result
    let isVariational = objective == .variational
    let deviations = distribution.deviations
    let weights = zip(layer.paths, zip(distribution.means, deviations)).map { path, values in
      FirstLayerPosterior.Weights(
        path: path, means: values.0, deviations: isVariational ? values.1 : Tensor(zeros: values.1.shape))
    }
    let epoch = training.epochs[epochIndex]
    let found = FirstLayerPosterior(
      form: isVariational ? .variational : .fineTuned, layerName: layer.name, weights: weights,
      divergenceWeight: divergenceWeight, rowCount: rowCount, epochCount: epochIndex + 1, exitIndex: exitIndex,
      dataTerm: epoch.dataTerm, initialDataTerm: training.initialDataTerm ?? 0, divergence: epoch.divergence)
    var posterior = try SampledNetworkPosterior(
      firstLayer: found, of: frozen, draws: sampleCount, key: key.child(2), source: description)
    posterior.warnings += found.warnings(classCount: description.exits[exitIndex].classCount)
    return posterior
  }
}
