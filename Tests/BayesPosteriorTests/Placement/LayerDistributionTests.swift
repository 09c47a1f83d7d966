import BayesKernels
import BayesNetwork
import BayesTensor
import Foundation
import Testing
import _BayesTestSupport

@testable import BayesPosterior

/// Draws of single layers, and of several together.
struct LayerDistributionTests {
  /// Two dense layers with ReLU between: `[4] → 6 → 3`.
  private func network(seed: UInt64 = 3) throws -> FrozenNetwork {
    var builder = NetworkBuilder(input: [4])
    builder.add(Dense(units: 6, usesBias: true))
    builder.add(Activation(.relu(ceiling: nil, negativeSlope: 0, threshold: 0)))
    builder.add(Dense(units: 3, usesBias: true))
    return try builder.frozen(seed: seed)
  }

  private func dropout(_ layer: String, _ rate: Double) -> LayerDistribution {
    LayerDistribution(
      layerName: layer, kind: .dropout(rate), paths: [ParameterPath(node: layer, parameter: "weight")],
      form: .dropout(rate: rate))
  }

  private func outputs(_ frozen: FrozenNetwork, _ inputs: Tensor<Double>) -> Tensor<Double> {
    frozen.network.outputs(
      of: [frozen.network.exits[0].logits], for: inputs, parameters: frozen.parameters, on: ReferenceBackend())[0]
  }

  /// Dropping rows of the weight is dropping inputs of the layer: the same network with masked inputs.
  @Test func droppedWeightsAreDroppedInputs() throws {
    let frozen = try network()
    let draws = try PlacementDraws([dropout("node1", 0.5)], of: frozen, on: ReferenceBackend())
    let inputs: Tensor<Double> = RandomKey(seed: 1).normals([5, 4])
    var droppedCount = 0
    for draw in 0..<20 {
      let network = try draws.network(draw: draw, key: RandomKey(seed: 9))
      let path = ParameterPath(node: "node1", parameter: "weight")
      let (weight, trained) = (try #require(network.parameters[path]), try #require(frozen.parameters[path]))
      let factors = (0..<4).map { weight[$0, 0] / trained[$0, 0] }
      for factor in factors { #expect(factor == 0 || abs(factor - 2) < 1e-5) }
      droppedCount += factors.count { $0 == 0 }
      var masked = inputs
      for row in 0..<5 { for column in 0..<4 { masked[row, column] *= factors[column] == 0 ? 0 : 2 } }
      expectClose(outputs(network, inputs), outputs(frozen, masked), tolerance: 1e-5)
    }
    // 80 coins: within five deviations of 40.
    #expect((18...62).contains(droppedCount))
  }

  /// Placements that have a layer in common draw it alike, whatever else is drawn.
  @Test func layersAreDrawnAlikeInEveryPlacement() throws {
    let frozen = try network()
    let key = RandomKey(seed: 4)
    let alone = try PlacementDraws([dropout("node3", 0.5)], of: frozen, on: ReferenceBackend())
    let both = try PlacementDraws([dropout("node1", 0.3), dropout("node3", 0.5)], of: frozen, on: ReferenceBackend())
    let path = ParameterPath(node: "node3", parameter: "weight")
    for draw in 0..<8 {
      #expect(
        try alone.network(draw: draw, key: key).parameters[path] == both.network(draw: draw, key: key).parameters[path])
    }
    #expect(
      try alone.network(draw: 0, key: key).parameters[path] != alone.network(draw: 1, key: key).parameters[path]
        || alone.network(draw: 1, key: key).parameters[path] != alone.network(draw: 2, key: key).parameters[path])
    // What lies before the first drawn layer is common to all draws.
    #expect(alone.boundary == [2] && both.boundary == [0])
  }

  /// The covariance of draws is that of the factors: `Cov[W] = Σ_kl D²_kl (a_k a_kᵀ) ⊗ (b_l b_lᵀ)`.
  @Test func factorsHaveTheirCovariance() throws {
    var builder = NetworkBuilder(input: [2])
    builder.add(Dense(units: 2, usesBias: true))
    let frozen = try builder.frozen(seed: 2)
    // Rotations by two angles.
    func rotation(_ angle: Double) -> Tensor<Double> {
      let (c, s) = (cos(angle), sin(angle))
      return Tensor(shape: [2, 2], [c, -s, s, c])
    }
    let (a, b) = (rotation(0.4), rotation(-1.1))
    let deviations = Tensor<Double>(shape: [2, 2], [0.5, 1, 2, 0.1])
    let distribution = LayerDistribution(
      layerName: "node1", kind: .laplace, paths: ["weight", "bias"].map { ParameterPath(node: "node1", parameter: $0) },
      form: .kronecker(
        LayerDistribution.Kronecker(
          inputVectors: a, outputVectors: b, deviations: deviations,
          biasDeviations: Tensor<Double>(shape: [2], [0.3, 0.7]))))
    let draws = try PlacementDraws([distribution], of: frozen, on: ReferenceBackend())
    let (weightPath, biasPath) = (distribution.paths[0], distribution.paths[1])
    let count = 20_000
    var (weights, biases) = (Tensor<Double>(zeros: [4, 4]), Tensor<Double>(zeros: [2, 2]))
    let trained = (try #require(frozen.parameters[weightPath]), try #require(frozen.parameters[biasPath]))
    for draw in 0..<count {
      let parameters = try draws.network(draw: draw, key: RandomKey(seed: 8)).parameters
      let weight = (0..<4).map { Double((parameters[weightPath] ?? trained.0)[$0] - trained.0[$0]) }
      let bias = (0..<2).map { Double((parameters[biasPath] ?? trained.1)[$0] - trained.1[$0]) }
      for i in 0..<4 { for j in 0..<4 { weights[i, j] += weight[i] * weight[j] / Double(count) } }
      for i in 0..<2 { for j in 0..<2 { biases[i, j] += bias[i] * bias[j] / Double(count) } }
    }
    for i in 0..<4 {
      for j in 0..<4 {
        var exact = 0.0
        for k in 0..<2 {
          for l in 0..<2 {
            let variance = deviations[k, l] * deviations[k, l]
            exact += variance * a[i / 2, k] * a[j / 2, k] * b[i % 2, l] * b[j % 2, l]
          }
        }
        // Entries have variances up to 4; the error of a mean of 20,000 products is 0.04.
        #expect(abs(weights[i, j] - exact) < 0.2, "\(i), \(j): \(weights[i, j]) and \(exact)")
      }
    }
    for i in 0..<2 {
      for j in 0..<2 {
        let exact = 0.09 * b[i, 0] * b[j, 0] + 0.49 * b[i, 1] * b[j, 1]
        #expect(abs(biases[i, j] - exact) < 0.03)
      }
    }
  }

  /// Samples come round, and a bias is added where one is drawn of a layer that has none.
  @Test func samplesComeRoundAndBringABias() throws {
    var builder = NetworkBuilder(input: [2])
    builder.add(Dense(units: 2, usesBias: false))
    let frozen = try builder.frozen(seed: 2)
    let paths = ["weight", "bias"].map { ParameterPath(node: "node1", parameter: $0) }
    let samples: [Tensor<Float>] = [
      Tensor(shape: [2, 2, 2], [1, 0, 0, 1, 2, 0, 0, 2]), Tensor(shape: [2, 2], [0, 0, 5, 6]),
    ]
    let distribution = LayerDistribution(layerName: "node1", kind: .latent, paths: paths, form: .samples(samples))
    let draws = try PlacementDraws([distribution], of: frozen, on: ReferenceBackend())
    let inputs = Tensor<Double>(shape: [1, 2], [3, 4])
    for (draw, expected) in [(0, [3.0, 4]), (1, [11, 14]), (2, [3, 4]), (3, [11, 14])] {
      let network = try draws.network(draw: draw, key: RandomKey(seed: 0))
      #expect(Array(outputs(network, inputs).elements) == expected)
    }
    #expect(Array(outputs(draws.base, inputs).elements) == Array(outputs(frozen, inputs).elements))
  }

  @Test func otherNetworksAreRefused() throws {
    let frozen = try network()
    #expect(throws: NetworkError.self) {
      try PlacementDraws([dropout("missing", 0.5)], of: frozen, on: ReferenceBackend())
    }
    let wrong = LayerDistribution(
      layerName: "node1", kind: .variational, paths: [ParameterPath(node: "node1", parameter: "weight")],
      form: .factorized(means: [Tensor(zeros: [2, 2])], deviations: [Tensor(zeros: [2, 2])]))
    #expect(throws: NetworkError.self) { try PlacementDraws([wrong], of: frozen, on: ReferenceBackend()) }
    for text in ["", "dropout", "dropout:0", "dropout:1", "dropout:x", "Laplace"] { #expect(PlacementKind(text) == nil) }
    for kind: PlacementKind in [.laplace, .variational, .latent, .snapshots, .dropout(0.25)] {
      #expect(PlacementKind(kind.description) == kind)
    }
  }

  /// A file gives back what was written.
  @Test func filesHoldDistributions() throws {
    let means = [Tensor<Double>(shape: [2, 1], [1, 2])]
    let layers = [
      LayerDistribution(
        layerName: "a", kind: .variational, paths: [ParameterPath("a/weight")],
        form: .factorized(means: means, deviations: means)), dropout("b", 0.2),
      LayerDistribution(
        layerName: "c", kind: .snapshots, paths: [ParameterPath("c/weight"), ParameterPath("d/mean")],
        form: .samples([Tensor(shape: [2, 1, 1], [1, 2]), Tensor(shape: [2, 1], [3, 4])])),
    ]
    var training = PlacementTraining()
    training.distributions = layers
    training.texts = ["times": "{\"a=b\": 1}"]
    training.scores = Tensor(shape: [1, 3], [1, 2, 3])
    let archive = MemoryArchive()
    try training.write(to: archive, settings: ["--seed": "1"])
    #expect(try PlacementTraining(from: archive, settings: ["--seed": "1"]) == training)
    #expect(throws: FileError.self) { try PlacementTraining(from: archive, settings: ["--seed": "2"]) }
  }
}
