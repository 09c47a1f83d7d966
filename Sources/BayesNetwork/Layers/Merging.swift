public import BayesTensor

/// Several inputs combined element by element, with broadcasting of extents of one.
public struct ElementwiseMerge: Layer, Hashable {
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
}

/// Combines two tensors of equal rank element by element; an extent of one is repeated.
func broadcast<Scalar: TensorScalar>(
  _ a: Tensor<Scalar>, _ b: Tensor<Scalar>, _ combine: (Scalar, Scalar) -> Scalar
) -> Tensor<Scalar> {
  let shape = Shape(zip(a.shape.dimensions, b.shape.dimensions).map { max($0, $1) })
  if a.shape == b.shape {
    return Tensor(shape: shape, zip(a.elements, b.elements).map(combine))
  }
  func strides(_ tensor: Tensor<Scalar>) -> [Int] {
    var stride = 1
    var result: [Int] = []
    for extent in tensor.shape.dimensions.reversed() {
      result.append(extent == 1 ? 0 : stride)
      stride *= extent
    }
    return result.reversed()
  }
  let (aStrides, bStrides) = (strides(a), strides(b))
  var result = Tensor<Scalar>(zeros: shape)
  for position in 0..<result.count {
    var (rest, aPosition, bPosition) = (position, 0, 0)
    for axis in shape.dimensions.indices.reversed() {
      let index = rest % shape[axis]
      rest /= shape[axis]
      aPosition += index * aStrides[axis]
      bPosition += index * bStrides[axis]
    }
    result[position] = combine(a[aPosition], b[bPosition])
  }
  return result
}

/// Several inputs side by side along one axis.
public struct Concatenation: Layer, Hashable {
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
}
