public import BayesTensor

/// The input unchanged: dropout and noise in evaluation form.
public struct Identity: DifferentiableLayer, Hashable {
  public static let kind = "Identity"
  /// The probability with which training drops an element; `nil` where the layer is no dropout.
  public var dropoutRate: Double?
  /// Axes of a row, from zero, along which elements are dropped together; `nil` where each is on its own.
  public var dropoutSharedAxes: [Int]?

  public init(dropoutRate: Double? = nil, dropoutSharedAxes: [Int]? = nil) {
    self.dropoutRate = dropoutRate
    self.dropoutSharedAxes = dropoutSharedAxes
  }

  public func outputShape(for inputs: [Shape]) throws(NetworkError) -> Shape {
    try requireInputs(inputs, of: Self.kind)
    return inputs[0]
  }

  @specialized(where Scalar == Float)
  @specialized(where Scalar == Double)
  public func forward<Scalar: TensorScalar>(
    _ inputs: [Tensor<Scalar>], parameters: [Tensor<Scalar>], on backend: any Backend
  ) -> Tensor<Scalar> { inputs[0] }

  @specialized(where Scalar == Float)
  @specialized(where Scalar == Double)
  public func pullback<Scalar: TensorScalar>(
    of cotangent: Tensor<Scalar>, inputs: [Tensor<Scalar>], parameters: [Tensor<Scalar>],
    output: Tensor<Scalar>, request: GradientRequest, on backend: any Backend
  ) -> LayerGradients<Scalar> {
    LayerGradients(input: request.inputs[0] ? cotangent : nil)
  }
}

/// The same elements under another shape; `Flatten` is a reshape to one axis.
///
/// - Shapes: `[…]` to `target`, in row-major order: height, width, channels.
public struct Reshape: DifferentiableLayer, Hashable {
  public static let kind = "Reshape"
  /// The extents of a row; one may be −1 and is then what is left.
  public var target: [Int]

  public init(target: [Int]) { self.target = target }

  /// All elements of a row in one axis.
  public static let flatten = Reshape(target: [-1])

  public func outputShape(for inputs: [Shape]) throws(NetworkError) -> Shape {
    try requireInputs(inputs, of: Self.kind)
    let count = inputs[0].elementCount
    let known = target.filter { $0 != -1 }
    guard target.count - known.count <= 1, !target.isEmpty else {
      throw NetworkError("\(target) is no target of a reshape.")
    }
    let product = known.isEmpty ? 1 : try Shape(checking: known, of: Self.kind).elementCount
    guard known.count == target.count ? product == count : count % product == 0 else {
      throw NetworkError("Rows of \(inputs[0]) cannot be reshaped to \(target).")
    }
    return Shape(target.map { $0 == -1 ? count / product : $0 })
  }

  @specialized(where Scalar == Float)
  @specialized(where Scalar == Double)
  public func forward<Scalar: TensorScalar>(
    _ inputs: [Tensor<Scalar>], parameters: [Tensor<Scalar>], on backend: any Backend
  ) -> Tensor<Scalar> {
    let rowCount = inputs[0].rowCount
    let row = inputs[0].shape.row
    let known = target.filter { $0 != -1 }.reduce(1, *)
    return inputs[0].reshaped(
      to: Shape([rowCount] + target.map { $0 == -1 ? row.elementCount / known : $0 }))
  }

  @specialized(where Scalar == Float)
  @specialized(where Scalar == Double)
  public func pullback<Scalar: TensorScalar>(
    of cotangent: Tensor<Scalar>, inputs: [Tensor<Scalar>], parameters: [Tensor<Scalar>],
    output: Tensor<Scalar>, request: GradientRequest, on backend: any Backend
  ) -> LayerGradients<Scalar> {
    LayerGradients(input: request.inputs[0] ? cotangent.reshaped(to: inputs[0].shape) : nil)
  }
}

/// The axes of a row in another order.
public struct Permutation: DifferentiableLayer, Hashable {
  public static let kind = "Permutation"
  /// `order[i]` is the input axis, from zero, that becomes output axis `i`.
  public var order: [Int]

  public init(order: [Int]) { self.order = order }

  public func outputShape(for inputs: [Shape]) throws(NetworkError) -> Shape {
    try requireInputs(inputs, of: Self.kind)
    guard order.sorted() == Array(0..<inputs[0].rank) else {
      throw NetworkError("\(order) is no order of the axes of \(inputs[0]).")
    }
    return Shape(order.map { inputs[0][$0] })
  }

  @specialized(where Scalar == Float)
  @specialized(where Scalar == Double)
  public func forward<Scalar: TensorScalar>(
    _ inputs: [Tensor<Scalar>], parameters: [Tensor<Scalar>], on backend: any Backend
  ) -> Tensor<Scalar> {
    let input = inputs[0]
    let row = input.shape.row
    let output = Shape(order.map { row[$0] })
    var strides = Array(repeating: 1, count: row.rank)
    for axis in (0..<max(0, row.rank - 1)).reversed() { strides[axis] = strides[axis + 1] * row[axis + 1] }
    var result = Tensor<Scalar>(zeros: output.batched(input.rowCount))
    for position in 0..<result.count {
      var rest = position % row.elementCount
      var source = position - rest
      for axis in output.dimensions.indices.reversed() {
        source += rest % output[axis] * strides[order[axis]]
        rest /= output[axis]
      }
      result[position] = input[source]
    }
    return result
  }

  /// The cotangent under the inverse order.
  @specialized(where Scalar == Float)
  @specialized(where Scalar == Double)
  public func pullback<Scalar: TensorScalar>(
    of cotangent: Tensor<Scalar>, inputs: [Tensor<Scalar>], parameters: [Tensor<Scalar>],
    output: Tensor<Scalar>, request: GradientRequest, on backend: any Backend
  ) -> LayerGradients<Scalar> {
    guard request.inputs[0] else { return LayerGradients(input: nil) }
    let inverse = Permutation(order: order.indices.sorted { order[$0] < order[$1] })
    return LayerGradients(input: inverse.forward([cotangent], parameters: [], on: backend))
  }
}

/// Zeros around an image, or, with negative numbers, pixels cut off it.
///
/// - Shapes: `[height, width, channels]` to `[height + top + bottom, width + left + right, channels]`.
public struct Border: DifferentiableLayer, Hashable {
  public static let kind = "Border"
  public var padding: SpatialPadding

  public init(_ padding: SpatialPadding) { self.padding = padding }

  public func outputShape(for inputs: [Shape]) throws(NetworkError) -> Shape {
    try requireInputs(inputs, rank: 3, of: Self.kind)
    let sides = [padding.top, padding.bottom, padding.left, padding.right]
    guard sides.allSatisfy({ (-largestSetting...largestSetting).contains($0) }) else {
      throw NetworkError("A side of \(Self.kind) in \(sides) is larger than \(largestSetting).")
    }
    let height = inputs[0][0] + padding.top + padding.bottom
    let width = inputs[0][1] + padding.left + padding.right
    guard height > 0, width > 0 else {
      throw NetworkError("Nothing is left of an image of \(inputs[0]) when its border is cut off.")
    }
    return try Shape(checking: [height, width, inputs[0][2]], of: Self.kind)
  }

  @specialized(where Scalar == Float)
  @specialized(where Scalar == Double)
  public func forward<Scalar: TensorScalar>(
    _ inputs: [Tensor<Scalar>], parameters: [Tensor<Scalar>], on backend: any Backend
  ) -> Tensor<Scalar> {
    let input = inputs[0]
    let (height, width, channels) = (input.shape[1], input.shape[2], input.shape[3])
    let outHeight = height + padding.top + padding.bottom
    let outWidth = width + padding.left + padding.right
    var result = Tensor<Scalar>(zeros: [input.rowCount, outHeight, outWidth, channels])
    for image in 0..<input.rowCount {
      for y in max(0, -padding.top)..<min(height, outHeight - padding.top) {
        for x in max(0, -padding.left)..<min(width, outWidth - padding.left) {
          let source = ((image * height + y) * width + x) * channels
          let target = ((image * outHeight + y + padding.top) * outWidth + x + padding.left) * channels
          for c in 0..<channels { result[target + c] = input[source + c] }
        }
      }
    }
    return result
  }

  /// What was added is cut off, and what was cut off has a gradient of zero.
  @specialized(where Scalar == Float)
  @specialized(where Scalar == Double)
  public func pullback<Scalar: TensorScalar>(
    of cotangent: Tensor<Scalar>, inputs: [Tensor<Scalar>], parameters: [Tensor<Scalar>],
    output: Tensor<Scalar>, request: GradientRequest, on backend: any Backend
  ) -> LayerGradients<Scalar> {
    guard request.inputs[0] else { return LayerGradients(input: nil) }
    let inverse = Border(
      SpatialPadding(
        top: -padding.top, bottom: -padding.bottom, left: -padding.left, right: -padding.right))
    return LayerGradients(input: inverse.forward([cotangent], parameters: [], on: backend))
  }
}
