import BayesTensor

/// Gaps between frequencies and probabilities in every class's bins, by 200 blocks of rows whose scatter gives the
/// error's own.
///
/// - Cost: memory for `200 · classes · bins` numbers.
struct ClasswiseBlocks: Sendable, Equatable {
  /// With more classes there would be more numbers than rows bring.
  static let classLimit = 100

  private let bins: UnitIntervalBins
  private var classCount = 0
  private var rowCount = 0
  /// `Σ [label = class] − p`, `[blocks, classes, bins]`.
  private var gaps: [Double] = []

  init(binCount: Int) { bins = UnitIntervalBins(count: binCount) }

  mutating func update(_ batch: LabelledProbabilities) {
    let first = rowCount
    rowCount += batch.rowCount
    extend(to: batch.probabilities.classCount)
    guard classCount <= Self.classLimit else { return }
    let (classCount, bins, labels) = (classCount, bins, batch.labels)
    var gaps: [Double] = []
    swap(&gaps, &self.gaps)
    batch.probabilities.values.withSpan { values in
      for (row, label) in labels.enumerated() {
        let block = (first + row) % Resampling.blockCount * classCount
        for column in 0..<classCount {
          let p = min(1, values[row * classCount + column])
          guard let bin = bins.index(of: p) else { continue }
          gaps[(block + column) * bins.count + bin] += (label == column ? 1 : 0) - p
        }
      }
    }
    swap(&gaps, &self.gaps)
  }

  /// Adds rows that come after these.
  mutating func merge(_ other: ClasswiseBlocks) {
    let shift = rowCount
    rowCount += other.rowCount
    guard other.classCount > 0 else { return }
    extend(to: other.classCount)
    let width = classCount * bins.count
    guard classCount <= Self.classLimit, other.classCount == classCount else { return }
    for block in 0..<Resampling.blockCount {
      let target = (shift + block) % Resampling.blockCount * width
      for index in 0..<width { gaps[target + index] += other.gaps[block * width + index] }
    }
  }

  /// The normal interval of the classwise calibration error, cut to `0...1`; `nil` above 100 classes and below two
  /// rows.
  ///
  /// No gap counts as changing its sign, so that the interval is a little wide where gaps are luck alone.
  func interval(of value: Double) -> Interval? {
    guard classCount <= Self.classLimit, rowCount > 1 else { return nil }
    let (blockCount, width) = (min(Resampling.blockCount, rowCount), classCount * bins.count)
    let signs = (0..<width).map { index -> Double in
      let sum = (0..<blockCount).reduce(0) { $0 + gaps[$1 * width + index] }
      return sum > 0 ? 1 : sum < 0 ? -1 : 0
    }
    var squares = 0.0
    for block in 0..<blockCount {
      let own = (0..<width).reduce(0) { $0 + signs[$1] * gaps[block * width + $1] }
      let rows = rowCount / Resampling.blockCount + (block < rowCount % Resampling.blockCount ? 1 : 0)
      // What a block adds to the error beyond its share of the rows.
      let excess = own / Double(classCount) - value * Double(rows)
      squares += excess * excess
    }
    let variance = squares * Double(blockCount) / Double(blockCount - 1)
    let interval = Interval.normal(center: value, standardError: variance.squareRoot() / Double(rowCount))
    return Interval(low: max(0, interval.low), high: min(1, interval.high))
  }

  private mutating func extend(to count: Int) {
    guard classCount < count else { return }
    classCount = count
    gaps = count <= Self.classLimit ? [Double](repeating: 0, count: Resampling.blockCount * count * bins.count) : []
  }
}
