public import BayesPrediction
import BayesTensor
import RealModule

/// A logistic function of the two logarithms of a probability.
///
///     q(p) = 1 / (1 + exp(−c − a ln p + b ln(1 − p)))
///
/// Both logarithms are at least that of the spacing of `Double` at one.
public struct BetaMap: ProbabilityMap {
  /// `a`, not negative.
  public var logarithmFactor: Double
  /// `b`, not negative.
  public var restFactor: Double
  /// `c`
  public var intercept: Double

  public init(logarithmFactor: Double, restFactor: Double, intercept: Double) {
    self.logarithmFactor = logarithmFactor
    self.restFactor = restFactor
    self.intercept = intercept
  }

  public func callAsFunction(_ probability: Double, rest: Double) -> Double {
    let (x, y) = Self.logarithms(probability, rest: rest)
    return 1 / (1 + Double.exp(-intercept - logarithmFactor * x + restFactor * y))
  }

  static func logarithms(_ probability: Double, rest: Double) -> (Double, Double) {
    (Double.log(max(probability, .ulpOfOne)), Double.log(max(rest, .ulpOfOne)))
  }
}

/// Fits the three parameters of a beta calibration for each class.
///
///     min over a, b ≥ 0 and c of   mean_n −log( q(pₙ) if yₙ = k else 1 − q(pₙ) )
///
/// The identity is `a = b = 1, c = 0`.
///
/// - Determinism: no randomness; rows are summed in order.
/// - Cost: O(rows) a step and class, some tens of steps.
/// - Source: Kull et al. 2017, "Beta calibration: a well-founded and easily implemented improvement on logistic
///   calibration for binary classifiers".
public struct BetaCalibrator: Calibrator, Equatable {
  public init() {}

  /// - Throws: `EvaluationError.Code.unsupported` for several samples, a closed form or an output without classes;
  ///   `.shape`; `.label`; `.score` for a logit that is not a number; `.empty`.
  public func fit(
    _ prediction: Prediction, labels: [Int]
  ) throws(EvaluationError) -> OneAgainstRestCalibration<BetaMap> {
    try CalibrationRows(prediction, labels: labels).oneAgainstRest { chances, isClass in
      BetaObjective(
        logarithms: chances.map { BetaMap.logarithms($0.probability, rest: $0.rest) }, isClass: isClass
      ).minimum()
    }
  }
}

/// The mean negative log-likelihood of one class against the rest.
private struct BetaObjective {
  let logarithms: [(Double, Double)]
  let isClass: [Bool]

  /// The minimum among factors that are not negative.
  func minimum() -> BetaMap {
    let free = search(keeping: [true, true])
    var best = free
    if free.point.contains(where: { $0 < 0 }) {
      // The function is convex: its minimum lies where a factor is zero.
      let edges = [[false, true], [true, false], [false, false]].map { search(keeping: $0) }
      best = edges.filter { !$0.point.contains { $0 < 0 } }.min { $0.value < $1.value } ?? edges[2]
    }
    return BetaMap(logarithmFactor: best.point[0], restFactor: best.point[1], intercept: best.intercept)
  }

  /// The minimum where some factors are held at zero.
  private func search(keeping isFree: [Bool]) -> (point: [Double], intercept: Double, value: Double) {
    var search = LimitedMemoryBFGS(from: isFree.map { $0 ? 1 : 0 } + [0], tolerance: 1e-10, evaluationLimit: 1000)
    var lowest = Double.infinity
    while search.outcome == nil {
      let result = evaluate(search.point, isFree: isFree)
      lowest = min(lowest, result.value)
      search.record(value: result.value, gradient: result.gradient)
    }
    return (Array(search.point.prefix(2)), search.point[2], lowest)
  }

  private func evaluate(_ point: [Double], isFree: [Bool]) -> (value: Double, gradient: [Double]) {
    var sum = 0.0
    var gradient = [0.0, 0.0, 0.0]
    for (index, (x, y)) in logarithms.enumerated() {
      let logit = point[2] + point[0] * x - point[1] * y
      // The loss log(1 + exp(m)) of the margin m to the wrong side, and its slope.
      let sign = isClass[index] ? -1.0 : 1.0
      let margin = sign * logit
      let decay = Double.exp(-abs(margin))
      sum += max(0, margin) + Double.log(onePlus: decay)
      let slope = sign * (margin >= 0 ? 1 : decay) / (1 + decay)
      gradient[0] += slope * x
      gradient[1] -= slope * y
      gradient[2] += slope
    }
    let scale = 1 / Double(logarithms.count)
    for index in gradient.indices { gradient[index] *= index == 2 || isFree[index] ? scale : 0 }
    return (sum * scale, gradient)
  }
}
