import BayesNetwork
import BayesTensor
import Testing

/// How weights are found where names do not tell.
struct KerasWeightTests {
  private func dense(_ units: Int, _ name: String, trainable: Bool = true) -> String {
    KerasJSON.layer("Dense", name, #""units": \#(units), "trainable": \#(trainable)"#)
  }

  private func sources(_ checkpoint: MemoryCheckpoint) throws -> [String: String] {
    let imported = try KerasArchitecture.network(of: checkpoint)
    return Dictionary(uniqueKeysWithValues: imported.sources.map { ($0.description, $1.name) })
  }

  /// Names of another session that overlap with this one's mislead; the order does not.
  @Test func layersOfAnotherSessionAreFoundInOrder() throws {
    let json = KerasJSON.sequential(KerasJSON.input("4"), dense(4, "dense_1"), dense(4, "dense_2"))
    let found = try sources(
      MemoryCheckpoint(
        json,
        weights: [
          ("dense", [("dense/kernel:0", [4, 4]), ("dense/bias:0", [4])]), ("dropout", []),
          ("dense_1", [("dense_1/kernel:0", [4, 4]), ("dense_1/bias:0", [4])]),
        ]))
    #expect(found["dense_1/weight"] == "model_weights/dense/dense/kernel:0")
    #expect(found["dense_2/bias"] == "model_weights/dense_1/dense_1/bias:0")
  }

  /// Where all names are there, they count and not the order.
  @Test func layersOfTheSameNamesAreFoundByName() throws {
    let json = KerasJSON.sequential(KerasJSON.input("4"), dense(4, "a"), dense(4, "b"))
    let found = try sources(
      MemoryCheckpoint(
        json,
        weights: ["b", "a"].map { ($0, [("\($0)/kernel:0", [4, 4]), ("\($0)/bias:0", [4])]) }))
    #expect(found["a/weight"] == "model_weights/a/a/kernel:0")
  }

  /// Keras lists what is trained first, so a frozen layer's weights come last.
  @Test func unnamedWeightsOfAnInnerModelFollowTheOrderOfTraining() throws {
    let inner = #"""
      {"class_name": "Sequential", "config": {"name": "inner", "layers": [\#(dense(4, "a", trainable: false)), \#(
        KerasJSON.layer("BatchNormalization", "n")), \#(dense(4, "b"))]}}
      """#
    let json = KerasJSON.sequential(KerasJSON.input("4"), inner)
    let shapes: [Shape] = [[4], [4], [4, 4], [4], [4, 4], [4], [4], [4]]
    let found = try sources(
      MemoryCheckpoint(json, weights: [("inner", shapes.enumerated().map { ("v\($0)", $1) })]))
    func entry(_ position: Int) -> String { "model_weights/inner/v\(position)" }
    #expect(found["inner/n/scale"] == entry(0))
    #expect(found["inner/n/offset"] == entry(1))
    #expect(found["inner/b/weight"] == entry(2))
    #expect(found["inner/b/bias"] == entry(3))
    #expect(found["inner/a/weight"] == entry(4))
    #expect(found["inner/a/bias"] == entry(5))
    #expect(found["inner/n/mean"] == entry(6))
    #expect(found["inner/n/variance"] == entry(7))
  }

  /// The order is only followed where every shape fits.
  @Test func unnamedWeightsOfOtherShapesAreMissing() {
    let json = KerasJSON.sequential(KerasJSON.input("4"), dense(3, "a"))
    let error = #expect(throws: FileError.self) {
      try FrozenNetwork(importing: MemoryCheckpoint(json, weights: [("a", [("x", [3]), ("y", [4, 3])])]))
    }
    #expect(error?.code == .missing)
  }

  /// A layer used twice gets a node for each use, both with its weights.
  @Test func sharedLayersKeepTheirWeights() throws {
    let twice = dense(4, "x").dropLast() + #", "name": "x", "inbound_nodes": [[["image", 0, 0, {}]], [["x", 0, 0, {}]]]}"#
    let json = KerasJSON.functional(
      KerasJSON.node("InputLayer", "image", #""batch_input_shape": [null, 4]"#), String(twice),
      outputs: #"["x", 1, 0]"#)
    let found = try sources(MemoryCheckpoint(json, weights: [("x", [("x/kernel:0", [4, 4]), ("x/bias:0", [4])])]))
    #expect(found["x/weight"] == "model_weights/x/x/kernel:0")
    #expect(found["x/use2/weight"] == found["x/weight"])
  }

  /// Kernels that Theano made lie in another order and are turned round.
  @Test func kernelsOfTheanoAreTurned() throws {
    let json = KerasJSON.sequential(
      KerasJSON.input("4, 4, 2"), KerasJSON.layer("Conv2D", "c", #""filters": 3, "kernel_size": [2, 3], "use_bias": false"#))
    var checkpoint = MemoryCheckpoint(json, weights: [("c", [("c_W", [3, 2, 2, 3])])])
    checkpoint.kerasVersion = 1
    let frozen = try FrozenNetwork(importing: checkpoint, backend: .theano)
    let weight = try #require(frozen.parameters[ParameterPath("c/weight")])
    #expect(weight.shape == [2, 3, 2, 3])
    // Elements of the file count up from zero: [out, in, height, width].
    for (h, w, i, o) in [(0, 0, 0, 0), (1, 2, 1, 2), (0, 1, 1, 2)] {
      #expect(weight[((h * 3 + w) * 2 + i) * 3 + o] == Float(((o * 2 + i) * 2 + (1 - h)) * 3 + (2 - w)))
    }
    let straight = try FrozenNetwork(importing: checkpoint, backend: .tensorflow)
    #expect(straight.parameters[ParameterPath("c/weight")]?[0] == 0)
    #expect(throws: FileError.self) { try FrozenNetwork(importing: checkpoint) }
  }

  /// Theano lays the border of such windows elsewhere.
  @Test(arguments: [(#""kernel_size": [2, 2]"#, true), (#""kernel_size": [3, 3], "strides": [2, 2]"#, true), (#""kernel_size": [3, 3]"#, false)])
  func unevenBordersOfTheanoAreRefused(_ settings: String, _ isRefused: Bool) throws {
    let size = settings.contains("[2, 2]") && !settings.contains("strides") ? 2 : 3
    let json = KerasJSON.sequential(
      KerasJSON.input("4, 4, 1"),
      KerasJSON.layer("Conv2D", "c", #""filters": 1, "padding": "same", "use_bias": false, \#(settings)"#))
    var checkpoint = MemoryCheckpoint(json, weights: [("c", [("c/kernel:0", [size, size, 1, 1])])])
    checkpoint.kerasBackend = "theano"
    if isRefused {
      let error = #expect(throws: FileError.self) { try FrozenNetwork(importing: checkpoint) }
      #expect(error?.message.contains("Theano computed the network") == true)
      #expect(error?.object == "c")
    } else {
      _ = try FrozenNetwork(importing: checkpoint)
    }
  }

  /// The numbers of objects count a class's layers, and `dense_10` follows `dense_9`.
  @Test func objectsAreOrderedByNumber() throws {
    let layers = (0..<12).map { dense(4, "layer\($0)") }.joined(separator: ", ")
    var checkpoint = MemoryCheckpoint(KerasJSON.sequential(KerasJSON.input("4"), layers))
    checkpoint.put((0..<12).map { ("layers/dense" + ($0 == 0 ? "" : "_\($0)"), [[4, 4], [4]]) })
    let found = try sources(checkpoint)
    #expect(found["layer0/weight"] == "layers/dense/vars/0")
    #expect(found["layer2/bias"] == "layers/dense_2/vars/1")
    #expect(found["layer10/weight"] == "layers/dense_10/vars/0")

    // Versions before 2.15 count every layer twice.
    var older = MemoryCheckpoint(KerasJSON.sequential(KerasJSON.input("4"), layers))
    older.put((0..<12).map { ("_layer_checkpoint_dependencies/dense" + ($0 == 0 ? "" : "_\(2 * $0)"), [[4, 4], [4]]) })
    #expect(try sources(older)["layer10/weight"] == "_layer_checkpoint_dependencies/dense_20/vars/0")
  }

  /// A network with two inputs takes both in one row.
  @Test func severalInputsBecomeOne() throws {
    let json = KerasJSON.functional(
      KerasJSON.node("InputLayer", "left", #""batch_input_shape": [null, 2, 3]"#),
      KerasJSON.node("InputLayer", "right", #""batch_input_shape": [null, 6]"#),
      KerasJSON.node("Flatten", "flat", on: "left"), KerasJSON.node("Subtract", "difference", on: "right", "flat"),
      inputs: #"["left", 0, 0], ["right", 0, 0]"#, outputs: #"["difference", 0, 0]"#)
    let network = try KerasArchitecture.network(of: MemoryCheckpoint(json)).network
    #expect(network.inputShape == [12])
    #expect(network.nodes[0].name == "left+right")
    let rows = Tensor<Float>(shape: [2, 12], (0..<24).map { Float($0 * $0) })
    let output = network.outputs(
      of: [network.exits[0].logits], for: rows, parameters: Parameters(), on: ReferenceBackend())[0]
    #expect(output.elements.elementsEqual((0..<12).map { rows[$0 / 6 * 12 + 6 + $0 % 6] - rows[$0 / 6 * 12 + $0 % 6] }))
  }
}
