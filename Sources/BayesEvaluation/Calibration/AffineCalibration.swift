public import BayesPrediction
import BayesTensor
import RealModule

/// An affine map of logits or of log-probabilities.
///
///     softmax(W x + b),   x = z  or  x = ln p
///
/// Logits more than 708 below a row's largest count as 708 below, which gives a probability of zero a logarithm.
public struct AffineCalibration: SummarizedCalibration, Codable, Equatable {
  /// What the map is applied to.
  public enum Input: String, Sendable, Codable {
    case logits
    case logProbabilities
  }

  public var input: Input
  /// `[classes, classes]` row by row, from the column's input to the row's logit.
  public var weights: [Double]
  /// One a class.
  public var intercepts: [Double]
  public var summary: CalibrationSummary
  /// Whether the search found its minimum; it has none where classes can be told apart without an error.
  public var isConverged: Bool

  public init(
    input: Input, weights: [Double], intercepts: [Double], summary: CalibrationSummary, isConverged: Bool
  ) {
    precondition(
      weights.count == intercepts.count * intercepts.count,
      "\(intercepts.count) classes have as many times as many weights; got \(weights.count).")
    self.input = input
    self.weights = weights
    self.intercepts = intercepts
    self.summary = summary
    self.isConverged = isConverged
  }

  /// The calibrated prediction; of log-probabilities, log-probabilities.
  ///
  /// - Precondition: there are as many classes as were fitted to, one sample and no closed form.
  public func callAsFunction(_ prediction: Prediction) -> Prediction {
    let isNormalized = input == .logProbabilities || prediction.scale == .logProbabilities
    let scale = isNormalized ? Prediction.Scale.logProbabilities : .logits
    return prediction.mappingRows(scale: scale, classCount: intercepts.count, of: summary) { row in
      let values = outputs(of: row)
      guard isNormalized else { return values }
      let normalizer = logSumExp(values)
      return values.map { $0 - normalizer }
    }
  }

  /// `W x + b` of a row of logits.
  private func outputs(of row: ArraySlice<Double>) -> [Double] {
    let x = input.values(of: row)
    let classCount = x.count
    return intercepts.indices.map { output in
      var sum = intercepts[output]
      for column in 0..<classCount { sum += weights[output * classCount + column] * x[column] }
      return sum
    }
  }
}

extension AffineCalibration.Input {
  /// What the map is applied to, of the logits of a row.
  fileprivate func values(of row: ArraySlice<Double>) -> [Double] {
    let lowest = (row.max() ?? 0) + Double.log(.leastNormalMagnitude)
    let values = row.map { max($0, lowest) }
    guard self == .logProbabilities else { return values }
    let normalizer = logSumExp(values)
    return values.map { $0 - normalizer }
  }
}

/// Fits a factor and an intercept for each class's logit.
///
///     softmax(diag(w) z + b),   min mean_n −log softmax(diag(w) zₙ + b)[yₙ] + μ · (1/k) Σ b²
///
/// For one binary logit this is Platt's scaling.
///
/// - Determinism: no randomness; rows are summed in order.
/// - Cost: O(rows · classes) a step, some tens of steps; memory for the logits in `Double`.
/// - Source: Guo et al. 2017, arXiv:1706.04599.
public struct VectorScaling: Calibrator, Equatable {
  /// `μ`, not negative.
  public var interceptPenalty: Double

  /// - Precondition: the penalty is finite and not negative.
  public init(interceptPenalty: Double = 0) {
    requirePenalties(interceptPenalty)
    self.interceptPenalty = interceptPenalty
  }

  /// - Throws: `EvaluationError.Code.unsupported` for several samples, a closed form or an output without classes;
  ///   `.shape`; `.label`; `.score` for a logit that is not a number; `.empty`.
  public func fit(_ prediction: Prediction, labels: [Int]) throws(EvaluationError) -> AffineCalibration {
    AffineObjective(
      rows: try CalibrationRows(prediction, labels: labels), input: .logits, isDiagonal: true,
      offDiagonalPenalty: 0, interceptPenalty: interceptPenalty
    ).fit()
  }
}

/// Fits a matrix and intercepts for logits.
///
///     softmax(W z + b),   min mean_n −log softmax(W zₙ + b)[yₙ] + λ · 1/(k (k − 1)) Σ_{i≠j} W²ᵢⱼ + μ · (1/k) Σ b²
///
/// - Determinism: no randomness; rows are summed in order.
/// - Cost: O(rows · classes²) a step, some tens to hundreds of steps; memory for the logits in `Double`.
/// - Source: Guo et al. 2017, arXiv:1706.04599; penalties (ODIR) as in Kull et al. 2019, arXiv:1910.12656.
public struct MatrixScaling: Calibrator, Equatable {
  /// `λ`, not negative.
  public var offDiagonalPenalty: Double
  /// `μ`, not negative.
  public var interceptPenalty: Double

  /// - Precondition: the penalties are finite and not negative.
  public init(offDiagonalPenalty: Double = 0.01, interceptPenalty: Double = 0.01) {
    requirePenalties(offDiagonalPenalty, interceptPenalty)
    self.offDiagonalPenalty = offDiagonalPenalty
    self.interceptPenalty = interceptPenalty
  }

  /// - Throws: as `VectorScaling.fit` does.
  public func fit(_ prediction: Prediction, labels: [Int]) throws(EvaluationError) -> AffineCalibration {
    AffineObjective(
      rows: try CalibrationRows(prediction, labels: labels), input: .logits, isDiagonal: false,
      offDiagonalPenalty: offDiagonalPenalty, interceptPenalty: interceptPenalty
    ).fit()
  }
}

/// Fits a matrix and intercepts for log-probabilities, as they follow from Dirichlet distributions of each class.
///
///     softmax(W ln p + b),   with the penalties of `MatrixScaling`
///
/// - Determinism: no randomness; rows are summed in order.
/// - Cost: as `MatrixScaling`.
/// - Source: Kull et al. 2019, arXiv:1910.12656.
public struct DirichletCalibrator: Calibrator, Equatable {
  /// `λ`, not negative.
  public var offDiagonalPenalty: Double
  /// `μ`, not negative.
  public var interceptPenalty: Double

  /// - Precondition: the penalties are finite and not negative.
  public init(offDiagonalPenalty: Double = 0.01, interceptPenalty: Double = 0.01) {
    requirePenalties(offDiagonalPenalty, interceptPenalty)
    self.offDiagonalPenalty = offDiagonalPenalty
    self.interceptPenalty = interceptPenalty
  }

  /// - Throws: as `VectorScaling.fit` does.
  public func fit(_ prediction: Prediction, labels: [Int]) throws(EvaluationError) -> AffineCalibration {
    AffineObjective(
      rows: try CalibrationRows(prediction, labels: labels), input: .logProbabilities, isDiagonal: false,
      offDiagonalPenalty: offDiagonalPenalty, interceptPenalty: interceptPenalty
    ).fit()
  }
}

private func requirePenalties(_ penalties: Double...) {
  precondition(
    penalties.allSatisfy { $0 >= 0 && $0.isFinite }, "Penalties are finite and not negative; got \(penalties).")
}

/// The penalised mean negative log-likelihood of labelled rows as a function of weights and intercepts.
private struct AffineObjective {
  private let rows: CalibrationRows
  private let input: AffineCalibration.Input
  /// `[rows, classes]`
  private let inputs: [Double]
  private let isDiagonal: Bool
  private let offDiagonalPenalty: Double
  private let interceptPenalty: Double

  init(
    rows: CalibrationRows, input: AffineCalibration.Input, isDiagonal: Bool, offDiagonalPenalty: Double,
    interceptPenalty: Double
  ) {
    self.rows = rows
    self.input = input
    inputs = (0..<rows.rowCount).flatMap { input.values(of: rows.row($0)) }
    self.isDiagonal = isDiagonal
    self.offDiagonalPenalty = offDiagonalPenalty
    self.interceptPenalty = interceptPenalty
  }

  /// What one square of a weight off the diagonal and of an intercept costs.
  private var penalties: (weight: Double, intercept: Double) {
    let count = Double(rows.classCount)
    return (offDiagonalPenalty / (count * (count - 1)), interceptPenalty / count)
  }

  private var weightCount: Int { isDiagonal ? rows.classCount : rows.classCount * rows.classCount }

  /// The minimum, sought from the identity.
  func fit() -> AffineCalibration {
    let classCount = rows.classCount
    var start = [Double](repeating: 0, count: weightCount + classCount)
    for index in 0..<classCount { start[isDiagonal ? index : index * (classCount + 1)] = 1 }
    var search = LimitedMemoryBFGS(from: start, tolerance: 1e-9, memory: 20, evaluationLimit: 5000)
    var best = (point: start, value: Double.infinity, likelihood: Double.infinity)
    // Whoever cancels wants no result, and soon.
    while search.outcome == nil, !Task.isCancelled {
      let point = search.point
      let result = evaluate(point)
      if result.value < best.value { best = (point, result.value, result.likelihood) }
      search.record(value: result.value, gradient: result.gradient)
    }
    var weights = best.point
    if isDiagonal {
      weights = [Double](repeating: 0, count: classCount * classCount)
      for index in 0..<classCount { weights[index * (classCount + 1)] = best.point[index] }
    }
    return AffineCalibration(
      input: input, weights: Array(weights.prefix(classCount * classCount)),
      intercepts: Array(best.point.suffix(classCount)),
      summary: CalibrationSummary(
        before: rows.negativeLogLikelihood, after: best.likelihood, rowCount: rows.rowCount),
      isConverged: search.outcome == .converged || search.outcome == .stalled && search.gradientSize < 1e-6)
  }

  private func evaluate(_ point: [Double]) -> (value: Double, likelihood: Double, gradient: [Double]) {
    let (classCount, weightCount) = (rows.classCount, weightCount)
    let scale = 1 / Double(rows.rowCount)
    // Classes lie side by side, [inputs, outputs], so that the compiler makes vectors of them.
    let intercepts = Array(point[weightCount...])
    let weights = isDiagonal ? Array(point[..<weightCount]) : transposed(point[..<weightCount])
    var slopes = [Double](repeating: 0, count: weightCount)
    var interceptSlopes = [Double](repeating: 0, count: classCount)
    var outputs = intercepts
    var sum = 0.0
    for (row, label) in rows.labels.enumerated() {
      let start = row * classCount
      for output in 0..<classCount { outputs[output] = intercepts[output] }
      if isDiagonal {
        for output in 0..<classCount { outputs[output] += weights[output] * inputs[start + output] }
      } else {
        for column in 0..<classCount { add(inputs[start + column], times: weights, column * classCount, to: &outputs, 0) }
      }
      let (labelled, largest) = (outputs[label], outputs.max() ?? 0)
      for output in 0..<classCount { outputs[output] -= largest }
      var span = outputs.mutableSpan
      span.formExponentials(in: 0..<classCount)
      let total = outputs.reduce(0, +)
      sum += Double.log(total) + largest - labelled
      // From here on the slopes of the loss.
      for output in 0..<classCount { outputs[output] *= scale / total }
      outputs[label] -= scale
      for output in 0..<classCount { interceptSlopes[output] += outputs[output] }
      if isDiagonal {
        for output in 0..<classCount { slopes[output] += outputs[output] * inputs[start + output] }
      } else {
        for column in 0..<classCount { add(inputs[start + column], times: outputs, 0, to: &slopes, column * classCount) }
      }
    }
    var gradient = (isDiagonal ? slopes : transposed(slopes[...])) + interceptSlopes
    let likelihood = sum * scale
    var value = likelihood
    for index in weightCount..<point.count {
      value += penalties.intercept * point[index] * point[index]
      gradient[index] += 2 * penalties.intercept * point[index]
    }
    if !isDiagonal {
      for index in 0..<weightCount where index % (classCount + 1) != 0 {
        value += penalties.weight * point[index] * point[index]
        gradient[index] += 2 * penalties.weight * point[index]
      }
    }
    return (value, likelihood, gradient)
  }

  /// A square matrix with its rows as columns.
  private func transposed(_ matrix: ArraySlice<Double>) -> [Double] {
    let size = rows.classCount
    return (0..<size).flatMap { column in (0..<size).map { row in matrix[matrix.startIndex + row * size + column] } }
  }

  /// Adds as many numbers as there are classes, each times a factor, to others.
  private func add(
    _ factor: Double, times values: [Double], _ first: Int, to sums: inout [Double], _ firstSum: Int
  ) {
    let values = values.span.extracting(first..<first + rows.classCount)
    var sums = sums.mutableSpan
    for index in values.indices { sums[firstSum + index] += factor * values[index] }
  }
}
