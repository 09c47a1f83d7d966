import BayesTensor
import RealModule
import Testing
import _BayesTestSupport

@testable import BayesPosterior

/// Autoencoders of members' vectors: gradients, and when latents collapse.
@Suite struct LatentAutoencoderTests {
  private let members = 3
  private let key = RandomKey(seed: 44)

  private func autoencoder(_ decode: LatentAutoencoder.Decode) -> LatentAutoencoder {
    var result = LatentAutoencoder(channelCount: 6, latentCount: 4, decode: decode, noiseScale: 0.7, key: key)
    // Of every part some; one variance is cut below, one above.
    result[.logVarianceBias] = Tensor(shape: [4], [-0.5, 0.8, -12, 6])
    result[.decoderBias] = key.child(20).normals([6])
    return result
  }

  /// The gradient against differences in double precision.
  @Test(arguments: LatentAutoencoder.Decode.allCases, [(1.0, 0.3), (0.0, 1.0), (0.5, 0.0)])
  func gradientsAreThoseOfFiniteDifferences(decode: LatentAutoencoder.Decode, weights: (Double, Double)) {
    let vectors: Tensor<Double> = key.child(10).normals([members, 6])
    let noise: Tensor<Double> = key.child(11).normals([members, 4])
    let direction: Tensor<Double> = key.child(12).normals([members, 6])
    func value(_ autoencoder: LatentAutoencoder) -> Double {
      let pass = autoencoder(vectors, noise: noise)
      return zip(pass.reconstructions.elements, direction.elements).reduce(0) { $0 + $1.0 * $1.1 }
        + weights.0 * pass.reconstructionError + weights.1 * pass.divergence
    }
    let own = autoencoder(decode)
    let gradient = own.gradient(
      at: own(vectors, noise: noise), cotangent: direction, reconstructionWeight: weights.0, divergenceWeight: weights.1)
    for weight in LatentAutoencoder.Weight.allCases {
      for position in 0..<own[weight].count {
        func at(_ step: Double) -> Double {
          var moved = own
          moved[weight][position] += step
          return value(moved)
        }
        let difference = (at(1e-5) - at(-1e-5)) / 2e-5
        expectClose(gradient[weight.rawValue][position], difference, tolerance: 1e-7 * max(1, abs(difference)), "\(weight)")
      }
    }
  }

  /// The divergence a member and the spread between members that training by the own loss alone ends at.
  private func trained(
    _ vectors: Tensor<Double>, _ weight: Double?, noiseScale: Double, stepCount: Int, learningRate: Double
  ) throws -> (divergence: Double, spread: Double) {
    var recipe = LatentInference()
    (recipe.divergenceWeight, recipe.noiseScale, recipe.initialDeviation) = (weight, noiseScale, 0.5)
    var start = LatentPosterior.Layer(
      name: "layer", inputs: vectors, outputs: Tensor(zeros: [4, 1]),
      biases: Tensor(zeros: [4, 1]), autoencoder: nil)
    var autoencoder = LatentAutoencoder(
      channelCount: 64, latentCount: 32, decode: .latentSample, noiseScale: noiseScale, key: key.child(2))
    // As PyTorch begins.
    autoencoder[.logVarianceBias] = Tensor(zeros: [32])
    autoencoder[.decoderBias] = Tensor(zeros: [64])
    start.autoencoder = autoencoder
    let end = recipe.warmedUp(start, stepCount: stepCount, learningRate: learningRate, key: key.child(3))
    let found = try #require(end.autoencoder)
    let pass = found(end.inputs, noise: Tensor(zeros: [4, 32]))
    return (pass.divergence / 4, pass.spread)
  }

  /// With the weights of published code latents collapse, and with smaller ones they do not, as PyTorch finds from
  /// three beginnings.
  @Test(arguments: 0..<5) func latentsCollapseWherePyTorchSaysSo(number: Int) throws {
    let file = try GoldenValue(contentsOf: "Latent/collapse.json")
    let golden = file["cases"].list[number]
    let (divergences, spreads) = (golden["divergences"].numbers, golden["spreads"].numbers)
    let found = try trained(
      file["vectors"].tensor(), golden["weight"].number, noiseScale: golden["noiseScale"].number, stepCount: Int(golden["steps"].number),
      learningRate: golden["rate"].number)
    let middle = divergences.reduce(0, +) / 3
    #expect(abs(found.divergence - middle) < 0.25 * middle + 0.01, "\(golden["name"].text): \(found)")
    // With little noise means that are as good as zero may still tell members apart: so PyTorch ends from one beginning of three.
    if golden["noiseScale"].number == 1 {
      #expect(abs(found.spread - spreads.reduce(0, +) / 3) < 0.05, "\(golden["name"].text): \(found)")
    }
  }

  @Test func membersThatNothingTellsApartAreWarnedOf() {
    func warnings(_ decode: LatentAutoencoder.Decode, _ change: (inout LatentAutoencoder) -> Void) -> [String] {
      var autoencoder = LatentAutoencoder(
        channelCount: 16, latentCount: 8, decode: decode, noiseScale: 1, key: key.child(0))
      change(&autoencoder)
      let layer = LatentPosterior.Layer(
        name: "wide", inputs: key.child(1).normals([4, 16]).map { 1 + 0.25 * $0 }, outputs: Tensor(zeros: [4, 1]),
        biases: Tensor(zeros: [4, 1]), autoencoder: autoencoder)
      return LatentPosterior(
        form: decode == .hidden ? .hidden : .latentSample, layers: [layer], statistics: [], divergenceWeights: [1],
        rowCount: 10, epochCount: 1, exitIndex: 0, dataTerm: 0
      ).warnings
    }
    #expect(warnings(.latentSample) { _ in } == [] && warnings(.hidden) { _ in } == [])
    func collapse(_ autoencoder: inout LatentAutoencoder) {
      for weight in [LatentAutoencoder.Weight.mean, .meanBias, .logVariance, .logVarianceBias] {
        autoencoder[weight] = Tensor(zeros: autoencoder[weight].shape)
      }
    }
    // Latents that nobody draws may be like their prior.
    #expect(warnings(.hidden, collapse) == [])
    let collapsed = warnings(.latentSample, collapse)
    #expect(collapsed.count == 1 && collapsed[0].contains("'wide' have collapsed"), "\(collapsed)")
    let equal = warnings(.hidden) { $0[.decoder] = Tensor(zeros: $0[.decoder].shape) }
    #expect(equal.count == 1 && equal[0].contains("'wide' decode is the same for all members"), "\(equal)")
  }

  /// Wide layers too: vectors lie about one, and steps of one size for all weights would soon put every hidden unit below zero.
  @Test(arguments: 0..<3) func wideLayersKeepTheirHiddenUnits(seed: Int) {
    let (channels, key) = (576, RandomKey(seed: UInt64(seed)))
    var recipe = LatentInference()
    recipe.form = .hidden
    let layer = LatentPosterior.Layer(
      name: "layer", inputs: key.child(0).normals([4, channels]).map { 1 + 0.25 * $0 }, outputs: Tensor(zeros: [4, 1]),
      biases: Tensor(zeros: [4, 1]),
      autoencoder: LatentAutoencoder(
        channelCount: channels, latentCount: 32, decode: .hidden, noiseScale: 1, key: key.child(1)))
    let end = recipe.warmedUp(layer, stepCount: 60, key: key.child(2))
    let spread = end.autoencoder.map { $0(end.inputs, noise: Tensor(zeros: [4, 32])).spread }
    #expect((spread ?? 0) > 0.02, "\(String(describing: spread))")
  }

  /// The weight that is the default keeps members apart.
  @Test func theRuleAvoidsCollapse() throws {
    let vectors: Tensor<Double> = try GoldenValue(contentsOf: "Latent/collapse.json")["vectors"].tensor()
    let found = try trained(vectors, nil, noiseScale: 1, stepCount: 1500, learningRate: 1e-2)
    #expect(found.divergence > 1 && found.spread > 0.3, "\(found)")
  }
}
