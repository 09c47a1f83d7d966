import BayesKernels
import BayesNetwork
@testable import BayesPosterior
import BayesPrediction
import BayesTensor
import RealModule
import Synchronization
import Testing
import _BayesTestSupport

/// What laplace-torch 0.3 was seen to get wrong, and what other tests here do not cover.
struct LaplaceTorchDefectTests {
  let backend: NativeBackend
  let context: ExecutionContext

  init() throws {
    backend = try NativeBackend()
    context = ExecutionContext(backend: backend, key: RandomKey(seed: 5))
  }

  // MARK: Damping

  /// Damping was a flag that sums of curvatures, and curvatures times a number, had lost: with it and without, the
  /// posterior was the same.
  @Test func dampingSurvivesSumsAndFiles() async throws {
    let (rowCount, priorPrecision) = (60, 0.7)
    let all = ToyProblem(rowCount: rowCount).records()
    func part(_ rows: Range<Int>) -> InMemoryExitRecords {
      InMemoryExitRecords(all.records.rows(rows), description: all.description)
    }
    func variances(_ structure: LaplaceStructure) async throws -> Tensor<Double> {
      let recipe = LastLayerLaplace(
        structure: structure, priorPrecision: .fixed(priorPrecision), temperature: .fixed(1))
      let (first, both) = (MemoryArchive(), MemoryArchive())
      try await recipe.fit(training: part(0..<25), validation: nil, in: context).write(to: first)
      try await recipe.fit(
        training: part(25..<rowCount), validation: nil, continuing: LastLayerLaplacePosterior(from: first),
        in: context
      ).write(to: both)
      return try LastLayerLaplacePosterior(from: both).exits[0].logitVariances(
        features: Self.features, on: backend)
    }

    // (U + √δ I) ⊗ (V + √δ I) from the rows themselves.
    let p = softmax(all.records.exits[0].logits.converted(to: Double.self))
    let phi = try #require(all.records.exits[0].features).converted(to: Double.self)
    var u = Tensor<Double>(zeros: [3, 3])
    var v = Tensor<Double>(zeros: [6, 6])
    let scale = Double(rowCount).squareRoot() / Double(rowCount)
    for row in 0..<rowCount {
      let a = (0..<5).map { phi[row, $0] } + [1]
      for k in 0..<3 { for l in 0..<3 { u[k, l] += scale * ((k == l ? p[row, k] : 0) - p[row, k] * p[row, l]) } }
      for d in 0..<6 { for e in 0..<6 { v[d, e] += scale * a[d] * a[e] } }
    }
    for k in 0..<3 { u[k, k] += priorPrecision.squareRoot() }
    for d in 0..<6 { v[d, d] += priorPrecision.squareRoot() }
    func inverse(_ matrix: Tensor<Double>) throws -> Tensor<Double> {
      let identity = diagonalMatrix([Double](repeating: 1, count: matrix.rowCount))
      let half = backend.triangularSolution(try backend.cholesky(matrix), transposed: false, identity)
      return backend.product(half, half, transposing: .first)
    }
    let (uInverse, vInverse) = (try inverse(u), try inverse(v))
    let damped = try await variances(.factored)
    for row in 0..<Self.features.rowCount {
      let a = (0..<5).map { Self.features[row, $0] } + [1]
      var square = 0.0
      for d in 0..<6 { for e in 0..<6 { square += a[d] * vInverse[d, e] * a[e] } }
      for k in 0..<3 { expectClose(damped[row, k], square * uInverse[k, k], tolerance: 1e-10) }
    }
    let exact = try await variances(.folded)
    for position in 0..<damped.count { #expect(damped[position] < 0.99 * exact[position]) }
  }

  static let features: Tensor<Double> = RandomKey(seed: 9).normals([4, 5])

  // MARK: Privacy

  /// A posterior kept the first batch of training rows.
  @Test(arguments: LaplaceStructure.allCases)
  func noNumberOfARowIsInAFile(structure: LaplaceStructure) async throws {
    func rows(_ count: Int, seed: UInt64) -> InMemoryExitRecords {
      ToyProblem(rowCount: count, exitCount: 2, seed: seed).records()
    }
    func archive(_ training: InMemoryExitRecords, _ validation: InMemoryExitRecords) async throws -> MemoryArchive {
      let archive = MemoryArchive()
      try await LastLayerLaplace(structure: structure, sampleCount: 8, priorPrecision: .fixed(1)).fit(
        training: training, validation: validation, in: context
      ).write(to: archive)
      return archive
    }
    let (training, validation) = (rows(83, seed: 7), rows(31, seed: 8))
    let written = try await archive(training, validation)
    var numbers: Set<Double> = []
    for exit in training.records.exits + validation.records.exits {
      for tensor in [exit.features, exit.logits].compactMap({ $0 }) {
        numbers.formUnion(tensor.elements.lazy.map { Double($0) })
      }
    }
    #expect(numbers.count > 1000)
    for entry in written.entries {
      let values = try written.read(entry.path, rows: nil, as: Double.self)
      #expect(!values.elements.contains { numbers.contains($0) }, "\(entry.path)")
    }
    // Ten times the rows give no larger a file, but for the trail of another search and another rank.
    guard structure != .lowRank else { return }
    let larger = try await archive(rows(830, seed: 7), rows(310, seed: 8))
    for (one, other) in zip(written.entries, larger.entries) where !one.path.hasSuffix("trail") {
      #expect(one.path == other.path && one.shape == other.shape)
    }
  }

  // MARK: One logit

  /// Class probabilities of a single logit were one, whatever the input.
  @Test(arguments: LaplacePredictive.allCases)
  func oneLogitSaysYesAndNo(predictive: LaplacePredictive) async throws {
    let records = ToyProblem(rowCount: 40, classCount: 2, likelihood: .binary).records()
    let probabilities = try await LastLayerLaplace(
      predictive: predictive, priorPrecision: .fixed(1), temperature: .fixed(1)
    ).fit(training: records, validation: nil, in: context)
      .predictor(for: records.description, in: context).predict(records.records)[0].probabilities()
    for row in 0..<40 {
      let logit = records.records.exits[0].logits[row, 0]
      let yes = probabilities[row, 1]
      #expect(yes > 0 && yes < 1)
      // Near zero draws may tip a row over.
      if abs(logit) > 0.5 { #expect((yes > 0.5) == (logit > 0)) }
    }
  }

  // MARK: Saturation

  /// The bridges gave rows of ones for saturated logits of single precision.
  @Test(
    arguments: [LaplacePredictive.bridge, .normalizedBridge], [LaplaceStructure.kronecker, .full, .diagonal])
  func saturatedRecordsKeepADistribution(predictive: LaplacePredictive, structure: LaplaceStructure) async throws {
    for scale in [100.0, 1e4, 1e6] {
      let records = ToyProblem(rowCount: 40, scale: scale).records()
      let prediction = try await LastLayerLaplace(
        structure: structure, predictive: predictive, priorPrecision: .fixed(1e-3), temperature: .fixed(1)
      ).fit(training: records, validation: nil, in: context)
        .predictor(for: records.description, in: context).predict(records.records)[0]
      let probabilities = prediction.probabilities()
      for row in 0..<40 {
        var sum = 0.0
        for k in 0..<3 {
          #expect(probabilities[row, k] >= 0 && probabilities[row, k] <= 1)
          sum += probabilities[row, k]
        }
        expectClose(sum, 1, tolerance: 1e-12)
      }
      let split = prediction.uncertaintySplit()
      for tensor in [split.total, split.aleatoric, split.epistemic] {
        #expect(tensor.elements.allSatisfy { $0 >= 0 && $0 <= Double.log(3) + 1e-12 })
      }
    }
  }

  // MARK: Variances alone

  /// The option for diagonals did not reach the fast path, so that whole covariances were computed.
  @Test(arguments: LaplaceStructure.allCases)
  func probitMakesNoMatrixARow(structure: LaplaceStructure) async throws {
    let records = ToyProblem(rowCount: 64).records()
    func products(_ predictive: LaplacePredictive, rows: Int) async throws -> Int {
      let posterior = try await LastLayerLaplace(
        structure: structure, predictive: predictive, priorPrecision: .fixed(1), temperature: .fixed(1)
      ).fit(training: records, validation: nil, in: context)
      let watched = WatchedBackend(base: backend)
      let predictor = try posterior.predictor(
        for: records.description, in: ExecutionContext(backend: watched, key: RandomKey(seed: 5)))
      _ = try predictor.predict(records.records.rows(Array(0..<rows)))
      return watched.record.productCount.withLock { $0 }
    }
    #expect(try await products(.probit, rows: 64) == products(.probit, rows: 4))
    // Pairs of logits need every row's own matrix, so that the count would show one.
    if structure != .diagonal {
      #expect(try await products(.meanField, rows: 64) >= 64)
    }
  }

  // MARK: Failing decompositions

  /// A decomposition that failed ended the program.
  @Test(arguments: LaplaceStructure.allCases.filter { $0 != .diagonal })
  func failedDecompositionIsAnError(structure: LaplaceStructure) async throws {
    let records = ToyProblem(rowCount: 40).records()
    let failing = ExecutionContext(backend: WatchedBackend(base: backend, decomposes: false), key: RandomKey(seed: 5))
    let error = await #expect(throws: NumericalError.self) {
      try await LastLayerLaplace(structure: structure, priorPrecision: .fixed(1), temperature: .fixed(1)).fit(
        training: records, validation: nil, in: failing)
    }
    #expect(error?.code == .notConverged)
  }

  /// Eigenvectors that were no numbers became zeros, and the posterior a wrong one.
  @Test(arguments: [LaplaceStructure.full, .kronecker, .folded, .factored])
  func overflowingCurvatureIsAnError(structure: LaplaceStructure) throws {
    let rows = HeadRows(
      features: Tensor(repeating: 1e200, shape: [3, 2]), logits: Tensor(shape: [3, 2], [0, 1, 1, 0, 0, 0]))
    let sums = Curvature(structure, of: rows, .categorical, on: backend)
    let error = #expect(throws: NumericalError.self) {
      try sums.exitCurvature(structure, likelihood: .categorical, hasBias: true, logitCount: 2, on: backend)
    }
    #expect(error?.code == .notFinite)
  }

  // MARK: Batch normalisation

  /// All weights of a network with batch normalisation were an exception.
  @Test(arguments: WeightStructure.allCases)
  func weightsAroundBatchNormalisation(structure: WeightStructure) async throws {
    var builder = NetworkBuilder(input: [4])
    builder.add(Dense(units: 5))
    builder.add(BatchNormalization(epsilon: 1e-3))
    builder.add(Activation(.tanh))
    builder.add(Dense(units: 3))
    let frozen = try builder.frozen()
    let inputs: Tensor<Double> = RandomKey(seed: 3).normals([12, 4])
    let test: Tensor<Double> = RandomKey(seed: 4).normals([2, 4])
    let priorPrecision = 0.7
    let found = try await covariances(structure, frozen, priorPrecision, inputs, test)

    // Derivatives by differences: they know nothing of layers.
    let (firstCount, hiddenCount, logitCount) = (25, 5, 3)
    let width = firstCount + 18
    let jacobian = try differences(frozen, at: inputs)
    let logits = frozen.network.outputs(
      of: [4], for: inputs, parameters: frozen.parameters, on: backend)[0]
    let p = softmax(logits)
    func fisher(_ row: Int, _ k: Int, _ l: Int) -> Double { (k == l ? p[row, k] : 0) - p[row, k] * p[row, l] }
    var precision = diagonalMatrix([Double](repeating: priorPrecision, count: width))
    func addSquares(_ columns: Range<Int>, _ other: Range<Int>, to matrix: inout Tensor<Double>, at offset: Int) {
      for row in 0..<12 {
        for k in 0..<logitCount {
          for l in 0..<logitCount {
            let weight = fisher(row, k, l)
            for (i, column) in columns.enumerated() {
              for (j, otherColumn) in other.enumerated() {
                matrix[offset + i, offset + j] += weight * jacobian[row * logitCount + k, column]
                  * jacobian[row * logitCount + l, otherColumn]
              }
            }
          }
        }
      }
    }
    switch structure {
    case .full: addSquares(0..<width, 0..<width, to: &precision, at: 0)
    case .diagonal: for column in 0..<width { addSquares(column..<column + 1, column..<column + 1, to: &precision, at: column) }
    case .kronecker:
      // What the layers' biases do is what their outputs do; the last layer's inputs are what its weights do.
      let hidden = Tensor<Double>(
        shape: [12, hiddenCount],
        (0..<12 * hiddenCount).map { jacobian[$0 / hiddenCount * logitCount, firstCount + $0 % hiddenCount * logitCount] })
      for (a, outputs, offset) in [(inputs, hiddenCount, 0), (hidden, logitCount, firstCount)] {
        let biasStart = offset + a.shape[1] * outputs
        var b = Tensor<Double>(zeros: [outputs, outputs])
        addSquares(biasStart..<biasStart + outputs, biasStart..<biasStart + outputs, to: &b, at: 0)
        for i in 0..<a.shape[1] {
          for j in 0..<a.shape[1] {
            var mean = 0.0
            for row in 0..<12 { mean += a[row, i] * a[row, j] / 12 }
            for o in 0..<outputs {
              for q in 0..<outputs { precision[offset + i * outputs + o, offset + j * outputs + q] += mean * b[o, q] }
            }
          }
        }
        for o in 0..<outputs { for q in 0..<outputs { precision[biasStart + o, biasStart + q] += b[o, q] } }
      }
    }
    let testJacobian = try differences(frozen, at: test)
    let half = backend.triangularSolution(
      try backend.cholesky(precision), transposed: false, testJacobian.transposed())
    let expected = backend.product(half, half, transposing: .first)
    for row in 0..<2 {
      for k in 0..<logitCount {
        for l in 0..<logitCount {
          expectClose(
            found[row][k, l], expected[row * logitCount + k, row * logitCount + l], tolerance: 1e-6, "\(row) \(k) \(l)")
        }
      }
    }
  }

  /// The covariances of some rows' logits under a posterior over all weights.
  private func covariances(
    _ structure: WeightStructure, _ frozen: FrozenNetwork, _ priorPrecision: Double, _ inputs: Tensor<Double>,
    _ test: Tensor<Double>
  ) async throws -> [Tensor<Double>] {
    let exit = frozen.network.exits[0]
    let rows = LabelledRows(file: "memory", rowCount: inputs.rowCount) { (inputs.rows($0), nil) }
    let posterior = try await WeightLaplace(structure: structure, priorPrecision: .fixed(priorPrecision)).fit(
      frozen, exit: exit, .categorical, training: rows, in: context
    ).exit
    let jacobian = try WeightJacobian(frozen, exit: exit, layers: posterior.layers, at: test, on: backend)
    let covariance = posterior.covariances(
      of: jacobian, priorPrecisions: [posterior.priorPrecisions], on: backend)[0]
    return (0..<test.rowCount).map { covariance.matrix($0, on: backend) }
  }

  /// The derivatives of all logits with respect to the weights and biases of the two dense layers, by central
  /// differences of two steps, whose errors of second order cancel.
  ///
  /// - Shapes: inputs `[rows, 4]` to `[rows · 3, 43]`.
  private func differences(_ frozen: FrozenNetwork, at inputs: Tensor<Double>) throws -> Tensor<Double> {
    let network = frozen.network
    let exit = network.exits[0].logits
    var columns: [[Double]] = []
    for node in [1, 4] {
      for spec in network.parameterSpecs(of: node) {
        let value = try #require(frozen.parameters[spec.path])
        for position in 0..<value.count {
          func slope(_ step: Float) -> [Double] {
            func logits(_ step: Float) -> (at: Double, values: Tensor<Double>) {
              var (moved, parameters) = (value, frozen.parameters)
              moved[position] += step
              parameters[spec.path] = moved
              return (
                Double(moved[position]),
                network.outputs(of: [exit], for: inputs, parameters: parameters, on: backend)[0]
              )
            }
            let (above, below) = (logits(step), logits(-step))
            return zip(above.values.elements, below.values.elements).map { ($0 - $1) / (above.at - below.at) }
          }
          columns.append(zip(slope(1 / 128), slope(1 / 256)).map { (4 * $1 - $0) / 3 })
        }
      }
    }
    return Tensor<Double>(
      shape: [columns[0].count, columns.count],
      columns[0].indices.flatMap { line in columns.map { $0[line] } })
  }
}

/// A backend that counts products, and whose decompositions may fail.
struct WatchedBackend: Backend {
  final class Record: Sendable {
    let productCount = Mutex(0)
  }

  let base: NativeBackend
  var decomposes = true
  let record = Record()

  init(base: NativeBackend, decomposes: Bool = true) {
    self.base = base
    self.decomposes = decomposes
  }

  var name: String { "watched" }

  func product<Scalar: TensorScalar>(_ a: Tensor<Scalar>, _ b: Tensor<Scalar>, transposing: Transposition)
    -> Tensor<Scalar>
  {
    record.productCount.withLock { $0 += 1 }
    return base.product(a, b, transposing: transposing)
  }

  func convolution<Scalar: TensorScalar>(
    _ input: Tensor<Scalar>, weight: Tensor<Scalar>, bias: Tensor<Scalar>?, groups: Int, _ geometry: WindowGeometry
  ) -> Tensor<Scalar> {
    base.convolution(input, weight: weight, bias: bias, groups: groups, geometry)
  }

  func pooling<Scalar: TensorScalar>(_ input: Tensor<Scalar>, _ kind: PoolingKind, _ geometry: WindowGeometry)
    -> Tensor<Scalar>
  {
    base.pooling(input, kind, geometry)
  }

  func convolutionInputGradient<Scalar: TensorScalar>(
    _ cotangent: Tensor<Scalar>, weight: Tensor<Scalar>, inputShape: Shape, groups: Int, _ geometry: WindowGeometry
  ) -> Tensor<Scalar> {
    base.convolutionInputGradient(cotangent, weight: weight, inputShape: inputShape, groups: groups, geometry)
  }

  func convolutionWeightGradient<Scalar: TensorScalar>(
    _ cotangent: Tensor<Scalar>, input: Tensor<Scalar>, groups: Int, _ geometry: WindowGeometry
  ) -> Tensor<Scalar> {
    base.convolutionWeightGradient(cotangent, input: input, groups: groups, geometry)
  }

  func poolingInputGradient<Scalar: TensorScalar>(
    _ cotangent: Tensor<Scalar>, input: Tensor<Scalar>, _ kind: PoolingKind, _ geometry: WindowGeometry
  ) -> Tensor<Scalar> {
    base.poolingInputGradient(cotangent, input: input, kind, geometry)
  }

  func cholesky(_ matrix: Tensor<Double>) throws(NumericalError) -> Tensor<Double> { try base.cholesky(matrix) }

  func symmetricEigen(_ matrix: Tensor<Double>) throws(NumericalError) -> SymmetricEigen {
    guard decomposes else { throw NumericalError(.notConverged, "The eigenvalues could not be found.") }
    return try base.symmetricEigen(matrix)
  }

  func triangularSolution(_ lower: Tensor<Double>, transposed: Bool, _ b: Tensor<Double>) -> Tensor<Double> {
    base.triangularSolution(lower, transposed: transposed, b)
  }
}
