import BayesTensor
import RealModule

/// A way of calibrating the deviations of forecasts of real targets.
public enum RegressionCalibrator: String, Sendable, Hashable, CaseIterable {
  case deviationScaling = "deviation-scaling"
  case isotonic

  /// The name in tables.
  public var title: String {
    switch self {
    case .deviationScaling: "deviation scaling"
    case .isotonic: "isotonic quantiles"
    }
  }
}

/// What a calibrator learnt for one output.
public struct FittedForecastCalibration: Sendable {
  /// The factor on deviations.
  public var factor: Double
  /// The distribution in units of scaled deviations; normal for deviation scaling.
  public var distribution: StandardizedForecast
  /// What the calibrator makes smaller, on the rows it was fitted to: the negative log-likelihood in nats, or the
  /// miscalibration area.
  public var before: Double
  public var after: Double
  /// The same of rows that were held out in turn, five parts of them; `nil` for fewer than five rows.
  public var heldOutBefore: Double?
  public var heldOutAfter: Double?
  /// The mean squared residual in standard deviations.
  public var meanSquare: Double
  /// Why forecasts are left as they are, as a sentence; `nil` where they are changed.
  public var reason: String?
}

/// Learns from held-out rows how wide forecasts should be, output by output.
///
/// Deviation scaling keeps sums alone.  Isotonic quantiles scale deviations first, so that levels far from the middle
/// keep their digits; residuals beyond 7.9 scaled deviations count as these.  Every row is held out once: row `i` is in part `i mod 5`.
///
/// - Determinism: no randomness; rows are summed in order.
/// - Cost: for isotonic quantiles 8 bytes a row and output.
public struct RegressionCalibrationFit: Sendable {
  private static let foldCount = 5
  /// Levels farther out have no digits to tell them apart.
  private static let farthestResidual = 7.9

  private struct Sums: Sendable {
    var count = 0
    var squares = 0.0
    var likelihood = 0.0
  }

  private let keepsResiduals: Bool
  /// `[outputs][parts]`
  private var sums: [[Sums]]
  /// Residuals in standard deviations, `[outputs][rows]`.
  private var residuals: [[Double]]
  private var rowCount = 0

  /// - Parameter keepsResiduals: whether isotonic quantiles are to be fitted.
  public init(outputCount: Int, keepsResiduals: Bool) {
    self.keepsResiduals = keepsResiduals
    sums = Array(repeating: Array(repeating: Sums(), count: Self.foldCount), count: outputCount)
    residuals = Array(repeating: [], count: outputCount)
  }

  public var outputCount: Int { sums.count }

  /// Adds rows; forecasts of means alone count as of deviation one.
  public mutating func update(_ forecasts: RegressionForecasts) {
    let outputCount = sums.count
    for row in 0..<forecasts.rowCount {
      let fold = (rowCount + row) % Self.foldCount
      for output in 0..<outputCount {
        let position = row * outputCount + output
        let deviation = forecasts.variances?[position].squareRoot() ?? 1
        let z = (forecasts.targets[position] - forecasts.means[position]) / deviation
        sums[output][fold].count += 1
        sums[output][fold].squares += z * z
        sums[output][fold].likelihood += Double.log(2 * .pi) / 2 + Double.log(deviation) + z * z / 2
        if keepsResiduals { residuals[output].append(z) }
      }
    }
    rowCount += forecasts.rowCount
  }

  /// The factor that makes the rows most likely.
  ///
  /// - Throws: `EvaluationError.Code.empty`.
  public func scale(_ output: Int) throws(EvaluationError) -> FittedForecastCalibration {
    guard rowCount > 0 else { throw .noRows("factor of standard deviations") }
    func total(_ folds: [Sums]) -> Sums {
      folds.reduce(into: Sums()) {
        $0.count += $1.count
        $0.squares += $1.squares
        $0.likelihood += $1.likelihood
      }
    }
    func scale(_ sums: Sums) -> DeviationScale {
      DeviationScale(squares: sums.squares, likelihood: sums.likelihood, count: sums.count)
    }
    let all = scale(total(sums[output]))
    var fitted = FittedForecastCalibration(
      factor: all.factor, distribution: .normal, before: all.summary.nllBefore, after: all.summary.nllAfter,
      meanSquare: total(sums[output]).squares / Double(rowCount), reason: all.summary.reason)
    guard rowCount >= Self.foldCount else { return fitted }
    var (before, after) = (0.0, 0.0)
    for fold in 0..<Self.foldCount {
      let held = sums[output][fold]
      let factor = scale(total(sums[output].indices.filter { $0 != fold }.map { sums[output][$0] })).factor
      before += held.likelihood
      after += held.likelihood + Double(held.count) * Double.log(factor) + held.squares / 2 * (1 / (factor * factor) - 1)
    }
    fitted.heldOutBefore = before / Double(rowCount)
    fitted.heldOutAfter = after / Double(rowCount)
    return fitted
  }

  /// The shares of targets below each level; the normal distribution where that would not make the miscalibration area
  /// of the rows smaller.
  ///
  /// - Parameter unit: what deviations are multiplied by beforehand.
  /// - Throws: `EvaluationError.Code.empty`.
  /// - Precondition: residuals are kept.
  public func recalibration(_ output: Int, unit: Double = 1) throws(EvaluationError) -> FittedForecastCalibration {
    precondition(keepsResiduals, "Isotonic quantiles are fitted to residuals, and none are kept.")
    let rows = residuals[output].map { $0 / unit }
    func meanSquare(_ rows: [Double]) -> Double { rows.reduce(0) { $0 + $1 * $1 } / Double(rows.count) }
    func fit(_ rows: [Double]) throws(EvaluationError) -> (distribution: StandardizedForecast, factor: Double) {
      let square = meanSquare(rows)
      let factor = square > 0 && square.isFinite ? square.squareRoot() : 1
      let residuals = rows.map { min(max($0 / factor, -Self.farthestResidual), Self.farthestResidual) }
      return (StandardizedForecast(try QuantileRecalibration().fit(residuals: residuals)), factor)
    }
    func scaled(_ rows: [Double], _ factor: Double) -> [Double] { rows.map { $0 / factor } }
    let (distribution, factor) = try fit(rows)
    var fitted = FittedForecastCalibration(
      factor: factor, distribution: distribution, before: Self.area([(rows, .normal)]),
      after: Self.area([(scaled(rows, factor), distribution)]), meanSquare: meanSquare(rows))
    // Written so that a NaN is refused.
    if !(fitted.after <= fitted.before) {
      fitted.reason =
        "The miscalibration area of the fitted rows would rise from \(fitted.before) to \(fitted.after)."
      fitted.distribution = .normal
      fitted.factor = 1
      fitted.after = fitted.before
    }
    guard rows.count >= Self.foldCount else { return fitted }
    var parts: [(rows: [Double], distribution: StandardizedForecast)] = []
    for fold in 0..<Self.foldCount {
      let others = rows.indices.filter { $0 % Self.foldCount != fold }.map { rows[$0] }
      let part = try fit(others)
      let held = stride(from: fold, to: rows.count, by: Self.foldCount).map { rows[$0] }
      parts.append((scaled(held, part.factor), part.distribution))
    }
    fitted.heldOutBefore = fitted.before
    fitted.heldOutAfter = Self.area(parts)
    return fitted
  }

  /// The miscalibration area of rows, each part by a distribution of its own.
  private static func area(_ parts: [(rows: [Double], distribution: StandardizedForecast)]) -> Double {
    let levels = StandardizedForecast.calibrationLevels
    var held = [Double](repeating: 0, count: levels.count)
    var count = 0.0
    for part in parts {
      for z in part.rows { held[part.distribution.firstCentralInterval(holding: z)] += 1 }
      count += Double(part.rows.count)
    }
    var sum = 0.0
    let observed = held.map { rows -> Double in
      sum += rows
      return sum / count
    }
    return CoverageGaps(nominal: levels, observed: observed).area
  }
}
