public import BayesTensor

/// Several inputs combined element by element, with broadcasting of extents of one.
public struct ElementwiseMerge: DifferentiableLayer, Hashable {
  public static let kind = "ElementwiseMerge"

  public enum Operation: String, Hashable, Sendable, Codable {
    case add, subtract, multiply, average, maximum, minimum
  }

  public var operation: Operation

  public init(_ operation: Operation) { self.operation = operation }

  public func outputShape(for inputs: [Shape]) throws(NetworkError) -> Shape {
    guard inputs.count >= 2, operation != .subtract || inputs.count == 2 else {
      throw NetworkError("\(operation.rawValue) was given \(inputs.count) input(s).")
    }
    var result = inputs[0].dimensions
    for input in inputs.dropFirst() {
      guard input.rank == result.count else {
        throw NetworkError("\(operation.rawValue) cannot combine \(inputs[0]) with \(input).")
      }
      for axis in result.indices where result[axis] != input[axis] {
        guard result[axis] == 1 || input[axis] == 1 else {
          throw NetworkError("\(operation.rawValue) cannot combine \(inputs[0]) with \(input).")
        }
        result[axis] = max(result[axis], input[axis])
      }
    }
    return try Shape(checking: result, of: operation.rawValue)
  }

  @specialized(where Scalar == Float)
  @specialized(where Scalar == Double)
  public func forward<Scalar: TensorScalar>(
    _ inputs: [Tensor<Scalar>], parameters: [Tensor<Scalar>], on backend: any Backend
  ) -> Tensor<Scalar> {
    var result = inputs[0]
    for input in inputs.dropFirst() {
      result = broadcast(result, input) { a, b in
        switch operation {
        case .add, .average: a + b
        case .subtract: a - b
        case .multiply: a * b
        case .maximum: max(a, b)
        case .minimum: min(a, b)
        }
      }
    }
    return operation == .average ? result.map { $0 / Scalar(inputs.count) } : result
  }

  /// Of equal maxima or minima the first input takes all.
  @specialized(where Scalar == Float)
  @specialized(where Scalar == Double)
  public func pullback<Scalar: TensorScalar>(
    of cotangent: Tensor<Scalar>, inputs: [Tensor<Scalar>], parameters: [Tensor<Scalar>],
    output: Tensor<Scalar>, request: GradientRequest, on backend: any Backend
  ) -> LayerGradients<Scalar> {
    var gradients: [Tensor<Scalar>?] = []
    // What of the cotangent no earlier input has taken, where one input takes all.
    var untaken = cotangent
    for (index, input) in inputs.enumerated() {
      let share: Tensor<Scalar>
      switch operation {
      case _ where !request.inputs[index] && operation != .maximum && operation != .minimum:
        gradients.append(nil)
        continue
      case .add: share = cotangent
      case .subtract: share = index == 0 ? cotangent : cotangent.map { -$0 }
      case .average: share = cotangent.map { $0 / Scalar(inputs.count) }
      case .multiply:
        share = inputs.indices.reduce(cotangent) { product, other in
          other == index ? product : broadcast(product, inputs[other], *)
        }
      case .maximum, .minimum:
        let wins = broadcast(output, input) { $0 == $1 ? Scalar(1) : 0 }
        share = broadcast(wins, untaken) { $0 == 1 ? $1 : 0 }
        untaken = broadcast(wins, untaken) { $0 == 1 ? 0 : $1 }
      }
      gradients.append(request.inputs[index] ? summed(share, to: input.shape) : nil)
    }
    return LayerGradients(inputs: gradients, parameters: [])
  }
}

/// Combines two tensors of equal rank element by element; an extent of one is repeated.
func broadcast<Scalar: TensorScalar>(
  _ a: Tensor<Scalar>, _ b: Tensor<Scalar>, _ combine: (Scalar, Scalar) -> Scalar
) -> Tensor<Scalar> {
  let shape = Shape(zip(a.shape.dimensions, b.shape.dimensions).map { max($0, $1) })
  if a.shape == b.shape {
    return Tensor(shape: shape, zip(a.elements, b.elements).map(combine))
  }
  let (aStrides, bStrides) = (broadcastStrides(of: a.shape), broadcastStrides(of: b.shape))
  let width = shape.dimensions.last ?? 1
  let (aStep, bStep) = (aStrides.last ?? 0, bStrides.last ?? 0)
  return Tensor(shape: shape) { result in
    a.withSpan { a in
      b.withSpan { b in
        for start in stride(from: 0, to: shape.elementCount, by: max(1, width)) {
          // Positions are worked out once for each run along the last axis.
          let aStart = broadcastPosition(start, in: shape, aStrides)
          let bStart = broadcastPosition(start, in: shape, bStrides)
          for offset in 0..<width {
            result.append(combine(a[aStart + offset * aStep], b[bStart + offset * bStep]))
          }
        }
      }
    }
  }
}

/// The sums over the axes along which a tensor of `shape` would be repeated: the adjoint of broadcasting.
///
/// They are kept in `Double`, since they may run over all pixels of all rows.
func summed<Scalar: TensorScalar>(_ tensor: Tensor<Scalar>, to shape: Shape) -> Tensor<Scalar> {
  guard tensor.shape != shape else { return tensor }
  let strides = broadcastStrides(of: shape)
  var sums = Tensor<Double>(zeros: shape)
  for position in 0..<tensor.count {
    sums[broadcastPosition(position, in: tensor.shape, strides)] += Double(tensor[position])
  }
  return sums.converted(to: Scalar.self)
}

/// The distance between neighbours along each axis; zero along an axis that is repeated.
private func broadcastStrides(of shape: Shape) -> [Int] {
  var stride = 1
  var result: [Int] = []
  for extent in shape.dimensions.reversed() {
    result.append(extent == 1 ? 0 : stride)
    stride *= extent
  }
  return result.reversed()
}

/// Where an element at `position` of a tensor of `shape` lies in one with other strides.
private func broadcastPosition(_ position: Int, in shape: Shape, _ strides: [Int]) -> Int {
  var (rest, result) = (position, 0)
  for axis in shape.dimensions.indices.reversed() {
    result += rest % shape[axis] * strides[axis]
    rest /= shape[axis]
  }
  return result
}

/// Several inputs side by side along one axis.
public struct Concatenation: DifferentiableLayer, Hashable {
  public static let kind = "Concatenation"
  /// The axis of a row, from zero.
  public var axis: Int

  public init(axis: Int) { self.axis = axis }

  public func outputShape(for inputs: [Shape]) throws(NetworkError) -> Shape {
    guard let first = inputs.first, first.dimensions.indices.contains(axis) else {
      throw NetworkError("Concatenation needs inputs that have an axis \(axis).")
    }
    var result = first.dimensions
    for input in inputs.dropFirst() {
      var other = input.dimensions
      guard other.count == result.count else {
        throw NetworkError("Concatenation cannot join \(first) and \(input).")
      }
      let extent = other[axis]
      other[axis] = first[axis]
      guard other == first.dimensions else {
        throw NetworkError("Concatenation along axis \(axis) cannot join \(first) and \(input).")
      }
      result[axis] += extent
    }
    return try Shape(checking: result, of: Self.kind)
  }

  @specialized(where Scalar == Float)
  @specialized(where Scalar == Double)
  public func forward<Scalar: TensorScalar>(
    _ inputs: [Tensor<Scalar>], parameters: [Tensor<Scalar>], on backend: any Backend
  ) -> Tensor<Scalar> {
    let batchAxis = axis + 1
    let outer = inputs[0].shape.dimensions[..<batchAxis].reduce(1, *)
    var dimensions = inputs[0].shape.dimensions
    dimensions[batchAxis] = inputs.reduce(0) { $0 + $1.shape[batchAxis] }
    var elements = ContiguousArray<Scalar>()
    elements.reserveCapacity(dimensions.reduce(1, *))
    for block in 0..<outer {
      for input in inputs {
        let width = input.count / outer
        elements.append(contentsOf: input.elements[block * width..<(block + 1) * width])
      }
    }
    return Tensor(shape: Shape(dimensions), elements: elements)
  }

  @specialized(where Scalar == Float)
  @specialized(where Scalar == Double)
  public func pullback<Scalar: TensorScalar>(
    of cotangent: Tensor<Scalar>, inputs: [Tensor<Scalar>], parameters: [Tensor<Scalar>],
    output: Tensor<Scalar>, request: GradientRequest, on backend: any Backend
  ) -> LayerGradients<Scalar> {
    let outer = cotangent.shape.dimensions[...axis].reduce(1, *)
    let stride = cotangent.count / outer
    var offset = 0
    var gradients: [Tensor<Scalar>?] = []
    for (input, isRequested) in zip(inputs, request.inputs) {
      let width = input.count / outer
      if isRequested {
        var elements = ContiguousArray<Scalar>()
        elements.reserveCapacity(input.count)
        for block in 0..<outer {
          let start = block * stride + offset
          elements.append(contentsOf: cotangent.elements[start..<start + width])
        }
        gradients.append(Tensor(shape: input.shape, elements: elements))
      } else {
        gradients.append(nil)
      }
      offset += width
    }
    return LayerGradients(inputs: gradients, parameters: [])
  }
}
