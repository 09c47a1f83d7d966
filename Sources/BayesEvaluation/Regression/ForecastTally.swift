import BayesTensor
import RealModule

/// Sums over rows of what forecasts are measured by, in 200 blocks of rows, so that sets of rows can be drawn anew.
///
/// - Cost: memory for some 23,000 numbers, however many rows there are; below 200 rows each is a block of its own.
struct ForecastTally: Sendable, Equatable {
  /// What is summed up of each forecast; the share of targets in each of the 100 central intervals follows.
  private enum Column: Int, CaseIterable {
    case negativeLogLikelihood, rankedProbability, check, interval, variance, epistemicVariance, squaredError
    case absoluteError, firstCoverage
  }

  private static let coverageStart = Column.firstCoverage.rawValue
  private static let levelStart = coverageStart + RegressionMeasure.coverages.count
  private static let levelCount = StandardizedForecast.calibrationLevels.count
  private static let width = levelStart + levelCount

  private let contents: ForecastContents
  private let hasDensity: Bool
  /// `[blocks, columns]`
  private var sums = [Double](repeating: 0, count: Resampling.blockCount * width)
  /// The number of forecasts in each block.
  private var counts = [Double](repeating: 0, count: Resampling.blockCount)

  /// - Parameter hasDensity: whether forecasts have a likelihood.
  init(_ contents: ForecastContents, hasDensity: Bool) {
    self.contents = contents
    self.hasDensity = hasDensity
  }

  /// Adds a forecast without a deviation.
  mutating func add(error: Double, block: Int) {
    counts[block] += 1
    let start = block * Self.width
    sums[start + Column.squaredError.rawValue] += error * error
    sums[start + Column.absoluteError.rawValue] += abs(error)
  }

  /// Adds a forecast.
  mutating func add(
    error: Double, deviation: Double, epistemicVariance: Double, _ distribution: StandardizedForecast, block: Int
  ) {
    self.add(error: error, block: block)
    let z = error / deviation
    let start = block * Self.width
    func add(_ column: Column, _ value: Double) { sums[start + column.rawValue] += value }
    if hasDensity {
      add(.negativeLogLikelihood, distribution.negativeLogDensity(z) + Double.log(deviation))
    }
    add(.rankedProbability, deviation * distribution.rankedProbabilityScore(z))
    add(.check, deviation * distribution.checkScore(z))
    add(.interval, deviation * distribution.intervalScore(z))
    add(.variance, deviation * deviation * distribution.variance)
    add(.epistemicVariance, epistemicVariance)
    for index in 0..<RegressionMeasure.coverages.count where distribution.isCovered(z, byInterval: index) {
      sums[start + Self.coverageStart + index] += 1
    }
    sums[start + Self.levelStart + distribution.firstCentralInterval(holding: z)] += 1
  }

  /// Adds what another has seen, block by block.
  mutating func merge(_ other: ForecastTally) {
    for index in sums.indices { sums[index] += other.sums[index] }
    for index in counts.indices { counts[index] += other.counts[index] }
  }

  /// The numbers of some rows.
  struct Values: Sendable {
    /// In the order of `RegressionMeasure.allCases`; not a number where there is none.
    var measures: [Double]
    /// The share of targets in each central interval.
    var coverages: [Double]
  }

  /// The measures that forecasts of these contents have.
  var measures: [RegressionMeasure] {
    RegressionMeasure.allCases.filter { measure in
      switch measure {
      case .rootMeanSquaredError, .meanAbsoluteError: true
      case .negativeLogLikelihood: contents > .means && hasDensity
      case .epistemicDeviation, .noiseDeviation: contents == .parts
      default: contents > .means
      }
    }
  }

  /// The numbers of all rows.
  var values: Values { values(weights: [Double](repeating: 1, count: Resampling.blockCount)) }

  /// The numbers where each block counts as often as its weight says.
  func values(weights: [Double]) -> Values {
    let width = Self.width
    var total = [Double](repeating: 0, count: width)
    var count = 0.0
    for (block, weight) in weights.enumerated() where weight > 0 {
      count += weight * counts[block]
      let start = block * width
      for column in 0..<width { total[column] += weight * sums[start + column] }
    }
    func mean(_ column: Column) -> Double { total[column.rawValue] / count }
    var coverages: [Double] = []
    var held = 0.0
    for level in 0..<Self.levelCount {
      held += total[Self.levelStart + level]
      coverages.append(held / count)
    }
    let gaps = CoverageGaps(nominal: StandardizedForecast.calibrationLevels, observed: coverages)
    let available = Set(measures)
    let numbers = RegressionMeasure.allCases.map { measure -> Double in
      guard available.contains(measure) else { return .nan }
      switch measure {
      case .rootMeanSquaredError: return mean(.squaredError).squareRoot()
      case .meanAbsoluteError: return mean(.absoluteError)
      case .negativeLogLikelihood: return mean(.negativeLogLikelihood)
      case .continuousRankedProbabilityScore: return mean(.rankedProbability)
      case .checkScore: return mean(.check)
      case .intervalScore: return mean(.interval)
      case .sharpness: return mean(.variance).squareRoot()
      case .epistemicDeviation: return mean(.epistemicVariance).squareRoot()
      case .noiseDeviation: return max(0, mean(.variance) - mean(.epistemicVariance)).squareRoot()
      case .miscalibrationArea: return gaps.area
      case .rootMeanSquaredCalibrationError: return gaps.rootMeanSquare
      case .meanAbsoluteCalibrationError: return gaps.meanAbsolute
      case .coverage50, .coverage80, .coverage90, .coverage95:
        guard let index = RegressionMeasure.coverages.firstIndex(where: { $0.measure == measure }) else { return .nan }
        return total[Self.coverageStart + index] / count
      }
    }
    return Values(measures: numbers, coverages: coverages)
  }
}

extension Resampling {
  /// How often each block of rows is drawn in each set, `[sets][blocks]`: Poisson numbers of mean one.
  ///
  /// The same for all models, so that their differences are of the same rows.
  func blockWeights() -> [[Double]] {
    var tables = PoissonTables()
    let table = tables.index(ofMean: 1)
    return (0..<count).map { index in
      key.child(index).coarseUniforms(Self.blockCount).map { Double(tables.number(table, $0)) }
    }
  }
}

/// The numbers of forecasts on sets of rows drawn anew.
struct ForecastDraws: Sendable {
  /// Of all rows.
  let values: ForecastTally.Values
  /// One a set.
  private let drawn: [ForecastTally.Values]
  private let resampling: Resampling
  private let available: [RegressionMeasure]

  init(_ tally: ForecastTally, weights: [[Double]], _ resampling: Resampling) {
    values = tally.values
    drawn = weights.map { tally.values(weights: $0) }
    available = tally.measures
    self.resampling = resampling
  }

  private static let places = Dictionary(
    uniqueKeysWithValues: RegressionMeasure.allCases.enumerated().map { ($1, $0) })

  private func value(_ measure: RegressionMeasure) -> Double { Self.places[measure].map { values.measures[$0] } ?? .nan }

  private func drawn(_ measure: RegressionMeasure) -> [Double] {
    guard let place = Self.places[measure] else { return [] }
    return drawn.map { $0.measures[place] }
  }

  /// Every number with its interval, by the measure's name.
  ///
  /// - Parameter rowCount: the number of rows, where each has one forecast; its shares then have Wilson's intervals.
  func numbers(rowCount: Int?) -> [String: MeasuredNumber] {
    available.reduce(into: [:]) { numbers, measure in
      let value = value(measure)
      let interval: Interval?
      if measure.coverageLevel != nil, let rowCount {
        interval = .wilson(successes: Int((value * Double(rowCount)).rounded()), of: rowCount)
      } else {
        interval = resampling.interval(of: drawn(measure), at: value, within: measure.range)
      }
      numbers[measure.rawValue] = MeasuredNumber(value: value, interval: interval)
    }
  }

  /// The calibration curve.
  ///
  /// - Parameter rowCount: as for `numbers(rowCount:)`.
  func calibration(rowCount: Int?) -> [CoverageInterval] {
    guard available.contains(.miscalibrationArea) else { return [] }
    return StandardizedForecast.calibrationLevels.enumerated().map { index, level in
      let observed = values.coverages[index]
      let interval = rowCount.map {
        Interval.wilson(successes: Int((observed * Double($0)).rounded()), of: $0)
      } ?? resampling.interval(of: drawn.map { $0.coverages[index] }, at: observed, within: 0...1)
      return CoverageInterval(nominal: level, observed: observed, interval: interval)
    }
  }

  /// These numbers minus others of the same rows, where both have them.
  func differences(from other: ForecastDraws) -> [String: Difference] {
    available.filter(other.available.contains).reduce(into: [:]) { differences, measure in
      let value = value(measure) - other.value(measure)
      let values = zip(drawn(measure), other.drawn(measure)).map { $0 - $1 }
      differences[measure.rawValue] = Difference(
        value: value, interval: resampling.interval(of: values, at: value, within: -.infinity ... .infinity))
    }
  }
}

/// The share of targets in central intervals of one probability, with how far chance may move it.
public struct CoverageInterval: Sendable, Hashable, Codable {
  public var nominal: Double
  public var observed: Double
  public var interval: Interval?

  public init(nominal: Double, observed: Double, interval: Interval?) {
    self.nominal = nominal
    self.observed = observed
    self.interval = interval
  }
}
