public import BayesTensor

/// The gradients of a scalar with respect to chosen parameters and the input of a network.
public struct NetworkGradients<Scalar: TensorScalar>: Sendable {
  /// One tensor a chosen parameter, in the parameter's shape.
  public var parameters: [ParameterPath: Tensor<Scalar>]
  /// In the shape of the input batch; `nil` where it was not asked for.
  public var input: Tensor<Scalar>?

  public init(parameters: [ParameterPath: Tensor<Scalar>], input: Tensor<Scalar>?) {
    self.parameters = parameters
    self.input = input
  }
}

extension Network {
  /// The gradients of a scalar function of chosen nodes' outputs, layer by layer: the reference that
  /// prepared networks are tested against.
  ///
  /// After one pass forward, cotangents go backwards through the layers between the outputs and the
  /// first chosen parameter, and through no others; layers without a chosen parameter give no weight
  /// gradients.
  ///
  /// - Parameters:
  ///   - outputs: Nodes; one that is named twice adds up both its cotangents.
  ///   - paths: The parameters whose gradients are wanted.  That of a parameter on which no output
  ///     depends is zero.
  ///   - includingInput: Whether the gradient with respect to the input is wanted.
  ///   - cotangents: Takes the outputs; gives, for each, the scalar's derivative with respect to it.
  /// - Shapes: `inputs` `[batch] + inputShape`; outputs and cotangents `[batch] + shapes[node]`.
  /// - Cost: memory for the outputs of all nodes at once.
  /// - Precondition: `parameters` holds every tensor of `parameterSpecs` in its shape.
  /// - Throws: `NetworkError` for a path that names no parameter or one that is never trained, for a
  ///   layer on the way that is no `DifferentiableLayer`, and for cotangents that do not fit the
  ///   outputs; whatever `cotangents` throws.
  public func gradients<Scalar: TensorScalar>(
    of outputs: [Int], at inputs: Tensor<Scalar>, parameters: Parameters,
    withRespectTo paths: Set<ParameterPath>, includingInput: Bool, on backend: any Backend,
    cotangents: ([Tensor<Scalar>]) throws -> [Tensor<Scalar>]
  ) throws -> NetworkGradients<Scalar> {
    let gradients = try gradients(
      of: outputs, given: [0: inputs], parameters: parameters, withRespectTo: paths, includingInputs: includingInput,
      on: backend, cotangents: cotangents)
    return NetworkGradients(parameters: gradients.parameters, input: gradients.inputs[0])
  }

  /// The gradients of a scalar function of chosen nodes' outputs, where those of other nodes are given.
  ///
  /// - Returns: also the gradients with respect to what is given, by node, where `includingInputs`.
  func gradients<Scalar: TensorScalar>(
    of outputs: [Int], given: [Int: Tensor<Scalar>], parameters: Parameters,
    withRespectTo paths: Set<ParameterPath>, includingInputs: Bool, on backend: any Backend,
    cotangents: ([Tensor<Scalar>]) throws -> [Tensor<Scalar>]
  ) throws -> (parameters: [ParameterPath: Tensor<Scalar>], inputs: [Int: Tensor<Scalar>]) {
    let chosen = try chosenParameters(paths)
    let isReached = try nodesReached(
      from: chosen, given: Array(given.keys), includingInputs: includingInputs, for: outputs)
    var values = values(of: outputs, given: given, parameters: parameters, on: backend)
    let results = outputs.compactMap { values[$0] }
    let seeds = try cotangents(results)
    guard seeds.map(\.shape) == results.map(\.shape) else {
      throw NetworkError(
        "Cotangents of \(seeds.map(\.shape)) were given for outputs of \(results.map(\.shape)); there must be "
          + "one of the same shape for each.")
    }

    var sums = [Tensor<Scalar>?](repeating: nil, count: nodes.count)
    for (node, seed) in zip(outputs, seeds) where isReached[node] { sums[node].add(seed) }
    var gradients: [ParameterPath: Tensor<Scalar>] = [:]
    for index in nodes.indices.reversed() where isReached[index] && given[index] == nil {
      // Nothing later reads these again, so their memory is free before the earlier layers need it.
      let output = values[index].take()
      guard let output, let cotangent = sums[index].take(),
        let layer = nodes[index].layer as? any DifferentiableLayer
      else { continue }
      let node = nodes[index]
      let result = layer.pullback(
        of: cotangent, inputs: node.inputs.compactMap { values[$0] },
        parameters: tensors(of: index, parameters), output: output,
        request: GradientRequest(
          inputs: node.inputs.map { isReached[$0] }, parameters: !chosen[index].isEmpty),
        on: backend)
      for (position, input) in node.inputs.enumerated() where isReached[input] {
        guard let gradient = result.inputs[position] else {
          preconditionFailure("The layer of '\(node.name)' gave no gradient with respect to input \(position).")
        }
        sums[input].add(gradient)
      }
      let specs = parameterSpecs(of: index)
      for position in chosen[index] {
        guard let gradient = result.parameters[position] else {
          preconditionFailure("The layer of '\(node.name)' gave no gradient of \(specs[position].path).")
        }
        gradients[specs[position].path] = gradient
      }
    }
    for (index, positions) in chosen.enumerated() where !positions.isEmpty {
      let specs = parameterSpecs(of: index)
      for position in positions where gradients[specs[position].path] == nil {
        gradients[specs[position].path] = Tensor(zeros: specs[position].shape)
      }
    }
    var inputGradients: [Int: Tensor<Scalar>] = [:]
    if includingInputs {
      for (node, value) in given { inputGradients[node] = sums[node] ?? Tensor(zeros: value.shape) }
    }
    return (gradients, inputGradients)
  }

  /// Refuses gradients that cannot be had.
  ///
  /// - Throws: `NetworkError` for a path that names no parameter or one that is never trained, and for a layer
  ///   on the way that is no `DifferentiableLayer`.
  public func requireGradients(
    of outputs: [Int], given inputs: [Int] = [0], withRespectTo paths: Set<ParameterPath>, includingInputs: Bool
  ) throws(NetworkError) {
    _ = try nodesReached(
      from: chosenParameters(paths), given: inputs, includingInputs: includingInputs, for: outputs)
  }

  /// For each node, the positions among its parameters of those that are chosen.
  ///
  /// - Throws: `NetworkError` for a path that names no parameter or one that is never trained.
  private func chosenParameters(_ paths: Set<ParameterPath>) throws(NetworkError) -> [[Int]] {
    var unknown = paths
    var chosen: [[Int]] = []
    for node in nodes {
      let specs = node.layer.parameterSpecs(for: node.inputs.map { shapes[$0] })
      var positions: [Int] = []
      for (position, spec) in specs.enumerated() {
        let path = ParameterPath(node: node.name, parameter: spec.name)
        guard unknown.remove(path) != nil else { continue }
        guard spec.isTrained else {
          throw NetworkError("\(path) is a stored statistic and has no gradient; choose parameters that are trained.")
        }
        positions.append(position)
      }
      chosen.append(positions)
    }
    guard let path = unknown.min() else { return chosen }
    throw NetworkError("The network has no parameter \(path), so there is no gradient with respect to it.")
  }

  /// Whether each node is needed for the outputs and depends on something chosen.
  ///
  /// - Throws: `NetworkError` naming the first such node whose layer is no `DifferentiableLayer`.
  private func nodesReached(
    from chosen: [[Int]], given: [Int], includingInputs: Bool, for outputs: [Int]
  ) throws(NetworkError) -> [Bool] {
    let isNeeded = isNeeded(for: outputs, given: given)
    var isReached = [Bool](repeating: false, count: nodes.count)
    for node in given { isReached[node] = includingInputs }
    for (index, node) in nodes.enumerated() where isNeeded[index] && !given.contains(index) {
      isReached[index] = !chosen[index].isEmpty || node.inputs.contains { isReached[$0] }
      guard !isReached[index] || node.layer is any DifferentiableLayer else {
        throw NetworkError(
          "Node '\(node.name)' is of kind \(type(of: node.layer).kind), which has no pullback, so no gradient "
            + "passes through it.")
      }
    }
    return isReached
  }
}

extension Optional {
  /// Adds a tensor to a sum that is `nil` before its first term.
  mutating func add<Scalar: TensorScalar>(_ term: Tensor<Scalar>) where Wrapped == Tensor<Scalar> {
    guard var sum = take() else {
      self = term
      return
    }
    sum.withMutableSpan { sum in
      term.withSpan { term in
        for position in 0..<sum.count { sum[position] += term[position] }
      }
    }
    self = sum
  }
}
