import BayesTensor

// Layers that work on sequences, `[steps, channels]`.
extension KerasCatalog {
  /// A layer along one axis as that of images of height one.
  ///
  /// - Parameter recipe: makes what the layer's namesake for images becomes.
  static func alongOneAxis(
    _ options: KerasOptions, _ recipe: (KerasOptions) throws(KerasRefusal) -> KerasRecipe
  ) throws(KerasRefusal) -> KerasRecipe {
    var options = options
    options.isAlongOneAxis = true
    let inner = try recipe(options)
    return KerasRecipe { inputs throws(KerasRefusal) in
      guard inputs.count == 1, inputs[0].rank == 2 else {
        throw KerasRefusal("it takes sequences of vectors; it was given \(inputs)")
      }
      var shape: Shape = [1, inputs[0][0], inputs[0][1]]
      var steps = [KerasStep(suffix: "image", layer: Reshape(target: shape.dimensions))]
      for step in try inner.steps([shape]) {
        var step = step
        let output = try outputShape(of: step.layer, for: shape)
        let specs = step.layer.parameterSpecs(for: [shape])
        for index in step.weights.indices {
          // In the file, windows have no height.
          guard let spec = specs.first(where: { $0.name == step.weights[index].parameter }), spec.shape.rank == 4
          else { continue }
          step.weights[index].storedShape = (step.weights[index].storedShape ?? spec.shape).row
        }
        steps.append(step)
        shape = output
      }
      if shape.rank == 3 { steps.append(KerasStep(suffix: "sequence", layer: Reshape(target: shape.row.dimensions))) }
      return steps
    }
  }

  private static func outputShape(of layer: any Layer, for input: Shape) throws(KerasRefusal) -> Shape {
    do {
      return try layer.outputShape(for: [input])
    } catch {
      throw KerasRefusal(error.message)
    }
  }

  static func embedding(_ options: KerasOptions) throws(KerasRefusal) -> KerasRecipe {
    try options.requirePlainWeights()
    try options.refuse("mask_zero", because: "masks are not supported")
    return KerasRecipe(
      Embedding(vocabulary: try options.integer("input_dim"), width: try options.integer("output_dim")),
      weights: [KerasWeight(parameter: "weight", names: ["embeddings", "_W"])])
  }

  // MARK: Recurrence

  /// A layer that is recurrent on its own; dropout does nothing at prediction.
  static func recurrentLayer(of kind: String, _ options: KerasOptions) throws(KerasRefusal) -> Recurrence {
    try options.refuse("stateful", because: "states that outlive a batch are not supported")
    try options.refuse("return_state", because: "only the layer's first output is supported")
    try options.refuse("time_major", because: "only sequences with the batch first are supported")
    let cell: Recurrence.Cell
    switch kind {
    case "LSTM": cell = .longShortTerm
    case "GRU":
      // Versions before 2.1.3 know one form, and do not name it.
      cell = .gated(resetsAfter: try options.flag("reset_after", default: options.generation == .third))
    case "SimpleRNN": cell = .simple
    default: throw KerasRefusal("it wraps a '\(kind)'; only LSTM, GRU and SimpleRNN are supported")
    }
    let layer = Recurrence(
      cell, units: try options.integer("units", "output_dim"), activation: try options.activation(default: .tanh),
      recurrentActivation: try options.activation("recurrent_activation", "inner_activation", default: .sigmoid),
      usesBias: try options.flag("use_bias", default: true),
      returnsSequences: try options.flag("return_sequences", default: false),
      goesBackwards: try options.flag("go_backwards", default: false))
    guard layer.activation.isElementwise, layer.recurrentActivation.isElementwise else {
      throw KerasRefusal("one of its activations is no function of single elements")
    }
    return layer
  }

  /// The weights of a recurrent layer; its cell has a name of its own.
  private static func weights(
    of layer: Recurrence, parts: [[String]] = [[""]], owner: String = "", named name: (String) -> String = { $0 }
  ) -> [KerasWeight] {
    let gates = firstGeneration(of: layer.cell)
    let owners = [owner.isEmpty ? "cell" : owner + "/cell"]
    func weight(_ parameter: String, _ names: [String], _ letter: String, _ position: Int) -> KerasWeight {
      KerasWeight(
        parameter: name(parameter), names: names, parts: parts, owners: owners,
        gates: gates.map { KerasGate(ending: "_\(letter)_\($0.letter)", position: 3 * $0.position + position) })
    }
    return [
      weight("weight", ["kernel", "_W"], "W", 0),
      weight("recurrentWeight", ["recurrent_kernel", "_U"], "U", 1),
    ] + (layer.usesBias ? [weight("bias", ["bias", "_b"], "b", 2)] : [])
  }

  /// The gates as Keras 1 calls them, in our order, with their positions in its files.
  private static func firstGeneration(of cell: Recurrence.Cell) -> [(letter: String, position: Int)] {
    switch cell {
    case .simple: []
    case .longShortTerm: [("i", 0), ("f", 2), ("c", 1), ("o", 3)]
    case .gated: [("z", 0), ("r", 1), ("h", 2)]
    }
  }

  static func recurrence(_ layer: Recurrence) -> KerasRecipe {
    KerasRecipe(layer, weights: weights(of: layer))
  }

  static func bidirectional(_ options: KerasOptions) throws(KerasRefusal) -> KerasRecipe {
    let wrapped = try options.wrapped("layer")
    let first = try recurrentLayer(of: wrapped.kind, wrapped.options)
    var second = first
    second.goesBackwards.toggle()
    if options.value(["backward_layer"]) != nil {
      let other = try options.wrapped("backward_layer")
      second = try recurrentLayer(of: other.kind, other.options)
    }
    let word = try options.text("merge_mode", default: "none")
    let merges: [String: BidirectionalRecurrence.Merge] = [
      "concat": .concatenate, "sum": .add, "mul": .multiply, "ave": .average,
    ]
    guard let merge = merges[word] else {
      throw KerasRefusal("its 'merge_mode' is '\(word)'; only concat, sum, mul and ave are supported")
    }
    let layer = BidirectionalRecurrence(first, second, merge: merge)
    /// A layer is known by its own name, or by its kind's after its direction.
    func parts(_ key: String, _ beginning: String) -> [[String]] {
      let name = options.value([key])?.value["config"]?["name"]?.text
      return (name.map { [[$0, ""]] } ?? []) + [[beginning, ""], [beginning]]
    }
    return KerasRecipe(
      layer,
      weights: weights(of: first, parts: parts("layer", "forward_"), owner: "forward_layer") {
        BidirectionalRecurrence.name($0, isSecond: false)
      }
        + weights(of: second, parts: parts("backward_layer", "backward_"), owner: "backward_layer") {
          BidirectionalRecurrence.name($0, isSecond: true)
        })
  }

  // MARK: Attention

  static func attention(_ options: KerasOptions) throws(KerasRefusal) -> KerasRecipe {
    try options.requirePlainWeights()
    try options.refuse("use_gate", because: "gates are not supported")
    guard options.value(["sliding_window"]) == nil else {
      throw KerasRefusal("its 'sliding_window' is set; only attention to all places is supported")
    }
    guard try options.integers("attention_axes", default: [1]) == [1] else {
      throw KerasRefusal("its 'attention_axes' are not the one axis of a sequence; no others are supported")
    }
    let keyWidth = try options.integer("key_dim")
    var outputWidth: Int?
    if options.value(["output_shape"]) != nil {
      let extents = try options.integers("output_shape", in: 1...largestSetting)
      guard extents.count == 1 else {
        throw KerasRefusal("its 'output_shape' has \(extents.count) axes; one is supported")
      }
      outputWidth = extents[0]
    }
    let layer = MultiHeadAttention(
      heads: try options.integer("num_heads"), keyWidth: keyWidth,
      valueWidth: try options.integer("value_dim", default: keyWidth), outputWidth: outputWidth,
      usesBias: try options.flag("use_bias", default: true))
    let parts = [("query", "query"), ("key", "key"), ("value", "value"), ("output", "attention_output")]
    return KerasRecipe(
      layer,
      weights: parts.flatMap { parameter, part in
        let owners = ["\(parameter)_dense", "_\(parameter)_dense"]
        let kernel = KerasWeight(parameter: parameter + "Weight", names: ["kernel"], parts: [[part]], owners: owners)
        let bias = KerasWeight(parameter: parameter + "Bias", names: ["bias"], parts: [[part]], owners: owners)
        return layer.usesBias ? [kernel, bias] : [kernel]
      })
  }

  // MARK: Steps apart

  static func timeDistributed(_ options: KerasOptions) throws(KerasRefusal) -> KerasRecipe {
    let wrapped = try options.wrapped("layer")
    guard !["Sequential", "Functional", "Model"].contains(wrapped.kind) else {
      throw KerasRefusal("it wraps a model; wrap its layers one by one")
    }
    let inner: KerasRecipe
    do throws(KerasRefusal) {
      inner = try recipe(for: wrapped.kind, wrapped.options)
    } catch {
      throw KerasRefusal("the \(wrapped.kind) that it wraps cannot be imported: " + error.reason)
    }
    return KerasRecipe { inputs throws(KerasRefusal) in
      guard inputs.count == 1, inputs[0].rank > 1 else {
        throw KerasRefusal("it takes one sequence; it was given \(inputs)")
      }
      return try inner.steps([inputs[0].row]).map { step in
        var step = step
        step.layer = atEveryStep(step.layer)
        // Keras 3 puts the inner layer's name into the path.
        for index in step.weights.indices {
          step.weights[index].parts = (step.weights[index].parts + [[]]).map { [""] + $0 }
          step.weights[index].owners = step.weights[index].owners.map { $0.isEmpty ? "layer" : "layer/" + $0 }
        }
        return step
      }
    }
  }

  /// A layer for each step; itself where it works along the last axis only.
  private static func atEveryStep(_ layer: any Layer) -> any Layer {
    func wrapping(_ layer: some Layer) -> any Layer { TimeDistributed(layer) }
    switch layer {
    case is Dense, is Activation: return layer
    case var identity as Identity:
      identity.dropoutSharedAxes = identity.dropoutSharedAxes?.map { $0 + 1 }
      return identity
    default: return wrapping(layer)
    }
  }
}
