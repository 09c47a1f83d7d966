import BayesTensor

/// What rows bring to every class's bins, by 200 blocks of rows whose scatter gives that of the classwise calibration
/// error and of the Brier score's parts.
///
/// - Cost: memory for `600 · classes · bins` numbers.
struct ClasswiseBlocks: Sendable {
  /// With more classes there would be more numbers than rows bring.
  static let classLimit = 100

  /// What some rows bring to a class's bin.
  private struct BinSums: Sendable, Equatable {
    var rows = 0.0
    /// Rows of the class.
    var events = 0.0
    /// `Σ [label = class] − p`
    var gap = 0.0

    static func += (sums: inout BinSums, other: BinSums) {
      sums.rows += other.rows
      sums.events += other.events
      sums.gap += other.gap
    }
  }

  private let bins: UnitIntervalBins
  private var classCount = 0
  private var rowCount = 0
  /// `[blocks, classes, bins]`
  private var sums: [BinSums] = []
  /// `Σ_k (p_k − [label = k])²` of each block.
  private var squaredErrors = [Double](repeating: 0, count: Resampling.blockCount)

  /// Rows and the bins that their probabilities lie in.
  private struct BinnedRows: Sendable {
    let batch: LabelledProbabilities
    /// `class · bins + bin` of each row's probabilities, `[rows, classes]`; empty where there are no sums.
    let places: [Int32]

    init(_ batch: LabelledProbabilities, _ bins: UnitIntervalBins) {
      self.batch = batch
      let classCount = batch.probabilities.classCount
      guard classCount <= ClasswiseBlocks.classLimit else {
        places = []
        return
      }
      var places = [Int32](repeating: 0, count: batch.rowCount * classCount)
      batch.probabilities.values.withSpan { values in
        for row in 0..<batch.rowCount {
          for column in 0..<classCount {
            let bin = bins.index(of: min(1, values[row * classCount + column])) ?? 0
            places[row * classCount + column] = Int32(truncatingIfNeeded: column * bins.count + bin)
          }
        }
      }
      self.places = places
    }
  }

  /// Whether rows wait for the blocks that these are merged into: a few rows have fewer numbers than blocks have.
  private var isShard: Bool
  private var waiting: [BinnedRows] = []

  init(binCount: Int, isShard: Bool = false) {
    bins = UnitIntervalBins(count: binCount)
    self.isShard = isShard
  }

  mutating func update(_ batch: LabelledProbabilities) {
    let rows = BinnedRows(batch, bins)
    if isShard { waiting.append(rows) } else { add(rows) }
  }

  private mutating func add(_ rows: BinnedRows) {
    let batch = rows.batch
    let first = rowCount
    rowCount += batch.rowCount
    extend(to: batch.probabilities.classCount)
    for (row, error) in batch.squaredErrors.enumerated() {
      squaredErrors[(first + row) % Resampling.blockCount] += error
    }
    guard classCount <= Self.classLimit else { return }
    let (classCount, width, places) = (classCount, classCount * bins.count, rows.places)
    var sums: [BinSums] = []
    swap(&sums, &self.sums)
    batch.probabilities.values.withSpan { values in
      for (row, label) in batch.labels.enumerated() {
        let block = (first + row) % Resampling.blockCount * width
        for index in row * classCount..<(row + 1) * classCount {
          let place = block + Int(places[index])
          sums[place].rows += 1
          sums[place].gap -= min(1, values[index])
        }
        let own = block + Int(places[row * classCount + label])
        sums[own].events += 1
        sums[own].gap += 1
      }
    }
    swap(&sums, &self.sums)
  }

  /// Adds rows that come after these.
  mutating func merge(_ other: ClasswiseBlocks) {
    for rows in other.waiting { add(rows) }
    guard other.rowCount > 0 else { return }
    settle()
    let shift = rowCount
    rowCount += other.rowCount
    for block in 0..<Resampling.blockCount {
      squaredErrors[(shift + block) % Resampling.blockCount] += other.squaredErrors[block]
    }
    extend(to: other.classCount)
    let width = classCount * bins.count
    guard classCount <= Self.classLimit, other.classCount == classCount else { return }
    for block in 0..<Resampling.blockCount {
      let target = (shift + block) % Resampling.blockCount * width
      for index in 0..<width { sums[target + index] += other.sums[block * width + index] }
    }
  }

  /// Puts the rows that wait into blocks of their own.
  private mutating func settle() {
    let rows = waiting
    (isShard, waiting) = (false, [])
    for rows in rows { add(rows) }
  }

  private var settled: ClasswiseBlocks {
    var blocks = self
    blocks.settle()
    return blocks
  }

  /// The normal interval of the classwise calibration error, cut to `0...1`; `nil` above 100 classes and below two
  /// rows.
  ///
  /// No gap counts as changing its sign, so that the interval is a little wide where gaps are luck alone.
  func interval(of value: Double) -> Interval? {
    guard !isShard else { return settled.interval(of: value) }
    guard let totals else { return nil }
    let width = totals.count
    return interval(of: value, within: 0...1) { block in
      let own = (0..<width).reduce(0) { sum, index in
        let sign: Double = totals[index].gap > 0 ? 1 : totals[index].gap < 0 ? -1 : 0
        return sum + sign * sums[block * width + index].gap
      }
      return own / Double(classCount)
    }
  }

  /// Normal intervals of the parts of the Brier score, cut to what each may be; `nil` where `interval(of:)` is.
  ///
  /// What a block adds to the sums behind a part is taken to first order, so that intervals are a little wide where gaps
  /// are luck alone:
  ///
  ///     reliability  Σ_kb 2 g G′ − g² N′
  ///     resolution   Σ_kb 2 (f − f_k) E′ − (f² − f_k²) N′
  ///     uncertainty  Σ_kb (1 − 2 f_k) E′ + f_k² N′, within bins alone
  ///
  /// with rows `N`, those of the class `E` and their gap `G` in a class's bin, of all blocks and, primed, of one;
  /// `g = G / N`, `f = E / N`, and the share `f_k` of all rows that are of the class.
  func intervals(of parts: BrierDecomposition) -> BrierIntervals? {
    guard !isShard else { return settled.intervals(of: parts) }
    guard let totals else { return nil }
    let (width, binCount) = (totals.count, bins.count)
    let shares = (0..<classCount).map { column in
      totals[column * binCount..<(column + 1) * binCount].reduce(0) { $0 + $1.events } / Double(rowCount)
    }
    var changes = [(reliability: Double, resolution: Double, uncertainty: Double)](
      repeating: (0, 0, 0), count: Resampling.blockCount)
    for block in 0..<Resampling.blockCount {
      for index in 0..<width where totals[index].rows > 0 {
        let (total, own, share) = (totals[index], sums[block * width + index], shares[index / binCount])
        let (gap, frequency) = (total.gap / total.rows, total.events / total.rows)
        changes[block].reliability += 2 * gap * own.gap - gap * gap * own.rows
        changes[block].resolution +=
          2 * (frequency - share) * own.events - (frequency * frequency - share * share) * own.rows
        changes[block].uncertainty += (1 - 2 * share) * own.events + share * share * own.rows
      }
    }
    let range = 0...2.0
    guard
      let reliability = interval(of: parts.reliability, within: range, { changes[$0].reliability }),
      let resolution = interval(of: parts.resolution, within: range, { changes[$0].resolution }),
      let withinBins = interval(
        of: parts.withinBins, within: -2...2,
        { squaredErrors[$0] - (changes[$0].reliability - changes[$0].resolution + changes[$0].uncertainty) })
    else { return nil }
    return BrierIntervals(
      reliability: reliability, resolution: resolution,
      uncertainty: Self.interval(ofUncertainty: parts.uncertainty, shares: shares, rowCount: rowCount),
      withinBins: withinBins)
  }

  /// The normal interval of `1 − Σ f²`, cut to what it may be.
  ///
  /// Where classes are about as frequent its first derivative is near zero, so that it has the exact variance for draws of
  /// the shares in place of the one above.
  ///
  /// - Source: Simpson 1949, doi:10.1038/163688a0.
  private static func interval(ofUncertainty value: Double, shares: [Double], rowCount: Int) -> Interval {
    let n = Double(rowCount)
    let (squares, cubes) = (shares.reduce(0) { $0 + $1 * $1 }, shares.reduce(0) { $0 + $1 * $1 * $1 })
    let variance =
      2 * (n - 1) / (n * n * n) * (2 * (n - 2) * cubes + squares - (2 * n - 3) * squares * squares)
    let interval = Interval.normal(center: value, standardError: max(0, variance).squareRoot())
    return Interval(low: max(0, interval.low), high: min(1 - 1 / Double(shares.count), interval.high))
  }

  /// The sums of all blocks, `[classes, bins]`; `nil` where there are no intervals.
  private var totals: [BinSums]? {
    guard classCount <= Self.classLimit, rowCount > 1 else { return nil }
    let width = classCount * bins.count
    var totals = [BinSums](repeating: BinSums(), count: width)
    for (index, own) in sums.enumerated() { totals[index % width] += own }
    return totals
  }

  /// The normal interval of a mean, from what each block adds to the sum that it is of.
  private func interval(
    of value: Double, within range: ClosedRange<Double>, _ part: (_ block: Int) -> Double
  ) -> Interval? {
    let blockCount = min(Resampling.blockCount, rowCount)
    var squares = 0.0
    for block in 0..<blockCount {
      let rows = rowCount / Resampling.blockCount + (block < rowCount % Resampling.blockCount ? 1 : 0)
      // What a block adds beyond its share of the rows.
      let excess = part(block) - value * Double(rows)
      squares += excess * excess
    }
    let variance = squares * Double(blockCount) / Double(blockCount - 1)
    let interval = Interval.normal(center: value, standardError: variance.squareRoot() / Double(rowCount))
    return Interval(low: max(range.lowerBound, interval.low), high: min(range.upperBound, interval.high))
  }

  private mutating func extend(to count: Int) {
    guard classCount < count else { return }
    classCount = count
    sums =
      count <= Self.classLimit
      ? [BinSums](repeating: BinSums(), count: Resampling.blockCount * count * bins.count) : []
  }
}
