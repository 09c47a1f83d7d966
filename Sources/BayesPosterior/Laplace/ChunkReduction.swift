import BayesPrediction
import BayesTensor

extension ExitRecordSource {
  /// Computes a value a chunk, as many at once as the context allows, and hands the values over in
  /// row order, so that sums do not depend on the context's width.
  ///
  /// - Throws: what `partial` throws for the earliest chunk that fails; `CancellationError`.
  func reduceChunks<Partial: Sendable>(
    _ stage: String, in context: ExecutionContext,
    partial: @escaping @Sendable (ExitRecords) throws -> Partial,
    combine: (Partial) -> Void
  ) async throws {
    var window: [ExitRecords] = []
    var completed = 0
    try await forEachChunk { chunk in
      try Task.checkCancellation()
      window.append(chunk)
      guard window.count == context.width else { return }
      for value in try await inOrder(window, partial) { combine(value) }
      completed += window.reduce(0) { $0 + $1.rowCount }
      window.removeAll(keepingCapacity: true)
      context.report(StageProgress(stage: stage, completed: completed, total: rowCount))
    }
    guard !window.isEmpty else { return }
    for value in try await inOrder(window, partial) { combine(value) }
    completed += window.reduce(0) { $0 + $1.rowCount }
    context.report(StageProgress(stage: stage, completed: completed, total: rowCount))
  }
}
