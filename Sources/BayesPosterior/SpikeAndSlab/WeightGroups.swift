public import BayesTensor

/// Which weights of a layer are in the slab or in the spike together.
public enum WeightGrouping: String, CaseIterable, Sendable {
  /// What leads from one channel of a convolution to another.
  case kernels
  /// All that one channel, or unit, is computed from.
  case filters
  /// All that one channel, or feature, is multiplied by.
  case inputs
  case weights
}

/// The groups of a layer's weights.
public struct WeightGroups: Sendable, Equatable {
  public let grouping: WeightGrouping
  /// The shape of the weights: `[inputs, outputs]`, or with a window before them, `[height, width, inputs, outputs]`.
  public let shape: Shape

  /// - Precondition: the shape has two axes or more.
  public init(_ grouping: WeightGrouping, of shape: Shape) {
    precondition(shape.rank >= 2, "Weights of layers have two axes or more; got \(shape).")
    (self.grouping, self.shape) = (grouping, shape)
  }

  private var outputCount: Int { shape[shape.rank - 1] }
  private var inputCount: Int { shape[shape.rank - 2] }

  public var count: Int {
    switch grouping {
    case .kernels: inputCount * outputCount
    case .filters: outputCount
    case .inputs: inputCount
    case .weights: shape.elementCount
    }
  }

  /// The weights of each group.
  public var weightCount: Int { shape.elementCount / count }

  /// The group of the weight at a position of the flat layer.
  @inline(__always)
  public func group(at position: Int) -> Int {
    switch grouping {
    case .kernels: position % (inputCount * outputCount)
    case .filters: position % outputCount
    case .inputs: position / outputCount % inputCount
    case .weights: position
    }
  }

  /// The sums of squares of the groups of some weights.
  ///
  /// - Precondition: there are as many weights as the shape has.
  public func squares(of weights: Span<Float>) -> [Double] {
    precondition(weights.count == shape.elementCount, "A layer of \(shape) has other numbers of weights.")
    var sums = [Double](repeating: 0, count: count)
    for position in 0..<weights.count { sums[group(at: position)] += Double(weights[position]) * Double(weights[position]) }
    return sums
  }
}
