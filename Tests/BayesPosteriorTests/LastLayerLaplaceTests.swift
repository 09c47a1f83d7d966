import BayesPosterior
import BayesPrediction
import BayesTensor
import RealModule
import Testing
import _BayesTestSupport

struct LastLayerLaplaceTests {
  let backend = ReferenceBackend()

  static let fixed = LastLayerLaplace(priorPrecision: .fixed(0.7), temperature: .fixed(1))

  // MARK: The fit

  @Test(arguments: LaplaceStructure.allCases, [true, false])
  func fitDependsNeitherOnChunksNorOnOrder(structure: LaplaceStructure, hasBias: Bool) async throws {
    let whole = ToyProblem(exitCount: 2, hasBias: hasBias).records()
    let order = RandomKey(seed: 3).permutation(whole.rowCount)
    let shuffled = InMemoryExitRecords(whole.records.rows(order), description: whole.description)
    let recipe = LastLayerLaplace(structure: structure, priorPrecision: .fixed(0.7), temperature: .fixed(1))
    let reference = try await recipe.fit(training: whole, validation: nil, in: .test())
    // Sums in another order agree to rounding.
    let rounding = 1e-10
    for source in [
      RechunkedRecords(base: whole, chunkRowCount: 17), RechunkedRecords(base: shuffled, chunkRowCount: 64),
    ] {
      let other = try await recipe.fit(training: source, validation: nil, in: .test())
      for (a, b) in zip(reference.exits, other.exits) {
        let features: Tensor<Double> = RandomKey(seed: 1).normals([4, 5])
        expectClose(
          a.logitVariances(features: features, on: backend),
          b.logitVariances(features: features, on: backend), tolerance: rounding)
        expectClose(
          try #require(a.logMarginalLikelihood), try #require(b.logMarginalLikelihood), tolerance: rounding)
      }
    }
  }

  @Test(arguments: [2, 4])
  func widthChangesNoBit(width: Int) async throws {
    let problem = ToyProblem(exitCount: 2)
    let training = RechunkedRecords(base: problem.records(), chunkRowCount: 40)
    let validation = RechunkedRecords(
      base: ToyProblem(rowCount: 100, exitCount: 2, seed: 8).records(), chunkRowCount: 16)
    let recipe = LastLayerLaplace(sampleCount: 8)
    let one = try await recipe.fit(training: training, validation: validation, in: .test(width: 1))
    let more = try await recipe.fit(training: training, validation: validation, in: .test(width: width))
    #expect(one == more)
  }

  @Test func binaryCurvatureIsThatOfTwoClasses() async throws {
    // One logit z is two logits 0 and z of which the first is certain: p(1 − p) is the same.
    let binary = ToyProblem(classCount: 2, likelihood: .binary).records()
    let factors = try await KroneckerFactors.gather(from: binary, in: .test())
    var expected = 0.0
    for logit in binary.records.exits[0].logits.elements {
      let p = 1 / (1 + Double.exp(-Double(logit)))
      expected += p * (1 - p)
    }
    expectClose(factors[0].output, Tensor(shape: [1, 1], [expected]), tolerance: 1e-12)
  }

  @Test func curvatureNeedsNoLabels() async throws {
    let labelled = ToyProblem().records()
    var records = labelled.records
    records.labels = nil
    let posterior = try await Self.fixed.fit(
      training: InMemoryExitRecords(records, description: labelled.description), validation: nil, in: .test())
    #expect(posterior.exits[0].logMarginalLikelihood == nil)
    #expect(posterior.exits[0].trainingAccuracy == nil)
  }

  @Test func saturatedCurvatureKeepsItsDigits() {
    // Here p₁ is 1 − 4e-18, which rounds to one, and p (1 − p) to zero.
    let curvature = Curvature(
      of: HeadRows(features: Tensor(zeros: [1, 1]), logits: Tensor(shape: [1, 2], [0, 40])), .categorical,
      on: backend)
    let factors = KroneckerFactors(curvature, likelihood: .categorical, hasLabels: false)
    expectClose(factors.output[0, 0] / Double.exp(-40), 1, tolerance: 1e-12)
  }

  // MARK: Closed forms

  @Test func exactKroneckerIsTheDenseCurvatureWhereItIsConstant() throws {
    // With zero weights every row has the same probabilities, and the Kronecker product is exact.
    let (rowCount, featureCount, classCount) = (30, 3, 4)
    let features: Tensor<Double> = RandomKey(seed: 2).normals([rowCount, featureCount])
    let logits = Tensor<Double>(
      shape: [rowCount, classCount], (0..<rowCount).flatMap { _ in [0.3, -1, 0.8, 0] })
    let factors = KroneckerFactors(
      Curvature(of: HeadRows(features: features, logits: logits), .categorical, on: backend),
      likelihood: .categorical, hasLabels: false)
    let spectrum = try factors.spectrum(form: .folded, hasBias: true, on: backend)
    let priorPrecision = 0.3

    let p = softmax(logits.rows(0..<1))
    let inputCount = featureCount + 1
    let order = classCount * inputCount
    var precision = Tensor<Double>(zeros: [order, order])
    for index in 0..<order { precision[index, index] = priorPrecision }
    let inputs = (0..<rowCount).map { row in (0..<featureCount).map { features[row, $0] } + [1] }
    for a in inputs {
      for i in 0..<classCount {
        for j in 0..<classCount {
          let h = (i == j ? p[i] : 0) - p[i] * p[j]
          for k in 0..<inputCount {
            for l in 0..<inputCount { precision[i * inputCount + k, j * inputCount + l] += h * a[k] * a[l] }
          }
        }
      }
    }
    let lower = try backend.cholesky(precision)
    let input = inputs[5]
    var jacobian = Tensor<Double>(zeros: [order, classCount])
    for i in 0..<classCount { for k in 0..<inputCount { jacobian[i * inputCount + k, i] = input[k] } }
    let half = backend.triangularSolution(lower, transposed: false, jacobian)
    let dense = backend.product(half, half, transposing: .first)
    let variances = spectrum.spectralVariances(
      features: features.rows(5..<6), priorPrecision: priorPrecision, on: backend)
    expectClose(
      spectrum.covariance(spectralVariances: variances.reshaped(to: [classCount])), dense, tolerance: 1e-12)
  }

  @Test func factoredFormIsNeverWiderThanTheFoldedOne() async throws {
    let factors = try await KroneckerFactors.gather(from: ToyProblem().records(), in: .test())[0]
    let folded = try factors.spectrum(form: .folded, hasBias: true, on: backend)
    let factored = try factors.spectrum(form: .factored, hasBias: true, on: backend)
    let features: Tensor<Double> = RandomKey(seed: 4).normals([50, 5])
    for priorPrecision in [1e-4, 0.1, 1, 100] {
      let wide = folded.spectralVariances(features: features, priorPrecision: priorPrecision, on: backend)
      let narrow = factored.spectralVariances(features: features, priorPrecision: priorPrecision, on: backend)
      for position in 0..<wide.count { #expect(narrow[position] <= wide[position] * (1 + 1e-12)) }
    }
  }

  @Test func formsAgreeWithoutBias() async throws {
    let factors = try await KroneckerFactors.gather(from: ToyProblem(hasBias: false).records(), in: .test())[
      0]
    let features: Tensor<Double> = RandomKey(seed: 4).normals([5, 5])
    let variances = try [KroneckerForm.kronecker, .folded].map {
      try factors.spectrum(form: $0, hasBias: false, on: backend).spectralVariances(
        features: features, priorPrecision: 0.5, on: backend)
    }
    #expect(variances[0] == variances[1])
  }

  @Test(arguments: KroneckerForm.allCases, [true, false])
  func marginalLikelihoodHasItsDerivative(form: KroneckerForm, hasBias: Bool) async throws {
    let factors = try await KroneckerFactors.gather(
      from: ToyProblem(hasBias: hasBias).records(), in: .test())[0]
    let spectrum = try factors.spectrum(form: form, hasBias: hasBias, on: backend)
    let curve = MarginalLikelihood(curvature: spectrum, logLikelihood: -100, squaredNorm: 13)
    let step = 1e-5
    for logarithm in [-6.0, -1, 0, 3] {
      let central =
        (curve(priorPrecision: Double.exp(logarithm + step))
          - curve(priorPrecision: Double.exp(logarithm - step)))
        / (2 * step)
      // Central differences keep about half the digits.
      expectClose(curve.derivative(priorPrecision: Double.exp(logarithm)), central, tolerance: 1e-6)
    }
    let maximum = try curve.maximum().priorPrecision
    for factor in [0.5, 0.99, 1.01, 2] {
      #expect(curve(priorPrecision: maximum) >= curve(priorPrecision: maximum * factor))
    }
  }

  @Test func marginalLikelihoodOfZeroWeightsIsRefused() async throws {
    let factors = try await KroneckerFactors.gather(from: ToyProblem().records(), in: .test())[0]
    let spectrum = try factors.spectrum(form: .kronecker, hasBias: true, on: backend)
    let curve = MarginalLikelihood(curvature: spectrum, logLikelihood: -100, squaredNorm: 0)
    #expect { try curve.maximum() } throws: { "\($0)".contains("has no maximum") }
  }

  // MARK: Draws

  @Test(arguments: [(50, 10), (50, 1), (12, 11), (60, 25)])
  func whitenedDrawsHaveExactMoments(count: Int, dimension: Int) throws {
    let draws = try NormalDraws.whitened(
      count: count, dimension: dimension, key: RandomKey(seed: 6), on: backend)
    #expect(draws.shape == [count, dimension])
    let rounding = 1e-12
    let ones = Tensor<Double>(repeating: 1 / Double(count), shape: [1, count])
    expectClose(backend.product(ones, draws), Tensor(zeros: [1, dimension]), tolerance: rounding)
    var identity = Tensor<Double>(zeros: [dimension, dimension])
    for k in 0..<dimension { identity[k, k] = 1 }
    expectClose(
      backend.product(draws, draws, transposing: .first).map { $0 / Double(count) }, identity,
      tolerance: rounding)
  }

  @Test func tooFewDrawsComeInPairs() throws {
    let draws = try NormalDraws.whitened(count: 5, dimension: 8, key: RandomKey(seed: 6), on: backend)
    #expect(draws.shape == [6, 8])
    for draw in 0..<3 { for k in 0..<8 { #expect(draws[draw, k] == -draws[draw + 3, k]) } }
  }

  @Test(arguments: KroneckerForm.allCases)
  func drawsOfLogitsHaveTheClosedFormsMoments(form: KroneckerForm) async throws {
    let records = ToyProblem().records()
    let temperature = 1.7
    let posterior = try await LastLayerLaplace(
      structure: LaplaceStructure(form), priorPrecision: .fixed(0.7), temperature: .fixed(temperature)
    ).fit(training: records, validation: nil, in: .test())
    let few = records.records.rows(Array(0..<6))
    let prediction = try posterior.predictor(for: records.description, in: .test()).predict(few)[0]
    #expect(prediction.logits.shape == [50, 6, 3])
    for row in 0..<6 {
      let exit = few.exits[0]
      let features = try #require(exit.features).rows(row..<row + 1).converted(to: Double.self)
      let expected = posterior.exits[0].logitCovariance(features: features.reshaped(to: [5]), on: backend)
      var mean = [0.0, 0, 0]
      var square = Tensor<Double>(zeros: [3, 3])
      func logit(_ sample: Int, _ k: Int) -> Double {
        Double(prediction.logits[(sample * 6 + row) * 3 + k]) * temperature
      }
      for sample in 0..<50 { for k in 0..<3 { mean[k] += logit(sample, k) / 50 } }
      for sample in 0..<50 {
        for k in 0..<3 {
          for l in 0..<3 { square[k, l] += (logit(sample, k) - mean[k]) * (logit(sample, l) - mean[l]) / 50 }
        }
      }
      // Whitening makes the sample's moments exact; draws are kept in single precision.
      let singlePrecision = 1e-5
      expectClose(square, expected, tolerance: singlePrecision)
      for k in 0..<3 { expectClose(mean[k], Double(exit.logits[row, k]), tolerance: singlePrecision) }
    }
  }

  // MARK: Predictions

  // The normalised bridge is surest where there is no variance.
  @Test(arguments: LaplacePredictive.allCases.filter { $0 != .normalizedBridge }, [Likelihood.categorical, .binary])
  func withoutVarianceThePredictionIsTheNetworks(predictive: LaplacePredictive, likelihood: Likelihood)
    async throws
  {
    let records = ToyProblem(classCount: 2, likelihood: likelihood).records()
    let posterior = try await LastLayerLaplace(
      predictive: predictive, priorPrecision: .fixed(1e14), temperature: .fixed(1)
    ).fit(training: records, validation: nil, in: .test())
    let prediction = try posterior.predictor(for: records.description, in: .test()).predict(records.records)[
      0]
    let logits = records.records.exits[0].logits
    let network = Prediction(
      logits: logits.reshaped(to: [1, logits.shape[0], logits.shape[1]]), likelihood: likelihood, exit: 0)
    expectClose(prediction.probabilities(), network.probabilities(), tolerance: 1e-6)
  }

  @Test func commonShiftOfTheNoiseChangesNothing() throws {
    let means: Tensor<Double> = RandomKey(seed: 1).normals([4, 3])
    let draws: Tensor<Double> = RandomKey(seed: 2).normals([10, 3])
    var basis = Tensor<Double>(zeros: [3, 3])
    for k in 0..<3 { basis[k, k] = 1 }
    let logits = try logitDraws(
      means: means, spectralVariances: Tensor(repeating: 1, shape: [4, 3]), draws: draws, basis: basis,
      on: backend)
    var shifted = logits
    for row in 0..<logits.rowCount { for k in 0..<3 { shifted[row, k] += Double(row) } }
    let temperatures = [0.5, 1, 2]
    let labels = [0, 1, 2, 0]
    let sums = negativeLogLikelihoodSums(
      ofLogits: logits, labels: labels, .categorical, temperatures: temperatures)
    let shiftedSums = negativeLogLikelihoodSums(
      ofLogits: shifted, labels: labels, .categorical, temperatures: temperatures)
    for (a, b) in zip(sums, shiftedSums) { expectClose(a, b, tolerance: 1e-12) }
  }

  @Test func probitAgreesWithDrawsForBinaryExits() async throws {
    let records = ToyProblem(rowCount: 60, classCount: 2, likelihood: .binary).records()
    func probabilities(_ predictive: LaplacePredictive, draws: Int) async throws -> Tensor<Double> {
      try await LastLayerLaplace(
        predictive: predictive, sampleCount: draws, priorPrecision: .fixed(0.1), temperature: .fixed(1)
      ).fit(training: records, validation: nil, in: .test())
        .predictor(for: records.description, in: .test()).predict(records.records)[0].probabilities()
    }
    // MacKay's approximation is known to be within 0.02 of the integral.
    expectClose(
      try await probabilities(.probit, draws: 2), try await probabilities(.whitened, draws: 4000),
      tolerance: 0.02)
  }

  @Test func blocksOfRowsChangeNoBit() async throws {
    let records = ToyProblem(rowCount: 64, exitCount: 2).records()
    let posterior = try await Self.fixed.fit(training: records, validation: nil, in: .test())
    let predictor = try posterior.predictor(for: records.description, in: .test())
    let whole = try predictor.predict(records.records)
    let part = try predictor.predict(records.records.rows(Array(20..<30)))
    for exit in 0..<2 {
      #expect(whole[exit].exit == exit)
      for sample in 0..<50 {
        for position in 0..<30 {
          #expect(
            part[exit].logits[sample * 30 + position] == whole[exit].logits[(sample * 64 + 20) * 3 + position]
          )
        }
      }
    }
    #expect(predictor.blocks(of: records.records) == [records.records])
    #expect(try predictor.predict(records.records, exit: 1) == whole[1])
  }

  @Test func manyDrawsAreMadeInBlocksOfRows() async throws {
    let records = ToyProblem(rowCount: 60, exitCount: 2).records()
    let posterior = try await LastLayerLaplace(
      sampleCount: 20_000, priorPrecision: .fixed(1), temperature: .fixed(1)
    ).fit(training: records, validation: nil, in: .test())
    let predictor = try posterior.predictor(for: records.description, in: .test())
    // 64 MiB over twenty bytes for each of 60,000 logits a row.
    // Of these 55 rows two whole tiles.
    #expect(predictor.blockRowCount == 48)
    #expect(
      predictor.blocks(of: records.records)
        == [records.records.rows(Array(0..<48)), records.records.rows(Array(48..<60))])
  }

  @Test func noRowsGiveAnEmptyPrediction() async throws {
    let records = ToyProblem().records()
    let posterior = try await Self.fixed.fit(training: records, validation: nil, in: .test())
    let predictor = try posterior.predictor(for: records.description, in: .test())
    #expect(try predictor.predict(records.records.rows([]))[0].rowCount == 0)
  }
}
