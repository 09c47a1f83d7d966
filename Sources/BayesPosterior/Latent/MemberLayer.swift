package import BayesNetwork
package import BayesTensor

/// A layer of which every member of an ensemble has a version of its own: its trained weights, times a vector on the side
/// of the inputs and one on that of the outputs, and a bias of its own.
///
///     y = layer(x ∘ a; W) ∘ g + b,    so that W′ = W ∘ (a gᵀ)
///
/// - Source: Wen, Tran and Ba 2020, arXiv:2002.06715.
package struct MemberLayer: Sendable, Equatable {
  /// The node of the network.
  package let node: Int
  package let name: String
  /// The numbers of `a`.
  package let inputCount: Int
  /// The numbers of `g` and of `b`.
  package let outputCount: Int
  /// The weight's path and shape, its last axis that of the outputs.
  let weight: (path: ParameterPath, shape: Shape)
  private let groupCount: Int

  package static func == (a: Self, b: Self) -> Bool { a.node == b.node && a.name == b.name }

  /// The path of a bias, which the layer perhaps does not have.
  var biasPath: ParameterPath { ParameterPath(node: name, parameter: "bias") }

  /// - Throws: `NetworkError` where the node is no convolution and no dense layer.
  package init(_ node: Int, of network: Network) throws(NetworkError) {
    guard let layer = network.nodes[node].layer as? any MatrixLayer, let input = network.nodes[node].inputs.first else {
      throw NetworkError("'\(network.nodes[node].name)' is no convolution and no dense layer.")
    }
    self.node = node
    name = network.nodes[node].name
    inputCount = network.shapes[input].dimensions.last ?? 1
    outputCount = network.shapes[node].dimensions.last ?? 1
    weight = network.parameterSpecs(of: node)[0]
    groupCount = (layer as? Convolution)?.groups ?? 1
  }

  /// The vectors and the bias of one member.
  package struct Version: Sendable, Equatable {
    /// `a`, `[inputs]`
    package var inputs: Tensor<Double>
    /// `g`, `[outputs]`
    package var outputs: Tensor<Double>
    /// `b`, `[outputs]`
    package var bias: Tensor<Double>

    package init(inputs: Tensor<Double>, outputs: Tensor<Double>, bias: Tensor<Double>) {
      self.inputs = inputs
      self.outputs = outputs
      self.bias = bias
    }

    func map(_ transform: (Tensor<Double>) -> Tensor<Double>) -> Version {
      Version(inputs: transform(inputs), outputs: transform(outputs), bias: transform(bias))
    }
  }

  /// The trained bias; zeros where the layer has none.
  package func bias(in frozen: FrozenNetwork) -> Tensor<Double> {
    guard let bias = frozen.parameters[biasPath] else { return Tensor(zeros: [outputCount]) }
    return bias.converted(to: Double.self)
  }

  /// The version that is the layer itself.
  package func untouched(in frozen: FrozenNetwork) -> Version {
    Version(
      inputs: Tensor(repeating: 1, shape: [inputCount]), outputs: Tensor(repeating: 1, shape: [outputCount]),
      bias: bias(in: frozen))
  }

  /// The weight and the bias that a version amounts to.
  func parameters(_ version: Version, in frozen: FrozenNetwork) -> Parameters {
    var parameters = Parameters()
    parameters[biasPath] = version.bias.converted(to: Float.self)
    guard let trained = frozen.parameters[weight.path] else { return parameters }
    // Axes: window, inputs of a group, outputs.
    let dimensions = weight.shape.dimensions
    let ownCount = dimensions[dimensions.count - 2]
    let outputsAGroup = outputCount / groupCount
    let (inputs, outputs) = (version.inputs, version.outputs)
    parameters[weight.path] = Tensor<Float>(shape: weight.shape) { span in
      trained.withSpan { trained in
        for index in trained.indices {
          let output = index % outputCount
          let input = index / outputCount % ownCount + output / outputsAGroup * ownCount
          span.append(Float(Double(trained[index]) * inputs[input] * outputs[output]))
        }
      }
    }
    return parameters
  }
}

extension Network {
  /// The same graph, in which chosen layers have a bias; nodes stay where they are.
  func addingBiases(to layers: [MemberLayer]) throws(NetworkError) -> Network {
    var nodes = nodes
    for layer in layers {
      if var dense = nodes[layer.node].layer as? Dense {
        dense.usesBias = true
        nodes[layer.node].layer = dense
      } else if var convolution = nodes[layer.node].layer as? Convolution {
        convolution.usesBias = true
        nodes[layer.node].layer = convolution
      } else {
        throw NetworkError("'\(layer.name)' takes no bias.")
      }
    }
    return try Network(nodes: nodes, exits: exits)
  }
}

/// A network in which the vectors and biases of a member's layers are parameters of their own, for gradients.
struct ScaledNetwork: Sendable {
  /// The paths of a layer's vectors and bias.
  struct Paths: Sendable {
    var inputs: ParameterPath
    var outputs: ParameterPath
    var bias: ParameterPath
  }

  let frozen: FrozenNetwork
  /// The logits that were asked for.
  let outputs: [Int]
  /// One a layer, in order.
  let paths: [Paths]

  /// The parameters whose gradients are wanted.
  var trainedPaths: Set<ParameterPath> { Set(paths.flatMap { [$0.inputs, $0.outputs, $0.bias] }) }

  /// - Parameters:
  ///   - layers: in the order of their nodes.
  ///   - outputs: nodes of the network.
  init(_ layers: [MemberLayer], of original: FrozenNetwork, outputs: [Int]) throws(NetworkError) {
    let network = original.network
    var nodes: [Node] = []
    // Where each node's output is found now.
    var places: [Int] = []
    var paths: [Paths] = []
    var parameters = original.parameters
    let names = Set(network.nodes.map(\.name))
    func scaling(_ name: String, of input: Int, count: Int, centers: Bool) -> Node {
      var name = name
      while names.contains(name) { name += "'" }
      parameters[ParameterPath(node: name, parameter: "scale")] = Tensor(repeating: 1, shape: [count])
      parameters[ParameterPath(node: name, parameter: "offset")] = centers ? Tensor(zeros: [count]) : nil
      parameters[ParameterPath(node: name, parameter: "mean")] = Tensor(zeros: [count])
      parameters[ParameterPath(node: name, parameter: "variance")] = Tensor(repeating: 1, shape: [count])
      return Node(name: name, layer: BatchNormalization(epsilon: 0, centers: centers), inputs: [input])
    }
    // A border of zeros stays next to the convolution that it is of: scales go before it.
    var consumerCounts = [Int](repeating: 0, count: network.nodes.count)
    for node in network.nodes { for input in node.inputs { consumerCounts[input] += 1 } }
    func scaled(_ layer: MemberLayer) -> Int {
      let input = network.nodes[layer.node].inputs[0]
      let isBorder = network.nodes[input].layer is Border && consumerCounts[input] == 1 && !outputs.contains(input)
      return isBorder ? input : layer.node
    }
    var scales: [Int: String] = [:]
    let scaledNodes = Dictionary(layers.map { (scaled($0), $0) }) { first, _ in first }
    for (index, node) in network.nodes.enumerated() {
      var inputs = node.inputs.map { places[$0] }
      if let layer = scaledNodes[index] {
        let before = scaling(layer.name + " inputs", of: inputs[0], count: layer.inputCount, centers: false)
        nodes.append(before)
        scales[layer.node] = before.name
        inputs[0] = nodes.count - 1
      }
      nodes.append(Node(name: node.name, layer: node.layer, inputs: inputs))
      places.append(nodes.count - 1)
      guard let layer = layers.first(where: { $0.node == index }), let before = scales[index] else { continue }
      // The bias is the member's, behind its scale.
      if parameters[layer.biasPath] != nil { parameters[layer.biasPath] = Tensor(zeros: [layer.outputCount]) }
      let after = scaling(node.name + " outputs", of: nodes.count - 1, count: layer.outputCount, centers: true)
      nodes.append(after)
      places[index] = nodes.count - 1
      paths.append(
        Paths(
          inputs: ParameterPath(node: before, parameter: "scale"),
          outputs: ParameterPath(node: after.name, parameter: "scale"),
          bias: ParameterPath(node: after.name, parameter: "offset")))
    }
    let exits = network.exits.map { Exit(name: $0.name, logits: places[$0.logits], likelihood: $0.likelihood) }
    frozen = try FrozenNetwork(Network(nodes: nodes, exits: exits), parameters: parameters)
    self.outputs = outputs.map { places[$0] }
    self.paths = paths
  }

  /// A member's versions of the layers, in their places.
  func parameters(_ versions: [MemberLayer.Version]) -> Parameters {
    var parameters = Parameters()
    for (paths, version) in zip(paths, versions) {
      parameters[paths.inputs] = version.inputs.converted(to: Float.self)
      parameters[paths.outputs] = version.outputs.converted(to: Float.self)
      parameters[paths.bias] = version.bias.converted(to: Float.self)
    }
    return parameters
  }

  /// The gradients with respect to the versions from those of the parameters.
  func gradients(_ gradients: Parameters) -> [MemberLayer.Version] {
    func found(_ path: ParameterPath) -> Tensor<Double> {
      guard let gradient = gradients[path] else { preconditionFailure("There is no gradient of \(path).") }
      return gradient.converted(to: Double.self)
    }
    return paths.map {
      MemberLayer.Version(inputs: found($0.inputs), outputs: found($0.outputs), bias: found($0.bias))
    }
  }
}
