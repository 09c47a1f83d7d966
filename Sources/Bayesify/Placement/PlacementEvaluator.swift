import BayesEvaluation
public import BayesNetwork
public import BayesPosterior
public import BayesPrediction
public import BayesTensor

/// Scores placements on the rows of a search.
///
/// A layer's draws are the same in every placement that has it (common random numbers), and what lies before the first drawn layer
/// is computed once for all placements that begin to differ at the same nodes, so that a placement costs its draws times what lies
/// behind that layer.
///
/// - Determinism: a placement's score follows from the key and the rows, whatever was scored before.
/// - Cost: memory for the rows and, up to 1 GiB, for what goes into the drawn parts.
public actor PlacementEvaluator {
  private let frozen: FrozenNetwork
  private let description: ExitDescription
  private let exit: Int
  private let preprocessing: Preprocessing
  private let space: PlacementSpace
  /// Of each site and kind.
  private let distributions: [[[LayerDistribution]]]
  private let rows: PlacementRows
  private let blocks: [RowBatch]
  private let model: LatencyModel
  private let key: RandomKey
  private let backend: any NetworkBackend
  private let context: ExecutionContext
  /// What goes into the part behind some nodes, block by block, and that part.
  private var known: [[Int]: Part] = [:]
  private var knownByteCount = 0

  private struct Part {
    var inputs: [[RowBatch]]?
    var before: (any PreparedNetwork)?
    var behind: any PreparedNetwork
  }

  private static let blockRowCount = 128
  private static let keptByteCount = 1 << 30

  /// - Parameters:
  ///   - distributions: of each site and each kind, those of its layers.
  ///   - key: of the draws.
  public init(
    _ frozen: FrozenNetwork, _ description: RecordsDescription, exit: Int, space: PlacementSpace,
    distributions: [[[LayerDistribution]]], rows: PlacementRows, model: LatencyModel, key: RandomKey,
    on backend: any NetworkBackend, in context: ExecutionContext
  ) throws {
    // One graph for all placements: with biases where any distribution has one.
    self.frozen = try PlacementDraws(distributions.flatMap(\.self).flatMap(\.self), of: frozen, on: backend).base
    self.description = description.exits[exit]
    self.exit = exit
    preprocessing = description.preprocessing ?? .identity
    (self.space, self.distributions, self.rows, self.model) = (space, distributions, rows, model)
    blocks = rows.blocks(of: Self.blockRowCount)
    (self.key, self.backend, self.context) = (key, backend, context)
  }

  /// The scores of some placements, of which each of several processes makes some.
  ///
  /// - Parameters:
  ///   - communicator: of processes that all ask for the same placements.
  ///   - sets: the names of the foreign sets.
  /// - Throws: `NetworkError`, `NumericalError`, `EvaluationError` where logits are not finite; `CancellationError`.
  public func scores(
    _ placements: [Placement], sharedBy communicator: any Communicator = SerialCommunicator(), _ sets: [String]
  ) async throws -> [PlacementScore] {
    var own = Tensor<Double>(zeros: [placements.count, 7 + sets.count])
    for index in placements.indices where index % communicator.size == communicator.rank {
      for (column, number) in try await score(placements[index]).numbers(sets).enumerated() { own[index, column] = number }
    }
    communicator.allReduce(&own)
    return placements.indices.compactMap { PlacementScore(Array(own.rows($0..<$0 + 1).elements), sets) }
  }

  /// The score of one placement.
  public func score(_ placement: Placement) async throws -> PlacementScore {
    let chosen = zip(placement.genes, distributions).flatMap { gene, kinds in gene == 0 ? [] : kinds[gene - 1] }
    return try score(of: try await logits(chosen, drawCount: placement.drawCount), placement)
  }

  /// The score of a placement that was fitted on its own, with draws of the same key.
  public func score(_ placement: Placement, fitted: PlacementPosterior) async throws -> PlacementScore {
    try score(
      of: try await logits(fitted.layers, statistics: fitted.statistics, drawCount: placement.drawCount), placement)
  }

  /// `[draws, rows, logits]`
  private func logits(
    _ chosen: [LayerDistribution], statistics: [NetworkStatistics] = [], drawCount: Int
  ) async throws -> Tensor<Float> {
    let node = frozen.network.exits[exit].logits
    let width = frozen.network.shapes[node].elementCount
    guard !chosen.isEmpty else {
      let prepared = try backend.prepare(frozen, preprocessing: preprocessing, outputs: [node])
      var logits: [Tensor<Float>] = []
      for block in blocks { logits.append(try await prepared(block, width: context.width)[0].reshaped(to: [block.count, width])) }
      let all = Tensor.stacking(logits)
      return all.reshaped(to: [1, all.rowCount, width])
    }
    let draws = try PlacementDraws(chosen, statistics: statistics, of: frozen, on: backend)
    let part = try await part(behind: draws.boundary, node)
    var samples: [Tensor<Float>] = []
    for draw in 0..<drawCount {
      try Task.checkCancellation()
      let network = try part.behind.replacingParameters { [key] in try draws.network(draw: draw, key: key) }
      for (index, block) in blocks.enumerated() {
        let inputs = try await inputs(of: part, draws.boundary, block: index)
        samples.append(try await network(inputs, width: context.width)[0].reshaped(to: [block.count, width]))
      }
    }
    let all = Tensor.stacking(samples)
    return all.reshaped(to: [drawCount, all.rowCount / drawCount, width])
  }

  /// What goes into a part for one block of rows.
  private func inputs(of part: Part, _ boundary: [Int], block: Int) async throws -> [RowBatch] {
    if let inputs = part.inputs { return inputs[block] }
    var computed = try await part.before?(blocks[block], width: context.width).map { RowBatch($0) } ?? []
    return boundary.map { $0 == 0 ? blocks[block] : computed.removeFirst() }
  }

  private func part(behind boundary: [Int], _ output: Int) async throws -> Part {
    if let part = known[boundary] { return part }
    let computed = boundary.filter { $0 != 0 }
    var part = Part(
      inputs: nil,
      before: computed.isEmpty
        ? nil : try backend.prepare(frozen, preprocessing: preprocessing, inputs: [0], outputs: computed),
      behind: try backend.prepare(frozen, preprocessing: preprocessing, inputs: boundary, outputs: [output]))
    let rowCount = blocks.reduce(0) { $0 + $1.count }
    let byteCount = 4 * rowCount * computed.reduce(0) { $0 + frozen.network.shapes[$1].elementCount }
    if knownByteCount + byteCount <= Self.keptByteCount {
      var inputs: [[RowBatch]] = []
      for index in blocks.indices { inputs.append(try await self.inputs(of: part, boundary, block: index)) }
      part.inputs = inputs
      knownByteCount += byteCount
    }
    known[boundary] = part
    return part
  }

  private func score(of logits: Tensor<Float>, _ placement: Placement) throws -> PlacementScore {
    let drawCount = logits.shape[0]
    let rowCount = logits.shape[1]
    let width = logits.shape[2]
    let flat = logits.reshaped(to: [drawCount * rowCount, width])
    func prediction(_ range: Range<Int>) -> Prediction {
      let rows = (0..<drawCount).flatMap { draw in range.map { draw * rowCount + $0 } }
      return Prediction(
        logits: flat.rows(rows).reshaped(to: [drawCount, range.count, width]), likelihood: description.likelihood, exit: exit)
    }
    let validation = prediction(0..<rows.labels.count)
    var fit = SampledTemperature()
    try fit.update(validation, labels: rows.labels)
    let temperature = try fit.temperature()
    let split = temperature(validation).uncertaintySplit()
    let labelled = try LabelledProbabilities(split.probabilities, labels: rows.labels)
    var calibration = ExpectedCalibrationError()
    calibration.update(labelled)
    let correct = zip(labelled.probabilities.predictedClasses, rows.labels).count { $0 == $1 }
    var aurocs: [String: Double] = [:]
    var start = rows.labels.count
    func sample(_ entropies: Tensor<Double>) throws -> ScoreSample {
      var sample = ScoreSample()
      try sample.update(entropies.elements, named: "entropy")
      return sample
    }
    let knownScores = try sample(split.total)
    for set in rows.foreign {
      let foreign = temperature(prediction(start..<start + set.rows.count)).uncertaintySplit()
      aurocs[set.name] = try ScoreSeparation(
        inDistribution: knownScores, outOfDistribution: try sample(foreign.total)
      ).auroc
      start += set.rows.count
    }
    return PlacementScore(
      nll: temperature.nllAfter, untemperedNLL: temperature.nllBefore, accuracy: Double(correct) / Double(rows.labels.count),
      ece: try calibration.value, auroc: aurocs.values.sorted().reduce(0, +) / Double(aurocs.count), aurocs: aurocs,
      temperature: temperature.value, latency: model.latency(placement))
  }
}
