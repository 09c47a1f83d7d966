import BayesKernels
import BayesPosterior
import BayesPrediction
import BayesTensor
import RealModule
import Testing
import _BayesTestSupport

/// Closed forms, draws, and what laplace-torch gets wrong.
struct LaplacePredictiveTests {
  let backend: NativeBackend
  let context: ExecutionContext

  init() throws {
    backend = try NativeBackend()
    context = ExecutionContext(backend: backend, key: RandomKey(seed: 5))
  }

  func posterior(
    _ predictive: LaplacePredictive, structure: LaplaceStructure = .full, samples: Int = 50, prior: Double = 0.7,
    seed: UInt64 = 5, _ records: InMemoryExitRecords
  ) async throws -> LastLayerLaplacePosterior {
    try await LastLayerLaplace(
      structure: structure, predictive: predictive, sampleCount: samples, priorPrecision: .fixed(prior),
      temperature: .fixed(1.3)
    ).fit(
      training: records, validation: nil, in: ExecutionContext(backend: backend, key: RandomKey(seed: seed)))
  }

  @Test func digammaIsThatOfTables() {
    // SciPy 1.17: scipy.special.digamma.
    for (x, value) in [
      (1.0, -0.5772156649015329), (1.5, 0.03648997397857652), (3, 0.9227843350984671), (10, 2.251752589066721),
      (123.4, 4.8113737751162775),
    ] { expectClose(digamma(x), value, tolerance: 1e-14) }
  }

  /// Closed forms against many draws of the same Gaussian, within what is known of them.
  @Test(arguments: LaplaceStructure.allCases)
  func closedFormsAreNearTheDraws(structure: LaplaceStructure) async throws {
    let records = ToyProblem(rowCount: 60).records()
    let few = records.records.rows(0..<20)
    func probabilities(_ predictive: LaplacePredictive) async throws -> Tensor<Double> {
      try await posterior(predictive, structure: structure, samples: 2000, records)
        .predictor(for: records.description, in: context).predict(few)[0].probabilities()
    }
    let reference = try await probabilities(.whitened)
    func distance(_ predictive: LaplacePredictive) async throws -> Double {
      let own = try await probabilities(predictive)
      var sum = 0.0
      for position in 0..<own.count { sum += abs(own[position] - reference[position]) / 2 }
      return sum / 20
    }
    // Mean total variation in a pilot: 0.006 to 0.03 and 0.003 to 0.01; the bridge is coarse.
    #expect(try await distance(.centredProbit) < 0.05)
    #expect(try await distance(.meanField) < 0.02)
    #expect(try await distance(.bridge) < 0.2)
    #expect(try await distance(.functionSpace) < 0.03)
    #expect(try await distance(.antithetic) < 0.02)
    #expect(try await distance(.weights) < 0.03)
    // Why there are the other two: the plain probit counts what all logits share.
    if structure == .full { #expect(try await distance(.probit) > distance(.centredProbit)) }
  }

  /// By its definition: mean and whole covariance projected off the common direction.
  @Test func centredProbitIsTheProbitOfTheProjection() {
    let means: Tensor<Double> = RandomKey(seed: 1).normals([1, 4])
    let root: Tensor<Double> = RandomKey(seed: 2).normals([4, 4])
    let matrix = backend.product(root, root, transposing: .second)
    var projection = Tensor<Double>(repeating: -0.25, shape: [4, 4])
    for k in 0..<4 { projection[k, k] += 1 }
    let projected = backend.product(backend.product(projection, matrix), projection)
    expectClose(
      closedFormLogits(.centredProbit, means: means, covariance: .dense(matrix), on: backend),
      closedFormLogits(
        .probit, means: backend.product(means, projection), covariance: .dense(projected), on: backend),
      tolerance: 1e-12)
  }

  /// The mean field reads differences of logits, so what all logits share, and with it the energy, is lost.
  @Test(arguments: LaplacePredictive.allCases, [Likelihood.categorical, .binary])
  func energiesAreOfPredictivesThatKeepLogits(predictive: LaplacePredictive, likelihood: Likelihood) async throws {
    let records = ToyProblem(rowCount: 30, exitCount: 2, likelihood: likelihood).records()
    for ensembles in [false, true] {
      var recipe = LastLayerLaplace(
        predictive: predictive, sampleCount: 8, priorPrecision: .fixed(0.7), temperature: .fixed(1.3))
      recipe.ensembles = ensembles
      let predictions = try await recipe.fit(training: records, validation: nil, in: context)
        .predictor(for: records.description, in: context).predict(records.records)
      let isNormalized = predictive == .meanField && likelihood == .categorical
      for prediction in predictions {
        #expect(prediction.scale == (isNormalized ? .logProbabilities : .logits))
        guard isNormalized else { continue }
        for position in stride(from: 0, to: prediction.logits.count, by: 3) {
          expectClose(logSumExp((0..<3).map { Double(prediction.logits[position + $0]) }), 0, tolerance: 1e-6)
        }
      }
    }
  }

  /// Saturated logits gave rows of ones in single precision.
  @Test(arguments: [LaplacePredictive.bridge, .normalizedBridge])
  func saturatedLogitsKeepADistribution(predictive: LaplacePredictive) {
    for scale in [30.0, 200, 1000, 1e6] {
      let means = Tensor<Double>(shape: [2, 3], [scale, 0, -scale, 0, scale, scale])
      let logits = closedFormLogits(
        predictive, means: means, covariance: .diagonal(Tensor(repeating: 0.01, shape: [2, 3])), on: backend)
      let probabilities = softmax(logits)
      for row in 0..<2 {
        var sum = 0.0
        for k in 0..<3 { sum += probabilities[row, k] }
        expectClose(sum, 1, tolerance: 1e-12)
      }
      expectClose(probabilities[0, 0], 1, tolerance: 1e-6)
      expectClose(probabilities[1, 1], 0.5, tolerance: 1e-6)
    }
  }

  /// The Dirichlet's closed form against draws from it by its definition in two classes: uniform for α = 1.
  @Test func dirichletEntropyIsExact() {
    // For Beta(1, 1) the mean entropy is ∫ −2 p log p dp = ½.
    expectClose(expectedEntropy(logParameters: [0, 0]), 0.5, tolerance: 1e-14)
    // Concentrated, it is the entropy of the mean.
    expectClose(expectedEntropy(logParameters: [700, 700]), Double.log(2), tolerance: 1e-12)
    expectClose(expectedEntropy(logParameters: [30, 30, 30]), Double.log(3), tolerance: 1e-10)
  }

  @Test(arguments: [Likelihood.categorical, .binary, .multilabel])
  func bridgeSplitsUncertaintyWithoutDraws(likelihood: Likelihood) async throws {
    let records = LaplaceStructureTests.records(likelihood)
    let split = try await posterior(.bridge, prior: 0.05, records).predictor(for: records.description, in: context)
      .predict(records.records)[0].uncertaintySplit()
    for row in 0..<60 {
      #expect(split.epistemic[row] > 0 && split.aleatoric[row] > 0)
      expectClose(split.total[row], split.aleatoric[row] + split.epistemic[row], tolerance: 1e-12)
    }
    let certain = try await posterior(.bridge, prior: 1e8, records).predictor(for: records.description, in: context)
      .predict(records.records)[0].uncertaintySplit()
    for row in 0..<60 { #expect(certain.epistemic[row] < 1e-6) }
  }

  /// The generator was validated and then ignored.
  @Test(arguments: [LaplacePredictive.whitened, .antithetic, .functionSpace, .weights])
  func keyGivesTheDraws(predictive: LaplacePredictive) async throws {
    let records = ToyProblem(rowCount: 30).records()
    func predict(_ seed: UInt64) async throws -> Prediction {
      try await posterior(predictive, structure: .kronecker, seed: seed, records)
        .predictor(for: records.description, in: context).predict(records.records)[0]
    }
    let first = try await predict(5)
    #expect(try await predict(5) == first)
    #expect(try await predict(6) != first)
  }

  @Test(arguments: LaplaceStructure.allCases, [LaplacePredictive.functionSpace, .weights])
  func drawsDoNotDependOnTheBatch(structure: LaplaceStructure, predictive: LaplacePredictive) async throws {
    let records = ToyProblem(rowCount: 30).records()
    let predictor = try await posterior(predictive, structure: structure, records).predictor(
      for: records.description, in: .test())
    let whole = try predictor.predict(records.records)[0]
    let part = try predictor.predict(records.records.rows(11..<14))[0]
    for sample in 0..<50 {
      for position in 0..<9 {
        #expect(part.logits[sample * 9 + position] == whole.logits[(sample * 30 + 11) * 3 + position])
      }
    }
  }

  /// A posterior of a last layer kept the first batch of training rows.
  @Test(arguments: LaplaceStructure.allCases)
  func noRowsAreInAFile(structure: LaplaceStructure) async throws {
    let records = ToyProblem(rowCount: 83).records()
    let archive = MemoryArchive()
    try await posterior(.whitened, structure: structure, records).write(to: archive)
    #expect(archive.entries.allSatisfy { !$0.shape.dimensions.contains(83) })
  }

  /// Kronecker's own variances are the diagonals of its covariances, without the whole matrices.
  @Test(arguments: LaplaceStructure.allCases)
  func variancesAloneAreTheDiagonals(structure: LaplaceStructure) async throws {
    let records = ToyProblem(rowCount: 40).records()
    let exit = try await posterior(.probit, structure: structure, records).exits[0]
    let features: Tensor<Double> = RandomKey(seed: 2).normals([4, 5])
    let covariance = exit.covariance(features: features, on: backend)
    let variances = exit.logitVariances(features: features, on: backend)
    let sums = covariance.sums(on: backend)
    for row in 0..<4 {
      let matrix = covariance.matrix(row, on: backend)
      for k in 0..<3 {
        expectClose(variances[row, k], matrix[k, k], tolerance: 1e-10)
        expectClose(sums[row, k], matrix[k, 0] + matrix[k, 1] + matrix[k, 2], tolerance: 1e-10)
      }
    }
  }

  /// Zero features without a bias have no variance, and a covariance without a Cholesky factor.
  @Test(arguments: [LaplaceStructure.full, .lowRank])
  func singularCovarianceHasDraws(structure: LaplaceStructure) async throws {
    let problem = ToyProblem(rowCount: 30, hasBias: false)
    let records = problem.records()
    var row = records.records.rows(0..<1)
    row.exits[0] = ExitRecords.Exit(features: Tensor(zeros: [1, 5]), logits: Tensor(zeros: [1, 3]))
    let prediction = try await posterior(.whitened, structure: structure, records).predictor(
      for: records.description, in: context
    ).predict(row)[0]
    #expect(prediction.logits.elements.allSatisfy { $0 == 0 })
  }

  // MARK: Ensembles of exits

  @Test(arguments: [LaplacePredictive.whitened, .bridge])
  func ensembleIsTheWeightedMean(predictive: LaplacePredictive) async throws {
    let training = ToyProblem(rowCount: 60, exitCount: 3).records()
    let validation = ToyProblem(rowCount: 80, exitCount: 3, seed: 8).records()
    var recipe = LastLayerLaplace(predictive: predictive, sampleCount: 8)
    recipe.ensembles = true
    let posterior = try await recipe.fit(training: training, validation: validation, in: context)
    let predictor = try posterior.predictor(for: validation.description, in: context)
    let ensembled = try predictor.predict(validation.records)
    #expect(try predictor.predict(validation.records, exit: 1) == ensembled[1])

    // The same choices, each exit alone.
    var own: [Tensor<Double>] = []
    for exit in 0..<3 {
      let alone = try await LastLayerLaplace(
        predictive: predictive, sampleCount: 8, priorPrecision: .fixed(posterior.exits[exit].priorPrecision),
        temperature: .fixed(posterior.exits[exit].temperature)
      ).fit(training: training, validation: nil, in: context)
      own.append(
        try alone.predictor(for: validation.description, in: context).predict(validation.records, exit: exit)
          .probabilities())
    }
    let labels = try #require(validation.records.labels)
    for exit in 0..<3 {
      var (mean, total) = (Tensor<Double>(zeros: own[0].shape), 0.0)
      for earlier in 0...exit {
        let weight = Double(100 * (earlier + 1))
        total += weight
        for position in 0..<mean.count { mean[position] += weight * own[earlier][position] }
      }
      mean = mean.map { $0 / total }
      expectClose(ensembled[exit].probabilities(), mean, tolerance: 1e-6)
      // What the choice was made by.
      var nll = 0.0
      for (row, label) in labels.enumerated() { nll -= Double.log(mean[row, label]) / 80 }
      expectClose(nll, try #require(posterior.exits[exit].tuning.chosenInTrail).negativeLogLikelihood, tolerance: 1e-6)
    }
    let archive = MemoryArchive()
    try posterior.write(to: archive)
    #expect(try LastLayerLaplacePosterior(from: archive).isEnsemble)
  }

  @Test func ensembleWithoutCostsIsRefused() async throws {
    var description = ToyProblem(exitCount: 2).description
    description.exits[1].multiplyAdds = nil
    let records = InMemoryExitRecords(ToyProblem(exitCount: 2).records().records, description: description)
    var recipe = LastLayerLaplace(sampleCount: 8)
    recipe.ensembles = true
    await #expect { try await recipe.fit(training: records, validation: records, in: context) } throws: {
      "\($0)".contains("weight exits by their multiply-adds")
    }
  }
}
