public import BayesTensor
import RealModule

/// Attention of every place of one sequence to every place of another, with several heads.
///
/// With `q`, `k` and `v` the linear maps of query, key and value for one head:
///
///     softmax(q kᵀ / √keyWidth) v
///
/// and a linear map of all heads' results together at the end.  It has no pullback and no masks.
///
/// - Shapes: query `[places, in]`, value `[others, …]` and key `[others, …]`, which is the value where only two
///   inputs are given, to `[places, out]`; weights `[in, heads, width]` each, the last one
///   `[heads, valueWidth, out]`; biases the same without the first axis, the last one `[out]`.
/// - Source: Vaswani et al. 2017.
public struct MultiHeadAttention: Layer, Hashable {
  public static let kind = "MultiHeadAttention"
  public var heads: Int
  /// The width of queries and keys of one head.
  public var keyWidth: Int
  /// The width of values of one head.
  public var valueWidth: Int
  /// The width of the result; that of the query where it is `nil`.
  public var outputWidth: Int?
  public var usesBias: Bool

  public init(heads: Int, keyWidth: Int, valueWidth: Int, outputWidth: Int? = nil, usesBias: Bool = true) {
    self.heads = heads
    self.keyWidth = keyWidth
    self.valueWidth = valueWidth
    self.outputWidth = outputWidth
    self.usesBias = usesBias
  }

  public func parameterSpecs(for inputs: [Shape]) -> [ParameterSpec] {
    let output = outputWidth ?? inputs[0][1]
    let maps: [(name: String, weight: Shape, bias: Shape)] = [
      ("query", [inputs[0][1], heads, keyWidth], [heads, keyWidth]),
      ("key", [inputs[inputs.count - 1][1], heads, keyWidth], [heads, keyWidth]),
      ("value", [inputs[1][1], heads, valueWidth], [heads, valueWidth]),
      ("output", [heads, valueWidth, output], [output]),
    ]
    return maps.flatMap { map in
      [ParameterSpec(map.name + "Weight", map.weight)]
        + (usesBias ? [ParameterSpec(map.name + "Bias", map.bias)] : [])
    }
  }

  public func outputShape(for inputs: [Shape]) throws(NetworkError) -> Shape {
    guard (2...3).contains(inputs.count) else {
      throw NetworkError(
        "\(Self.kind) takes a query, a value and perhaps a key; it was given \(inputs.count) input(s).")
    }
    try requireInputs(inputs, count: inputs.count, rank: 2, of: Self.kind)
    try requireSettings([heads, keyWidth, valueWidth, outputWidth ?? 1], of: Self.kind)
    guard inputs[1][0] == inputs[inputs.count - 1][0] else {
      throw NetworkError("\(Self.kind) needs as many keys as values; it was given \(inputs[1]) and \(inputs[2]).")
    }
    let output = outputWidth ?? inputs[0][1]
    for (width, head) in [
      (inputs[0][1], keyWidth), (inputs[inputs.count - 1][1], keyWidth), (inputs[1][1], valueWidth),
      (output, valueWidth),
    ] {
      _ = try Shape(checking: [width, heads, head], of: "A weight of \(Self.kind)")
    }
    _ = try Shape(checking: [heads, inputs[0][0], inputs[1][0]], of: "The scores of \(Self.kind)")
    return try Shape(checking: [inputs[0][0], output], of: Self.kind)
  }

  public func multiplyAdds(for inputs: [Shape], output: Shape) -> Int {
    let (places, others) = (inputs[0][0], inputs[1][0])
    let maps =
      places * inputs[0][1] * keyWidth + others * inputs[inputs.count - 1][1] * keyWidth
      + others * inputs[1][1] * valueWidth + output.elementCount * valueWidth
    return heads * (maps + places * others * (keyWidth + valueWidth))
  }

  @specialized(where Scalar == Float)
  @specialized(where Scalar == Double)
  public func forward<Scalar: TensorScalar>(
    _ inputs: [Tensor<Scalar>], parameters: [Tensor<Scalar>], on backend: any Backend
  ) -> Tensor<Scalar> {
    let stride = usesBias ? 2 : 1
    /// Rows through linear map `index`, `[rows · places, heads · width]`.
    func mapped(_ input: Tensor<Scalar>, _ index: Int, columns: Int) -> Tensor<Scalar> {
      let weight = parameters[index * stride]
      let rows = weight.count / columns
      let dense = Dense(units: columns, usesBias: usesBias)
      return dense.forward(
        [input.reshaped(to: [input.count / rows, rows])],
        parameters: [weight.reshaped(to: [rows, columns])]
          + (usesBias ? [parameters[index * stride + 1].reshaped(to: [columns])] : []), on: backend)
    }
    let (rowCount, places, others) = (inputs[0].rowCount, inputs[0].shape[1], inputs[1].shape[1])
    let output = outputWidth ?? inputs[0].shape[2]
    let queries = mapped(inputs[0], 0, columns: heads * keyWidth)
    let keys = mapped(inputs[inputs.count - 1], 1, columns: heads * keyWidth)
    let values = mapped(inputs[1], 2, columns: heads * valueWidth)
    let factor = 1 / Scalar(keyWidth).squareRoot()
    let (heads, keyWidth, valueWidth) = (heads, keyWidth, valueWidth)
    var joined = Tensor<Scalar>(zeros: [rowCount * places, heads * valueWidth])
    var scores = ContiguousArray<Scalar>(repeating: 0, count: others)
    joined.withMutableSpan { joined in
      queries.withSpan { queries in
        keys.withSpan { keys in
          values.withSpan { values in
            for row in 0..<rowCount {
              for head in 0..<heads {
                for place in 0..<places {
                  let query = ((row * places + place) * heads + head) * keyWidth
                  var largest = -Scalar.infinity
                  for other in 0..<others {
                    let key = ((row * others + other) * heads + head) * keyWidth
                    var sum: Scalar = 0
                    for index in 0..<keyWidth { sum += queries[query + index] * factor * keys[key + index] }
                    scores[other] = sum
                    largest = max(largest, sum)
                  }
                  var total: Scalar = 0
                  for other in 0..<others {
                    scores[other] = Scalar.exp(scores[other] - largest)
                    total += scores[other]
                  }
                  let target = ((row * places + place) * heads + head) * valueWidth
                  for other in 0..<others {
                    let share = scores[other] / total
                    let value = ((row * others + other) * heads + head) * valueWidth
                    for index in 0..<valueWidth { joined[target + index] += share * values[value + index] }
                  }
                }
              }
            }
          }
        }
      }
    }
    return mapped(joined, 3, columns: output).reshaped(to: [rowCount, places, output])
  }
}
