import BayesTensor

/// Lays the layers of a described model into the nodes of a network.
struct KerasImporter {
  let file: String
  let weights: KerasWeights
  private var nodes: [Node] = []
  private var shapes: [Shape] = []
  private var sources: [ParameterPath: ParameterSource] = [:]
  /// What cannot be imported: "NAME (KIND): why", all of it.
  private var problems: [String] = []

  init(file: String, weights: KerasWeights) {
    self.file = file
    self.weights = weights
  }

  /// The whole network.
  consuming func imported(_ model: KerasModel) throws(FileError) -> ImportedArchitecture {
    guard model.inputs.count == 1 else {
      let names = model.inputs.map { "'\($0.layer)'" }.joined(separator: ", ")
      throw error(
        .unsupported,
        "The network has \(model.inputs.count) inputs (\(names)); only networks with one can be imported.")
    }
    try addInput(of: model)
    let outputs = try lay(model, in: [], on: [0])
    guard problems.isEmpty else {
      throw error(
        .unsupported,
        "These layers cannot be imported: " + problems.joined(separator: "; ")
          + ". Rebuild the model without them and save it again.")
    }
    var exits = KerasExits(nodes: nodes, shapes: shapes)
    for (tensor, node) in zip(model.outputs, outputs) {
      guard let node else { throw error(.malformed, "The output '\(tensor.layer)' is not computed.") }
      exits.add(layer: tensor.layer, output: node)
    }
    do {
      return ImportedArchitecture(
        network: try Network(nodes: exits.nodes, exits: exits.exits), sources: sources)
    } catch {
      throw self.error(.unsupported, error.message + " Rebuild the model and save it again.")
    }
  }

  private func error(_ code: FileError.Code, _ message: String) -> FileError {
    FileError(code, file: file, object: "model_config", message)
  }

  private mutating func addInput(of model: KerasModel) throws(FileError) {
    guard let layer = model.layers.first(where: { $0.name == model.inputs[0].layer && $0.isInput }) else {
      throw error(.malformed, "The input '\(model.inputs[0].layer)' is no input layer; save the model again.")
    }
    let extents = layer.inputShape?.list?.dropFirst() ?? []
    let row = extents.compactMap(\.integer)
    guard !row.isEmpty, row.count == extents.count else {
      throw error(
        .unsupported,
        "The rows of input '\(layer.name)' have no fixed extents; build the model for inputs of one size, "
          + "load the weights into it and save it again.")
    }
    do {
      let shape = try Shape(checking: row, of: "The input '\(layer.name)'")
      nodes.append(Node(name: layer.name, layer: Input(shape), inputs: []))
      shapes.append(shape)
    } catch {
      throw self.error(.unsupported, error.message)
    }
  }

  // MARK: Layers

  /// Lays one model, and the models inside it.
  ///
  /// - Parameters:
  ///   - path: the names of the models around it.
  ///   - inputs: the nodes that its inputs are; `nil` where they could not be imported.
  /// - Returns: the nodes of its outputs; `nil` where they could not be imported.
  private mutating func lay(
    _ model: KerasModel, in path: [String], on inputs: [Int?]
  ) throws(FileError) -> [Int?] {
    let graph = try KerasCallGraph(model, file: file)
    var recipes: [KerasRecipe?] = []
    for layer in model.layers { recipes.append(recipe(for: layer, in: path)) }
    var values = [[Int?]](repeating: [], count: graph.uses.count)
    for index in try graph.order() {
      let use = graph.uses[index]
      let layer = model.layers[use.layer]
      let arguments = use.inputs.map { source -> Int? in
        values[source.use].indices.contains(source.output) ? values[source.use][source.output] : nil
      }
      if layer.isInput {
        let position = model.inputs.firstIndex { $0.layer == layer.name }
        values[index] = [position.flatMap { $0 < inputs.count ? inputs[$0] : nil }]
      } else if let inner = layer.model {
        values[index] = try lay(inner, in: path + [layer.name], on: arguments)
      } else {
        values[index] = [recipes[use.layer].flatMap { add(layer, use, $0, on: arguments, in: path) }]
      }
    }
    return model.outputs.map { tensor in
      guard let use = graph.use(of: tensor), values[use].indices.contains(tensor.output) else { return nil }
      return values[use][tensor.output]
    }
  }

  private func name(_ layer: KerasLayer, in path: [String]) -> String {
    (path + [layer.name]).joined(separator: "/")
  }

  private mutating func note(_ layer: KerasLayer, in path: [String], _ reason: String) {
    problems.append("\(name(layer, in: path)) (\(layer.kind)): \(reason)")
  }

  /// What a layer becomes; `nil`, with the reason noted, where it cannot be imported.
  private mutating func recipe(for layer: KerasLayer, in path: [String]) -> KerasRecipe? {
    if layer.isInput { return nil }
    if let problem = layer.problem ?? layer.calls.lazy.compactMap(\.problem).first {
      note(layer, in: path, problem)
      return nil
    }
    if layer.model != nil {
      if layer.calls.count > 1 {
        note(layer, in: path, "it is used \(layer.calls.count) times; give each use a model of its own")
      }
      return nil
    }
    do throws(KerasRefusal) {
      let recipe = try KerasCatalog.recipe(for: layer.kind, layer.options)
      let kind = try layer.kind == "TimeDistributed" ? layer.options.wrapped("layer").kind : layer.kind
      if kind.contains("BatchNormalization"), layer.calls.contains(where: \.isTraining) {
        throw KerasRefusal("it is called in training mode, in which rows of a batch depend on each other")
      }
      return recipe
    } catch {
      note(layer, in: path, error.reason)
      return nil
    }
  }

  /// Adds the nodes of one use of a layer.
  ///
  /// - Returns: the last node; `nil`, with the reason noted, where the layer cannot be imported.
  private mutating func add(
    _ layer: KerasLayer, _ use: KerasCallGraph.Use, _ recipe: KerasRecipe, on arguments: [Int?],
    in path: [String]
  ) -> Int? {
    var inputs = arguments.compactMap { $0 }
    // What an input is that could not be imported was said where it failed.
    guard inputs.count == arguments.count else { return nil }
    do throws(KerasRefusal) {
      guard !inputs.isEmpty else { throw KerasRefusal("it is called without an input") }
      let steps = try recipe.steps(inputs.map { shapes[$0] })
      if layer.calls.count > 1, steps.contains(where: { !$0.weights.isEmpty }) {
        // Said once, not at every use.
        guard use.call == 0 else { return nil }
        throw KerasRefusal(
          "it is used \(layer.calls.count) times; layers that share weights are not supported")
      }
      let base = name(layer, in: path) + (use.call == 0 ? "" : "/use\(use.call + 1)")
      for step in steps {
        let node = step.suffix.isEmpty ? base : base + "/" + step.suffix
        inputs = [try add(step, named: node, on: inputs, of: layer, in: path)]
      }
      return inputs[0]
    } catch {
      note(layer, in: path, error.reason)
      return nil
    }
  }

  private mutating func add(
    _ step: KerasStep, named name: String, on inputs: [Int], of layer: KerasLayer, in path: [String]
  ) throws(KerasRefusal) -> Int {
    let rows = inputs.map { shapes[$0] }
    do {
      shapes.append(try step.layer.outputShape(for: rows))
    } catch {
      throw KerasRefusal(error.message)
    }
    nodes.append(Node(name: name, layer: step.layer, inputs: inputs))
    let specs = step.layer.parameterSpecs(for: rows)
    for weight in step.weights {
      guard let spec = specs.first(where: { $0.name == weight.parameter }),
        let entry = try weights.entry(of: weight, layer: layer.name, in: path)
      else { continue }  // What is missing is listed when the weights are loaded.
      sources[ParameterPath(node: name, parameter: spec.name)] = ParameterSource(
        entry: entry, storedShape: weight.storedShape ?? spec.shape)
    }
    return nodes.count - 1
  }
}
