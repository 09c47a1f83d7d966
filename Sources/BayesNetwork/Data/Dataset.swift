public import BayesTensor

/// Some rows of a data set as they are stored, before any preprocessing.
///
/// Images are mostly stored as bytes; they stay bytes until a worker maps them into its own memory.
public struct RowBatch: Sendable, Equatable {
  /// The stored numbers in row-major order.
  public enum Values: Sendable, Equatable {
    case bytes(ContiguousArray<UInt8>)
    case floats(ContiguousArray<Float>)
  }

  /// `[rows, …]`
  public let shape: Shape
  public let values: Values

  /// - Precondition: there are as many values as the shape holds.
  public init(shape: Shape, values: Values) {
    switch values {
    case .bytes(let bytes): precondition(bytes.count == shape.elementCount)
    case .floats(let floats): precondition(floats.count == shape.elementCount)
    }
    self.shape = shape
    self.values = values
  }

  /// Rows from a tensor.
  public init(_ tensor: Tensor<Float>) {
    self.init(shape: tensor.shape, values: .floats(tensor.elements))
  }

  /// The number of rows.
  public var count: Int { shape[0] }

  /// The rows at some positions, in the order given.
  public func rows(_ positions: [Int]) -> RowBatch {
    let width = shape.row.elementCount
    func chosen<Value>(_ values: ContiguousArray<Value>) -> ContiguousArray<Value> {
      var result = ContiguousArray<Value>()
      result.reserveCapacity(positions.count * width)
      for position in positions { result.append(contentsOf: values[position * width..<(position + 1) * width]) }
      return result
    }
    let values: Values =
      switch values {
      case .bytes(let bytes): .bytes(chosen(bytes))
      case .floats(let floats): .floats(chosen(floats))
      }
    return RowBatch(shape: shape.row.batched(positions.count), values: values)
  }

  /// The values as floating-point numbers.
  public var tensor: Tensor<Float> {
    switch values {
    case .bytes(let bytes): Tensor(shape: shape, elements: ContiguousArray(bytes.map { Float($0) }))
    case .floats(let floats): Tensor(shape: shape, elements: floats)
    }
  }
}

/// What labels are taken for when they are read.
public struct LabelReading: Hashable, Sendable {
  /// The extents at whose positions a row has a label each, as `[height, width]` for pixels; none where a row has one.
  public var positions: [Int]
  /// The label of rows and positions that have none; it may lie outside the classes, below zero too.
  public var ignored: Int?

  public init(positions: [Int] = [], ignored: Int? = nil) {
    self.positions = positions
    self.ignored = ignored
  }
}

/// Rows of inputs, and labels where there are any, read a range at a time.
public protocol Dataset: Sendable {
  /// The file, as the user named it; for messages.
  var file: String { get }

  /// The file that holds the labels, as the user named it; for messages.
  var labelsFile: String { get }

  /// The number of rows.
  var rowCount: Int { get }

  /// The shape of one row as stored.
  var rowShape: Shape { get }

  /// Whether there is a label a row.
  var hasLabels: Bool { get }

  /// The names of the classes, where the data set itself says what its labels mean; else none.
  var classNames: [String] { get }

  /// The index in the file of this data set's first row; for messages.
  var firstRow: Int { get }

  /// The inputs of some rows.
  ///
  /// - Throws: `FileError` naming the file, and the row where a value is not finite.
  func inputs(_ rows: Range<Int>) throws(FileError) -> RowBatch

  /// The labels of some rows: class indices from zero.
  ///
  /// - Throws: `FileError` naming the file, and the row where a label is no whole number from zero.
  func labels(_ rows: Range<Int>) throws(FileError) -> [Int]

  /// The labels of some rows, all positions of a row one after another in row-major order.
  ///
  /// - Throws: as `labels(_:)`; `FileError.Code.shape` where a row has labels of another shape, even for no rows.
  func labels(_ rows: Range<Int>, as reading: LabelReading) throws(FileError) -> [Int]

  /// Whether what stands for labels has the shape of targets: a number for each output, at each position.
  func holdsTargets(outputs: Int, positions: [Int]) -> Bool

  /// The targets of some rows, where outputs are real numbers or labels that exclude each other not.
  ///
  /// - Shapes: `[rows · positions, outputs]`, all positions of a row one after another in row-major order.
  /// - Throws: `FileError` naming the file, and the row where a target is not finite; `FileError.Code.shape` where rows
  ///   have targets of another shape, even for no rows.
  func targets(_ rows: Range<Int>, outputs: Int, positions: [Int]) throws(FileError) -> Tensor<Double>
}

extension Dataset {
  public var classNames: [String] { [] }
  public var labelsFile: String { file }
  public var firstRow: Int { 0 }

  public func holdsTargets(outputs: Int, positions: [Int]) -> Bool { false }

  public func targets(_ rows: Range<Int>, outputs: Int, positions: [Int]) throws(FileError) -> Tensor<Double> {
    throw FileError(.unsupported, file: labelsFile, "Targets are not read from data of this kind; give them as an array.")
  }

  public func labels(_ rows: Range<Int>, as reading: LabelReading) throws(FileError) -> [Int] {
    guard reading.positions.isEmpty else {
      throw FileError(
        .shape, file: labelsFile,
        "There is one label a row, but the network answers at \(Shape(reading.positions)) positions a row; give "
          + "labels of the shape \(Shape(reading.positions).batched(rowCount)).")
    }
    return try labels(rows)
  }
}
