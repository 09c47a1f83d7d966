import BayesTensor
import COneDNN

/// Weights in the orders that primitives want, each order made once however many primitives share it.
final class PackedWeights {
  private let engine: Engine
  private var weights: [Int: [(descriptor: MemoryDescriptor, memory: Memory)]] = [:]
  private var biases: [Int: Memory] = [:]

  init(_ engine: Engine) { self.engine = engine }

  /// The weights of the operation that makes `value`.
  func packed(
    _ tensor: Tensor<Float>, from plain: MemoryDescriptor, to wanted: MemoryDescriptor, for value: Int
  ) throws(NumericalError) -> Memory {
    if let known = weights[value]?.first(where: { $0.descriptor.isEqual(to: wanted) }) { return known.memory }
    let memory = try reordered(tensor, from: plain, to: wanted, engine)
    weights[value, default: []].append((wanted, memory))
    return memory
  }

  /// The bias of the operation that makes `value`.
  func packed(bias: Tensor<Float>, for value: Int) throws(NumericalError) -> Memory {
    if let known = biases[value] { return known }
    let memory = try Memory(
      MemoryDescriptor(vector: bias.count), in: AlignedBuffer(copying: bias), engine)
    biases[value] = memory
    return memory
  }

  /// Bytes of all orders.
  var byteCount: Int {
    weights.values.joined().reduce(0) { $0 + $1.memory.buffer.byteCount }
      + biases.values.reduce(0) { $0 + $1.buffer.byteCount }
  }
}
