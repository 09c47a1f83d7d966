public import BayesTensor

/// The sums of products of two inputs along one axis of each.
///
///     y[a…, b…] = Σᵢ x₁[a…, i] x₂[b…, i]
///
/// - Shapes: two rows to the axes of both that are left, those of the first input first; `[1]` where none is
///   left.
public struct DotProduct: DifferentiableLayer, Hashable {
  public static let kind = "DotProduct"
  /// The axis of a row of each input, from zero.
  public var axes: [Int]

  public init(axes: [Int]) { self.axes = axes }

  public func outputShape(for inputs: [Shape]) throws(NetworkError) -> Shape {
    try requireInputs(inputs, count: 2, of: Self.kind)
    guard axes.count == 2, inputs[0].dimensions.indices.contains(axes[0]),
      inputs[1].dimensions.indices.contains(axes[1]), inputs[0][axes[0]] == inputs[1][axes[1]]
    else {
      throw NetworkError("\(Self.kind) cannot sum over the axes \(axes) of \(inputs[0]) and \(inputs[1]).")
    }
    let left = remaining(inputs[0], axes[0]) + remaining(inputs[1], axes[1])
    return try Shape(checking: left.isEmpty ? [1] : left, of: Self.kind)
  }

  private func remaining(_ shape: Shape, _ axis: Int) -> [Int] {
    shape.dimensions.enumerated().filter { $0.offset != axis }.map(\.element)
  }

  public func multiplyAdds(for inputs: [Shape], output: Shape) -> Int {
    output.elementCount * inputs[0][axes[0]]
  }

  /// Calls `body` with the positions of every output element and of the two factors of each of its terms.
  @inline(__always)
  private func forEachTerm(
    _ first: Shape, _ second: Shape, _ body: (_ output: Int, _ first: Int, _ second: Int) -> Void
  ) {
    let (a, b) = (first.row, second.row)
    let length = a[axes[0]]
    let (aInner, bInner) = (a.dimensions[(axes[0] + 1)...].reduce(1, *), b.dimensions[(axes[1] + 1)...].reduce(1, *))
    let (aCount, bCount) = (a.elementCount / length, b.elementCount / length)
    var output = 0
    for row in 0..<first[0] {
      for i in 0..<aCount {
        let aStart = row * a.elementCount + i / aInner * length * aInner + i % aInner
        for j in 0..<bCount {
          let bStart = row * b.elementCount + j / bInner * length * bInner + j % bInner
          for k in 0..<length { body(output, aStart + k * aInner, bStart + k * bInner) }
          output += 1
        }
      }
    }
  }

  @specialized(where Scalar == Float)
  @specialized(where Scalar == Double)
  public func forward<Scalar: TensorScalar>(
    _ inputs: [Tensor<Scalar>], parameters: [Tensor<Scalar>], on backend: any Backend
  ) -> Tensor<Scalar> {
    let (first, second) = (inputs[0], inputs[1])
    let left = remaining(first.shape.row, axes[0]) + remaining(second.shape.row, axes[1])
    var result = Tensor<Scalar>(zeros: Shape([first.rowCount] + (left.isEmpty ? [1] : left)))
    forEachTerm(first.shape, second.shape) { output, a, b in result[output] += first[a] * second[b] }
    return result
  }

  @specialized(where Scalar == Float)
  @specialized(where Scalar == Double)
  public func pullback<Scalar: TensorScalar>(
    of cotangent: Tensor<Scalar>, inputs: [Tensor<Scalar>], parameters: [Tensor<Scalar>],
    output: Tensor<Scalar>, request: GradientRequest, on backend: any Backend
  ) -> LayerGradients<Scalar> {
    let (first, second) = (inputs[0], inputs[1])
    var (firstGradient, secondGradient) = (
      Tensor<Scalar>(zeros: first.shape), Tensor<Scalar>(zeros: second.shape)
    )
    forEachTerm(first.shape, second.shape) { output, a, b in
      firstGradient[a] += cotangent[output] * second[b]
      secondGradient[b] += cotangent[output] * first[a]
    }
    return LayerGradients(
      inputs: [request.inputs[0] ? firstGradient : nil, request.inputs[1] ? secondGradient : nil], parameters: [])
  }
}
