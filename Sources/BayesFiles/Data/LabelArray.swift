import BayesNetwork
import BayesTensor

/// Class indices in an array: one a row, or one a position of a row; or one-hot vectors, or targets, in their places.
struct LabelArray: Sendable {
  private let array: any StoredArray

  /// - Throws: `FileError.Code.shape` for a single number, or rows without any.
  init(_ array: any StoredArray) throws(FileError) {
    self.array = array
    guard array.shape.rank >= 1, array.shape.row.elementCount > 0 else { throw misshapen([]) }
  }

  var file: String { array.file }
  var object: String? { array.object }
  var rowCount: Int { array.shape[0] }

  /// The class indices of some rows, all positions of a row one after another.
  ///
  /// Rows are `[positions…]`, `[positions…, 1]` or one-hot `[positions…, classes]`; axes of extent one do not count.
  ///
  /// - Throws: `FileError.Code.shape` for rows of another shape; `.value` naming the first row, and position, without a
  ///   class.
  func indices(_ rows: Range<Int>, as reading: LabelReading) throws(FileError) -> [Int] {
    let positions = reading.positions.filter { $0 != 1 }
    let row = array.shape.row.dimensions.filter { $0 != 1 }
    guard row == positions || row.dropLast() == positions[...] else { throw misshapen(reading.positions) }
    let width = row.count > positions.count ? row[row.count - 1] : 1
    guard !rows.isEmpty else { return [] }
    if array.scalarType.isInteger {
      return try indices(array.integers(rows), width: width, reading, firstRow: rows.lowerBound)
    }
    return try indices(array.values(rows, as: Double.self), width: width, reading, firstRow: rows.lowerBound)
  }

  /// Whether rows are `[positions…, outputs]`; axes of extent one do not count.
  func holdsTargets(outputs: Int, positions: [Int]) -> Bool {
    array.shape.row.dimensions.filter { $0 != 1 } == (positions + [outputs]).filter { $0 != 1 }
  }

  /// The targets of some rows, `[rows · positions, outputs]`.
  ///
  /// - Throws: `FileError.Code.shape` for rows of another shape; `.value` naming the first row, and position, with a
  ///   target that is not finite.
  func targets(_ rows: Range<Int>, outputs: Int, positions: [Int]) throws(FileError) -> Tensor<Double> {
    guard holdsTargets(outputs: outputs, positions: positions) else {
      let wanted = (["rows"] + (positions + [outputs]).map(String.init)).joined(separator: ", ")
      throw FileError(
        .shape, file: array.file, object: array.object,
        "Targets of shape \(array.shape) do not fit a network of \(outputs) output(s); give [\(wanted)].")
    }
    let values = rows.isEmpty ? [] : try array.values(rows, as: Double.self)
    if let index = values.firstIndex(where: { !$0.isFinite }) {
      let place = answerPlace(index / outputs, positions: positions, firstRow: rows.lowerBound)
      throw refusal("\(place) has the target \(values[index]); targets are finite numbers, so correct or leave out that row.")
    }
    return Tensor(shape: [values.count / outputs, outputs], elements: values)
  }

  private func indices<Number: LabelNumber>(
    _ numbers: ContiguousArray<Number>, width: Int, _ reading: LabelReading, firstRow: Int
  ) throws(FileError) -> [Int] {
    var indices: [Int] = []
    indices.reserveCapacity(numbers.count / width)
    func place() -> String { answerPlace(indices.count, positions: reading.positions, firstRow: firstRow) }
    for start in stride(from: 0, to: numbers.count, by: width) {
      if width == 1 {
        guard let index = numbers[start].wholeNumber, index >= 0 || index == reading.ignored else {
          throw refusal("\(place()) has the label \(numbers[start]); labels are whole numbers from 0 on"
            + (numbers[start].wholeNumber.map { ", or \($0) is to be passed over with --ignore-label \($0)." } ?? "."))
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
            "\(place()) of the labels holds \(numbers[start + position]) at position \(position); a one-hot row "
              + "has one 1 and zeros.")
        }
      }
      guard let chosen else {
        throw refusal("\(place()) of the labels is all zeros; a one-hot row has one 1.")
      }
      indices.append(chosen)
    }
    return indices
  }

  private func misshapen(_ positions: [Int]) -> FileError {
    let wanted = (["rows"] + positions.map(String.init)).joined(separator: ", ")
    return FileError(
      .shape, file: array.file, object: array.object,
      "Labels of shape \(array.shape) are not read"
        + (positions.isEmpty ? "" : " for a network that answers at \(Shape(positions)) positions a row")
        + "; give class indices [\(wanted)] or one-hot rows [\(wanted), classes].")
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
