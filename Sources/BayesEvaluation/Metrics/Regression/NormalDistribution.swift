import RealModule

/// The standard normal distribution.
enum NormalDistribution {
  /// `φ(x)`
  static func density(_ x: Double) -> Double { Double.exp(-x * x / 2) / (2 * Double.pi).squareRoot() }

  /// `Φ(x)`
  static func probability(below x: Double) -> Double { Double.erfc(-x / 2.0.squareRoot()) / 2 }

  /// `Φ⁻¹(p)`; infinite for zero and one.
  ///
  /// Newton's steps from zero never pass the root, since the upper tail is convex above zero.
  ///
  /// - Precondition: `p` lies in `0...1`.
  static func quantile(_ p: Double) -> Double {
    precondition(p >= 0 && p <= 1, "A probability lies in 0...1; got \(p).")
    // The smaller tail, whose digits are all there.
    let tail = min(p, 1 - p)
    guard tail > 0 else { return p == 0 ? -.infinity : .infinity }
    var x = 0.0
    while true {
      let next = x + (probability(below: -x) - tail) / density(x)
      guard next > x else { return p < 0.5 ? -x : x }
      x = next
    }
  }
}
