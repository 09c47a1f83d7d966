extension MutableSpan<Double> {
  /// Replaces the numbers at some positions by their exponentials.
  ///
  /// The compiler makes vectors of it, which calls of the C library keep it from.
  ///
  /// - Accuracy: within one unit in the last place; below the smallest normal number, within one of its units.  Minus
  ///   infinity gives zero, NaN stays NaN, and what is too large for a number gives infinity.
  /// - Determinism: a number's exponential depends neither on its position nor on the other numbers.
  /// - Cost: about half of the C library's, one number after the other.
  /// - Precondition: the positions are among the span's.
  package mutating func formExponentials(in positions: Range<Int>) {
    for position in positions { self[position] = exponential(self[position]) }
  }
}

/// Added to a number below 2⁵¹, it leaves the nearest whole number in the last bits.
private let rounding = 0x1.8p52

/// The exponential of a number.
///
///     exp x = 2ᵏ exp r,    k = round(x / ln 2),    r = x − k ln 2,    |r| ≤ ½ ln 2
///
/// `ln 2` is taken off in two parts, the first so short that `k` times it is exact, and what rounding takes from `r` is
/// added back; `exp r` is its Taylor polynomial of degree 13, whose remainder is below 6e-18 of it.
///
/// - Accuracy: as that of `formExponentials(in:)`.
/// - Source: Cody and Waite 1980, Software Manual for the Elementary Functions, chapter 6 (the reduction).
@inline(__always)
private func exponential(_ given: Double) -> Double {
  // Ends beyond which results are zero and infinity; `2ᵏ` is then still a product of two powers.
  var x = given < -746 ? -746 : given
  x = x > 710 ? 710 : x

  let rounded = x * 0x1.71547652b82fep0 + rounding
  let k = rounded - rounding
  let high = x - k * 0x1.62e42feep-1
  let low = k * 0x1.a39ef35793c76p-33
  let r = high - low
  let lost = (high - r) - low

  // (exp r − 1 − r) / r², in pairs, which wait for each other less than a row of terms would.
  let square = r * r
  let fourth = square * square
  let terms0 = (r * (1 / 6) + 1 / 2) + (r * (1 / 120) + 1 / 24) * square
  let terms4 = (r * (1 / 5040) + 1 / 720) + (r * (1 / 362_880) + 1 / 40320) * square
  let terms8 = (r * (1 / 39_916_800) + 1 / 3_628_800) + (r * (1 / 6_227_020_800) + 1 / 479_001_600) * square
  let rest = terms0 + (terms4 + terms8 * fourth) * fourth
  let significand = 1 + (r + (square * rest + lost))

  // Two powers, as one of them alone would leave the range of numbers before the result does.
  let bits = Int64(bitPattern: rounded.bitPattern) &- Int64(bitPattern: rounding.bitPattern)
  let half = bits >> 1
  return significand * powerOfTwo(half) * powerOfTwo(bits &- half)
}

/// `2ᵏ`, where that is a normal number.
@inline(__always)
private func powerOfTwo(_ exponent: Int64) -> Double {
  Double(bitPattern: UInt64(bitPattern: exponent &+ 1023) &<< 52)
}
