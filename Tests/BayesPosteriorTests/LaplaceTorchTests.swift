import BayesPosterior
import BayesTensor
import Testing
import _BayesTestSupport

/// Numbers printed by laplace-torch 0.3 (`LLLaplace`, Kronecker, float64) for `TinyNetwork`.
struct LaplaceTorchTests {
  /// Ten digits are known.
  static let printed = 1e-10

  let backend = ReferenceBackend()

  func factors() -> KroneckerFactors {
    KroneckerFactors(
      Curvature(
        of: HeadRows(
          features: TinyNetwork.trainingFeatures, logits: TinyNetwork.logits(TinyNetwork.trainingFeatures),
          labels: TinyNetwork.labels), .categorical, on: backend),
      likelihood: .categorical, hasLabels: true)
  }

  func marginalLikelihood() throws -> MarginalLikelihood {
    let factors = factors()
    return MarginalLikelihood(
      curvature: try factors.spectrum(form: .kronecker, hasBias: true, on: backend),
      logLikelihood: try #require(factors.logLikelihood), squaredNorm: TinyNetwork.squaredNorm)
  }

  @Test func logitsAndLikelihoodAreThose() throws {
    expectClose(
      TinyNetwork.logits(TinyNetwork.testFeatures),
      Tensor(
        shape: [2, 3],
        [
          -0.2803191488459087, -0.05689658534279149, -0.020390517574041034, -0.42356928386338843,
          -1.1838692965814377, 1.7590714115237376,
        ]), tolerance: 1e-14)
    expectClose(try #require(factors().logLikelihood), -10.520156793302135, tolerance: 1e-14)
    expectClose(TinyNetwork.squaredNorm, 6.764532801734582, tolerance: 1e-14)
  }

  @Test func factorsAreThose() {
    let factors = factors()
    let eightDigits = 1e-8
    expectClose(
      factors.output,
      Tensor(
        shape: [3, 3],
        [
          1.51149294, -0.64572818, -0.86576476, -0.64572818, 1.09888601, -0.45315783, -0.86576476,
          -0.45315783, 1.31892259,
        ]), tolerance: eightDigits)
    let a = [
      0.37908937, -0.16079867, -0.21273158, -0.16079867, 0.19601839, -0.06240206, -0.21273158,
      -0.06240206, 0.31439804,
    ]
    for row in 0..<3 {
      for column in 0..<3 {
        expectClose(factors.input[row, column], a[row * 3 + column], tolerance: eightDigits)
      }
    }
  }

  @Test func marginalLikelihoodIsThat() throws {
    let marginalLikelihood = try marginalLikelihood()
    expectClose(marginalLikelihood(priorPrecision: 1), -16.21243630079387, tolerance: 1e-13)
    // The log-determinant ratio, from log Z = log-likelihood − ½ (ratio + scatter).
    let ratio = -2 * (marginalLikelihood(priorPrecision: 1) + 10.520156793302135) - 6.764532801734582
    expectClose(ratio, 4.62002621324888, tolerance: 1e-13)
  }

  @Test func adamEndsAtTheSamePriorPrecision() throws {
    let marginalLikelihood = try marginalLikelihood()
    let priorPrecision = marginalLikelihood.priorPrecisionByAdam()
    expectClose(priorPrecision, 0.5768094233, tolerance: Self.printed)
    expectClose(
      marginalLikelihood(priorPrecision: priorPrecision), -15.7478067553, tolerance: Self.printed)
  }

  @Test func maximumIsAtLeastAsHighAsAdams() throws {
    let marginalLikelihood = try marginalLikelihood()
    let maximum = try marginalLikelihood.maximum()
    #expect(!maximum.isLowest)
    #expect(
      marginalLikelihood(priorPrecision: maximum.priorPrecision)
        >= marginalLikelihood(priorPrecision: marginalLikelihood.priorPrecisionByAdam()))
    // Golden-section search finds a maximum to the square root of the precision.
    expectClose(marginalLikelihood.derivative(priorPrecision: maximum.priorPrecision), 0, tolerance: 1e-6)
  }

  @Test func covariancesAreThose() throws {
    let spectrum = try factors().spectrum(form: .kronecker, hasBias: true, on: backend)
    let variances = spectrum.spectralVariances(
      features: TinyNetwork.testFeatures, priorPrecision: 1, on: backend)
    let covariances = (0..<2).map {
      spectrum.covariance(spectralVariances: variances.rows($0..<$0 + 1).reshaped(to: [3]))
    }
    let first = [
      0.8512838821, 0.2745146704, 0.3114448897, 0.2745146704, 0.9205344775, 0.2421942943, 0.3114448897,
      0.2421942943, 0.8836042581,
    ]
    expectClose(covariances[0], Tensor(shape: [3, 3], first), tolerance: Self.printed)
    for (k, variance) in [1.8570139496, 2.0066735229, 1.9268624998].enumerated() {
      expectClose(covariances[1][k, k], variance, tolerance: Self.printed)
    }
  }

  @Test func probitProbabilitiesAreThose() throws {
    let spectrum = try factors().spectrum(form: .kronecker, hasBias: true, on: backend)
    let variances = spectrum.spectralVariances(
      features: TinyNetwork.testFeatures, priorPrecision: 1, on: backend)
    let logits = probitLogits(
      means: TinyNetwork.logits(TinyNetwork.testFeatures),
      variances: spectrum.logitVariances(spectralVariances: variances, on: backend), temperature: 1)
    expectClose(
      softmax(logits),
      Tensor(
        shape: [2, 3],
        [0.2884797089, 0.3502120349, 0.3613082562, 0.1476509788, 0.0840657728, 0.7682832484]),
      tolerance: Self.printed)
  }
}
