import Bayesify

/// Which weights a step changes.
enum TrainingScope: String, CaseIterable {
  case all
  /// Those of the first layer that has any.
  case first
  /// Those of the last third of the layers that have any, from activations computed beforehand.
  case last
}

/// A network prepared for training steps, with the state of its optimizer.
struct TrainingBench {
  private let plan: any TrainingPlan
  private let paths: [ParameterPath]
  private var values: [Tensor<Float>]
  private var optimizer = StochasticGradientDescent<Float>(momentum: .classical(0.9))
  /// The nodes that the plan starts from.
  let inputs: [Int]

  init(_ frozen: FrozenNetwork, _ scope: TrainingScope, sliceRowCount: Int?) throws {
    let network = frozen.network
    let layers = network.nodes.indices.map { index in
      network.nodes[index].layer.parameterSpecs(for: network.nodes[index].inputs.map { network.shapes[$0] })
        .filter(\.isTrained).map { ParameterPath(node: network.nodes[index].name, parameter: $0.name) }
    }.filter { !$0.isEmpty }
    let chosen: [[ParameterPath]] =
      switch scope {
      case .all: layers
      case .first: Array(layers.prefix(1))
      case .last: Array(layers.suffix(layers.count / 3))
      }
    let outputs = network.exits.map(\.logits)
    paths = chosen.joined().sorted()
    values = paths.compactMap { frozen.parameters[$0] }
    inputs = scope == .last ? try network.frozenBoundary(of: outputs, training: Set(paths)) : [0]
    plan = try NativeBackend(sliceRowCount: sliceRowCount).prepareTraining(
      frozen, preprocessing: .identity, inputs: inputs, outputs: outputs, of: Set(paths), includingInputs: false)
  }

  /// The mean over rows and positions of the sum over exits of the cross-entropy with made-up labels, and the gradients.
  func gradients(_ rows: [RowBatch], width: Int) async throws -> TrainingGradients {
    let count = rows[0].count
    var parameters = Parameters()
    for (path, value) in zip(paths, values) { parameters[path] = value }
    return try await plan.gradients(at: rows, parameters: parameters, width: width) { outputs, range in
      var losses: [LossValue<Float>] = []
      var positions: [Int] = []
      for logits in outputs {
        // Every pixel of a row has the row's label.
        let classCount = logits.shape.dimensions.last ?? 1
        positions.append(logits.shape.row.elementCount / classCount)
        let labels = range.flatMap { [Int](repeating: $0 % classCount, count: positions[positions.count - 1]) }
        losses.append(
          try SoftmaxCrossEntropy()(logits.reshaped(to: [labels.count, classCount]), labels: labels))
      }
      let loss = WeightedLoss(losses, weights: positions.map { 1 / Double(count * $0) })
      return LossGradient(
        value: loss.value, cotangents: zip(loss.cotangents, outputs).map { $0.reshaped(to: $1.shape) })
    }
  }

  /// One step of gradient descent with momentum.
  mutating func step(_ rows: [RowBatch], width: Int) async throws {
    let result = try await gradients(rows, width: width)
    optimizer.update(&values, gradients: paths.compactMap { result.parameters[$0] }, learningRate: 1e-6)
  }
}

/// By which a peer's gradients are compared with ours.
private struct GradientFacts: Encodable {
  var loss: Double
  /// The Euclidean norm of all gradients together.
  var norm: Double
}

extension Session {
  mutating func prepareTraining(_ arguments: inout Arguments) async throws -> some Encodable {
    let word = try arguments.text("scope")
    let rows = try arguments.count("rows")
    let width = try arguments.count("width")
    guard let scope = TrainingScope(rawValue: word) else {
      throw CommandError("'\(word)' is no scope; there are \(TrainingScope.allCases.map(\.rawValue)).")
    }
    training = nil  // the last bench's memory is free before the next one needs its own
    let forward = try loaded()
    let bench = try TrainingBench(forward.frozen, scope, sliceRowCount: forward.sliceRowCount)
    trainingRows = [try batch(rows)]
    if bench.inputs != [0] {
      let prefix = try NativeBackend().prepare(forward.frozen, preprocessing: .identity, outputs: bench.inputs)
      trainingRows = try await prefix(trainingRows, width: width).map { RowBatch($0) }
    }
    let result = try await bench.gradients(trainingRows, width: width)
    training = bench
    var squares = 0.0
    for path in result.parameters.paths {
      for element in result.parameters[path]?.elements ?? [] { squares += Double(element) * Double(element) }
    }
    return GradientFacts(loss: result.loss, norm: squares.squareRoot())
  }

  func writeGradients(_ arguments: inout Arguments) async throws -> some Encodable {
    let width = try arguments.count("width")
    let file = try arguments.text("file")
    let result = try await prepared().gradients(trainingRows, width: width)
    let writer = try HDF5ArchiveWriter(file, replacing: true)
    do {
      for path in result.parameters.paths.sorted() {
        if let gradient = result.parameters[path] { try writer.write(gradient, at: "/gradients/\(path)") }
      }
      try writer.finish()
    } catch {
      writer.discard()
      throw error
    }
    return Written(file: file)
  }

  private func prepared() throws(CommandError) -> TrainingBench {
    guard let training else { throw CommandError("Nothing is prepared for training; 'train' first.") }
    return training
  }

  mutating func timeSteps(_ arguments: inout Arguments) async throws -> Timings {
    let repeats = try arguments.count("repeats")
    let width = try arguments.count("width")
    var bench = try prepared()
    training = nil  // values that two hold would be copied by the first step
    defer { training = bench }
    var timings = Timings()
    for _ in 0..<repeats {
      let start = ContinuousClock.now
      try await bench.step(trainingRows, width: width)
      timings.add(ContinuousClock.now - start)
    }
    return timings
  }
}
