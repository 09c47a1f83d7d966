import BayesNetwork
import BayesPrediction
import BayesTensor
import RealModule

/// Chooses prior precision and temperature of one exit by the likelihood of validation labels, in few passes: each
/// takes the derivatives of its rows anew, and serves many pairs at once.
///
/// A coarse grid over twelve decades of prior precision and temperatures from ¼ to 8 is evaluated on at most some five
/// hundred rows.  Around its lowest point a grid with eight prior precisions a decade and sixteen temperatures an octave
/// is evaluated on all rows, and moved for as long as its lowest point lies on its edge.
struct WeightTuning<Scalar: TensorScalar>: Sendable {
  let frozen: FrozenNetwork
  let exit: Exit
  let likelihood: Likelihood
  let posterior: WeightLaplacePosterior.Exit
  let predictive: LaplacePredictive
  /// `[samples, logits]`; `nil` for a predictive without draws.
  let draws: Tensor<Double>?
  /// As many others each, with which what was chosen is scored again; none for a predictive without draws.
  let otherDraws: [Tensor<Double>]
  let rows: LabelledRows<Scalar>

  /// Steps of the fine grid in half a decade of prior precision, and in half an octave of temperature.
  private static var priorStep: Int { 4 }
  private static var temperatureStep: Int { 8 }
  private static var coarseRowCount: Int { 500 }
  private static var temperatures: LatticeAxis { LatticeAxis(origin: 1, octaves: 1 / 16, bounds: -32...48) }

  /// Temperatures to try at one prior precision; without one there is no variance, and the temperatures are those of
  /// `WeightTuning.temperatures`, also where that of the posterior is fixed.
  private struct Line {
    var prior: Int?
    var temperatures: [Int]
  }

  private struct Point: Hashable {
    var prior: Int?
    var temperature: Int
  }

  /// Whether the two are free is said here; else they are those of the posterior.
  ///
  /// - Throws: `FileError` where the rows have no labels or a logit is not finite; `NetworkError`, `NumericalError`,
  ///   `CancellationError`.
  func run(choosesPriorPrecision: Bool, choosesTemperature: Bool, in context: ExecutionContext) async throws
    -> LaplaceTuning
  {
    let priors = choosesPriorPrecision ? try priorAxis(on: context.backend) : nil
    let temperatures = choosesTemperature ? Self.temperatures : .fixed(posterior.temperature)
    var tuning = LaplaceTuning()
    func indices(_ axis: LatticeAxis, near center: Int?, step: Int) -> [Int] {
      axis.bounds.filter { index in center.map { abs(index - $0) <= step } ?? (index % step == 0) }
    }

    var best = Point(prior: 0, temperature: 0)
    if priors != nil || choosesTemperature {
      let coarse = indices(temperatures, near: nil, step: Self.temperatureStep)
      let lines = (priors.map { indices($0, near: nil, step: Self.priorStep) } ?? [0]).map {
        Line(prior: $0, temperatures: coarse)
      }
      best = Self.lowest(
        try await evaluate(
          lines, priors, temperatures, everyRow: max(1, rows.rowCount / Self.coarseRowCount), &tuning, in: context))
    }
    var values: [Point: Double] = [:]
    while true {
      let center = best
      let near = indices(temperatures, near: center.temperature, step: Self.temperatureStep)
      var lines = (priors.map { indices($0, near: center.prior, step: Self.priorStep) } ?? [0]).map { prior in
        Line(prior: prior, temperatures: near.filter { values[Point(prior: prior, temperature: $0)] == nil })
      }
      if values.isEmpty { lines.append(Line(prior: nil, temperatures: Array(Self.temperatures.bounds))) }
      lines.removeAll { $0.temperatures.isEmpty }
      guard !lines.isEmpty else { break }
      values.merge(try await evaluate(lines, priors, temperatures, everyRow: 1, &tuning, in: context)) { $1 }
      best = Self.lowest(values.filter { $0.key.prior != nil })
      let isOnEdge = abs((best.prior ?? 0) - (center.prior ?? 0)) == Self.priorStep
        || abs(best.temperature - center.temperature) == Self.temperatureStep
      guard isOnEdge else { break }
    }
    func point(_ chosen: Point) -> LaplaceTuning.Point {
      LaplaceTuning.Point(
        priorPrecision: priorPrecision(chosen.prior, priors),
        temperature: axis(of: chosen.prior, temperatures).value(at: chosen.temperature),
        negativeLogLikelihood: values[chosen] ?? .infinity, rowCount: rows.rowCount)
    }
    tuning.chosen = point(best)
    tuning.withoutVariance = point(Self.lowest(values.filter { $0.key.prior == nil }))
    if !otherDraws.isEmpty {
      let line = Line(prior: best.prior, temperatures: [best.temperature])
      var unused = tuning
      let others = try await evaluate(
        [line], priors, temperatures, everyRow: 1, tables: otherDraws, &unused, in: context)
      tuning.chosen?.negativeLogLikelihood = others[best] ?? .infinity
    }
    return tuning
  }

  /// The lowest point, of equal ones the first in lattice order.
  private static func lowest(_ values: [Point: Double]) -> Point {
    values.min {
      ($0.value, $0.key.prior ?? 0, $0.key.temperature) < ($1.value, $1.key.prior ?? 0, $1.key.temperature)
    }?.key ?? Point(prior: 0, temperature: 0)
  }

  /// The axis of prior precisions around the mean of `‖∂logit / ∂θ‖²`, six decades on each side.
  private func priorAxis(on backend: any Backend) throws -> LatticeAxis {
    let numbersPerRow = WeightJacobian<Scalar>.numbersPerRow(frozen, exit, posterior.layers, isWhole: true)
    let (inputs, _) = try rows.read(0..<min(8, blockRowCount(numbersPerRow: numbersPerRow), rows.rowCount))
    let jacobian = try WeightJacobian(frozen, exit: exit, layers: posterior.layers, at: inputs, on: backend)
    let matrix = jacobian.matrix()
    let mean = matrix.elements.reduce(0) { $0 + $1 * $1 } / Double(max(1, matrix.rowCount))
    let exponent = mean > 0 && mean.isFinite ? Double.log10(mean).rounded() : 0
    return LatticeAxis(
      origin: Double.pow(10, Int(exponent)), octaves: Double.log2(10) / Double(2 * Self.priorStep),
      bounds: -12 * Self.priorStep...12 * Self.priorStep)
  }

  /// The axis of the temperatures at a prior precision, or without variance.
  private func axis(of prior: Int?, _ temperatures: LatticeAxis) -> LatticeAxis {
    prior == nil ? Self.temperatures : temperatures
  }

  /// One number for all parts; of several prior precisions the first, which stands for them.
  private func priorPrecision(_ index: Int?, _ axis: LatticeAxis?) -> Double {
    guard let index else { return .infinity }
    return axis?.value(at: index) ?? posterior.priorPrecisions[0]
  }

  /// The mean negative log-likelihoods on every so many-th row.
  ///
  /// - Parameter tables: other draws than those of tuning, over which the result is the mean.
  private func evaluate(
    _ lines: [Line], _ priors: LatticeAxis?, _ temperatures: LatticeAxis, everyRow stride: Int,
    tables: [Tensor<Double>]? = nil, _ tuning: inout LaplaceTuning, in context: ExecutionContext
  ) async throws -> [Point: Double] {
    let curved = lines.indices.filter { lines[$0].prior != nil && predictive != .plain }
    let priorPrecisions = curved.map { line in
      priors.map { axis in
        posterior.priorPrecisions.map { _ in priorPrecision(lines[line].prior, axis) }
      } ?? posterior.priorPrecisions
    }
    let numbersPerRow = WeightJacobian<Scalar>.numbersPerRow(frozen, exit, posterior.layers, isWhole: true)
    let values = lines.map { $0.temperatures.map(axis(of: $0.prior, temperatures).value(at:)) }
    let backend = context.backend
    let tables: [Tensor<Double>?] = tables ?? [draws]
    var sums = values.map { $0.map { _ in 0.0 } }
    var (correctCount, rowCount) = (0, 0)
    try await rows.reduce(
      blocksOf: blockRowCount(numbersPerRow: numbersPerRow), everyRow: stride,
      stride == 1 ? "Tuning the prior precision and the temperature" : "Tuning on a coarse grid", in: context
    ) { [self] inputs, labels in
      guard let labels else {
        throw FileError(
          .missing, file: rows.file,
          "The validation rows have no labels; without them neither prior precision nor temperature can be chosen by "
            + "validation.")
      }
      let jacobian = try WeightJacobian(frozen, exit: exit, layers: posterior.layers, at: inputs, on: backend)
      let means = jacobian.logits.converted(to: Double.self)
      let covariances = posterior.covariances(of: jacobian, priorPrecisions: priorPrecisions, on: backend)
      var parts: [[Double]] = []
      for line in values.indices {
        var sums = values[line].map { _ in 0.0 }
        for draws in tables {
          let own = try negativeLogLikelihoodSums(
            means: means, covariance: curved.firstIndex(of: line).map { covariances[$0] }, predictive, draws: draws,
            labels: labels, likelihood, temperatures: values[line], on: backend)
          for index in own.indices { sums[index] += own[index] / Double(tables.count) }
        }
        parts.append(sums)
      }
      let correct = labels.indices.count { ClassScores(logits: means, row: $0, likelihood).top == labels[$0] }
      return (parts, correct, labels.count)
    } combine: { parts, correct, count in
      for line in parts.indices {
        for index in parts[line].indices { sums[line][index] += parts[line][index] }
      }
      correctCount += correct
      rowCount += count
    }
    if stride == 1 { tuning.validationAccuracy = Double(correctCount) / Double(rowCount) }
    var result: [Point: Double] = [:]
    for (line, values) in zip(lines, sums) {
      for (temperature, sum) in zip(line.temperatures, values) {
        let mean = sum / Double(rowCount)
        result[Point(prior: line.prior, temperature: temperature)] = mean.isNaN ? .infinity : mean
        tuning.trail.append(
          LaplaceTuning.Point(
            priorPrecision: priorPrecision(line.prior, priors),
            temperature: axis(of: line.prior, temperatures).value(at: temperature), negativeLogLikelihood: mean, rowCount: rowCount))
      }
    }
    return result
  }
}
