public import BayesPrediction
import BayesTensor
import RealModule

/// A number that logits are divided by; above one it lowers confidence.
///
/// The most probable class never changes.
public struct Temperature: Calibration, Codable, Equatable {
  /// What logits are divided by.
  public var value: Double
  /// The mean negative log-likelihood of the fitted rows at temperature one, nats.
  public var nllBefore: Double
  /// That at `value`, nats; never above `nllBefore`.
  public var nllAfter: Double
  /// Whether the minimum lies at an end of the search, or beyond it.
  public var isAtSearchBound: Bool
  /// The number of fitted rows.
  public var rowCount: Int

  public init(value: Double, nllBefore: Double, nllAfter: Double, isAtSearchBound: Bool, rowCount: Int) {
    self.value = value
    self.nllBefore = nllBefore
    self.nllAfter = nllAfter
    self.isAtSearchBound = isAtSearchBound
    self.rowCount = rowCount
  }

  /// The prediction with every sample's logits divided by the temperature.
  ///
  /// - Precondition: no closed form stands for the logits, since it would not change with them.
  public func callAsFunction(_ prediction: Prediction) -> Prediction {
    precondition(
      prediction.closedForm == nil, "A temperature cannot be applied to the probabilities of a closed form.")
    var logits = prediction.logits.map { Float(Double($0) / value) }
    if prediction.scale == .logProbabilities, prediction.likelihood == .categorical {
      // Divided log-probabilities no longer sum to one; the scale promises that they do.
      let width = prediction.logitCount
      for start in stride(from: 0, to: logits.count, by: max(1, width)) {
        let normalizer = logSumExp(logits.elements[start..<start + width].map { Double($0) })
        for position in start..<start + width {
          logits[position] = Float(Double(logits[position]) - normalizer)
        }
      }
    }
    return Prediction(
      logits: logits, likelihood: prediction.likelihood, exit: prediction.exit, scale: prediction.scale,
      sampleWeights: prediction.sampleWeights)
  }
}

/// Fits the one temperature that makes held-out labels most likely.
///
///     T* = argmin_T  mean_n −log softmax(zₙ / T)[yₙ]
///
/// In `1/T` the objective is convex, so Newton's method between shrinking bounds finds the one
/// minimum, to about twelve digits of `T`.
///
/// - Cost: about ten passes over the logits.
/// - Determinism: none of this uses randomness; rows are summed in order.
/// - Source: Guo et al. 2017, arXiv:1706.04599.
public struct TemperatureScaling: Calibrator, Equatable {
  /// The temperatures that are searched; one is among them.
  public var range: ClosedRange<Double>

  /// - Precondition: the range is positive and holds one.
  public init(range: ClosedRange<Double> = 0.01...100) {
    precondition(
      range.lowerBound > 0 && range.contains(1), "Temperatures are positive and include 1; got \(range).")
    self.range = range
  }

  /// Fits the temperature of predictions without draws.
  ///
  /// - Throws: `EvaluationError.Code.unsupported` for several samples or a closed form; `.shape`;
  ///   `.label` for a label out of range; `.score` for a logit that is not a number; `.probability` for
  ///   a label of probability zero, which no temperature can mend; `.empty`.
  public func fit(_ prediction: Prediction, labels: [Int]) throws(EvaluationError) -> Temperature {
    guard prediction.sampleCount == 1, prediction.closedForm == nil else {
      throw EvaluationError(
        .unsupported,
        "A temperature is fitted to one set of logits; this prediction has \(prediction.sampleCount) "
          + "samples\(prediction.closedForm == nil ? "" : " and a closed form").")
    }
    try checkHasClasses(prediction)
    let logits = prediction.logits.reshaped(to: [prediction.rowCount, prediction.logitCount])
    return try fit(logits: logits, labels: labels, likelihood: prediction.likelihood)
  }

  /// Fits one temperature for each of the given exits in a single pass over records.
  ///
  /// - Cost: memory grows by `4 · logits` bytes a row for each exit: the logits of all rows are kept,
  ///   the features are not, and the network (where records come from one) runs once.
  /// - Throws: `EvaluationError`, as `fit(_:labels:)` does, and whatever the records throw.
  public func fit(exits: [Int], of records: some ExitRecordSource) async throws -> [Temperature] {
    let descriptions = records.description.exits
    for exit in exits where !descriptions.indices.contains(exit) {
      throw EvaluationError(
        .shape, "There is no exit \(exit); \(records.description.file) has \(descriptions.count).")
    }
    guard records.hasLabels else {
      throw EvaluationError(
        .label, "\(records.description.file) has no labels; a temperature is fitted to labelled rows.")
    }
    var logits = exits.map { _ in ContiguousArray<Float>() }
    var labels: [Int] = []
    try await records.forEachChunk { chunk in
      for (index, exit) in exits.enumerated() { logits[index] += chunk.exits[exit].logits.elements }
      labels += chunk.labels ?? []
    }
    return try exits.indices.map { index in
      let description = descriptions[exits[index]]
      let prediction = Prediction(
        logits: Tensor(
          shape: [1, logits[index].count / description.logitCount, description.logitCount],
          elements: logits[index]),
        likelihood: description.likelihood, exit: exits[index])
      return try fit(prediction, labels: labels, named: description.name)
    }
  }

  /// Fits the temperature of one exit of several: labels are every exit's, logits are one's.
  private func fit(
    _ prediction: Prediction, labels: [Int], named name: String
  ) throws(EvaluationError) -> Temperature {
    do {
      return try fit(prediction, labels: labels)
    } catch where error.code == .score || error.code == .probability {
      throw EvaluationError(
        error.code, row: error.row, "Exit \(prediction.exit) ('\(name)'): \(error.message)")
    }
  }

  private func fit(
    logits: Tensor<Float>, labels: [Int], likelihood: Likelihood
  ) throws(EvaluationError) -> Temperature {
    let objective = try TemperatureObjective(logits: logits, labels: labels, likelihood: likelihood)
    let bounds = (low: 1 / range.upperBound, high: 1 / range.lowerBound)
    var bracket = bounds
    var tried = (low: false, high: false)
    var inverse = 1.0
    let start = objective.evaluate(inverse)
    var current = start
    var best = (inverse: inverse, value: start.value)
    // The bracket at least halves (in the logarithm) whenever Newton's step leaves it, so this ends
    // long before the limit; the limit only guards against a cycle in the last bit.
    for _ in 0..<200 where current.slope != 0 {
      if current.slope > 0 { bracket.high = inverse } else { bracket.low = inverse }
      var next = inverse - current.slope / current.curvature
      if !(next > bracket.low && next < bracket.high) {
        // A step beyond a bound that was never tried tries it; any other bad step bisects.
        if current.slope < 0, bracket.high == bounds.high, !tried.high {
          next = bounds.high
          tried.high = true
        } else if current.slope > 0, bracket.low == bounds.low, !tried.low {
          next = bounds.low
          tried.low = true
        } else {
          next = (bracket.low * bracket.high).squareRoot()
        }
      }
      let change = abs(next - inverse)
      inverse = next
      current = objective.evaluate(inverse)
      if current.value < best.value { best = (inverse, current.value) }
      if change <= 1e-13 * inverse { break }
      if inverse == bounds.low, current.slope >= 0 { break }
      if inverse == bounds.high, current.slope <= 0 { break }
    }
    // The last iterate has the smallest slope but, near the minimum, values differ by rounding only:
    // take it unless it is worse than the start.
    if current.value <= start.value { best = (inverse, current.value) }
    return Temperature(
      value: 1 / best.inverse, nllBefore: start.value, nllAfter: best.value,
      isAtSearchBound: best.inverse == bounds.low || best.inverse == bounds.high,
      rowCount: labels.count)
  }
}

/// The mean negative log-likelihood of labelled logits as a function of the inverse temperature.
private struct TemperatureObjective {
  private let logits: Tensor<Float>
  private let labels: [Int]
  private let isBinary: Bool

  init(logits: Tensor<Float>, labels: [Int], likelihood: Likelihood) throws(EvaluationError) {
    isBinary = likelihood == .binary
    let width = logits.shape[1]
    guard !labels.isEmpty || logits.rowCount > 0 else { throw .noRows("temperature") }
    try checkLabels(labels, rowCount: logits.rowCount, classCount: isBinary ? 2 : width)
    for (position, logit) in logits.elements.enumerated() where logit.isNaN || logit == .infinity {
      throw EvaluationError(
        .score, row: position / width,
        "A logit of row \(position / width) is \(logit); a temperature needs finite logits.")
    }
    if !isBinary {
      for (row, label) in labels.enumerated() where logits[row, label] == -.infinity {
        throw EvaluationError(
          .probability, row: row,
          "Row \(row) gives its label \(label) probability zero, which no temperature can mend; leave that row out of those a "
            + "temperature is fitted to, or write the probability that it has.")
      }
    }
    self.logits = logits
    self.labels = labels
  }

  /// The value and its first two derivatives in the inverse temperature.
  func evaluate(_ inverse: Double) -> (value: Double, slope: Double, curvature: Double) {
    let width = isBinary ? 2 : logits.shape[1]
    var row = [Double](repeating: 0, count: width)
    var (value, slope, curvature) = (0.0, 0.0, 0.0)
    for (index, label) in labels.enumerated() {
      if isBinary {
        row[1] = Double(logits[index])
      } else {
        for column in 0..<width { row[column] = Double(logits[index, column]) }
      }
      let target = row[label]
      // Shifted by the label's logit, the slope is the mean shifted logit itself, with no difference of
      // two large sums.
      var maximum = -Double.infinity
      for column in 0..<width {
        row[column] -= target
        maximum = max(maximum, row[column])
      }
      var (sum, first, second) = (0.0, 0.0, 0.0)
      for z in row {
        let weight = Double.exp(inverse * (z - maximum))
        guard weight > 0 else { continue }
        sum += weight
        first += weight * z
        second += weight * z * z
      }
      let mean = first / sum
      value += inverse * maximum + Double.log(sum)
      slope += mean
      curvature += max(0, second / sum - mean * mean)
      row[0] = 0
    }
    let count = Double(labels.count)
    return (value / count, slope / count, curvature / count)
  }
}
