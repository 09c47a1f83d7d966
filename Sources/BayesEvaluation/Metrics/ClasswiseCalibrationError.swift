import BayesTensor

/// How far each class's probability is from the share of rows that are of the class, averaged over bins and classes.
///
///     CCE = (1/K) Σ_k Σ_b (n_kb / n) |frequency_kb − mean p_kb|
///
/// Every class's probability counts, not only the largest, so that it sees what a decision other than by the largest one
/// would rest on.
///
/// - Range: `0...1`; with many classes most probabilities are near zero, and so is the value.
/// - Cost: memory for `3 · classes · bins` numbers.
/// - Source: Kull et al. 2019, arXiv:1910.12656, definition 2.
public struct ClasswiseCalibrationError: Metric, Equatable {
  private let bins: UnitIntervalBins
  private var classes: [BinSums] = []
  private var squaredErrors = RowMean()

  public init(binCount: Int = ExpectedCalibrationError.defaultBinCount, convention: BinConvention = .standard) {
    bins = UnitIntervalBins(count: binCount, convention: convention)
  }

  public mutating func update(_ batch: LabelledProbabilities) {
    extend(to: batch.probabilities.classCount)
    let (classCount, labels) = (batch.probabilities.classCount, batch.labels)
    batch.probabilities.values.withSpan { values in
      for column in 0..<classCount {
        classes[column].add(
          rowCount: labels.count, probability: { min(1, values[$0 * classCount + column]) },
          isEvent: { labels[$0] == column })
      }
    }
    for error in batch.squaredErrors { squaredErrors.add(error) }
  }

  public mutating func merge(_ other: ClasswiseCalibrationError) {
    precondition(bins == other.bins, "Cannot merge \(other.bins.count) bins into \(bins.count).")
    extend(to: other.classes.count)
    for (index, sums) in other.classes.enumerated() { classes[index].merge(sums) }
    squaredErrors.merge(other.squaredErrors)
  }

  public var value: Double {
    get throws(EvaluationError) {
      let values = try byClass
      return values.reduce(0, +) / Double(values.count)
    }
  }

  /// The error of each class, in class order.
  public var byClass: [Double] {
    get throws(EvaluationError) {
      guard squaredErrors.count > 0 else { throw .noRows("classwise calibration error") }
      return classes.map(\.meanGap)
    }
  }

  /// The Brier score in its parts, from the same bins.
  public var brierDecomposition: BrierDecomposition {
    get throws(EvaluationError) {
      guard squaredErrors.count > 0 else { throw .noRows("Brier score") }
      let total = Double(squaredErrors.count)
      var (reliability, resolution, uncertainty) = (0.0, 0.0, 0.0)
      for sums in classes {
        let frequency = Double(sums.eventCounts.reduce(0, +)) / total
        uncertainty += frequency * (1 - frequency)
        for bin in sums.filled {
          let weight = Double(sums.counts[bin]) / total
          let (gap, lift) = (sums.meanProbability(bin) - sums.frequency(bin), sums.frequency(bin) - frequency)
          reliability += weight * gap * gap
          resolution += weight * lift * lift
        }
      }
      return BrierDecomposition(
        reliability: reliability, resolution: resolution, uncertainty: uncertainty,
        withinBins: squaredErrors.mean - (reliability - resolution + uncertainty))
    }
  }

  private mutating func extend(to classCount: Int) {
    while classes.count < classCount { classes.append(BinSums(bins)) }
  }
}

/// The Brier score, summed over classes, in parts:
///
///     Brier = reliability − resolution + uncertainty + within bins
///
/// - Source: Murphy 1973, doi:10.1175/1520-0450(1973)012<0595:ANVPOT>2.0.CO;2; the last part, by which probabilities differ
///   within bins, after Stephenson, Coelho and Jolliffe 2008, doi:10.1175/2007WAF2006116.1.
public struct BrierDecomposition: Sendable, Hashable, Codable {
  /// How far probabilities are from frequencies; smaller is better.
  public var reliability: Double
  /// How far frequencies of bins are from those of all rows; larger is better.
  public var resolution: Double
  /// What the classes' frequencies alone leave open; the same for all models.
  public var uncertainty: Double
  /// The variance within bins less twice its covariance with what came true; near zero for narrow bins.
  public var withinBins: Double
}

/// 95 % intervals of the parts of the Brier score.
public struct BrierIntervals: Sendable, Hashable, Codable {
  public var reliability: Interval
  public var resolution: Interval
  public var uncertainty: Interval
  public var withinBins: Interval
}
