import RealModule

/// A search for the minimum of a smooth convex function that asks for one value and gradient after another.
///
/// The caller computes the function at `point`, however long that takes and wherever the rows are, and tells what it
/// found; several searches can so share one pass over their rows.  (Libraries of optimizers call the function
/// themselves, which a pass that waits for a file cannot serve.)
///
/// Directions come from the latest changes of point and gradient; a step is taken where it meets Armijo's condition or,
/// where values differ by no more than rounding, its form in slopes.
///
/// - Determinism: no randomness.
/// - Cost: O(memory · dimension) numbers and operations a step.
/// - Source: Nocedal and Wright, "Numerical Optimization", 2006, algorithm 7.4; Hager and Zhang 2005,
///   doi:10.1137/030601880, for the condition in slopes.
public struct LimitedMemoryBFGS: Sendable {
  /// Why a search goes on no more.
  public enum Outcome: Sendable, Equatable {
    /// No element of the gradient is larger than the tolerance.
    case converged
    /// Rounding hides any further descent.
    case stalled
    /// As many values as allowed were asked for.
    case exhausted
  }

  /// Where value and gradient are wanted next; at the end, the lowest point found.
  public private(set) var point: [Double]
  /// `nil` while the search goes on.
  public private(set) var outcome: Outcome?
  /// The largest element of the gradient at the lowest point so far.
  public private(set) var gradientSize = Double.infinity
  /// The number of values that were asked for.
  public private(set) var evaluationCount = 0

  private let tolerance: Double
  private let evaluationLimit: Int
  private let memory: Int
  private var center: [Double] = []
  private var value = Double.infinity
  private var gradient: [Double] = []
  private var direction: [Double] = []
  private var slope = 0.0
  private var step = 1.0
  private var changes: [Change] = []

  /// How the gradient changed along a step.
  private struct Change: Sendable {
    var point: [Double]
    var gradient: [Double]
    /// `1 / (point · gradient)`
    var inverse: Double
  }

  /// Starts a search.
  ///
  /// - Parameters:
  ///   - tolerance: the largest element of the gradient at which the search ends, above zero.
  ///   - memory: how many changes are remembered.
  ///   - evaluationLimit: after how many values the search gives up.
  public init(from point: [Double], tolerance: Double, memory: Int = 10, evaluationLimit: Int = 2000) {
    precondition(
      tolerance > 0 && memory > 0 && evaluationLimit > 0,
      "A search needs a tolerance, a memory and a limit above zero; got \(tolerance), \(memory) and \(evaluationLimit)."
    )
    self.point = point
    self.tolerance = tolerance
    self.memory = memory
    self.evaluationLimit = evaluationLimit
  }

  /// Takes the value and the gradient at `point`, and sets the next point or the outcome.
  ///
  /// A value that is not a number counts as infinitely high.
  ///
  /// - Precondition: the search goes on, and there are as many derivatives as coordinates.
  public mutating func record(value newValue: Double, gradient newGradient: [Double]) {
    precondition(
      outcome == nil && newGradient.count == point.count, "A search that goes on takes one derivative a coordinate.")
    evaluationCount += 1
    if center.isEmpty || accepts(newValue, newGradient) {
      if !center.isEmpty { remember(newGradient) }
      (center, value, gradient) = (point, newValue, newGradient)
      gradientSize = newGradient.reduce(0) { max($0, abs($1)) }
      guard gradientSize > tolerance else { return finish(.converged) }
      direction = descent()
      slope = dot(direction, gradient)
      if !(slope < 0) {
        // Rounding has spoilt what is remembered.
        changes = []
        direction = gradient.map { -$0 }
        slope = dot(direction, gradient)
      }
      step = 1
    } else {
      // The minimum of the parabola through both values and the slope, kept within the step.
      let curvature = newValue - value - slope * step
      let shrink = newValue.isFinite && curvature > 0 ? -slope * step / (2 * curvature) : 0.1
      step *= min(0.5, max(0.1, shrink))
      guard step > 1e-12 else { return finish(.stalled) }
    }
    guard evaluationCount < evaluationLimit else { return finish(.exhausted) }
    for index in point.indices { point[index] = center[index] + step * direction[index] }
  }

  private mutating func finish(_ outcome: Outcome) {
    self.outcome = outcome
    point = center
    changes = []
  }

  private func accepts(_ newValue: Double, _ newGradient: [Double]) -> Bool {
    let armijo = 1e-4
    guard newValue.isFinite else { return false }
    if newValue <= value + armijo * step * slope { return true }
    let rounding = 1e-13 * max(abs(value), .leastNormalMagnitude)
    return newValue <= value + rounding && dot(newGradient, direction) <= (2 * armijo - 1) * slope
  }

  private mutating func remember(_ newGradient: [Double]) {
    let change = zip(point, center).map { $0 - $1 }
    let difference = zip(newGradient, gradient).map { $0 - $1 }
    let product = dot(change, difference)
    // Of a convex function it is positive, but for rounding.
    guard product > 1e-14 * (dot(change, change) * dot(difference, difference)).squareRoot() else { return }
    changes.append(Change(point: change, gradient: difference, inverse: 1 / product))
    if changes.count > memory { changes.removeFirst() }
  }

  /// The gradient times the approximate inverse Hessian, downhill.
  private func descent() -> [Double] {
    var result = gradient.map { -$0 }
    var factors = [Double](repeating: 0, count: changes.count)
    for index in changes.indices.reversed() {
      factors[index] = changes[index].inverse * dot(changes[index].point, result)
      add(changes[index].gradient, times: -factors[index], to: &result)
    }
    if let last = changes.last {
      let scale = 1 / (last.inverse * dot(last.gradient, last.gradient))
      for index in result.indices { result[index] *= scale }
    }
    for index in changes.indices {
      let factor = factors[index] - changes[index].inverse * dot(changes[index].gradient, result)
      add(changes[index].point, times: factor, to: &result)
    }
    return result
  }

  private func dot(_ a: [Double], _ b: [Double]) -> Double {
    var sum = 0.0
    for index in a.indices { sum += a[index] * b[index] }
    return sum
  }

  private func add(_ a: [Double], times factor: Double, to b: inout [Double]) {
    for index in b.indices { b[index] += factor * a[index] }
  }
}
