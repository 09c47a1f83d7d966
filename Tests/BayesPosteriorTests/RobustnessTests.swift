import BayesKernels
import BayesNetwork
import BayesPrediction
import BayesTensor
import RealModule
import Testing
import _BayesTestSupport

@testable import BayesPosterior

/// Attacks against PyTorch, exact answers of linear networks, and what must hold for any.
struct RobustnessTests {
  /// The networks of `make_robustness.py`.
  private struct Golden {
    let value: GoldenValue
    let networks: [FrozenNetwork]
    let rows: Tensor<Float>
    let labels: [Int]
    let preprocessing: Preprocessing

    init() throws {
      value = try GoldenValue(contentsOf: "Robustness/attacks.json")
      networks = try value["networks"].list.map { golden in
        var builder = NetworkBuilder(input: [4, 4, 2])
        builder.add(Convolution(filters: 3, window: Extent2D(height: 3, width: 3), padding: .same))
        builder.add(Activation(.tanh))
        builder.add(Reshape.flatten)
        builder.add(Dense(units: 3))
        var parameters = Parameters()
        parameters[ParameterPath("node1/weight")] = golden["weight"].tensor(as: Float.self)
        parameters[ParameterPath("node1/bias")] = golden["bias"].tensor(as: Float.self)
        parameters[ParameterPath("node4/weight")] = golden["headWeight"].tensor(as: Float.self)
        parameters[ParameterPath("node4/bias")] = golden["headBias"].tensor(as: Float.self)
        return try FrozenNetwork(try builder.frozen().network, parameters: parameters)
      }
      rows = value["rows"].tensor(as: Float.self)
      labels = value["labels"]["values"].numbers.map { Int($0) }
      preprocessing = Preprocessing(
        scale: value["scale"].number, mean: [value["mean"].number],
        standardDeviation: [value["deviation"].number])
    }

    func target(_ count: Int, on backend: any NetworkBackend = ReferenceBackend()) throws -> AttackTarget {
      try AttackTarget(Array(networks[..<count]), exit: 0, preprocessing: preprocessing, on: backend)
    }
  }

  /// A network of one dense layer.
  private static func linear(_ weight: Tensor<Float>, bias: Tensor<Float>? = nil) throws -> FrozenNetwork {
    var builder = NetworkBuilder(input: [weight.shape[0]])
    builder.add(Dense(units: weight.shape[1]))
    var parameters = Parameters()
    parameters[ParameterPath("node1/weight")] = weight
    parameters[ParameterPath("node1/bias")] = bias ?? Tensor(zeros: [weight.shape[1]])
    return try FrozenNetwork(try builder.frozen().network, parameters: parameters)
  }

  @Test(arguments: [true, false]) func gradientsAndStepsAreThoseOfPyTorch(isNative: Bool) async throws {
    let golden = try Golden()
    let backend: any NetworkBackend = try isNative ? NativeBackend() : ReferenceBackend()
    let cases = golden.value["cases"].list
    #expect(cases.count == 4)
    for item in cases {
      let count = Int(item["count"].number)
      let target = try golden.target(count, on: backend)
      var attack = AdversarialAttack.projectedGradient(
        item["norm"].text == "maximum" ? .maximum : .euclidean, radius: item["radius"].number,
        steps: Int(item["steps"].number), restarts: 1, loss: .expectation(draws: count), within: 0...2)
      attack.startsAtRandom = false
      let slope = try await attack.slope(
        at: golden.rows, golden.labels, target, key: RandomKey(seed: 1), width: 1)
      let expected: Tensor<Double> = item["gradient"].tensor()
      for row in golden.labels.indices {
        expectClose(direction(slope.gradient, row), direction(expected, row), tolerance: 1e-5)
        expectClose(slope.losses[row], item["losses"]["values"].numbers[row], tolerance: 1e-5)
      }
      let result = try await attack(golden.rows, labels: golden.labels, target: target, key: RandomKey(seed: 1))
      expectClose(result.inputs.converted(to: Double.self), item["attacked"].tensor(), tolerance: 2e-4)
      for (loss, wanted) in zip(result.losses, item["attackedLosses"]["values"].numbers) {
        expectClose(loss, wanted, tolerance: 1e-3)
      }
      #expect(result.warnings == [])
    }
  }

  private func direction(_ gradient: Tensor<Double>, _ row: Int) -> Tensor<Double> {
    let values = gradient.rows(row..<row + 1)
    let length = values.elements.reduce(0) { $0 + $1 * $1 }.squareRoot()
    return values.map { $0 / length }
  }

  /// The worst change of a linear network of two classes lowers the margin by `ε · |w|` in the dual norm.
  @Test(arguments: AdversarialAttack.Norm.allCases)
  func oneStepIsTheWorstForALinearNetwork(norm: AdversarialAttack.Norm) async throws {
    let key = RandomKey(seed: 4)
    let weight: Tensor<Float> = key.child(0).normals([5, 2], as: Float.self)
    let target = try AttackTarget([Self.linear(weight)], exit: 0, on: NativeBackend())
    let rows: Tensor<Float> = key.child(1).normals([7, 5], as: Float.self)
    let labels = [0, 1, 1, 0, 1, 0, 0]
    let radius = 0.3
    let attack = AdversarialAttack.fastGradient(norm, radius: radius, within: -100...100)
    let result = try await attack(rows, labels: labels, target: target, key: key)
    for (row, label) in labels.enumerated() {
      let sign = label == 0 ? 1.0 : -1.0
      let normal = (0..<5).map { sign * (Double(weight[$0, 0]) - Double(weight[$0, 1])) }
      let margin = (0..<5).reduce(0) { $0 + normal[$1] * Double(rows[row, $1]) }
      let length =
        norm == .maximum
        ? normal.reduce(0) { $0 + abs($1) } : normal.reduce(0) { $0 + $1 * $1 }.squareRoot()
      expectClose(result.losses[row], Double.log(onePlus: Double.exp(radius * length - margin)), tolerance: 1e-5)
    }
  }

  @Test(arguments: AdversarialAttack.Norm.allCases)
  func rowsStayInTheBallAndTheRange(norm: AdversarialAttack.Norm) async throws {
    let golden = try Golden()
    let target = try golden.target(3)
    for radius in [0, 0.05, 1.7, 40] {
      let attack = AdversarialAttack.projectedGradient(
        norm, radius: radius, steps: 5, restarts: 3, loss: .singleDraw, within: 0...2)
      let result = try await attack(golden.rows, labels: golden.labels, target: target, key: RandomKey(seed: 2))
      #expect(result.inputs.elements.allSatisfy { (0...2).contains($0) })
      for row in golden.labels.indices {
        let size = golden.rows.shape.row.elementCount
        let changes = (row * size..<(row + 1) * size).map {
          Double(result.inputs[$0]) - Double(golden.rows[$0])
        }
        let length =
          norm == .maximum
          ? changes.reduce(0) { max($0, abs($1)) } : changes.reduce(0) { $0 + $1 * $1 }.squareRoot()
        #expect(length <= radius + 1e-6)
      }
    }
  }

  /// The averaged single-precision loss keeps the accuracy that PyTorch's keeps; in log space the same attack takes it.
  @Test func averagedProbabilitiesHideWhatLogSpaceShows() async throws {
    let golden = try GoldenValue(contentsOf: "Robustness/underflow.json")
    let rows = golden["rows"].tensor(as: Float.self)
    let labels = golden["labels"]["values"].numbers.map { Int($0) }
    let networks = try golden["weights"].list.map { try Self.linear($0.tensor(as: Float.self)) }
    let target = try AttackTarget(networks, exit: 0, on: NativeBackend())
    var accuracies: [Double] = []
    for loss in [AdversarialAttack.Loss.averagedProbability(draws: 2), .expectation(draws: 2)] {
      var attack = AdversarialAttack.projectedGradient(
        radius: golden["radius"].number, restarts: 1, loss: loss, within: 0...1)
      attack.startsAtRandom = false
      let result = try await attack(rows, labels: labels, target: target, key: RandomKey(seed: 1))
      let answers = try await target.answers(draws: 2, key: RandomKey(seed: 9))(result.inputs, width: 1)
      let right = labels.enumerated().filter { row, label in
        (0..<3).allSatisfy { answers[row, $0] <= answers[row, label] }
      }
      accuracies.append(Double(right.count) / Double(labels.count))
      #expect(result.warnings.contains { $0.contains("underflowed") } == (loss != .expectation(draws: 2)))
    }
    #expect(abs(accuracies[0] - golden["averaged"].number) <= 0.05)
    #expect(abs(accuracies[1] - golden["logarithmic"].number) <= 0.05)
    #expect(accuracies[0] - accuracies[1] >= 0.3)
  }

  @Test func nothingDependsOnThreadsOrOnHowRowsAreCut() async throws {
    let golden = try Golden()
    let target = try golden.target(3)
    let attack = AdversarialAttack.projectedGradient(
      radius: 0.2, steps: 4, loss: .expectation(draws: 3), within: 0...2)
    let key = RandomKey(seed: 3)
    let whole = try await attack(golden.rows, labels: golden.labels, target: target, key: key)
    let wide = try await attack(golden.rows, labels: golden.labels, target: target, key: key, width: 2)
    #expect(wide.inputs == whole.inputs)
    let tail = try await attack(
      golden.rows.rows(4..<6), labels: Array(golden.labels[4...]), target: target, key: key, firstRow: 4)
    expectClose(
      tail.inputs.converted(to: Double.self), whole.inputs.rows(4..<6).converted(to: Double.self), tolerance: 1e-5)
  }

  /// Draws of a layer's weights: none gives the network, and others come at other keys.
  @Test func drawsOfALayerAreAttacked() async throws {
    let golden = try Golden()
    let frozen = golden.networks[0]
    let weights = frozen.network.parameterSpecs(of: 1).map { spec in
      FirstLayerPosterior.Weights(
        path: spec.path, means: frozen.parameters[spec.path]?.converted(to: Double.self) ?? Tensor(zeros: spec.shape),
        deviations: Tensor(repeating: 0.1, shape: spec.shape))
    }
    let posterior = FirstLayerPosterior(
      form: .variational, layerName: "node1", weights: weights, divergenceWeight: 1, rowCount: 6, epochCount: 1,
      exitIndex: 0, dataTerm: 0, initialDataTerm: 1, divergence: 1)
    func target(_ posterior: FirstLayerPosterior) throws -> AttackTarget {
      try AttackTarget(posterior, of: frozen, exit: 0, preprocessing: golden.preprocessing, on: NativeBackend())
    }
    let attack = AdversarialAttack.fastGradient(radius: 0.1, loss: .expectation(draws: 5), within: 0...2)
    let key = RandomKey(seed: 8)
    let plain = try await attack(golden.rows, labels: golden.labels, target: golden.target(1), key: key)
    let mean = try await attack(golden.rows, labels: golden.labels, target: target(posterior.meanAlone), key: key)
    #expect(mean.inputs == plain.inputs)
    let random = try target(posterior)
    #expect(random.isRandom)
    let first = try await random.answers(draws: 3, key: key)(golden.rows, width: 1)
    #expect(try await random.answers(draws: 3, key: key)(golden.rows, width: 1) == first)
    #expect(try await random.answers(draws: 3, key: key.child(1))(golden.rows, width: 1) != first)
    for row in golden.labels.indices {
      expectClose((0..<3).reduce(0) { $0 + Double.exp(first[row, $1]) }, 1, tolerance: 1e-9)
    }
  }

  /// Draws of a last layer spread the logits as the posterior says, and one that predicts by its mean draws nothing.
  @Test(arguments: [LaplaceStructure.kronecker, .folded, .diagonal, .full])
  func drawsOfALastLayerAreAttacked(structure: LaplaceStructure) async throws {
    let problem = ToyProblem()
    let head = problem.head(0)
    var builder = NetworkBuilder(input: [problem.featureCount])
    builder.add(Dense(units: problem.classCount))
    let frozen = try FrozenNetwork(
      try builder.frozen().network,
      parameters: Parameters([
        ParameterPath("node1/weight"): head.weight, ParameterPath("node1/bias"): head.bias,
      ]))
    var recipe = LastLayerLaplace(structure: structure)
    recipe.priorPrecision = .fixed(3)
    recipe.temperature = .fixed(1)
    let context = ExecutionContext(backend: ReferenceBackend(), key: RandomKey(seed: 1))
    var posterior = try await recipe.fit(training: problem.records(), validation: nil, in: context)
    let backend = try NativeBackend()
    let target = try AttackTarget(posterior, of: frozen, exit: 0, on: backend)
    #expect(target.isRandom)
    let row: Tensor<Float> = RandomKey(seed: 6).normals([1, problem.featureCount], as: Float.self)
    let covariance = posterior.exits[0].logitCovariance(
      features: row.converted(to: Double.self).reshaped(to: [problem.featureCount]), on: backend)
    let trained = try await AttackTarget([frozen], exit: 0, on: backend).answers(draws: 1, key: context.key)(
      row, width: 1)
    let count = 800
    var (sums, products) = ([0.0, 0.0], [0.0, 0.0, 0.0])
    for draw in 0..<count {
      let values = try await target.answers(draws: 1, key: RandomKey(seed: 9).child(draw))(row, width: 1)
      let contrasts = (0..<2).map { values[0, $0] - values[0, 2] - trained[0, $0] + trained[0, 2] }
      for k in 0..<2 { sums[k] += contrasts[k] }
      for (index, (a, b)) in [(0, 0), (1, 1), (0, 1)].enumerated() { products[index] += contrasts[a] * contrasts[b] }
    }
    func expected(_ a: Int, _ b: Int) -> Double {
      covariance[a, b] - covariance[a, 2] - covariance[b, 2] + covariance[2, 2]
    }
    for (index, (a, b)) in [(0, 0), (1, 1), (0, 1)].enumerated() {
      // Within four and a half standard errors of Gaussian draws.
      let error = ((expected(a, a) * expected(b, b) + expected(a, b) * expected(a, b)) / Double(count)).squareRoot()
      #expect(abs(products[index] / Double(count) - expected(a, b)) < 4.5 * error)
    }
    for k in 0..<2 { #expect(abs(sums[k] / Double(count)) < 4.5 * (expected(k, k) / Double(count)).squareRoot()) }

    posterior.predictive = .plain
    let plain = try AttackTarget(posterior, of: frozen, exit: 0, on: backend)
    #expect(!plain.isRandom)
    #expect(try await plain.answers(draws: 1, key: context.key)(row, width: 1) == trained)
  }

  /// The draws of dropout that are attacked are made of the key, and their masks pass gradients on.
  @Test func drawsOfDropoutAreAttacked() async throws {
    var builder = NetworkBuilder(input: [6])
    builder.add(Dense(units: 20))
    builder.add(Activation(.tanh))
    builder.add(Identity(dropoutRate: 0.4))
    builder.add(Dense(units: 3))
    let frozen = try builder.frozen()
    let backend = try NativeBackend()
    let key = RandomKey(seed: 12)
    let thinned = try ThinnedNetworks(frozen)
    let members = try (0..<4).map { try thinned.network(draw: $0, key: key) }
    let source = RecordsDescription(
      file: "rows", exits: [ExitDescription(name: "exit", likelihood: .categorical, logitCount: 3)])
    let posterior = try SampledNetworkPosterior(dropoutOf: frozen, draws: 9, key: RandomKey(seed: 1), source: source)
    let target = try AttackTarget(posterior, of: [frozen], exit: 0, draws: 4, key: key, on: backend)
    #expect(target.isRandom && target.drawCount(of: .expectation(draws: 4)) == 4)
    let rows: Tensor<Float> = key.child(1).normals([8, 6], as: Float.self)
    let labels = [0, 1, 2, 0, 1, 2, 0, 1]
    let attack = AdversarialAttack.fastGradient(radius: 0.2, loss: .expectation(draws: 4), within: -9...9)
    let result = try await attack(rows, labels: labels, target: target, key: key)
    let same = try await attack(
      rows, labels: labels, target: AttackTarget(members, exit: 0, on: ReferenceBackend()), key: key)
    expectClose(result.inputs.converted(to: Double.self), same.inputs.converted(to: Double.self), tolerance: 1e-6)
    let before = try await target.answers(draws: 4, key: key)(rows, width: 1)
    for (row, label) in labels.enumerated() { #expect(result.losses[row] > -before[row, label]) }
  }

  @Test func whatCannotBeAttackedIsSaid() async throws {
    let target = try AttackTarget([Self.linear(Tensor(zeros: [2, 3]))], exit: 0, on: NativeBackend())
    let attack = AdversarialAttack.fastGradient(radius: 0.1, within: 0...1)
    let rows = Tensor<Float>(shape: [2, 2], [0.5, 0.2, 0.1, 0.9])
    let flat = try await attack(rows, labels: [0, 1], target: target, key: RandomKey(seed: 1))
    #expect(flat.inputs == rows && flat.rowsWithoutGradient == 2)
    #expect(flat.warnings.first?.hasPrefix("2 of 2 rows have no gradient") == true)
    let error = await #expect(throws: NumericalError.self) {
      _ = try await attack(
        Tensor(shape: [1, 2], [0.5, 7]), labels: [0], target: target, key: RandomKey(seed: 1), firstRow: 12)
    }
    #expect(error?.message.hasPrefix("Row 12 has a value of 7.0") == true)
    let other = try Self.linear(Tensor(zeros: [2, 4]))
    #expect(throws: NetworkError.self) {
      try AttackTarget([Self.linear(Tensor(zeros: [2, 3])), other], exit: 0, on: NativeBackend())
    }
  }
}
