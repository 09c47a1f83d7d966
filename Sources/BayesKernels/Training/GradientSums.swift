import BayesTensor
import Synchronization

/// A loss and the gradients of weights, summed over some slices in their order.
///
/// Only one task at a time adds to it.
final class GradientSums: Sendable {
  /// What is summed for one operation.
  struct Term: Sendable {
    /// The weight's gradient in the order of elements that the library gives, or a normalisation's sums.
    var weight: AlignedBuffer
    var bias: AlignedBuffer
  }

  let terms: [Int: Term]
  /// For layers with a pullback of their own, the gradient of each parameter.
  private let layers = Mutex<[Int: [Tensor<Float>?]]>([:])
  private let lossSum = Mutex(0.0)

  /// - Parameter sizes: bytes of each operation's weight and bias.
  init(_ sizes: [Int: (weight: Int, bias: Int)]) {
    terms = sizes.mapValues { size in
      Term(weight: AlignedBuffer(byteCount: size.weight), bias: AlignedBuffer(byteCount: size.bias))
    }
  }

  func reset() {
    for term in terms.values {
      for buffer in [term.weight, term.bias] {
        unsafe buffer.pointer.initializeMemory(as: UInt8.self, repeating: 0, count: buffer.byteCount)
      }
    }
    layers.withLock { $0 = [:] }
    lossSum.withLock { $0 = 0 }
  }

  var loss: Double { lossSum.withLock { $0 } }

  func add(loss: Double) { lossSum.withLock { $0 += loss } }

  func add(weight: AlignedBuffer, bias: AlignedBuffer, of operation: Int) {
    guard let term = terms[operation] else { return }
    term.weight.add(weight)
    term.bias.add(bias)
  }

  func add(_ gradients: [Tensor<Float>?], of operation: Int) {
    layers.withLock { layers in
      guard let known = layers[operation] else {
        layers[operation] = gradients
        return
      }
      layers[operation] = zip(known, gradients).map { a, b in
        guard var a, let b else { return a ?? b }
        for position in 0..<a.count { a[position] += b[position] }
        return a
      }
    }
  }

  /// Adds all that another has summed.
  func add(_ other: GradientSums) {
    add(loss: other.loss)
    for (operation, term) in other.terms { add(weight: term.weight, bias: term.bias, of: operation) }
    for (operation, gradients) in other.layers.withLock({ $0 }) { add(gradients, of: operation) }
  }

  /// The gradients of a layer's parameters.
  func layerGradients(of operation: Int) -> [Tensor<Float>?] { layers.withLock { $0[operation] ?? [] } }
}

extension AlignedBuffer {
  /// Adds the numbers of another buffer, as many as both hold.
  func add(_ other: AlignedBuffer) {
    let count = min(byteCount, other.byteCount) / MemoryLayout<Float>.stride
    let (target, source) = unsafe (floats(at: 0), other.floats(at: 0))
    for position in 0..<count { unsafe target[position] += source[position] }
  }
}
