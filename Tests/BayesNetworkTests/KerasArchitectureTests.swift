import BayesNetwork
import BayesTensor
import Testing
import _BayesTestSupport

/// Whole models in the forms of each version.
@Suite struct KerasArchitectureTests {
  private func imported(_ checkpoint: MemoryCheckpoint) throws -> ImportedArchitecture {
    try KerasArchitecture.network(of: checkpoint)
  }

  private func names(_ network: Network) -> [String] { network.nodes.map(\.name) }

  /// The names of a network's parameters and of their entries, past the file's common folder.
  private func sources(_ imported: ImportedArchitecture) -> [String: String] {
    Dictionary(
      uniqueKeysWithValues: imported.sources.map {
        ($0.description, String($1.name.dropFirst("model_weights/".count)))
      })
  }

  @Test func sequentialModelsOfKeras1() throws {
    let json = #"""
      {"class_name": "Sequential", "config": [
        {"class_name": "Convolution2D", "config": {"name": "convolution2d_1", "batch_input_shape": [null, 6, 6, 3],
          "nb_filter": 4, "nb_row": 3, "nb_col": 2, "subsample": [1, 2], "border_mode": "same",
          "dim_ordering": "tf", "bias": false, "activation": "relu"}},
        {"class_name": "BatchNormalization", "config": {"name": "bn", "mode": 0, "axis": -1, "epsilon": 1e-05}},
        {"class_name": "Flatten", "config": {"name": "flatten_1"}},
        {"class_name": "Dropout", "config": {"name": "dropout_1", "p": 0.25}},
        {"class_name": "Dense", "config": {"name": "dense_1", "output_dim": 5, "activation": "softmax"}}]}
      """#
    let imported = try imported(
      MemoryCheckpoint(
        json,
        weights: [
          ("convolution2d_1", [("convolution2d_1_W", [3, 2, 3, 4])]),
          (
            "bn",
            [
              ("bn_gamma", [4]), ("bn_beta", [4]), ("bn_running_mean", [4]), ("bn_running_std", [4]),
            ]
          ),
          ("dense_1", [("dense_1_W", [72, 5]), ("dense_1_b", [5])]),
        ]))
    let network = imported.network
    #expect(
      names(network) == [
        "convolution2d_1_input", "convolution2d_1", "convolution2d_1/activation", "bn", "flatten_1",
        "dropout_1", "dense_1", "dense_1/activation",
      ])
    #expect(
      network.nodes[1].layer as? Convolution
        == Convolution(
          filters: 4, window: Extent2D(height: 3, width: 2), strides: Extent2D(height: 1, width: 2),
          padding: .same, usesBias: false))
    #expect(network.nodes[3].layer as? BatchNormalization == BatchNormalization(epsilon: 1e-5))
    #expect(network.nodes[5].layer as? Identity == Identity(dropoutRate: 0.25))
    #expect(network.exits == [Exit(name: "dense_1", logits: 6, features: 4, likelihood: .categorical)])
    #expect(
      sources(imported) == [
        "convolution2d_1/weight": "convolution2d_1/convolution2d_1_W",
        "bn/scale": "bn/bn_gamma", "bn/offset": "bn/bn_beta", "bn/mean": "bn/bn_running_mean",
        "bn/variance": "bn/bn_running_std",
        "dense_1/weight": "dense_1/dense_1_W", "dense_1/bias": "dense_1/dense_1_b",
      ])
  }

  @Test func functionalModelsOfKeras2() throws {
    let json = KerasJSON.functional(
      // Layers need not stand in the order in which they are computed.
      KerasJSON.node("Dense", "head", #""units": 2"#, on: "pool"),
      KerasJSON.node("InputLayer", "image", #""batch_input_shape": [null, 4, 4, 3]"#),
      KerasJSON.node("Add", "sum", on: "image", "conv"),
      KerasJSON.node("Conv2D", "conv", #""filters": 3, "kernel_size": [3, 3], "padding": "same""#, on: "image"),
      KerasJSON.node("GlobalAveragePooling2D", "pool", on: "sum"),
      outputs: #"["head", 0, 0]"#)
    let imported = try imported(
      MemoryCheckpoint(
        json,
        weights: [
          // The number in the path is Keras' own, from a second model in the same session.
          ("head", [("head_1/bias:0", [2]), ("head_1/kernel:0", [3, 2])]),
          ("conv", [("conv/kernel:0", [3, 3, 3, 3]), ("conv/bias:0", [3])]),
        ]))
    #expect(names(imported.network) == ["image", "conv", "sum", "pool", "head"])
    #expect(imported.network.nodes[2].inputs == [0, 1])
    #expect(imported.network.exits == [Exit(name: "head", logits: 4, features: 3, likelihood: nil)])
    #expect(sources(imported)["head/weight"] == "head/head_1/kernel:0")
    #expect(sources(imported)["head/bias"] == "head/head_1/bias:0")
  }

  @Test func functionalModelsOfKeras3WithSeveralExits() throws {
    let json = KerasJSON.functional(
      KerasJSON.node3("InputLayer", "image", #""batch_shape": [null, 8]"#),
      KerasJSON.node3("Dense", "trunk", #""units": 6, "activation": "hard_sigmoid""#, on: "image"),
      KerasJSON.node3("Dense", "late_logits", #""units": 3"#, on: "trunk"),
      KerasJSON.node3("Softmax", "late", on: "late_logits"),
      KerasJSON.node3("Concatenate", "both", #""axis": -1"#, on: "image", "trunk"),
      KerasJSON.node3("Dense", "early", #""units": 3, "activation": "sigmoid""#, on: "image"),
      outputs: #"["late", 0, 0], ["both", 0, 0], ["early", 0, 0]"#)
    let imported = try imported(
      MemoryCheckpoint(
        json,
        weights: [
          ("trunk", [("trunk/kernel", [8, 6]), ("trunk/bias", [6])]),
          ("late_logits", [("kernel", [6, 3]), ("bias", [3])]),
          ("early", [("model/early/kernel", [8, 3]), ("model/early/bias", [3])]),
        ]))
    let network = imported.network
    #expect(
      network.nodes.first { $0.name == "trunk/activation" }?.layer as? Activation
        == Activation(.hardSigmoid(slope: 1 / 6, offset: 0.5)))
    #expect(network.exits.map(\.name) == ["early", "both", "late"])
    #expect(network.exits.map(\.likelihood) == [.multilabel, nil, .categorical])
    #expect(network.exits.map { network.nodes[$0.logits].name } == ["early", "both", "late_logits"])
    #expect(
      network.exits.map { $0.features.map { network.nodes[$0].name } } == ["image", nil, "trunk/activation"])
    #expect(imported.sources.count == 6)
  }

  @Test func aSingleInputAndOutputMayBeWrittenFlat() throws {
    let json = #"""
      {"class_name": "Functional", "config": {"name": "m", "layers": [
        \#(KerasJSON.node3("InputLayer", "image", #""batch_shape": [null, 8]"#)),
        \#(KerasJSON.node3("ReLU", "relu", on: "image"))],
        "input_layers": ["image", 0, 0], "output_layers": ["relu", 0, 0]}}
      """#
    #expect(try imported(MemoryCheckpoint(json)).network.exits.map(\.name) == ["relu"])
  }

  @Test(arguments: [
    KerasJSON.sequential(KerasJSON.input("4, 3"), KerasJSON.layer("Flatten", "flatten")),
    KerasJSON.sequential(KerasJSON.input("4, 3", key: "batch_shape"), KerasJSON.layer("Flatten", "flatten")),
    KerasJSON.sequential(KerasJSON.layer("Flatten", "flatten", #""batch_input_shape": [null, 4, 3]"#)),
    KerasJSON.sequential(
      KerasJSON.layer("Flatten", "flatten"), settings: #", "build_input_shape": [null, 4, 3]"#),
    KerasJSON.sequential(
      #"{"class_name": "Flatten", "config": {"name": "flatten"}, "build_config": {"input_shape": [null, 4, 3]}}"#),
    KerasJSON.sequential(
      KerasJSON.functional(
        KerasJSON.node("InputLayer", "image", #""batch_input_shape": [null, 4, 3]"#),
        KerasJSON.node("Flatten", "inner", on: "image"), outputs: #"["inner", 0, 0]"#)),
  ])
  func theInputShapeIsFoundWhereverAVersionPutsIt(json: String) throws {
    let network = try imported(MemoryCheckpoint(json)).network
    #expect(network.inputShape == [4, 3])
    #expect(network.shapes.last == [12])
  }

  // MARK: Models inside models

  private let backbone = KerasJSON.functional(
    KerasJSON.node("InputLayer", "inner_image", #""batch_input_shape": [null, 4]"#),
    KerasJSON.node("Dense", "a", #""units": 4"#, on: "inner_image"),
    KerasJSON.node("Dense", "b", #""units": 4"#, on: "a"),
    KerasJSON.node("Add", "sum", on: "a", "b"),
    inputs: #"["inner_image", 0, 0]"#, outputs: #"["sum", 0, 0]"#, name: "backbone")

  private var outer: String {
    KerasJSON.functional(
      KerasJSON.node("InputLayer", "image", #""batch_input_shape": [null, 4]"#),
      // Keras 2 counts the making of the inner model as its call 0.
      backbone.dropLast() + #", "name": "backbone", "inbound_nodes": [[["image", 0, 0, {}]]]}"#,
      #"""
      {"class_name": "Dense", "config": {"name": "head", "units": 2, "activation": "softmax"}, "name": "head",
       "inbound_nodes": [[["backbone", 1, 0, {}]]]}
      """#,
      outputs: #"["head", 0, 0]"#)
  }

  @Test(arguments: [
    // All trainable weights come before all others, and freezing moves them: order means nothing.
    ["b/kernel:0", "a/bias:0", "a/kernel:0", "b/bias:0"],
    ["backbone/a/kernel", "backbone/a/bias", "backbone/b/kernel", "backbone/b/bias"],
    ["backbone/backbone/b/kernel", "backbone/b/bias", "backbone/a/kernel", "backbone/a/bias"],
    ["a_1/kernel:0", "a_1/bias:0", "b_2/kernel:0", "b_2/bias:0"],
  ])
  func modelsInsideModelsAreLaidOpen(weightNames: [String]) throws {
    let inner = weightNames.map { ($0, $0.contains("kernel") ? [4, 4] : [4] as Shape) }
    let imported = try imported(
      MemoryCheckpoint(
        outer, weights: [("backbone", inner), ("head", [("head/kernel:0", [4, 2]), ("head/bias:0", [2])])]))
    #expect(
      names(imported.network)
        == ["image", "backbone/a", "backbone/b", "backbone/sum", "head", "head/activation"])
    #expect(imported.network.exits[0].features == 3)
    for layer in ["a", "b"] {
      for (parameter, weight) in [("weight", "kernel"), ("bias", "bias")] {
        let entry = try #require(sources(imported)["backbone/\(layer)/\(parameter)"])
        #expect(entry.contains("/\(layer)") && entry.contains(weight))
      }
    }
  }

  @Test func layersOfOneNameInTwoInnerModelsAreToldApart() throws {
    func inner(_ name: String) -> String {
      model(name, KerasJSON.layer("Dense", "d", #""units": 4"#))
    }
    func model(_ name: String, _ layers: String) -> String {
      #"{"class_name": "Sequential", "config": {"name": "\#(name)", "layers": [\#(layers)]}}"#
    }
    let json = KerasJSON.sequential(
      KerasJSON.input("4"), model("both", inner("one") + ", " + inner("two")))
    let imported = try imported(
      MemoryCheckpoint(
        json,
        weights: [
          (
            "both",
            ["two/d/kernel", "two/d/bias", "one/d/kernel", "one/d/bias"].map {
              ("both/" + $0, $0.hasSuffix("kernel") ? [4, 4] : [4])
            }
          )
        ]))
    #expect(sources(imported)["both/one/d/weight"] == "both/both/one/d/kernel")
    #expect(sources(imported)["both/two/d/weight"] == "both/both/two/d/kernel")

    // Keras 2 does not name the inner models, and Keras 3.0 not even the layers.
    for name in ["d/kernel:0", "kernel"] {
      let error = #expect(throws: FileError.self) {
        try KerasArchitecture.network(
          of: MemoryCheckpoint(json, weights: [("both", [(name, [4, 4]), (name, [4, 4])])]))
      }
      for part in ["both/one/d (Dense)", "both/two/d (Dense)", "the file does not tell which of"] {
        #expect(error?.message.contains(part) == true)
      }
    }
  }

  // MARK: Exits

  /// The exit of a model on rows of eight, with its nodes' names.
  private func exit(_ layers: String...) throws -> (
    logits: String, features: String?, likelihood: Likelihood?
  ) {
    let json = KerasJSON.sequential(KerasJSON.input("8"), layers.joined(separator: ", "))
    let network = try imported(MemoryCheckpoint(json)).network
    let exit = network.exits[0]
    return (network.nodes[exit.logits].name, exit.features.map { network.nodes[$0].name }, exit.likelihood)
  }

  private func dense(_ units: Int, _ activation: String = "linear", name: String = "head") -> String {
    KerasJSON.layer("Dense", name, #""units": \#(units), "activation": "\#(activation)""#)
  }

  @Test func theActivationAtTheEndGivesTheLikelihood() throws {
    #expect(try exit(dense(3, "softmax")) == ("head", "image", .categorical))
    #expect(try exit(dense(1, "sigmoid")) == ("head", "image", .binary))
    #expect(try exit(dense(3, "sigmoid")) == ("head", "image", .multilabel))
    #expect(try exit(dense(3)) == ("head", "image", nil))
    #expect(try exit(dense(3, "tanh")) == ("head/activation", nil, nil))
    let softmax = KerasJSON.layer("Activation", "softmax", #""activation": "softmax""#)
    #expect(try exit(dense(3), softmax) == ("head", "image", .categorical))
    #expect(try exit(dense(3), KerasJSON.layer("Softmax", "s")) == ("head", "image", .categorical))
    // Without a dense layer there is nothing to call features.
    #expect(try exit(KerasJSON.layer("Softmax", "s")) == ("image", nil, .categorical))
  }

  @Test func whatChangesNothingIsPassedOver() throws {
    let dropout = KerasJSON.layer("Dropout", "drop", #""rate": 0.5"#)
    let linear = KerasJSON.layer("Activation", "line", #""activation": "linear""#)
    #expect(try exit(dropout, dense(3), linear, KerasJSON.layer("Softmax", "s")) == ("head", "image", .categorical))
    #expect(
      try exit(dense(3, "softmax"), KerasJSON.layer("Flatten", "flat"), linear) == ("head", "image", .categorical))
    #expect(
      try exit(dense(3, "softmax"), KerasJSON.layer("Reshape", "r", #""target_shape": [3]"#))
        == ("head", "image", .categorical))
  }

  @Test func aVectorMayBeReshapedAfterItsSoftmax() throws {
    let json = KerasJSON.sequential(
      KerasJSON.input("1, 1, 8"),
      KerasJSON.layer("Conv2D", "conv", #""filters": 3, "kernel_size": 1, "activation": "softmax""#),
      KerasJSON.layer("Reshape", "r", #""target_shape": [3]"#))
    let network = try imported(MemoryCheckpoint(json)).network
    #expect(network.exits[0].likelihood == .categorical)
    #expect(network.nodes[network.exits[0].logits].name == "r/logits")
    #expect(network.shapes[network.exits[0].logits] == [3])
  }

  @Test func sequencesOfProbabilitiesAreCategoricalBehindTheirReshape() throws {
    let settings = #""filters": 3, "kernel_size": 2, "activation": "softmax""#
    let json = KerasJSON.sequential(KerasJSON.input("5, 8"), KerasJSON.layer("Conv1D", "conv", settings))
    let network = try imported(MemoryCheckpoint(json)).network
    #expect(names(network) == ["image", "conv/image", "conv", "conv/activation", "conv/sequence", "conv/logits"])
    #expect(network.exits == [Exit(name: "conv", logits: 5, likelihood: .categorical)])
    #expect(network.shapes[5] == [4, 3])
    // What mixes channels with places is no list of classes.
    let flat = KerasJSON.sequential(
      KerasJSON.input("5, 8"), KerasJSON.layer("Conv1D", "conv", settings), KerasJSON.layer("Flatten", "flat"))
    #expect(try imported(MemoryCheckpoint(flat)).network.exits[0].likelihood == nil)
  }

  @Test func logarithmsOfProbabilitiesAreTakenOffToo() throws {
    #expect(try exit(dense(3, "log_softmax")) == ("head", "image", .categorical))
  }

  @Test func imagesOfProbabilitiesAreCategoricalWithFeaturesAtEveryPixel() throws {
    let json = KerasJSON.sequential(KerasJSON.input("4, 4, 8"), dense(3, "softmax"))
    let exit = try imported(MemoryCheckpoint(json)).network.exits[0]
    #expect(exit == Exit(name: "head", logits: 1, features: 0, likelihood: .categorical))
    // Flattening them mixes pixels and classes, so no softmax is at the end any more.
    let flat = KerasJSON.sequential(
      KerasJSON.input("4, 4, 8"), dense(3, "softmax"), KerasJSON.layer("Flatten", "flat"))
    #expect(try imported(MemoryCheckpoint(flat)).network.exits[0].likelihood == nil)
  }

  // MARK: Loading

  @Test func weightsAreLoadedInTheShapesThatLayersTake() throws {
    let json = KerasJSON.sequential(
      KerasJSON.input("4, 4, 2"),
      KerasJSON.layer(
        "DepthwiseConv2D", "dw", #""kernel_size": [3, 3], "depth_multiplier": 2, "use_bias": false"#))
    let frozen = try FrozenNetwork(
      importing: MemoryCheckpoint(json, weights: [("dw", [("dw/depthwise_kernel:0", [3, 3, 2, 2])])]))
    let weight = try #require(frozen.parameters[ParameterPath("dw/weight")])
    #expect(weight == Tensor(shape: [3, 3, 1, 4], (0..<36).map { Float($0) }))
  }

  @Test func weightsMayComeFromAnotherFileThanTheDescription() throws {
    let described = MemoryCheckpoint(KerasJSON.sequential(KerasJSON.input("2"), dense(1)))
    let weights = MemoryCheckpoint(nil, weights: [("head", [("head/kernel:0", [2, 1]), ("head/bias:0", [1])])])
    let frozen = try FrozenNetwork(importing: weights, describedBy: described)
    #expect(frozen.parameters.count == 3)
  }

  @Test func everyMissingWeightIsNamed() {
    let json = KerasJSON.sequential(KerasJSON.input("2"), dense(1, name: "a"), dense(1, name: "b"))
    let error = #expect(throws: FileError.self) {
      try FrozenNetwork(importing: MemoryCheckpoint(json, weights: [("a", [("a/kernel:0", [2, 1])])]))
    }
    #expect(error?.code == .missing)
    for path in ["a/bias", "b/weight", "b/bias"] { #expect(error?.message.contains(path) == true) }
    #expect(error?.message.contains("a/weight") == false)
  }
}
