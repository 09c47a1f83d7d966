import Bayesify

/// What predictions of a posterior of drawn networks take, beside their parts.
struct EnsembleTimes: Encodable {
  /// Of what all draws have in common, of one network from there on to its probabilities, and of the whole prediction.
  var prefix: [Double] = []
  var suffix: [Double] = []
  var prediction: [Double] = []
  /// Of the network alone.
  var plain: [Double] = []
  var networks: Int
}

extension Session {
  /// Times a posterior's predictions of the first rows and their parts in turns, down to mean probabilities.
  func timeEnsemble(_ arguments: inout Arguments) async throws -> EnsembleTimes {
    let file = try arguments.text("posterior")
    let rows = try batch(try arguments.count("rows"))
    let width = try arguments.count("width")
    let repeats = try arguments.count("repeats")
    let plan = try loaded()
    let (frozen, backend) = (plan.frozen, try NativeBackend())
    let posterior = try SampledNetworkPosterior(from: HDF5Archive(file))
    let context = ExecutionContext(backend: backend, key: RandomKey(seed: 1), width: width)
    let predictor = try posterior.predictor(for: posterior.source, of: [frozen], on: backend, in: context)
    guard case .latent(_, _, let latent) = posterior.kind, !predictor.needsRecords else {
      throw CommandError("'\(file)' is no posterior of scaled layers that all exits depend on.")
    }
    let network = frozen.network
    // From the nodes on that feed the layers, all else is of one draw.
    let names = Set(latent.layers.map(\.name))
    var isBehind = [Bool](repeating: false, count: network.nodes.count)
    for index in network.nodes.indices {
      isBehind[index] = names.contains(network.nodes[index].name) || network.nodes[index].inputs.contains { isBehind[$0] }
    }
    let boundary = Set(network.nodes.indices.filter { isBehind[$0] }.flatMap { network.nodes[$0].inputs })
      .filter { !isBehind[$0] }.sorted()
    let outputs = network.exits.map(\.logits)
    let prefix = try backend.prepare(frozen, preprocessing: .identity, inputs: [0], outputs: boundary)
    let suffix = try backend.prepare(frozen, preprocessing: .identity, inputs: boundary, outputs: outputs)
    let records = ExitRecords(
      firstRow: 0, rowCount: rows.count * posterior.source.positionCount, exits: [], labels: nil)
    func predict() async throws {
      try await predictor.predictions(for: records, of: rows) { _, predictions in
        for prediction in predictions { _ = prediction.probabilities() }
      }
    }
    let shared = try await prefix(rows, width: width).map { RowBatch($0) }
    _ = try await suffix(shared, width: width)
    try await predict()
    var (own, rest, whole, plain) = (Timings(), Timings(), Timings(), Timings())
    for repetition in 0..<repeats {
      if repetition % 2 == 0 { try await whole.measure(predict) }
      try await own.measure { _ = try await prefix(rows, width: width) }
      try await rest.measure {
        for (exit, logits) in try await suffix(shared, width: width).enumerated() {
          let description = posterior.source.exits[exit]
          let samples = logits.reshaped(to: [1, logits.count / description.logitCount, description.logitCount])
          _ = Prediction(logits: samples, likelihood: description.likelihood, exit: exit).probabilities()
        }
      }
      try await plain.measure { _ = try await plan.prepared(rows, width: width) }
      if repetition % 2 == 1 { try await whole.measure(predict) }
    }
    return EnsembleTimes(
      prefix: own.seconds, suffix: rest.seconds, prediction: whole.seconds, plain: plain.seconds,
      networks: posterior.sampleCount)
  }
}
