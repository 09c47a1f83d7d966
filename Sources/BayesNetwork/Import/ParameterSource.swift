public import BayesTensor

/// Where a parameter's values are found in a checkpoint, and how they lie there.
public struct ParameterSource: Hashable, Sendable {
  /// The checkpoint's entries; several are joined along their last axis.
  public var entries: [String]
  /// The shape that each entry must have; once arranged, its elements are read in the parameter's shape.
  public var storedShape: Shape
  /// The extents as which the stored elements are seen before their axes are exchanged; `nil` for the stored ones.
  public var extents: Shape?
  /// The stored axes in the parameter's order; `nil` where they are in order.
  public var axes: [Int]?
  /// Stored axes along which the parameter runs the other way.
  public var reversedAxes: [Int]

  public init(entries: [String], storedShape: Shape, axes: [Int]? = nil, reversedAxes: [Int] = []) {
    self.entries = entries
    self.storedShape = storedShape
    self.axes = axes
    self.reversedAxes = reversedAxes
  }

  /// A source that is one entry as it lies.
  public init(entry: String, storedShape: Shape) {
    self.init(entries: [entry], storedShape: storedShape)
  }

  /// The entries, for messages.
  public var name: String { entries.joined(separator: ", ") }

  /// The values, arranged.
  ///
  /// - Precondition: every entry has the stored shape.
  func tensor(of checkpoint: some Checkpoint) throws(FileError) -> Tensor<Float> {
    var parts: [Tensor<Float>] = []
    for entry in entries { parts.append(try checkpoint.tensor(named: entry).reversed(along: reversedAxes)) }
    let joined = parts.count == 1 ? parts[0] : Tensor(joiningLastAxis: parts)
    guard let axes else { return joined }
    let seen = extents ?? joined.shape
    // The layer permutes the axes of rows; the whole tensor is one.
    return Permutation(order: axes)
      .forward([joined.reshaped(to: seen.batched(1))], parameters: [], on: ReferenceBackend())
      .reshaped(to: Shape(axes.map { seen[$0] }))
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
