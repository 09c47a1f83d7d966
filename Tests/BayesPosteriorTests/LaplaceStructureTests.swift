import BayesKernels
import BayesPosterior
import BayesPrediction
import BayesTensor
import RealModule
import Testing
import _BayesTestSupport

/// Numbers of laplace-torch 0.3 for last layers, and exact answers.
struct LaplaceStructureTests {
  static let names = ["known", "known-regression", "pixels"] + (0..<30).map { $0 < 10 ? "0\($0)" : "\($0)" }
  static let structures: [(name: String, structure: LaplaceStructure)] = [
    ("full", .full), ("kron", .kronecker), ("diag", .diagonal),
  ]
  /// What both programs' rounding explains.
  static let relative = 1e-8

  let backend: NativeBackend
  let context: ExecutionContext

  init() throws {
    backend = try NativeBackend()
    context = ExecutionContext(backend: backend, key: RandomKey(seed: 5))
  }

  struct Head {
    let backend: NativeBackend
    let golden: GoldenValue
    let likelihood: Likelihood
    let rows: HeadRows

    init(_ name: String) throws {
      backend = try NativeBackend()
      golden = try GoldenValue(contentsOf: "Laplace/torch-\(name).json")
      likelihood = golden["likelihood"].text == "gaussian" ? .gaussian : .categorical
      rows = HeadRows(
        features: golden["features"].tensor(), logits: golden["logits"].tensor(),
        labels: likelihood == .categorical ? golden["labels"]["values"].numbers.map { Int($0) } : nil,
        targets: likelihood == .gaussian ? golden["targets"].tensor() : nil)
    }

    var logitCount: Int { rows.logits.shape[1] }

    func sums(_ structure: LaplaceStructure) -> Curvature {
      Curvature(structure, of: rows, likelihood, on: backend)
    }

    func curvature(_ structure: LaplaceStructure) throws -> any HeadCurvature {
      let sums = sums(structure)
      switch structure {
      case .full:
        return try FullCurvature(sums, likelihood: likelihood, hasBias: true, logitCount: logitCount, on: backend)
      case .diagonal: return DiagonalCurvature(sums, hasBias: true)
      default:
        return try KroneckerFactors(sums, likelihood: likelihood, hasLabels: true).spectrum(
          form: .kronecker, hasBias: true, on: backend)
      }
    }

    func evidence(_ structure: LaplaceStructure) throws -> MarginalLikelihood {
      let parameters = golden["weight"]["values"].numbers + golden["bias"]["values"].numbers
      let sums = sums(structure)
      return MarginalLikelihood(
        curvature: try curvature(structure), logLikelihood: sums[.logLikelihood],
        squaredNorm: parameters.reduce(0) { $0 + $1 * $1 },
        residuals: likelihood == .gaussian ? GaussianResiduals(sums, outputCount: logitCount) : nil)
    }
  }

  func expectRelative(_ actual: Double, _ expected: Double, _ comment: String) {
    #expect(abs(actual - expected) <= Self.relative * abs(expected), "\(comment): \(actual), expected \(expected)")
  }

  @Test(arguments: names)
  func numbersAreThoseOfLaplaceTorch(name: String) throws {
    let head = try Head(name)
    let (prior, noise) = (head.golden["priorPrecision"].number, head.golden["noise"].number)
    let test = head.golden["test"]
    let features: Tensor<Double> = test["features"].tensor()
    let means: Tensor<Double> = test["logits"].tensor()
    for (key, structure) in Self.structures {
      let golden = head.golden[key]
      let evidence = try head.evidence(structure)
      expectRelative(evidence.logLikelihood(noise: noise), golden["logLikelihood"].number, "\(name) \(key)")
      let curvature = try head.curvature(structure)
      expectRelative(
        curvature.logDeterminantRatio(priorPrecision: prior * noise * noise), golden["logDetRatio"].number,
        "\(name) \(key) ratio")
      expectRelative(
        evidence(priorPrecision: prior, noise: noise), golden["logMarginalLikelihood"].number, "\(name) \(key) evidence")

      let projection = curvature.projection(of: features, on: backend)
      let covariance = curvature.covariance(projection, priorPrecision: prior * noise * noise, on: backend)
      let k = head.logitCount
      let expected: Tensor<Double> = golden["covariance"].tensor()
      for row in 0..<features.rowCount {
        let matrix = covariance.matrix(row, on: backend).map { $0 * noise * noise }
        expectClose(
          matrix, expected.reshaped(to: [features.rowCount * k, k]).rows(row * k..<(row + 1) * k),
          tolerance: Self.relative, "\(name) \(key)")
      }
      expectClose(
        covariance.variances(on: backend),
        curvature.variances(projection, priorPrecision: prior * noise * noise, on: backend), tolerance: 1e-12)

      let adam = evidence.priorPrecisionByAdam(noise: noise)
      expectRelative(adam, golden["optimisedPriorPrecision"].number, "\(name) \(key) Adam")
      expectRelative(
        evidence(priorPrecision: adam, noise: noise), golden["optimisedLogMarginalLikelihood"].number,
        "\(name) \(key) Adam's evidence")
      let maximum = try evidence.maximum(noise: noise)
      #expect(
        evidence(priorPrecision: maximum.priorPrecision, noise: noise)
          >= golden["optimisedLogMarginalLikelihood"].number)

      guard head.likelihood == .categorical else { continue }
      for (link, predictive) in [
        ("probit", LaplacePredictive.probit), ("bridge", .bridge), ("bridge_norm", .normalizedBridge),
      ] {
        expectClose(
          softmax(closedFormLogits(predictive, means: means, covariance: covariance, on: backend)),
          golden[link].tensor(), tolerance: Self.relative, "\(name) \(key) \(link)")
      }
    }
  }

  /// The digits that were printed for the small network, apart from any file.
  @Test func printedDigitsAreMet() throws {
    let head = try Head("known")
    let features = TinyNetwork.testFeatures
    let means = TinyNetwork.logits(features)
    let printed: [(LaplaceStructure, diagonal: [Double], beside: [Double], [LaplacePredictive: [Double]])] = [
      (
        .full, [0.8610952102, 0.8801514918, 0.8514743243, 1.8696622974, 2.1205030616, 1.7966160923],
        [0.2737355323, 0.3024126997, 0.2833564181],
        [
          .probit: [0.2885890629, 0.3501220051, 0.3612889320, 0.1453479533, 0.0836198511, 0.7710321956],
          .bridge: [0.3097039385, 0.3290695691, 0.3612264924, 0.1403289479, 0.0785374042, 0.7811336480],
          .normalizedBridge: [0.2904292769, 0.3353940505, 0.3741766726, 0.1070700367, 0.0568461455, 0.8360838178],
        ]
      ),
      (
        .kronecker, [0.8512838821, 0.9205344775, 0.8836042581, 1.8570139496, 2.0066735229, 1.9268624998],
        [0.2745146704, 0.3114448897, 0.2421942943],
        [
          .probit: [0.2884797089, 0.3502120349, 0.3613082562, 0.1476509788, 0.0840657728, 0.7682832484],
          .bridge: [0.3348195660, 0.3149109675, 0.3502694665, 0.1582404178, 0.0972278579, 0.7445317243],
          .normalizedBridge: [0.3158573477, 0.3212984502, 0.3628442021, 0.1223716386, 0.0713472268, 0.8062811347],
        ]
      ),
      (
        .diagonal, [0.7086475754, 0.8155251544, 0.7499611937, 1.8076037894, 2.0284525766, 1.8860553619], [0, 0, 0],
        [
          .probit: [0.2875141211, 0.3506155236, 0.3618703553, 0.1467064154, 0.0838570893, 0.7694364953],
          .bridge: [0.3168800969, 0.3324183990, 0.3507015042, 0.1501414594, 0.1022483484, 0.7476101923],
          .normalizedBridge: [0.3022727403, 0.3380916734, 0.3596355863, 0.1544025293, 0.1057891370, 0.7398083337],
        ]
      ),
    ]
    let tenDigits = 6e-11
    for (structure, diagonal, beside, links) in printed {
      let curvature = try head.curvature(structure)
      let covariance = curvature.covariance(
        curvature.projection(of: features, on: backend), priorPrecision: 1, on: backend)
      expectClose(covariance.variances(on: backend), Tensor(shape: [2, 3], diagonal), tolerance: tenDigits)
      let first = covariance.matrix(0, on: backend)
      expectClose(
        Tensor(shape: [3], [first[0, 1], first[0, 2], first[1, 2]]), Tensor(shape: [3], beside), tolerance: tenDigits)
      for (predictive, probabilities) in links {
        expectClose(
          softmax(closedFormLogits(predictive, means: means, covariance: covariance, on: backend)),
          Tensor(shape: [2, 3], probabilities), tolerance: tenDigits)
      }
    }
    let regression = try Head("known-regression")
    let printedVariances: [(LaplaceStructure, [Double], Double)] = [
      (.full, [0.0232846630, 0.0834140263], -120.2659061833),
      (.kronecker, [0.0267146152, 0.0878828301], -120.3260047941),
      (.diagonal, [0.0287036348, 0.0865442909], -122.0771744683),
    ]
    for (structure, variances, evidence) in printedVariances {
      let curvature = try regression.curvature(structure)
      let found = curvature.variances(
        curvature.projection(of: features, on: backend), priorPrecision: 2 * 0.09, on: backend)
      for row in 0..<2 {
        for k in 0..<2 { expectClose(found[row, k] * 0.09, variances[row], tolerance: tenDigits) }
      }
      expectClose(try regression.evidence(structure)(priorPrecision: 2, noise: 0.3), evidence, tolerance: tenDigits)
    }
    expectClose(
      try regression.evidence(.full).logLikelihood(noise: 0.3), -106.3140817797, tolerance: tenDigits)
  }

  /// Records of a linear model with Gaussian targets, with weights of the rows where `rowNoise`.
  static func regression(rowCount: Int = 40, featureCount: Int = 3, rowNoise: Bool = false, seed: UInt64 = 3)
    -> InMemoryExitRecords
  {
    let problem = ToyProblem(
      rowCount: rowCount, featureCount: featureCount, classCount: 2, likelihood: .gaussian, seed: seed)
    let key = RandomKey(seed: seed)
    let head = problem.head(0)
    let features = key.child(0).normals([rowCount, featureCount], as: Float.self)
    var logits = ReferenceBackend().product(features, head.weight)
    for row in 0..<rowCount { for k in 0..<2 { logits[row, k] += head.bias[k] } }
    let noise = key.child(2).uniforms(rowCount).map { 0.5 + $0 }
    let errors: Tensor<Double> = key.child(1).normals([rowCount, 2])
    var targets = logits.converted(to: Double.self)
    for row in 0..<rowCount { for k in 0..<2 { targets[row, k] += 0.4 * (rowNoise ? noise[row] : 1) * errors[row, k] } }
    return InMemoryExitRecords(
      ExitRecords(
        firstRow: 0, exits: [ExitRecords.Exit(features: features, logits: logits)], labels: nil, targets: targets,
        noise: rowNoise ? noise : nil), description: problem.description)
  }

  /// Bayesian linear regression has this covariance exactly: `(Σ a aᵀ / σₙ² + δ I)⁻¹`.
  @Test(arguments: [LaplaceStructure.full, .folded, .lowRank], [false, true])
  func linearGaussianModelIsTheConjugatePosterior(structure: LaplaceStructure, rowNoise: Bool) async throws {
    let records = Self.regression(rowNoise: rowNoise)
    var recipe = LastLayerLaplace(structure: structure, priorPrecision: .fixed(0.7), temperature: .fixed(1))
    recipe.noise = .fixed(0.4)
    recipe.explained = 1
    let posterior = try await recipe.fit(training: records, validation: nil, in: context)
    let exit = posterior.exits[0]

    let features = try #require(records.records.exits[0].features).converted(to: Double.self)
    var precision = Tensor<Double>(zeros: [4, 4])
    for d in 0..<4 { precision[d, d] = 0.7 }
    for row in 0..<40 {
      let a = (0..<3).map { features[row, $0] } + [1]
      let deviation = 0.4 * (records.records.noise?[row] ?? 1)
      for d in 0..<4 { for e in 0..<4 { precision[d, e] += a[d] * a[e] / (deviation * deviation) } }
    }
    let lower = try backend.cholesky(precision)
    let test = features.rows(0..<5)
    let solved = backend.triangularSolution(
      lower, transposed: false,
      Tensor(shape: [5, 4], (0..<5).flatMap { row in (0..<3).map { test[row, $0] } + [1] }).transposed())
    let expected = backend.product(solved, solved, transposing: .first)
    let rounding = 1e-10
    let found = try exit.jointLogitCovariance(features: test, on: backend)
    for n in 0..<5 {
      for m in 0..<5 {
        expectClose(found[n * 2, m * 2], expected[n, m], tolerance: rounding)
        expectClose(found[n * 2, m * 2 + 1], 0, tolerance: rounding)
      }
      expectClose(exit.logitVariances(features: test, on: backend)[n, 1], expected[n, n], tolerance: rounding)
    }
    let prediction = try posterior.predictor(for: records.description, in: context).predict(
      records.records.rows(0..<5))[0]
    let regression = try #require(prediction.regression)
    for n in 0..<5 {
      expectClose(regression.epistemicVariance[n, 0], expected[n, n], tolerance: rounding)
      let deviation = 0.4 * (records.records.noise?[n] ?? 1)
      expectClose(regression.noiseVariance[n, 1], deviation * deviation, tolerance: rounding)
    }
  }

  /// `J Σ Jᵀ` with the inverse of a precision that is written out by its definition, over all rows of a batch.
  @Test(arguments: [LaplaceStructure.full, .kronecker, .folded, .factored, .diagonal], [true, false])
  func jointCovarianceIsThatOfTheDenseInverse(structure: LaplaceStructure, hasBias: Bool) async throws {
    let (prior, classes, inputs) = (0.7, 3, 5)
    let records = Self.records(.categorical, hasBias: hasBias)
    let recipe = LastLayerLaplace(structure: structure, priorPrecision: .fixed(prior), temperature: .fixed(1))
    let exit = try await recipe.fit(training: records, validation: nil, in: context).exits[0]
    let features = try #require(records.records.exits[0].features).converted(to: Double.self)
    let logits = records.records.exits[0].logits.converted(to: Double.self)
    let (rowCount, width) = (features.rowCount, inputs + (hasBias ? 1 : 0))
    func input(_ features: Tensor<Double>, _ row: Int, _ d: Int) -> Double { d < inputs ? features[row, d] : 1 }

    // Sums over rows by their definitions, in no clever order.
    var (b, a) = (Tensor<Double>(zeros: [classes, classes]), Tensor<Double>(zeros: [width, width]))
    let order = classes * width
    var precision = Tensor<Double>(zeros: [order, order])
    for row in 0..<rowCount {
      let exponentials = (0..<classes).map { Double.exp(logits[row, $0]) }
      let p = exponentials.map { $0 / exponentials.reduce(0, +) }
      for k in 0..<classes {
        for l in 0..<classes {
          let second = (k == l ? p[k] : 0) - p[k] * p[l]
          b[k, l] += second
          for d in 0..<width {
            for e in 0..<width {
              let product = input(features, row, d) * input(features, row, e)
              if k == 0, l == 0 { a[d, e] += product / Double(rowCount) }
              if structure == .full || (structure == .diagonal && k == l && d == e) {
                precision[k * width + d, l * width + e] += second * product
              }
            }
          }
        }
      }
    }
    for k in 0..<classes {
      for l in 0..<classes {
        for d in 0..<width {
          for e in 0..<width {
            let (i, j) = (k * width + d, l * width + e)
            switch structure {
            case .kronecker:
              // The bias is a block of its own.
              let isBias = (hasBias && d == inputs, hasBias && e == inputs)
              precision[i, j] = isBias.0 != isBias.1 ? 0 : b[k, l] * (isBias.0 ? 1 : a[d, e])
            case .folded: precision[i, j] = b[k, l] * a[d, e]
            case .factored:
              let (root, count) = (prior.squareRoot(), Double(rowCount).squareRoot())
              precision[i, j] = (b[k, l] / count + (k == l ? root : 0)) * (a[d, e] * count + (d == e ? root : 0))
            default: break
            }
            if i == j, structure != .factored { precision[i, j] += prior }
          }
        }
      }
    }
    let test: Tensor<Double> = RandomKey(seed: 9).normals([4, inputs])
    var jacobian = Tensor<Double>(zeros: [4 * classes, order])
    for row in 0..<4 {
      for k in 0..<classes { for d in 0..<width { jacobian[row * classes + k, k * width + d] = input(test, row, d) } }
    }
    let whitened = backend.triangularSolution(
      try backend.cholesky(precision), transposed: false, jacobian.transposed())
    let expected = backend.product(whitened, whitened, transposing: .first)
    let found = try exit.jointLogitCovariance(features: test, on: backend)
    #expect(found.shape == [12, 12])
    expectClose(found, expected, tolerance: 1e-8)
    // Between rows it is not nothing.
    #expect(abs(expected[0, 3]) > 1e-3)
  }

  /// The one noise of an exit is a factor on that of rows, or takes its place, but not both.
  @Test(arguments: [true, false])
  func rowsHaveNoiseInEverySetOrInNone(training: Bool) async throws {
    let records = Self.regression(rowNoise: training)
    let error = await #expect(throws: FileError.self) {
      try await LastLayerLaplace().fit(
        training: records, validation: Self.regression(rowNoise: !training, seed: 4), in: context)
    }
    #expect(error?.message.contains("noise of each row's own") == true && error?.message.contains("/noise") == true)
    let posterior = try await LastLayerLaplace(priorPrecision: .fixed(1), temperature: .fixed(1)).fit(
      training: records, validation: nil, in: context)
    #expect(throws: FileError.self) {
      try posterior.predictor(for: records.description, in: context).predict(
        Self.regression(rowNoise: !training).records)
    }
  }

  @Test(arguments: LaplaceStructure.allCases)
  func noiseIsLearnedWithThePrior(structure: LaplaceStructure) async throws {
    let records = Self.regression(rowCount: 400)
    let byEvidence = try await LastLayerLaplace(
      structure: structure, priorPrecision: .marginalLikelihood, temperature: .validation
    ).fit(training: records, validation: nil, in: context).exits[0]
    // The root mean square of 800 errors is within a few of its own deviations, 0.4/√1600.
    expectClose(byEvidence.noise, 0.4, tolerance: 0.04)
    let best = try #require(byEvidence.logMarginalLikelihood)
    let curve = try #require(byEvidence.marginalLikelihood)
    for (prior, noise) in [(0.95, 1), (1.05, 1), (1, 0.98), (1, 1.02), (1.1, 1.01)] {
      #expect(curve(priorPrecision: byEvidence.priorPrecision * prior, noise: byEvidence.noise * noise) <= best)
    }
    let byValidation = try await LastLayerLaplace(structure: structure).fit(
      training: records, validation: Self.regression(rowCount: 400, seed: 4), in: context).exits[0]
    expectClose(byValidation.noise, 0.4, tolerance: 0.04)
    #expect(byValidation.tuning.chosen?.temperature == byValidation.noise)
  }

  /// A low rank of every direction is the whole matrix.
  @Test(arguments: [Likelihood.categorical, .binary, .multilabel, .gaussian], [true, false])
  func allEigenvectorsAreFullCurvature(likelihood: Likelihood, hasBias: Bool) async throws {
    let records = Self.records(likelihood, hasBias: hasBias)
    func exit(_ structure: LaplaceStructure) async throws -> LastLayerLaplacePosterior.Exit {
      var recipe = LastLayerLaplace(structure: structure, priorPrecision: .fixed(0.7), temperature: .fixed(1))
      recipe.explained = 1
      recipe.noise = .fixed(0.5)
      return try await recipe.fit(training: records, validation: nil, in: context).exits[0]
    }
    let (full, lowRank) = (try await exit(.full), try await exit(.lowRank))
    let features: Tensor<Double> = RandomKey(seed: 9).normals([4, 5])
    // Directions of curvature below 1e-13 of the largest are not looked for.
    let tolerance = 1e-7
    expectClose(
      try lowRank.jointLogitCovariance(features: features, on: backend),
      try full.jointLogitCovariance(features: features, on: backend), tolerance: tolerance)
    expectClose(
      try #require(lowRank.logMarginalLikelihood), try #require(full.logMarginalLikelihood), tolerance: tolerance)
    expectClose(try #require(lowRank.explainedShare), 1, tolerance: 1e-9)
  }

  static func records(_ likelihood: Likelihood, hasBias: Bool = true, rowCount: Int = 60, seed: UInt64 = 7)
    -> InMemoryExitRecords
  {
    let problem = ToyProblem(
      rowCount: rowCount, likelihood: likelihood == .binary ? .binary : .categorical, hasBias: hasBias, seed: seed)
    let base = problem.records()
    var (records, description) = (base.records, base.description)
    description.exits[0].likelihood = likelihood
    guard likelihood == .multilabel || likelihood == .gaussian else { return base }
    let uniforms = RandomKey(seed: seed + 50).uniforms(rowCount * 3)
    var targets = records.exits[0].logits.converted(to: Double.self)
    for position in 0..<targets.count {
      let z = targets[position]
      targets[position] =
        likelihood == .gaussian ? z + uniforms[position] - 0.5 : (uniforms[position] < 1 / (1 + Double.exp(-z / 2)) ? 1 : 0)
    }
    records.labels = nil
    records.targets = targets
    return InMemoryExitRecords(records, description: description)
  }

  @Test func lowRankKeepsTheShareThatIsAskedFor() async throws {
    let records = ToyProblem(featureCount: 12, classCount: 4).records()
    var recipe = LastLayerLaplace(structure: .lowRank, priorPrecision: .fixed(1), temperature: .fixed(1))
    recipe.explained = 0.8
    let posterior = try await recipe.fit(training: records, validation: nil, in: context)
    let exit = posterior.exits[0]
    let full = try await LastLayerLaplace(structure: .full, priorPrecision: .fixed(1), temperature: .fixed(1)).fit(
      training: records, validation: nil, in: context).exits[0]
    guard case .full(let matrix) = full.curvature, case .lowRank(let kept) = exit.curvature else {
      Issue.record("Another structure came back.")
      return
    }
    let values = Array(matrix.eigenvalues.elements.reversed())
    let trace = values.reduce(0, +)
    var (share, rank) = (0.0, 0)
    while share < 0.8 {
      share += values[rank] / trace
      rank += 1
    }
    #expect(exit.rank == rank)
    expectClose(try #require(exit.explainedShare), share, tolerance: 1e-6)
    for r in 0..<rank { expectClose(kept.eigenvalues[r], values[r], tolerance: 1e-6 * values[0]) }
    #expect(posterior.warnings.isEmpty)
    recipe.rankLimit = 2
    let capped = try await recipe.fit(training: records, validation: nil, in: context)
    #expect(capped.exits[0].rank == 2 && capped.warnings.contains { $0.contains("2 eigenvectors hold") })
  }

  @Test(arguments: LaplaceStructure.allCases, [Likelihood.categorical, .multilabel])
  func weightDrawsHaveTheClosedFormsCovariance(structure: LaplaceStructure, likelihood: Likelihood) async throws {
    let records = Self.records(likelihood)
    var recipe = LastLayerLaplace(
      structure: structure, predictive: .weights, sampleCount: 2000, priorPrecision: .fixed(0.7), temperature: .fixed(1))
    for predictive in [LaplacePredictive.weights, .functionSpace] {
      recipe.predictive = predictive
      let posterior = try await recipe.fit(training: records, validation: nil, in: context)
      let few = records.records.rows(0..<2)
      let prediction = try posterior.predictor(for: records.description, in: context).predict(few)[0]
      let features = try #require(few.exits[0].features).converted(to: Double.self)
      let expected = try posterior.exits[0].jointLogitCovariance(features: features, on: backend)
      let (count, width) = (recipe.sampleCount, 6)
      let deviations = Tensor<Double>(
        shape: [count, width],
        (0..<count * width).map { Double(prediction.logits[$0]) - Double(few.exits[0].logits[$0 % width]) })
      let found = backend.product(deviations, deviations, transposing: .first).map { $0 / Double(count) }
      for i in 0..<width {
        for j in 0..<width where predictive == .weights || i / 3 == j / 3 {
          // A product of two normals has variance Sᵢᵢ Sⱼⱼ + Sᵢⱼ²; five standard errors.
          let error = ((expected[i, i] * expected[j, j] + expected[i, j] * expected[i, j]) / Double(count)).squareRoot()
          #expect(abs(found[i, j] - expected[i, j]) < 5 * error, "\(structure) \(predictive) \(i) \(j)")
        }
      }
    }
  }

  @Test(arguments: LaplaceStructure.allCases.filter { $0 != .lowRank }, Likelihood.allCases)
  func continuedFitIsTheFitToAllRows(structure: LaplaceStructure, likelihood: Likelihood) async throws {
    let all = Self.records(likelihood)
    func part(_ rows: Range<Int>) -> InMemoryExitRecords {
      InMemoryExitRecords(all.records.rows(rows), description: all.description)
    }
    let recipe = LastLayerLaplace(
      structure: structure, priorPrecision: .marginalLikelihood, temperature: .fixed(1))
    let whole = try await recipe.fit(training: all, validation: nil, in: context).exits[0]
    let first = try await recipe.fit(training: part(0..<25), validation: nil, in: context)
    // Through a file, as the command does it.
    let archive = MemoryArchive()
    try first.write(to: archive)
    let both = try await recipe.fit(
      training: part(25..<60), validation: nil, continuing: LastLayerLaplacePosterior(from: archive), in: context
    ).exits[0]
    #expect(both.rowCount == 60)
    let rounding = 1e-10
    let features: Tensor<Double> = RandomKey(seed: 9).normals([4, 5])
    var (a, b) = (whole, both)
    expectClose(b.priorPrecision / a.priorPrecision, 1, tolerance: rounding)
    expectClose(b.noise / a.noise, 1, tolerance: rounding)
    expectClose(
      try #require(a.logMarginalLikelihood), try #require(b.logMarginalLikelihood), tolerance: rounding)
    var fixed = LastLayerLaplace(structure: structure, priorPrecision: .fixed(1), temperature: .fixed(1))
    fixed.noise = .fixed(0.5)
    a = try await fixed.fit(training: all, validation: nil, in: context).exits[0]
    b = try await fixed.fit(
      training: part(25..<60), validation: nil, continuing: LastLayerLaplacePosterior(from: archive), in: context
    ).exits[0]
    let (x, y) = (
      a.logitVariances(features: features, on: backend), b.logitVariances(features: features, on: backend)
    )
    for position in 0..<x.count { expectClose(x[position] / y[position], 1, tolerance: rounding) }
  }

  /// Rows in another order make other rounding errors, and the same choice.
  @Test(arguments: [LaplaceStructure.full, .kronecker, .diagonal], [Likelihood.categorical, .gaussian])
  func choicesDoNotDependOnTheOrderOfRows(structure: LaplaceStructure, likelihood: Likelihood) async throws {
    let records = Self.records(likelihood)
    let order = (0..<60).map { ($0 * 37 + 11) % 60 }
    var shuffled = records.records
    shuffled.exits[0].features = shuffled.exits[0].features?.rows(order)
    shuffled.exits[0].logits = shuffled.exits[0].logits.rows(order)
    shuffled.labels = shuffled.labels.map { labels in order.map { labels[$0] } }
    shuffled.targets = shuffled.targets?.rows(order)
    var recipes = [
      LastLayerLaplace(structure: structure, priorPrecision: .marginalLikelihood, temperature: .fixed(1)),
      LastLayerLaplace(structure: structure, priorPrecision: .fixed(2), temperature: .fixed(1)),
    ]
    recipes.append(recipes[0])
    recipes[2].priorScope = .shared
    for recipe in recipes {
      let a = try await recipe.fit(training: records, validation: nil, in: context).exits[0]
      let b = try await recipe.fit(
        training: InMemoryExitRecords(shuffled, description: records.description), validation: nil, in: context
      ).exits[0]
      expectClose(b.priorPrecision / a.priorPrecision, 1, tolerance: 1e-10)
      expectClose(b.noise / a.noise, 1, tolerance: 1e-10)
    }
  }

  /// Sums of rows without answers are part of no evidence and no noise.
  @Test(arguments: [Likelihood.categorical, .gaussian])
  func continuingRowsWithoutAnswersNeedsWhatTheyWouldTell(likelihood: Likelihood) async throws {
    let records = Self.records(likelihood)
    var unanswered = records.records
    (unanswered.labels, unanswered.targets) = (nil, nil)
    var fixed = LastLayerLaplace(priorPrecision: .fixed(2), temperature: .fixed(1))
    fixed.noise = .fixed(0.5)
    let first = try await fixed.fit(
      training: InMemoryExitRecords(unanswered, description: records.description), validation: nil, in: context)
    var recipes = [LastLayerLaplace(priorPrecision: .marginalLikelihood, temperature: .fixed(1))]
    if likelihood == .gaussian { recipes.append(LastLayerLaplace(priorPrecision: .fixed(2), temperature: .fixed(1))) }
    for recipe in recipes {
      let error = await #expect(throws: FileError.self) {
        _ = try await recipe.fit(training: records, validation: nil, continuing: first, in: context)
      }
      #expect(error?.message.contains("fitted to rows without answers") ?? false)
    }
    let both = try await fixed.fit(training: records, validation: nil, continuing: first, in: context)
    #expect(both.exits[0].rowCount == 120 && both.exits[0].priorPrecision == 2)
  }

  @Test func continuingWhatCannotBeIsRefused() async throws {
    let records = ToyProblem().records()
    func message(_ recipe: LastLayerLaplace, _ earlier: LastLayerLaplacePosterior, head: Float = 0) async -> String {
      var description = records.description
      description.exits[0].head?.bias[0] += head
      do {
        _ = try await recipe.fit(
          training: InMemoryExitRecords(records.records, description: description), validation: nil,
          continuing: earlier, in: context)
        return "no error"
      } catch {
        return "\(error)"
      }
    }
    func recipe(_ structure: LaplaceStructure) -> LastLayerLaplace {
      LastLayerLaplace(structure: structure, priorPrecision: .fixed(1), temperature: .fixed(1))
    }
    let kronecker = try await recipe(.kronecker).fit(training: records, validation: nil, in: context)
    let lowRank = try await recipe(.lowRank).fit(training: records, validation: nil, in: context)
    #expect(await message(recipe(.lowRank), lowRank).contains("no sum over rows"))
    #expect(await message(recipe(.diagonal), kronecker).contains("keeps the sums of the structure 'kronecker'"))
    #expect(await message(recipe(.kronecker), kronecker, head: 0.001).contains("weights of the exit's head"))
    #expect(await message(recipe(.kronecker), kronecker) == "no error")
  }

  @Test(arguments: LaplaceStructure.allCases)
  func biasMayHaveAPriorOfItsOwn(structure: LaplaceStructure) async throws {
    let records = ToyProblem(rowCount: 200, featureCount: 3).records()
    var recipe = LastLayerLaplace(
      structure: structure, priorPrecision: .marginalLikelihood, temperature: .fixed(1))
    recipe.explained = 1
    let one = try await recipe.fit(training: records, validation: nil, in: context).exits[0]
    recipe.priorScope = .group
    let two = try await recipe.fit(training: records, validation: nil, in: context).exits[0]
    #expect(one.biasPriorPrecision == one.priorPrecision && two.biasPriorPrecision != two.priorPrecision)
    #expect(try #require(two.logMarginalLikelihood) >= #require(one.logMarginalLikelihood))
    let archive = MemoryArchive()
    let posterior = try await recipe.fit(training: records, validation: nil, in: context)
    try posterior.write(to: archive)
    #expect(try LastLayerLaplacePosterior(from: archive).exits == posterior.exits)
    guard structure == .full else { return }
    // Against the dense inverse with both priors on the diagonal.
    let features = try #require(records.records.exits[0].features).converted(to: Double.self)
    let p = softmax(records.records.exits[0].logits.converted(to: Double.self))
    var precision = Tensor<Double>(zeros: [12, 12])
    for index in 0..<12 { precision[index, index] = index % 4 == 3 ? two.biasPriorPrecision : two.priorPrecision }
    for row in 0..<200 {
      let a = (0..<3).map { features[row, $0] } + [1]
      for i in 0..<12 {
        for j in 0..<12 {
          let (k, l) = (i / 4, j / 4)
          precision[i, j] += ((k == l ? p[row, k] : 0) - p[row, k] * p[row, l]) * a[i % 4] * a[j % 4]
        }
      }
    }
    var jacobian = Tensor<Double>(zeros: [12, 3])
    for k in 0..<3 { for d in 0..<4 { jacobian[k * 4 + d, k] = d == 3 ? 1 : features[0, d] } }
    let half = backend.triangularSolution(try backend.cholesky(precision), transposed: false, jacobian)
    expectClose(
      two.logitCovariance(features: features.rows(0..<1).reshaped(to: [3]), on: backend),
      backend.product(half, half, transposing: .first), tolerance: 1e-10)
  }

  @Test func onePriorForAllExitsHasTheHighestSum() async throws {
    let records = ToyProblem(rowCount: 100, exitCount: 2).records()
    var recipe = LastLayerLaplace(priorPrecision: .marginalLikelihood, temperature: .fixed(1))
    recipe.priorScope = .shared
    let exits = try await recipe.fit(training: records, validation: nil, in: context).exits
    #expect(exits[0].priorPrecision == exits[1].priorPrecision)
    func sum(_ prior: Double) -> Double { exits.reduce(0) { $0 + ($1.marginalLikelihood?(priorPrecision: prior) ?? .nan) } }
    let best = exits[0].priorPrecision
    #expect(sum(best) >= sum(best * 0.95) && sum(best) >= sum(best * 1.05))
  }

  @Test func priorAtTheCheckpointHasNoBestPrecision() async throws {
    let records = ToyProblem().records()
    var recipe = LastLayerLaplace(priorPrecision: .fixed(2), temperature: .fixed(1))
    recipe.priorMean = .checkpoint
    let exit = try await recipe.fit(training: records, validation: nil, in: context).exits[0]
    // No distance from the prior's mean: log-likelihood less half the determinants.
    let curvature = exit.curvature.value
    expectClose(
      try #require(exit.logMarginalLikelihood),
      try #require(exit.logLikelihood) - 0.5 * curvature.logDeterminantRatio(priorPrecision: 2), tolerance: 1e-12)
    recipe.priorPrecision = .marginalLikelihood
    await #expect { try await recipe.fit(training: records, validation: nil, in: context) } throws: {
      "\($0)".contains("has no maximum")
    }
  }

  @Test func jointCovarianceHasABound() async throws {
    let records = ToyProblem().records()
    let exit = try await LastLayerLaplaceTests.fixed.fit(training: records, validation: nil, in: context).exits[0]
    #expect { try exit.jointLogitCovariance(features: Tensor(zeros: [1366, 5]), on: backend) } throws: {
      "\($0)".contains("give fewer rows")
    }
  }
}
