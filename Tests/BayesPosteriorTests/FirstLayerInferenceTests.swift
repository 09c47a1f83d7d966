import BayesKernels
import BayesNetwork
import BayesPrediction
import BayesTensor
import RealModule
import Testing
import _BayesTestSupport

@testable import BayesPosterior

/// Fits of one layer's weights: what they leave alone, how they are interrupted, and what they predict.
struct FirstLayerInferenceTests {
  /// Rows of two clouds a class, with their labels.
  struct Rows: Dataset {
    var file = "rows"
    let inputs: Tensor<Float>
    var given: [Int]

    init(_ rowCount: Int, width: Int = 6, classCount: Int = 3, seed: UInt64 = 5, scale: Float = 1) {
      let key = RandomKey(seed: seed)
      given = key.child(0).uniforms(rowCount).map { Int($0 * Double(classCount)) }
      var inputs = key.child(1).normals([rowCount, width], as: Float.self)
      for (row, label) in given.enumerated() { inputs[row, label] += 2 }
      self.inputs = inputs.map { $0 * scale }
    }

    var rowCount: Int { inputs.rowCount }
    var rowShape: Shape { inputs.shape.row }
    var hasLabels: Bool { !given.isEmpty }
    func inputs(_ rows: Range<Int>) throws(FileError) -> RowBatch { RowBatch(inputs.rows(rows)) }
    func labels(_ rows: Range<Int>) throws(FileError) -> [Int] { Array(given[rows]) }
  }

  private func network() throws -> FrozenNetwork {
    var builder = NetworkBuilder(input: [6])
    builder.add(Dense(units: 8))
    builder.add(Activation(.plainReLU))
    let early = builder.add(Dense(units: 3))
    builder.add(Dense(units: 5), after: 2)
    builder.add(Activation(.plainReLU))
    let last = builder.add(Dense(units: 3))
    return try builder.frozen(exits: [early, last])
  }

  private func description(_ frozen: FrozenNetwork, _ likelihood: Likelihood = .categorical) -> RecordsDescription {
    RecordsDescription(
      file: "rows",
      exits: frozen.network.exits.map {
        ExitDescription(
          name: $0.name, likelihood: likelihood, logitCount: frozen.network.shapes[$0.logits].elementCount)
      })
  }

  private func recipe(epochs: Int = 4) -> FirstLayerInference {
    var recipe = FirstLayerInference()
    recipe.epochCount = epochs
    recipe.batchRowCount = 16
    recipe.sampleCount = 5
    recipe.learningRate = 0.01
    return recipe
  }

  private func context(width: Int = 1, seed: UInt64 = 3) -> ExecutionContext {
    ExecutionContext(key: RandomKey(seed: seed), width: width)
  }

  @Test func fitsMoveOneLayerAndLearn() async throws {
    let frozen = try network()
    let (posterior, training) = try await recipe(epochs: 15).fit(
      frozen, description(frozen), training: Rows(100), validation: nil, on: NativeBackend(), in: context())
    guard case .firstLayer(5, _, let layer) = posterior.kind else {
      Issue.record("\(posterior.kind)")
      return
    }
    #expect(layer.layerName == "node1" && layer.parameterCount == 56 && layer.form == .variational)
    #expect(training.epochs.count == 15 && training.stepCount == 15 * 7 && training.isFinished)
    #expect(training.epochs[14].dataTerm < 0.9 * training.epochs[0].dataTerm)
    #expect(layer.dataTerm == training.epochs[14].dataTerm && layer.divergence == training.epochs[14].divergence)
    let draws = try LayerDraws(layer, of: frozen)
    let one = try draws.network(draw: 0, key: RandomKey(seed: 1))
    for path in frozen.parameters.paths {
      #expect((one.parameters[path] == frozen.parameters[path]) == !path.description.hasPrefix("node1/"))
    }
    #expect(draws.affectsExit == [true, true] && !posterior.warnings.contains { $0.contains("memorised") })
  }

  @Test(arguments: FirstLayerInference.Estimator.allCases) func sameKeySameBitsAtAnyWidth(
    estimator: FirstLayerInference.Estimator
  ) async throws {
    let frozen = try network()
    var recipe = recipe()
    recipe.estimator = estimator
    func fit(_ context: ExecutionContext) async throws -> SampledNetworkPosterior {
      try await recipe.fit(
        frozen, description(frozen), training: Rows(50), validation: nil, on: NativeBackend(), in: context
      ).posterior
    }
    let one = try await fit(context())
    #expect(try await fit(context(width: 3)) == one)
    #expect(try await fit(context(seed: 4)) != one)
  }

  private struct Stop: Error {}

  /// After every step, and after an epoch, the training is written, read and gone on with.
  @Test(arguments: [FirstLayerInference.Descent.adam, .stochastic(momentum: 0.9), .stochastic(momentum: 0)])
  func interruptedTrainingsEndInTheSameBits(descent: FirstLayerInference.Descent) async throws {
    let frozen = try network()
    var recipe = recipe(epochs: 3)
    recipe.descent = descent
    recipe.patience = 2
    let settings = ["--epochs": "3", "--layer": "a=b"]
    func fit(from earlier: FirstLayerTraining?, stopAfter stepCount: Int?) async throws -> (
      SampledNetworkPosterior, FirstLayerTraining
    )? {
      let archive = MemoryArchive()
      do {
        let result = try await recipe.fit(
          frozen, description(frozen), training: Rows(40), validation: Rows(30, seed: 6), from: earlier,
          on: NativeBackend(), in: context()
        ) { training in
          guard let stepCount, training.stepCount >= stepCount else { return }
          try training.write(to: archive, settings: settings)
          throw Stop()
        }
        return (result.posterior, result.training)
      } catch is Stop {
        let read = try FirstLayerTraining(from: archive, settings: settings)
        #expect(read.stepCount == stepCount)
        return try await fit(from: read, stopAfter: nil)
      }
    }
    let whole = try #require(try await fit(from: nil, stopAfter: nil))
    #expect(whole.1.stepCount == 9 && whole.1.best != nil)
    for stepCount in [1, 2, 3, 5, 6, 8, 9] {
      let resumed = try #require(try await fit(from: nil, stopAfter: stepCount))
      #expect(resumed.0 == whole.0, "after \(stepCount) steps")
      #expect(resumed.1 == whole.1, "after \(stepCount) steps")
    }
  }

  @Test func trainingsOfOtherSettingsAndDamagedOnesAreRefused() throws {
    let distribution = FactorizedGaussian(means: [Tensor(zeros: [2])], rawDeviations: [Tensor(zeros: [2])])
    let settings = ["--epochs": "3"]
    func archive() throws -> MemoryArchive {
      let archive = MemoryArchive()
      try FirstLayerTraining(distribution).write(to: archive, settings: settings)
      return archive
    }
    #expect(try FirstLayerTraining(from: archive(), settings: settings) == FirstLayerTraining(distribution))
    func refused(_ settings: [String: String], _ words: String, _ damage: (MemoryArchive) -> Void = { _ in }) throws {
      let archive = try archive()
      damage(archive)
      let error = #expect(throws: FileError.self) { try FirstLayerTraining(from: archive, settings: settings) }
      #expect(error?.description.contains(words) == true, "\(error.map { "\($0)" } ?? "")")
    }
    try refused(["--epochs": "4"], "begun with --epochs 3, and 4 is asked for now")
    try refused(["--epochs": "3", "--rows": "0..<9"], "begun without --rows, and 0..<9")
    try refused(settings, "no unfinished training") { $0.set("format", .text("x"), of: "/") }
    try refused(settings, "number of parameters is 7") { $0.set("parameterCount", .integer(7), of: "/") }
    try refused(settings, "/distribution/0/means") { $0.remove("/distribution/0/means") }
    try refused(settings, "stepCount") { $0.set("stepCount", .text("x"), of: "/") }
    try refused(settings, "do not fit each other") { $0.set("isFinished", .integer(1), of: "/") }
    try refused(settings, "do not fit each other") { archive in
      archive.set("epochIndex", .integer(0), of: "/best")
      archive.put(Tensor(zeros: [2]), at: "/best/0/means")
      archive.put(Tensor(zeros: [2]), at: "/best/0/rawDeviations")
    }
    try refused(settings, "moments is 3") { $0.set("momentCount", .integer(3), of: "/memory/means") }
  }

  @Test(arguments: [("stepCount", 5), ("stepCount", 1_000_000)])
  func trainingsOfOtherStepsDoNotGoOn(attribute: String, value: Int) async throws {
    let frozen = try network()
    let training = try await recipe(epochs: 2).fit(
      frozen, description(frozen), training: Rows(40), validation: nil, on: NativeBackend(), in: context()
    ).training
    let archive = MemoryArchive()
    try training.write(to: archive, settings: [:])
    archive.set(attribute, .integer(value), of: "/")
    archive.set("isFinished", .integer(0), of: "/")
    let damaged = try FirstLayerTraining(from: archive, settings: [:])
    await #expect(throws: NetworkError.self) {
      try await recipe(epochs: 2).fit(
        frozen, description(frozen), training: Rows(40), validation: nil, from: damaged, on: NativeBackend(),
        in: context())
    }
  }

  @Test func posteriorsComeBackFromArchives() async throws {
    let frozen = try network()
    for objective in [FirstLayerInference.Objective.variational, .fineTuning] {
      var recipe = recipe(epochs: 1)
      recipe.objective = objective
      let posterior = try await recipe.fit(
        frozen, description(frozen), training: Rows(40), validation: nil, on: NativeBackend(), in: context()
      ).posterior
      let archive = MemoryArchive()
      try posterior.write(to: archive)
      var read = try SampledNetworkPosterior(from: archive)
      #expect(read.kind == posterior.kind && read.exits == posterior.exits && read.warnings == posterior.warnings)
      #expect(read.sampleCount == (objective == .variational ? 5 : 1))
      let mean = try #require(try read.meanAlone(of: frozen))
      #expect(mean.sampleCount == 1)
      read = mean
      archive.set("form", .text("round"), of: "/layer")
      #expect(throws: FileError.self) { try SampledNetworkPosterior(from: archive) }
    }
    let archive = MemoryArchive()
    let posterior = try await recipe(epochs: 1).fit(
      frozen, description(frozen), training: Rows(40), validation: nil, on: NativeBackend(), in: context()
    ).posterior
    try posterior.write(to: archive)
    archive.put(Tensor(repeating: -1, shape: [6, 8]), at: "/layer/0/deviations")
    let error = #expect(throws: FileError.self) { try SampledNetworkPosterior(from: archive) }
    #expect(error?.description.contains("/layer/0/deviations") == true)
  }

  /// Samples are the network with the weights of each draw, and one draw of a point is the network itself.
  @Test func predictionsAreThoseOfTheDraws() async throws {
    let frozen = try network()
    let posterior = try await recipe().fit(
      frozen, description(frozen), training: Rows(60), validation: nil, on: NativeBackend(), in: context()
    ).posterior
    guard case .firstLayer(_, let key, let layer) = posterior.kind else { return }
    let test = Rows(7, seed: 9)
    let draws = try LayerDraws(layer, of: frozen)
    let predicted = try await predictions(of: posterior, frozen, test)
    #expect(predicted.map(\.sampleCount) == [5, 5])
    for draw in 0..<5 {
      let drawn = try draws.network(draw: draw, key: key)
      let expected = drawn.network.outputs(
        of: drawn.network.exits.map(\.logits), for: test.inputs, parameters: drawn.parameters, on: ReferenceBackend())
      for (exit, logits) in expected.enumerated() {
        expectClose(
          Tensor(shape: [7, 3], predicted[exit].logits.elements[draw * 21..<(draw + 1) * 21]), logits, tolerance: 1e-5)
      }
    }
    let mean = try #require(try posterior.meanAlone(of: frozen))
    let alone = try await predictions(of: mean, frozen, test)
    #expect(alone.map(\.sampleCount) == [1, 1])
  }

  private func predictions(
    of posterior: SampledNetworkPosterior, _ frozen: FrozenNetwork, _ rows: Rows
  ) async throws -> [Prediction] {
    let backend = try NativeBackend()
    let predictor = try posterior.predictor(
      for: posterior.source, of: [frozen], on: backend,
      in: ExecutionContext(backend: backend, key: RandomKey(seed: 0), width: 2))
    let logits = frozen.network.outputs(
      of: frozen.network.exits.map(\.logits), for: rows.inputs, parameters: frozen.parameters, on: backend)
    let records = ExitRecords(firstRow: 0, exits: logits.map { .init(features: nil, logits: $0) }, labels: nil)
    var result: [Prediction] = []
    try await predictor.predictions(for: records, of: RowBatch(rows.inputs)) { result += $1 }
    return result
  }

  /// A ReLU network without biases is linear along every ray, so each draw ends in one class, and their mean in the
  /// share of draws that vote for it.
  @Test func farFromTheDataProbabilitiesAreVoteShares() async throws {
    var builder = NetworkBuilder(input: [6])
    builder.add(Dense(units: 12, usesBias: false))
    builder.add(Activation(.plainReLU))
    builder.add(Dense(units: 8, usesBias: false))
    builder.add(Activation(.plainReLU))
    builder.add(Dense(units: 3, usesBias: false))
    let frozen = try builder.frozen(seed: 6)
    var recipe = recipe(epochs: 10)
    recipe.initialDeviation = .fixed(0.5)
    recipe.sampleCount = 40
    let posterior = try await recipe.fit(
      frozen, description(frozen), training: Rows(60), validation: nil, on: NativeBackend(), in: context()
    ).posterior
    guard case .firstLayer(_, let key, let layer) = posterior.kind else { return }
    let near = Rows(200, seed: 10)
    let far = Rows(200, seed: 10, scale: 1000)
    let probabilities = try await predictions(of: posterior, frozen, far)[0].probabilities()
    // Votes at the rows themselves, layer by layer.
    let draws = try LayerDraws(layer, of: frozen)
    var votes = Tensor<Double>(zeros: [200, 3])
    var margins = [Double](repeating: .infinity, count: 200)
    for draw in 0..<40 {
      let drawn = try draws.network(draw: draw, key: key)
      let logits = drawn.network.outputs(
        of: [drawn.network.exits[0].logits], for: near.inputs.converted(to: Double.self), parameters: drawn.parameters,
        on: ReferenceBackend())[0]
      for row in 0..<200 {
        let order = [0, 1, 2].sorted { logits[row, $0] > logits[row, $1] }
        votes[row, order[0]] += 1.0 / 40
        margins[row] = min(margins[row], logits[row, order[0]] - logits[row, order[1]])
      }
    }
    // At a thousand times the margin what is left of the others is e⁻²⁰.
    let clear = margins.indices.filter { margins[$0] > 0.02 }
    #expect(clear.count > 50)
    var isSplit = false
    for row in clear {
      for k in 0..<3 {
        expectClose(probabilities[row, k], votes[row, k], tolerance: 1e-3)
        if votes[row, k] > 0.1, votes[row, k] < 0.9 { isSplit = true }
      }
    }
    #expect(isSplit)
  }

  @Test func fineTuningKeepsNoDistribution() async throws {
    let frozen = try network()
    var recipe = recipe(epochs: 10)
    recipe.objective = .fineTuning
    let (posterior, training) = try await recipe.fit(
      frozen, description(frozen), training: Rows(60), validation: nil, on: NativeBackend(), in: context())
    guard case .firstLayer(let draws, _, let layer) = posterior.kind else { return }
    #expect(draws == 1 && layer.form == .fineTuned && layer.divergence == 0)
    #expect(layer.weights.allSatisfy { $0.deviations.elements.allSatisfy { $0 == 0 } })
    #expect(training.epochs[9].dataTerm < training.epochs[0].dataTerm)
  }

  @Test func stoppingKeepsTheBestEpoch() async throws {
    let frozen = try network()
    var recipe = recipe(epochs: 60)
    recipe.patience = 3
    recipe.learningRate = 0.1
    // Labels without a rule: what is learned of some says nothing of others.
    var (rows, held) = (Rows(60), Rows(60, seed: 6))
    rows.given.reverse()
    held.given.reverse()
    let (posterior, training) = try await recipe.fit(
      frozen, description(frozen), training: rows, validation: held, on: NativeBackend(), in: context())
    let losses = training.epochs.compactMap(\.validationNLL)
    let best = try #require(losses.indices.min { losses[$0] < losses[$1] })
    #expect(losses.count == training.epochs.count && losses.count == best + 4 && losses.count < 60)
    guard case .firstLayer(_, _, let layer) = posterior.kind else { return }
    #expect(layer.epochCount == best + 1 && layer.dataTerm == training.epochs[best].dataTerm)
  }

  @Test func memorisedRowsAreSaid() async throws {
    let frozen = try network()
    var rows = Rows(60)
    let logits = frozen.network.outputs(
      of: [frozen.network.exits[1].logits], for: rows.inputs.map { $0 * 1000 }, parameters: frozen.parameters,
      on: ReferenceBackend())[0]
    rows.given = (0..<60).map { row in [0, 1, 2].max { logits[row, $0] < logits[row, $1] } ?? 0 }
    let scaled = RecordsDescription(
      file: "rows", exits: description(frozen).exits, preprocessing: Preprocessing(scale: 1e-4))
    let posterior = try await recipe(epochs: 1).fit(
      frozen, scaled, training: rows, validation: nil, on: NativeBackend(), in: context()
    ).posterior
    #expect(posterior.warnings.contains { $0.contains("has memorised these rows") })
    // What is worse than a guess is no checkpoint's work.
    let wrong = RecordsDescription(
      file: "rows", exits: description(frozen).exits, preprocessing: Preprocessing(scale: -1e-2))
    let other = try await recipe(epochs: 1).fit(
      frozen, wrong, training: rows, validation: nil, on: NativeBackend(), in: context()
    ).posterior
    #expect(other.warnings.contains { $0.contains("more than that of a guess among 3 classes") })
  }

  @Test func whatTheMethodIsNotForIsRefused() async throws {
    let frozen = try network()
    func refused(
      _ words: String, _ frozen: FrozenNetwork, _ description: RecordsDescription, _ rows: Rows = Rows(20),
      _ change: (inout FirstLayerInference) -> Void = { _ in }
    ) async throws {
      var recipe = recipe(epochs: 1)
      change(&recipe)
      do {
        _ = try await recipe.fit(
          frozen, description, training: rows, validation: nil, on: NativeBackend(), in: context())
        Issue.record("Nothing was refused where '\(words)' was.")
      } catch {
        #expect("\(error)".contains(words), "\(error)")
      }
    }
    try await refused("no convolution or dense layer 'x'", frozen, description(frozen)) { $0.layerName = "x" }
    try await refused("choose among 'node1', 'node4', 'node6'", frozen, description(frozen)) { $0.layerName = "node2" }
    try await refused("There is no exit 2", frozen, description(frozen)) { $0.exitIndex = 2 }
    try await refused("its likelihood is multilabel", frozen, description(frozen, .multilabel))
    var unlabelled = Rows(20)
    unlabelled.given = []
    try await refused("no labels", frozen, description(frozen), unlabelled)
    var wrong = Rows(20)
    wrong.given[4] = 7
    try await refused("Row 4 has label 7", frozen, description(frozen), wrong)
    try await refused("lower the learning rates", frozen, description(frozen), Rows(20, scale: 1e20)) {
      $0.initialDeviation = .fixed(1e25)
    }
    var builder = NetworkBuilder(input: [4, 4, 1])
    builder.add(Convolution(filters: 2, window: Extent2D(height: 3, width: 3)))
    builder.add(Reshape.flatten)
    builder.add(Dense(units: 3))
    let images = try builder.frozen()
    try await refused(
      "would draw its output at every position", images, description(images), Rows(20, width: 16)
    ) { $0.estimator = .localReparametrization }
    // Two uses of one layer come with the same weights.
    var twice = NetworkBuilder(input: [6])
    twice.add(Dense(units: 6))
    twice.add(Dense(units: 6))
    twice.add(Dense(units: 3))
    var shared = try twice.frozen()
    var parameters = shared.parameters
    for name in ["weight", "bias"] {
      parameters[ParameterPath("node2/\(name)")] = parameters[ParameterPath("node1/\(name)")]
    }
    shared = try FrozenNetwork(shared.network, parameters: parameters)
    try await refused("are those of 'node2' too", shared, description(shared))
    try await refused("all zero", try zeroed(frozen), description(frozen)) { $0.prior = .scaled }
  }

  private func zeroed(_ frozen: FrozenNetwork) throws -> FrozenNetwork {
    var parameters = frozen.parameters
    parameters[ParameterPath("node1/weight")] = Tensor(zeros: [6, 8])
    return try FrozenNetwork(frozen.network, parameters: parameters)
  }

  @Test func priorsAndFirstDeviationsAreWhatTheySay() throws {
    let trained = [Tensor<Double>(shape: [2, 2], [3, -4, 0, 5]), Tensor<Double>(shape: [2], [0.1, 0])]
    var recipe = FirstLayerInference()
    recipe.prior = .scaled
    #expect(
      try recipe.prior(of: trained)
        == FactorizedPrior(means: trained.map { $0.map { _ in 0 } }, deviation: Double(12.5).squareRoot()))
    recipe.prior = .centred(deviation: 0.3)
    #expect(try recipe.prior(of: trained) == FactorizedPrior(means: trained, deviation: 0.3))
    expectClose(recipe.initialDistribution(trained).deviations[0][0], Double.log(1 + Double.exp(-3)), tolerance: 1e-15)
    recipe.initialDeviation = .share(0.1)
    expectClose(
      recipe.initialDistribution(trained).deviations[0],
      Tensor(shape: [2, 2], [0.3, 0.4, 1e-4 * Double(12.5).squareRoot(), 0.5]), tolerance: 1e-15)
  }
}
