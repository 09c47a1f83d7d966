public import BayesTensor
import RealModule
import Synchronization

/// An untargeted attack: small changes of rows that raise the loss of their labels.
///
/// The loss is `−log (1/S) Σₛ pₛ(y)`, computed as `−(logsumexpₛ log pₛ(y) − log S)`. Each draw's derivative is divided
/// by its own size `1 − pₛ(y)` before it goes back through the network in single precision, and the sizes are put
/// together as logarithms, so that neither sureness nor its opposite makes it vanish.
///
/// - Source: Goodfellow et al. 2015, arXiv:1412.6572; Madry et al. 2018, arXiv:1706.06083; Athalye et al. 2018,
///   arXiv:1802.00420.
public struct AdversarialAttack: Sendable, Hashable {
  /// How a change is measured.
  public enum Norm: String, Sendable, Hashable, CaseIterable, Codable {
    /// The largest change of a value.
    case maximum
    /// The root of the sum of squared changes.
    case euclidean
  }

  /// What is raised.
  public enum Loss: Sendable, Hashable {
    /// The loss of one draw, a fresh one at every step.
    case singleDraw
    /// That of the mean over fresh draws at every step.
    case expectation(draws: Int)
    /// The same from the mean of single-precision probabilities: a trap, since these round to 0 and 1, kept to show
    /// what it hides.
    case averagedProbability(draws: Int)

    var drawCount: Int {
      switch self {
      case .singleDraw: 1
      case .expectation(let draws), .averagedProbability(let draws): draws
      }
    }
  }

  public var norm: Norm
  /// How far a row may move, in stored values.
  public var radius: Double
  public var loss: Loss
  public var stepCount: Int
  /// In stored values.
  public var stepSize: Double
  /// Starts, the strongest of which counts for each row.
  public var restartCount: Int
  /// Whether a start is a random point of the ball; else it is the row itself.
  public var startsAtRandom: Bool
  /// The values that rows may have, as stored.
  public var range: ClosedRange<Float>

  /// One step of the whole radius from the row itself: the fast gradient sign method, in the Euclidean norm its like.
  public static func fastGradient(
    _ norm: Norm = .maximum, radius: Double, loss: Loss = .singleDraw, within range: ClosedRange<Float>
  ) -> Self {
    Self(
      norm: norm, radius: radius, loss: loss, stepCount: 1, stepSize: radius, restartCount: 1, startsAtRandom: false,
      range: range)
  }

  /// Projected gradient ascent from random starts, in steps of `2.5 · radius / steps`.
  ///
  /// - Precondition: steps and restarts are positive.
  public static func projectedGradient(
    _ norm: Norm = .maximum, radius: Double, steps: Int = 20, restarts: Int = 2, loss: Loss,
    within range: ClosedRange<Float>
  ) -> Self {
    precondition(steps > 0 && restarts > 0, "There are at least one step and one start; got \(steps) and \(restarts).")
    return Self(
      norm: norm, radius: radius, loss: loss, stepCount: steps, stepSize: 2.5 * radius / Double(steps),
      restartCount: restarts, startsAtRandom: true, range: range)
  }

  /// Attacked rows, and what the attack met.
  public struct Result: Sendable {
    /// `[rows] + shape of a row`
    public var inputs: Tensor<Float>
    /// The attack's loss at them, nats; not finite where it underflowed.
    public var losses: [Double]
    /// Rows that had no gradient at the first step of any start.
    public var rowsWithoutGradient: Int
    /// Rows whose loss underflowed at a step: a probability that rounded to 0 or to 1.
    public var underflowedRows: Int

    /// What the user should know.
    public var warnings: [String] {
      AdversarialAttack.warnings(
        underflowed: underflowedRows, withoutGradient: rowsWithoutGradient, rowCount: losses.count)
    }
  }

  /// What the user should know of attacks on so many rows, in sentences.
  public static func warnings(underflowed: Int, withoutGradient: Int, rowCount: Int) -> [String] {
    var warnings: [String] = []
    if underflowed > 0 {
      warnings.append(
        "The attack's loss underflowed on \(underflowed) of \(rowCount) rows, so what looks like robustness is "
          + "rounding; use the loss in log space.")
    }
    if withoutGradient > 0 {
      warnings.append(
        "\(withoutGradient) of \(rowCount) rows have no gradient with respect to the input, so the attack could "
          + "not move them; their answers being kept is no sign of robustness.")
    }
    return warnings
  }

  /// Changes rows so that the loss of their labels rises.
  ///
  /// - Parameters:
  ///   - inputs: stored values, `[rows] + inputShape`.
  ///   - labels: one a row.
  ///   - firstRow: the index of the first of the rows, which with the key makes its random numbers.
  /// - Determinism: follows from the arguments but `width`; no row's start depends on how the rows are cut.
  /// - Cost: forward and backward of `restarts · (steps + 1) · draws` networks.
  /// - Throws: `NumericalError` for values outside of `range`, and for logits that are not finite; `CancellationError`.
  /// - Precondition: labels fit in number and range; the radius is finite and not negative.
  public func callAsFunction(
    _ inputs: Tensor<Float>, labels: [Int], target: AttackTarget, key: RandomKey, firstRow: Int = 0, width: Int = 1
  ) async throws -> Result {
    precondition(
      labels.count == inputs.rowCount && labels.allSatisfy { (0..<target.classCount).contains($0) },
      "There is one label a row, each of a class.")
    precondition(radius >= 0 && radius.isFinite, "The radius \(radius) is no size of a change.")
    if let position = inputs.elements.firstIndex(where: { !range.contains($0) }) {
      throw NumericalError(
        .outOfRange,
        "Row \(firstRow + position / max(1, inputs.shape.row.elementCount)) has a value of \(inputs[position]), "
          + "outside of \(range.lowerBound)...\(range.upperBound); give the range of stored values.")
    }
    let rowCount = labels.count
    var best = inputs
    var losses = [Double](repeating: -.infinity, count: rowCount)
    var isWrong = [Bool](repeating: false, count: rowCount)
    var isStuck = [Bool](repeating: true, count: rowCount)
    var hasUnderflowed = [Bool](repeating: false, count: rowCount)
    for restart in 0..<restartCount {
      let key = key.child(restart)
      var current = startsAtRandom ? start(inputs, key: key.child(0), firstRow: firstRow) : inputs
      for step in 0...stepCount {
        try Task.checkCancellation()
        let slope = try await slope(at: current, labels, target, key: key.child(1).child(step), width: width)
        for row in 0..<rowCount where slope.hasUnderflowed[row] { hasUnderflowed[row] = true }
        guard step == stepCount else {
          if step == 0 { for row in 0..<rowCount where slope.hasGradient(row) { isStuck[row] = false } }
          move(&current, along: slope, from: inputs)
          continue
        }
        let size = inputs.shape.row.elementCount
        for row in 0..<rowCount {
          // A wrong answer first, the larger loss then; where it is no number, the first start stays.
          let isStronger =
            slope.isWrong[row] == isWrong[row] ? slope.losses[row] > losses[row] : slope.isWrong[row]
          guard restart == 0 || isStronger else { continue }
          (losses[row], isWrong[row]) = (slope.losses[row], slope.isWrong[row])
          for position in row * size..<(row + 1) * size { best[position] = current[position] }
        }
      }
    }
    return Result(
      inputs: best, losses: losses, rowsWithoutGradient: isStuck.count(where: \.self),
      underflowedRows: hasUnderflowed.count(where: \.self))
  }

  /// The gradient's direction, and the loss, row by row.
  struct Slope {
    /// Each row up to a positive factor.
    var gradient: Tensor<Double>
    var losses: [Double]
    var isWrong: [Bool]
    var hasUnderflowed: [Bool]

    func hasGradient(_ row: Int) -> Bool {
      let size = gradient.shape.row.elementCount
      return (row * size..<(row + 1) * size).contains { gradient[$0] != 0 }
    }
  }

  /// What one draw says of the rows.
  private struct DrawValues: Sendable {
    var logProbabilities: Tensor<Double>
    /// Logarithms of what each row's cotangent was divided by.
    var logSizes: [Double]
  }

  func slope(
    at inputs: Tensor<Float>, _ labels: [Int], _ target: AttackTarget, key: RandomKey, width: Int
  ) async throws -> Slope {
    let (rowCount, classCount) = (labels.count, target.classCount)
    let drawCount = target.drawCount(of: loss)
    // Of an ensemble a single draw is one of its members.
    let firstDraw =
      loss == .singleDraw && target.isRandom ? Int(key.child(1).uniforms(1)[0] * 0x1p31) : 0
    var isAveraged = false
    if case .averagedProbability = loss { isAveraged = true }
    let inProbabilities = isAveraged
    var (gradients, draws): ([Tensor<Float>], [DrawValues]) = ([], [])
    for draw in 0..<drawCount {
      let empty = DrawValues(
        logProbabilities: Tensor(zeros: [rowCount, classCount]), logSizes: [Double](repeating: 0, count: rowCount))
      let collected = Collected(empty)
      gradients.append(
        try await target.gradient(at: inputs, draw: firstDraw + draw, key: key.child(0), width: width) { logits, rows in
          let logProbabilities = try logProbabilities(of: logits)
          var cotangents = Tensor<Double>(zeros: logits.shape)
          for (index, row) in rows.enumerated() {
            let label = labels[row]
            let values = (0..<classCount).map { logProbabilities[index, $0] }
            let logSize: Double
            if inProbabilities {
              // Of −p in single precision, as a naive loss has it.
              let probability = Float(Double.exp(values[label]))
              for k in 0..<classCount {
                let other = Float(Double.exp(values[k]))
                cotangents[index, k] = Double(k == label ? -probability * (1 - probability) : probability * other)
              }
              logSize = 0
            } else {
              // Of −log p, over its size 1 − p(y), the sum of the others.
              logSize = logSumExp(values.indices.filter { $0 != label }.map { values[$0] })
              for k in 0..<classCount { cotangents[index, k] = k == label ? -1 : Double.exp(values[k] - logSize) }
            }
            collected.values.withLock {
              $0.logSizes[row] = logSize
              for k in 0..<classCount { $0.logProbabilities[row, k] = values[k] }
            }
          }
          return cotangents
        })
      draws.append(collected.values.withLock { $0 })
    }
    return combined(gradients, draws, labels, inProbabilities: inProbabilities)
  }

  private func combined(
    _ gradients: [Tensor<Float>], _ draws: [DrawValues], _ labels: [Int], inProbabilities: Bool
  ) -> Slope {
    let (rowCount, classCount) = (labels.count, draws[0].logProbabilities.shape[1])
    let size = gradients[0].shape.row.elementCount
    var mean = LogMeanProbability(rowCount: rowCount, classCount: classCount)
    for draw in draws { mean.add(draw.logProbabilities) }
    let answers = mean.value
    var slope = Slope(
      gradient: Tensor(zeros: gradients[0].shape), losses: [], isWrong: [],
      hasUnderflowed: [Bool](repeating: false, count: rowCount))
    for (row, label) in labels.enumerated() {
      let others = (0..<classCount).filter { $0 != label }.map { answers[row, $0] }
      slope.isWrong.append(others.contains { $0 > answers[row, label] })
      var weights = draws.map { $0.logProbabilities[row, label] + $0.logSizes[row] }
      if inProbabilities {
        let probability =
          draws.reduce(Float(0)) { $0 + Float(Double.exp($1.logProbabilities[row, label])) } / Float(draws.count)
        slope.losses.append(-Double.log(Double(probability)))
        slope.hasUnderflowed[row] = probability == 0 || probability == 1
        weights = weights.map { _ in 0 }
      } else {
        slope.losses.append(-answers[row, label])
      }
      let largest = weights.max() ?? 0
      for (gradient, weight) in zip(gradients, weights) {
        let factor = largest == -.infinity ? 0 : Double.exp(weight - largest)
        for position in row * size..<(row + 1) * size {
          slope.gradient[position] += factor * Double(gradient[position])
        }
      }
    }
    return slope
  }

  /// Moves rows by one step, and back into the ball and the range.
  func move(_ rows: inout Tensor<Float>, along slope: Slope, from origin: Tensor<Float>) {
    let size = rows.shape.row.elementCount
    for row in 0..<rows.rowCount {
      let positions = row * size..<(row + 1) * size
      // Scaled first, so that squares neither vanish nor overflow.
      let largest = positions.reduce(0) { max($0, abs(slope.gradient[$1])) }
      guard largest > 0, largest.isFinite else { continue }
      let length = positions.reduce(0) {
        $0 + (slope.gradient[$1] / largest) * (slope.gradient[$1] / largest)
      }.squareRoot()
      var changes = positions.map { position in
        let gradient = slope.gradient[position]
        let step = norm == .maximum ? (gradient > 0 ? 1 : gradient < 0 ? -1 : 0) : gradient / largest / length
        return Double(rows[position]) - Double(origin[position]) + stepSize * step
      }
      place(&changes, at: positions, in: &rows, from: origin)
    }
  }

  /// Writes `origin + changes`, projected onto the ball and then the range, which moves no value away from the origin.
  private func place(
    _ changes: inout [Double], at positions: Range<Int>, in rows: inout Tensor<Float>, from origin: Tensor<Float>
  ) {
    switch norm {
    case .maximum:
      for index in changes.indices { changes[index] = min(max(changes[index], -radius), radius) }
    case .euclidean:
      let length = changes.reduce(0) { $0 + $1 * $1 }.squareRoot()
      if length > radius { for index in changes.indices { changes[index] *= radius / length } }
    }
    for (index, position) in positions.enumerated() {
      let value = Float(Double(origin[position]) + changes[index])
      rows[position] = min(max(value, range.lowerBound), range.upperBound)
    }
  }

  /// A random point of each row's ball: uniform in it.
  private func start(_ inputs: Tensor<Float>, key: RandomKey, firstRow: Int) -> Tensor<Float> {
    var rows = inputs
    let size = inputs.shape.row.elementCount
    for row in 0..<inputs.rowCount {
      let key = key.child(firstRow + row)
      var changes: [Double]
      switch norm {
      case .maximum: changes = key.uniforms(size).map { radius * (2 * $0 - 1) }
      case .euclidean:
        let direction = Array(key.child(0).normals([size], as: Double.self).elements)
        let length = direction.reduce(0) { $0 + $1 * $1 }.squareRoot()
        let distance = radius * Double.pow(key.child(1).uniforms(1)[0], 1 / Double(size))
        changes = direction.map { length > 0 ? $0 * distance / length : 0 }
      }
      place(&changes, at: row * size..<(row + 1) * size, in: &rows, from: inputs)
    }
    return rows
  }

  /// What slices of the rows report, from several tasks.
  private final class Collected: Sendable {
    let values: Mutex<DrawValues>
    init(_ values: DrawValues) { self.values = Mutex(values) }
  }
}
