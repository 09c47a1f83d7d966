public import BayesPrediction

/// The frequency of a class in bins of its probability.
public struct BinnedMap: ProbabilityMap {
  public var convention: BinConvention
  /// What each bin is mapped to.
  public var frequencies: [Double]

  public init(convention: BinConvention, frequencies: [Double]) {
    self.convention = convention
    self.frequencies = frequencies
  }

  public func callAsFunction(_ probability: Double, rest: Double) -> Double {
    let bins = UnitIntervalBins(
      count: convention == .torchmetrics ? frequencies.count - 1 : frequencies.count, convention: convention)
    return frequencies[bins.position(of: probability)]
  }
}

extension UnitIntervalBins {
  /// The bin of a probability, the first where the convention drops it.
  fileprivate func position(of probability: Double) -> Int {
    index(of: min(1, max(0, convention.reading(probability)))) ?? 0
  }
}

/// Fits the frequency of each class in equally wide bins of its probability.
///
///     q(p) = #{n in the bin of p : yₙ = k} / #{n in the bin of p}
///
/// An empty bin is mapped to its middle.  The most probable class can change, and classes without rows get probability
/// zero wherever there are rows.
///
/// - Determinism: no randomness.
/// - Source: Zadrozny and Elkan 2001, "Obtaining calibrated probability estimates".
public struct HistogramBinning: Calibrator, Equatable {
  public var binCount: Int
  public var convention: BinConvention

  /// - Precondition: there is at least one bin.
  public init(binCount: Int = 15, convention: BinConvention = .standard) {
    precondition(binCount > 0, "There is at least one bin; got \(binCount).")
    self.binCount = binCount
    self.convention = convention
  }

  /// - Throws: `EvaluationError.Code.unsupported` for several samples, a closed form or an output without classes;
  ///   `.shape`; `.label`; `.score` for a logit that is not a number; `.empty`.
  public func fit(
    _ prediction: Prediction, labels: [Int]
  ) throws(EvaluationError) -> OneAgainstRestCalibration<BinnedMap> {
    let bins = UnitIntervalBins(count: binCount, convention: convention)
    return try CalibrationRows(prediction, labels: labels).oneAgainstRest { chances, isClass in
      var counts = [Int](repeating: 0, count: bins.totalCount)
      var hits = counts
      for (chance, isHit) in zip(chances, isClass) {
        let bin = bins.position(of: chance.probability)
        counts[bin] += 1
        if isHit { hits[bin] += 1 }
      }
      return BinnedMap(
        convention: convention,
        frequencies: counts.indices.map {
          counts[$0] > 0 ? Double(hits[$0]) / Double(counts[$0]) : (bins.edge($0) + bins.edge($0 + 1)) / 2
        })
    }
  }
}
