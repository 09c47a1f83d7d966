import BayesTensor

/// Gaps between frequencies and probabilities in every class's bins, by blocks of rows that are drawn as wholes.
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

  /// The interval of the classwise calibration error; `nil` above 100 classes and below two rows.
  func interval(of value: Double, _ resampling: Resampling) -> Interval? {
    guard classCount <= Self.classLimit, rowCount > 1 else { return nil }
    let (blockCount, width) = (min(Resampling.blockCount, rowCount), classCount * bins.count)
    var tables = PoissonTables()
    let table = tables.index(ofMean: 1)
    // Bins that no row is in stay at zero.
    let used = (0..<width).filter { index in (0..<blockCount).contains { gaps[$0 * width + index] != 0 } }
    let dense = (0..<blockCount).map { block in used.map { gaps[block * width + $0] } }
    var values: [Double] = []
    for index in 0..<resampling.count {
      let uniforms = resampling.key.child(index).coarseUniforms(blockCount)
      var sums = [Double](repeating: 0, count: used.count)
      var rows = 0
      for block in 0..<blockCount {
        let count = tables.number(table, uniforms[block])
        guard count > 0 else { continue }
        rows += count * (rowCount / Resampling.blockCount + (block < rowCount % Resampling.blockCount ? 1 : 0))
        let own = dense[block]
        let weight = Double(count)
        for position in sums.indices { sums[position] += weight * own[position] }
      }
      values.append(sums.reduce(0) { $0 + abs($1) } / Double(rows) / Double(classCount))
    }
    return resampling.interval(of: values, at: value, within: 0...1)
  }

  private mutating func extend(to count: Int) {
    guard classCount < count else { return }
    classCount = count
    gaps = count <= Self.classLimit ? [Double](repeating: 0, count: Resampling.blockCount * count * bins.count) : []
  }
}
