public import BayesTensor

/// Where a parameter's values are found in a checkpoint, and how they lie there.
public struct ParameterSource: Hashable, Sendable {
  /// The checkpoint's entries; several are joined along their last axis.
  public var entries: [String]
  /// The shape that each entry must have; once arranged, its elements are read in the parameter's shape.
  public var storedShape: Shape
  /// What an entry is in a state dictionary of PyTorch, where its tensor is taken from one.
  public var state: StateTensor?
  /// The extents as which the stored elements are seen before their axes are exchanged; `nil` for the stored ones.
  public var extents: Shape?
  /// The stored axes in the parameter's order; `nil` where they are in order.
  public var axes: [Int]?
  /// Stored axes along which the parameter runs the other way.
  public var reversedAxes: [Int]

  public init(
    entries: [String], storedShape: Shape, state: StateTensor? = nil, axes: [Int]? = nil, reversedAxes: [Int] = []
  ) {
    self.entries = entries
    self.storedShape = storedShape
    self.state = state
    self.axes = axes
    self.reversedAxes = reversedAxes
  }

  /// A source that is one entry as it lies.
  public init(entry: String, storedShape: Shape) {
    self.init(entries: [entry], storedShape: storedShape)
  }

  /// The entries, for messages.
  public var name: String { entries.joined(separator: ", ") }

  /// The shape whose axes are exchanged.
  var arrangedShape: Shape { state?.shape ?? storedShape }

  /// The values, arranged.
  ///
  /// - Precondition: every entry has the stored shape.
  func tensor(of checkpoint: some Checkpoint) throws(FileError) -> Tensor<Float> {
    var parts: [Tensor<Float>] = []
    for entry in entries {
      let stored = try checkpoint.tensor(named: entry)
      parts.append(try (state?.arranged(stored, of: checkpoint) ?? stored).reversed(along: reversedAxes))
    }
    let joined = parts.count == 1 ? parts[0] : Tensor(joiningLastAxis: parts)
    guard let axes else { return joined }
    return joined.permuted(seenAs: extents ?? joined.shape, axes)
  }
}

extension Tensor<Float> {
  /// The elements in the opposite order along some axes.
  fileprivate func reversed(along axes: [Int]) -> Tensor<Float> {
    guard !axes.isEmpty, count > 0 else { return self }
    var result = self
    for position in 0..<count {
      var rest = position
      var source = 0
      var stride = 1
      for axis in shape.dimensions.indices.reversed() {
        let index = rest % shape[axis]
        rest /= shape[axis]
        source += (axes.contains(axis) ? shape[axis] - 1 - index : index) * stride
        stride *= shape[axis]
      }
      result[position] = self[source]
    }
    return result
  }

  /// Tensors of one shape side by side along their last axis.
  fileprivate init(joiningLastAxis parts: [Tensor<Float>]) {
    let width = parts[0].shape.dimensions.last ?? 1
    let rows = width == 0 ? 0 : parts[0].count / width
    var elements: ContiguousArray<Float> = []
    elements.reserveCapacity(rows * width * parts.count)
    for row in 0..<rows {
      for part in parts { elements += part.elements[row * width..<(row + 1) * width] }
    }
    self.init(
      shape: Shape(parts[0].shape.dimensions.dropLast() + [width * parts.count]), elements: elements)
  }
}
