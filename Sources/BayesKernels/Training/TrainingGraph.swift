import BayesNetwork
import BayesTensor

/// One step of the way back.
struct BackwardOperation: Sendable {
  enum Kind: Sendable {
    /// The sum of what arrives at a value, times the derivative of the activation that made it.
    case combination(ActivationDerivative?, result: Int?)
    /// The cotangent of the input of a convolution, product, pooling, interpolation or change of order.
    case inputGradient
    /// The gradients of a convolution's or product's weight and bias.
    case weightGradient
    /// The cotangent of an activation's input, from that input.
    case activation(ActivationKernel)
    /// The cotangent times one factor a channel.
    case channelFactors
    /// Sums from which the gradients of a normalisation's scale and offset follow.
    case channelSums
    /// The cotangent times a number.
    case scaling(Float)
    /// The cotangent times all inputs but one.
    case product(input: Int)
    /// The cotangent where one input is the chosen extreme, zero elsewhere.
    case selection(input: Int)
    /// The part of the cotangent that belongs to one of the inputs side by side.
    case part(input: Int)
    /// The inner part of a padded image's cotangent, or one surrounded by zeros.
    case uncovering
    /// A layer's own pullback.
    case layer(GradientRequest)
  }

  var kind: Kind
  /// The operation of the way forward that this undoes; `nil` for combinations.
  var operation: Int?
  /// Values that are read; for all but combinations, the output's cotangent comes first.
  var reads: [Int]
  /// Values that are written.
  var writes: [Int]
}

/// A graph with its way back: from the cotangents of its outputs to the gradients that are asked for,
/// and nothing else.
struct TrainingGraph: Sendable {
  let forward: FusedGraph
  private(set) var backward: [BackwardOperation] = []
  /// The cotangent of each output.
  private(set) var cotangents: [Int] = []
  /// The gradient with respect to each input; `nil` where nothing reaches it.
  private(set) var inputGradients: [Int?] = []
  /// For each value, the one of the way forward that it is as large as: for cotangents, what they belong to.
  private(set) var originals: [Int]
  /// For maximum pooling, where it notes which elements it chose.
  private(set) var workspaces: [Int: Int] = [:]
  /// The operations with weights that are trained.
  let isTrained: [Bool]

  init(
    _ frozen: FrozenNetwork, inputs: [Int], outputs: [Int], training paths: Set<ParameterPath>, includingInputs: Bool
  ) {
    let nodes = frozen.network.nodes
    let chosen = nodes.indices.map { node in
      frozen.network.parameterSpecs(of: node).contains { paths.contains($0.path) }
    }
    let apart = nodes.indices.filter { chosen[$0] && nodes[$0].layer is BatchNormalization && !chosen[nodes[$0].inputs[0]] }
    forward = FusedGraph(frozen, inputs: inputs, outputs: outputs, for: .training(apart: Set(apart)))
      .mixingChannelsBeforeEnlarging().withoutUnreadPixels().inFavorableOrders()
    originals = Array(forward.elementCounts.indices)
    isTrained = forward.operations.map {
      $0.hasParameters && (chosen[$0.node] || ($0.normalization.map { chosen[$0] } ?? false))
    }
    var isReached = Array(repeating: false, count: forward.elementCounts.count)
    if includingInputs { for value in forward.inputs { isReached[value] = true } }
    for (index, operation) in forward.operations.enumerated() {
      isReached[operation.output] =
        isTrained[index] || operation.inputs.contains { isReached[$0.value] }
        || (operation.residual.map { isReached[$0] } ?? false)
    }
    var arriving: [Int: [Int]] = [:]
    cotangents = forward.outputs.map { output in
      let value = newValue(like: output.value)
      if isReached[output.value] { arriving[output.value, default: []].append(value) }
      return value
    }
    for index in forward.operations.indices.reversed() {
      undo(index, isReached: isReached, &arriving)
    }
    inputGradients = forward.inputs.map { input in
      includingInputs ? combined(arriving[input], of: input, nil) : nil
    }
    for (index, operation) in forward.operations.enumerated() {
      if case .pooling(.maximum, _) = operation.kind, isReached[operation.inputs[0].value] {
        workspaces[index] = newValue(like: operation.output)
      }
    }
  }

  private mutating func newValue(like value: Int) -> Int {
    originals.append(originals[value])
    return originals.count - 1
  }

  /// What arrives at a value, in one piece and through its activation.
  private mutating func combined(_ arriving: [Int]?, of value: Int, _ derivative: ActivationDerivative?) -> Int? {
    guard let arriving, let first = arriving.first else { return nil }
    if arriving.count == 1, derivative == nil { return first }
    let sum = newValue(like: value)
    backward.append(
      BackwardOperation(
        kind: .combination(derivative, result: derivative == nil ? nil : value), operation: nil,
        reads: arriving + (derivative == nil ? [] : [value]), writes: [sum]))
    return sum
  }

  private mutating func undo(_ index: Int, isReached: [Bool], _ arriving: inout [Int: [Int]]) {
    let operation = forward.operations[index]
    guard isReached[operation.output] else { return }
    var derivative = operation.activation.flatMap { ActivationDerivative($0) }
    if case .activation(let function) = operation.kind { derivative = ActivationDerivative(function) }
    guard let cotangent = combined(arriving[operation.output], of: operation.output, derivative) else { return }
    if let residual = operation.residual, isReached[residual] { arriving[residual, default: []].append(cotangent) }

    func add(_ kind: BackwardOperation.Kind, reads: [Int] = [], toInput position: Int) {
      let input = operation.inputs[position].value
      let value = newValue(like: input)
      backward.append(
        BackwardOperation(kind: kind, operation: index, reads: [cotangent] + reads, writes: [value]))
      arriving[input, default: []].append(value)
    }
    let values = operation.inputs.map(\.value)
    let reached = values.indices.filter { isReached[values[$0]] }
    switch operation.kind {
    case .convolution, .dense:
      if isTrained[index] {
        backward.append(
          BackwardOperation(
            kind: .weightGradient, operation: index, reads: [cotangent, values[0]], writes: []))
      }
      for position in reached { add(.inputGradient, toInput: position) }
    case .pooling, .resampling, .reorder:
      for position in reached { add(.inputGradient, toInput: position) }
    case .transposedConvolution:
      preconditionFailure("Graphs for training leave \(operation.kind) to the layer's own function.")
    case .activation(let function):
      if derivative != nil {
        for position in reached { arriving[values[position], default: []].append(cotangent) }
      } else if let kernel = ActivationKernel(function) {
        for position in reached { add(.activation(kernel), reads: [values[0]], toInput: position) }
      }
    case .channelMap:
      if isTrained[index] {
        backward.append(
          BackwardOperation(kind: .channelSums, operation: index, reads: [cotangent, values[0]], writes: []))
      }
      for position in reached { add(.channelFactors, toInput: position) }
    case .merge(let merge):
      for position in reached {
        switch merge {
        case .add: arriving[values[position], default: []].append(cotangent)
        case .average: add(.scaling(1 / Float(values.count)), toInput: position)
        case .subtract:
          if position == 0 {
            arriving[values[0], default: []].append(cotangent)
          } else {
            add(.scaling(-1), toInput: position)
          }
        case .multiply: add(.product(input: position), reads: values, toInput: position)
        case .maximum, .minimum: add(.selection(input: position), reads: values, toInput: position)
        }
      }
    case .concatenation:
      for position in reached { add(.part(input: position), toInput: position) }
    case .border:
      for position in reached { add(.uncovering, toInput: position) }
    case .layer:
      let request = GradientRequest(
        inputs: values.indices.map { reached.contains($0) }, parameters: isTrained[index])
      let written = reached.map { position in
        let value = newValue(like: values[position])
        arriving[values[position], default: []].append(value)
        return value
      }
      backward.append(
        BackwardOperation(
          kind: .layer(request), operation: index, reads: [cotangent] + values + [operation.output],
          writes: written))
    }
  }
}

extension TrainingGraph {
  /// Memory for slices of `rowCount` rows: the way forward, the loss, and the way back.
  ///
  /// - Parameter reusesMemory: whether values that are never needed together, when one step comes after the other,
  ///   may share bytes.
  func arena(rowCount: Int, reusesMemory: Bool = true, workspaceByteCount: (Int) -> Int) -> ArenaPlan {
    var byteCounts = forward.byteCounts(rowCount: rowCount)
    byteCounts = originals.map { byteCounts[$0] }
    for (operation, value) in workspaces { byteCounts[value] = workspaceByteCount(operation) }
    var uses = forward.operations.enumerated().map { index, operation in
      var use = operation.memoryUse(rowCount: rowCount)
      if let workspace = workspaces[index] { use.writes.append(workspace) }
      return use
    }
    uses.append(MemoryUse(reads: forward.outputs.map(\.value), writes: cotangents))
    for operation in backward {
      var use = MemoryUse(reads: operation.reads, writes: operation.writes)
      switch operation.kind {
      case .combination: use.heirOf = operation.reads[0]
      case .inputGradient:
        if let index = operation.operation, let workspace = workspaces[index] { use.reads.append(workspace) }
      case .activation, .channelFactors, .scaling: use.heirOf = operation.reads[0]
      default: break
      }
      uses.append(use)
    }
    let kept = reusesMemory ? inputGradients.compactMap { $0 } : Array(Set(uses.flatMap { $0.reads + $0.writes }))
    return ArenaPlan(uses, byteCounts: byteCounts, kept: kept)
  }
}
