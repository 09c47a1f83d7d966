extension RandomKey {
  /// Pairs whose functions are computed together.
  private static let pairCount = 128

  /// Fills a span with numbers drawn from the standard normal distribution, in single precision.
  ///
  ///     r = √(−2 log u),   (x, y) = (r cos θ, r sin θ)
  ///
  /// A pair takes 64 random bits, half of what `normals(_:as:)` takes, and the compiler makes vectors of its functions, which
  /// calls of the C library keep it from: for noise on every weight at every step.
  ///
  /// - Ranges: no number is further from zero than 6.7.
  /// - Determinism: same key, same bits, which are others than those of `normals(_:as:)`; a number does not depend on how
  ///   many follow it.
  /// - Source: Box and Muller, 1958; the polynomials are those of Cephes (Moshier, 1992).
  package func fillNormals(_ numbers: inout MutableSpan<Float>) {
    let generator = Philox(key: (low, high))
    var bits = [UInt64](repeating: 0, count: Self.pairCount)
    var pairs = [Float](repeating: 0, count: 2 * Self.pairCount)
    var counter: UInt64 = 0
    for start in stride(from: 0, to: numbers.count, by: 2 * Self.pairCount) {
      for position in stride(from: 0, to: Self.pairCount, by: 4) {
        let block = generator.block((counter, 0, 0, 0))
        (bits[position], bits[position + 1], bits[position + 2], bits[position + 3]) = block
        counter += 1
      }
      var span = pairs.mutableSpan
      for index in 0..<Self.pairCount {
        let (x, y) = normalPair(
          UInt32(truncatingIfNeeded: bits[index] >> 32), UInt32(truncatingIfNeeded: bits[index]))
        span[index] = x
        span[Self.pairCount + index] = y
      }
      let count = min(2 * Self.pairCount, numbers.count - start)
      for index in 0..<count { numbers[start + index] = span[index] }
    }
  }
}

/// Two normal numbers from random bits.
@inline(__always)
private func normalPair(_ radial: UInt32, _ angular: UInt32) -> (x: Float, y: Float) {
  let radius = (-2 * logarithmOfUniform(radial)).squareRoot()
  // Two bits choose the quarter of a turn, the others an angle of an eighth of a turn at most, either way.
  let fraction = Float(Int32(bitPattern: angular << 2))
  let angle = fraction * (0.25 * Float.pi * 0x1p-31)
  let square = angle * angle
  let sine = ((-1.951_529_6e-4 * square + 8.332_161e-3) * square - 1.666_665_5e-1) * square * angle + angle
  let cosine =
    ((2.443_315_7e-5 * square - 1.388_731_6e-3) * square + 4.166_664_6e-2) * square * square - 0.5 * square + 1
  let isOdd = angular & 0x4000_0000 != 0
  let x = radius * (isOdd ? -sine : cosine)
  let y = radius * (isOdd ? cosine : sine)
  let isBehind = angular & 0x8000_0000 != 0
  return (isBehind ? -x : x, isBehind ? -y : y)
}

/// The logarithm of `(n + ½) / 2³²`, to single precision also where that is near one.
@inline(__always)
private func logarithmOfUniform(_ n: UInt32) -> Float {
  // By halves, as processors convert signed numbers.
  let value = 2 * Float(Int32(bitPattern: n >> 1)) + (n & 1 == 0 ? 0.5 : 1.5)
  let bits = value.bitPattern
  let stored = Int32(bitPattern: bits >> 23) &- (127 + 32)
  let significand = Float(bitPattern: (bits & 0x7F_FFFF) | 0x3F80_0000)
  let isLarge = significand > 1.414_213_5
  // Near one by what is missing to it, which rounding would take off otherwise.
  let isNearOne = n >= 0xC000_0000
  let missing = (Float(Int32(bitPattern: ~n)) + 0.5) * 0x1p-32
  let x = isNearOne ? -missing : (isLarge ? 0.5 * significand : significand) - 1
  let exponent = isNearOne ? 0 : Float(isLarge ? stored &+ 1 : stored)
  let square = x * x
  var series: Float = 7.037_683_6e-2 * x - 1.151_461_03e-1
  series = series * x + 1.167_699_87e-1
  series = series * x - 1.242_014_08e-1
  series = series * x + 1.424_932_27e-1
  series = series * x - 1.666_805_76e-1
  series = series * x + 2.000_071_47e-1
  series = series * x - 2.499_999_39e-1
  series = series * x + 3.333_333_11e-1
  return x + (series * x * square - 0.5 * square) + exponent * 0.693_147_18
}
