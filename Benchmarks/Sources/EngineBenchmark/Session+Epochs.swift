import Bayesify

/// A network whose every weight is trained on stored rows, normalisation in evaluation form.
struct EpochBench {
  private let plan: any TrainingPlan
  private let paths: [ParameterPath]
  private var values: [Tensor<Float>]
  private var optimizer = StochasticGradientDescent<Float>(momentum: .classical(0.9))
  private let rows: RowBatch
  private let labels: [Int]
  private let batchRowCount: Int
  private let width: Int
  private var epochCount = 0

  init(
    _ frozen: FrozenNetwork, _ preprocessing: Preprocessing, _ dataset: any Dataset, batchRowCount: Int, width: Int
  ) throws {
    let network = frozen.network
    paths = network.nodes.indices.flatMap { index in
      network.nodes[index].layer.parameterSpecs(for: network.nodes[index].inputs.map { network.shapes[$0] })
        .filter(\.isTrained).map { ParameterPath(node: network.nodes[index].name, parameter: $0.name) }
    }.sorted()
    values = paths.compactMap { frozen.parameters[$0] }
    plan = try NativeBackend().prepareTraining(
      frozen, preprocessing: preprocessing, outputs: [network.exits[network.exits.count - 1].logits], of: Set(paths))
    rows = try dataset.inputs(0..<dataset.rowCount)
    labels = try dataset.labels(0..<dataset.rowCount)
    self.batchRowCount = batchRowCount
    self.width = width
  }

  var rowCount: Int { labels.count }
  var parameterCount: Int { values.reduce(0) { $0 + $1.count } }

  /// One pass over all rows by gradient descent with momentum.
  ///
  /// - Returns: the mean loss of the rows, each before the step that it took part in.
  mutating func run() async throws -> Double {
    let order = RandomKey(seed: 1).child(epochCount).permutation(rowCount)
    epochCount += 1
    var sum = 0.0
    for start in stride(from: 0, to: rowCount, by: batchRowCount) {
      let chosen = Array(order[start..<min(rowCount, start + batchRowCount)])
      let result = try await gradients(chosen)
      // So slow that the loss stays that of the checkpoint, by which other programs' work is compared.
      optimizer.update(&values, gradients: paths.compactMap { result.parameters[$0] }, learningRate: 1e-6)
      sum += result.loss * Double(chosen.count)
    }
    return sum / Double(rowCount)
  }

  private func gradients(_ chosen: [Int]) async throws -> TrainingGradients {
    var parameters = Parameters()
    for (path, value) in zip(paths, values) { parameters[path] = value }
    return try await plan.gradients(at: [rows.rows(chosen)], parameters: parameters, width: width) { outputs, slice in
      let value = try SoftmaxCrossEntropy()(outputs[0], labels: chosen[slice].map { labels[$0] })
      let loss = WeightedLoss([value], weights: [1 / Double(chosen.count)])
      return LossGradient(value: loss.value, cotangents: loss.cotangents)
    }
  }
}

/// What is ready to be trained.
private struct EpochFacts: Encodable {
  var rows: Int
  var parameters: Int
}

/// Seconds of a pass, and the mean loss of its rows.
private struct EpochTime: Encodable {
  var seconds: Double
  var loss: Double
}

extension Session {
  mutating func prepareEpochs(_ arguments: inout Arguments) throws -> some Encodable {
    let checkpoint = try arguments.text("checkpoint")
    let data = try arguments.text("data")
    let rowCount = try arguments.count("number of rows")
    let batchRowCount = try arguments.count("rows of a batch")
    let width = try arguments.count("width")
    epochs = nil  // the last bench's memory is free before the next one needs its own
    let dataset = try openDataset(data, options: DatasetOptions(rows: 0..<rowCount))
    let bench = try EpochBench(
      CheckpointModel(checkpoint).frozen, preprocessing, dataset, batchRowCount: batchRowCount, width: width)
    epochs = bench
    return EpochFacts(rows: bench.rowCount, parameters: bench.parameterCount)
  }

  mutating func timeEpoch() async throws -> some Encodable {
    guard var bench = epochs else { throw CommandError("Nothing is prepared for epochs; 'epochs' first.") }
    epochs = nil  // values that two hold would be copied by the first step
    defer { epochs = bench }
    let start = ContinuousClock.now
    let loss = try await bench.run()
    return EpochTime(seconds: (ContinuousClock.now - start) / .seconds(1), loss: loss)
  }
}
