public import BayesTensor

/// A network, or the part of one between given nodes and others, compiled: packed weights, planned
/// memory, any number of runs.
public protocol PreparedNetwork: Sendable {
  /// The outputs of the prepared nodes for some rows, on up to `width` tasks.
  ///
  /// - Parameter inputs: one batch a given node, of equally many rows, in the order they were named.
  /// - Shapes: `[rows] + shape of the node`, one tensor for each output asked for.
  /// - Determinism: a row's bits depend neither on `width` nor on the rows beside it.
  /// - Throws: `NumericalError` when the native library fails, or as `IndexRequirement`; `CancellationError`.
  func callAsFunction(_ inputs: [RowBatch], width: Int) async throws -> [Tensor<Float>]

  /// Bytes that the network holds while it runs on `width` tasks: packed weights and, for more than no task, working memory.
  func residentByteCount(width: Int) -> Int

  /// The same part of a network of the same graph with other parameters.
  ///
  /// It takes less time than preparing it anew, and shares this one's working memory.
  ///
  /// - Parameter frozen: gives that network; it is called now and, for what is only compiled when it is needed, later.
  /// - Throws: what `frozen` throws; as `NetworkBackend.prepare`.
  func replacingParameters(
    _ frozen: @escaping @Sendable () throws -> FrozenNetwork
  ) throws -> any PreparedNetwork
}

extension PreparedNetwork {
  /// The outputs of a network that was prepared for one input.
  public func callAsFunction(_ rows: RowBatch, width: Int) async throws -> [Tensor<Float>] {
    try await self([rows], width: width)
  }
}

/// A backend that can compile networks.
public protocol NetworkBackend: Backend {
  /// Compiles the part of a network that leads from given nodes to chosen ones.
  ///
  /// - Parameters:
  ///   - preprocessing: applied to every row of the network's own input, where that is given.
  ///   - inputs: nodes whose outputs are given.
  ///   - outputs: nodes whose outputs are wanted.
  /// - Throws: `NetworkError` when the preprocessing does not fit the input's channels, or the outputs
  ///   need more than is given; `NumericalError` when the native library refuses.
  func prepare(
    _ frozen: FrozenNetwork, preprocessing: Preprocessing, inputs: [Int], outputs: [Int]
  ) throws -> any PreparedNetwork

  /// Compiles the part of a network that leads from given nodes to chosen ones for gradients.
  ///
  /// - Parameters:
  ///   - preprocessing: applied to every row of the network's own input, where that is given.
  ///   - inputs: nodes whose outputs are given.
  ///   - outputs: nodes whose outputs a loss is computed from.
  ///   - paths: the parameters whose gradients are wanted.
  ///   - includingInputs: whether the gradients with respect to the inputs are wanted.
  /// - Throws: `NetworkError` as `prepare`, for a path that names no parameter or one that is never trained,
  ///   and for a layer on the way that has no pullback; `NumericalError` when the native library refuses.
  func prepareTraining(
    _ frozen: FrozenNetwork, preprocessing: Preprocessing, inputs: [Int], outputs: [Int],
    of paths: Set<ParameterPath>, includingInputs: Bool
  ) throws -> any TrainingPlan
}

extension NetworkBackend {
  /// Compiles a network from its input on for the gradients of chosen parameters.
  public func prepareTraining(
    _ frozen: FrozenNetwork, preprocessing: Preprocessing = .identity, outputs: [Int], of paths: Set<ParameterPath>
  ) throws -> any TrainingPlan {
    try prepareTraining(
      frozen, preprocessing: preprocessing, inputs: [0], outputs: outputs, of: paths, includingInputs: false)
  }

  /// Compiles a network from its input on.
  public func prepare(
    _ frozen: FrozenNetwork, preprocessing: Preprocessing, outputs: [Int]
  ) throws -> any PreparedNetwork {
    try prepare(frozen, preprocessing: preprocessing, inputs: [0], outputs: outputs)
  }
}

extension Network {
  /// Refuses outputs that do not follow from what is given.
  public func requireReachable(_ outputs: [Int], given inputs: [Int]) throws(NetworkError) {
    for node in inputs + outputs where !nodes.indices.contains(node) {
      throw NetworkError("The network has \(nodes.count) nodes; there is none with index \(node).")
    }
    guard inputs.contains(0) || !isNeeded(for: outputs, given: inputs)[0] else {
      let names = inputs.map { "'\(nodes[$0].name)'" }.joined(separator: ", ")
      throw NetworkError("What is asked for needs the network's input besides \(names).")
    }
  }
}

extension ReferenceBackend: NetworkBackend {
  public func prepare(
    _ frozen: FrozenNetwork, preprocessing: Preprocessing, inputs: [Int], outputs: [Int]
  ) throws -> any PreparedNetwork {
    try frozen.network.requireReachable(outputs, given: inputs)
    return ReferencePreparedNetwork(
      frozen: frozen, map: try InputMap(preprocessing, for: frozen.network.inputShape), inputs: inputs,
      outputs: outputs)
  }
}

extension ReferenceBackend {
  public func prepareTraining(
    _ frozen: FrozenNetwork, preprocessing: Preprocessing, inputs: [Int], outputs: [Int],
    of paths: Set<ParameterPath>, includingInputs: Bool
  ) throws -> any TrainingPlan {
    try frozen.network.requireReachable(outputs, given: inputs)
    try frozen.network.requireGradients(
      of: outputs, given: inputs, withRespectTo: paths, includingInputs: includingInputs)
    return ReferenceTrainingPlan(
      frozen: frozen, map: try InputMap(preprocessing, for: frozen.network.inputShape), inputs: inputs,
      outputs: outputs, paths: paths, includingInputs: includingInputs)
  }
}

/// The layer-by-layer way back behind the interface of training plans.
private struct ReferenceTrainingPlan: TrainingPlan {
  let frozen: FrozenNetwork
  let map: InputMap
  let inputs: [Int]
  let outputs: [Int]
  let paths: Set<ParameterPath>
  let includingInputs: Bool

  func gradients(
    at batches: [RowBatch], parameters: Parameters, width: Int,
    of loss: @escaping @Sendable (_ outputs: [Tensor<Float>], _ rows: Range<Int>) throws -> LossGradient
  ) async throws -> TrainingGradients {
    try Task.checkCancellation()
    try IndexRequirement(of: frozen.network, given: inputs, for: outputs, map: map)(batches)
    var given: [Int: Tensor<Float>] = [:]
    for (node, rows) in zip(inputs, batches) {
      let shape = frozen.network.shapes[node].batched(rows.count)
      given[node] = (node == 0 ? map(rows) : rows.tensor).reshaped(to: shape)
    }
    let rowCount = batches.first?.count ?? 0
    var value = 0.0
    let gradients = try frozen.network.gradients(
      of: outputs, given: given, parameters: frozen.parameters.replacing(parameters), withRespectTo: paths,
      includingInputs: includingInputs, on: ReferenceBackend()
    ) { outputs in
      let result = try loss(outputs, 0..<rowCount)
      value = result.value
      return result.cotangents
    }
    return TrainingGradients(
      loss: value, parameters: Parameters(gradients.parameters),
      inputs: includingInputs ? inputs.compactMap { gradients.inputs[$0] } : [])
  }
}

/// The layer-by-layer path behind the interface of prepared networks.
private struct ReferencePreparedNetwork: PreparedNetwork {
  let frozen: FrozenNetwork
  let map: InputMap
  let inputs: [Int]
  let outputs: [Int]

  /// Layer by layer, every value of a batch is alive at some time; one row's share stands for it.
  func residentByteCount(width: Int) -> Int {
    4 * (frozen.parameters.count + frozen.network.shapes.reduce(0) { $0 + $1.elementCount })
  }

  func replacingParameters(
    _ frozen: @escaping @Sendable () throws -> FrozenNetwork
  ) throws -> any PreparedNetwork {
    ReferencePreparedNetwork(frozen: try frozen(), map: map, inputs: inputs, outputs: outputs)
  }

  func callAsFunction(_ batches: [RowBatch], width: Int) async throws -> [Tensor<Float>] {
    try Task.checkCancellation()
    try IndexRequirement(of: frozen.network, given: inputs, for: outputs, map: map)(batches)
    var given: [Int: Tensor<Float>] = [:]
    for (node, rows) in zip(inputs, batches) {
      let shape = frozen.network.shapes[node].batched(rows.count)
      given[node] = (node == 0 ? map(rows) : rows.tensor).reshaped(to: shape)
    }
    let values = frozen.network.values(
      of: outputs, given: given, parameters: frozen.parameters, on: ReferenceBackend())
    return outputs.compactMap { values[$0] }
  }
}

/// Preprocessing resolved for the channels of one network's input.
public struct InputMap: Sendable {
  /// One factor a channel.
  public let factors: [Float]
  /// One offset a channel.
  public let offsets: [Float]

  /// - Throws: `NetworkError` when the number of means or deviations does not fit the channels.
  public init(_ preprocessing: Preprocessing, for inputShape: Shape) throws(NetworkError) {
    let channels = inputShape.dimensions.last ?? 1
    guard let affine = preprocessing.affine(channels: channels) else {
      throw NetworkError(
        "The preprocessing has \(preprocessing.mean.count) means and "
          + "\(preprocessing.standardDeviation.count) deviations, but the input has \(channels) channels.")
    }
    (factors, offsets) = affine
  }

  /// The rows as a tensor, each channel mapped to `x · factor + offset`.
  public func callAsFunction(_ rows: RowBatch) -> Tensor<Float> {
    let channels = factors.count
    var tensor = rows.tensor
    tensor.withMutableSpan { span in
      for position in 0..<span.count {
        let channel = position % channels
        span[position] = span[position] * factors[channel] + offsets[channel]
      }
    }
    return tensor
  }
}
