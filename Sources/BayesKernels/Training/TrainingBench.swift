import BayesNetwork
import BayesTensor
import COneDNN
import Synchronization

/// Compiled steps with weights of their own, which change from call to call, and the memory of those who
/// run them; for one call at a time.
final class TrainingBench: Sendable {
  private let frozen: FrozenNetwork
  private let graph: TrainingGraph
  private let arena: ArenaPlan
  private let rowCount: Int
  private let engine: Engine
  private let weights: PackedWeights
  private let forward: [PreparedStep]
  private let backward: [PreparedBackwardStep]
  private let restingWorkers = Mutex<[TrainingWorker]>([])
  private let restingSums = Mutex<[GradientSums]>([])
  /// Room for the largest gradient of a weight in plain order, one buffer a task that needed it at once.
  private let restingPlains = Mutex<[AlignedBuffer]>([])
  /// For trained convolutions and products, what turns summed gradients into plain order.
  private let orders: [Int: MemoryDescriptor]
  private let sumSizes: [Int: (weight: Int, bias: Int)]

  init(_ frozen: FrozenNetwork, _ graph: TrainingGraph, rowCount: Int, _ engine: Engine) throws(NumericalError) {
    ThreadBudget.claimSingleThread()
    self.frozen = frozen
    self.graph = graph
    self.rowCount = rowCount
    self.engine = engine
    let operations = graph.forward.operations
    weights = PackedWeights(
      engine, changing: Set(operations.indices.filter { graph.isTrained[$0] }.map { operations[$0].output }))

    var notes: [Int: Int] = [:]
    for index in graph.workspaces.keys {
      guard case .pooling(let kind, let geometry) = operations[index].kind else { continue }
      let primitive = try Primitive.pooling(
        input: operations[index].inputs[0].shape.batched(rowCount),
        output: operations[index].outputShape.asImage.batched(rowCount), order: operations[index].orders.input, kind,
        geometry, notesChoices: true, engine)
      notes[index] = primitive.workspace.byteCount
    }
    let arena = graph.arena(rowCount: rowCount) { notes[$0] ?? 0 }
    self.arena = arena

    var forward: [PreparedStep] = []
    for (index, operation) in operations.enumerated() {
      forward.append(
        try PreparedStep(
          operation, arena, accumulates: arena.takesOver[index], rowCount: rowCount, weights,
          workspace: graph.workspaces[index].map { arena.offsets[$0] }, engine))
    }
    self.forward = forward
    var backward: [PreparedBackwardStep] = []
    var orders: [Int: MemoryDescriptor] = [:]
    var sizes: [Int: (weight: Int, bias: Int)] = [:]
    for step in graph.backward {
      let prepared = try PreparedBackwardStep(step, graph, arena, rowCount: rowCount, weights, engine)
      backward.append(prepared)
      if let gradient = prepared.weightGradient {
        orders[gradient.operation] = gradient.weight
        sizes[gradient.operation] = (gradient.weight.byteCount, gradient.bias.byteCount)
      } else if case .channelSums = step.kind, let index = step.operation {
        let byteCount = operations[index].outputShape.dimensions.last.map { $0 * MemoryLayout<Float>.stride } ?? 0
        sizes[index] = (byteCount, byteCount)
      }
    }
    self.backward = backward
    self.orders = orders
    sumSizes = sizes
  }

  /// The rows of a slice of a network whose activations must all be kept: few enough for the caches that
  /// cores share, many enough that summing gradients costs little.
  static func sliceRowCount(_ graph: TrainingGraph) -> Int {
    let bytesPerRow = max(1, graph.arena(rowCount: 1) { _ in 0 }.byteCount)
    return min(16, max(1, 33_554_432 / bytesPerRow))
  }

  /// Sets the trained weights, from `parameters` where they hold them, else from the frozen network.
  func load(_ parameters: Parameters, width: Int) async throws {
    let trained = trainedOperations
    try await share(trained.count, width: width) { try self.load(parameters, into: trained[$0]) }
  }

  private func load(_ parameters: Parameters, into index: Int) throws(NumericalError) {
    ThreadBudget.claimSingleThread()
    let operation = graph.forward.operations[index]
    let own = tensors(of: operation.node, parameters)
    switch (operation.kind, frozen.network.nodes[operation.node].layer) {
    case (.convolution, _), (.dense, _):
      let bias = own.count > 1 ? own[1] : nil
      guard let (layer, node) = normalization(of: operation) else {
        return try weights.replace(own[0], times: nil, bias: bias, for: operation.output)
      }
      let affine = layer.affine(tensors(of: node, parameters))
      try weights.replace(own[0], times: affine.factors, bias: folding(affine, into: bias), for: operation.output)
    case (.channelMap, let layer as BatchNormalization):
      let (factors, offsets) = layer.affine(own)
      weights.replace(factors.map { Float($0) }, offsets.map { Float($0) }, for: operation.output)
    default: weights.replace(own, for: operation.output)
    }
  }

  private var trainedOperations: [Int] { graph.isTrained.indices.filter { graph.isTrained[$0] } }

  private func tensors(of node: Int, _ parameters: Parameters) -> [Tensor<Float>] {
    frozen.network.parameterSpecs(of: node).compactMap { parameters[$0.path] ?? frozen.parameters[$0.path] }
  }

  private func normalization(of operation: FusedOperation) -> (layer: BatchNormalization, node: Int)? {
    guard let node = operation.normalization, let layer = frozen.network.nodes[node].layer as? BatchNormalization
    else { return nil }
    return (layer, node)
  }

  func takeSums() -> GradientSums {
    if let sums = restingSums.withLock({ $0.popLast() }) {
      sums.reset()
      return sums
    }
    return GradientSums(sumSizes)
  }

  func rest(_ sums: [GradientSums]) { restingSums.withLock { $0 += sums } }

  /// Runs `count` rows from row `start` on forward and back; loss and gradients are added to `sums`.
  func run(
    _ inputs: [RowBatch], through loaders: [InputLoader], from start: Int, count: Int, sums: GradientSums,
    inputGradients: [AlignedBuffer],
    of loss: (_ outputs: [Tensor<Float>], _ rows: Range<Int>) throws -> LossGradient
  ) throws {
    ThreadBudget.claimSingleThread()
    let worker: TrainingWorker
    if let rested = restingWorkers.withLock({ $0.popLast() }) {
      worker = rested
    } else {
      worker = try TrainingWorker(forward, backward, arenaByteCount: arena.byteCount, sumSizes, engine)
    }
    for (index, value) in graph.forward.inputs.enumerated() {
      unsafe loaders[index].load(
        inputs[index], from: start, count: count, into: worker.arena.floats(at: arena.offsets[value]),
        capacity: rowCount)
    }
    for step in worker.forward { try step.run(worker.stream, worker.arena) }
    let outputs = graph.forward.outputs.map { output in
      unsafe Tensor<Float>(
        shape: output.shape.batched(count), copying: worker.arena.pointer + arena.offsets[output.value])
    }
    let result = try loss(outputs, start..<start + count)
    precondition(
      result.cotangents.map(\.shape) == outputs.map(\.shape),
      "Cotangents of \(result.cotangents.map(\.shape)) do not fit outputs of \(outputs.map(\.shape)).")
    for (cotangent, value) in zip(result.cotangents, graph.cotangents) {
      let target = unsafe worker.arena.floats(at: arena.offsets[value])
      cotangent.withSpan { span in
        for position in 0..<span.count { unsafe target[position] = span[position] }
      }
      // Rows that only fill the slice have no loss.
      unsafe (target + cotangent.count).update(
        repeating: 0, count: rowCount * cotangent.shape.row.elementCount - cotangent.count)
    }
    for step in worker.backward { try step.run(worker.stream, worker.arena, sums) }
    for (index, buffer) in inputGradients.enumerated() {
      let width = graph.forward.elementCounts[graph.forward.inputs[index]]
      guard let value = graph.inputGradients[index] else { continue }
      unsafe (buffer.floats(at: 0) + start * width).update(
        from: worker.arena.floats(at: arena.offsets[value]), count: count * width)
    }
    sums.add(loss: result.value)
    restingWorkers.withLock { $0.append(worker) }
  }

  /// The gradients of the chosen parameters from the sums over all rows.
  ///
  /// - Parameter sums: what tasks have summed; all is added to the first.
  func gradients(_ sums: [GradientSums], of paths: Set<ParameterPath>, _ parameters: Parameters, width: Int)
    async throws -> Parameters
  {
    let trained = trainedOperations
    let found = Mutex<Parameters>(Parameters())
    try await share(trained.count, width: width) { position in
      let index = trained[position]
      for other in sums.dropFirst() { sums[0].add(other, of: index) }
      let gradients = try self.gradients(sums[0], of: index, parameters)
      found.withLock { found in
        for (path, gradient) in gradients where paths.contains(path) { found[path] = gradient }
      }
    }
    var result = found.withLock { $0 }
    // No output depends on what is still missing.
    for spec in frozen.network.parameterSpecs where paths.contains(spec.path) && result[spec.path] == nil {
      result[spec.path] = Tensor(zeros: spec.shape)
    }
    return result
  }

  private typealias Gradient = (path: ParameterPath, value: Tensor<Float>)

  private func gradients(_ sums: GradientSums, of index: Int, _ parameters: Parameters) throws(NumericalError)
    -> [Gradient]
  {
    ThreadBudget.claimSingleThread()
    let operation = graph.forward.operations[index]
    let specs = frozen.network.parameterSpecs(of: operation.node)
    let own = tensors(of: operation.node, parameters)
    switch (operation.kind, frozen.network.nodes[operation.node].layer) {
    case (.convolution(_, let groups, _, _), _):
      return try unfold(
        index, plain: MemoryDescriptor(weights: own[0].shape, groups: groups), own, specs, sums, parameters)
    case (.dense, _):
      return try unfold(
        index, plain: MemoryDescriptor([own[0].shape[1], own[0].shape[0]], dnnl_ba), own, specs, sums, parameters)
    case (.channelMap, let layer as BatchNormalization):
      guard let term = sums.begin(index) else { return [] }
      let channels = own[own.count - 1].count
      return normalizationGradients(
        operation.node, layer, own, products: term.weight.tensor([channels]), sums: term.bias.tensor([channels]))
    default:
      return zip(sums.layerGradients(of: index), specs).compactMap { gradient, spec in
        gradient.map { (spec.path, $0) }
      }
    }
  }

  /// The gradients of a linear map and of the normalisation that was folded into its weights.
  ///
  /// With `W' = W s`, `b' = b s + o − m s` and `s = scale / √(variance + ε)`:
  /// `∂W = ∂W' s`, `∂b = ∂b' s`, `∂scale = (Σ ∂W' W + ∂b' (b − m)) / √(variance + ε)`, `∂offset = ∂b'`.
  private func unfold(
    _ index: Int, plain: MemoryDescriptor, _ own: [Tensor<Float>],
    _ specs: [(path: ParameterPath, shape: Shape)], _ sums: GradientSums, _ parameters: Parameters
  ) throws(NumericalError) -> [Gradient] {
    guard let term = sums.begin(index), let order = orders[index] else { return [] }
    let room = restingPlains.withLock { $0.popLast() } ?? AlignedBuffer(byteCount: largestPlainByteCount)
    defer { restingPlains.withLock { $0.append(room) } }
    try Reorder(
      from: Memory(order, in: term.weight, engine), order, to: Memory(plain, in: room, engine), plain, engine
    ).run()
    let channels = own[0].shape.dimensions.last ?? 1
    let bias = term.bias.tensor([channels])
    guard let (layer, node) = normalization(of: graph.forward.operations[index]) else {
      return [(specs[0].path, room.tensor(own[0].shape))] + (specs.count > 1 ? [(specs[1].path, bias)] : [])
    }
    let stored = tensors(of: node, parameters)
    let factors = layer.affine(stored).factors.map { Float($0) }
    // `Σ ∂W' W + ∂b' b` is what the map's own result would have given.
    var products = room.products(with: own[0], channelCount: channels)
    var gradients: [Gradient] = [(specs[0].path, room.tensor(own[0].shape, times: factors))]
    if specs.count > 1 {
      gradients.append((specs[1].path, bias.multiplyingChannels(by: factors)))
      for channel in 0..<channels { products[channel] += Double(bias[channel]) * Double(own[1][channel]) }
    }
    return gradients
      + normalizationGradients(
        node, layer, stored, products: Tensor(shape: [channels], products.map { Float($0) }), sums: bias)
  }

  private var largestPlainByteCount: Int {
    graph.forward.operations.reduce(0) { largest, operation in
      switch operation.kind {
      case .convolution(_, _, let weight, _), .dense(let weight, _):
        max(largest, weight.count * MemoryLayout<Float>.stride)
      default: largest
      }
    }
  }

  /// The gradients of a normalisation from `products = Σ cotangent · input` and `sums = Σ cotangent`.
  private func normalizationGradients(
    _ node: Int, _ layer: BatchNormalization, _ stored: [Tensor<Float>], products: Tensor<Float>,
    sums: Tensor<Float>
  ) -> [Gradient] {
    let specs = frozen.network.parameterSpecs(of: node)
    let (means, variances) = (stored[stored.count - 2], stored[stored.count - 1])
    var gradients: [Gradient] = []
    if layer.scales {
      let gradient = (0..<products.count).map { channel in
        (products[channel] - means[channel] * sums[channel])
          / (variances[channel] + Float(layer.epsilon)).squareRoot()
      }
      gradients.append((specs[0].path, Tensor(shape: [products.count], gradient)))
    }
    if layer.centers { gradients.append((specs[layer.scales ? 1 : 0].path, sums)) }
    return gradients
  }
}

/// One thread's memory, and the compiled steps bound to it.
final class TrainingWorker: Sendable {
  let arena: AlignedBuffer
  let stream: Stream
  let forward: [BoundStep]
  let backward: [BoundBackwardStep]

  init(
    _ forward: [PreparedStep], _ backward: [PreparedBackwardStep], arenaByteCount: Int,
    _ sumSizes: [Int: (weight: Int, bias: Int)], _ engine: Engine
  ) throws(NumericalError) {
    arena = AlignedBuffer(byteCount: arenaByteCount)
    stream = try Stream(engine)
    let scratch = AlignedBuffer(
      byteCount: (forward.map(\.scratchByteCount) + backward.map(\.scratchByteCount)).reduce(0, max))
    let weight = AlignedBuffer(byteCount: sumSizes.values.reduce(0) { max($0, $1.weight) })
    let bias = AlignedBuffer(byteCount: sumSizes.values.reduce(0) { max($0, $1.bias) })
    var boundForward: [BoundStep] = []
    for step in forward { boundForward.append(try step.bound(to: arena, scratch: scratch, engine)) }
    self.forward = boundForward
    var boundBackward: [BoundBackwardStep] = []
    for step in backward {
      boundBackward.append(try step.bound(to: arena, scratch: scratch, weight: weight, bias: bias, engine))
    }
    self.backward = boundBackward
  }
}

extension AlignedBuffer {
  /// The numbers at the beginning as a tensor.
  fileprivate func tensor(_ shape: Shape) -> Tensor<Float> { unsafe Tensor(shape: shape, copying: pointer) }

  /// For each channel, the last axis of a tensor, the sum of the products of the buffer's numbers and the tensor's.
  fileprivate func products(with tensor: Tensor<Float>, channelCount: Int) -> [Double] {
    var products = [Double](repeating: 0, count: channelCount)
    let numbers = unsafe floats(at: 0)
    var sums = products.mutableSpan
    tensor.withSpan { span in
      for start in stride(from: 0, to: span.count, by: channelCount) {
        for channel in 0..<channelCount {
          unsafe sums[channel] += Double(numbers[start + channel]) * Double(span[start + channel])
        }
      }
    }
    return products
  }

  /// The numbers at the beginning as a tensor, multiplied channel after channel.
  fileprivate func tensor(_ shape: Shape, times factors: [Float]) -> Tensor<Float> {
    let numbers = unsafe floats(at: 0)
    return Tensor(shape: shape) { result in
      unsafe result.withUnsafeMutableBufferPointer { target, count in
        for start in stride(from: 0, to: shape.elementCount, by: factors.count) {
          for channel in factors.indices { unsafe target[start + channel] = numbers[start + channel] * factors[channel] }
        }
        count = shape.elementCount
      }
    }
  }
}

extension Tensor<Float> {
  fileprivate func multiplyingChannels(by factors: [Float]) -> Tensor {
    Tensor(shape: shape, zip(elements, factors).map { $0 * $1 })
  }
}
