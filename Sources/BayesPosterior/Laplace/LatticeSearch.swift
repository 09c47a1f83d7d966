import RealModule

/// A point of the lattice on which prior precision and temperature are searched.
package struct LatticePoint: Hashable, Sendable {
  package var prior: Int
  package var temperature: Int

  package init(prior: Int, temperature: Int) {
    self.prior = prior
    self.temperature = temperature
  }
}

/// The values that the indices of one lattice axis stand for: `origin · 2^(index · octaves)`.
struct LatticeAxis: Sendable {
  let origin: Double
  let octaves: Double
  let bounds: ClosedRange<Int>

  /// One value only.
  static func fixed(_ value: Double) -> LatticeAxis {
    LatticeAxis(origin: value, octaves: 0, bounds: 0...0)
  }

  func value(at index: Int) -> Double { origin * Double.exp2(Double(index) * octaves) }
}

/// A search for the lowest point of a smooth function on a bounded lattice, in rounds that each ask
/// for a few values at once.
///
/// Around the lowest point so far the eight neighbours at the current step are asked for.  A better
/// one becomes the centre; otherwise the step is halved.  The search ends where no neighbour differs
/// from the centre by as much as `tolerance`, or at step one.
package struct LatticeSearch {
  private let prior: ClosedRange<Int>
  private let temperature: ClosedRange<Int>
  /// How far the function may still change between the point found and its neighbours.
  private let tolerance: Double
  private var values: [LatticePoint: Double] = [:]
  private let starts: [LatticePoint]
  private var center: LatticePoint?
  private var step: Int

  /// - Precondition: there is at least one start and the step is a power of two.
  package init(
    prior: ClosedRange<Int>, temperature: ClosedRange<Int>, from starts: [LatticePoint], step: Int,
    tolerance: Double
  ) {
    precondition(!starts.isEmpty, "A lattice search needs a start.")
    self.prior = prior
    self.temperature = temperature
    self.starts = starts
    self.step = step
    self.tolerance = tolerance
  }

  /// The lowest point so far, of equal ones the first in lattice order; `nil` before any value is known.
  package var best: (point: LatticePoint, value: Double)? {
    values.min { ($0.value, $0.key.prior, $0.key.temperature) < ($1.value, $1.key.prior, $1.key.temperature) }
      .map { ($0.key, $0.value) }
  }

  /// The points whose values are wanted next; empty at the end.
  package mutating func candidates() -> [LatticePoint] {
    let unknown = starts.filter { values[$0] == nil }
    if !unknown.isEmpty { return unknown }
    while let best {
      let current = center.flatMap { values[$0] } ?? .infinity
      // A gain far below the tolerance is no reason to wander along a plateau.
      let isGain = !(current - best.value <= tolerance / 100)
      let middle = isGain ? best.point : center ?? best.point
      center = middle
      let neighbours = neighbours(of: middle)
      let missing = neighbours.filter { values[$0] == nil }
      if !missing.isEmpty { return missing }
      let spread =
        neighbours.map { abs((values[$0] ?? .infinity) - (values[middle] ?? .infinity)) }.max() ?? 0
      if spread < tolerance || step == 1 { return [] }
      step /= 2
    }
    return []
  }

  /// Takes the values that were asked for; one that is not a number counts as infinitely high.
  package mutating func record(_ point: LatticePoint, _ value: Double) {
    values[point] = value.isNaN ? .infinity : value
  }

  private func neighbours(of point: LatticePoint) -> [LatticePoint] {
    var result: [LatticePoint] = []
    for priorStep in [-step, 0, step] {
      for temperatureStep in [-step, 0, step] where (priorStep, temperatureStep) != (0, 0) {
        let neighbour = LatticePoint(
          prior: point.prior + priorStep, temperature: point.temperature + temperatureStep)
        if prior.contains(neighbour.prior), temperature.contains(neighbour.temperature) {
          result.append(neighbour)
        }
      }
    }
    return result
  }
}
