import BayesPrediction
import BayesTensor
import RealModule

/// Chooses each exit's prior precision and temperature by the likelihood of validation labels.
///
/// A coarse grid over twelve decades of prior precision and temperatures from ¼ to 8 is evaluated on
/// at most about a thousand rows; from its lowest point, and from the best point without variance, a
/// lattice search on all rows goes on until neighbours hardly differ.  All exits advance in the same
/// passes over the rows.
struct ValidationTuning: Sendable {
  /// The change of the mean negative log-likelihood, in nats, that is not worth having.
  static let tolerance = 1e-5
  /// The difference between neighbours at which a search ends: smaller, since along a valley that
  /// lies between the lattice's directions the neighbours all differ by less than the way still to go.
  private static let searchTolerance = tolerance / 10
  /// Lattice steps in half a decade of prior precision, and in half an octave of temperature.
  static let coarseStep = 64
  /// Decades of prior precision on each side of the mean of `‖a‖²`.  No form has a variance above
  /// `‖a‖² / δ`, so at the upper end none is left that could change a likelihood by the tolerance.
  static let decades = 6

  let likelihood: ValidationLikelihood
  /// The prior precisions that each exit may take.
  let priorAxes: [LatticeAxis]
  let temperatureAxis: LatticeAxis

  /// The axis of prior precisions around the mean of `‖a‖²`, rounded to a power of ten.
  static func priorAxis(meanSquaredNorm: Double) -> LatticeAxis {
    let exponent = meanSquaredNorm > 0 ? Double.log10(meanSquaredNorm).rounded() : 0
    return LatticeAxis(
      origin: Double.pow(10, Int(exponent)), octaves: Double.log2(10) / Double(2 * coarseStep),
      bounds: -decades * 2 * coarseStep...decades * 2 * coarseStep)
  }

  /// The axis of temperatures from ¼ to 8, with one among them.
  static let freeTemperatureAxis = LatticeAxis(
    origin: 1, octaves: 1 / Double(2 * coarseStep), bounds: -4 * coarseStep...6 * coarseStep)

  /// What was found at each exit.
  func run(on source: any ExitRecordSource, in context: ExecutionContext) async throws -> [LaplaceTuning] {
    var tunings = priorAxes.map { _ in LaplaceTuning() }
    let exitIndices = priorAxes.indices
    let coarseTemperatures = coarseIndices(temperatureAxis)

    let withoutVariance = LatticeAxis.fixed(.infinity)
    let plainBests = try await search(
      exitIndices.map { _ in
        LatticeSearch(
          prior: 0...0, temperature: temperatureAxis.bounds,
          from: coarseTemperatures.map { LatticePoint(prior: 0, temperature: $0) },
          step: Self.coarseStep / 2, tolerance: Self.searchTolerance)
      }, axes: exitIndices.map { _ in withoutVariance }, on: source, "Tuning the temperature", &tunings,
      in: context)
    for exit in exitIndices {
      tunings[exit].withoutVariance = point(plainBests[exit], withoutVariance, tunings[exit])
    }

    let starts = try await coarseMinima(coarseTemperatures, on: source, &tunings, in: context)
    let bests = try await search(
      exitIndices.map { exit in
        // With a prior precision this high the variance is as good as zero.
        let nearlyPlain = LatticePoint(
          prior: priorAxes[exit].bounds.upperBound, temperature: plainBests[exit].point.temperature)
        return LatticeSearch(
          prior: priorAxes[exit].bounds, temperature: temperatureAxis.bounds,
          from: priorAxes[exit].bounds.count > 1 ? [starts[exit], nearlyPlain] : [starts[exit]],
          step: Self.coarseStep / 2, tolerance: Self.searchTolerance)
      }, axes: priorAxes, on: source, "Tuning the prior precision and the temperature", &tunings,
      in: context)
    for exit in exitIndices {
      tunings[exit].chosen = point(bests[exit], priorAxes[exit], tunings[exit])
    }
    return tunings
  }

  /// Runs searches, one an exit, in common passes over all rows.
  private func search(
    _ searches: [LatticeSearch], axes: [LatticeAxis], on source: any ExitRecordSource, _ stage: String,
    _ tunings: inout [LaplaceTuning], in context: ExecutionContext
  ) async throws -> [(point: LatticePoint, value: Double)] {
    var searches = searches
    var pass = 1
    while true {
      var points: [[LatticePoint]] = []
      for exit in searches.indices { points.append(searches[exit].candidates()) }
      if points.allSatisfy(\.isEmpty) { break }
      let values = try await evaluate(
        points, axes, everyRow: 1, on: source, "\(stage), pass \(pass)", &tunings, in: context)
      for exit in searches.indices {
        for (point, value) in zip(points[exit], values[exit]) { searches[exit].record(point, value) }
      }
      pass += 1
    }
    return searches.map { search in
      guard let best = search.best else { preconditionFailure("A finished search has a lowest point.") }
      return best
    }
  }

  /// The lowest point of the coarse grid at each exit.
  private func coarseMinima(
    _ temperatures: [Int], on source: any ExitRecordSource, _ tunings: inout [LaplaceTuning],
    in context: ExecutionContext
  ) async throws -> [LatticePoint] {
    let grids = priorAxes.map { axis in
      coarseIndices(axis).flatMap { prior in
        temperatures.map { LatticePoint(prior: prior, temperature: $0) }
      }
    }
    guard grids.contains(where: { $0.count > 1 }) else { return grids.map { $0[0] } }
    let numbersPerRow =
      likelihood.exits.map { ($0.draws?.rowCount ?? 1) * $0.spectrum.logitCount }.max() ?? 1
    // With many classes fewer rows do, as a grid point costs as many exponentials as there are draws.
    let wanted = min(1000, max(200, 20_000_000 / numbersPerRow))
    let values = try await evaluate(
      grids, priorAxes, everyRow: max(1, source.rowCount / wanted), on: source, "Tuning on a coarse grid",
      &tunings, in: context)
    return zip(grids, values).map { grid, values in
      var best = 0
      for index in values.indices where values[index] < values[best] { best = index }
      return grid[best]
    }
  }

  private func coarseIndices(_ axis: LatticeAxis) -> [Int] {
    axis.bounds.filter { $0 % Self.coarseStep == 0 }
  }

  /// The mean negative log-likelihoods at each exit's points.
  private func evaluate(
    _ points: [[LatticePoint]], _ axes: [LatticeAxis], everyRow stride: Int,
    on source: any ExitRecordSource, _ stage: String, _ tunings: inout [LaplaceTuning],
    in context: ExecutionContext
  ) async throws -> [[Double]] {
    let candidates = zip(points, axes).map { points, axis in
      points.map {
        ValidationLikelihood.Candidate(
          priorPrecision: axis.value(at: $0.prior), temperature: temperatureAxis.value(at: $0.temperature))
      }
    }
    let sums = try await likelihood.sums(
      at: candidates, everyRow: stride, of: source, stage: stage, in: context)
    var means: [[Double]] = []
    for exit in sums.indices {
      let rowCount = sums[exit].rowCount
      if !candidates[exit].isEmpty {
        guard rowCount > 0 else {
          throw FileError(
            .shape, file: source.description.file,
            "There are no validation rows; tuning needs at least one.")
        }
        if stride == 1 { tunings[exit].validationAccuracy = sums[exit].correctCount / rowCount }
      }
      means.append(sums[exit].negativeLogLikelihoods.map { $0 / rowCount })
      for (candidate, mean) in zip(candidates[exit], means[exit]) {
        tunings[exit].trail.append(
          LaplaceTuning.Point(
            priorPrecision: candidate.priorPrecision, temperature: candidate.temperature,
            negativeLogLikelihood: mean, rowCount: Int(rowCount)))
      }
    }
    return means
  }

  /// The end of a search, as the trail has it: searches look at all rows, so the largest count is theirs.
  private func point(
    _ best: (point: LatticePoint, value: Double), _ axis: LatticeAxis, _ tuning: LaplaceTuning
  ) -> LaplaceTuning.Point {
    LaplaceTuning.Point(
      priorPrecision: axis.value(at: best.point.prior),
      temperature: temperatureAxis.value(at: best.point.temperature), negativeLogLikelihood: best.value,
      rowCount: tuning.trail.map(\.rowCount).max() ?? 0)
  }
}
