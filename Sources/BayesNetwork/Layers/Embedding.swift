public import BayesTensor

/// Rows of a table, chosen by whole numbers.
///
/// Fractions are cut off, and numbers below zero or beyond the table count as its first and last index: a
/// layer has no way to fail.  Prepared networks and training plans refuse such numbers first, by
/// `IndexRequirement`.
///
/// - Shapes: `[…]` to `[…, width]`; weight `[vocabulary, width]`.
public struct Embedding: DifferentiableLayer, Hashable {
  public static let kind = "Embedding"
  /// The number of indices; they start at zero.
  public var vocabulary: Int
  /// The numbers that stand for an index.
  public var width: Int

  public init(vocabulary: Int, width: Int) {
    self.vocabulary = vocabulary
    self.width = width
  }

  public func parameterSpecs(for inputs: [Shape]) -> [ParameterSpec] {
    [ParameterSpec("weight", [vocabulary, width])]
  }

  public func outputShape(for inputs: [Shape]) throws(NetworkError) -> Shape {
    try requireInputs(inputs, of: Self.kind)
    try requireSettings([vocabulary, width], of: Self.kind)
    _ = try Shape(checking: [vocabulary, width], of: "The weight of \(Self.kind)")
    return try Shape(checking: inputs[0].dimensions + [width], of: Self.kind)
  }

  /// The index that a number counts as.
  private func index<Scalar: TensorScalar>(_ number: Scalar) -> Int {
    // In this order, so that what is not a number counts as zero.
    number >= Scalar(vocabulary) ? vocabulary - 1 : number > 0 ? min(Int(number), vocabulary - 1) : 0
  }

  @specialized(where Scalar == Float)
  @specialized(where Scalar == Double)
  public func forward<Scalar: TensorScalar>(
    _ inputs: [Tensor<Scalar>], parameters: [Tensor<Scalar>], on backend: any Backend
  ) -> Tensor<Scalar> {
    let width = width
    return Tensor(shape: Shape(inputs[0].shape.dimensions + [width])) { output in
      inputs[0].withSpan { numbers in
        parameters[0].withSpan { table in
          for position in 0..<numbers.count {
            let start = index(numbers[position]) * width
            for offset in 0..<width { output.append(table[start + offset]) }
          }
        }
      }
    }
  }

  /// The output is constant between indices, so that the gradient with respect to the input is zero.
  @specialized(where Scalar == Float)
  @specialized(where Scalar == Double)
  public func pullback<Scalar: TensorScalar>(
    of cotangent: Tensor<Scalar>, inputs: [Tensor<Scalar>], parameters: [Tensor<Scalar>],
    output: Tensor<Scalar>, request: GradientRequest, on backend: any Backend
  ) -> LayerGradients<Scalar> {
    var table: Tensor<Scalar>?
    if request.parameters {
      var sums = [Double](repeating: 0, count: vocabulary * width)
      for position in 0..<inputs[0].count {
        let start = index(inputs[0][position]) * width
        for offset in 0..<width { sums[start + offset] += Double(cotangent[position * width + offset]) }
      }
      table = Tensor(shape: [vocabulary, width], sums.map { Scalar($0) })
    }
    return LayerGradients(
      inputs: [request.inputs[0] ? Tensor(zeros: inputs[0].shape) : nil], parameters: [table])
  }
}
