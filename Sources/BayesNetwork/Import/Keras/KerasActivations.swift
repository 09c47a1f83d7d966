extension KerasOptions {
  /// The step that a layer's `activation` attribute becomes; none where it is linear.
  func activationSteps() throws(KerasRefusal) -> [KerasStep] {
    let function = try activation()
    return function == .linear ? [] : [KerasStep(suffix: "activation", layer: Activation(function))]
  }

  /// The function of a layer that only applies one.
  func activationLayer(of kind: String) throws(KerasRefusal) -> ActivationFunction {
    switch kind {
    case "Activation": return try activation()
    case "ReLU":
      return .relu(
        ceiling: value(["max_value"]) == nil ? nil : try number("max_value"),
        negativeSlope: try number("negative_slope", default: 0),
        threshold: try number("threshold", default: 0))
    case "LeakyReLU":
      return .relu(
        ceiling: nil, negativeSlope: try number("negative_slope", "alpha", default: 0.3), threshold: 0)
    case "ELU": return .elu(alpha: try number("alpha", default: 1))
    case "ThresholdedReLU":
      // The layer passes what lies above θ, ours what is not below the threshold: the next Float.
      let theta = Float(try number("theta", default: 1))
      return .relu(ceiling: nil, negativeSlope: 0, threshold: Double(theta.nextUp))
    case "Softmax":
      guard try integers("axis", default: [-1]) == [-1] else {
        throw KerasRefusal("its activation is a softmax along an axis that is not the last")
      }
      return .softmax
    default: throw KerasRefusal("its activation is a '\(kind)', which is not supported")
    }
  }

  /// The function under a key: a word, or a function or layer written as a table.
  func activation(
    _ keys: String..., default standard: ActivationFunction = .linear
  ) throws(KerasRefusal) -> ActivationFunction {
    guard let value = value(keys.isEmpty ? ["activation"] : keys)?.value else { return standard }
    if let word = value.text { return try activation(named: word) }
    guard let kind = value["class_name"]?.text else {
      throw KerasRefusal("its activation is \(value), which names no function")
    }
    if let word = value["config"]?.text { return try activation(named: word) }
    return try KerasOptions(values: value["config"]?.table ?? [:], generation: generation)
      .activationLayer(of: kind)
  }

  private func activation(named word: String) throws(KerasRefusal) -> ActivationFunction {
    switch word {
    case "linear": .linear
    case "relu": .plainReLU
    case "relu6": .relu(ceiling: 6, negativeSlope: 0, threshold: 0)
    case "leaky_relu": .relu(ceiling: nil, negativeSlope: 0.2, threshold: 0)
    case "elu": .elu(alpha: 1)
    case "selu": .selu
    case "gelu": .gelu
    case "sigmoid": .sigmoid
    case "hard_sigmoid":
      generation == .firstOrSecond
        ? .hardSigmoid(slope: 0.2, offset: 0.5) : .hardSigmoid(slope: 1 / 6, offset: 0.5)
    case "tanh": .tanh
    case "softplus": .softplus
    case "softsign": .softsign
    case "swish", "silu": .swish
    case "hard_swish", "hard_silu": .hardSwish
    case "exponential": .exponential
    case "mish": .mish
    case "softmax": .softmax
    case "log_softmax": .logSoftmax
    case "log_sigmoid": .logSigmoid
    case "hard_tanh": .hardTanh
    // With its standard α of one it is the ELU.
    case "celu": .elu(alpha: 1)
    case "squareplus": .squareplus
    case "tanh_shrink": .tanhShrink
    case "soft_shrink": .softShrink(threshold: 0.5)
    case "hard_shrink": .hardShrink(threshold: 0.5)
    default: throw KerasRefusal("its activation is '\(word)', which is not supported")
    }
  }

  /// Refuses weights that are not plain numbers.
  func requirePlainWeights() throws(KerasRefusal) {
    guard value(["quantization_config"]) == nil,
      values["dtype"]?["class_name"] != .text("QuantizedDTypePolicy")
    else { throw KerasRefusal("its weights are quantised; save the model before quantising it") }
    guard value(["lora_rank"]) == nil else {
      throw KerasRefusal("it holds low-rank adapters; merge them into the kernel before saving")
    }
  }
}
