public import BayesNetwork
public import BayesPrediction
public import BayesTensor

/// A posterior of sampled networks made ready to predict.
///
/// - Determinism: no randomness but the posterior's key; a row's prediction depends neither on the other rows nor on how
///   they are cut.
/// - Cost: every network runs on every row, but for what drawn networks have in common, which runs once.
///   Prepared networks of draws are kept up to 512 MiB; the others get their weights packed for every block of rows.
public struct SampledNetworkPredictor: Sendable {
  private enum Networks: Sendable {
    /// The members behind the first, whose logits are those recorded, and their files.
    case members([(file: String, network: any PreparedNetwork)])
    case draws(DrawnNetworks)
  }

  private let posterior: SampledNetworkPosterior
  private let networks: Networks
  private let context: ExecutionContext

  /// Prepares the networks behind the first of an ensemble.
  ///
  /// - Parameter members: those networks, in the posterior's order.
  /// - Precondition: there are as many as the posterior has but the first.
  init(
    _ posterior: SampledNetworkPosterior, members: [FrozenNetwork], on backend: any NetworkBackend,
    in context: ExecutionContext
  ) throws {
    guard case .ensemble(let known) = posterior.kind, members.count == known.count - 1 else {
      preconditionFailure("Members are those of an ensemble but the first.")
    }
    self.posterior = posterior
    self.context = context
    let preprocessing = posterior.source.preprocessing ?? .identity
    networks = .members(
      try zip(known.dropFirst(), members).map { member, frozen in
        (
          member.file,
          try backend.prepare(frozen, preprocessing: preprocessing, outputs: frozen.network.exits.map(\.logits))
        )
      })
  }

  init(
    _ posterior: SampledNetworkPosterior, draws: any NetworkDraws, key: RandomKey, of frozen: FrozenNetwork,
    on backend: any NetworkBackend, in context: ExecutionContext
  ) throws {
    self.posterior = posterior
    self.context = context
    networks = .draws(
      try DrawnNetworks(
        draws, of: frozen, count: posterior.sampleCount, key: key,
        preprocessing: posterior.source.preprocessing ?? .identity, on: backend, width: context.width))
  }

  /// Whether what left the network itself is part of the predictions: it is the first member of an ensemble, and all draws
  /// at exits at which they do not differ.
  public var needsRecords: Bool {
    switch networks {
    case .members: true
    case .draws(let drawn): drawn.affectsExit.contains(false)
    }
  }

  /// The predictions of all exits, block by block of records, a sample a network.
  ///
  /// - Parameters:
  ///   - records: what left the exits of the network itself, for an ensemble of its first member; without exits where
  ///     it `needsRecords` not.
  ///   - rows: the stored rows that they are of, each with as many records as it has answers.
  /// - Shapes: logits `[networks, records, classes]`.
  /// - Throws: `FileError` for a logit that is not finite; `NetworkError`, `NumericalError`, `CancellationError`.
  public func predictions(
    for records: ExitRecords, of rows: RowBatch, _ body: (ExitRecords, [Prediction]) throws -> Void
  ) async throws {
    let answerCount = records.rowCount / max(1, rows.count)
    let numbers = posterior.source.exits.reduce(0) { $0 + $1.logitCount } * posterior.sampleCount
    let recordCount = min(ExitRecords.chunkRowCount, Self.blockNumberCount / max(1, numbers))
    // Of a row all answers are computed at once, and rows side by side.
    let rowCount = max(answerCount == 1 ? 1 : context.width, recordCount / answerCount)
    // What follows the networks takes several times the memory of their logits.
    let partCount = max(1, min(recordCount, Self.partNumberCount / max(1, numbers)))
    for first in stride(from: 0, to: rows.count, by: rowCount) {
      try Task.checkCancellation()
      let range = first..<min(first + rowCount, rows.count)
      let block = records.rows(range.lowerBound * answerCount..<range.upperBound * answerCount)
      let samples = try await logits(for: block, of: range.count == rows.count ? rows : rows.rows(Array(range)))
      for start in stride(from: 0, to: block.rowCount, by: partCount) {
        let part = start..<min(start + partCount, block.rowCount)
        try body(block.rows(part), predictions(samples, part))
      }
      context.report(
        StageProgress(
          stage: "Predicting", completed: records.firstRow / answerCount + range.upperBound, total: nil))
    }
  }

  /// Logits that networks give before any of them is looked at.
  private static let blockNumberCount = 1 << 23
  /// Logits of a block of predictions.
  private static let partNumberCount = 1 << 20

  private func predictions(_ samples: [[Tensor<Float>]], _ records: Range<Int>) -> [Prediction] {
    posterior.exits.indices.map { exit in
      let temperature = posterior.exits[exit].temperature
      let stacked = Tensor.stacking(samples.map { $0[exit].rows(records) })
      let description = posterior.source.exits[exit]
      if let noise = posterior.exits[exit].noise {
        return Prediction(means: stacked, count: samples.count, noise: noise, exit: exit)
      }
      return Prediction(
        logits: (temperature == 1 ? stacked : stacked.map { Float(Double($0) / temperature) })
          .reshaped(to: [samples.count, records.count, description.logitCount]),
        likelihood: description.likelihood, exit: exit)
    }
  }

  /// The logits of every network at every exit, `[records, classes]`.
  private func logits(for records: ExitRecords, of rows: RowBatch) async throws -> [[Tensor<Float>]] {
    let recorded = records.exits.map(\.logits)
    precondition(!recorded.isEmpty || !needsRecords, "Exits that are the same in all draws are those recorded.")
    var samples: [[Tensor<Float>]] = []
    switch networks {
    case .members(let members):
      samples.append(recorded)
      for (file, network) in members {
        let outputs = try await network(rows, width: context.width)
        samples.append(try checked(answers(outputs, exits: Array(outputs.indices)), records, file: file))
      }
    case .draws(let drawn):
      let drawnExits = drawn.affectsExit.indices.filter { drawn.affectsExit[$0] }
      for outputs in try await drawn(rows, width: context.width) {
        var remaining = answers(outputs, exits: drawnExits)[...]
        let all = drawn.affectsExit.indices.map { drawn.affectsExit[$0] ? remaining.removeFirst() : recorded[$0] }
        samples.append(try checked(all, records, file: posterior.source.file))
      }
    }
    return samples
  }

  /// What left some exits, a record an answer.
  private func answers(_ outputs: [Tensor<Float>], exits: [Int]) -> [Tensor<Float>] {
    zip(outputs, exits).map { output, exit in
      let logitCount = posterior.source.exits[exit].logitCount
      return output.reshaped(to: [output.count / logitCount, logitCount])
    }
  }

  private func checked(
    _ outputs: [Tensor<Float>], _ records: ExitRecords, file: String
  ) throws(FileError) -> [Tensor<Float>] {
    for (index, output) in outputs.enumerated() {
      guard let position = output.firstNonFinite else { continue }
      let logitCount = posterior.source.exits[index].logitCount
      throw FileError(
        .value, file: file, object: "exit \(index) ('\(posterior.source.exits[index].name)')",
        records.place(ofRow: position / logitCount, in: posterior.source.positions)
          + " gives a logit of \(output[position]); check its values and "
          + "the preprocessing.")
    }
    return outputs
  }
}

extension Prediction {
  /// Of real targets: the mean of networks' outputs, their variance, and the targets' own.
  ///
  /// - Parameter means: `[networks · batch, outputs]`
  fileprivate init(means: Tensor<Float>, count: Int, noise: Double, exit: Int) {
    let (rowCount, width) = (means.rowCount / count, means.shape[1])
    let shape: Shape = [rowCount, width]
    var (mean, variance) = (Tensor<Double>(zeros: shape), Tensor<Double>(zeros: shape))
    for row in 0..<rowCount {
      for output in 0..<width {
        let values = (0..<count).map { Double(means[$0 * rowCount + row, output]) }
        let centre = values.reduce(0, +) / Double(count)
        mean[row, output] = centre
        variance[row, output] = values.reduce(0) { $0 + ($1 - centre) * ($1 - centre) } / Double(count)
      }
    }
    self.init(
      logits: mean.converted(to: Float.self).reshaped(to: [1, rowCount, width]), likelihood: .gaussian, exit: exit,
      regression: Regression(
        mean: mean, epistemicVariance: variance, noiseVariance: Tensor(repeating: noise * noise, shape: shape)))
  }
}

/// Networks drawn from one, ready to run.
private struct DrawnNetworks: Sendable {
  let affectsExit: [Bool]
  private let draws: any NetworkDraws
  private let count: Int
  private let key: RandomKey
  /// What all draws have in common; `nil` where that is the input alone.
  private let common: (any PreparedNetwork)?
  private let inputs: [Int]
  /// The first draws; those that there is no room for get their weights packed whenever they run.
  private let kept: [any PreparedNetwork]

  private static let keptByteCount = 512 << 20

  init(
    _ draws: any NetworkDraws, of frozen: FrozenNetwork, count: Int, key: RandomKey, preprocessing: Preprocessing,
    on backend: any NetworkBackend, width: Int
  ) throws {
    self.draws = draws
    self.count = count
    self.key = key
    affectsExit = draws.affectsExit
    inputs = draws.boundary
    let outputs = zip(frozen.network.exits, draws.affectsExit).filter(\.1).map(\.0.logits)
    let computed = inputs.filter { $0 != 0 }
    common =
      computed.isEmpty
      ? nil : try backend.prepare(frozen, preprocessing: preprocessing, inputs: [0], outputs: computed)
    // What is prepared anew keeps the weights that it was given, which those of the checkpoint are there for already.
    var latest = try backend.prepare(frozen, preprocessing: preprocessing, inputs: inputs, outputs: outputs)
    let room = max(1, Self.keptByteCount / max(1, latest.residentByteCount(width: 0)))
    kept = try (0..<min(count, room)).map { draw in
      // Each from the one before it, so that the first, with the checkpoint's weights, is gone when there are many.
      latest = try Self.network(draw, draws, key, like: latest)
      return latest
    }
  }

  /// The logits of the exits that draws differ at, a list a draw.
  func callAsFunction(_ rows: RowBatch, width: Int) async throws -> [[Tensor<Float>]] {
    var shared: [RowBatch] = []
    if let common { shared = try await common(rows, width: width).map { RowBatch($0) } }
    var given: [RowBatch] = []
    for node in inputs { given.append(node == 0 ? rows : shared.removeFirst()) }
    var result: [[Tensor<Float>]] = []
    for draw in 0..<count {
      try Task.checkCancellation()
      let network = try draw < kept.count ? kept[draw] : Self.network(draw, draws, key, like: kept[0])
      result.append(try await network(given, width: width))
    }
    return result
  }

  private static func network(
    _ draw: Int, _ draws: any NetworkDraws, _ key: RandomKey, like first: any PreparedNetwork
  ) throws -> any PreparedNetwork {
    try first.replacingParameters { try draws.network(draw: draw, key: key) }
  }
}

extension SampledNetworkPosterior {
  /// Prepares predictions for rows that a description describes.
  ///
  /// - Parameters:
  ///   - networks: the checkpoints' networks: of an ensemble all, else one.
  ///   - backend: what runs them.
  /// - Throws: `FileError` where networks or rows are others than those of the fit; what preparing throws.
  public func predictor(
    for description: RecordsDescription, of networks: [FrozenNetwork], on backend: any NetworkBackend,
    in context: ExecutionContext
  ) throws -> SampledNetworkPredictor {
    try source.requireSameNetwork(as: description)
    switch kind {
    case .ensemble:
      return try SampledNetworkPredictor(self, members: Array(networks.dropFirst()), on: backend, in: context)
    case .dropout(_, let key, let layers):
      let thinned = try ThinnedNetworks(networks[0])
      guard thinned.sites.map({ DropoutLayer(name: $0.name, rate: $0.rate) }) == layers else {
        throw FileError(
          .value, file: source.file,
          "Its dropout layers are not those of the network; name the checkpoint that it was fitted to, or fit again.")
      }
      return try SampledNetworkPredictor(self, draws: thinned, key: key, of: networks[0], on: backend, in: context)
    case .firstLayer(_, let key, let layer):
      let draws = try naming { () throws(NetworkError) in try LayerDraws(layer, of: networks[0]) }
      return try SampledNetworkPredictor(self, draws: draws, key: key, of: networks[0], on: backend, in: context)
    case .latent(let count, let key, let posterior):
      let draws = try naming { () throws(NetworkError) in try LatentDraws(posterior, of: networks[0], networks: count) }
      return try SampledNetworkPredictor(self, draws: draws, key: key, of: networks[0], on: backend, in: context)
    case .placement(_, let key, let placement):
      let draws = try naming { () throws(NetworkError) in
        try PlacementDraws(placement.layers, statistics: placement.statistics, of: networks[0], on: backend)
      }
      return try SampledNetworkPredictor(self, draws: draws, key: key, of: networks[0], on: backend, in: context)
    case .weightSamples(let posterior):
      let draws = try naming { () throws(NetworkError) in try WeightSampleDraws(posterior, of: networks[0]) }
      return try SampledNetworkPredictor(
        self, draws: draws, key: RandomKey(seed: 0), of: networks[0], on: backend, in: context)
    }
  }

  /// Says of a network without the posterior's layers what to do.
  private func naming<Draws>(_ draws: () throws(NetworkError) -> Draws) throws(FileError) -> Draws {
    do {
      return try draws()
    } catch {
      throw FileError(
        .value, file: source.file, error.message + " Name the checkpoint that it was fitted to, or fit again.")
    }
  }
}
