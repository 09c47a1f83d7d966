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

  func add(weight: AlignedBuffer, of operation: Int) { terms[operation]?.weight.add(weight) }

  /// Adds the cotangents of `count` pixels to the gradient of an operation's bias.
  @unsafe func add(pixels: UnsafePointer<Float>, count: Int, of operation: Int) {
    guard let term = terms[operation] else { return }
    let bias = unsafe term.bias.floats(at: 0)
    let channels = term.bias.byteCount / MemoryLayout<Float>.stride
    // Sums of few pixels each round less than one long sum.
    let run = 256
    for start in stride(from: 0, to: count, by: run) {
      let end = min(count, start + run)
      var channel = 0
      while channel + 8 <= channels {
        var sum = SIMD8<Float>.zero
        for pixel in start..<end {
          unsafe sum += UnsafeRawPointer(pixels + pixel * channels + channel).loadUnaligned(as: SIMD8<Float>.self)
        }
        for lane in 0..<8 { unsafe bias[channel + lane] += sum[lane] }
        channel += 8
      }
      while channel < channels {
        var sum: Float = 0
        for pixel in start..<end { unsafe sum += pixels[pixel * channels + channel] }
        unsafe bias[channel] += sum
        channel += 1
      }
    }
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
