public import RealModule

/// A floating-point type that tensors hold: `Float` for networks, `Double` for statistics.
///
/// Only `Float` and `Double` conform.
public protocol TensorScalar: Real, BinaryFloatingPoint, BitwiseCopyable, Sendable {}

extension Float: TensorScalar {}
extension Double: TensorScalar {}

/// A dense array of numbers in row-major order, with value semantics.
///
/// Copies share storage until one of them is written.
public struct Tensor<Scalar: TensorScalar>: Sendable, Equatable {
  /// The extents.
  public let shape: Shape

  @usableFromInline internal var storage: ContiguousArray<Scalar>

  /// Makes a tensor of zeros.
  public init(zeros shape: Shape) {
    self.init(repeating: 0, shape: shape)
  }

  /// Makes a tensor whose elements all equal `value`.
  public init(repeating value: Scalar, shape: Shape) {
    self.shape = shape
    self.storage = ContiguousArray(repeating: value, count: shape.elementCount)
  }

  /// Makes a tensor from elements in row-major order.
  ///
  /// - Precondition: there are as many elements as the shape holds.
  public init(shape: Shape, elements: ContiguousArray<Scalar>) {
    precondition(
      elements.count == shape.elementCount,
      "A tensor of shape \(shape) needs \(shape.elementCount) elements; got \(elements.count).")
    self.shape = shape
    self.storage = elements
  }

  /// Makes a tensor from elements in row-major order.
  ///
  /// - Precondition: there are as many elements as the shape holds.
  public init(shape: Shape, _ elements: some Sequence<Scalar>) {
    self.init(shape: shape, elements: ContiguousArray(elements))
  }

  /// Makes a tensor by filling uninitialised memory from the first element to the last.
  ///
  /// - Precondition: `body` initialises every element.
  @inlinable
  public init(shape: Shape, initializingWith body: (inout OutputSpan<Scalar>) throws -> Void) rethrows {
    let storage = try ContiguousArray<Scalar>(
      capacity: shape.elementCount, initializingWith: { span in try body(&span) })
    self.init(shape: shape, elements: storage)
  }

  /// The elements in row-major order.
  @inlinable public var elements: ContiguousArray<Scalar> { storage }

  /// The number of elements.
  @inlinable public var count: Int { storage.count }

  /// The element at a row-major position.
  @inlinable public subscript(position: Int) -> Scalar {
    get { storage[position] }
    set { storage[position] = newValue }
  }

  /// The element of a matrix at `row` and `column`.
  @inlinable public subscript(row: Int, column: Int) -> Scalar {
    get { storage[row * shape[1] + column] }
    set { storage[row * shape[1] + column] = newValue }
  }

  /// Calls `body` with the elements, which cannot outlive the call.
  @inlinable
  public func withSpan<Result, Failure: Error>(
    _ body: (Span<Scalar>) throws(Failure) -> Result
  ) throws(Failure) -> Result {
    try body(storage.span)
  }

  /// Calls `body` with the elements for writing; shared storage is copied first.
  @inlinable
  public mutating func withMutableSpan<Result, Failure: Error>(
    _ body: (inout MutableSpan<Scalar>) throws(Failure) -> Result
  ) throws(Failure) -> Result {
    var span = storage.mutableSpan
    return try body(&span)
  }

  /// The same elements under another shape.
  ///
  /// - Precondition: both shapes hold the same number of elements.
  public func reshaped(to shape: Shape) -> Tensor {
    Tensor(shape: shape, elements: storage)
  }

  /// The elements converted to another precision, rounding to nearest.
  @specialized(where Scalar == Float, Other == Double)
  @specialized(where Scalar == Double, Other == Float)
  public func converted<Other: TensorScalar>(to type: Other.Type) -> Tensor<Other> {
    if let same = self as? Tensor<Other> { return same }
    return Tensor<Other>(shape: shape, elements: ContiguousArray(storage.map { Other($0) }))
  }

  /// Each element mapped by `transform`.
  @inlinable
  public func map(_ transform: (Scalar) -> Scalar) -> Tensor {
    Tensor(shape: shape, elements: ContiguousArray(storage.map(transform)))
  }
}

extension Tensor {
  /// The number of rows: the extent of the first axis.
  public var rowCount: Int { shape[0] }

  /// A range of rows.
  ///
  /// - Shapes: `[rows, …]` to `[range.count, …]`.
  public func rows(_ range: Range<Int>) -> Tensor {
    let width = shape.row.elementCount
    return Tensor(
      shape: shape.row.batched(range.count),
      elements: ContiguousArray(storage[range.lowerBound * width..<range.upperBound * width]))
  }

  /// The chosen rows, in the order given.
  public func rows(_ indices: [Int]) -> Tensor {
    let width = shape.row.elementCount
    var elements = ContiguousArray<Scalar>()
    elements.reserveCapacity(indices.count * width)
    for index in indices { elements.append(contentsOf: storage[index * width..<(index + 1) * width]) }
    return Tensor(shape: shape.row.batched(indices.count), elements: elements)
  }

  /// Tensors with equal row shapes, one under the other.
  ///
  /// - Precondition: there is at least one tensor and all row shapes are equal.
  public static func stacking(_ tensors: [Tensor]) -> Tensor {
    precondition(!tensors.isEmpty, "Stacking needs at least one tensor.")
    let row = tensors[0].shape.row
    var elements = ContiguousArray<Scalar>()
    elements.reserveCapacity(tensors.reduce(0) { $0 + $1.count })
    for tensor in tensors {
      precondition(tensor.shape.row == row, "Cannot stack rows of \(tensor.shape.row) on rows of \(row).")
      elements.append(contentsOf: tensor.storage)
    }
    return Tensor(
      shape: row.batched(tensors.reduce(0) { $0 + $1.rowCount }), elements: elements)
  }

  /// The matrix with rows and columns exchanged.
  public func transposed() -> Tensor {
    precondition(shape.rank == 2, "Only a matrix can be transposed; the shape is \(shape).")
    let (rowCount, columnCount) = (shape[0], shape[1])
    var result = Tensor(zeros: [columnCount, rowCount])
    for row in 0..<rowCount {
      for column in 0..<columnCount { result[column, row] = self[row, column] }
    }
    return result
  }

  /// The position of the first element that is infinite or not a number.
  @inlinable public var firstNonFinite: Int? { storage.firstIndex { !$0.isFinite } }
}
