import BayesTensor
import Synchronization

/// A loss and the gradients of weights, summed over some slices in their order.
///
/// Only one task at a time adds to what is summed for one operation.
final class GradientSums: Sendable {
  /// What is summed for one operation.
  struct Term: Sendable {
    /// The weight's gradient in the order of elements that the library gives, or a normalisation's sums.
    var weight: AlignedBuffer
    var bias: AlignedBuffer
  }

  let terms: [Int: Term]
  /// Operations whose weight's gradient holds what was added since the last reset; others hold what is of no interest.
  private let begun = Mutex<Set<Int>>([])
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
    // Weights are large, and the first of their gradients is copied: that costs less than adding to zeros.
    begun.withLock { $0 = [] }
    for term in terms.values { term.bias.clear() }
    layers.withLock { $0 = [:] }
    lossSum.withLock { $0 = 0 }
  }

  var loss: Double { lossSum.withLock { $0 } }

  func add(loss: Double) { lossSum.withLock { $0 += loss } }

  func add(bias: AlignedBuffer, of operation: Int) { terms[operation]?.bias.add(bias) }

  func add(weight: AlignedBuffer, of operation: Int) {
    guard let term = terms[operation] else { return }
    if noteAddition(to: operation) { term.weight.copy(weight) } else { term.weight.add(weight) }
  }

  /// Notes that something is added to the gradient of an operation's weight; true for the first since the last reset.
  private func noteAddition(to operation: Int) -> Bool { begun.withLock { $0.insert(operation).inserted } }

  /// Where the gradient of an operation's weight goes as it is, because nothing has been added yet; `nil` where it
  /// must be added.
  func place(ofFirstWeightOf operation: Int) -> AlignedBuffer? {
    noteAddition(to: operation) ? terms[operation]?.weight : nil
  }

  /// What is summed for an operation, to be added to by its owner.
  func begin(_ operation: Int) -> Term? {
    if noteAddition(to: operation) { terms[operation]?.weight.clear() }
    return terms[operation]
  }

  /// Adds the cotangents of images to the gradient of an operation's bias.
  @unsafe func add(pixels: UnsafePointer<Float>, _ layout: ChannelLayout, of operation: Int) {
    guard let term = terms[operation] else { return }
    let bias = unsafe term.bias.floats(at: 0)
    // Sums of few pixels each round less than one long sum.
    layout.forEachRun(
      ofEight: { run in
        var sum = SIMD8<Float>.zero
        run.forEachPixel { unsafe sum += SIMD8(pixels, at: $0) }
        unsafe sum.add(to: bias, at: run.channel)
      },
      ofOne: { run in
        var sum: Float = 0
        run.forEachPixel { unsafe sum += pixels[$0] }
        unsafe bias[run.channel] += sum
      })
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

  /// Adds what another has summed for one operation.
  func add(_ other: GradientSums, of operation: Int) {
    if let term = other.begin(operation) {
      add(weight: term.weight, of: operation)
      add(bias: term.bias, of: operation)
    }
    let gradients = other.layerGradients(of: operation)
    if !gradients.isEmpty { add(gradients, of: operation) }
  }

  /// The gradients of a layer's parameters.
  func layerGradients(of operation: Int) -> [Tensor<Float>?] { layers.withLock { $0[operation] ?? [] } }
}

extension AlignedBuffer {
  func clear() { unsafe pointer.initializeMemory(as: UInt8.self, repeating: 0, count: byteCount) }

  /// Overwrites the beginning with another buffer.
  func copy(_ other: AlignedBuffer) {
    unsafe pointer.copyMemory(from: other.pointer, byteCount: min(byteCount, other.byteCount))
  }

  /// Adds the numbers of another buffer, as many as both hold.
  func add(_ other: AlignedBuffer) {
    let count = min(byteCount, other.byteCount) / MemoryLayout<Float>.stride
    let (target, source) = unsafe (floats(at: 0), other.floats(at: 0))
    for position in 0..<count { unsafe target[position] += source[position] }
  }
}
