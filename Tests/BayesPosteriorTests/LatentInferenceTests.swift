import BayesKernels
import BayesNetwork
import BayesPrediction
import BayesTensor
import Testing
import _BayesTestSupport

@testable import BayesPosterior

/// Members of scaled layers: what they compute, what training them minimises, and what comes of it.
@Suite struct LatentInferenceTests {
  /// The network, members and step of a golden file.
  struct Step {
    let golden: GoldenValue
    let frozen: FrozenNetwork
    let layers: [MemberLayer]
    let members: [LatentPosterior.Layer]
    let recipe: LatentInference
    let rows: Tensor<Float>
    let labels: [Int]

    init(_ number: Int) throws {
      golden = try GoldenValue(contentsOf: "Latent/objective-\(number).json")
      rows = golden["rows"].tensor(as: Float.self)
      labels = golden["labels"].numbers.map { Int($0) }
      var builder = NetworkBuilder(input: rows.shape.row)
      builder.add(
        Convolution(
          filters: 4, window: Extent2D(height: 3, width: 3), padding: .same, groups: Int(golden["groups"].number)))
      builder.add(BatchNormalization(epsilon: golden["epsilon"].number))
      builder.add(Activation(.tanh))
      builder.add(Reshape.flatten)
      let head = builder.add(Dense(units: 3))
      var parameters = Parameters()
      parameters[ParameterPath("node1/weight")] = golden["kernel"].tensor(as: Float.self)
      parameters[ParameterPath("node1/bias")] = golden["bias"].tensor(as: Float.self)
      for (name, values) in zip(["scale", "offset", "mean", "variance"], golden["normalization"].list) {
        parameters[ParameterPath("node2/\(name)")] = values.tensor(as: Float.self)
      }
      parameters[ParameterPath("node\(head)/weight")] = golden["head"].tensor(as: Float.self)
      parameters[ParameterPath("node\(head)/bias")] = golden["headBias"].tensor(as: Float.self)
      frozen = try FrozenNetwork(try builder.frozen().network, parameters: parameters)
      layers = [try MemberLayer(1, of: frozen.network), try MemberLayer(head, of: frozen.network)]
      var recipe = LatentInference()
      recipe.form = try #require(LatentPosterior.Form(rawValue: golden["form"].text))
      recipe.memberBatch = try #require(LatentInference.MemberBatch(rawValue: golden["batch"].text))
      recipe.divergenceWeight = golden["divergenceWeight"].number
      recipe.memberCount = 3
      recipe.latentCount = 5
      self.recipe = recipe
      let scale = golden["noiseScale"].number
      members = zip(layers, golden["layers"].list).map { layer, golden in
        LatentPosterior.Layer(
          name: layer.name, inputs: golden["inputs"].tensor(), outputs: golden["outputs"].tensor(),
          biases: golden["biases"].tensor(),
          autoencoder: recipe.form.decode.map {
            LatentAutoencoder(decode: $0, noiseScale: scale, parameters: golden["weights"].list.map { $0.tensor() })
          })
      }
    }

    var exit: BayesNetwork.Exit { frozen.network.exits[0] }

    func objective(on backend: any NetworkBackend, width: Int = 1) async throws -> LatentObjective {
      let batch = RowBatch(rows)
      let labels = labels
      return try await LatentObjective(
        recipe, layers, of: frozen, exit: exit, preprocessing: .identity, rowCount: rows.rowCount,
        inputs: { batch.rows($0) }, loss: { try SoftmaxCrossEntropy()($0, labels: $1.map { labels[$0] }) }, on: backend,
        width: width)
    }
  }

  @Test(arguments: 0..<4) func objectiveAndItsGradientAreThoseOfPyTorch(number: Int) async throws {
    let step = try Step(number)
    for backend in [ReferenceBackend(), try NativeBackend()] as [any NetworkBackend] {
      let value = try await step.objective(on: backend)(
        step.members, at: Array(0..<8), noise: step.golden["layers"].list.map { $0["noise"].tensor() })
      // The network computes in single precision.
      expectClose(value.dataTerm, step.golden["dataTerm"].number, tolerance: 2e-6)
      expectClose(value.latentTerm, step.golden["latentTerm"].number, tolerance: 1e-12)
      let expected = step.golden["gradients"].list
      #expect(value.vectors.count + value.autoencoders.count == expected.count)
      for (gradient, golden) in zip(value.vectors + value.autoencoders, expected) {
        expectClose(gradient, golden.tensor(), tolerance: 5e-6, backend.name)
      }
    }
  }

  /// In double precision, of every number of every vector and bias.
  @Test(arguments: 0..<4) func vectorsHaveTheGradientsOfFiniteDifferences(number: Int) throws {
    let step = try Step(number)
    let scaled = try ScaledNetwork(step.layers, of: step.frozen, outputs: [step.exit.logits])
    let (network, rows) = (scaled.frozen.network, step.rows.converted(to: Double.self))
    // Parameters are in single precision, in which these and the steps from them are exact.
    let versions = step.members.map { layer in
      MemberLayer.Version(
        inputs: layer.inputs.rows(0..<1).reshaped(to: [layer.inputs.shape[1]]),
        outputs: layer.outputs.rows(0..<1).reshaped(to: [layer.outputs.shape[1]]),
        bias: layer.biases.rows(0..<1).reshaped(to: [layer.biases.shape[1]])
      ).map { $0.map { ($0 * 4096).rounded() / 4096 } }
    }
    func parameters(_ versions: [MemberLayer.Version]) -> Parameters {
      scaled.frozen.parameters.replacing(scaled.parameters(versions))
    }
    func loss(_ versions: [MemberLayer.Version]) throws -> Double {
      let logits = network.outputs(of: scaled.outputs, for: rows, parameters: parameters(versions), on: ReferenceBackend())
      return try SoftmaxCrossEntropy()(logits[0], labels: step.labels).value
    }
    let gradients = try network.gradients(
      of: scaled.outputs, at: rows, parameters: parameters(versions), withRespectTo: scaled.trainedPaths,
      includingInput: false, on: ReferenceBackend()
    ) { [try SoftmaxCrossEntropy()($0[0], labels: step.labels).cotangent] }.parameters
    let width = 1.0 / 512
    for (index, paths) in scaled.paths.enumerated() {
      let parts: [(ParameterPath, WritableKeyPath<MemberLayer.Version, Tensor<Double>>)] = [
        (paths.inputs, \.inputs), (paths.outputs, \.outputs), (paths.bias, \.bias),
      ]
      for (path, part) in parts {
        let gradient = try #require(gradients[path])
        for position in 0..<gradient.count {
          func at(_ steps: Double) throws -> Double {
            var moved = versions
            moved[index][keyPath: part][position] += steps * width
            return try loss(moved)
          }
          let difference = try (8 * (at(1) - at(-1)) - (at(2) - at(-2))) / (12 * width)
          expectClose(gradient[position], difference, tolerance: 1e-7 * max(1, abs(difference)), "\(path)")
        }
      }
    }
  }

  /// Images with a label for each of as many pixels.
  private struct Pixels: Dataset {
    let file = "pixels"
    let inputs: Tensor<Float>
    let pixels: [Int]

    var rowCount: Int { inputs.rowCount }
    var rowShape: Shape { inputs.shape.row }
    var hasLabels: Bool { true }
    func inputs(_ rows: Range<Int>) throws(FileError) -> RowBatch { RowBatch(inputs.rows(rows)) }
    func labels(_ rows: Range<Int>) throws(FileError) -> [Int] { try labels(rows, as: LabelReading()) }
    func labels(_ rows: Range<Int>, as reading: LabelReading) throws(FileError) -> [Int] {
      let count = pixels.count / rowCount
      return Array(pixels[rows.lowerBound * count..<rows.upperBound * count])
    }
  }

  /// Rows without an answer are left out, and the others keep their labels.
  @Test func rowsWithoutAnAnswerAreLeftOut() throws {
    let description = RecordsDescription(
      file: "pixels", exits: [ExitDescription(name: "exit", likelihood: .categorical, logitCount: 3, multiplyAdds: 1)],
      positions: [2], ignoredLabel: 9)
    let inputs = Tensor<Float>(shape: [4, 1], [0, 1, 2, 3])
    let rows = try StoredRows(Pixels(inputs: inputs, pixels: [9, 1, 9, 9, 2, 0, 9, 9]), description)
    #expect(rows.rowCount == 2)
    #expect(try rows.inputs([1, 0]).tensor.elements == [2, 0])
    #expect(try rows.labels([1, 0]) == [2, 0, 9, 1] && rows.answerCount([0, 1]) == 3)
    #expect(throws: FileError.self) { try StoredRows(Pixels(inputs: inputs, pixels: Array(repeating: 9, count: 8)), description) }
    #expect(throws: FileError.self) {
      try StoredRows(Pixels(inputs: inputs, pixels: Array(repeating: 3, count: 8)), description)
    }
  }

  /// Of networks that answer at every pixel the mean is over the answers that are not ignored.
  @Test func pixelsAreThoseOfPyTorch() async throws {
    let golden = try GoldenValue(contentsOf: "Latent/dense.json")
    let rows = RowBatch(golden["rows"].tensor(as: Float.self))
    let labels = golden["labels"].numbers.map { Int($0) }
    var builder = NetworkBuilder(input: rows.shape.row)
    builder.add(
      Convolution(
        filters: 4, window: Extent2D(height: 3, width: 3), dilation: Extent2D(height: 2, width: 2), padding: .same))
    builder.add(Activation(.tanh))
    builder.add(Convolution(filters: 3, window: Extent2D(height: 1, width: 1)))
    builder.add(Upsampling(factor: Extent2D(height: 2, width: 2), interpolation: .bilinear))
    var parameters = Parameters()
    for (index, node) in [1, 3].enumerated() {
      parameters[ParameterPath("node\(node)/weight")] = golden["kernels"].list[index].tensor(as: Float.self)
      parameters[ParameterPath("node\(node)/bias")] = golden["biases"].list[index].tensor(as: Float.self)
    }
    let frozen = try FrozenNetwork(try builder.frozen().network, parameters: parameters)
    let description = RecordsDescription(
      file: "pixels", exits: [ExitDescription(name: "exit", likelihood: .categorical, logitCount: 3, multiplyAdds: 1)],
      positions: [12, 10], ignoredLabel: Int(golden["ignored"].number))
    let stored = try StoredRows(Pixels(inputs: rows.tensor, pixels: labels), description)
    let loss = DataTerm(description, exit: 0)
    var recipe = LatentInference()
    (recipe.form, recipe.memberBatch, recipe.memberCount) = (.batchEnsemble, .split, 3)
    let layers = try [1, 3].map { try MemberLayer($0, of: frozen.network) }
    let values = golden["values"].list.map { $0.tensor(as: Double.self) }
    let members = layers.enumerated().map { index, layer in
      LatentPosterior.Layer(
        name: layer.name, inputs: values[3 * index + 2], outputs: values[3 * index], biases: values[3 * index + 1],
        autoencoder: nil)
    }
    for backend in [ReferenceBackend(), try NativeBackend()] as [any NetworkBackend] {
      let objective = try await LatentObjective(
        recipe, layers, of: frozen, exit: frozen.network.exits[0], preprocessing: .identity, rowCount: rows.count,
        inputs: stored.inputs, loss: { try loss($0, stored.labels($1)) }, answerCount: stored.answerCount, on: backend, width: 2)
      let value = try await objective(members, at: Array(0..<rows.count), key: RandomKey(seed: 1))
      expectClose(value.dataTerm, golden["dataTerm"].number, tolerance: 2e-6)
      for (gradient, expected) in zip(value.vectors, golden["gradients"].list) {
        expectClose(gradient, expected.tensor(), tolerance: 5e-6, backend.name)
      }
    }
  }

  @Test func sameBitsAtEveryWidth() async throws {
    let step = try Step(0)
    var values: [LatentObjective.Value] = []
    for width in [1, 2, 5] {
      values.append(
        try await step.objective(on: NativeBackend(), width: width)(
          step.members, at: Array(0..<8), key: RandomKey(seed: 3)))
    }
    for other in values.dropFirst() {
      #expect(other.dataTerm == values[0].dataTerm && other.vectors == values[0].vectors)
      #expect(other.autoencoders == values[0].autoencoders)
    }
  }

  /// Rows of a batch are shared out in order, all of them, and repeated where that is asked for.
  @Test func membersGetTheirRows() {
    let rows = [7, 3, 9, 1, 4, 8, 2]
    #expect(LatentObjective.portions(of: rows, among: 3, .split) == [[7, 3], [9, 1], [4, 8, 2]])
    #expect(LatentObjective.portions(of: rows, among: 2, .replicated) == [rows, rows])
    #expect(LatentObjective.portions(of: [5], among: 3, .split) == [[], [], [5]])
  }

  /// Draws are ordered by member, then by draw, and each is the network whose layers are scaled one after the other.
  @Test(arguments: 0..<4) func drawsAreTheScaledNetworks(number: Int) throws {
    let step = try Step(number)
    let key = RandomKey(seed: 9)
    let posterior = LatentPosterior(
      form: step.recipe.form, layers: step.members, statistics: [], divergenceWeights: [0, 0], rowCount: 8, epochCount: 1,
      exitIndex: 0, dataTerm: 0)
    let count = posterior.networkCount(draws: 2)
    #expect(count == (step.recipe.form == .latentSample ? 6 : 3))
    let draws = try LatentDraws(posterior, of: step.frozen, networks: count)
    let scaled = try ScaledNetwork(step.layers, of: step.frozen, outputs: [step.exit.logits])
    let rows = step.rows.converted(to: Double.self)
    for draw in 0..<count {
      let (member, own) = (draw / (count / 3), draw % (count / 3))
      let versions = step.members.enumerated().map { index, layer in
        var inputs = layer.inputs
        if let autoencoder = layer.autoencoder {
          // All members at once: each has the noise of its own draw.
          let noise = (0..<3).map { key.child(index).child($0).child(own).normals([1, 5], as: Double.self) }
          inputs = autoencoder(inputs, noise: .stacking(noise)).reconstructions
        }
        return MemberLayer.Version(
          inputs: inputs.rows(member..<member + 1).reshaped(to: [inputs.shape[1]]),
          outputs: layer.outputs.rows(member..<member + 1).reshaped(to: [layer.outputs.shape[1]]),
          bias: layer.biases.rows(member..<member + 1).reshaped(to: [layer.biases.shape[1]]))
      }
      let expected = scaled.frozen.network.outputs(
        of: scaled.outputs, for: rows, parameters: scaled.frozen.parameters.replacing(scaled.parameters(versions)),
        on: ReferenceBackend())[0]
      let network = try draws.network(draw: draw, key: key)
      let found = network.network.outputs(
        of: [network.network.exits[0].logits], for: rows, parameters: network.parameters, on: ReferenceBackend())[0]
      expectClose(found, expected, tolerance: 1e-5)
    }
  }

  /// Members that scale nothing are the checkpoint, to the bit.
  @Test func identityIsTheCheckpoint() throws {
    let step = try Step(1)
    let posterior = LatentPosterior(
      form: .batchEnsemble,
      layers: step.layers.map { layer in
        let version = layer.untouched(in: step.frozen)
        func repeated(_ vector: Tensor<Double>) -> Tensor<Double> {
          .stacking((0..<3).map { _ in vector.reshaped(to: [1, vector.count]) })
        }
        return LatentPosterior.Layer(
          name: layer.name, inputs: repeated(version.inputs), outputs: repeated(version.outputs),
          biases: repeated(version.bias), autoencoder: nil)
      }, statistics: [], divergenceWeights: [0, 0], rowCount: 8, epochCount: 0, exitIndex: 0, dataTerm: 0)
    let draws = try LatentDraws(posterior, of: step.frozen, networks: 3)
    for draw in 0..<3 {
      let network = try draws.network(draw: draw, key: RandomKey(seed: 1))
      for spec in step.frozen.network.parameterSpecs {
        #expect(network.parameters[spec.path] == step.frozen.parameters[spec.path])
      }
    }
  }
}
