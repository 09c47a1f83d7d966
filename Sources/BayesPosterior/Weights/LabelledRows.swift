import BayesNetwork
import BayesPrediction
package import BayesTensor

/// Rows of a network's inputs, preprocessed, with their labels where there are any, read a range at a time.
package struct LabelledRows<Scalar: TensorScalar>: Sendable {
  /// For messages.
  package let file: String
  package let rowCount: Int
  /// Inputs `[rows] + inputShape`, and labels.
  package let read: @Sendable (Range<Int>) throws -> (inputs: Tensor<Scalar>, labels: [Int]?)

  package init(
    file: String, rowCount: Int,
    read: @escaping @Sendable (Range<Int>) throws -> (inputs: Tensor<Scalar>, labels: [Int]?)
  ) {
    self.file = file
    self.rowCount = rowCount
    self.read = read
  }

  /// Blocks of at most so many rows, each computed in a task of its own and handed over in row order.
  ///
  /// - Parameter stride: of the rows, every so many-th is read.
  /// - Throws: what is thrown for the earliest block that fails; `CancellationError`.
  func reduce<Partial: Sendable>(
    blocksOf blockRowCount: Int, everyRow stride: Int = 1, _ stage: String, in context: ExecutionContext,
    partial: @escaping @Sendable (Tensor<Scalar>, [Int]?) throws -> Partial, combine: (Partial) -> Void
  ) async throws {
    let chosenCount = (rowCount + stride - 1) / stride
    let blocks = Swift.stride(from: 0, to: chosenCount, by: blockRowCount).map {
      $0..<min($0 + blockRowCount, chosenCount)
    }
    context.report(StageProgress(stage: stage, completed: 0, total: chosenCount))
    for first in Swift.stride(from: 0, to: blocks.count, by: context.width) {
      try Task.checkCancellation()
      let window = Array(blocks[first..<min(first + context.width, blocks.count)])
      let partials = try await inOrder(window) { block in
        guard stride > 1 else {
          let (inputs, labels) = try read(block)
          return try partial(inputs, labels)
        }
        let rows = try block.map { try read($0 * stride..<$0 * stride + 1) }
        let labels = rows.compactMap(\.labels).flatMap(\.self)
        return try partial(.stacking(rows.map(\.inputs)), labels.count == block.count ? labels : nil)
      }
      for value in partials { combine(value) }
      context.report(
        StageProgress(stage: stage, completed: window.last?.upperBound ?? chosenCount, total: chosenCount))
    }
  }
}

extension LabelledRows<Float> {
  /// The rows of a data set as a network takes them.
  ///
  /// - Parameter classCount: labels lie below it.
  /// - Throws: `FileError` where the rows do not fit the network or there are none, `NetworkError` where the
  ///   preprocessing does not; reading throws `FileError` naming the row whose label is out of range.
  init(_ dataset: any Dataset, for frozen: FrozenNetwork, _ preprocessing: Preprocessing, classCount: Int) throws {
    let rowShape = frozen.network.inputShape
    guard dataset.rowShape.elementCount == rowShape.elementCount else {
      throw FileError(
        .shape, file: dataset.file,
        "Rows are \(dataset.rowShape), but the network takes \(rowShape). Give data of that shape (channels last).")
    }
    guard dataset.rowCount > 0 else { throw FileError(.value, file: dataset.file, "There are no rows.") }
    let map = try InputMap(preprocessing, for: rowShape)
    self.init(file: dataset.file, rowCount: dataset.rowCount) { rows in
      let inputs = map(try dataset.inputs(rows)).reshaped(to: rowShape.batched(rows.count))
      guard dataset.hasLabels else { return (inputs, nil) }
      let labels = try dataset.labels(rows)
      if let index = labels.firstIndex(where: { !(0..<classCount).contains($0) }) {
        throw FileError(
          .value, file: dataset.labelsFile, object: "labels",
          "Row \(dataset.firstRow + rows.lowerBound + index) has label \(labels[index]), but the network knows classes 0 "
            + "to \(classCount - 1). Correct the labels.")
      }
      return (inputs, labels)
    }
  }
}
