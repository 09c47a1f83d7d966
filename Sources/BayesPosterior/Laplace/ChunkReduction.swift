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

/// The values of some elements, in their order, each computed in a task of its own.
///
/// - Throws: what is thrown for the earliest element that fails.
func inOrder<Element: Sendable, Value: Sendable>(
  _ elements: [Element], _ value: @escaping @Sendable (Element) throws -> Value
) async throws -> [Value] {
  if elements.count == 1 { return [try value(elements[0])] }
  // Failures are kept as values so that the earliest is reported at any width.
  let results = await withTaskGroup(of: (Int, Result<Value, any Error>).self) { group in
    for (index, element) in elements.enumerated() {
      group.addTask { (index, Result { try value(element) }) }
    }
    var results = [Result<Value, any Error>?](repeating: nil, count: elements.count)
    for await (index, result) in group { results[index] = result }
    return results
  }
  return try results.compactMap { try $0?.get() }
}
