public import BayesNetwork
public import BayesPrediction
public import BayesTensor

/// A posterior over the weights of several layers made ready to predict with its network.
///
/// - Determinism: no randomness but the posterior's key; a row's prediction depends neither on the other rows nor on how
///   they are cut.
/// - Cost: as many ways back through the network as there are logits, for every row; O(logits · parameters) numbers a
///   row, and the rotation into the curvature's eigenbasis.
public struct WeightLaplacePredictor: Sendable {
  private let posterior: WeightLaplacePosterior
  private let frozen: FrozenNetwork
  private let map: InputMap
  /// One table an exit, for predictives that share draws.
  private let draws: [Tensor<Double>?]
  private let context: ExecutionContext
  private let blockRowCount: Int

  init(_ posterior: WeightLaplacePosterior, _ frozen: FrozenNetwork, in context: ExecutionContext) throws {
    self.posterior = posterior
    self.frozen = frozen
    self.context = context
    map = try InputMap(posterior.source.preprocessing ?? .identity, for: frozen.network.inputShape)
    draws = try posterior.source.exits.map { exit in
      try posterior.predictive.sharedDraws(
        count: posterior.sampleCount, logitCount: exit.logitCount, key: posterior.drawsKey, on: context.backend)
    }
    let numbers = zip(frozen.network.exits, posterior.exits).map {
      WeightJacobian<Float>.numbersPerRow(frozen, $0, $1.layers, isWhole: true)
    }
    blockRowCount = BayesPosterior.blockRowCount(numbersPerRow: numbers.max() ?? 1)
  }

  /// The predictions of all exits, block by block of rows.
  ///
  /// - Parameters:
  ///   - records: what left the exits; the means of the logits are those recorded.
  ///   - rows: the stored rows that they are of.
  /// - Throws: `FileError`, `NetworkError`, `NumericalError` where a covariance has no root; `CancellationError`.
  public func predictions(
    for records: ExitRecords, of rows: RowBatch, _ body: (ExitRecords, [Prediction]) throws -> Void
  ) async throws {
    let blocks = stride(from: 0, to: records.rowCount, by: blockRowCount).map {
      $0..<min($0 + blockRowCount, records.rowCount)
    }
    for first in stride(from: 0, to: blocks.count, by: context.width) {
      try Task.checkCancellation()
      let window = Array(blocks[first..<min(first + context.width, blocks.count)])
      let predictions = try await inOrder(window) { try predict(records.rows($0), rows.rows(Array($0))) }
      for (block, prediction) in zip(window, predictions) { try body(records.rows(block), prediction) }
      context.report(
        StageProgress(
          stage: "Predicting", completed: records.firstRow + (window.last?.upperBound ?? 0), total: nil))
    }
  }

  private func predict(_ records: ExitRecords, _ rows: RowBatch) throws -> [Prediction] {
    let backend = context.backend
    let inputs = map(rows).reshaped(to: frozen.network.inputShape.batched(rows.count))
    return try frozen.network.exits.indices.map { index in
      let exit = posterior.exits[index]
      let description = posterior.source.exits[index]
      let means = records.exits[index].logits.converted(to: Double.self)
      var covariance = LogitCovariance.diagonal(Tensor(zeros: means.shape))
      if posterior.predictive != .plain {
        let jacobian = try WeightJacobian(
          frozen, exit: frozen.network.exits[index], layers: exit.layers, at: inputs, on: backend)
        covariance = exit.covariances(of: jacobian, priorPrecisions: [exit.priorPrecisions], on: backend)[0]
      }
      return try GaussianLogits(
        means: means, covariance: covariance, temperature: exit.temperature, likelihood: description.likelihood,
        exit: index
      ).prediction(
        posterior.predictive,
        draws: posterior.predictive.drawTable(
          shared: draws[index], count: posterior.sampleCount, logitCount: description.logitCount,
          rows: Array(records.firstRow..<records.firstRow + records.rowCount), key: posterior.drawsKey.child(index)),
        on: backend)
    }
  }
}

extension WeightLaplacePosterior {
  /// Prepares predictions with the network that the posterior was fitted to, for rows that a description describes.
  ///
  /// - Throws: `FileError` where network or rows are others than those of the fit; `NumericalError` if the draws cannot be
  ///   whitened.
  public func predictor(
    for description: RecordsDescription, of frozen: FrozenNetwork, in context: ExecutionContext
  ) throws -> WeightLaplacePredictor {
    try source.requireSameNetwork(as: description)
    let isSame = frozen.network.exits.count == exits.count && exits.allSatisfy { exit in
      exit.layers.allSatisfy { layer in
        frozen.network.nodes.indices.contains(layer.node) && BayesianLayer(frozen, node: layer.node) == layer
      }
    }
    guard isSame else {
      throw FileError(
        .value, file: source.file,
        "Its layers are not those of the network; name the checkpoint that it was fitted to, or fit again.")
    }
    return try WeightLaplacePredictor(self, frozen, in: context)
  }
}
