public import BayesTensor

/// A recurrent layer: a cell that goes through a sequence step by step, its state carried along.
///
/// With `x` the step's input and `h` the state, each gate `g` is a linear map `x W_g + h U_g + b_g`:
///
///     simple   h' = a(g)
///     LSTM     c' = σ(f) c + σ(i) a(c̃),  h' = σ(o) a(c')           gates i, f, c̃, o
///     GRU      h' = σ(z) h + (1 − σ(z)) a(h̃)                       gates z, r, h̃
///
/// where `a` and `σ` are the two activations.  In a GRU, the state that goes into `h̃` is weighed by `σ(r)`:
/// before its product with `U`, or after it, and then with a bias of its own.  States start at zero.
///
/// It has no pullback.
///
/// - Shapes: `[steps, in]` to `[units]`, or `[steps, units]`; weight `[in, gates · units]`, recurrent weight
///   `[units, gates · units]`, bias `[gates · units]`, or `[2, gates · units]` for the GRU that weighs after.
/// - Source: Hochreiter and Schmidhuber 1997; Cho et al. 2014.
public struct Recurrence: Layer, Hashable {
  public static let kind = "Recurrence"

  public enum Cell: Hashable, Sendable, Codable {
    case simple
    case longShortTerm
    /// - resetsAfter: whether the state is weighed after its product with the weights.
    case gated(resetsAfter: Bool)

    var gateCount: Int {
      switch self {
      case .simple: 1
      case .longShortTerm: 4
      case .gated: 3
      }
    }
  }

  public var cell: Cell
  public var units: Int
  public var activation: ActivationFunction
  /// That of the gates; a simple cell has none.
  public var recurrentActivation: ActivationFunction
  public var usesBias: Bool
  /// Whether all states are given, in the order in which they were computed, and not only the last.
  public var returnsSequences: Bool
  /// Whether the last step is the first to be computed.
  public var goesBackwards: Bool

  public init(
    _ cell: Cell, units: Int, activation: ActivationFunction = .tanh,
    recurrentActivation: ActivationFunction = .sigmoid, usesBias: Bool = true, returnsSequences: Bool = false,
    goesBackwards: Bool = false
  ) {
    self.cell = cell
    self.units = units
    self.activation = activation
    self.recurrentActivation = recurrentActivation
    self.usesBias = usesBias
    self.returnsSequences = returnsSequences
    self.goesBackwards = goesBackwards
  }

  public func parameterSpecs(for inputs: [Shape]) -> [ParameterSpec] {
    let width = cell.gateCount * units
    let bias: Shape = cell == .gated(resetsAfter: true) ? [2, width] : [width]
    return [
      ParameterSpec("weight", [inputs[0].dimensions.last ?? 0, width]),
      ParameterSpec("recurrentWeight", [units, width]),
    ] + (usesBias ? [ParameterSpec("bias", bias)] : [])
  }

  public func outputShape(for inputs: [Shape]) throws(NetworkError) -> Shape {
    try requireInputs(inputs, rank: 2, of: Self.kind)
    try requireSettings([units], of: Self.kind)
    guard activation.isElementwise, recurrentActivation.isElementwise else {
      throw NetworkError("The activations of \(Self.kind) must be functions of single elements.")
    }
    let width = cell.gateCount * units
    _ = try Shape(checking: [inputs[0][1], width], of: "The weight of \(Self.kind)")
    _ = try Shape(checking: [units, width], of: "The recurrent weight of \(Self.kind)")
    return try Shape(checking: returnsSequences ? [inputs[0][0], units] : [units], of: Self.kind)
  }

  public func multiplyAdds(for inputs: [Shape], output: Shape) -> Int {
    inputs[0][0] * cell.gateCount * units * (inputs[0][1] + units)
  }

  @specialized(where Scalar == Float)
  @specialized(where Scalar == Double)
  public func forward<Scalar: TensorScalar>(
    _ inputs: [Tensor<Scalar>], parameters: [Tensor<Scalar>], on backend: any Backend
  ) -> Tensor<Scalar> {
    let (rowCount, steps, width) = (inputs[0].rowCount, inputs[0].shape[1], inputs[0].shape[2])
    let gates = cell.gateCount * units
    var driven = backend.product(inputs[0].reshaped(to: [rowCount * steps, width]), parameters[0])
    if usesBias {
      let bias = parameters[2]
      driven.withMutableSpan { driven in
        for position in 0..<driven.count { driven[position] += bias[position % gates] }
      }
    }
    var state = Tensor<Scalar>(zeros: [rowCount, units])
    var memory = state
    var result = Tensor<Scalar>(zeros: returnsSequences ? [rowCount, steps, units] : [rowCount, units])
    for step in 0..<steps {
      let time = goesBackwards ? steps - 1 - step : step
      advance(&state, &memory, driven, at: time, of: steps, parameters, on: backend)
      guard returnsSequences else { continue }
      for row in 0..<rowCount {
        for unit in 0..<units { result[(row * steps + step) * units + unit] = state[row * units + unit] }
      }
    }
    return returnsSequences ? result : state
  }

  /// Takes one step with all rows.
  ///
  /// - Parameters:
  ///   - memory: what an LSTM carries beside its state.
  ///   - driven: the inputs' share of all gates at all steps, `[rows · steps, gates · units]`.
  @specialized(where Scalar == Float)
  @specialized(where Scalar == Double)
  private func advance<Scalar: TensorScalar>(
    _ state: inout Tensor<Scalar>, _ memory: inout Tensor<Scalar>, _ driven: Tensor<Scalar>, at time: Int,
    of steps: Int, _ parameters: [Tensor<Scalar>], on backend: any Backend
  ) {
    let gates = cell.gateCount * units
    let recurrent = backend.product(state, parameters[1])
    let previous = state
    for row in 0..<state.rowCount {
      let (from, back, own) = ((row * steps + time) * gates, row * gates, row * units)
      switch cell {
      case .simple:
        for unit in 0..<units {
          state[own + unit] = activation.value(driven[from + unit] + recurrent[back + unit])
        }
      case .longShortTerm:
        for unit in 0..<units {
          func gate(_ index: Int) -> Scalar {
            driven[from + index * units + unit] + recurrent[back + index * units + unit]
          }
          let kept = recurrentActivation.value(gate(1)) * memory[own + unit]
          memory[own + unit] = kept + recurrentActivation.value(gate(0)) * activation.value(gate(2))
          state[own + unit] = recurrentActivation.value(gate(3)) * activation.value(memory[own + unit])
        }
      case .gated(let resetsAfter):
        func gate(_ index: Int, _ unit: Int) -> Scalar {
          let position = index * units + unit
          let bias = resetsAfter && usesBias ? parameters[2][gates + position] : 0
          return recurrentActivation.value(driven[from + position] + (recurrent[back + position] + bias))
        }
        // Where the state is weighed before its product, a candidate needs the resets of all units.
        let resets = (0..<units).map { gate(1, $0) }
        for unit in 0..<units {
          let position = 2 * units + unit
          var carried: Scalar = 0
          if resetsAfter {
            carried = resets[unit] * (recurrent[back + position] + (usesBias ? parameters[2][gates + position] : 0))
          } else {
            for other in 0..<units {
              carried += resets[other] * previous[own + other] * parameters[1][other * gates + position]
            }
          }
          let candidate = activation.value(driven[from + position] + carried)
          let update = gate(0, unit)
          state[own + unit] = update * previous[own + unit] + (1 - update) * candidate
        }
      }
    }
  }
}

/// Two recurrent layers over one sequence, one in each direction, and what they give combined.
///
/// Where sequences are returned, the second one's is turned round, so that equal steps stand side by side.
/// It has no pullback.
///
/// - Shapes: those of the layers; their units add up where they are concatenated.  Parameters are the first
///   layer's, their names after `forward`, and the second one's, after `backward`.
public struct BidirectionalRecurrence: Layer, Hashable {
  public static let kind = "BidirectionalRecurrence"

  public enum Merge: String, Hashable, Sendable, Codable {
    case concatenate, add, multiply, average
  }

  public var first: Recurrence
  public var second: Recurrence
  public var merge: Merge

  public init(_ first: Recurrence, _ second: Recurrence, merge: Merge) {
    self.first = first
    self.second = second
    self.merge = merge
  }

  /// The name of a parameter of one of the layers.
  static func name(_ parameter: String, isSecond: Bool) -> String {
    (isSecond ? "backward" : "forward") + parameter.prefix(1).uppercased() + parameter.dropFirst()
  }

  public func parameterSpecs(for inputs: [Shape]) -> [ParameterSpec] {
    [first, second].enumerated().flatMap { index, layer in
      layer.parameterSpecs(for: inputs).map {
        ParameterSpec(Self.name($0.name, isSecond: index == 1), $0.shape, isTrained: $0.isTrained)
      }
    }
  }

  public func outputShape(for inputs: [Shape]) throws(NetworkError) -> Shape {
    let shapes = [try first.outputShape(for: inputs), try second.outputShape(for: inputs)]
    guard first.returnsSequences == second.returnsSequences else {
      throw NetworkError("Both directions of \(Self.kind) must return sequences, or neither.")
    }
    guard merge == .concatenate || first.units == second.units else {
      throw NetworkError("\(first.units) and \(second.units) units cannot be combined by \(merge.rawValue).")
    }
    var dimensions = shapes[0].dimensions
    if merge == .concatenate { dimensions[dimensions.count - 1] += second.units }
    return try Shape(checking: dimensions, of: Self.kind)
  }

  public func multiplyAdds(for inputs: [Shape], output: Shape) -> Int {
    first.multiplyAdds(for: inputs, output: output) + second.multiplyAdds(for: inputs, output: output)
  }

  @specialized(where Scalar == Float)
  @specialized(where Scalar == Double)
  public func forward<Scalar: TensorScalar>(
    _ inputs: [Tensor<Scalar>], parameters: [Tensor<Scalar>], on backend: any Backend
  ) -> Tensor<Scalar> {
    let count = first.usesBias ? 3 : 2
    let one = first.forward(inputs, parameters: Array(parameters[..<count]), on: backend)
    var other = second.forward(inputs, parameters: Array(parameters[count...]), on: backend)
    if second.returnsSequences {
      let (steps, units) = (other.shape[1], other.shape[2])
      let turned = (0..<other.rowCount * steps).map { $0 / steps * steps + steps - 1 - $0 % steps }
      other = other.reshaped(to: [other.rowCount * steps, units]).rows(turned).reshaped(to: other.shape)
    }
    switch merge {
    case .concatenate:
      return Concatenation(axis: one.shape.rank - 2).forward([one, other], parameters: [], on: backend)
    case .add: return broadcast(one, other, +)
    case .multiply: return broadcast(one, other, *)
    case .average: return broadcast(one, other) { ($0 + $1) / 2 }
    }
  }
}
