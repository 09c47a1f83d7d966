import BayesPrediction
import BayesTensor

/// What is done to the deviations of forecasts after they were made; one entry an output.
public enum ForecastCalibration: Sendable {
  case none
  /// Deviations times a factor.
  case scaled([Double])
  /// Deviations times a factor, and levels of the normal distribution then made shares.
  case recalibrated([StandardizedForecast], scaledBy: [Double])

  /// The factor on an output's deviations.
  func factor(_ output: Int) -> Double {
    switch self {
    case .none: 1
    case .scaled(let factors), .recalibrated(_, let factors): factors[output]
    }
  }

  /// The distribution of an output's targets in units of their deviations.
  func distribution(_ output: Int) -> StandardizedForecast {
    if case .recalibrated(let distributions, _) = self { distributions[output] } else { .normal }
  }

  func contents(_ given: ForecastContents) -> ForecastContents {
    if case .recalibrated = self { min(given, .deviations) } else { given }
  }

  func hasDensity(_ output: Int) -> Bool { distribution(output).hasDensity }
}

/// One exit of one model while it is fed with forecasts of real targets.
///
/// Numbers over several outputs are means over rows and outputs, a row's outputs being drawn together.
///
/// - Cost: memory for 200 blocks of some 120 sums each, and as much for every output where there are several, up to
///   `outputLimit`; it does not grow with the rows.
public struct RegressionEvaluation: Sendable {
  /// With more outputs than this only numbers over all of them are kept.
  public static let outputLimit = 32

  public let index: Int
  public let name: String
  /// Multiply-adds a row to reach this exit.
  public let multiplyAdds: Int?
  /// What was fitted or chosen, by name.
  public var settings: [String: Double]
  /// The same of each output, where there are several.
  public var outputSettings: [[String: Double]]
  public let resampling: Resampling
  public private(set) var rowCount = 0
  private let outputCount: Int
  private let calibration: ForecastCalibration
  private let contents: ForecastContents
  private var firstRow = 0
  private var pooled: ForecastTally
  private var outputs: [ForecastTally]

  public init(
    index: Int, name: String, multiplyAdds: Int? = nil, outputCount: Int, contents: ForecastContents,
    calibration: ForecastCalibration = .none, settings: [String: Double] = [:], outputSettings: [[String: Double]] = [],
    resampling: Resampling = Resampling()
  ) {
    self.index = index
    self.name = name
    self.multiplyAdds = multiplyAdds
    self.outputCount = outputCount
    self.calibration = calibration
    self.contents = calibration.contents(contents)
    self.settings = settings
    self.outputSettings = outputSettings
    self.resampling = resampling
    pooled = ForecastTally(self.contents, hasDensity: (0..<outputCount).allSatisfy(calibration.hasDensity))
    outputs =
      (2...max(2, Self.outputLimit)).contains(outputCount)
      ? (0..<outputCount).map { ForecastTally(calibration.contents(contents), hasDensity: calibration.hasDensity($0)) }
      : []
  }

  /// Adds rows that come after those before.
  ///
  /// - Throws: `EvaluationError.Code.shape` for another number of outputs; `.unsupported` for forecasts without what
  ///   this evaluation is of.
  public mutating func update(_ forecasts: RegressionForecasts) throws(EvaluationError) {
    guard forecasts.outputCount == outputCount else {
      throw EvaluationError(
        .shape, "The forecasts are of \(forecasts.outputCount) output(s), and those before of \(outputCount).")
    }
    guard forecasts.contents >= contents else {
      throw EvaluationError(.unsupported, "The forecasts are of means alone, and deviations are to be measured.")
    }
    let distributions = (0..<outputCount).map(calibration.distribution)
    let factors = (0..<outputCount).map(calibration.factor)
    for row in 0..<forecasts.rowCount {
      let block = (firstRow + rowCount + row) % Resampling.blockCount
      for output in 0..<outputCount {
        let position = row * outputCount + output
        let error = forecasts.targets[position] - forecasts.means[position]
        guard contents > .means, let variances = forecasts.variances else {
          pooled.add(error: error, block: block)
          if !outputs.isEmpty { outputs[output].add(error: error, block: block) }
          continue
        }
        let factor = factors[output]
        let deviation = factor * variances[position].squareRoot()
        let epistemic = contents == .parts ? factor * factor * (forecasts.epistemicVariances?[position] ?? 0) : 0
        pooled.add(
          error: error, deviation: deviation, epistemicVariance: epistemic, distributions[output], block: block)
        if !outputs.isEmpty {
          outputs[output].add(
            error: error, deviation: deviation, epistemicVariance: epistemic, distributions[output], block: block)
        }
      }
    }
    rowCount += forecasts.rowCount
  }

  /// An evaluation like this one, without rows, for rows that begin at an index.
  public func shard(firstRow: Int) -> RegressionEvaluation {
    var shard = RegressionEvaluation(
      index: index, name: name, multiplyAdds: multiplyAdds, outputCount: outputCount, contents: contents,
      calibration: calibration, settings: settings, outputSettings: outputSettings, resampling: resampling)
    shard.firstRow = firstRow
    return shard
  }

  /// Adds everything that a shard has seen.
  public mutating func merge(_ other: RegressionEvaluation) {
    rowCount += other.rowCount
    pooled.merge(other.pooled)
    for index in outputs.indices { outputs[index].merge(other.outputs[index]) }
  }

  /// The draws of all outputs together, and of each where there are several.
  func draws(_ weights: [[Double]]) throws(EvaluationError) -> (pooled: ForecastDraws, outputs: [ForecastDraws]) {
    guard rowCount > 0 else { throw .noRows("quality of forecasts") }
    return (
      ForecastDraws(pooled, weights: weights, resampling), outputs.map { ForecastDraws($0, weights: weights, resampling) }
    )
  }

  func result(_ draws: (pooled: ForecastDraws, outputs: [ForecastDraws])) -> RegressionExitResult {
    let singles = outputCount == 1 ? rowCount : nil
    return RegressionExitResult(
      index: index, name: name, multiplyAdds: multiplyAdds, rowCount: rowCount, outputCount: outputCount,
      settings: settings, measures: draws.pooled.numbers(rowCount: singles),
      calibration: draws.pooled.calibration(rowCount: singles),
      outputs: draws.outputs.enumerated().map { index, draws in
        RegressionOutputResult(
          settings: outputSettings.indices.contains(index) ? outputSettings[index] : [:],
          measures: draws.numbers(rowCount: rowCount), calibration: draws.calibration(rowCount: rowCount))
      })
  }

  /// The numbers of all rows.
  ///
  /// - Throws: `EvaluationError.Code.empty` before the first row.
  public var result: RegressionExitResult {
    get throws(EvaluationError) { result(try draws(resampling.blockWeights())) }
  }
}

/// One exit's numbers.
public struct RegressionExitResult: Sendable, Hashable, Codable {
  public var index: Int
  public var name: String
  public var multiplyAdds: Int?
  public var rowCount: Int
  public var outputCount: Int
  /// What was fitted or chosen, by name.
  public var settings: [String: Double]
  /// Means over rows and outputs, by name of the `RegressionMeasure`; what forecasts do not allow is absent.
  public var measures: [String: MeasuredNumber]
  /// From the probability zero to one; empty for means alone.
  public var calibration: [CoverageInterval]
  /// Of each output, where there are several and no more than `RegressionEvaluation.outputLimit`.
  public var outputs: [RegressionOutputResult]
  /// Intervals with a promise, where they were asked for.
  public var conformal: [RegressionConformalResult]?

  public init(
    index: Int, name: String, multiplyAdds: Int?, rowCount: Int, outputCount: Int, settings: [String: Double],
    measures: [String: MeasuredNumber], calibration: [CoverageInterval], outputs: [RegressionOutputResult],
    conformal: [RegressionConformalResult]? = nil
  ) {
    self.index = index
    self.name = name
    self.multiplyAdds = multiplyAdds
    self.rowCount = rowCount
    self.outputCount = outputCount
    self.settings = settings
    self.measures = measures
    self.calibration = calibration
    self.outputs = outputs
    self.conformal = conformal
  }

  public subscript(measure: RegressionMeasure) -> MeasuredNumber? { measures[measure.rawValue] }
}

/// One output's numbers.
public struct RegressionOutputResult: Sendable, Hashable, Codable {
  public var settings: [String: Double]
  public var measures: [String: MeasuredNumber]
  public var calibration: [CoverageInterval]

  public init(settings: [String: Double], measures: [String: MeasuredNumber], calibration: [CoverageInterval]) {
    self.settings = settings
    self.measures = measures
    self.calibration = calibration
  }

  public subscript(measure: RegressionMeasure) -> MeasuredNumber? { measures[measure.rawValue] }
}
