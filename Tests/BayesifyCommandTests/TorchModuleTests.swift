import Bayesify
import Foundation
import Testing
import _BayesTestSupport

/// Modules of PyTorch as `bayesify_torch.py` writes them; each file carries what PyTorch answered.
struct TorchModuleTests {
  private static func file(_ name: String) -> String { golden("TorchModules/\(name).h5") }

  @Test(arguments: [
    "ResNet", "ResNet-bytes", "VGG", "MobileNetV2", "EfficientNet", "DenseNet", "SqueezeNet", "ConvNeXt", "UNet",
    "MSDNet", "TwoExits", "Perceptron",
  ])
  func answersAreThoseOfPyTorch(name: String) throws {
    let file = Self.file(name)
    let checkpoint = try openCheckpoint(file)
    let test = try #require(try NumericSelfTest(of: checkpoint))
    let model = try CheckpointModel(file)
    let comparisons = try test.comparisons(with: model.frozen)
    #expect(comparisons.count == model.frozen.network.exits.count)
    for comparison in comparisons {
      #expect(comparison.meaning == .logits && comparison.rows == 3)
      #expect(comparison.largestDifference <= 1e-5 * comparison.largestOutput, "\(comparison)")
    }
  }

  @Test func exitsArriveByNameAndLikelihood() throws {
    let list = try CheckpointModel(Self.file("MSDNet")).frozen.network.exits
    #expect(list.map(\.name) == ["exit1", "exit2", "exit3", "exit4"])
    #expect(list.allSatisfy { $0.likelihood == .categorical && $0.features != nil })
    let table = try CheckpointModel(Self.file("TwoExits")).frozen.network.exits
    #expect(table.map(\.name) == ["early", "tags"] && table.map(\.likelihood) == [.categorical, .multilabel])
    #expect(try CheckpointModel(Self.file("Perceptron")).frozen.network.exits[0].likelihood == nil)
  }

  /// The dense layer after the flattened image would give other numbers with its rows in another order.
  @Test(arguments: ["flat", "nested", "prefixed", "half"])
  func stateDictionariesNeedAnArchitecture(form: String) throws {
    let file = Self.file("VGG-\(form)")
    let error = #expect(throws: FileError.self) { try CheckpointModel(file) }
    #expect(error?.description.contains("--architecture") == true)
    let graph = Self.file("VGG")
    let model = try CheckpointModel(file, reading: CheckpointReading(architecture: graph))
    let test = try #require(try NumericSelfTest(of: openCheckpoint(graph)))
    for comparison in try test.comparisons(with: model.frozen) {
      // Half precision keeps eleven bits of each weight.
      #expect(comparison.largestDifference <= (form == "half" ? 4e-3 : 1e-5) * comparison.largestOutput)
      #expect(form != "half" || comparison.largestDifference > 0)
    }
  }

  /// With an architecture of Keras, layers find their tensors by shape, and the dense layer behind the flattened image
  /// its rows in the order of channels last.
  @Test(arguments: ["flat", "nested", "prefixed"])
  func stateDictionariesFitArchitecturesOfKeras(form: String) throws {
    let reading = CheckpointReading(architecture: golden("TorchModules/VGG-keras.json"))
    let model = try CheckpointModel(Self.file("VGG-\(form)"), reading: reading)
    let test = try #require(try NumericSelfTest(of: openCheckpoint(Self.file("VGG"))))
    let expected = try #require(test.outputs["exit1"])
    let network = model.frozen.network
    let actual = network.outputs(
      of: network.exits.map(\.logits), for: test.inputs, parameters: model.frozen.parameters, on: ReferenceBackend())
    expectClose(actual[0], expected, tolerance: 1e-5)
  }

  /// Two layers of one shape are told apart by their names, and by nothing else.
  @Test func layersOfOneShapeNeedNames() throws {
    let folder = try TestFolder()
    let file = folder.path("state.h5")
    let writer = try HDF5ArchiveWriter(file, replacing: true)
    for (index, module) in ["model.encoder.first", "model.encoder.second"].enumerated() {
      let weight = Tensor<Float>(shape: [2, 2], [1, 2, 3, 4].map { $0 + Float(10 * index) })
      try writer.write(weight, at: "/\(module).weight")
      try writer.write(Tensor<Float>(shape: [2], [0, 1]), at: "/\(module).bias")
    }
    try writer.finish()
    func architecture(_ first: String, _ second: String) throws -> CheckpointReading {
      func dense(_ name: String) -> String {
        #"{"class_name": "Dense", "config": {"name": "\#(name)", "units": 2, "activation": "linear", "use_bias": true}}"#
      }
      let input = #"{"class_name": "InputLayer", "config": {"name": "in", "batch_shape": [null, 2]}}"#
      let text =
        #"{"class_name": "Sequential", "config": {"name": "s", "layers": ["#
        + [input, dense(first), dense(second)].joined(separator: ", ") + #"]}, "keras_version": "3.15.1"}"#
      let file = folder.path("\(first).json")
      try text.write(toFile: file, atomically: true, encoding: .utf8)
      return CheckpointReading(architecture: file)
    }
    let named = try CheckpointModel(file, reading: architecture("encoder_second", "first")).frozen
    let weight = try #require(named.parameters[ParameterPath(node: "encoder_second", parameter: "weight")])
    #expect(weight == Tensor(shape: [2, 2], [11, 13, 12, 14]))
    let error = #expect(throws: FileError.self) { try CheckpointModel(file, reading: architecture("a", "b")) }
    #expect(error?.description.contains("could be those of 'model.encoder.first' or 'model.encoder.second'") == true)
  }

  @Test func stateDictionariesThatDoNotFitAreRefused() throws {
    func refusal(_ name: String, architecture: String = "VGG") -> String {
      let reading = CheckpointReading(architecture: Self.file(architecture))
      return #expect(throws: FileError.self) { try CheckpointModel(Self.file(name), reading: reading) }?.description ?? ""
    }
    #expect(refusal("VGG-incomplete").contains("1 of the 12 weights") && refusal("VGG-incomplete").contains("classifier.3.bias"))
    #expect(refusal("VGG-twice").contains("2 times, under 'a.' and 'b.'"))
    #expect(refusal("VGG-flat", architecture: "DenseNet").contains("Name the state dictionary of this very network"))
  }

  /// The graph of the file, with some of its text replaced, as an architecture of its own.
  private func refusal(replacing text: String, with other: String) throws -> String {
    let folder = try TestFolder()
    let data = try #require(try openCheckpoint(Self.file("VGG")).architecture)
    let graph = String(decoding: data, as: UTF8.self)
    #expect(graph.contains(text))
    let file = folder.path("graph.json")
    try graph.replacingOccurrences(of: text, with: other).write(toFile: file, atomically: true, encoding: .utf8)
    let reading = CheckpointReading(architecture: file)
    let error = #expect(throws: FileError.self) { try CheckpointModel(Self.file("VGG-flat"), reading: reading) }
    let sentence = error?.description ?? ""
    #expect(sentence.contains(file) && sentence.contains("bayesify_graph"), "\(sentence)")
    return sentence
  }

  @Test func damagedGraphsAreRefused() throws {
    #expect(try refusal(replacing: "\"Dense\"", with: "\"Dance\"").contains("There is no layer 'Dance'"))
    #expect(try refusal(replacing: "\"version\": 1", with: "\"version\": 2").contains("version 2"))
    #expect(try refusal(replacing: "\"logits\": \"classifier.3\"", with: "\"logits\": \"nobody\"").contains("nobody"))
    #expect(try refusal(replacing: "\"units\": 9", with: "\"unity\": 9").contains("units"))
    #expect(try refusal(replacing: "\"filters\": 6", with: "\"filters\": -6").contains("between 1 and"))
    #expect(try refusal(replacing: "\"filters\": 6", with: "\"filters\": 9223372036854775807").contains("between 1 and"))
    #expect(
      try refusal(replacing: "\"inputs\": [\"features.0\"]", with: "\"inputs\": [\"classifier.3\"]")
        .contains("does not precede it"))
    let brackets = "[" + String(repeating: "[],", count: 800_000) + "0]"
    #expect(try refusal(replacing: "\"source\": ", with: "\"more\": \(brackets), \"source\": ").contains("2097152"))
    #expect(try refusal(replacing: "\"axes\": [1, 0]", with: "\"axes\": [1, 1]").contains("no order of axes"))
  }

  @Test func verifyComparesWithAnotherLibrarysAnswers() async throws {
    let folder = try TestFolder()
    let test = try #require(try NumericSelfTest(of: openCheckpoint(Self.file("TwoExits"))))
    let early = try #require(test.outputs["early"])
    func write(_ name: String, inputs: Tensor<Float>, exit: String, _ values: Tensor<Float>) throws -> String {
      let file = folder.path(name)
      let writer = try HDF5ArchiveWriter(file, replacing: true)
      try writer.write(inputs, at: "/inputs")
      try writer.write(values, at: "/" + exit)
      try writer.finish()
      return file
    }
    let right = try write("right.h5", inputs: test.inputs, exit: "early", early)
    let run = try await folder.succeed("inspect", Self.file("TwoExits"), "--verify", right)
    #expect(run.output.contains("early") && run.output.contains("logits"))
    let probabilities = Activation(.softmax).forward([early], parameters: [], on: ReferenceBackend())
    let read = try write("read.h5", inputs: test.inputs, exit: "early", probabilities)
    #expect(
      try await folder.succeed("inspect", Self.file("TwoExits"), "--verify", read, "--json").output
        .contains("probabilities"))
    var wrong = early
    wrong[4] += 0.01
    let off = try write("off.h5", inputs: test.inputs, exit: "early", wrong)
    try await folder.refuse(
      "inspect", Self.file("TwoExits"), "--verify", off, code: 65, naming: off, "'early' is off by up to 0.0")
    let unknown = try write("unknown.h5", inputs: test.inputs, exit: "middle", early)
    try await folder.refuse(
      "inspect", Self.file("TwoExits"), "--verify", unknown, code: 65, naming: unknown, "no exit of this name")
    let short = try write("short.h5", inputs: test.inputs.rows(0..<2), exit: "early", early)
    try await folder.refuse("inspect", Self.file("TwoExits"), "--verify", short, code: 65, naming: short, "[2, 4]")
  }

  /// A file whose answers are not the network's is not imported.
  @Test func aFailedSelfTestStopsTheImport() throws {
    let folder = try TestFolder()
    let source = try openCheckpoint(Self.file("Perceptron"))
    let file = folder.path("changed.h5")
    let writer = try HDF5ArchiveWriter(file, replacing: true)
    for entry in source.entries {
      var tensor = try source.tensor(named: entry.name)
      if entry.name == "/weights/layers.5/bias" { tensor[0] += 0.5 }
      try writer.write(tensor, at: entry.name)
    }
    let graph = try #require(source.architecture)
    try writer.setAttribute("bayesify_graph", .text(String(decoding: graph, as: UTF8.self)), of: "/")
    try writer.finish()
    let error = #expect(throws: FileError.self) { try CheckpointModel(file) }
    #expect(error?.description.contains("do not belong together") == true)
  }
}
