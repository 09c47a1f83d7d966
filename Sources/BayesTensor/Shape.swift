/// The extents of a tensor, outermost axis first.
///
/// Images are `[batch, height, width, channels]`; a shape without its batch axis describes one row.
public struct Shape: Hashable, Sendable {
  /// The extent of each axis; none is negative.
  public let dimensions: [Int]

  /// Makes a shape.
  ///
  /// - Precondition: no extent is negative and their product fits in `Int`.
  public init(_ dimensions: [Int]) {
    var count = 1
    for extent in dimensions {
      precondition(extent >= 0, "A shape's extents must not be negative; got \(dimensions).")
      let (product, overflow) = count.multipliedReportingOverflow(by: extent)
      precondition(!overflow, "The element count of \(dimensions) does not fit in Int.")
      count = product
    }
    self.dimensions = dimensions
    self.elementCount = count
  }

  /// The number of axes.
  public var rank: Int { dimensions.count }

  /// The number of elements; one for a scalar.
  public let elementCount: Int

  /// The extent of the axis at `axis`.
  public subscript(axis: Int) -> Int { dimensions[axis] }

  /// The shape of one row: everything but the first axis.
  public var row: Shape { Shape(Array(dimensions.dropFirst())) }

  /// This shape as the shape of a row in a batch of `count`.
  public func batched(_ count: Int) -> Shape { Shape([count] + dimensions) }
}

extension Shape: ExpressibleByArrayLiteral, CustomStringConvertible {
  public init(arrayLiteral elements: Int...) { self.init(elements) }

  public var description: String { "[" + dimensions.map(String.init).joined(separator: ", ") + "]" }
}
