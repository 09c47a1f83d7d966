/// The values of some elements, in their order, up to `width` computed at once.
///
/// An element is begun as soon as one before it is done, so that long and short ones share the threads.
///
/// - Throws: what is thrown for the earliest element that fails, whatever the width; `CancellationError`, before the next
///   element is begun.
package func inOrder<Element: Sendable, Value: Sendable>(
  _ elements: [Element], width: Int = .max, _ value: @escaping @Sendable (Element) async throws -> Value
) async throws -> [Value] {
  if elements.count == 1 || width <= 1 {
    var values: [Value] = []
    for element in elements {
      try Task.checkCancellation()
      values.append(try await value(element))
    }
    return values
  }
  // Failures are kept as values so that the earliest is reported at any width.
  let results = await withTaskGroup(of: (Int, Result<Value, any Error>).self) { group in
    func begin(_ index: Int) {
      let element = elements[index]
      group.addTask {
        do {
          try Task.checkCancellation()
          return (index, .success(try await value(element)))
        } catch {
          return (index, .failure(error))
        }
      }
    }
    let atOnce = min(width, elements.count)
    for index in 0..<atOnce { begin(index) }
    var begun = atOnce
    var results = [Result<Value, any Error>?](repeating: nil, count: elements.count)
    for await (index, result) in group {
      results[index] = result
      guard begun < elements.count else { continue }
      begin(begun)
      begun += 1
    }
    return results
  }
  return try results.compactMap { try $0?.get() }
}
