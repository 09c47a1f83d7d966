public import BayesTensor

/// A network at some rows, from whose outputs cotangents can go back to the outputs of chosen layers any number of
/// times.
///
/// With `J` the derivative of the outputs with respect to what a layer gives, one way back computes `Jᵀ c`.
///
/// - Cost: memory for the outputs of all nodes at once; a way back costs what `Network.gradients` does without the
///   gradients of weights.
public struct Linearization<Scalar: TensorScalar>: Sendable {
  /// The outputs asked for, `[batch] + shape of the node`.
  public let outputs: [Tensor<Scalar>]
  private let network: Network
  private let parameters: Parameters
  private let backend: any Backend
  private let nodes: [Int]
  private let layers: [Int]
  private let values: [Tensor<Scalar>?]
  /// Whether each node depends on what a chosen layer gives.
  private let isReached: [Bool]

  /// Runs a network.
  ///
  /// - Parameters:
  ///   - outputs: nodes from which cotangents will start.
  ///   - layers: nodes at which they are wanted.
  /// - Shapes: inputs `[batch] + inputShape`.
  /// - Precondition: `parameters` holds every tensor of `parameterSpecs` in its shape.
  /// - Throws: `NetworkError` for a layer on the way that is no `DifferentiableLayer`.
  public init(
    _ network: Network, of outputs: [Int], at inputs: Tensor<Scalar>, parameters: Parameters, to layers: [Int],
    on backend: any Backend
  ) throws(NetworkError) {
    let isNeeded = network.isNeeded(for: outputs, given: [0])
    var isReached = [Bool](repeating: false, count: network.nodes.count)
    for (index, node) in network.nodes.enumerated() where isNeeded[index] {
      let passes = node.inputs.contains { isReached[$0] }
      isReached[index] = passes || layers.contains(index)
      guard !passes || node.layer is any DifferentiableLayer else {
        throw NetworkError(
          "Node '\(node.name)' is of kind \(type(of: node.layer).kind), which has no pullback, so no gradient "
            + "passes through it.")
      }
    }
    self.isReached = isReached
    self.network = network
    self.parameters = parameters
    self.backend = backend
    self.nodes = outputs
    self.layers = layers
    values = network.values(of: outputs, for: inputs, parameters: parameters, on: backend)
    self.outputs = outputs.compactMap { [values] in values[$0] }
  }

  /// What goes into a chosen layer, `[batch] + shape of the node before it`.
  ///
  /// - Precondition: the node is needed for the outputs and has one input.
  public func input(of layer: Int) -> Tensor<Scalar> {
    guard let value = values[network.nodes[layer].inputs[0]] else {
      preconditionFailure("The outputs do not depend on node \(layer).")
    }
    return value
  }

  /// The derivatives of `Σ cotangent · output` with respect to what each chosen layer gives.
  ///
  /// - Parameter cotangents: one tensor an output, in its shape.
  /// - Shapes: `[batch] + shape of the layer's output`, in the order of the layers.
  public func pullback(_ cotangents: [Tensor<Scalar>]) -> [Tensor<Scalar>] {
    var sums = [Tensor<Scalar>?](repeating: nil, count: network.nodes.count)
    for (node, cotangent) in zip(nodes, cotangents) where isReached[node] { sums[node].add(cotangent) }
    var results: [Int: Tensor<Scalar>] = [:]
    for index in network.nodes.indices.reversed() where isReached[index] {
      guard let cotangent = sums[index].take(), let output = values[index] else { continue }
      if layers.contains(index) { results[index] = cotangent }
      let node = network.nodes[index]
      let request = GradientRequest(inputs: node.inputs.map { isReached[$0] }, parameters: false)
      guard request.inputs.contains(true), let layer = node.layer as? any DifferentiableLayer else { continue }
      let gradients = layer.pullback(
        of: cotangent, inputs: node.inputs.compactMap { values[$0] },
        parameters: network.tensors(of: index, parameters), output: output, request: request, on: backend)
      for (position, input) in node.inputs.enumerated() where isReached[input] {
        guard let gradient = gradients.inputs[position] else {
          preconditionFailure("The layer of '\(node.name)' gave no gradient with respect to input \(position).")
        }
        sums[input].add(gradient)
      }
    }
    return layers.map { layer in
      results[layer] ?? Tensor(zeros: network.shapes[layer].batched(outputs.first?.rowCount ?? 0))
    }
  }
}
