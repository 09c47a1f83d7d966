import BayesTensor

extension Difference {
  /// The difference of two calibration errors of the same rows, both computed on the same sets of rows drawn anew.
  ///
  /// Rows that both models put into the same bins, cut into 60 parts of confidence at least, and that are alike right
  /// or wrong, count as equally confident and are drawn together.
  ///
  /// - Parameters:
  ///   - own: the losses of each row, in one order.
  ///   - binCount: of the standard convention.
  init(
    calibrationErrorsOf own: RowLosses, minus other: RowLosses, value: Double, binCount: Int, _ resampling: Resampling
  ) {
    guard own.correct.count > 1 else {
      self.init(value: value, interval: nil)
      return
    }
    let groups = Self.groups(own, other, binCount)
    var tables = PoissonTables()
    let places = groups.map { tables.index(ofMean: $0.count) }
    let values = (0..<resampling.count).map { index -> Double in
      let uniforms = resampling.key.child(index).coarseUniforms(groups.count)
      var ownSums = [Double](repeating: 0, count: binCount)
      var otherSums = ownSums
      var rows = 0
      for (position, group) in groups.enumerated() {
        let count = tables.number(places[position], uniforms[position])
        rows += count
        ownSums[group.ownBin] += Double(count) * group.ownGap
        otherSums[group.otherBin] += Double(count) * group.otherGap
      }
      return Self.difference(ownSums, otherSums, rows)
    }
    self.init(value: value, interval: resampling.interval(of: values, at: value, within: -1...1))
  }

  /// Rows that count alike, with their mean gaps of right answer and confidence.
  private struct Group {
    var ownBin: Int
    var otherBin: Int
    var count = 0
    var ownGap = 0.0
    var otherGap = 0.0
  }

  private static func groups(_ own: RowLosses, _ other: RowLosses, _ binCount: Int) -> [Group] {
    let parts = (60 + binCount - 1) / binCount
    let bins = UnitIntervalBins(count: binCount * parts)
    // By the standard convention every confidence has a bin.
    func part(_ confidence: Double) -> Int { bins.index(of: confidence) ?? 0 }
    var places: [Int: Int] = [:]
    var groups: [Group] = []
    for row in own.correct.indices {
      let (first, second) = (1 - Double(own.uncertainties[row]), 1 - Double(other.uncertainties[row]))
      let (isFirst, isSecond) = (own.correct[row], other.correct[row])
      let (firstPart, secondPart) = (part(first), part(second))
      let key = (firstPart * bins.count + secondPart) * 4 + (isFirst ? 2 : 0) + (isSecond ? 1 : 0)
      let place = places[key] ?? groups.count
      if place == groups.count {
        places[key] = place
        groups.append(Group(ownBin: firstPart / parts, otherBin: secondPart / parts))
      }
      groups[place].count += 1
      groups[place].ownGap += (isFirst ? 1 : 0) - first
      groups[place].otherGap += (isSecond ? 1 : 0) - second
    }
    for place in groups.indices {
      groups[place].ownGap /= Double(groups[place].count)
      groups[place].otherGap /= Double(groups[place].count)
    }
    return groups
  }

  private static func difference(_ own: [Double], _ other: [Double], _ rows: Int) -> Double {
    zip(own, other).reduce(0) { $0 + abs($1.0) - abs($1.1) } / Double(rows)
  }

  /// The difference of two AUROCs of the same rows, with the normal 95 % interval of DeLong's paired standard error;
  /// `nil` where the rows are not the same or too few.
  ///
  /// - Cost: O(n); 16 bytes a row meanwhile.
  /// - Source: DeLong, DeLong and Clarke-Pearson 1988, doi:10.2307/2531595.
  init?(
    aurocOf own: (known: ScoreSample, foreign: ScoreSample), minus other: (known: ScoreSample, foreign: ScoreSample),
    value: Double
  ) {
    let (knownCount, foreignCount) = (own.known.scores.count, own.foreign.scores.count)
    guard knownCount == other.known.scores.count, foreignCount == other.foreign.scores.count, knownCount > 1,
      foreignCount > 1
    else { return nil }
    var differences = Placements(known: own.known.scores, foreign: own.foreign.scores)
    differences.subtract(Placements(known: other.known.scores, foreign: other.foreign.scores))
    self.init(
      value: value, interval: .normal(center: value, standardError: differences.meanVariance.squareRoot()))
  }
}

/// Where each row lies among those of the other set: the share of known rows below a foreign one and of foreign rows
/// above a known one, ties counting one half.
private struct Placements {
  var known: [Float]
  var foreign: [Float]

  init(known: [Float], foreign: [Float]) {
    let (knownKeys, foreignKeys) = (FloatOrder.sortedKeys(of: known), FloatOrder.sortedKeys(of: foreign))
    // Above is what is below with the sign turned about.
    self.known = Self.sharesBelow(known, others: foreignKeys).map { 1 - $0 }
    self.foreign = Self.sharesBelow(foreign, others: knownKeys)
  }

  private static func sharesBelow(_ numbers: [Float], others: [UInt32]) -> [Float] {
    var shares = [Float](repeating: 0, count: numbers.count)
    var (below, upTo) = (0, 0)
    for place in FloatOrder(numbers).places {
      let key = FloatOrder.key(numbers[Int(place)])
      while below < others.count && others[below] < key { below += 1 }
      upTo = max(upTo, below)
      while upTo < others.count && others[upTo] == key { upTo += 1 }
      shares[Int(place)] = Float((Double(below) + Double(upTo)) / 2 / Double(others.count))
    }
    return shares
  }

  mutating func subtract(_ other: Placements) {
    for row in known.indices { known[row] -= other.known[row] }
    for row in foreign.indices { foreign[row] -= other.foreign[row] }
  }

  /// The variance of the mean over both sets.
  var meanVariance: Double { Self.meanVariance(known) + Self.meanVariance(foreign) }

  private static func meanVariance(_ numbers: [Float]) -> Double {
    let count = Double(numbers.count)
    let mean = numbers.reduce(0.0) { $0 + Double($1) } / count
    return numbers.reduce(0.0) { $0 + (Double($1) - mean) * (Double($1) - mean) } / (count - 1) / count
  }
}
