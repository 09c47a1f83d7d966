public import BayesNetwork
public import BayesTensor

/// A data set of images that are corrupted as they are read; labels stay.
///
/// - Determinism: a row's values depend on the key, the corruption, the severity and the row alone.
/// - Cost: nothing is kept; each reading corrupts anew.
public struct CorruptedDataset: Dataset {
  public let dataset: any Dataset
  public let corruption: Corruption
  public let severity: Severity
  /// Of the values as stored.
  public let range: PixelRange
  public let key: RandomKey

  /// - Throws: `FileError.Code.shape` for rows that are no images in grey or colour, or too large for JPEG.
  public init(
    _ dataset: any Dataset, _ corruption: Corruption, _ severity: Severity, range: PixelRange, key: RandomKey
  ) throws(FileError) {
    let size = try ImageSize(dataset.rowShape, file: dataset.file)
    if corruption == .jpeg { _ = try JPEGCodec(size, file: dataset.file) }
    self.dataset = dataset
    self.corruption = corruption
    self.severity = severity
    self.range = range
    self.key = key
  }

  public var file: String { dataset.file }
  public var labelsFile: String { dataset.labelsFile }
  public var rowCount: Int { dataset.rowCount }
  public var rowShape: Shape { dataset.rowShape }
  public var hasLabels: Bool { dataset.hasLabels }
  public var classNames: [String] { dataset.classNames }
  public var firstRow: Int { dataset.firstRow }

  public func inputs(_ rows: Range<Int>) throws(FileError) -> RowBatch {
    try corruption.corrupt(
      dataset.inputs(rows), severity, range: range, key: key, firstRow: firstRow + rows.lowerBound, file: file)
  }

  public func labels(_ rows: Range<Int>) throws(FileError) -> [Int] { try dataset.labels(rows) }

  public func labels(_ rows: Range<Int>, as reading: LabelReading) throws(FileError) -> [Int] {
    try dataset.labels(rows, as: reading)
  }

  public func holdsTargets(outputs: Int, positions: [Int]) -> Bool {
    dataset.holdsTargets(outputs: outputs, positions: positions)
  }

  public func targets(_ rows: Range<Int>, outputs: Int, positions: [Int]) throws(FileError) -> Tensor<Double> {
    try dataset.targets(rows, outputs: outputs, positions: positions)
  }
}
