public import BayesTensor

/// Some rows of a data set, in the order given.
public struct ChosenRows: Dataset {
  private let dataset: any Dataset
  private let rows: [Int]
  private let keepsLabels: Bool

  /// - Parameter keepsLabels: whether the rows have their labels.
  /// - Precondition: the data set has the rows.
  public init(_ rows: [Int], of dataset: any Dataset, keepsLabels: Bool = true) {
    precondition(rows.allSatisfy { (0..<dataset.rowCount).contains($0) }, "These are rows of another data set.")
    self.dataset = dataset
    self.rows = rows
    self.keepsLabels = keepsLabels
  }

  public var file: String { dataset.file }
  public var labelsFile: String { dataset.labelsFile }
  public var rowCount: Int { rows.count }
  public var rowShape: Shape { dataset.rowShape }
  public var hasLabels: Bool { keepsLabels && dataset.hasLabels }
  public var classNames: [String] { dataset.classNames }
  public var firstRow: Int { dataset.firstRow }

  public func inputs(_ range: Range<Int>) throws(FileError) -> RowBatch {
    var values: [Tensor<Float>] = []
    for row in rows[range] { values.append(try dataset.inputs(row..<row + 1).tensor) }
    return RowBatch(values.isEmpty ? Tensor(zeros: rowShape.batched(0)) : .stacking(values))
  }

  public func labels(_ range: Range<Int>) throws(FileError) -> [Int] {
    try labels(range, as: LabelReading())
  }

  public func labels(_ range: Range<Int>, as reading: LabelReading) throws(FileError) -> [Int] {
    var labels: [Int] = []
    for row in rows[range] { labels += try dataset.labels(row..<row + 1, as: reading) }
    return labels
  }

  public func holdsTargets(outputs: Int, positions: [Int]) -> Bool {
    dataset.holdsTargets(outputs: outputs, positions: positions)
  }

  public func targets(_ range: Range<Int>, outputs: Int, positions: [Int]) throws(FileError) -> Tensor<Double> {
    var targets: [Tensor<Double>] = [try dataset.targets(0..<0, outputs: outputs, positions: positions)]
    for row in rows[range] { targets.append(try dataset.targets(row..<row + 1, outputs: outputs, positions: positions)) }
    return .stacking(targets)
  }
}
