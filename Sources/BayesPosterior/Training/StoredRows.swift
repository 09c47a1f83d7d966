import BayesNetwork
import BayesPrediction
import BayesTensor
import RealModule

/// Labelled rows of a data set, in any order.
struct StoredRows: Sendable {
  let rowCount: Int
  private let dataset: any Dataset
  private let labels: [Int]
  /// All rows, where there is room for them.
  private let kept: RowBatch?

  private static let keptByteCount = 1 << 30
  private static let chunkRowCount = 1024

  /// - Throws: `FileError` where there are no rows or labels, or a label is no class.
  init(_ dataset: any Dataset, _ description: RecordsDescription) throws(FileError) {
    guard dataset.rowCount > 0 else { throw FileError(.value, file: dataset.file, "There are no rows.") }
    guard dataset.hasLabels else {
      throw FileError(.missing, file: dataset.file, "The rows have no labels, and the data term needs them.")
    }
    self.dataset = dataset
    rowCount = dataset.rowCount
    let labels = try dataset.labels(0..<dataset.rowCount)
    try description.requireClasses(labels, labelsFile: dataset.labelsFile) {
      answerPlace($0, positions: [], firstRow: dataset.firstRow)
    }
    self.labels = labels
    guard 4 * dataset.rowShape.elementCount <= Self.keptByteCount / dataset.rowCount else {
      kept = nil
      return
    }
    var chunks: [RowBatch] = []
    for start in stride(from: 0, to: dataset.rowCount, by: Self.chunkRowCount) {
      chunks.append(try dataset.inputs(start..<min(dataset.rowCount, start + Self.chunkRowCount)))
    }
    kept = RowBatch(joining: chunks)
  }

  @Sendable func inputs(_ positions: [Int]) throws -> RowBatch {
    if let kept { return kept.rows(positions) }
    return RowBatch(joining: try positions.map { try dataset.inputs($0..<$0 + 1) })
  }

  @Sendable func labels(_ positions: [Int]) -> [Int] { positions.map { labels[$0] } }

  /// The mean negative log-likelihood of the first labels under the mean of some networks' probabilities, nats.
  func meanLoss(
    _ networks: [FrozenNetwork], first count: Int, output: Int, _ preprocessing: Preprocessing,
    on backend: any NetworkBackend, width: Int, _ loss: (Tensor<Float>, [Int]) throws -> LossValue<Float>
  ) async throws -> Double {
    // The logarithm of each row's summed probability.
    var sums = [Double](repeating: -.infinity, count: count)
    for network in networks {
      let prepared = try backend.prepare(network, preprocessing: preprocessing, outputs: [output])
      for start in stride(from: 0, to: count, by: Self.chunkRowCount) {
        try Task.checkCancellation()
        let rows = Array(start..<min(count, start + Self.chunkRowCount))
        let logits = try await prepared(try inputs(rows), width: width)[0]
        for (index, row) in rows.enumerated() {
          let own = logits.rows(index..<index + 1)
          let value: Double
          do {
            value = -(try loss(own.reshaped(to: [1, own.count]), [labels[row]]).value)
          } catch let error as LossError {
            throw FileError(
              .value, file: dataset.file,
              answerPlace(row, positions: [], firstRow: dataset.firstRow) + ": " + error.message)
          }
          let larger = max(sums[row], value)
          sums[row] = larger + Double.log(Double.exp(sums[row] - larger) + Double.exp(value - larger))
        }
      }
    }
    return -sums.reduce(0) { $0 + $1 } / Double(count) + Double.log(Double(networks.count))
  }
}

extension RowBatch {
  /// Rows one under the other.
  ///
  /// - Precondition: there is one batch at least, and all row shapes are equal.
  fileprivate init(joining batches: [RowBatch]) {
    let shape = batches[0].shape.row.batched(batches.reduce(0) { $0 + $1.count })
    var bytes = ContiguousArray<UInt8>()
    for batch in batches {
      guard case .bytes(let own) = batch.values else {
        self.init(Tensor.stacking(batches.map(\.tensor)))
        return
      }
      if bytes.isEmpty { bytes.reserveCapacity(shape.elementCount) }
      bytes += own
    }
    self.init(shape: shape, values: .bytes(bytes))
  }
}
