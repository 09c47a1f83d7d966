import BayesNetwork
@testable import BayesPosterior
import BayesPrediction
import BayesTensor
import Testing
import _BayesTestSupport

/// Posteriors over several layers of a network with two exits: files, predictions, data that are refused.
struct WeightLaplacePosteriorTests {
  /// Rows in memory.
  private struct Rows: Dataset {
    var inputs: Tensor<Float>
    var labels: [Int]
    var file: String { "rows.h5" }
    var rowCount: Int { inputs.rowCount }
    var rowShape: Shape { inputs.shape.row }
    var hasLabels: Bool { !labels.isEmpty }
    var classNames: [String] { [] }
    func inputs(_ rows: Range<Int>) throws(FileError) -> RowBatch { RowBatch(inputs.rows(rows)) }
    func labels(_ rows: Range<Int>) throws(FileError) -> [Int] { Array(labels[rows]) }
  }

  private let context = ExecutionContext(key: RandomKey(seed: 1), width: 2)
  private let frozen: FrozenNetwork
  private let training: Rows
  private let description: RecordsDescription

  init() throws {
    var builder = NetworkBuilder(input: [4])
    builder.add(Dense(units: 5))
    let hidden = builder.add(Activation(.tanh))
    let first = builder.add(Dense(units: 3))
    builder.add(Dense(units: 6), after: hidden)
    builder.add(Activation(.tanh))
    let second = builder.add(Dense(units: 3))
    frozen = try builder.frozen(exits: [first, second])
    let inputs = RandomKey(seed: 3).normals([40, 4], as: Float.self)
    training = Rows(inputs: inputs, labels: (0..<40).map { inputs[$0, 0] > 0 ? (inputs[$0, 1] > 0 ? 2 : 1) : 0 })
    description = RecordsDescription(
      file: "rows.h5",
      exits: frozen.network.exits.map(\.name).map { ExitDescription(name: $0, likelihood: .categorical, logitCount: 3) },
      preprocessing: Preprocessing(scale: 2))
  }

  private func posterior(_ recipe: WeightLaplace) async throws -> WeightLaplacePosterior {
    try await recipe.fit(frozen, description, training: training, validation: training, in: context)
  }

  private func predictions(_ posterior: WeightLaplacePosterior, width: Int = 2) async throws -> [[Prediction]] {
    let predictor = try posterior.predictor(
      for: description, of: frozen, in: ExecutionContext(key: RandomKey(seed: 9), width: width))
    let logits = frozen.network.outputs(
      of: frozen.network.exits.map(\.logits), for: training.inputs.map { $0 / 2 }, parameters: frozen.parameters,
      on: ReferenceBackend())
    let records = ExitRecords(
      firstRow: 0, exits: logits.map { ExitRecords.Exit(features: nil, logits: $0) }, labels: training.labels)
    var result: [[Prediction]] = []
    try await predictor.predictions(for: records, of: RowBatch(training.inputs)) { _, block in result.append(block) }
    return result
  }

  static let recipes: [WeightLaplace] = [
    WeightLaplace(structure: .kronecker, priorPrecision: .marginalLikelihoodOfLayers),
    WeightLaplace(structure: .full, priorPrecision: .fixed(2), predictive: .functionSpace, sampleCount: 6),
    WeightLaplace(
      scope: .last(1), structure: .diagonal, priorPrecision: .validation, temperature: .validation, predictive: .bridge),
    WeightLaplace(structure: .diagonal, subnetworkCount: 7, temperature: .fixed(2), predictive: .probit),
    WeightLaplace(scope: .all, structure: .full, subnetworkCount: 9, predictive: .plain),
  ]

  @Test(arguments: recipes.indices)
  func filesKeepEveryBit(recipe: Int) async throws {
    let posterior = try await posterior(Self.recipes[recipe])
    let archive = MemoryArchive()
    try posterior.write(to: archive)
    let read = try WeightLaplacePosterior(from: archive)
    #expect(read.exits == posterior.exits)
    #expect(read.scope == posterior.scope && read.structure == posterior.structure)
    var source = posterior.source
    source.file = archive.file
    #expect(read.source == source)
    let predictions = try await predictions(posterior)
    #expect(try await self.predictions(read) == predictions)
    #expect(try await self.predictions(posterior, width: 1) == predictions)
    #expect(predictions.allSatisfy { $0.map(\.exit) == [0, 1] })
  }

  /// The last layer of each exit, fitted as one of the network's layers, predicts as last-layer Laplace does.
  @Test(arguments: [LaplacePredictive.whitened, .probit, .centredProbit, .functionSpace, .bridge])
  func lastLayersPredictAsLastLayerLaplace(predictive: LaplacePredictive) async throws {
    let weights = try await posterior(
      WeightLaplace(
        scope: .last(1), structure: .full, priorPrecision: .fixed(0.7), temperature: .fixed(1.5), predictive: predictive,
        sampleCount: 12))
    let nodes = frozen.network.exits.flatMap { [frozen.network.nodes[$0.logits].inputs[0], $0.logits] }
    let values = frozen.network.outputs(
      of: nodes, for: training.inputs.map { $0 / 2 }, parameters: frozen.parameters, on: ReferenceBackend())
    func tensor(_ exit: Int, _ name: String) throws -> Tensor<Float> {
      let node = frozen.network.exits[exit].logits
      let specs = frozen.network.parameterSpecs(of: node)
      return try #require(frozen.parameters[specs[name == "weight" ? 0 : 1].path])
    }
    var source = description
    var exits: [ExitRecords.Exit] = []
    for exit in 0..<2 {
      let features = values[2 * exit]
      source.exits[exit].featureCount = features.shape[1]
      source.exits[exit].head = ExitHead(weight: try tensor(exit, "weight"), bias: try tensor(exit, "bias"))
      exits.append(ExitRecords.Exit(features: features, logits: values[2 * exit + 1]))
    }
    let records = ExitRecords(firstRow: 0, exits: exits, labels: training.labels)
    let last = try await LastLayerLaplace(
      structure: .full, predictive: predictive, sampleCount: 12, priorPrecision: .fixed(0.7), temperature: .fixed(1.5)
    ).fit(training: InMemoryExitRecords(records, description: source), validation: nil, in: context)
    let expected = try last.predictor(for: source, in: context).predict(records)
    let actual = try await predictions(weights)
    for exit in 0..<2 {
      // Blocks of rows, one after the other.
      let probabilities = Tensor.stacking(actual.map { $0[exit].probabilities() })
      expectClose(probabilities, expected[exit].probabilities(), tolerance: 2e-5)
    }
  }

  static let damages: [(name: String, damage: @Sendable (MemoryArchive) -> Void, words: String)] = [
    ("scope", { $0.set("scope", .text("last:0"), of: "/") }, "'scope' is 'last:0'"),
    ("structure", { $0.set("structure", .text("low-rank"), of: "/") }, "'low-rank'"),
    ("layers", { $0.set("layerCount", .integer(0), of: "/exits/0") }, "layers is 0"),
    ("many layers", { $0.set("layerCount", .integer(50_000), of: "/exits/0") }, "from 1 to 10000"),
    ("logits", { $0.set("logitCount", .integer(1), of: "/exits/1") }, "1 logit(s)"),
    ("matrix", { $0.set("inputCount", .integer(-3), of: "/exits/0/layers/0") }, "-3 by"),
    ("prior", { $0.put(Tensor(zeros: [1]), at: "/exits/0/priorPrecisions") }, "A prior precision is 0.0"),
    ("selection", { $0.put(Tensor(shape: [7], [0, 2, 1, 3, 4, 5, 6]), at: "/exits/0/selection") }, "in order"),
    ("far", { $0.put(Tensor(shape: [7], [0, 1, 2, 3, 4, 5, 600]), at: "/exits/0/selection") }, "in order"),
    ("values", { $0.put(Tensor(zeros: [8]), at: "/exits/1/values") }, "/exits/1/values"),
    ("rows", { $0.set("rowCount", .integer(0), of: "/exits/0") }, "rows is 0"),
  ]

  @Test(arguments: damages.indices)
  func damagedFilesAreRefusedByName(index: Int) async throws {
    let archive = MemoryArchive()
    try await posterior(Self.recipes[3]).write(to: archive)
    Self.damages[index].damage(archive)
    let error = try #require(throws: FileError.self, "\(Self.damages[index].name)") {
      try WeightLaplacePosterior(from: archive)
    }
    #expect("\(error)".contains(Self.damages[index].words), "\(error)")
  }

  @Test func unfitDataAreRefused() async throws {
    var wrong = training
    wrong.labels[17] = 3
    var error = try await #require(throws: FileError.self) {
      _ = try await WeightLaplace().fit(frozen, description, training: wrong, validation: nil, in: context)
    }
    #expect("\(error)".contains("Row 17 has label 3"))
    wrong.labels = []
    error = try await #require(throws: FileError.self) {
      _ = try await WeightLaplace(temperature: .validation).fit(
        frozen, description, training: training, validation: wrong, in: context)
    }
    #expect("\(error)".contains("have no labels"))
    wrong.inputs = Tensor(zeros: [3, 5])
    error = try await #require(throws: FileError.self) {
      _ = try await WeightLaplace().fit(frozen, description, training: wrong, validation: nil, in: context)
    }
    #expect("\(error)".contains("Rows are [5]"))
  }

  @Test func anotherNetworkIsRefused() async throws {
    let posterior = try await posterior(Self.recipes[0])
    var other = NetworkBuilder(input: [4])
    other.add(Dense(units: 3))
    let network = try other.frozen()
    let error = try #require(throws: FileError.self) {
      try posterior.predictor(for: description, of: network, in: context)
    }
    #expect("\(error)".contains("not those of the network"))
  }

  @Test(arguments: [("all", LayerScope.all), ("last:3", .last(3)), ("a, b", .named(["a", "b"]))])
  func scopesHaveTexts(text: String, scope: LayerScope) {
    #expect(LayerScope(text) == scope)
    #expect(LayerScope(scope.text) == scope)
    #expect(LayerScope("last:0") == nil && LayerScope("last:x") == nil && LayerScope("") == nil)
  }
}
