import BayesTensor

/// A numeric array in a file, read by ranges of its first axis.
///
/// Reads may come from several tasks at once.
protocol StoredArray: Sendable {
  /// The file, as the user named it; for messages.
  var file: String { get }
  /// The array's name in the file, where arrays have names; for messages.
  var object: String? { get }
  var shape: Shape { get }
  /// Always numeric.
  var scalarType: ScalarType { get }

  /// The elements of some rows (all, for `nil`) in row-major order.
  func values<Scalar: TensorScalar>(_ rows: Range<Int>?, as type: Scalar.Type) throws(FileError)
    -> ContiguousArray<Scalar>

  /// The same of an array of bytes.
  ///
  /// - Precondition: the scalar type is `uint8`.
  func bytes(_ rows: Range<Int>?) throws(FileError) -> ContiguousArray<UInt8>

  /// The same of an array of integers.
  ///
  /// - Precondition: the scalar type is an integer type.
  /// - Throws: `FileError.Code.value` where an element does not fit.
  func integers(_ rows: Range<Int>?) throws(FileError) -> ContiguousArray<Int>
}

extension StoredArray {
  /// Refuses rows that are not there.
  func check(_ rows: Range<Int>) throws(FileError) {
    guard shape.rank > 0 else {
      throw FileError(.shape, file: file, object: object, "This is a single number; it has no rows.")
    }
    guard rows.lowerBound >= 0, rows.upperBound <= shape[0] else {
      throw FileError(
        .shape, file: file, object: object,
        "Rows \(rows.lowerBound):\(rows.upperBound) were asked for, but there are \(shape[0]); ask for rows "
          + "within 0:\(shape[0]).")
    }
  }

  /// The elements of some rows, of any type, as whole numbers.
  ///
  /// - Throws: `FileError.Code.value` naming the first element that is no whole number.
  func wholeNumbers(_ rows: Range<Int>?) throws(FileError) -> ContiguousArray<Int> {
    if scalarType.isInteger { return try integers(rows) }
    let values = try values(rows, as: Double.self)
    var integers = ContiguousArray<Int>()
    integers.reserveCapacity(values.count)
    for value in values {
      guard let integer = Int(exactly: value) else {
        let first = (rows?.lowerBound ?? 0) * shape.row.elementCount
        throw FileError(
          .value, file: file, object: object,
          "Element \(first + integers.count) is \(value) where a whole number is due.")
      }
      integers.append(integer)
    }
    return integers
  }
}
