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

  var likelihood: ValidationLikelihood
  /// The prior precisions that each exit may take.
  let priorAxes: [LatticeAxis]
  let temperatureAxes: [LatticeAxis]
  /// The temperatures that each exit may take without any variance, also where that of its posterior is fixed.
  let plainAxes: [LatticeAxis]
  /// The weights of the exits in ensembles; `nil` where each exit stands alone.
  let ensembleWeights: [Double]?

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

  /// The axis of the noise of Gaussian targets, three decades on each side of a first guess.
  static func noiseAxis(around guess: Double) -> LatticeAxis {
    LatticeAxis(
      origin: guess, octaves: Double.log2(10) / Double(2 * coarseStep), bounds: -6 * coarseStep...6 * coarseStep)
  }

  /// What was found at each exit.
  ///
  /// Ensembles are chosen greedily, earliest exit first: the exits before one keep their choice, and it is scored by
  /// the weighted mean of all probabilities up to it.  That keeps one number a validation row in memory.  What it is
  /// compared with, a temperature without variance, is the exit's by itself.
  func run(on source: any ExitRecordSource, in context: ExecutionContext) async throws -> [LaplaceTuning] {
    var tunings = priorAxes.map { _ in LaplaceTuning() }
    guard let ensembleWeights else {
      try await tune(Array(priorAxes.indices), on: source, &tunings, in: context)
      return tunings
    }
    var greedy = self
    // Σ wₘ pₘ over the exits so far.
    var sums: [Int: [Double]] = [:]
    var total = 0.0
    for exit in priorAxes.indices {
      let weight = ensembleWeights[exit]
      total += weight
      let sum = total
      if exit > 0 {
        greedy.likelihood.mixtures[exit] = ValidationLikelihood.Mixture(
          bases: sums.mapValues { $0.map { $0 / sum } }, weight: weight / sum)
      }
      try await greedy.tune([exit], on: source, &tunings, in: context)
      if exit > 0 {
        // These are no points of the ensemble's own trail.
        var alone = tunings
        let bests = try await plainSearch([exit], on: source, &alone, in: context)
        tunings[exit].withoutVariance = plainPoint(bests[exit], exit, tunings[exit])
      }
      guard let chosen = tunings[exit].chosen, exit + 1 < priorAxes.count else { continue }
      let own = try await likelihood.answerProbabilities(
        of: exit,
        at: ValidationLikelihood.Candidate(
          priorPrecision: chosen.priorPrecision, temperature: chosen.temperature),
        in: source, stage: "Ensembling exit \(exit)", context: context)
      for (first, probabilities) in own {
        let before = sums[first] ?? [Double](repeating: 0, count: probabilities.count)
        sums[first] = zip(before, probabilities).map { $0 + weight * $1 }
      }
    }
    return tunings
  }

  /// Tunes some exits in common passes.
  private func tune(
    _ chosenExits: [Int], on source: any ExitRecordSource, _ tunings: inout [LaplaceTuning],
    in context: ExecutionContext
  ) async throws {
    let plainBests = try await plainSearch(chosenExits, on: source, &tunings, in: context)
    for exit in chosenExits { tunings[exit].withoutVariance = plainPoint(plainBests[exit], exit, tunings[exit]) }

    let starts = try await coarseMinima(chosenExits, on: source, &tunings, in: context)
    var searches = [LatticeSearch?](repeating: nil, count: priorAxes.count)
    for exit in chosenExits {
      guard let start = starts[exit], let plain = plainBests[exit] else { continue }
      // With a prior precision this high the variance is as good as zero.
      let isFree = temperatureAxes[exit].bounds.count > 1
      let nearlyPlain = LatticePoint(
        prior: priorAxes[exit].bounds.upperBound, temperature: isFree ? plain.point.temperature : 0)
      searches[exit] = LatticeSearch(
        prior: priorAxes[exit].bounds, temperature: temperatureAxes[exit].bounds,
        from: priorAxes[exit].bounds.count > 1 ? [start, nearlyPlain] : [start],
        step: Self.coarseStep / 2, tolerance: Self.searchTolerance)
    }
    let bests = try await search(
      searches, axes: Axes(prior: priorAxes, temperature: temperatureAxes), on: source,
      "Tuning the prior precision and the temperature", &tunings, in: context)
    for exit in chosenExits {
      tunings[exit].chosen = point(bests[exit], priorAxes[exit], temperatureAxes[exit], tunings[exit])
    }
  }

  /// The best temperatures of some exits without any variance.
  private func plainSearch(
    _ chosenExits: [Int], on source: any ExitRecordSource, _ tunings: inout [LaplaceTuning], in context: ExecutionContext
  ) async throws -> [(point: LatticePoint, value: Double)?] {
    var searches = [LatticeSearch?](repeating: nil, count: priorAxes.count)
    for exit in chosenExits {
      searches[exit] = LatticeSearch(
        prior: 0...0, temperature: plainAxes[exit].bounds,
        from: coarseIndices(plainAxes[exit]).map { LatticePoint(prior: 0, temperature: $0) },
        step: Self.coarseStep / 2, tolerance: Self.searchTolerance)
    }
    return try await search(
      searches, axes: Axes(prior: priorAxes.map { _ in .fixed(.infinity) }, temperature: plainAxes), on: source,
      "Tuning the temperature", &tunings, in: context)
  }

  private func plainPoint(
    _ best: (point: LatticePoint, value: Double)?, _ exit: Int, _ tuning: LaplaceTuning
  ) -> LaplaceTuning.Point? {
    point(best, .fixed(.infinity), plainAxes[exit], tuning)
  }

  /// The axes that the points of every exit lie on.
  private struct Axes {
    var prior: [LatticeAxis]
    var temperature: [LatticeAxis]
  }

  /// Runs searches, one an exit or none, in common passes over all rows.
  private func search(
    _ searches: [LatticeSearch?], axes: Axes, on source: any ExitRecordSource, _ stage: String,
    _ tunings: inout [LaplaceTuning], in context: ExecutionContext
  ) async throws -> [(point: LatticePoint, value: Double)?] {
    var searches = searches
    var pass = 1
    while true {
      var points: [[LatticePoint]] = []
      for exit in searches.indices { points.append(searches[exit]?.candidates() ?? []) }
      if points.allSatisfy(\.isEmpty) { break }
      let values = try await evaluate(
        points, axes, everyRow: 1, on: source, "\(stage), pass \(pass)", &tunings, in: context)
      for exit in searches.indices {
        for (point, value) in zip(points[exit], values[exit]) { searches[exit]?.record(point, value) }
      }
      pass += 1
    }
    return searches.map { search in
      guard let search else { return nil }
      guard let best = search.best else { preconditionFailure("A finished search has a lowest point.") }
      return best
    }
  }

  /// The lowest point of the coarse grid at each chosen exit.
  private func coarseMinima(
    _ chosenExits: [Int], on source: any ExitRecordSource, _ tunings: inout [LaplaceTuning],
    in context: ExecutionContext
  ) async throws -> [LatticePoint?] {
    let grids = priorAxes.indices.map { exit -> [LatticePoint] in
      guard chosenExits.contains(exit) else { return [] }
      return coarseIndices(priorAxes[exit]).flatMap { prior in
        coarseIndices(temperatureAxes[exit]).map { LatticePoint(prior: prior, temperature: $0) }
      }
    }
    guard grids.contains(where: { $0.count > 1 }) else { return grids.map(\.first) }
    let numbersPerRow =
      likelihood.exits.map { ($0.draws?.rowCount ?? 1) * $0.curvature.value.logitCount }.max() ?? 1
    // With many classes fewer rows do, as a grid point costs as many exponentials as there are draws.
    let wanted = min(1000, max(200, 20_000_000 / numbersPerRow))
    let values = try await evaluate(
      grids, Axes(prior: priorAxes, temperature: temperatureAxes), everyRow: max(1, source.rowCount / wanted), on: source,
      "Tuning on a coarse grid", &tunings, in: context)
    return zip(grids, values).map { grid, values in
      guard !grid.isEmpty else { return nil }
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
    _ points: [[LatticePoint]], _ axes: Axes, everyRow stride: Int,
    on source: any ExitRecordSource, _ stage: String, _ tunings: inout [LaplaceTuning],
    in context: ExecutionContext
  ) async throws -> [[Double]] {
    let candidates = points.indices.map { exit in
      points[exit].map {
        ValidationLikelihood.Candidate(
          priorPrecision: axes.prior[exit].value(at: $0.prior),
          temperature: axes.temperature[exit].value(at: $0.temperature))
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
        if stride == 1, likelihood.exits[exit].check.answerName == "labels" {
          tunings[exit].validationAccuracy = sums[exit].correctCount / rowCount
        }
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
    _ best: (point: LatticePoint, value: Double)?, _ prior: LatticeAxis, _ temperature: LatticeAxis,
    _ tuning: LaplaceTuning
  ) -> LaplaceTuning.Point? {
    best.map { best in
      LaplaceTuning.Point(
        priorPrecision: prior.value(at: best.point.prior),
        temperature: temperature.value(at: best.point.temperature), negativeLogLikelihood: best.value,
        rowCount: tuning.trail.map(\.rowCount).max() ?? 0)
    }
  }
}
