import BayesTensor

/// Lays the layers of a described model into the nodes of a network.
struct KerasImporter {
  let file: String
  private var nodes: [Node] = []
  private var shapes: [Shape] = []
  /// The weights of all layers, each once.
  private var requests: [KerasWeightRequest] = []
  /// Where each goes; layers that are used several times have several parameters for one weight.
  private var destinations: [(parameter: ParameterPath, request: Int)] = []
  /// The first request of each layer, by the layer's path.
  private var firstRequests: [[KerasPlace]: Int] = [:]
  /// What cannot be imported: "NAME (KIND): why", all of it.
  private var problems: [String] = []

  /// Inner models that are used several times unfold; what claims more layers than this is no network.
  private static let nodeLimit = 20_000

  init(file: String) { self.file = file }

  /// The whole network.
  ///
  /// - Parameter find: finds where the weights are.
  consuming func imported(
    _ model: KerasModel, find: ([KerasWeightRequest]) -> [KerasWeightAnswer]
  ) throws(FileError) -> ImportedArchitecture {
    let outputs = try lay(model, in: LayingPath(), on: try addInputs(of: model))
    var sources: [ParameterPath: ParameterSource] = [:]
    let answers = find(requests)
    guard problems.isEmpty else {
      throw error(
        .unsupported,
        "These layers cannot be imported: " + problems.joined(separator: "; ")
          + ". Rebuild the model without them and save it again.")
    }
    try requireAnswers(answers)
    for (parameter, request) in destinations {
      // What is absent is listed when the weights are loaded.
      if case .found(let source) = answers[request] { sources[parameter] = source }
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

  /// Refuses weights of which the file does not tell where or how they lie; layers with one reason are listed
  /// together.
  private func requireAnswers(_ answers: [KerasWeightAnswer]) throws(FileError) {
    var reasons: [(reason: String, layers: [String])] = []
    for (request, answer) in zip(requests, answers) {
      guard case .refused(let refusal) = answer else { continue }
      let place = request.places.map(\.name).joined(separator: "/")
      let layer = "\(place) (\(request.places[request.places.count - 1].className))"
      if let index = reasons.firstIndex(where: { $0.reason == refusal.reason }) {
        if !reasons[index].layers.contains(layer) { reasons[index].layers.append(layer) }
      } else {
        reasons.append((refusal.reason, [layer]))
      }
    }
    guard !reasons.isEmpty else { return }
    throw error(
      .unsupported,
      "The weights of these layers cannot be told: "
        + reasons.map { "\($0.layers.joined(separator: ", ")): \($0.reason)" }.joined(separator: "; ") + ".")
  }

  private func error(_ code: FileError.Code, _ message: String) -> FileError {
    FileError(code, file: file, object: "model_config", message)
  }

  // MARK: Inputs

  /// The nodes of the model's inputs.
  ///
  /// A network has one input.  For a model with several, it is a vector that holds them one after another, each
  /// flattened, in the order in which the model takes them.
  private mutating func addInputs(of model: KerasModel) throws(FileError) -> [Int?] {
    var inputs: [(name: String, shape: Shape)] = []
    for tensor in model.inputs { inputs.append(try input(tensor.layer, of: model)) }
    if inputs.count == 1 {
      add(inputs[0].name, Input(inputs[0].shape), [], inputs[0].shape)
      return [0]
    }
    var width = 0
    for (name, shape) in inputs {
      width += shape.elementCount
      guard width <= largestSetting else {
        throw error(.unsupported, "The inputs up to '\(name)' have \(width) elements a row, which is too many.")
      }
    }
    add(inputs.map(\.name).joined(separator: "+"), Input([width]), [], [width])
    add("\(inputs[0].name)/all", Reshape(target: [1, width, 1]), [0], [1, width, 1])
    let all = nodes.count - 1
    var start = 0
    var result: [Int?] = []
    for (name, shape) in inputs {
      let count = shape.elementCount
      let cut = Border(SpatialPadding(left: -start, right: start + count - width))
      add("\(name)/slice", cut, [all], [1, count, 1])
      add(name, Reshape(target: shape.dimensions), [nodes.count - 1], shape)
      result.append(nodes.count - 1)
      start += count
    }
    return result
  }

  private mutating func add(_ name: String, _ layer: any Layer, _ inputs: [Int], _ shape: Shape) {
    nodes.append(Node(name: name, layer: layer, inputs: inputs))
    shapes.append(shape)
  }

  private func input(_ name: String, of model: KerasModel) throws(FileError) -> (name: String, shape: Shape) {
    guard let layer = model.layers.first(where: { $0.name == name && $0.isInput }) else {
      throw error(.malformed, "The input '\(name)' is no input layer; save the model again.")
    }
    let extents = layer.inputShape?.list?.dropFirst() ?? []
    let row = extents.compactMap(\.integer)
    guard !row.isEmpty, row.count == extents.count else {
      // Without the layer's shape the first thing that cannot be imported matters more.
      if let refused = model.layers.lazy.compactMap({ self.refusal(of: $0) }).first {
        throw error(
          .unsupported,
          "These layers cannot be imported: \(refused). Rebuild the model without them and save it again.")
      }
      throw error(
        .unsupported,
        "The rows of input '\(name)' have no fixed extents; build the model for inputs of one size, "
          + "load the weights into it and save it again.")
    }
    do {
      return (name, try Shape(checking: row, of: "The input '\(name)'"))
    } catch {
      throw self.error(.unsupported, error.message)
    }
  }

  /// Why a layer cannot be imported whatever its input; `nil` where that is not known.
  private func refusal(of layer: KerasLayer) -> String? {
    guard !layer.isInput, layer.model == nil else { return nil }
    if let problem = layer.problem { return "\(layer.name) (\(layer.kind)): \(problem)" }
    do throws(KerasRefusal) {
      _ = try KerasCatalog.recipe(for: layer.kind, layer.options)
      return nil
    } catch {
      return "\(layer.name) (\(layer.kind)): \(error.reason)"
    }
  }

  // MARK: Layers

  /// Where in the described models laying has come to.
  private struct LayingPath {
    /// The models around, as nodes name them: each use of a model after the first has a number.
    var names: [String] = []
    /// The models around, as files know them.
    var places: [KerasPlace] = []
    /// Whether a model around was told not to be trained.
    var isFrozen = false
  }

  /// Lays one model, and the models inside it.
  ///
  /// - Parameters:
  ///   - path: the models around it.
  ///   - inputs: the nodes that its inputs are; `nil` where they could not be imported.
  /// - Returns: the nodes of its outputs; `nil` where they could not be imported.
  private mutating func lay(
    _ model: KerasModel, in path: LayingPath, on inputs: [Int?]
  ) throws(FileError) -> [Int?] {
    let graph = try KerasCallGraph(model, file: file)
    let places = model.places
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
        continue
      }
      var inner = path
      inner.names.append(layer.name + (use.call == 0 ? "" : "/use\(use.call + 1)"))
      inner.places.append(places[use.layer])
      inner.isFrozen = path.isFrozen || !layer.isTrainable
      if let model = layer.model {
        guard nodes.count < Self.nodeLimit else {
          throw error(.unsupported, "The network unfolds to more than \(Self.nodeLimit) layers; it is damaged.")
        }
        values[index] = try lay(model, in: inner, on: arguments)
      } else {
        values[index] = [recipes[use.layer].flatMap { add(layer, $0, on: arguments, at: inner) }]
      }
    }
    return model.outputs.map { tensor in
      guard let use = graph.use(of: tensor), values[use].indices.contains(tensor.output) else { return nil }
      return values[use][tensor.output]
    }
  }

  private mutating func note(_ layer: KerasLayer, in models: some Collection<String>, _ reason: String) {
    let problem = "\((models + [layer.name]).joined(separator: "/")) (\(layer.kind)): \(reason)"
    if !problems.contains(problem) { problems.append(problem) }
  }

  /// What a layer becomes; `nil`, with the reason noted, where it cannot be imported.
  private mutating func recipe(for layer: KerasLayer, in path: LayingPath) -> KerasRecipe? {
    if layer.isInput { return nil }
    if let problem = layer.problem ?? layer.calls.lazy.compactMap(\.problem).first {
      note(layer, in: path.names, problem)
      return nil
    }
    if layer.model != nil { return nil }
    do throws(KerasRefusal) {
      let recipe = try KerasCatalog.recipe(for: layer.kind, layer.options)
      let kind = try layer.kind == "TimeDistributed" ? layer.options.wrapped("layer").kind : layer.kind
      if kind.contains("BatchNormalization"), layer.calls.contains(where: \.isTraining) {
        throw KerasRefusal("it is called in training mode, in which rows of a batch depend on each other")
      }
      return recipe
    } catch {
      note(layer, in: path.names, error.reason)
      return nil
    }
  }

  /// Adds the nodes of one use of a layer.
  ///
  /// - Parameter path: the layer itself and the models around it.
  /// - Returns: the last node; `nil`, with the reason noted, where the layer cannot be imported.
  private mutating func add(
    _ layer: KerasLayer, _ recipe: KerasRecipe, on arguments: [Int?], at path: LayingPath
  ) -> Int? {
    var inputs = arguments.compactMap { $0 }
    // What an input is that could not be imported was said where it failed.
    guard inputs.count == arguments.count else { return nil }
    do throws(KerasRefusal) {
      guard !inputs.isEmpty else { throw KerasRefusal("it is called without an input") }
      let base = path.names.joined(separator: "/")
      var weights: [(ParameterPath, KerasWeight, Shape)] = []
      for step in try recipe.steps(inputs.map { shapes[$0] }) {
        let node = step.suffix.isEmpty ? base : base + "/" + step.suffix
        let rows = inputs.map { shapes[$0] }
        inputs = [try add(step, named: node, on: inputs)]
        let specs = step.layer.parameterSpecs(for: rows)
        for weight in step.weights {
          guard let spec = specs.first(where: { $0.name == weight.parameter }) else { continue }
          weights.append(
            (ParameterPath(node: node, parameter: spec.name), weight, weight.storedShape ?? spec.shape))
        }
      }
      try request(weights, at: path)
      return inputs[0]
    } catch {
      note(layer, in: path.names.dropLast(), error.reason)
      return nil
    }
  }

  private mutating func add(
    _ step: KerasStep, named name: String, on inputs: [Int]
  ) throws(KerasRefusal) -> Int {
    do {
      add(name, step.layer, inputs, try step.layer.outputShape(for: inputs.map { shapes[$0] }))
    } catch {
      throw KerasRefusal(error.message.hasSuffix(".") ? String(error.message.dropLast()) : error.message)
    }
    return nodes.count - 1
  }

  /// Asks for the weights of one use of a layer; another use takes those of the first.
  private mutating func request(
    _ weights: [(parameter: ParameterPath, weight: KerasWeight, shape: Shape)], at path: LayingPath
  ) throws(KerasRefusal) {
    guard !weights.isEmpty else { return }
    let first = firstRequests[path.places] ?? requests.count
    if first == requests.count {
      firstRequests[path.places] = first
      var positions: [String: Int] = [:]
      for (_, weight, shape) in weights {
        requests.append(
          KerasWeightRequest(
            places: path.places, weight: weight, storedShape: shape,
            position: positions[weight.owners[0], default: 0], isFrozen: path.isFrozen))
        positions[weight.owners[0], default: 0] += 1
      }
    }
    for (index, weight) in weights.enumerated() {
      let request = first + index
      guard requests.indices.contains(request), requests[request].places == path.places,
        requests[request].storedShape == weight.shape
      else { throw KerasRefusal("it is used on rows of different shapes, for which it would need other weights") }
      destinations.append((weight.parameter, request))
    }
  }
}
