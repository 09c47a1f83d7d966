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
        output: operations[index].outputShape.asImage.batched(rowCount), kind, geometry, notesChoices: true, engine)
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
  func load(_ parameters: Parameters) throws(NumericalError) {
    for (index, operation) in graph.forward.operations.enumerated() where graph.isTrained[index] {
      let own = tensors(of: operation.node, parameters)
      switch (operation.kind, frozen.network.nodes[operation.node].layer) {
      case (.convolution, _), (.dense, _):
        var (weight, bias) = (own[0], own.count > 1 ? own[1] : nil)
        if let (layer, node) = normalization(of: operation) {
          (weight, bias) = folding(layer.affine(tensors(of: node, parameters)), into: weight, bias)
        }
        try weights.replace(weight, bias: bias, for: operation.output)
      case (.channelMap, let layer as BatchNormalization):
        let (factors, offsets) = layer.affine(own)
        weights.replace(factors.map { Float($0) }, offsets.map { Float($0) }, for: operation.output)
      default: weights.replace(own, for: operation.output)
      }
    }
  }

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
  func gradients(_ sums: GradientSums, of paths: Set<ParameterPath>, _ parameters: Parameters)
    throws(NumericalError) -> Parameters
  {
    var result = Parameters()
    func set(_ gradient: @autoclosure () -> Tensor<Float>, _ path: ParameterPath) {
      if paths.contains(path) { result[path] = gradient() }
    }
    for (index, operation) in graph.forward.operations.enumerated() where graph.isTrained[index] {
      let specs = frozen.network.parameterSpecs(of: operation.node)
      let own = tensors(of: operation.node, parameters)
      switch (operation.kind, frozen.network.nodes[operation.node].layer) {
      case (.convolution(_, let groups, _, _), _):
        try unfold(
          index, plain: MemoryDescriptor(weights: own[0].shape, groups: groups), own, specs, sums, parameters,
          set)
      case (.dense, _):
        try unfold(
          index, plain: MemoryDescriptor([own[0].shape[1], own[0].shape[0]], dnnl_ba), own, specs, sums, parameters,
          set)
      case (.channelMap, let layer as BatchNormalization):
        let term = sums.terms[index]
        let channels = own[own.count - 1].count
        let products = term?.weight.tensor([channels]) ?? Tensor(zeros: [channels])
        let plain = term?.bias.tensor([channels]) ?? Tensor(zeros: [channels])
        setNormalization(operation.node, layer, own, products: products, sums: plain, set)
      default:
        for (gradient, spec) in zip(sums.layerGradients(of: index), specs) {
          if let gradient { set(gradient, spec.path) }
        }
      }
    }
    // No output depends on what is still missing.
    for spec in frozen.network.parameterSpecs where paths.contains(spec.path) && result[spec.path] == nil {
      result[spec.path] = Tensor(zeros: spec.shape)
    }
    return result
  }

  /// The gradients of a linear map and of the normalisation that was folded into its weights.
  ///
  /// With `W' = W s`, `b' = b s + o − m s` and `s = scale / √(variance + ε)`:
  /// `∂W = ∂W' s`, `∂b = ∂b' s`, `∂scale = (Σ ∂W' W + ∂b' (b − m)) / √(variance + ε)`, `∂offset = ∂b'`.
  private func unfold(
    _ index: Int, plain: MemoryDescriptor, _ own: [Tensor<Float>],
    _ specs: [(path: ParameterPath, shape: Shape)], _ sums: GradientSums, _ parameters: Parameters,
    _ set: (@autoclosure () -> Tensor<Float>, ParameterPath) -> Void
  ) throws(NumericalError) {
    guard let term = sums.terms[index], let order = orders[index] else { return }
    let target = try Memory(plain, in: AlignedBuffer(byteCount: plain.byteCount), engine)
    try Reorder(from: Memory(order, in: term.weight, engine), order, to: target, plain, engine).run()
    let weight = target.buffer.tensor(own[0].shape)
    let channels = own[0].shape.dimensions.last ?? 1
    let bias = term.bias.tensor([channels])
    guard let (layer, node) = normalization(of: graph.forward.operations[index]) else {
      set(weight, specs[0].path)
      if specs.count > 1 { set(bias, specs[1].path) }
      return
    }
    let stored = tensors(of: node, parameters)
    let factors = layer.affine(stored).factors.map { Float($0) }
    set(weight.multiplyingChannels(by: factors), specs[0].path)
    if specs.count > 1 { set(bias.multiplyingChannels(by: factors), specs[1].path) }
    // `Σ ∂W' W + ∂b' b` is what the map's own result would have given.
    var products = [Double](repeating: 0, count: channels)
    for position in 0..<weight.count {
      products[position % channels] += Double(weight[position]) * Double(own[0][position])
    }
    if own.count > 1 {
      for channel in 0..<channels { products[channel] += Double(bias[channel]) * Double(own[1][channel]) }
    }
    setNormalization(
      node, layer, stored, products: Tensor(shape: [channels], products.map { Float($0) }), sums: bias, set)
  }

  /// The gradients of a normalisation from `products = Σ cotangent · input` and `sums = Σ cotangent`.
  private func setNormalization(
    _ node: Int, _ layer: BatchNormalization, _ stored: [Tensor<Float>], products: Tensor<Float>,
    sums: Tensor<Float>, _ set: (@autoclosure () -> Tensor<Float>, ParameterPath) -> Void
  ) {
    let specs = frozen.network.parameterSpecs(of: node)
    let (means, variances) = (stored[stored.count - 2], stored[stored.count - 1])
    if layer.scales {
      let gradient = (0..<products.count).map { channel in
        (products[channel] - means[channel] * sums[channel])
          / (variances[channel] + Float(layer.epsilon)).squareRoot()
      }
      set(Tensor(shape: [products.count], gradient), specs[0].path)
    }
    if layer.centers { set(sums, specs[layer.scales ? 1 : 0].path) }
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
}

extension Tensor<Float> {
  fileprivate func multiplyingChannels(by factors: [Float]) -> Tensor {
    var result = self
    result.withMutableSpan { span in
      for start in stride(from: 0, to: span.count, by: factors.count) {
        for channel in factors.indices { span[start + channel] *= factors[channel] }
      }
    }
    return result
  }
}
