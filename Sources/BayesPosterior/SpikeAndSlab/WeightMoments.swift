import BayesTensor

/// The mean and the variance of each weight along a path, and draws of the normal distribution that has them.
///
///     w ~ N( mean, diag(variance) )
///
/// - Source: Maddox et al. 2019, arXiv:1902.02476 (SWAG-Diagonal).
struct WeightMoments: Sendable, Equatable {
  /// Points of the path.
  private(set) var count: Int
  private(set) var means: ContiguousArray<Float>
  /// Sums of squares around the means.
  private(set) var squares: ContiguousArray<Float>

  /// Of no points.
  ///
  /// - Parameter count: of weights.
  init(count: Int) {
    self.init(count: 0, means: ContiguousArray(repeating: 0, count: count), squares: ContiguousArray(repeating: 0, count: count))
  }

  init(count: Int, means: ContiguousArray<Float>, squares: ContiguousArray<Float>) {
    (self.count, self.means, self.squares) = (count, means, squares)
  }

  mutating func add(_ weights: ContiguousArray<Float>) {
    count += 1
    for index in weights.indices {
      let difference = weights[index] - means[index]
      means[index] += difference / Float(count)
      squares[index] += difference * (weights[index] - means[index])
    }
  }

  /// - Determinism: follows from the key.
  func draw(key: RandomKey) -> ContiguousArray<Float> {
    let noise = key.normals([means.count], as: Float.self)
    return ContiguousArray(
      means.indices.map { means[$0] + (squares[$0] / Float(max(1, count))).squareRoot() * noise[$0] })
  }
}
