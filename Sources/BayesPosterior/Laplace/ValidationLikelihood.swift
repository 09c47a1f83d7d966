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
    let spectrum: KroneckerSpectrum
    /// `[samples, logits]`; `nil` for a predictive without draws.
    let draws: Tensor<Double>?
  }

  struct Candidate: Hashable, Sendable {
    /// Infinite for no variance.
    var priorPrecision: Double
    var temperature: Double
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

  /// The sums at every exit's candidates over every `stride`-th row.
  func sums(
    at candidates: [[Candidate]], everyRow stride: Int, of source: any ExitRecordSource, stage: String,
    in context: ExecutionContext
  ) async throws -> [Sums] {
    var result = candidates.map { Sums(negativeLogLikelihoods: [Double](repeating: 0, count: $0.count)) }
    let backend = context.backend
    try await source.reduceChunks(stage, in: context) { chunk in
      try zip(exits, candidates).map { exit, candidates in
        try sums(exit, at: candidates, everyRow: stride, of: chunk, on: backend)
      }
    } combine: { partials in
      for (exit, partial) in partials.enumerated() { result[exit].add(partial) }
    }
    for exit in result.indices { result[exit].reduce(over: context.communicator) }
    return result
  }

  private func sums(
    _ exit: Exit, at candidates: [Candidate], everyRow stride: Int, of chunk: ExitRecords,
    on backend: any Backend
  ) throws -> Sums {
    var sums = Sums(negativeLogLikelihoods: [Double](repeating: 0, count: candidates.count))
    guard !candidates.isEmpty else { return sums }
    let rows = try exit.check.rows(of: chunk, on: backend)
    guard let labels = rows.labels else {
      throw FileError(
        .missing, file: exit.check.file,
        "The validation rows have no labels; without them neither prior precision nor temperature can be "
          + "chosen by validation.")
    }
    let chosen = labels.indices.filter { (chunk.firstRow + $0) % stride == 0 }
    sums.rowCount = Double(chosen.count)
    for row in chosen {
      let scores = ClassScores(logits: rows.logits, row: row, exit.check.likelihood)
      if scores.top == labels[row] { sums.correctCount += 1 }
    }
    // Draws of a block of rows stay below 8 MiB, about what the caches hold.
    let numbersPerRow = (exit.draws?.rowCount ?? 1) * exit.spectrum.logitCount
    let blockRowCount = max(1, (1 << 20) / numbersPerRow)
    let needsVariance = predictive != .plain && candidates.contains { $0.priorPrecision.isFinite }
    for first in Swift.stride(from: 0, to: chosen.count, by: blockRowCount) {
      let indices = Array(chosen[first..<min(first + blockRowCount, chosen.count)])
      let block = Block(
        means: rows.logits.rows(indices), labels: indices.map { labels[$0] },
        squaredProjections: needsVariance
          ? exit.spectrum.squaredProjections(of: rows.features.rows(indices), on: backend) : nil)
      for line in lines(of: candidates) {
        try Task.checkCancellation()
        let temperatures = line.indices.map { candidates[$0].temperature }
        let values = negativeLogLikelihoods(
          of: block, exit, priorPrecision: line.priorPrecision, temperatures: temperatures, on: backend)
        for (index, value) in zip(line.indices, values) { sums.negativeLogLikelihoods[index] += value }
      }
    }
    return sums
  }

  /// Some rows of one exit.
  private struct Block {
    var means: Tensor<Double>
    var labels: [Int]
    /// `[rows, inputs]`; `nil` where no candidate has a variance.
    var squaredProjections: Tensor<Double>?
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
    of block: Block, _ exit: Exit, priorPrecision: Double, temperatures: [Double], on backend: any Backend
  ) -> [Double] {
    let likelihood = exit.check.likelihood
    guard let squaredProjections = block.squaredProjections, priorPrecision.isFinite else {
      return negativeLogLikelihoodSums(
        ofLogits: block.means, labels: block.labels, likelihood, temperatures: temperatures)
    }
    let spectralVariances = exit.spectrum.varianceTable(priorPrecision: priorPrecision).spectralVariances(
      squaredProjections, on: backend)
    if let draws = exit.draws {
      return negativeLogLikelihoodSums(
        ofLogits: logitDraws(
          means: block.means, spectralVariances: spectralVariances, draws: draws,
          basis: exit.spectrum.output.vectors, on: backend),
        labels: block.labels, likelihood, temperatures: temperatures)
    }
    let variances = exit.spectrum.logitVariances(spectralVariances: spectralVariances, on: backend)
    return temperatures.flatMap { temperature in
      negativeLogLikelihoodSums(
        ofLogits: probitLogits(means: block.means, variances: variances, temperature: temperature),
        labels: block.labels, likelihood, temperatures: [1])
    }
  }
}

/// `−Σₙ log mean over s of p(yₙ | zₛₙ / T)` for each temperature, in nats.
///
/// - Shapes: logits `[samples · rows, logits]`, all rows of the first sample first; labels `[rows]`.
package func negativeLogLikelihoodSums(
  ofLogits logits: Tensor<Double>, labels: [Int], _ likelihood: Likelihood, temperatures: [Double]
) -> [Double] {
  let rowCount = labels.count
  guard rowCount > 0 else { return temperatures.map { _ in 0 } }
  let gaps = likelihood == .binary ? binaryGaps(logits, labels) : gapsBelowTop(logits)
  let width = gaps.shape[1]
  let columns = likelihood == .binary ? labels.map { _ in 0 } : labels
  let sampleCount = gaps.rowCount / rowCount
  var means = [Double](repeating: 0, count: rowCount)
  return temperatures.map { temperature in
    let inverse = 1 / temperature
    for row in 0..<rowCount { means[row] = 0 }
    gaps.withSpan { gaps in
      var start = 0
      for _ in 0..<sampleCount {
        for row in 0..<rowCount {
          var normalizer = 0.0
          for position in start..<start + width { normalizer += Double.exp(gaps[position] * inverse) }
          means[row] += Double.exp(gaps[start + columns[row]] * inverse) / normalizer
          start += width
        }
      }
    }
    var sum = 0.0
    for row in 0..<rowCount {
      let mean = means[row] / Double(sampleCount)
      // Near the smallest numbers the sum has lost digits, or everything; logarithms keep them.
      sum -=
        mean > 1e-290
        ? Double.log(mean)
        : logMeanProbability(
          gaps, row: row, rowCount: rowCount, column: columns[row], inverseTemperature: inverse)
    }
    return sum
  }
}

/// Each row less its largest element, so that no exponential overflows.
private func gapsBelowTop(_ logits: Tensor<Double>) -> Tensor<Double> {
  let width = logits.shape[1]
  var gaps = logits
  gaps.withMutableSpan { span in
    for start in stride(from: 0, to: span.count, by: width) {
      var maximum = -Double.infinity
      for position in start..<start + width { maximum = max(maximum, span[position]) }
      for position in start..<start + width { span[position] -= maximum }
    }
  }
  return gaps
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
