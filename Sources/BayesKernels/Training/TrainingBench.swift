import BayesNetwork
import BayesTensor
import COneDNN
import Synchronization

/// A graph's weights, which change from call to call, its compiled steps, and what makes gradients of weights from
/// their sums; for one call at a time.
final class TrainingBench: Sendable {
  private let frozen: FrozenNetwork
  private let graph: TrainingGraph
  private let engine: Engine
  private let weights: PackedWeights
  private let plans = Mutex<[TrainingSlicePlan.Form: TrainingSlicePlan]>([:])
  /// Room for the largest gradient of a weight in plain order, one buffer a task that needed it at once.
  private let restingPlains = Mutex<[AlignedBuffer]>([])

  init(_ frozen: FrozenNetwork, _ graph: TrainingGraph, _ engine: Engine) {
    self.frozen = frozen
    self.graph = graph
    self.engine = engine
    var changing: [Int: Tensor<Float>] = [:]
    for (operation, isTrained) in zip(graph.forward.operations, graph.isTrained) where isTrained {
      switch operation.kind {
      case .convolution(_, _, let weight, _), .dense(let weight, _): changing[operation.output] = weight
      default: break
      }
    }
    weights = PackedWeights(engine, changing: changing)
  }

  /// The steps compiled for some form of slices; those for others keep no memory for values.
  func plan(_ form: TrainingSlicePlan.Form) throws(NumericalError) -> TrainingSlicePlan {
    let known = plans.withLock { plans in
      for (other, plan) in plans where other != form { plan.releaseMemory() }
      return plans[form]
    }
    if let known { return known }
    let plan = try TrainingSlicePlan(graph, form, weights, engine)
    plans.withLock { $0[form] = plan }
    return plan
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

  /// The gradients of the chosen parameters from the sums over all rows.
  ///
  /// - Parameter sums: what tasks have summed with `plan`; all is added to the first.
  func gradients(
    _ sums: [GradientSums], _ plan: TrainingSlicePlan, of paths: Set<ParameterPath>, _ parameters: Parameters,
    width: Int
  ) async throws -> Parameters {
    let trained = trainedOperations
    let found = Mutex<Parameters>(Parameters())
    try await share(trained.count, width: width) { position in
      let index = trained[position]
      for other in sums.dropFirst() { sums[0].add(other, of: index) }
      let gradients = try self.gradients(sums[0], plan.orders[index], of: index, parameters)
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

  private func gradients(
    _ sums: GradientSums, _ order: MemoryDescriptor?, of index: Int, _ parameters: Parameters
  ) throws(NumericalError) -> [Gradient] {
    ThreadBudget.claimSingleThread()
    let operation = graph.forward.operations[index]
    let specs = frozen.network.parameterSpecs(of: operation.node)
    let own = tensors(of: operation.node, parameters)
    switch (operation.kind, frozen.network.nodes[operation.node].layer) {
    case (.convolution(_, let groups, _, _), _):
      return try unfold(
        index, order, plain: MemoryDescriptor(weights: own[0].shape, groups: groups), own, specs, sums, parameters)
    case (.dense, _):
      return try unfold(
        index, order, plain: MemoryDescriptor([own[0].shape[1], own[0].shape[0]], dnnl_ba), own, specs, sums,
        parameters)
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
    _ index: Int, _ order: MemoryDescriptor?, plain: MemoryDescriptor, _ own: [Tensor<Float>],
    _ specs: [(path: ParameterPath, shape: Shape)], _ sums: GradientSums, _ parameters: Parameters
  ) throws(NumericalError) -> [Gradient] {
    guard let term = sums.begin(index), let order else { return [] }
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
    let factors = layer.affine(stored).factors
    var (gradient, products) = room.unfolded(by: factors, own[0])
    var gradients: [Gradient] = [(specs[0].path, gradient)]
    // `Σ ∂W' W + ∂b' b` is what the map's own result would have given.
    if specs.count > 1 {
      gradients.append((specs[1].path, bias.multiplyingChannels(by: factors)))
      for channel in 0..<channels { products[channel] += Double(bias[channel]) * Double(own[1][channel]) }
    }
    return gradients
      + normalizationGradients(
        node, layer, stored, products: Tensor(shape: [channels], products.map { Float($0) }), sums: bias)
  }

  private var largestPlainByteCount: Int {
    trainedOperations.reduce(0) { largest, index in
      switch graph.forward.operations[index].kind {
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

extension AlignedBuffer {
  /// The numbers at the beginning as a tensor.
  fileprivate func tensor(_ shape: Shape) -> Tensor<Float> { unsafe Tensor(shape: shape, copying: pointer) }

  /// The numbers at the beginning, times one factor a channel, and for each channel the sum of their products with
  /// a weight, of which the last axis is the channels.
  fileprivate func unfolded(
    by factors: [Double], _ weight: Tensor<Float>
  ) -> (gradient: Tensor<Float>, products: [Double]) {
    let numbers = unsafe floats(at: 0)
    var products = [Double](repeating: 0, count: factors.count)
    var sums = products.mutableSpan
    let gradient = Tensor<Float>(shape: weight.shape) { result in
      unsafe result.withUnsafeMutableBufferPointer { target, count in
        weight.withSpan { weight in
          for start in stride(from: 0, to: weight.count, by: factors.count) {
            for channel in factors.indices {
              let number = unsafe Double(numbers[start + channel])
              unsafe target[start + channel] = Float(number * factors[channel])
              sums[channel] += number * Double(weight[start + channel])
            }
          }
          count = weight.count
        }
      }
    }
    return (gradient, products)
  }
}

extension Tensor<Float> {
  fileprivate func multiplyingChannels(by factors: [Double]) -> Tensor {
    Tensor(shape: shape, zip(elements, factors).map { Float(Double($0) * $1) })
  }
}
