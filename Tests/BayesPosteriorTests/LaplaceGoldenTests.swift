import BayesPosterior
import BayesTensor
import Testing
import _BayesTestSupport

/// Heads whose posterior laplace-torch, and NumPy with dense matrices, computed in double precision.
struct LaplaceGoldenTests {
  static let heads = ["sines"] + (1...6).map { "random-\($0)" }
  static let forms: [(file: String, form: KroneckerForm)] = [
    ("kron", .kronecker), ("folded", .folded), ("factored", .factored),
  ]

  let backend = ReferenceBackend()

  @Test(arguments: forms.map(\.file), heads)
  func posteriorIsThatOfDenseMatrices(file: String, head: String) throws {
    let form = try #require(Self.forms.first { $0.file == file }).form
    let golden = try GoldenValue(contentsOf: "Laplace/\(file)-\(head).json")
    let test = golden["test"]
    let factors = factors(golden)
    let spectrum = try factors.spectrum(form: form, hasBias: true, on: backend)
    let priorPrecision = golden["priorPrecision"].number

    let variances = spectrum.spectralVariances(
      features: test["features"].tensor(), priorPrecision: priorPrecision, on: backend)
    let covariances = (0..<variances.rowCount).map { row in
      spectrum.covariance(
        spectralVariances: variances.rows(row..<row + 1).reshaped(to: [spectrum.logitCount]))
    }
    // A dense solve of a matrix with condition number 1e5 leaves about eleven digits.
    expectClose(
      Tensor.stacking(covariances),
      test["covariance"].tensor().reshaped(
        to: [variances.rowCount * spectrum.logitCount, spectrum.logitCount]), tolerance: 1e-10)
    let logits = probitLogits(
      means: test["logits"].tensor(),
      variances: spectrum.logitVariances(spectralVariances: variances, on: backend), temperature: 1)
    expectClose(softmax(logits), test["probit"].tensor(), tolerance: 1e-12)

    let marginalLikelihood = marginalLikelihood(golden, factors, spectrum)
    expectClose(try #require(factors.logLikelihood), golden["logLikelihood"].number, tolerance: 1e-13)
    expectClose(
      marginalLikelihood(priorPrecision: priorPrecision), golden["logMarginalLikelihood"].number,
      tolerance: 1e-11)
  }

  @Test(arguments: heads)
  func factorsAndAdamAreThoseOfLaplaceTorch(head: String) throws {
    let golden = try GoldenValue(contentsOf: "Laplace/kron-\(head).json")
    let factors = factors(golden)
    let spectrum = try factors.spectrum(form: .kronecker, hasBias: true, on: backend)
    expectClose(factors.output, golden["B"].tensor(), tolerance: 1e-13)
    let a: Tensor<Double> = golden["A"].tensor()
    for row in 0..<a.rowCount {
      for column in 0..<a.rowCount {
        expectClose(factors.input[row, column], a[row, column], tolerance: 1e-13)
      }
    }
    expectClose(
      spectrum.logDeterminantRatio(priorPrecision: golden["priorPrecision"].number),
      golden["logDetRatio"].number, tolerance: 1e-12)
    let marginalLikelihood = marginalLikelihood(golden, factors, spectrum)
    // A hundred steps add up the rounding of two programs.
    expectClose(
      marginalLikelihood.priorPrecisionByAdam(), golden["optimised"]["priorPrecision"].number,
      tolerance: 1e-10)
  }

  private func factors(_ golden: GoldenValue) -> KroneckerFactors {
    KroneckerFactors(
      Curvature(
        of: HeadRows(
          features: golden["features"].tensor(), logits: golden["logits"].tensor(),
          labels: golden["labels"]["values"].numbers.map { Int($0) }), .categorical, on: backend),
      likelihood: .categorical, hasLabels: true)
  }

  private func marginalLikelihood(
    _ golden: GoldenValue, _ factors: KroneckerFactors, _ spectrum: KroneckerSpectrum
  ) -> MarginalLikelihood {
    let parameters = golden["weight"]["values"].numbers + golden["bias"]["values"].numbers
    return MarginalLikelihood(
      curvature: spectrum, logLikelihood: factors.logLikelihood ?? .nan,
      squaredNorm: parameters.reduce(0) { $0 + $1 * $1 })
  }
}
