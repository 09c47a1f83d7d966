import BayesPrediction
package import BayesTensor
import RealModule

/// The likelihood of validation labels as a function of prior precision and temperature, for many
/// pairs in one pass over the rows.
///
/// What depends on a row only (its features in the eigenbasis) is computed once a pass, what depends
/// on the prior precision once a precision, so that a further temperature costs its exponentials only.
struct ValidationLikelihood: Sendable {
  struct Exit: Sendable {
    let check: ExitCheck
    /// Whether the training rows had noise of their own.
    let hasRowNoise: Bool
    let curvature: ExitCurvature
    /// `[samples, logits]`; `nil` for a predictive without draws.
    let draws: Tensor<Double>?
  }

  struct Candidate: Hashable, Sendable {
    /// Infinite for no variance; in units of the noise for Gaussian targets.
    var priorPrecision: Double
    /// The noise, for Gaussian targets.
    var temperature: Double
  }

  /// What other exits add to the probability of each answer: `base + weight · p`.
  struct Mixture: Sendable {
    /// By the first row of each chunk, one number an answer.
    var bases: [Int: [Double]]
    var weight: Double
  }

  /// Sums over rows for one exit.
  struct Sums: Sendable {
    /// The negative log-likelihood at each candidate, nats.
    var negativeLogLikelihoods: [Double]
    var correctCount = 0.0
    var rowCount = 0.0

    mutating func add(_ other: Sums) {
      for index in negativeLogLikelihoods.indices {
        negativeLogLikelihoods[index] += other.negativeLogLikelihoods[index]
      }
      correctCount += other.correctCount
      rowCount += other.rowCount
    }

    mutating func reduce(over communicator: any Communicator) {
      let count = negativeLogLikelihoods.count
      var values = Tensor(shape: [count + 2], negativeLogLikelihoods + [correctCount, rowCount])
      communicator.allReduce(&values)
      negativeLogLikelihoods = Array(values.elements[..<count])
      (correctCount, rowCount) = (values[count], values[count + 1])
    }
  }

  let exits: [Exit]
  let predictive: LaplacePredictive
  /// What the exits before one add to its score, for some exits.
  var mixtures: [Int: Mixture] = [:]

  /// The sums at every exit's candidates over every `stride`-th row.
  func sums(
    at candidates: [[Candidate]], everyRow stride: Int, of source: any ExitRecordSource, stage: String,
    in context: ExecutionContext
  ) async throws -> [Sums] {
    var result = candidates.map { Sums(negativeLogLikelihoods: [Double](repeating: 0, count: $0.count)) }
    let backend = context.backend
    try await source.reduceChunks(stage, in: context) { chunk in
      try exits.indices.map { exit in
        try sums(exits[exit], mixtures[exit], at: candidates[exit], everyRow: stride, of: chunk, on: backend)
      }
    } combine: { partials in
      for (exit, partial) in partials.enumerated() { result[exit].add(partial) }
    }
    for exit in result.indices { result[exit].reduce(over: context.communicator) }
    return result
  }

  /// The probability of every answer at one candidate of one exit, by the first row of each chunk.
  func answerProbabilities(
    of exit: Int, at candidate: Candidate, in source: any ExitRecordSource, stage: String,
    context: ExecutionContext
  ) async throws -> [Int: [Double]] {
    let backend = context.backend
    var result: [Int: [Double]] = [:]
    try await source.reduceChunks(stage, in: context) { chunk in
      var probabilities: [Double] = []
      _ = try sums(exits[exit], nil, at: [candidate], everyRow: 1, of: chunk, on: backend) { probabilities += $0 }
      return (chunk.firstRow, probabilities)
    } combine: { first, probabilities in
      result[first] = probabilities
    }
    return result
  }

  private func sums(
    _ exit: Exit, _ mixture: Mixture?, at candidates: [Candidate], everyRow stride: Int, of chunk: ExitRecords,
    on backend: any Backend, probabilities: ([Double]) -> Void = { _ in }
  ) throws -> Sums {
    var sums = Sums(negativeLogLikelihoods: [Double](repeating: 0, count: candidates.count))
    guard !candidates.isEmpty else { return sums }
    let rows = try exit.check.rows(of: chunk, on: backend)
    try exit.check.requireNoise(of: rows, asInTraining: exit.hasRowNoise)
    guard rows.hasAnswers else {
      throw FileError(
        .missing, file: exit.check.file,
        "The validation rows have no \(exit.check.answerName); without them neither prior precision nor temperature "
          + "can be chosen by validation.")
    }
    let chosen = (0..<rows.logits.rowCount).filter { (chunk.firstRow + $0) % stride == 0 }
    sums.rowCount = Double(chosen.count)
    if let labels = rows.labels {
      for row in chosen {
        let scores = ClassScores(logits: rows.logits, row: row, exit.check.likelihood)
        if scores.top == labels[row] { sums.correctCount += 1 }
      }
    }
    // Draws of a block of rows stay below 8 MiB, about what the caches hold.
    let numbersPerRow = (exit.draws?.rowCount ?? 1) * exit.curvature.value.logitCount
      + exit.curvature.numbersPerRow(isWhole: predictive.needsCovariance)
    let blockRowCount = max(1, (1 << 20) / numbersPerRow)
    let needsVariance = predictive != .plain && candidates.contains { $0.priorPrecision.isFinite }
    for first in Swift.stride(from: 0, to: chosen.count, by: blockRowCount) {
      let indices = Array(chosen[first..<min(first + blockRowCount, chosen.count)])
      let block = Block(
        rows: rows, indices: indices,
        projection: needsVariance
          ? exit.curvature.value.projection(of: rows.features.rows(indices), on: backend) : nil,
        base: mixture.map { mixture in
          let base = mixture.bases[chunk.firstRow] ?? []
          let width = base.count / max(1, rows.logits.rowCount)
          return indices.flatMap { base[$0 * width..<($0 + 1) * width] }
        }, weight: mixture?.weight ?? 1)
      for line in lines(of: candidates) {
        try Task.checkCancellation()
        let temperatures = line.indices.map { candidates[$0].temperature }
        let values = try negativeLogLikelihoods(
          of: block, exit, priorPrecision: line.priorPrecision, temperatures: temperatures, on: backend,
          probabilities: probabilities)
        for (index, value) in zip(line.indices, values) { sums.negativeLogLikelihoods[index] += value }
      }
    }
    return sums
  }

  /// Some rows of one exit.
  private struct Block {
    var means: Tensor<Double>
    /// One class a row; for labels of their own, one a row and label.
    var labels: [Int]
    var targets: Tensor<Double>?
    var noise: [Double]?
    /// `nil` where no candidate has a variance.
    var projection: FeatureProjection?
    /// What other exits give the answers, times their weight.
    var base: [Double]?
    var weight: Double

    init(rows: HeadRows, indices: [Int], projection: FeatureProjection?, base: [Double]?, weight: Double) {
      means = rows.logits.rows(indices)
      targets = rows.targets?.rows(indices)
      labels = rows.labels.map { labels in indices.map { labels[$0] } }
        ?? targets?.elements.map { $0 == 1 ? 1 : 0 } ?? []
      noise = rows.noise.map { noise in indices.map { noise[$0] } }
      self.projection = projection
      self.base = base
      self.weight = weight
    }
  }

  /// The candidates of each prior precision, by index, in the order in which they come.
  private func lines(of candidates: [Candidate]) -> [(priorPrecision: Double, indices: [Int])] {
    var order: [Double] = []
    var indices: [Double: [Int]] = [:]
    for (index, candidate) in candidates.enumerated() {
      if indices[candidate.priorPrecision] == nil { order.append(candidate.priorPrecision) }
      indices[candidate.priorPrecision, default: []].append(index)
    }
    return order.map { ($0, indices[$0] ?? []) }
  }

  private func negativeLogLikelihoods(
    of block: Block, _ exit: Exit, priorPrecision: Double, temperatures: [Double], on backend: any Backend,
    probabilities: ([Double]) -> Void
  ) throws -> [Double] {
    let likelihood = exit.check.likelihood
    let curvature = exit.curvature.value
    let projection = priorPrecision.isFinite ? block.projection : nil
    if likelihood == .gaussian {
      let variances = projection.map { curvature.variances($0, priorPrecision: priorPrecision, on: backend) }
      return temperatures.map { gaussianNegativeLogLikelihood(of: block, unitVariances: variances, noise: $0) }
    }
    let usesVariances = exit.draws == nil && (!predictive.needsCovariance || likelihood != .categorical)
    let covariance: LogitCovariance? = projection.map {
      usesVariances
        ? .diagonal(curvature.variances($0, priorPrecision: priorPrecision, on: backend))
        : curvature.covariance($0, priorPrecision: priorPrecision, on: backend)
    }
    return try negativeLogLikelihoodSums(
      means: block.means, covariance: covariance, predictive, draws: exit.draws, labels: block.labels, likelihood,
      temperatures: temperatures, base: block.base, weight: block.weight, on: backend, probabilities: probabilities)
  }

  /// `−Σ log N(t; μ, σ² (s² + v))` with the variances `v` of the outputs in units of `σ²`.
  private func gaussianNegativeLogLikelihood(
    of block: Block, unitVariances: Tensor<Double>?, noise: Double
  ) -> Double {
    guard let targets = block.targets else { return 0 }
    let width = targets.shape[1]
    var sum = 0.0
    for row in 0..<targets.rowCount {
      let own = block.noise?[row] ?? 1
      for k in 0..<width {
        let variance = noise * noise * (own * own + (unitVariances?[row, k] ?? 0))
        let difference = targets[row, k] - block.means[row, k]
        sum += 0.5 * (Double.log(2 * .pi * variance) + difference * difference / variance)
      }
    }
    return sum
  }
}

/// `−Σₙ log p(yₙ)` of some rows' labels at each temperature, in nats, where the logits are Gaussian.
///
/// - Parameters:
///   - covariance: `nil` for no variance; for closed forms that read variances alone these suffice.
///   - draws: `[samples, logits]`; `nil` for a predictive without draws.
///   - labels: one class a row; for labels of their own, one a row and label.
///   - base, weight, probabilities: as for logits that are drawn.
func negativeLogLikelihoodSums(
  means: Tensor<Double>, covariance: LogitCovariance?, _ predictive: LaplacePredictive, draws: Tensor<Double>?,
  labels: [Int], _ likelihood: Likelihood, temperatures: [Double], base: [Double]? = nil, weight: Double = 1,
  on backend: any Backend, probabilities: ([Double]) -> Void = { _ in }
) throws -> [Double] {
  // Labels of their own are rows of one logit each.
  let scored = likelihood == .multilabel ? Likelihood.binary : likelihood
  func sums(_ logits: Tensor<Double>, temperatures: [Double]) -> [Double] {
    let shaped = likelihood == .multilabel ? logits.reshaped(to: [logits.count, 1]) : logits
    return negativeLogLikelihoodSums(
      ofLogits: shaped, labels: labels, scored, temperatures: temperatures, base: base, weight: weight,
      probabilities: probabilities)
  }
  guard let covariance, predictive != .plain else { return sums(means, temperatures: temperatures) }
  if let draws {
    return sums(
      try logitDraws(means: means, covariance: covariance, draws: .shared(draws), on: backend),
      temperatures: temperatures)
  }
  return temperatures.flatMap { temperature in
    let means = means.map { $0 / temperature }
    let scaled = covariance.scaled(by: 1 / (temperature * temperature))
    return sums(
      likelihood == .categorical
        ? closedFormLogits(predictive, means: means, covariance: scaled, on: backend)
        : closedFormSigmoidLogits(predictive, means: means, variances: scaled.variances(on: backend)),
      temperatures: [1])
  }
}

/// `−Σₙ log mean over s of p(yₙ | zₛₙ / T)` for each temperature, in nats.
///
/// - Parameters:
///   - base: what others give each label, where `base + weight · mean` stands for the mean.
///   - probabilities: is handed the means, one a row, at each temperature.
/// - Shapes: logits `[samples · rows, logits]`, all rows of the first sample first; labels `[rows]`.
package func negativeLogLikelihoodSums(
  ofLogits logits: Tensor<Double>, labels: [Int], _ likelihood: Likelihood, temperatures: [Double],
  base: [Double]? = nil, weight: Double = 1, probabilities: ([Double]) -> Void = { _ in }
) -> [Double] {
  let rowCount = labels.count
  guard rowCount > 0 else { return temperatures.map { _ in 0 } }
  let gaps = likelihood == .binary ? binaryGaps(logits, labels) : gapsBelowTop(logits)
  let width = gaps.shape[1]
  let columns = likelihood == .binary ? labels.map { _ in 0 } : labels
  let sampleCount = gaps.rowCount / rowCount
  var means = [Double](repeating: 0, count: rowCount)
  // Of one sample.
  var exponentials = [Double](repeating: 0, count: rowCount * width)
  return temperatures.map { temperature in
    let inverse = 1 / temperature
    for row in 0..<rowCount { means[row] = 0 }
    gaps.withSpan { gaps in
      for sample in 0..<sampleCount {
        var exponentials = exponentials.mutableSpan
        let first = sample * exponentials.count
        for position in exponentials.indices { exponentials[position] = gaps[first + position] * inverse }
        exponentials.formExponentials(in: exponentials.indices)
        for row in 0..<rowCount {
          let start = row * width
          var normalizer = 0.0
          for position in start..<start + width { normalizer += exponentials[position] }
          means[row] += exponentials[start + columns[row]] / normalizer
        }
      }
    }
    var sum = 0.0
    probabilities(means.map { $0 / Double(sampleCount) })
    for row in 0..<rowCount {
      let mean = means[row] / Double(sampleCount)
      if let base, base[row] + weight * mean > 1e-290 {
        sum -= Double.log(base[row] + weight * mean)
        continue
      }
      // Near the smallest numbers the sum has lost digits, or everything; logarithms keep them.
      sum -=
        mean > 1e-290
        ? Double.log(mean)
        : logMeanProbability(
          gaps, row: row, rowCount: rowCount, column: columns[row], inverseTemperature: inverse)
      if base != nil { sum -= Double.log(weight) }
    }
    return sum
  }
}

/// A binary logit as two scores, the label's first, less the larger of them.
private func binaryGaps(_ logits: Tensor<Double>, _ labels: [Int]) -> Tensor<Double> {
  var gaps = Tensor<Double>(zeros: [logits.count, 2])
  for position in 0..<logits.count {
    let margin = labels[position % labels.count] == 1 ? logits[position] : -logits[position]
    gaps[position, 0] = min(0, margin)
    gaps[position, 1] = min(0, -margin)
  }
  return gaps
}

/// `log mean over s of p(y | zₛ / T)` for one row, without underflow.
private func logMeanProbability(
  _ gaps: Tensor<Double>, row: Int, rowCount: Int, column: Int, inverseTemperature: Double
) -> Double {
  let width = gaps.shape[1]
  let logProbabilities = stride(from: row, to: gaps.rowCount, by: rowCount).map { sample in
    let scores = (0..<width).map { gaps[sample, $0] * inverseTemperature }
    return scores[column] - logSumExp(scores)
  }
  return logSumExp(logProbabilities) - Double.log(Double(logProbabilities.count))
}
