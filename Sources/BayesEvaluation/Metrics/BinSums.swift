/// What bins hold of events and their forecast probabilities: counts and sums.
struct BinSums: Sendable, Equatable {
  let bins: UnitIntervalBins
  /// Every row, those that the convention drops too.
  private(set) var rowCount = 0
  private(set) var counts: [Int]
  /// How often the event came true.
  private(set) var eventCounts: [Int]
  private(set) var probabilitySums: [Double]

  init(_ bins: UnitIntervalBins) {
    self.bins = bins
    counts = Array(repeating: 0, count: bins.totalCount)
    eventCounts = counts
    probabilitySums = Array(repeating: 0, count: bins.totalCount)
  }

  /// Adds rows.
  ///
  /// - Parameters:
  ///   - probability: of a row, in `0...1`.
  ///   - isEvent: whether the event came true at a row.
  @inline(__always)
  mutating func add(rowCount added: Int, probability: (Int) -> Double, isEvent: (Int) -> Bool) {
    rowCount += added
    let (bins, convention) = (bins, bins.convention)
    // Arrays of a value that is being changed are checked at every access, those of this function are not.
    var (counts, eventCounts, probabilitySums) = ([Int](), [Int](), [Double]())
    swap(&counts, &self.counts)
    swap(&eventCounts, &self.eventCounts)
    swap(&probabilitySums, &self.probabilitySums)
    for row in 0..<added {
      let probability = convention.reading(probability(row))
      guard let bin = bins.index(of: probability) else { continue }
      counts[bin] += 1
      probabilitySums[bin] += probability
      if isEvent(row) { eventCounts[bin] += 1 }
    }
    swap(&counts, &self.counts)
    swap(&eventCounts, &self.eventCounts)
    swap(&probabilitySums, &self.probabilitySums)
  }

  /// - Precondition: both have the same bins.
  mutating func merge(_ other: BinSums) {
    precondition(bins == other.bins, "Cannot merge \(other.bins.count) bins into \(bins.count).")
    rowCount += other.rowCount
    for bin in counts.indices {
      counts[bin] += other.counts[bin]
      eventCounts[bin] += other.eventCounts[bin]
      probabilitySums[bin] += other.probabilitySums[bin]
    }
  }

  /// The bins that hold a row.
  var filled: [Int] { counts.indices.filter { counts[$0] > 0 } }

  /// The share of events in a bin that holds a row.
  func frequency(_ bin: Int) -> Double { Double(eventCounts[bin]) / Double(counts[bin]) }

  /// The mean probability in a bin that holds a row.
  func meanProbability(_ bin: Int) -> Double { probabilitySums[bin] / Double(counts[bin]) }

  /// `Σ_b |events_b − Σ p| / rows`.
  var meanGap: Double {
    filled.reduce(0) { $0 + abs(Double(eventCounts[$1]) - probabilitySums[$1]) } / Double(rowCount)
  }

  /// How far frequencies lie from mean probabilities, a number for each bin that holds a row.
  var gaps: [Double] { filled.map { abs(frequency($0) - meanProbability($0)) } }
}
