import BayesNetwork
@testable import BayesPosterior
import BayesPrediction
import BayesTensor
import Foundation
import Testing
import _BayesTestSupport

/// Laplace over the weights of whole networks against laplace-torch in double precision.
struct WeightLaplaceTests {
  static let networks = ["sines", "dense-1", "dense-2", "dense-3", "convolutional-1", "convolutional-2"]
  static let structures: [(file: String, structure: WeightStructure, isSubnetwork: Bool)] = [
    ("full", .full, false), ("kron", .kronecker, false), ("diag", .diagonal, false),
    ("subnetwork-full", .full, true), ("subnetwork-diag", .diagonal, true),
  ]

  let context = ExecutionContext(key: RandomKey(seed: 1), width: 2)

  /// A network and its training rows as a golden file has them.
  struct Problem {
    let frozen: FrozenNetwork
    let inputs: Tensor<Double>
    let labels: [Int]
    let golden: GoldenValue

    init(_ name: String) throws {
      golden = try GoldenValue(contentsOf: "Laplace/weights-\(name).json")
      inputs = golden["inputs"].tensor()
      labels = Array(golden["labels"].tensor().elements.map { Int($0) })
      var builder = NetworkBuilder(input: inputs.shape.row)
      var parameters = Parameters()
      for layer in golden["layers"].list {
        if layer["kind"].text == "flatten" {
          builder.add(Reshape.flatten)
          continue
        }
        let kernel: Tensor<Double> = layer["kernel"].tensor()
        let node: Int
        if layer["kind"].text == "dense" {
          node = builder.add(Dense(units: kernel.shape[1]))
        } else {
          let (stride, padding) = (Int(layer["stride"].number), Int(layer["padding"].number))
          node = builder.add(
            Convolution(
              filters: kernel.shape[3], window: Extent2D(height: kernel.shape[0], width: kernel.shape[1]),
              strides: Extent2D(height: stride, width: stride),
              padding: .explicit(SpatialPadding(top: padding, bottom: padding, left: padding, right: padding))))
        }
        parameters[ParameterPath(node: "node\(node)", parameter: "weight")] = kernel.converted(to: Float.self)
        parameters[ParameterPath(node: "node\(node)", parameter: "bias")] =
          (layer["bias"].tensor() as Tensor<Double>).converted(to: Float.self)
        if layer["activation"].text == "tanh" { builder.add(Activation(.tanh)) }
      }
      frozen = try FrozenNetwork(try builder.frozen().network, parameters: parameters)
    }

    var exit: BayesNetwork.Exit { frozen.network.exits[0] }

    /// The rows of a training set, in some order.
    func rows(_ order: [Int]? = nil) -> LabelledRows<Double> {
      let order = order ?? Array(0..<labels.count)
      let inputs = inputs.rows(order)
      let labels = order.map { self.labels[$0] }
      return LabelledRows(file: "memory", rowCount: labels.count) { (inputs.rows($0), Array(labels[$0])) }
    }

    func fit(_ recipe: WeightLaplace, rows: [Int]? = nil, in context: ExecutionContext) async throws
      -> WeightLaplacePosterior.Exit
    {
      try await recipe.fit(frozen, exit: exit, .categorical, training: self.rows(rows), in: context).exit
    }

    func logits(_ posterior: WeightLaplacePosterior.Exit, at inputs: Tensor<Double>, on backend: any Backend) throws
      -> (means: Tensor<Double>, covariance: LogitCovariance)
    {
      let jacobian = try WeightJacobian(frozen, exit: exit, layers: posterior.layers, at: inputs, on: backend)
      return (
        jacobian.logits,
        posterior.covariances(of: jacobian, priorPrecisions: [posterior.priorPrecisions], on: backend)[0]
      )
    }
  }

  @Test(arguments: networks, structures.map(\.file))
  func posteriorIsThatOfLaplaceTorch(network: String, structure: String) async throws {
    let problem = try Problem(network)
    let (_, kind, isSubnetwork) = try #require(Self.structures.first { $0.file == structure })
    let golden = problem.golden["structures"][structure]
    let expectedSelection = (problem.golden["subnetwork"].tensor() as Tensor<Double>).elements.map { Int($0) }
    let posterior = try await problem.fit(
      WeightLaplace(
        structure: kind, subnetworkCount: isSubnetwork ? expectedSelection.count : nil,
        priorPrecision: .fixed(problem.golden["priorPrecision"].number)), in: context)
    #expect(posterior.selection == (isSubnetwork ? Array(expectedSelection) : nil))
    expectClose(try #require(posterior.logMarginalLikelihood), golden["logMarginalLikelihood"].number, tolerance: 1e-10)
    let (means, covariance) = try problem.logits(
      posterior, at: problem.golden["testInputs"].tensor(), on: context.backend)
    expectClose(means, golden["logits"].tensor(), tolerance: 1e-12)
    let expected: Tensor<Double> = golden["covariance"].tensor()
    let matrices = (0..<means.rowCount).map { covariance.matrix($0, on: context.backend) }
    expectClose(
      Tensor.stacking(matrices), expected.reshaped(to: [means.count, means.shape[1]]), tolerance: 1e-10)
  }

  @Test(arguments: WeightStructure.allCases)
  func neitherOrderNorBlocksNorThreadsMatter(structure: WeightStructure) async throws {
    let problem = try Problem("convolutional-1")
    let recipe = WeightLaplace(structure: structure)
    let posterior = try await problem.fit(recipe, in: context)
    let alone = try await problem.fit(recipe, in: ExecutionContext(key: RandomKey(seed: 2), width: 1))
    #expect(posterior == alone)
    let backwards = try await problem.fit(recipe, rows: problem.labels.indices.reversed(), in: context)
    expectClose(
      try #require(backwards.logMarginalLikelihood), try #require(posterior.logMarginalLikelihood), tolerance: 1e-10)
  }

  @Test(arguments: WeightStructure.allCases)
  func theMarginalLikelihoodChoosesItsMaximum(structure: WeightStructure) async throws {
    let problem = try Problem("dense-2")
    let chosen = try await problem.fit(WeightLaplace(structure: structure), in: context)
    let highest = try #require(chosen.logMarginalLikelihood)
    for factor in [0.8, 1.25] {
      let other = try await problem.fit(
        WeightLaplace(structure: structure, priorPrecision: .fixed(chosen.priorPrecisions[0] * factor)), in: context)
      #expect(try #require(other.logMarginalLikelihood) < highest)
    }
    let layers = try await problem.fit(
      WeightLaplace(structure: structure, priorPrecision: .marginalLikelihoodOfLayers), in: context)
    #expect(layers.priorPrecisions.count == (structure == .full ? 1 : 3))
    #expect(try #require(layers.logMarginalLikelihood) >= highest - 1e-9)
  }

  /// The scope of the last layer is what `LastLayerLaplace` fits.
  @Test func theLastLayerAloneIsLastLayerLaplace() async throws {
    let problem = try Problem("sines")
    let posterior = try await problem.fit(
      WeightLaplace(scope: .last(1), structure: .full, priorPrecision: .fixed(1)), in: context)
    // laplace-torch's number for the weights in double precision.
    expectClose(try #require(posterior.logMarginalLikelihood), -16.09615958221977, tolerance: 1e-6)
    let named = try await problem.fit(
      WeightLaplace(scope: .named(["node3"]), structure: .full, priorPrecision: .fixed(1)), in: context)
    #expect(named == posterior)
  }

  @Test func whatCannotBeFittedIsRefused() async throws {
    let problem = try Problem("sines")
    await #expect(throws: NetworkError.self) {
      _ = try await problem.fit(WeightLaplace(scope: .named(["nowhere"])), in: context)
    }
    await #expect(throws: NetworkError.self) {
      _ = try await problem.fit(WeightLaplace(scope: .last(0)), in: context)
    }
    await #expect(throws: NetworkError.self) {
      _ = try await WeightLaplace().fit(
        problem.frozen, exit: problem.exit, .gaussian, training: problem.rows(), in: context)
    }
    // Pixels are no classes of one answer.
    var pixels = NetworkBuilder(input: [4, 4, 3])
    pixels.add(Convolution(filters: 2, window: Extent2D(height: 1, width: 1)))
    let segmenting = try pixels.frozen()
    let error = await #expect(throws: NetworkError.self) {
      _ = try await WeightLaplace().fit(
        segmenting, exit: segmenting.network.exits[0], .categorical,
        training: LabelledRows(file: "memory", rowCount: 1) { (Tensor<Double>(zeros: [$0.count, 4, 4, 3]), [0]) },
        in: context)
    }
    #expect(error?.message.contains("gives [4, 4, 2] a row") == true)
    var wide = NetworkBuilder(input: [80])
    wide.add(Dense(units: 60))
    let frozen = try wide.frozen()
    await #expect(throws: NetworkError.self) {
      _ = try await WeightLaplace(structure: .full).fit(
        frozen, exit: frozen.network.exits[0], .categorical,
        training: LabelledRows(file: "memory", rowCount: 1) { (Tensor<Double>(zeros: [$0.count, 80]), [0]) }, in: context)
    }
  }

  /// What validation chooses has the likelihood that predictions have, and no lower one lies around it; reported is that
  /// of other draws.
  @Test(arguments: zip(WeightStructure.allCases, [LaplacePredictive.probit, .whitened, .meanField]))
  func validationChoosesTheLowestLoss(structure: WeightStructure, predictive: LaplacePredictive) async throws {
    let problem = try Problem("dense-1")
    let half = problem.labels.count / 2
    let (training, held) = (Array(0..<half), Array(half..<min(half + 12, problem.labels.count)))
    let recipe = WeightLaplace(
      structure: structure, priorPrecision: .validation, temperature: .validation, predictive: predictive,
      sampleCount: 16)
    let fitted = try await recipe.fit(
      problem.frozen, exit: problem.exit, .categorical, training: problem.rows(training), validation: problem.rows(held),
      in: context
    ).exit
    let chosen = try #require(fitted.tuning.chosen)
    #expect(fitted.priorPrecisions.allSatisfy { $0 == chosen.priorPrecision })
    #expect(fitted.temperature == chosen.temperature)
    func loss(_ priorPrecision: Double, _ temperature: Double, key: RandomKey? = nil) throws -> Double {
      var other = fitted
      other.priorPrecisions = fitted.priorPrecisions.map { _ in priorPrecision }
      let (means, covariance) = try problem.logits(other, at: problem.inputs.rows(held), on: context.backend)
      let draws = try predictive.tuningDraws(
        count: 16, logitCount: means.shape[1], key: key ?? context.key, on: context.backend)
      let prediction = try GaussianLogits(
        means: means, covariance: covariance, temperature: temperature, likelihood: .categorical, exit: 0
      ).prediction(predictive, draws: draws.map(DrawTable.shared), on: context.backend)
      let probabilities = prediction.probabilities()
      return held.indices.reduce(0) { $0 - log(Double(probabilities[$1, problem.labels[held[$1]]])) }
        / Double(held.count)
    }
    let lowest = try loss(chosen.priorPrecision, chosen.temperature)
    expectClose(lowest, try #require(fitted.tuning.chosenInTrail).negativeLogLikelihood, tolerance: 1e-5)
    let others = try (1...4).map {
      try loss(chosen.priorPrecision, chosen.temperature, key: context.key.child(-$0))
    }
    expectClose(others.reduce(0, +) / 4, chosen.negativeLogLikelihood, tolerance: 1e-5)
    for factor in [0.5, 2.0] {
      #expect(try loss(chosen.priorPrecision * factor, chosen.temperature) > lowest - 1e-6)
      if (0.25...8).contains(chosen.temperature * factor) {
        #expect(try loss(chosen.priorPrecision, chosen.temperature * factor) > lowest - 1e-6)
      }
    }
    let plain = try #require(fitted.tuning.withoutVariance)
    #expect(plain.priorPrecision == .infinity && plain.negativeLogLikelihood >= lowest - 1e-6)
  }
}
