public import BayesTensor

/// The generator behind `numpy.random.RandomState`, to make again the inputs that a script made.
///
/// - Source: Matsumoto and Nishimura 1998, `mt19937ar.c`.
public struct MersenneTwister {
  private var state: [UInt32]
  private var position: Int

  /// The generator of `numpy.random.RandomState(seed)`.
  public init(seed: UInt32) {
    state = [seed]
    for index in 1..<624 {
      let last = state[index - 1]
      state.append(1_812_433_253 &* (last ^ (last >> 30)) &+ UInt32(index))
    }
    position = state.count
  }

  private mutating func next() -> UInt32 {
    if position == state.count { refill() }
    var word = state[position]
    position += 1
    word ^= word >> 11
    word ^= (word << 7) & 0x9d2c_5680
    word ^= (word << 15) & 0xefc6_0000
    return word ^ (word >> 18)
  }

  private mutating func refill() {
    for index in state.indices {
      let joined = (state[index] & 0x8000_0000) | (state[(index + 1) % 624] & 0x7fff_ffff)
      state[index] =
        state[(index + 397) % 624] ^ (joined >> 1) ^ (joined & 1 == 1 ? 0x9908_b0df : 0)
    }
    position = 0
  }

  /// `rand(shape)`: numbers of 53 random bits in `0 ..< 1`.
  public mutating func uniforms(_ shape: Shape) -> Tensor<Double> {
    var elements = ContiguousArray<Double>()
    for _ in 0..<shape.elementCount {
      let (high, low) = (next() >> 5, next() >> 6)
      elements.append((Double(high) * 67_108_864 + Double(low)) / 9_007_199_254_740_992)
    }
    return Tensor(shape: shape, elements: elements)
  }
}
