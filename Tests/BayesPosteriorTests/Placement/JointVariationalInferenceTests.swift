import BayesTensor
import Testing
import _BayesTestSupport

@testable import BayesPosterior

/// Gaussians of several layers that are trained together.
struct JointVariationalInferenceTests {
  /// A loss `½ h Σ (w − t)²` a row over two layers, whose posterior is exact: precision `N h + 1 / s²` around the weighted mean.
  private let target: [Float] = [0.5, -0.2, 0.9, 0.1]
  private let origin: ContiguousArray<Float> = [0.4, -0.4, 0.7, 0.3]

  private func fit(_ recipe: JointVariationalInference, key: UInt64 = 1) async throws -> [FactorizedGaussian] {
    try await recipe.fit(layers: [0..<2, 2..<4], origin: origin, rowCount: 64, key: RandomKey(seed: key)) { [target] weights, _ in
      var gradient = ContiguousArray<Float>(repeating: 0, count: 4)
      var loss = 0.0
      for index in 0..<4 {
        let difference = weights[index] - target[index]
        gradient[index] = difference
        loss += 0.5 * Double(difference * difference)
      }
      return (loss, gradient)
    }
  }

  @Test func quadraticLossesHaveTheirExactPosterior() async throws {
    var recipe = JointVariationalInference()
    recipe.epochCount = 4000
    recipe.batchRowCount = 64
    recipe.learningRate = 5e-3
    recipe.deviationLearningRate = 2e-2
    let found = try await fit(recipe)
    for (layer, gaussian) in found.enumerated() {
      let trained = origin[2 * layer..<2 * layer + 2].map { Double($0) }
      let scale = (trained.reduce(0) { $0 + $1 * $1 } / 2).squareRoot()
      for index in 0..<2 {
        let precision = 64 + 1 / (scale * scale)
        let mean = (64 * Double(target[2 * layer + index]) + trained[index] / (scale * scale)) / precision
        #expect(abs(gaussian.means[0][index] - mean) < 0.02)
        #expect(abs(gaussian.deviations[0][index] / (1 / precision.squareRoot()) - 1) < 0.1)
      }
    }
  }

  /// Each layer is on about half of the paths, and no path is empty.
  @Test func pathsAreDrawnUniformly() {
    var recipe = JointVariationalInference()
    recipe.drawsPaths = true
    var counts = [0, 0, 0]
    for index in 0..<4000 {
      let path = recipe.path(of: 3, key: RandomKey(seed: 5).child(index))
      #expect(!path.isEmpty)
      for layer in path { counts[layer] += 1 }
    }
    // One half, and of the eighth that would be empty a third more: 13/24.
    for count in counts { #expect(abs(Double(count) / 4000 - 13.0 / 24) < 0.04) }
    recipe.drawsPaths = false
    #expect(recipe.path(of: 3, key: RandomKey(seed: 0)) == [0, 1, 2])
  }

  @Test func sameKeySameBits() async throws {
    var recipe = JointVariationalInference()
    recipe.drawsPaths = true
    recipe.epochCount = 20
    #expect(try await fit(recipe) == fit(recipe))
    #expect(try await fit(recipe) != fit(recipe, key: 2))
  }

  @Test func divergedLossesAreRefused() async throws {
    await #expect(throws: NumericalError.self) {
      try await JointVariationalInference().fit(layers: [0..<1], origin: [1], rowCount: 1, key: RandomKey(seed: 1)) { _, _ in
        (.infinity, [0])
      }
    }
  }
}
