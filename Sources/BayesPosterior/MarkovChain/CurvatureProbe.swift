import BayesTensor

/// How large steps on a loss may be where a chain begins.
///
/// Descent along a direction of curvature `λ` grows without bounds where a step moves a weight by more than `2 / λ` of its
/// gradient.  The largest curvature comes from power iterations with differences of gradients.
struct CurvatureProbe {
  /// The mean loss of some rows and its gradient.
  typealias Objective = (ContiguousArray<Float>, [Int]) async throws -> (loss: Double, gradient: ContiguousArray<Float>)

  private static let iterationCount = 10
  /// Of what descent bears: chains leave for where curvatures are larger.
  private static let margin = 0.25
  /// Beyond this share of a gradient no step goes, however flat the loss.
  private static let largestStep = 0.1

  let objective: Objective
  let rows: [Int]

  /// The largest curvature of the loss, each weight in units of its own.
  ///
  /// - Parameter units: one a weight; empty for ones.
  /// - Determinism: follows from the key.
  func largestCurvature(
    at weights: ContiguousArray<Float>, units: ContiguousArray<Float>, key: RandomKey
  ) async throws -> Double {
    let numbers = key.normals([weights.count], as: Float.self)
    var direction = ContiguousArray(numbers.elements.map { Double($0) })
    scale(&direction, by: 1 / norm(direction))
    let size = max(1e-6, 1e-3 * norm(weights.map { Double($0) }))
    var curvature = 0.0
    for _ in 0..<Self.iterationCount {
      var step = direction
      if !units.isEmpty { for index in step.indices { step[index] *= Double(units[index]) } }
      let length = size / max(1e-30, norm(step))
      func gradient(_ sign: Double) async throws -> ContiguousArray<Float> {
        let moved = ContiguousArray(weights.indices.map { weights[$0] + Float(sign * length * step[$0]) })
        return try await objective(moved, rows).gradient
      }
      let (ahead, behind) = (try await gradient(1), try await gradient(-1))
      for index in direction.indices {
        direction[index] =
          (Double(ahead[index]) - Double(behind[index])) / (2 * length) * (units.isEmpty ? 1 : Double(units[index]))
      }
      curvature = norm(direction)
      guard curvature > 0 else { return 0 }
      scale(&direction, by: 1 / curvature)
    }
    return curvature
  }

  /// The step size at which a long-lived force moves weights by a safe share of it.
  static func stepSize(curvature: Double, drift: Double) -> Double {
    min(largestStep, margin * 2 / max(1e-30, curvature)) / drift
  }
}

private func norm(_ values: some Sequence<Double>) -> Double { values.reduce(0) { $0 + $1 * $1 }.squareRoot() }

private func scale(_ values: inout ContiguousArray<Double>, by factor: Double) {
  for index in values.indices { values[index] *= factor }
}
