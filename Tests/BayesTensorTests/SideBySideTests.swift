import BayesTensor
import Synchronization
import Testing

@Suite struct SideBySideTests {
  private struct Failure: Error, Equatable { let element: Int }

  private final class Count: Sendable { let value = Atomic(0) }

  @Test(arguments: [1, 2, 3, 100])
  func valuesAreInTheOrderOfTheElements(width: Int) async throws {
    #expect(try await inOrder(Array(0..<20), width: width) { $0 * $0 } == (0..<20).map { $0 * $0 })
    #expect(try await inOrder([Int](), width: width) { $0 } == [])
  }

  @Test(arguments: [1, 2, 100])
  func theEarliestFailureIsThrown(width: Int) async {
    await #expect(throws: Failure(element: 3)) {
      try await inOrder(Array(0..<20), width: width) { element in
        guard element < 3 || element.isMultiple(of: 2) else { throw Failure(element: element) }
      }
    }
  }

  @Test func noMoreThanTheWidthAreComputedAtOnce() async throws {
    let running = Atomic(0)
    let most = Atomic(0)
    _ = try await inOrder(Array(0..<50), width: 2) { _ in
      most.max(running.add(1, ordering: .relaxed).newValue, ordering: .relaxed)
      running.subtract(1, ordering: .relaxed)
    }
    #expect(most.load(ordering: .relaxed) <= 2)
  }

  @Test func nothingIsBegunOnceCancelled() async {
    let begun = Count()
    await withTaskGroup(of: Void.self) { group in
      group.cancelAll()
      group.addTask {
        await #expect(throws: CancellationError.self) {
          _ = try await inOrder(Array(0..<10), width: 2) { _ in begun.value.add(1, ordering: .relaxed) }
        }
      }
    }
    #expect(begun.value.load(ordering: .relaxed) == 0)
  }
}
