import RealModule

/// The distribution of a target in units of its forecast, `z = (y − m) / s`: the standard normal, or that whose levels
/// were recalibrated.
///
///     G(z) = R(Φ(z)),   R from level to share, piecewise linear
///
/// Scores of a forecast are those of `G` at `z`, times `s`.
///
/// - Cost: of a recalibrated one, memory for some ten numbers a fitted row.
/// - Source: Kuleshov, Fenner and Ermon 2018, arXiv:1807.00263; CRPS by its definition `∫ (G(x) − [x ≥ z])² dx`, in
///   closed form in the tails and by quadrature of degree 15 in pieces of a quarter elsewhere.
public struct StandardizedForecast: Sendable {
  /// Levels nearer to zero or one than this are passed over: they lie beyond eight standard deviations.
  fileprivate static let lowestLevel = 1e-15
  private static let scoreLevels = (1...99).map { Double($0) / 100 }
  static let calibrationLevels = (0..<100).map { Double($0) / 99 }

  /// The standard normal distribution.
  public static let normal = StandardizedForecast(quantileOf: { NormalDistribution.quantile($0) }, pieces: nil)

  /// `Φ⁻¹` of the share at each of the levels .01, …, .99.
  private let scoreQuantiles: [Double]
  /// The central intervals of .01, …, .99.
  private let scoreIntervals: [(lower: Double, upper: Double)]
  /// The central intervals whose coverage makes up the calibration curve; each lies in the next.
  private let centralIntervals: [(lower: Double, upper: Double)]
  /// The central intervals whose coverage is reported.
  private let reportedIntervals: [(lower: Double, upper: Double)]
  private let quantileOf: @Sendable (Double) -> Double
  /// `nil` for the standard normal.
  private let pieces: RecalibratedPieces?

  /// A distribution whose shares are those that a recalibration gives the levels of the normal one.
  public init(_ levels: QuantileLevels) {
    self.init(
      quantileOf: { share in
        let level = levels.level(ofShare: share)
        return NormalDistribution.quantile(min(max(level, Self.lowestLevel), 1 - Self.lowestLevel))
      }, pieces: RecalibratedPieces(levels.map))
  }

  private init(quantileOf: @escaping @Sendable (Double) -> Double, pieces: RecalibratedPieces?) {
    func interval(_ level: Double) -> (lower: Double, upper: Double) {
      level == 1 ? (-.infinity, .infinity) : (quantileOf(0.5 - level / 2), quantileOf(0.5 + level / 2))
    }
    self.quantileOf = quantileOf
    self.pieces = pieces
    scoreQuantiles = Self.scoreLevels.map(quantileOf)
    scoreIntervals = Self.scoreLevels.map(interval)
    centralIntervals = Self.calibrationLevels.map(interval)
    reportedIntervals = RegressionMeasure.coverages.map { interval($0.level) }
  }

  /// Whether it has a density to speak of; that of a recalibration is zero between and beyond the rows it was fitted to.
  public var hasDensity: Bool { pieces == nil }

  /// The variance of `G`.
  public var variance: Double { pieces?.variance ?? 1 }

  /// The number below which `z` lies with a probability.
  ///
  /// - Precondition: the probability lies in `0...1`.
  public func quantile(_ share: Double) -> Double { quantileOf(share) }

  /// The negative log-density at `z`, nats.
  func negativeLogDensity(_ z: Double) -> Double { Double.log(2 * .pi) / 2 + z * z / 2 }

  /// The continuous ranked probability score at `z`.
  public func rankedProbabilityScore(_ z: Double) -> Double {
    if let pieces { return pieces.rankedProbabilityScore(z) }
    return z * (2 * NormalDistribution.probability(below: z) - 1) + 2 * NormalDistribution.density(z)
      - 1 / Double.pi.squareRoot()
  }

  /// The mean check score over levels.
  func checkScore(_ z: Double) -> Double {
    var sum = 0.0
    for (level, quantile) in zip(Self.scoreLevels, scoreQuantiles) {
      sum += max(level * (z - quantile), (level - 1) * (z - quantile))
    }
    return sum / Double(scoreQuantiles.count)
  }

  /// The mean interval score over levels.
  func intervalScore(_ z: Double) -> Double {
    var sum = 0.0
    for (level, interval) in zip(Self.scoreLevels, scoreIntervals) {
      let outside = max(0, interval.lower - z) + max(0, z - interval.upper)
      sum += interval.upper - interval.lower + 2 / (1 - level) * outside
    }
    return sum / Double(scoreIntervals.count)
  }

  /// The first of the central intervals that holds `z`; the last holds all.
  func firstCentralInterval(holding z: Double) -> Int {
    centralIntervals.partitionPoint { !($0.lower <= z && z <= $0.upper) }
  }

  /// Whether one of the reported central intervals holds `z`.
  func isCovered(_ z: Double, byInterval index: Int) -> Bool {
    reportedIntervals[index].lower <= z && z <= reportedIntervals[index].upper
  }
}

/// A distribution function `a + b Φ(z)` in pieces.
private struct RecalibratedPieces: Sendable {
  /// From one knot to the next, the distribution function at both ends and the level at the first.
  private struct Piece {
    var start: Double
    var end: Double
    var share: Double
    var level: Double
    var slope: Double

    /// `G(z)` inside the piece.
    func share(_ z: Double) -> Double {
      min(max(share + slope * (NormalDistribution.probability(below: z) - level), 0), 1)
    }
  }

  private let pieces: [Piece]
  /// `∫ G²` from minus infinity to each piece's start, and to the last one's end.
  private let below: [Double]
  /// `∫ (1 − G)²` from each piece's start to infinity, and from the last one's end.
  private let above: [Double]
  /// `G = lowerFactor Φ` below the first knot, `1 − G = upperFactor (1 − Φ)` above the last.
  private let lowerFactor: Double
  private let upperFactor: Double
  private let firstKnot: Double
  private let lastKnot: Double
  let variance: Double

  init(_ map: IsotonicMap) {
    // Mass at an end would be mass at infinity.
    let lowest = StandardizedForecast.lowestLevel
    var knots = zip(map.positions, map.values).filter { $0.0 >= lowest && $0.0 <= 1 - lowest }
      .map { (level: $0.0, share: $0.1, z: NormalDistribution.quantile($0.0)) }
    if knots.isEmpty { knots = [(0.5, 0.5, 0)] }
    let (first, last) = (knots[0], knots[knots.count - 1])
    let lowerFactor = first.share / first.level
    let upperFactor = (1 - last.share) / NormalDistribution.probability(below: -last.z)
    var pieces: [Piece] = []
    for (knot, next) in zip(knots, knots.dropFirst()) where next.z > knot.z {
      let slope = (next.share - knot.share) / (next.level - knot.level)
      let whole = Piece(start: knot.z, end: next.z, share: knot.share, level: knot.level, slope: slope)
      let count = max(1, Int(((next.z - knot.z) * 4).rounded(.up)))
      for index in 0..<count {
        let start = knot.z + (next.z - knot.z) * Double(index) / Double(count)
        let end = index == count - 1 ? next.z : knot.z + (next.z - knot.z) * Double(index + 1) / Double(count)
        pieces.append(
          Piece(
            start: start, end: end, share: whole.share(start), level: NormalDistribution.probability(below: start),
            slope: slope))
      }
    }
    var below = [lowerFactor * lowerFactor * Self.squareIntegral(first.z)]
    for piece in pieces { below.append(below[below.count - 1] + Self.integral(piece, to: piece.end).below) }
    var above = [upperFactor * upperFactor * Self.squareIntegral(-last.z)]
    for piece in pieces.reversed() { above.append(above[above.count - 1] + Self.integral(piece, to: piece.end).above) }

    // Of a piece the mean of z and z² under the normal density, times the share that it holds.
    var (mean, square) = (0.0, 0.0)
    func add(_ share: Double, _ moments: (mean: Double, square: Double)) {
      guard share > 0 else { return }
      mean += share * moments.mean
      square += share * moments.square
    }
    add(first.share, Self.tailMoments(below: first.z))
    let upper = Self.tailMoments(below: -last.z)
    add(1 - last.share, (-upper.mean, upper.square))
    for (index, piece) in pieces.enumerated() {
      let end = index + 1 < pieces.count ? pieces[index + 1].share : last.share
      add(end - piece.share, Self.moments(piece))
    }
    self.pieces = pieces
    self.below = below
    self.above = above.reversed()
    self.lowerFactor = lowerFactor
    self.upperFactor = upperFactor
    (firstKnot, lastKnot) = (first.z, last.z)
    variance = max(0, square - mean * mean)
  }

  /// `∫ (G(x) − [x ≥ z])² dx`
  func rankedProbabilityScore(_ z: Double) -> Double {
    if z <= firstKnot { return above[0] + Self.tail(z, knot: firstKnot, factor: lowerFactor) }
    if z >= lastKnot { return below[below.count - 1] + Self.tail(-z, knot: -lastKnot, factor: upperFactor) }
    let index = pieces.partitionPoint { $0.end <= z }
    let piece = pieces[index]
    let (start, whole) = (Self.integral(piece, to: z), Self.integral(piece, to: piece.end))
    return below[index] + start.below + above[index + 1] + max(0, whole.above - start.above)
  }

  /// `∫ G²` up to `z` and `∫ (1 − G)²` from there to a knot, where `G = factor Φ` below it.
  private static func tail(_ z: Double, knot: Double, factor: Double) -> Double {
    let square = factor * factor
    return square * squareIntegral(z) + (knot - z) - 2 * factor * (firstIntegral(knot) - firstIntegral(z))
      + square * (squareIntegral(knot) - squareIntegral(z))
  }

  /// `∫ Φ` up to `z`.
  private static func firstIntegral(_ z: Double) -> Double {
    max(0, z * NormalDistribution.probability(below: z) + NormalDistribution.density(z))
  }

  /// `∫ Φ²` up to `z`.
  private static func squareIntegral(_ z: Double) -> Double {
    let p = NormalDistribution.probability(below: z)
    return max(
      0,
      z * p * p + 2 * p * NormalDistribution.density(z)
        - NormalDistribution.probability(below: z * 2.0.squareRoot()) / Double.pi.squareRoot())
  }

  /// The means of `x` and `x²` of a standard normal `x` below `z`.
  private static func tailMoments(below z: Double) -> (mean: Double, square: Double) {
    let ratio = NormalDistribution.density(z) / NormalDistribution.probability(below: z)
    return (-ratio, 1 - z * ratio)
  }

  /// Nodes and weights of Gauss and Legendre on `-1...1`.
  private static let quadrature: [(node: Double, weight: Double)] = [
    (0.183_434_642_495_649_8, 0.362_683_783_378_362_0), (0.525_532_409_916_329_0, 0.313_706_645_877_887_3),
    (0.796_666_477_413_626_7, 0.222_381_034_453_374_5), (0.960_289_856_497_536_2, 0.101_228_536_290_376_3),
  ].flatMap { [(node: -$0.0, weight: $0.1), (node: $0.0, weight: $0.1)] }

  /// `∫ G²` and `∫ (1 − G)²` from a piece's start.
  private static func integral(_ piece: Piece, to end: Double) -> (below: Double, above: Double) {
    let half = (end - piece.start) / 2
    var (below, above) = (0.0, 0.0)
    for (node, weight) in quadrature {
      let share = piece.share(piece.start + half * (1 + node))
      below += weight * share * share
      above += weight * (1 - share) * (1 - share)
    }
    return (below * half, above * half)
  }

  /// The means of `x` and `x²` of a standard normal `x` in a piece.
  private static func moments(_ piece: Piece) -> (mean: Double, square: Double) {
    let half = (piece.end - piece.start) / 2
    var (mass, mean, square) = (0.0, 0.0, 0.0)
    for (node, weight) in quadrature {
      let z = piece.start + half * (1 + node)
      // Relative to the start, so that nothing vanishes far out.
      let density = weight * Double.exp((piece.start * piece.start - z * z) / 2)
      mass += density
      mean += density * z
      square += density * z * z
    }
    return (mean / mass, square / mass)
  }
}
