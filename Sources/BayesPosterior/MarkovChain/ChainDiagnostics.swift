import RealModule

/// Whether chains agree on one quantity, `[chains][draws]`.
///
/// Each chain is cut in two halves, so that one that still drifts disagrees with itself; of an odd number of draws the middle one
/// is left out.
///
/// - Source: Gelman et al. 2013, *Bayesian Data Analysis*; Vehtari et al. 2021, arXiv:1903.08008, without ranks.
public struct ChainDiagnostics: Sendable {
  /// The halves of the chains.
  private let halves: [[Double]]

  /// - Returns: `nil` where a chain has fewer than four draws, whose halves have no variance.
  /// - Precondition: there is a chain, and all are of one length.
  public init?(_ chains: [[Double]]) {
    precondition(!chains.isEmpty && chains.allSatisfy { $0.count == chains[0].count }, "Chains have one length.")
    guard chains[0].count >= 4 else { return nil }
    let half = chains[0].count / 2
    halves = chains.flatMap { [Array($0.prefix(half)), Array($0.suffix(half))] }
  }

  /// R-hat: the square root of the pooled variance over that within, one where halves agree.
  ///
  ///     √( ((n − 1) / n · W + B / n) / W )
  ///
  /// - Returns: one where nothing varies; infinity where only the halves differ.
  public var potentialScaleReduction: Double {
    let count = Double(halves[0].count)
    let within = mean(halves.map(sampleVariance))
    let between = sampleVariance(halves.map(mean))
    guard within > 0 else { return between > 0 ? .infinity : 1 }
    return ((within * (count - 1) / count + between) / within).squareRoot()
  }

  /// As many independent draws as would give the mean as well as these do.
  ///
  ///     n m / τ,   τ = −1 + 2 Σ ρ_t
  ///
  /// with the autocorrelations `ρ` of all halves together, as far as sums of two neighbours are above zero, and made to fall.
  ///
  /// - Returns: all draws where nothing varies; at most the draws times the logarithm to ten of their number; `nil` where a
  ///   chain has fewer than ten draws, whose halves have no correlations to speak of.
  public var effectiveSampleCount: Double? {
    let (chainCount, count) = (halves.count, halves[0].count)
    guard count >= 5 else { return nil }
    let total = Double(chainCount * count)
    let covariances = halves.map(autocovariances)
    let within = mean(covariances.map { $0[0] }) * Double(count) / Double(count - 1)
    let pooled = within * Double(count - 1) / Double(count) + sampleVariance(halves.map(mean))
    guard pooled > 0 else { return total }
    func correlation(_ lag: Int) -> Double { lag == 0 ? 1 : 1 - (within - mean(covariances.map { $0[lag] })) / pooled }
    // Sums of an even lag and the odd one behind it.
    var pairs: [(even: Double, odd: Double)] = [(1, correlation(1))]
    while 2 * pairs.count + 1 < count - 1, let last = pairs.last, last.even + last.odd > 0 {
      pairs.append((correlation(2 * pairs.count), correlation(2 * pairs.count + 1)))
    }
    var time = -1.0
    var least = Double.infinity
    // Of the last pair the even lag alone.
    let last = pairs.removeLast()
    if last.even > 0 || last.even + last.odd >= 0 { time += last.even }
    for pair in pairs {
      least = min(least, pair.even + pair.odd)
      time += 2 * least
    }
    return total / max(time, 1 / Double.log10(total))
  }

  /// The covariances of draws some steps apart, divided by the number of draws.
  private func autocovariances(_ draws: [Double]) -> [Double] {
    let centre = mean(draws)
    return draws.indices.map { lag in
      (0..<draws.count - lag).reduce(0) { $0 + (draws[$1] - centre) * (draws[$1 + lag] - centre) } / Double(draws.count)
    }
  }
}

/// - Precondition: there is a value.
private func mean(_ values: [Double]) -> Double { values.reduce(0, +) / Double(values.count) }

/// Divided by one less than the number of values.
private func sampleVariance(_ values: [Double]) -> Double {
  let centre = mean(values)
  return values.reduce(0) { $0 + ($1 - centre) * ($1 - centre) } / Double(values.count - 1)
}

/// How well chains over networks agree on what they predict: diagnostics of the log-probability of each of some rows' labels.
public struct ChainAgreement: Sendable, Equatable {
  /// The rows, the first of the training rows.
  public var rowCount: Int
  /// The median over rows of R-hat.
  public var medianScaleReduction: Double
  /// The share of rows whose R-hat is above 1.1.
  public var disagreeingShare: Double
  /// The median over rows of the effective number of networks; `nil` where chains have fewer than ten.
  public var medianSampleCount: Double?

  /// What R-hat is to be below.
  public static let largestScaleReduction = 1.1

  init(rowCount: Int, medianScaleReduction: Double, disagreeingShare: Double, medianSampleCount: Double?) {
    (self.rowCount, self.medianScaleReduction) = (rowCount, medianScaleReduction)
    (self.disagreeingShare, self.medianSampleCount) = (disagreeingShare, medianSampleCount)
  }

  /// - Parameter chains: `[chains][networks][rows]`
  /// - Returns: `nil` where chains have fewer than four networks.
  init?(_ chains: [[[Double]]]) {
    guard let rowCount = chains.first?.first?.count, rowCount > 0 else { return nil }
    let found = (0..<rowCount).compactMap { row in ChainDiagnostics(chains.map { $0.map { $0[row] } }) }
    guard found.count == rowCount else { return nil }
    func median(_ values: [Double]) -> Double {
      let sorted = values.sorted()
      return (sorted[(sorted.count - 1) / 2] + sorted[sorted.count / 2]) / 2
    }
    // Where halves are points, R-hat has no bounds.
    let reductions = found.map { min(1e6, $0.potentialScaleReduction) }
    let counts = found.compactMap(\.effectiveSampleCount)
    self.init(
      rowCount: rowCount, medianScaleReduction: median(reductions),
      disagreeingShare: Double(reductions.count { $0 > Self.largestScaleReduction }) / Double(rowCount),
      medianSampleCount: counts.isEmpty ? nil : median(counts))
  }
}
