public import BayesTensor

/// A network compiled for a fixed set of outputs: packed weights, planned memory, any number of runs.
public protocol PreparedNetwork: Sendable {
  /// The outputs of the prepared nodes for some rows, on up to `width` tasks.
  ///
  /// - Shapes: `[rows] + shape of the node`, one tensor for each output asked for.
  /// - Determinism: a row's bits depend neither on `width` nor on the rows beside it.
  /// - Throws: `NumericalError` when the native library fails; `CancellationError`.
  func callAsFunction(_ rows: RowBatch, width: Int) async throws -> [Tensor<Float>]

  /// Bytes that the network holds while it runs on `width` tasks: packed weights and working memory.
  func residentByteCount(width: Int) -> Int
}

/// A backend that can compile networks.
public protocol NetworkBackend: Backend {
  /// Compiles a network for the outputs of chosen nodes.
  ///
  /// - Parameter preprocessing: applied to every row before the first layer.
  /// - Throws: `NetworkError` when the preprocessing does not fit the input's channels;
  ///   `NumericalError` when the native library refuses.
  func prepare(
    _ frozen: FrozenNetwork, preprocessing: Preprocessing, outputs: [Int]
  ) throws -> any PreparedNetwork
}

extension ReferenceBackend: NetworkBackend {
  public func prepare(
    _ frozen: FrozenNetwork, preprocessing: Preprocessing, outputs: [Int]
  ) throws -> any PreparedNetwork {
    ReferencePreparedNetwork(
      frozen: frozen, map: try InputMap(preprocessing, for: frozen.network.inputShape), outputs: outputs)
  }
}

/// The layer-by-layer path behind the interface of prepared networks.
private struct ReferencePreparedNetwork: PreparedNetwork {
  let frozen: FrozenNetwork
  let map: InputMap
  let outputs: [Int]

  /// Layer by layer, every value of a batch is alive at some time; one row's share stands for it.
  func residentByteCount(width: Int) -> Int {
    4 * (frozen.parameters.count + frozen.network.shapes.reduce(0) { $0 + $1.elementCount })
  }

  func callAsFunction(_ rows: RowBatch, width: Int) async throws -> [Tensor<Float>] {
    try Task.checkCancellation()
    let shape = frozen.network.inputShape.batched(rows.count)
    return frozen.network.outputs(
      of: outputs, for: map(rows).reshaped(to: shape), parameters: frozen.parameters,
      on: ReferenceBackend())
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
