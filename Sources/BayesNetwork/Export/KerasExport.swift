public import BayesTensor

/// A network as a model that Keras reads from HDF5: its description, and the weights of each layer in the order in which Keras
/// lists layers.
///
/// Exits that are classes or labels end in a softmax or sigmoid.  Layers have the nodes' names, with `_` for `/`.
public struct KerasExport: Sendable {
  /// One layer with weights.
  public struct Layer: Sendable {
    public var name: String
    /// The weights by Keras's names, in its order.
    public var weights: [(name: String, values: Tensor<Float>)]
  }

  /// What Keras calls `model_config`, JSON.
  public let configuration: String
  public let layers: [Layer]
  /// What the layers of nodes are called, by the nodes' names.
  public let names: [String: String]

  /// - Throws: `NetworkError` naming a layer that Keras has not, or not in this form.
  public init(_ frozen: FrozenNetwork) throws(NetworkError) {
    var builder = KerasExportBuilder(frozen)
    try builder.addNodes()
    builder.addExits()
    let order = builder.order()
    configuration = builder.configuration(order)
    layers = order.compactMap { index in
      let layer = builder.layers[index]
      return layer.weights.isEmpty ? nil : Layer(name: layer.name, weights: layer.weights)
    }
    names = builder.layerNames
  }
}

/// A Keras model in the making.
private struct KerasExportBuilder {
  struct Layer {
    var name: String
    var kind: String
    var settings: [String: JSONValue]
    /// Indices of layers.
    var inputs: [Int]
    var weights: [(name: String, values: Tensor<Float>)] = []
  }

  private let frozen: FrozenNetwork
  private(set) var layers: [Layer] = []
  /// The layer that each node ends in.
  private var places: [Int: Int] = [:]
  private var outputs: [Int] = []
  private var names: Set<String> = []

  /// What the layers of nodes are called.
  var layerNames: [String: String] {
    Dictionary(uniqueKeysWithValues: places.map { (frozen.network.nodes[$0].name, layers[$1].name) })
  }

  init(_ frozen: FrozenNetwork) { self.frozen = frozen }

  mutating func addNodes() throws(NetworkError) {
    let network = frozen.network
    let isNeeded = network.isNeeded(for: network.exits.map(\.logits))
    for index in network.nodes.indices where isNeeded[index] {
      let node = network.nodes[index]
      let inputs = node.inputs.compactMap { places[$0] }
      var padded = inputs
      if let convolution = node.layer as? Convolution, case .explicit(let padding) = convolution.padding, padding != .none {
        padded = [add(node.name + "_border", "ZeroPadding2D", ["padding": .sides(padding)], inputs)]
      }
      guard let form = form(of: index) else {
        throw NetworkError("Node '\(node.name)' cannot be written for Keras as it is (\(type(of: node.layer).kind)).")
      }
      let layer = add(node.name, form.kind, form.settings, padded)
      layers[layer].weights = form.weights
      places[index] = layer
    }
  }

  mutating func addExits() {
    for exit in frozen.network.exits {
      guard let logits = places[exit.logits] else { continue }
      let function: String
      switch exit.likelihood {
      case .categorical: function = "softmax"
      case .binary, .multilabel: function = "sigmoid"
      case .gaussian, nil:
        outputs.append(logits)
        continue
      }
      let isRead = layers.contains { $0.inputs.contains(logits) }
      if layers[logits].name == exit.name, !isRead, ["Dense", "Conv2D"].contains(layers[logits].kind) {
        layers[logits].settings["activation"] = .text(function)
        outputs.append(logits)
      } else {
        let name = names.contains(exit.name) ? "\(exit.name)_\(function)" : exit.name
        outputs.append(add(name, "Activation", ["activation": .text(function)], [logits]))
      }
    }
  }

  private mutating func add(_ name: String, _ kind: String, _ settings: [String: JSONValue], _ inputs: [Int]) -> Int {
    let plain = String(name.map { $0 == "/" ? "_" : $0 })
    var unique = plain
    var count = 1
    while !names.insert(unique).inserted {
      count += 1
      unique = "\(plain)_\(count)"
    }
    layers.append(Layer(name: unique, kind: kind, settings: settings, inputs: inputs))
    return layers.count - 1
  }

  /// What Keras calls a node's layer, its settings, and its weights.
  private func form(
    of index: Int
  ) -> (kind: String, settings: [String: JSONValue], weights: [(name: String, values: Tensor<Float>)])? {
    let network = frozen.network
    let specs = network.parameterSpecs(of: index)
    func weights(_ names: [String: String]) -> [(name: String, values: Tensor<Float>)] {
      specs.compactMap { spec in
        let parameter = String(spec.path.description.dropFirst(network.nodes[index].name.count + 1))
        guard let name = names[parameter], let values = frozen.parameters[spec.path] else { return nil }
        return (name, values)
      }
    }
    let shape = network.shapes[index]
    let input = network.nodes[index].inputs.first.map { network.shapes[$0] } ?? shape
    switch network.nodes[index].layer {
    case let layer as Input:
      return ("InputLayer", ["batch_input_shape": .list([.null] + layer.dimensions.map { .number(Double($0)) })], [])
    case let layer as Convolution:
      guard let padding = layer.padding.kerasName else { return nil }
      var settings: [String: JSONValue] = [
        "kernel_size": .extent(layer.window), "strides": .extent(layer.strides), "padding": .text(padding),
        "dilation_rate": .extent(layer.dilation), "use_bias": .boolean(layer.usesBias), "activation": .text("linear"),
      ]
      let isDepthwise = layer.groups > 1 && layer.groups == input[2] && layer.filters % layer.groups == 0
      if isDepthwise, layer.filters == layer.groups {
        settings["depth_multiplier"] = .number(1)
        let own = weights(["weight": "depthwise_kernel", "bias": "bias"]).map { weight in
          weight.name == "bias"
            ? weight
            : (
              name: weight.name,
              values: weight.values.reshaped(to: [layer.window.height, layer.window.width, layer.filters, 1])
            )
        }
        return ("DepthwiseConv2D", settings, own)
      }
      settings["filters"] = .number(Double(layer.filters))
      settings["groups"] = .number(Double(layer.groups))
      return ("Conv2D", settings, weights(["weight": "kernel", "bias": "bias"]))
    case let layer as Dense:
      return (
        "Dense",
        ["units": .number(Double(layer.units)), "use_bias": .boolean(layer.usesBias), "activation": .text("linear")],
        weights(["weight": "kernel", "bias": "bias"])
      )
    case let layer as BatchNormalization:
      return (
        "BatchNormalization",
        [
          "axis": .number(-1), "epsilon": .number(layer.epsilon), "scale": .boolean(layer.scales),
          "center": .boolean(layer.centers),
        ], weights(["scale": "gamma", "offset": "beta", "mean": "moving_mean", "variance": "moving_variance"])
      )
    case let layer as Activation:
      guard let form = layer.function.kerasForm else { return nil }
      return (form.kind, form.settings, [])
    case let layer as Pooling:
      guard let padding = layer.padding.kerasName, layer.padding.isNamed else { return nil }
      return (
        layer.operation == .maximum ? "MaxPooling2D" : "AveragePooling2D",
        ["pool_size": .extent(layer.window), "strides": .extent(layer.strides), "padding": .text(padding)], []
      )
    case let layer as GlobalPooling:
      guard input.rank == 3 else { return nil }
      return (
        layer.operation == .maximum ? "GlobalMaxPooling2D" : "GlobalAveragePooling2D",
        ["keepdims": .boolean(layer.keepsDimensions)], []
      )
    case let layer as Identity:
      guard let rate = layer.dropoutRate, layer.dropoutSharedAxes == nil else {
        return ("Activation", ["activation": .text("linear")], [])
      }
      return ("Dropout", ["rate": .number(rate)], [])
    case is Reshape:
      return ("Reshape", ["target_shape": .list(shape.dimensions.map { .number(Double($0)) })], [])
    case let layer as Border:
      let sides = [layer.padding.top, layer.padding.bottom, layer.padding.left, layer.padding.right]
      if sides.allSatisfy({ $0 >= 0 }) { return ("ZeroPadding2D", ["padding": .sides(layer.padding)], []) }
      guard sides.allSatisfy({ $0 <= 0 }) else { return nil }
      let cropping = SpatialPadding(top: -sides[0], bottom: -sides[1], left: -sides[2], right: -sides[3])
      return ("Cropping2D", ["cropping": .sides(cropping)], [])
    case let layer as Upsampling:
      return (
        "UpSampling2D",
        ["size": .extent(layer.factor), "interpolation": .text(layer.interpolation.rawValue)], []
      )
    case let layer as ElementwiseMerge:
      let kind =
        switch layer.operation {
        case .add: "Add"
        case .subtract: "Subtract"
        case .multiply: "Multiply"
        case .average: "Average"
        case .maximum: "Maximum"
        case .minimum: "Minimum"
        }
      return (kind, [:], [])
    case let layer as Concatenation:
      // Keras counts the axis of rows.
      return ("Concatenate", ["axis": .number(Double(layer.axis + 1))], [])
    case let layer as Rescaling:
      guard layer.scale.count == 1, layer.offset.count == 1 else { return nil }
      return ("Rescaling", ["scale": .number(layer.scale[0]), "offset": .number(layer.offset[0])], [])
    default: return nil
    }
  }

  /// Layers as Keras lists them, and weights behind them: by how many layers lie between them and an output at the most, and of
  /// equal depth in the order in which they are come by from the outputs.
  func order() -> [Int] {
    var depths = [Int](repeating: 0, count: layers.count)
    for index in layers.indices.reversed() {
      for input in layers[index].inputs { depths[input] = max(depths[input], depths[index] + 1) }
    }
    var visits: [Int: Int] = [:]
    var pending = Array(outputs.reversed())
    while let index = pending.popLast() {
      guard visits[index] == nil else { continue }
      visits[index] = visits.count
      pending += layers[index].inputs.reversed()
    }
    return layers.indices.sorted {
      (-depths[$0], visits[$0] ?? 0) < (-depths[$1], visits[$1] ?? 0)
    }
  }

  func configuration(_ order: [Int]) -> String {
    func reference(_ index: Int) -> JSONValue { .list([.text(layers[index].name), .number(0), .number(0)]) }
    let list = order.map { index in
      let layer = layers[index]
      let calls: [JSONValue] =
        layer.inputs.isEmpty
        ? []
        : [.list(layer.inputs.map { .list([.text(layers[$0].name), .number(0), .number(0), .table([:])]) })]
      return JSONValue.table([
        "class_name": .text(layer.kind), "name": .text(layer.name),
        "config": .table(
          layer.settings.merging(["name": .text(layer.name), "dtype": .text("float32"), "trainable": .boolean(true)]) { $1 }),
        "inbound_nodes": .list(calls),
      ])
    }
    let inputs = layers.indices.filter { layers[$0].kind == "InputLayer" }
    return JSONValue.table([
      "class_name": .text("Functional"),
      "config": .table([
        "name": .text("model"), "trainable": .boolean(true), "layers": .list(list),
        "input_layers": .list(inputs.map(reference)), "output_layers": .list(outputs.map(reference)),
      ]),
    ]).json
  }
}

extension PaddingRule {
  /// What Keras calls it; an explicit one is a layer of its own before.
  fileprivate var kerasName: String? { self == .same ? "same" : "valid" }

  fileprivate var isNamed: Bool {
    if case .explicit(let padding) = self { padding == .none } else { true }
  }
}

extension ActivationFunction {
  fileprivate var kerasForm: (kind: String, settings: [String: JSONValue])? {
    func named(_ name: String) -> (kind: String, settings: [String: JSONValue]) {
      ("Activation", ["activation": .text(name)])
    }
    switch self {
    case .linear: return named("linear")
    case .relu(let ceiling, let negativeSlope, let threshold):
      return (
        "ReLU",
        [
          "max_value": ceiling.map { .number($0) } ?? .null, "negative_slope": .number(negativeSlope),
          "threshold": .number(threshold),
        ]
      )
    case .elu(let alpha): return ("ELU", ["alpha": .number(alpha)])
    case .selu: return named("selu")
    case .gelu: return named("gelu")
    case .sigmoid: return named("sigmoid")
    case .tanh: return named("tanh")
    case .softplus: return named("softplus")
    case .softsign: return named("softsign")
    case .swish: return named("swish")
    case .exponential: return named("exponential")
    case .mish: return named("mish")
    case .hardTanh: return named("hard_tanh")
    case .logSigmoid: return named("log_sigmoid")
    case .squareplus: return named("squareplus")
    case .tanhShrink: return named("tanh_shrink")
    case .softmax: return named("softmax")
    case .logSoftmax: return named("log_softmax")
    case .hardSwish: return named("hard_silu")
    case .hardSigmoid(let slope, let offset): return slope == 1.0 / 6 && offset == 0.5 ? named("hard_sigmoid") : nil
    case .geluTanh, .softShrink, .hardShrink: return nil
    }
  }
}

extension JSONValue {
  fileprivate static func extent(_ extent: Extent2D) -> JSONValue {
    .list([.number(Double(extent.height)), .number(Double(extent.width))])
  }

  fileprivate static func sides(_ padding: SpatialPadding) -> JSONValue {
    .list([
      .list([.number(Double(padding.top)), .number(Double(padding.bottom))]),
      .list([.number(Double(padding.left)), .number(Double(padding.right))]),
    ])
  }
}
