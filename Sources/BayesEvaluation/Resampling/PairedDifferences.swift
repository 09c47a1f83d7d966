import BayesTensor

extension Difference {
  /// The difference of two calibration errors of the same rows, both computed on the same sets of rows drawn anew.
  ///
  /// - Parameters:
  ///   - own: the losses of each row, in one order.
  ///   - binCount: of the standard convention.
  /// - Cost: O(rows · sets) up to 100,000 rows; 20 bytes a row meanwhile.  More rows make up 200 blocks.
  init(
    calibrationErrorsOf own: RowLosses, minus other: RowLosses, value: Double, binCount: Int, _ resampling: Resampling
  ) {
    let rowCount = own.correct.count
    guard rowCount > 1 else {
      self.init(value: value, interval: nil)
      return
    }
    let values =
      rowCount <= Resampling.rowLimit
      ? Self.drawnByRow(own.gaps(binCount), other.gaps(binCount), binCount, resampling)
      : Self.drawnByBlock(own.blockGaps(binCount), other.blockGaps(binCount), rowCount, resampling)
    self.init(value: value, interval: resampling.interval(of: values, at: value, within: -1...1))
  }

  private static func drawnByRow(
    _ own: RowGaps, _ other: RowGaps, _ binCount: Int, _ resampling: Resampling
  ) -> [Double] {
    var tables = PoissonTables()
    let table = tables.index(ofMean: 1)
    return (0..<resampling.count).map { index in
      let uniforms = resampling.key.child(index).coarseUniforms(own.gaps.count)
      var ownSums = [Double](repeating: 0, count: binCount)
      var otherSums = ownSums
      var rows = 0
      for row in own.gaps.indices {
        let count = tables.number(table, uniforms[row])
        guard count > 0 else { continue }
        rows += count
        ownSums[Int(own.bins[row])] += Double(count) * own.gaps[row]
        otherSums[Int(other.bins[row])] += Double(count) * other.gaps[row]
      }
      return difference(ownSums, otherSums, rows)
    }
  }

  private static func drawnByBlock(
    _ own: [[Double]], _ other: [[Double]], _ rowCount: Int, _ resampling: Resampling
  ) -> [Double] {
    var tables = PoissonTables()
    let table = tables.index(ofMean: 1)
    return (0..<resampling.count).map { index in
      let uniforms = resampling.key.child(index).coarseUniforms(own.count)
      var ownSums = [Double](repeating: 0, count: own[0].count)
      var otherSums = ownSums
      var rows = 0
      for block in own.indices {
        let count = tables.number(table, uniforms[block])
        guard count > 0 else { continue }
        rows += count * (rowCount / own.count + (block < rowCount % own.count ? 1 : 0))
        for bin in ownSums.indices {
          ownSums[bin] += Double(count) * own[block][bin]
          otherSums[bin] += Double(count) * other[block][bin]
        }
      }
      return difference(ownSums, otherSums, rows)
    }
  }

  private static func difference(_ own: [Double], _ other: [Double], _ rows: Int) -> Double {
    zip(own, other).reduce(0) { $0 + abs($1.0) - abs($1.1) } / Double(rows)
  }

  /// The difference of two AUROCs of the same rows, with the normal 95 % interval of DeLong's paired standard error; `nil`
  /// where the rows are not the same or too few.
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

/// Where each row lies among those of the other set: the share of known rows below a foreign one and of foreign rows above
/// a known one, ties counting one half.
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

/// How far each row's confidence is from whether it is right, and the bin it counts in.
private struct RowGaps {
  var bins: [UInt16]
  var gaps: [Double]
}

extension RowLosses {
  fileprivate func gaps(_ binCount: Int) -> RowGaps {
    let bins = UnitIntervalBins(count: binCount)
    var result = RowGaps(bins: [], gaps: [])
    for (uncertainty, isCorrect) in zip(uncertainties, correct) {
      let confidence = 1 - Double(uncertainty)
      // By the standard convention every confidence has a bin.
      result.bins.append(UInt16(bins.index(of: confidence) ?? 0))
      result.gaps.append((isCorrect ? 1 : 0) - confidence)
    }
    return result
  }

  /// Summed gaps, `[blocks][bins]`.
  fileprivate func blockGaps(_ binCount: Int) -> [[Double]] {
    let bins = UnitIntervalBins(count: binCount)
    var blocks = Array(repeating: [Double](repeating: 0, count: binCount), count: Resampling.blockCount)
    for (row, uncertainty) in uncertainties.enumerated() {
      let confidence = 1 - Double(uncertainty)
      blocks[row % Resampling.blockCount][bins.index(of: confidence) ?? 0] += (correct[row] ? 1 : 0) - confidence
    }
    return blocks
  }
}
