import RealModule

/// A source of randomness that is a value: the same key always gives the same numbers.
///
/// A key is split by index (`child(_:)`) instead of being advanced, so a result depends neither on
/// the order in which work is done nor on the number of threads.
///
/// - Source: the generator is Philox4x64-10 (Salmon et al. 2011), as in NumPy.
public struct RandomKey: Hashable, Sendable, Codable {
  let high: UInt64
  let low: UInt64

  /// Makes the root key of a seed.
  public init(seed: UInt64) {
    self.init(low: seed, high: 0)
  }

  init(low: UInt64, high: UInt64) {
    self.low = low
    self.high = high
  }

  /// The key at `index` below this one.
  ///
  /// - Determinism: same key, same index, same child; different indices give independent streams.
  public func child(_ index: Int) -> RandomKey {
    let block = Philox(key: (low, high)).block((UInt64(bitPattern: Int64(index)), 0, 0, 1))
    return RandomKey(low: block.0, high: block.1)
  }

  /// The raw 64-bit words of this key's stream, from block `block` on.
  func words(count: Int) -> [UInt64] {
    let generator = Philox(key: (low, high))
    var words: [UInt64] = []
    words.reserveCapacity(count + 3)
    var index: UInt64 = 0
    while words.count < count {
      let block = generator.block((index, 0, 0, 0))
      words.append(block.0)
      words.append(block.1)
      words.append(block.2)
      words.append(block.3)
      index += 1
    }
    words.removeLast(words.count - count)
    return words
  }

  /// Numbers drawn uniformly from the open interval (0, 1), in 53-bit steps.
  public func uniforms(_ count: Int) -> [Double] {
    words(count: count).map { (Double($0 >> 11) + 0.5) * 0x1p-53 }
  }

  /// Numbers drawn from the standard normal distribution.
  ///
  /// - Source: Box and Muller, 1958.
  public func normals<Scalar: TensorScalar>(_ shape: Shape, as type: Scalar.Type = Double.self)
    -> Tensor<Scalar>
  {
    let count = shape.elementCount
    let uniforms = uniforms(count + count % 2)
    var elements = ContiguousArray<Scalar>()
    elements.reserveCapacity(count + 1)
    for pair in stride(from: 0, to: uniforms.count, by: 2) {
      let radius = (-2 * Double.log(uniforms[pair])).squareRoot()
      let angle = 2 * Double.pi * uniforms[pair + 1]
      elements.append(Scalar(radius * Double.cos(angle)))
      elements.append(Scalar(radius * Double.sin(angle)))
    }
    if elements.count > count { elements.removeLast() }
    return Tensor(shape: shape, elements: elements)
  }

  /// A permutation of `0..<count`, all equally likely.
  ///
  /// - Source: Fisher and Yates, 1938.
  public func permutation(_ count: Int) -> [Int] {
    var order = Array(0..<count)
    let uniforms = uniforms(max(0, count - 1))
    for (step, position) in stride(from: count - 1, to: 0, by: -1).enumerated() {
      order.swapAt(position, min(position, Int(uniforms[step] * Double(position + 1))))
    }
    return order
  }
}
