extension MutableSpan<Double> {
  /// Replaces all numbers by their exponentials.
  ///
  /// - Accuracy: within one unit in the last place; below the smallest normal number, within one of its units.  Minus
  ///   infinity gives zero, NaN stays NaN, and what is too large for a number gives infinity.
  /// - Determinism: a number's exponential depends neither on its position nor on the other numbers.
  /// - Cost: about two thirds of the C library's, one number after the other.
  package mutating func formExponentials() {
    for start in stride(from: 0, to: count - 1, by: 2) {
      let results = exponentials(Lanes(self[start], self[start &+ 1]))
      self[start] = results[0]
      self[start &+ 1] = results[1]
    }
    if count % 2 == 1 { self[count - 1] = exponentials(Lanes(self[count - 1], 0))[0] }
  }
}

/// As wide as the registers that every processor has.
private typealias Lanes = SIMD2<Double>

/// Added to a number below 2⁵¹, it leaves the nearest whole number in the last bits.
private let rounding = 0x1.8p52

/// The exponentials of two numbers, with the same arithmetic for each.
///
///     exp x = 2ᵏ exp r,    k = round(x / ln 2),    r = x − k ln 2,    |r| ≤ ½ ln 2
///
/// `ln 2` is taken off in two parts, the first so short that `k` times it is exact, and what rounding takes from `r` is
/// added back; `exp r` is its Taylor polynomial of degree 13, whose remainder is below 6e-18 of it.
///
/// - Accuracy: as that of `formExponentials()`.
/// - Source: Cody and Waite 1980, Software Manual for the Elementary Functions, chapter 6 (the reduction).
@inline(__always)
func exponentials(_ given: SIMD2<Double>) -> SIMD2<Double> {
  var x = given
  // Ends beyond which results are zero and infinity; `2ᵏ` is then still a product of two powers.
  x.replace(with: -746, where: x .< -746)
  x.replace(with: 710, where: x .> 710)

  let rounded = x * 0x1.71547652b82fep0 + rounding
  let k = rounded - rounding
  let high = x - k * 0x1.62e42feep-1
  let low = k * 0x1.a39ef35793c76p-33
  let r = high - low
  let lost = (high - r) - low

  // (exp r − 1 − r) / r², in pairs, which wait for each other less than a row of terms would.
  let square = r * r
  let fourth = square * square
  let terms0 = line(r, 1 / 6, 1 / 2) + line(r, 1 / 120, 1 / 24) * square
  let terms4 = line(r, 1 / 5040, 1 / 720) + line(r, 1 / 362_880, 1 / 40320) * square
  let terms8 = line(r, 1 / 39_916_800, 1 / 3_628_800) + line(r, 1 / 6_227_020_800, 1 / 479_001_600) * square
  let rest = terms0 + (terms4 + terms8 * fourth) * fourth
  let significand = 1 + (r + (square * rest + lost))

  // Two powers, as one of them alone would leave the range of numbers before the result does.
  var bits = SIMD2<Int64>()
  for lane in bits.indices { bits[lane] = Int64(bitPattern: rounded[lane].bitPattern) }
  bits &-= Int64(bitPattern: rounding.bitPattern)
  let half = bits &>> 1
  return significand * powersOfTwo(half) * powersOfTwo(bits &- half)
}

@inline(__always)
private func line(_ r: Lanes, _ slope: Double, _ height: Double) -> Lanes { r * slope + height }

/// `2ᵏ`, where that is a normal number.
@inline(__always)
private func powersOfTwo(_ exponents: SIMD2<Int64>) -> Lanes {
  let bits = (exponents &+ 1023) &<< 52
  var powers = Lanes()
  for lane in powers.indices { powers[lane] = Double(bitPattern: UInt64(bitPattern: bits[lane])) }
  return powers
}
