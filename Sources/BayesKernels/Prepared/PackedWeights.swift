import BayesTensor
import COneDNN
import Synchronization

/// Weights in the orders that primitives want, each order made once however many primitives share it.
///
/// Those of an operation are known by the value that the operation makes, and those of a part of it by its first
/// filter too.
final class PackedWeights: Sendable {
  /// The parameters of a layer that computes with its own functions.
  final class LayerParameters: Sendable {
    private let stored: Mutex<[Tensor<Float>]>

    init(_ tensors: [Tensor<Float>]) { stored = Mutex(tensors) }

    var tensors: [Tensor<Float>] {
      get { stored.withLock { $0 } }
      set { stored.withLock { $0 = newValue } }
    }
  }

  private struct Part: Hashable {
    var value: Int
    var filters: Range<Int>
  }

  /// Weights that change, in plain order; through them new ones go into every order.
  private struct Plain {
    var shape: Shape
    var buffer: AlignedBuffer
  }

  private struct State {
    var weights: [Part: [(descriptor: MemoryDescriptor, memory: Memory)]] = [:]
    var reorders: [Int: [Reorder]] = [:]
    var biases: [Part: Memory] = [:]
    var channelMaps: [Int: AlignedBuffer] = [:]
    var layers: [Int: LayerParameters] = [:]
  }

  private let engine: Engine
  private let plains: [Int: Plain]
  private let state = Mutex(State())

  /// - Parameter changing: by the value that a linear map makes, its weights, if it gets others later.
  init(_ engine: Engine, changing: [Int: Tensor<Float>] = [:]) {
    self.engine = engine
    plains = changing.mapValues { Plain(shape: $0.shape, buffer: AlignedBuffer(copying: $0)) }
  }

  /// The weights of the operation that makes `value`, or of the part of it that starts with a filter.
  func packed(
    _ tensor: Tensor<Float>, from plain: MemoryDescriptor, to wanted: MemoryDescriptor, for value: Int,
    from filter: Int = 0
  ) throws(NumericalError) -> Memory {
    let part = Part(value: value, filters: filter..<filter + (tensor.shape.dimensions.last ?? 1))
    let known = state.withLock { $0.weights[part]?.first { $0.descriptor.isEqual(to: wanted) }?.memory }
    if let known { return known }
    let memory: Memory
    if let whole = plains[value] {
      memory = try Memory(wanted, in: AlignedBuffer(byteCount: wanted.byteCount), engine)
      let plain = tensor.shape == whole.shape ? plain : try MemoryDescriptor(filters: part.filters, of: whole.shape)
      let reorder = try Reorder(from: Memory(plain, in: whole.buffer, engine), plain, to: memory, wanted, engine)
      try reorder.run()
      state.withLock { $0.reorders[value, default: []].append(reorder) }
    } else {
      let source = try Memory(plain, in: AlignedBuffer(copying: tensor), engine)
      if plain.isEqual(to: wanted) {
        memory = source
      } else {
        memory = try Memory(wanted, in: AlignedBuffer(byteCount: wanted.byteCount), engine)
        try Reorder(from: source, plain, to: memory, wanted, engine).run()
      }
    }
    state.withLock { $0.weights[part, default: []].append((wanted, memory)) }
    return memory
  }

  /// The bias of the operation that makes `value`, or of the part of it that starts with a filter.
  func packed(bias: Tensor<Float>, for value: Int, from filter: Int = 0) throws(NumericalError) -> Memory {
    let part = Part(value: value, filters: filter..<filter + bias.count)
    if let known = state.withLock({ $0.biases[part] }) { return known }
    let memory = try Memory(MemoryDescriptor(vector: bias.count), in: AlignedBuffer(copying: bias), engine)
    state.withLock { $0.biases[part] = memory }
    return memory
  }

  /// The factors, then the offsets, of the channel map that makes `value`.
  func channelMap(_ factors: [Float], _ offsets: [Float], for value: Int) -> AlignedBuffer {
    if let known = state.withLock({ $0.channelMaps[value] }) { return known }
    let buffer = AlignedBuffer(copying: Tensor(shape: [2 * factors.count], factors + offsets))
    state.withLock { $0.channelMaps[value] = buffer }
    return buffer
  }

  /// The parameters of the layer that makes `value`.
  func layer(_ tensors: [Tensor<Float>], for value: Int) -> LayerParameters {
    if let known = state.withLock({ $0.layers[value] }) { return known }
    let parameters = LayerParameters(tensors)
    state.withLock { $0.layers[value] = parameters }
    return parameters
  }

  /// Gives the operation that makes a changing `value` other weights; nobody may be running it.
  ///
  /// Several tasks may do so at once for different values.
  ///
  /// - Parameter factors: what each output, the last axis of the weight, is multiplied by.
  func replace(
    _ weight: Tensor<Float>, times factors: [Double]?, bias: Tensor<Float>?, for value: Int
  ) throws(NumericalError) {
    guard let plain = plains[value] else { preconditionFailure("The weights of this operation do not change.") }
    let (reorders, biases) = state.withLock { state in
      (state.reorders[value] ?? [], state.biases.filter { $0.key.value == value })
    }
    plain.buffer.copy(weight, times: factors)
    for reorder in reorders { try reorder.run() }
    guard let bias else { return }
    for (part, memory) in biases {
      memory.buffer.copy(part.filters.count == bias.count ? bias : bias.filters(part.filters))
    }
  }

  /// Gives the channel map that makes `value` other factors and offsets.
  func replace(_ factors: [Float], _ offsets: [Float], for value: Int) {
    state.withLock { $0.channelMaps[value] }?.copy(Tensor(shape: [2 * factors.count], factors + offsets))
  }

  /// Gives the layer that makes `value` other parameters.
  func replace(_ tensors: [Tensor<Float>], for value: Int) {
    state.withLock { $0.layers[value] }?.tensors = tensors
  }

  /// Bytes of all orders.
  var byteCount: Int {
    state.withLock { state in
      state.weights.values.joined().reduce(0) { $0 + $1.memory.buffer.byteCount }
        + state.biases.values.reduce(0) { $0 + $1.buffer.byteCount }
        + plains.values.reduce(0) { $0 + $1.buffer.byteCount }
    }
  }
}

extension AlignedBuffer {
  /// Overwrites the beginning with a tensor's elements.
  ///
  /// - Parameter factors: what the positions of the last axis are multiplied by.
  func copy(_ tensor: Tensor<Float>, times factors: [Double]? = nil) {
    precondition(tensor.count * MemoryLayout<Float>.stride <= byteCount, "A tensor does not fit its buffer.")
    let target = unsafe floats(at: 0)
    tensor.withSpan { span in
      guard let factors else {
        for position in 0..<span.count { unsafe target[position] = span[position] }
        return
      }
      for start in stride(from: 0, to: span.count, by: factors.count) {
        for channel in factors.indices {
          unsafe target[start + channel] = Float(Double(span[start + channel]) * factors[channel])
        }
      }
    }
  }
}
