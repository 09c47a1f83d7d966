import BayesTensor
import Foundation

/// One output of one call of a layer, as descriptions refer to it.
struct KerasTensor: Hashable, Sendable {
  var layer: String
  var call: Int
  var output: Int
}

/// One use of a layer.
struct KerasCall: Sendable {
  var inputs: [KerasTensor] = []
  /// Inputs that are given by name.
  var named: [String: KerasTensor] = [:]
  /// Whether the layer was told to behave as in training.
  var isTraining = false
  /// What about the call cannot be imported.
  var problem: String?
}

/// One layer of a described model, nothing of it interpreted yet.
struct KerasLayer: Sendable {
  var name: String
  var kind: String
  var options: KerasOptions
  var calls: [KerasCall]
  /// The layers inside, where this is a model itself.
  var model: KerasModel?
  /// What about the layer cannot be imported, whatever its kind.
  var problem: String?

  var isInput: Bool { kind == "InputLayer" }

  /// Whether training changes the layer's weights; that of a wrapper is that of what it wraps.
  var isTrainable: Bool {
    let own = options.values["trainable"] != .boolean(false)
    return own && options.values["layer"]?["config"]?["trainable"] != .boolean(false)
  }

  /// The shape of the layer's input, the batch first, where its settings give one.
  var inputShape: JSONValue? { options.value(["batch_shape", "batch_input_shape"])?.value }
}

/// A described model: layers, and which tensors go in and come out.
struct KerasModel: Sendable {
  var layers: [KerasLayer]
  var inputs: [KerasTensor]
  var outputs: [KerasTensor]
}

/// The JSON in which Keras describes a model, brought to one form.
///
/// Keras 1 writes a sequential model as a list of layers; Keras 2 and 3 as a table.  Functional models
/// refer to tensors as `[layer, call, output, arguments]` up to Keras 2, and as `__keras_tensor__` in
/// the arguments of each call in Keras 3.  What cannot be true of any model is refused here; what is
/// merely not supported is left to the importer, so that it can be listed in full.
struct KerasDescription {
  let model: KerasModel

  /// Parses a description.
  ///
  /// - Throws: `FileError` naming the layer whose description makes no sense.
  init(parsing data: Data, file: String) throws(FileError) {
    guard data.count <= Self.sizeLimit else {
      throw FileError(
        .unsupported, file: file, object: "model_config",
        "The description of the network has \(data.count) bytes; no more than \(Self.sizeLimit) are read.")
    }
    let root: JSONValue
    do {
      root = try JSONValue(parsing: data)
    } catch {
      throw FileError(
        .malformed, file: file, object: "model_config",
        "The description of the network is no JSON that can be read; save the model again.")
    }
    let reader = KerasDescriptionReader(file: file, generation: Self.generation(of: root))
    guard let kind = root["class_name"]?.text, let configuration = root["config"] else {
      throw FileError(
        .malformed, file: file, object: "model_config",
        "This JSON describes no Keras model, as it has no 'class_name' and 'config' at its top; give what "
          + "model.to_json() writes.")
    }
    guard let model = try reader.model(of: kind, configuration) else {
      throw FileError(
        .unsupported, file: file, object: "model_config",
        "The network is a '\(kind)', a class of its author's own, and its file does not say how its layers "
          + "are joined; rebuild it as a functional model and save that.")
    }
    self.model = model
  }

  /// Reading takes some thirty times the size in memory; descriptions of thousands of layers have less.
  private static let sizeLimit = 6 << 20

  /// The description names no version, but Keras 3 names the input's shape and its tensors anew.
  private static func generation(of root: JSONValue) -> KerasGeneration {
    var pending = [root]
    while let value = pending.popLast() {
      switch value {
      case .table(let table):
        if table["batch_shape"] != nil || table["class_name"] == .text("__keras_tensor__") { return .third }
        pending.append(contentsOf: table.values)
      case .list(let list): pending.append(contentsOf: list)
      case .null, .boolean, .number, .text: break
      }
    }
    return .firstOrSecond
  }
}

/// Turns JSON into models and layers.
private struct KerasDescriptionReader {
  let file: String
  let generation: KerasGeneration

  func malformed(_ layer: String?, _ problem: String) -> FileError {
    let subject = layer.map { "layer '\($0)'" } ?? "the network"
    return FileError(
      .malformed, file: file, object: "model_config",
      "The description of \(subject) \(problem); save the model again.")
  }

  /// The model that a configuration describes; `nil` where it is of no class that lists its layers.
  func model(of kind: String, _ configuration: JSONValue) throws(FileError) -> KerasModel? {
    switch kind {
    case "Sequential":
      guard let entries = configuration.list ?? configuration["layers"]?.list else {
        throw malformed(nil, "is a Sequential without a list of layers")
      }
      return try sequential(entries, builtFor: configuration["build_input_shape"])
    case "Functional", "Model":
      guard let entries = configuration["layers"]?.list else { return nil }
      var layers: [KerasLayer] = []
      for entry in entries { layers.append(try layer(entry)) }
      return KerasModel(
        layers: layers, inputs: try tensors(configuration["input_layers"], "input_layers"),
        outputs: try tensors(configuration["output_layers"], "output_layers"))
    default: return nil
    }
  }

  /// A chain, written as the graph that it is.
  private func sequential(
    _ entries: [JSONValue], builtFor shape: JSONValue?
  ) throws(FileError) -> KerasModel {
    var layers: [KerasLayer] = []
    for entry in entries { layers.append(try layer(entry)) }
    guard let first = layers.first else { throw malformed(nil, "holds no layers") }
    if !first.isInput {
      // Each is where one version keeps the shape of a model that has no input layer.
      let found =
        first.inputShape ?? shape ?? entries[0]["build_config"]?["input_shape"]
        ?? first.options.value(["input_dim"]).map { .list([.null, $0.value]) }
        ?? first.model?.layers.first(where: \.isInput)?.inputShape
      let options = KerasOptions(values: ["batch_shape": found ?? .null], generation: generation)
      layers.insert(
        KerasLayer(name: first.name + "_input", kind: "InputLayer", options: options, calls: []), at: 0)
    }
    for index in layers.indices.dropFirst() {
      layers[index].calls = [
        KerasCall(inputs: [KerasTensor(layer: layers[index - 1].name, call: 0, output: 0)])
      ]
    }
    return KerasModel(
      layers: layers, inputs: [KerasTensor(layer: layers[0].name, call: 0, output: 0)],
      outputs: [KerasTensor(layer: layers[layers.count - 1].name, call: 0, output: 0)])
  }

  private func layer(_ entry: JSONValue) throws(FileError) -> KerasLayer {
    guard let kind = entry["class_name"]?.text, let configuration = entry["config"] else {
      throw malformed(entry["name"]?.text, "has a layer without 'class_name' and 'config'")
    }
    guard let name = (entry["name"] ?? configuration["name"])?.text, !name.isEmpty else {
      throw malformed(nil, "has a \(kind) layer without a name")
    }
    var calls: [KerasCall] = []
    for node in entry["inbound_nodes"]?.list ?? [] { calls.append(try call(node, of: name)) }
    return KerasLayer(
      name: name, kind: kind,
      options: KerasOptions(values: configuration.table ?? [:], generation: generation), calls: calls,
      model: try model(of: kind, configuration),
      problem: foreignClass(entry)
        ?? ["layer", "backward_layer"].lazy.compactMap { configuration[$0].flatMap(foreignClass) }.first)
  }

  /// A class that its author wrote may bear the name of one of Keras' own.
  private func foreignClass(_ entry: JSONValue) -> String? {
    if let registered = entry["registered_name"]?.text, registered.contains(">") {
      return "it is a class of its author's own, '\(registered)'"
    }
    guard let module = entry["module"]?.text,
      !["keras", "tf_keras", "tensorflow"].contains(module.prefix { $0 != "." })
    else { return nil }
    return "it is a class of the module '\(module)', not of Keras"
  }

  // MARK: Calls

  /// The inputs that may be given by name, in the order in which they are given without.
  private static let inputNames = ["query", "value", "key"]

  private func call(_ node: JSONValue, of layer: String) throws(FileError) -> KerasCall {
    var call = KerasCall()
    if let arguments = node["args"] {
      try addTensors(of: arguments, to: &call, layer)
      note(node["kwargs"], in: &call)
    } else {
      try addReferences(of: node, to: &call, layer)
    }
    call.inputs += Self.inputNames.compactMap { call.named[$0] }
    return call
  }

  /// Keras 3: tensors are tables of the class `__keras_tensor__` at any depth of the arguments.
  private func addTensors(
    of argument: JSONValue, to call: inout KerasCall, _ layer: String
  ) throws(FileError) {
    switch argument {
    case .null: break
    case .list(let list):
      for element in list { try addTensors(of: element, to: &call, layer) }
    default:
      guard argument["class_name"] == .text("__keras_tensor__") else {
        call.problem = "it is called with \(argument) beside its inputs"
        return
      }
      guard let history = argument["config"]?["keras_history"], let tensor = tensor(history) else {
        throw malformed(layer, "has an input that names no layer")
      }
      call.inputs.append(tensor)
    }
  }

  /// Keras 1 and 2: a list of `[layer, call, output, arguments]`, or one such alone.
  private func addReferences(
    of node: JSONValue, to call: inout KerasCall, _ layer: String
  ) throws(FileError) {
    guard let list = node.list else { throw malformed(layer, "has an input that names no layer") }
    guard let name = list.first?.text else {
      for element in list { try addReferences(of: element, to: &call, layer) }
      return
    }
    guard name != "_CONSTANT_VALUE" else {
      call.problem = "it is called with a constant"
      return
    }
    guard let tensor = tensor(node) else { throw malformed(layer, "has an input that names no layer") }
    call.inputs.append(tensor)
    if list.count > 3 { note(list[3], in: &call) }
  }

  /// Takes note of named arguments; those that are null or false say nothing.
  private func note(_ arguments: JSONValue?, in call: inout KerasCall) {
    let given = (arguments?.table ?? [:]).filter { $0.value != .null && $0.value != .boolean(false) }
    for name in given.keys.sorted() {
      if name == "training" {
        call.isTraining = true
      } else if Self.inputNames.contains(name), let value = given[name],
        let input = tensor(value["config"]?["keras_history"] ?? value)
      {
        call.named[name] = input
      } else {
        call.problem = "it is called with '\(name)', which is not supported"
      }
    }
  }

  private func tensor(_ reference: JSONValue) -> KerasTensor? {
    guard let list = reference.list, list.count >= 3, let layer = list[0].text, let call = list[1].integer,
      let output = list[2].integer
    else { return nil }
    return KerasTensor(layer: layer, call: call, output: output)
  }

  /// The tensors of `input_layers` and `output_layers`: one, a list, or a table of them.
  private func tensors(_ value: JSONValue?, _ key: String) throws(FileError) -> [KerasTensor] {
    guard let value else { throw malformed(nil, "has no '\(key)'") }
    if let tensor = tensor(value) { return [tensor] }
    var children = value.list ?? []
    if let table = value.table {
      children = table.sorted { $0.key < $1.key }.map(\.value)
    }
    guard !children.isEmpty else { throw malformed(nil, "has '\(key)' that name no layer") }
    var result: [KerasTensor] = []
    for child in children { result += try tensors(child, key) }
    return result
  }
}
