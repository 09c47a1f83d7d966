import BayesTensor

/// Class indices in an array: one a row, or a one-hot row of classes each.
struct LabelArray: Sendable {
  private let array: any StoredArray

  /// - Throws: `FileError.Code.shape` for an array that is neither `[rows]`, `[rows, 1]` nor
  ///   `[rows, classes]`.
  init(_ array: any StoredArray) throws(FileError) {
    guard (1...2).contains(array.shape.rank), array.shape.row.elementCount > 0 else {
      throw FileError(
        .shape, file: array.file, object: array.object,
        "Labels of shape \(array.shape) are not read; give class indices [rows] or one-hot rows [rows, classes].")
    }
    self.array = array
  }

  var file: String { array.file }
  var object: String? { array.object }
  var rowCount: Int { array.shape[0] }

  /// The class indices of some rows.
  ///
  /// - Throws: `FileError.Code.value` naming the first row without one.
  func indices(_ rows: Range<Int>) throws(FileError) -> [Int] {
    let width = array.shape.row.elementCount
    if array.scalarType.isInteger {
      return try indices(array.integers(rows), width: width, firstRow: rows.lowerBound)
    }
    return try indices(array.values(rows, as: Double.self), width: width, firstRow: rows.lowerBound)
  }

  private func indices<Number: LabelNumber>(
    _ numbers: ContiguousArray<Number>, width: Int, firstRow: Int
  ) throws(FileError) -> [Int] {
    var indices: [Int] = []
    indices.reserveCapacity(numbers.count / width)
    for start in stride(from: 0, to: numbers.count, by: width) {
      let row = firstRow + indices.count
      if width == 1 {
        guard let index = numbers[start].wholeNumber, index >= 0 else {
          throw refusal("Row \(row) has the label \(numbers[start]); labels are whole numbers from 0 on.")
        }
        indices.append(index)
        continue
      }
      var chosen: Int?
      for position in 0..<width {
        switch numbers[start + position].wholeNumber {
        case 0: continue
        case 1 where chosen == nil: chosen = position
        default:
          throw refusal(
            "Row \(row) of the labels holds \(numbers[start + position]) at position \(position); a one-hot row "
              + "has one 1 and zeros.")
        }
      }
      guard let chosen else {
        throw refusal("Row \(row) of the labels is all zeros; a one-hot row has one 1.")
      }
      indices.append(chosen)
    }
    return indices
  }

  private func refusal(_ message: String) -> FileError {
    FileError(.value, file: array.file, object: array.object, message)
  }
}

/// A number that may stand for a class index.
private protocol LabelNumber {
  /// This number, if it is whole.
  var wholeNumber: Int? { get }
}

extension Int: LabelNumber {
  fileprivate var wholeNumber: Int? { self }
}

extension Double: LabelNumber {
  fileprivate var wholeNumber: Int? { Int(exactly: self) }
}
