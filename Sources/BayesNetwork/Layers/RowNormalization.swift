public import BayesTensor

/// Layer normalisation: elements of a row less their mean, over their deviation.
///
///     y = (x − mean) / √(variance + ε) · scale + offset
///
/// Means and variances are those along `axes`, anew at every place along the others.
///
/// - Shapes: unchanged; parameters have the extents of `axes`.
/// - Source: Ba, Kiros and Hinton 2016.
public struct LayerNormalization: DifferentiableLayer, Hashable {
  public static let kind = "LayerNormalization"
  /// Axes of a row, from zero, ascending.
  public var axes: [Int]
  public var epsilon: Double
  /// Whether there is a learned scale.
  public var scales: Bool
  /// Whether there is a learned offset.
  public var centers: Bool

  public init(axes: [Int], epsilon: Double, scales: Bool = true, centers: Bool = true) {
    self.axes = axes
    self.epsilon = epsilon
    self.scales = scales
    self.centers = centers
  }

  public func parameterSpecs(for inputs: [Shape]) -> [ParameterSpec] {
    let shape = Shape(axes.map { inputs[0][$0] })
    return (scales ? [ParameterSpec("scale", shape)] : []) + (centers ? [ParameterSpec("offset", shape)] : [])
  }

  public func outputShape(for inputs: [Shape]) throws(NetworkError) -> Shape {
    try requireInputs(inputs, of: Self.kind)
    try requireAxes(axes, of: inputs[0], Self.kind)
    return inputs[0]
  }

  @specialized(where Scalar == Float)
  @specialized(where Scalar == Double)
  public func forward<Scalar: TensorScalar>(
    _ inputs: [Tensor<Scalar>], parameters: [Tensor<Scalar>], on backend: any Backend
  ) -> Tensor<Scalar> {
    Standardization(inputs[0].shape.row, along: axes, epsilon: epsilon).forward(
      inputs[0], scale: scales ? parameters[0] : nil, offset: centers ? parameters.last : nil)
  }

  @specialized(where Scalar == Float)
  @specialized(where Scalar == Double)
  public func pullback<Scalar: TensorScalar>(
    of cotangent: Tensor<Scalar>, inputs: [Tensor<Scalar>], parameters: [Tensor<Scalar>],
    output: Tensor<Scalar>, request: GradientRequest, on backend: any Backend
  ) -> LayerGradients<Scalar> {
    Standardization(inputs[0].shape.row, along: axes, epsilon: epsilon).pullback(
      of: cotangent, input: inputs[0], parameters: parameters, scales: scales, centers: centers, request)
  }
}

/// Group normalisation: layer normalisation of each of several groups of channels, over all pixels.
///
///     y = (x − mean) / √(variance + ε) · scale + offset
///
/// - Shapes: `[…, channels]`, unchanged; parameters `[channels]` each.
/// - Source: Wu and He 2018.
public struct GroupNormalization: DifferentiableLayer, Hashable {
  public static let kind = "GroupNormalization"
  public var groups: Int
  public var epsilon: Double
  /// Whether there is a learned scale.
  public var scales: Bool
  /// Whether there is a learned offset.
  public var centers: Bool

  public init(groups: Int, epsilon: Double, scales: Bool = true, centers: Bool = true) {
    self.groups = groups
    self.epsilon = epsilon
    self.scales = scales
    self.centers = centers
  }

  public func parameterSpecs(for inputs: [Shape]) -> [ParameterSpec] {
    let channels: Shape = [inputs[0].dimensions.last ?? 0]
    return (scales ? [ParameterSpec("scale", channels)] : []) + (centers ? [ParameterSpec("offset", channels)] : [])
  }

  public func outputShape(for inputs: [Shape]) throws(NetworkError) -> Shape {
    try requireInputs(inputs, of: Self.kind)
    try requireSettings([groups], of: Self.kind)
    guard let channels = inputs[0].dimensions.last, channels % groups == 0 else {
      throw NetworkError("The channels of \(inputs[0]) cannot be split into \(groups) groups.")
    }
    return inputs[0]
  }

  @specialized(where Scalar == Float)
  @specialized(where Scalar == Double)
  public func forward<Scalar: TensorScalar>(
    _ inputs: [Tensor<Scalar>], parameters: [Tensor<Scalar>], on backend: any Backend
  ) -> Tensor<Scalar> {
    Standardization(inputs[0].shape.row, channelGroups: groups, epsilon: epsilon).forward(
      inputs[0], scale: scales ? parameters[0] : nil, offset: centers ? parameters.last : nil)
  }

  @specialized(where Scalar == Float)
  @specialized(where Scalar == Double)
  public func pullback<Scalar: TensorScalar>(
    of cotangent: Tensor<Scalar>, inputs: [Tensor<Scalar>], parameters: [Tensor<Scalar>],
    output: Tensor<Scalar>, request: GradientRequest, on backend: any Backend
  ) -> LayerGradients<Scalar> {
    Standardization(inputs[0].shape.row, channelGroups: groups, epsilon: epsilon).pullback(
      of: cotangent, input: inputs[0], parameters: parameters, scales: scales, centers: centers, request)
  }
}

/// Elements of a row over their Euclidean norm.
///
///     y = x / √max(Σ x², smallest)
///
/// - Shapes: unchanged.
public struct UnitNormalization: DifferentiableLayer, Hashable {
  public static let kind = "UnitNormalization"
  /// Axes of a row, from zero, ascending, along which the norm is taken.
  public var axes: [Int]
  /// What a sum of squares counts as at least.
  public var smallest: Double

  public init(axes: [Int], smallest: Double = 1e-24) {
    self.axes = axes
    self.smallest = smallest
  }

  public func outputShape(for inputs: [Shape]) throws(NetworkError) -> Shape {
    try requireInputs(inputs, of: Self.kind)
    try requireAxes(axes, of: inputs[0], Self.kind)
    return inputs[0]
  }

  @specialized(where Scalar == Float)
  @specialized(where Scalar == Double)
  public func forward<Scalar: TensorScalar>(
    _ inputs: [Tensor<Scalar>], parameters: [Tensor<Scalar>], on backend: any Backend
  ) -> Tensor<Scalar> {
    let groups = ElementGroups(inputs[0].shape.row, along: axes)
    var output = inputs[0]
    var squares = [Double](repeating: 0, count: groups.count)
    let (width, smallest) = (groups.group.count, smallest)
    output.withMutableSpan { span in
      for start in stride(from: 0, to: span.count, by: width) {
        for index in squares.indices { squares[index] = 0 }
        for position in 0..<width {
          let value = Double(span[start + position])
          squares[groups.group[position]] += value * value
        }
        for position in 0..<width {
          let norm = max(squares[groups.group[position]], smallest).squareRoot()
          span[start + position] = Scalar(Double(span[start + position]) / norm)
        }
      }
    }
    return output
  }

  /// Where the sum of squares is less than the smallest, the norm is a constant.
  @specialized(where Scalar == Float)
  @specialized(where Scalar == Double)
  public func pullback<Scalar: TensorScalar>(
    of cotangent: Tensor<Scalar>, inputs: [Tensor<Scalar>], parameters: [Tensor<Scalar>],
    output: Tensor<Scalar>, request: GradientRequest, on backend: any Backend
  ) -> LayerGradients<Scalar> {
    guard request.inputs[0] else { return LayerGradients(input: nil) }
    let groups = ElementGroups(inputs[0].shape.row, along: axes)
    let input = inputs[0]
    var gradient = cotangent
    var squares = [Double](repeating: 0, count: groups.count)
    var products = squares
    let (width, smallest) = (groups.group.count, smallest)
    gradient.withMutableSpan { span in
      for start in stride(from: 0, to: span.count, by: width) {
        for index in squares.indices { (squares[index], products[index]) = (0, 0) }
        for position in 0..<width {
          let value = Double(input[start + position])
          squares[groups.group[position]] += value * value
          products[groups.group[position]] += value * Double(span[start + position])
        }
        for position in 0..<width {
          let group = groups.group[position]
          let square = max(squares[group], smallest)
          let change = squares[group] > smallest ? Double(input[start + position]) * products[group] / square : 0
          span[start + position] = Scalar((Double(span[start + position]) - change) / square.squareRoot())
        }
      }
    }
    return LayerGradients(input: gradient)
  }
}

/// Refuses axes that a row does not have, that are not ascending, or that are none.
private func requireAxes(_ axes: [Int], of input: Shape, _ kind: String) throws(NetworkError) {
  guard !axes.isEmpty, axes.allSatisfy(input.dimensions.indices.contains), zip(axes, axes.dropFirst()).allSatisfy(<)
  else {
    throw NetworkError("\(kind) works along the axes \(axes); rows of \(input) need ascending ones that they have.")
  }
}

/// Which elements of a row belong together.
private struct ElementGroups {
  /// The group of each element.
  var group: [Int]
  /// The place of each element among the parameters.
  var parameter: [Int]
  /// The number of groups.
  var count: Int

  /// Elements that differ along `axes` only form a group.
  init(_ row: Shape, along axes: [Int]) {
    group = []
    parameter = []
    for position in 0..<row.elementCount {
      var (rest, place) = (position, 0)
      var (inside, outside) = (0, 0)
      // Coordinates come from the last axis on, so each is weighed by the extents after it.
      var (insideWeight, outsideWeight) = (1, 1)
      for axis in row.dimensions.indices.reversed() {
        place = rest % row[axis]
        rest /= row[axis]
        if axes.contains(axis) {
          inside += place * insideWeight
          insideWeight *= row[axis]
        } else {
          outside += place * outsideWeight
          outsideWeight *= row[axis]
        }
      }
      group.append(outside)
      parameter.append(inside)
    }
    count = (group.max() ?? -1) + 1
  }

  /// Channels, the last axis, in `groups` equal parts.
  init(_ row: Shape, channelGroups groups: Int) {
    let channels = row.dimensions.last ?? 1
    parameter = (0..<row.elementCount).map { $0 % channels }
    group = parameter.map { $0 / (channels / groups) }
    count = groups
  }
}

/// The standardisation of groups of a row's elements; sums are kept in `Double`.
private struct Standardization {
  let groups: ElementGroups
  let epsilon: Double

  init(_ row: Shape, along axes: [Int], epsilon: Double) {
    groups = ElementGroups(row, along: axes)
    self.epsilon = epsilon
  }

  init(_ row: Shape, channelGroups: Int, epsilon: Double) {
    groups = ElementGroups(row, channelGroups: channelGroups)
    self.epsilon = epsilon
  }

  /// The mean of each group and one over its deviation, for the row that starts at `start`.
  @inline(__always)
  private func statistics(
    _ start: Int, _ value: (Int) -> Double, into means: inout [Double], _ factors: inout [Double]
  ) {
    let size = Double(groups.group.count / groups.count)
    for index in means.indices { (means[index], factors[index]) = (0, 0) }
    for (position, group) in groups.group.enumerated() { means[group] += value(start + position) }
    for index in means.indices { means[index] /= size }
    for (position, group) in groups.group.enumerated() {
      let deviation = value(start + position) - means[group]
      factors[group] += deviation * deviation
    }
    for index in factors.indices { factors[index] = 1 / (factors[index] / size + epsilon).squareRoot() }
  }

  @specialized(where Scalar == Float)
  @specialized(where Scalar == Double)
  func forward<Scalar: TensorScalar>(
    _ input: Tensor<Scalar>, scale: Tensor<Scalar>?, offset: Tensor<Scalar>?
  ) -> Tensor<Scalar> {
    var output = input
    var means = [Double](repeating: 0, count: groups.count)
    var factors = means
    for start in stride(from: 0, to: input.count, by: groups.group.count) {
      statistics(start, { Double(input[$0]) }, into: &means, &factors)
      for (position, group) in groups.group.enumerated() {
        var value = (Double(input[start + position]) - means[group]) * factors[group]
        if let scale { value *= Double(scale[groups.parameter[position]]) }
        if let offset { value += Double(offset[groups.parameter[position]]) }
        output[start + position] = Scalar(value)
      }
    }
    return output
  }

  /// With `x̂` the standardised input and `a` the cotangent times the scale:
  ///
  ///     (a − mean(a) − x̂ · mean(a x̂)) / √(variance + ε)
  ///
  @specialized(where Scalar == Float)
  @specialized(where Scalar == Double)
  func pullback<Scalar: TensorScalar>(
    of cotangent: Tensor<Scalar>, input: Tensor<Scalar>, parameters: [Tensor<Scalar>], scales: Bool,
    centers: Bool, _ request: GradientRequest
  ) -> LayerGradients<Scalar> {
    let width = groups.group.count
    let size = Double(width / groups.count)
    let scale = scales ? parameters[0] : nil
    var means = [Double](repeating: 0, count: groups.count)
    var (factors, sums, products) = (means, means, means)
    var gradient = cotangent
    var scaleSums = [Double](repeating: 0, count: parameters.first?.count ?? 0)
    var offsetSums = scaleSums
    for start in stride(from: 0, to: input.count, by: width) {
      statistics(start, { Double(input[$0]) }, into: &means, &factors)
      for index in sums.indices { (sums[index], products[index]) = (0, 0) }
      for (position, group) in groups.group.enumerated() {
        let arriving = Double(cotangent[start + position])
        let standard = (Double(input[start + position]) - means[group]) * factors[group]
        let parameter = groups.parameter[position]
        let scaled = arriving * (scale.map { Double($0[parameter]) } ?? 1)
        sums[group] += scaled
        products[group] += scaled * standard
        if request.parameters, !parameters.isEmpty {
          scaleSums[parameter] += arriving * standard
          offsetSums[parameter] += arriving
        }
      }
      guard request.inputs[0] else { continue }
      for (position, group) in groups.group.enumerated() {
        let standard = (Double(input[start + position]) - means[group]) * factors[group]
        let scaled =
          Double(cotangent[start + position]) * (scale.map { Double($0[groups.parameter[position]]) } ?? 1)
        gradient[start + position] = Scalar(
          (scaled - sums[group] / size - standard * products[group] / size) * factors[group])
      }
    }
    var learned: [Tensor<Scalar>?] = parameters.map { _ in nil }
    if request.parameters {
      let shape = parameters.first?.shape ?? [0]
      learned =
        (scales ? [Tensor(shape: shape, scaleSums.map { Scalar($0) })] : [])
        + (centers ? [Tensor(shape: shape, offsetSums.map { Scalar($0) })] : [])
    }
    return LayerGradients(inputs: [request.inputs[0] ? gradient : nil], parameters: learned)
  }
}
