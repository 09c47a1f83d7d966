import Synchronization

/// Does `work` for every number below `count`, each once, on up to `width` tasks of which the caller's is one.
func share(_ count: Int, width: Int, _ work: @escaping @Sendable (Int) throws -> Void) async throws {
  let next = Counter()
  @Sendable func workOn() throws {
    do {
      while true {
        let index = next.increment()
        guard index < count else { return }
        try Task.checkCancellation()
        try work(index)
      }
    } catch {
      // Nobody begins anything that would come to nothing.
      next.pass(count)
      throw error
    }
  }
  guard width > 1, count > 1 else { return try workOn() }
  try await withThrowingTaskGroup(of: Void.self) { group in
    for _ in 1..<min(width, count) { group.addTask { try workOn() } }
    try workOn()
    try await group.waitForAll()
  }
}

/// Hands out the numbers from zero on, each once, to any thread.
final class Counter: Sendable {
  private let value = Atomic<Int>(0)

  func increment() -> Int { value.wrappingAdd(1, ordering: .relaxed).oldValue }

  /// Hands out none below `number` any more.
  func pass(_ number: Int) { value.store(number, ordering: .relaxed) }
}
