import BayesNetwork
import BayesTensor
import COneDNN
import Synchronization

/// A graph compiled for one row, whose operations several threads share band by band.
///
/// Bands are claimed in order by whoever is free, so a thread that comes late, or never, costs time but
/// changes nothing: the thread that needs the result does what the others leave.
final class CooperativePlan: RowPlan {
  /// One band of one operation.
  private struct Item: Sendable {
    var step: PreparedStep
    /// Its position among the bands of its operation.
    var band: Int
    /// The items before it that must be complete.
    var prerequisite: Int
  }

  let rowCount = 1
  /// The part of the work that more than one thread can do.
  let sharedPart: Double
  private let width: Int
  private let graph: FusedGraph
  private let arena: ArenaPlan
  private let items: [Item]
  private let engine: Engine
  private let idle = Mutex<[Crew]>([])
  private let standby = Standby()

  /// - Parameter width: the threads that share a row.
  init(_ graph: FusedGraph, width: Int, _ weights: PackedWeights, _ engine: Engine) throws(NumericalError) {
    ThreadBudget.claimSingleThread()
    self.graph = graph.boundary
    self.width = width
    self.engine = engine
    arena = ArenaPlan(graph, rowCount: 1)
    var items: [Item] = []
    var (shared, whole) = (0, 0)
    for (index, operation) in graph.operations.enumerated() {
      let prerequisite = items.count
      let bands = operation.bands(width)
      whole += operation.bandWork
      if bands.count > 1 { shared += operation.bandWork }
      for (position, band) in bands.enumerated() {
        let step = try PreparedStep(
          band.operation, arena, at: band.displacement, accumulates: arena.takesOver[index], rowCount: 1, weights,
          engine)
        items.append(Item(step: step, band: position, prerequisite: prerequisite))
      }
    }
    self.items = items
    sharedPart = Double(shared) / Double(max(1, whole))
  }

  func run(
    _ inputs: [RowBatch], through loaders: [InputLoader], from start: Int, count: Int, into results: [AlignedBuffer]
  ) throws(NumericalError) {
    let crew: Crew
    if let rested = idle.withLock({ $0.popLast() }) { crew = rested } else { crew = try newCrew() }
    for (index, value) in graph.inputs.enumerated() {
      unsafe loaders[index].load(
        inputs[index], from: start, count: count, into: crew.arena.floats(at: arena.offsets[value]), capacity: 1)
    }
    let turn = Turn(crew)
    for _ in 0..<max(0, width - 1 - standby.post(turn)) {
      Task { [standby] in
        ThreadBudget.claimSingleThread()
        var next: Turn? = turn
        while let turn = next {
          turn.work()
          next = standby.turn(after: turn)
        }
      }
    }
    turn.work()
    try turn.finish()
    for (output, result) in zip(graph.outputs, results) {
      let width = output.shape.elementCount
      unsafe (result.floats(at: 0) + start * width).update(
        from: crew.arena.floats(at: arena.offsets[output.value]), count: count * width)
    }
    idle.withLock { $0.append(crew) }
  }

  private func newCrew() throws(NumericalError) -> Crew {
    let buffer = AlignedBuffer(byteCount: arena.byteCount)
    // Bands of one operation run at the same time, so each position has scratch memory and a queue of its own.
    var scratches: [AlignedBuffer] = []
    var streams: [Stream] = []
    for band in 0..<width {
      let byteCount = items.filter { $0.band == band }.reduce(0) { max($0, $1.step.scratchByteCount) }
      scratches.append(AlignedBuffer(byteCount: byteCount))
      streams.append(try Stream(engine))
    }
    var bound: [Crew.Item] = []
    for item in items {
      bound.append(
        Crew.Item(
          step: try item.step.bound(to: buffer, scratch: scratches[item.band], engine), stream: streams[item.band],
          prerequisite: item.prerequisite))
    }
    return Crew(arena: buffer, items: bound)
  }
}

/// The memory in which several threads share one row, and the bands bound to it.
private final class Crew: Sendable {
  struct Item: Sendable {
    var step: BoundStep
    var stream: Stream
    var prerequisite: Int
  }

  let arena: AlignedBuffer
  let items: [Item]

  init(arena: AlignedBuffer, items: [Item]) {
    self.arena = arena
    self.items = items
  }
}

/// One row that several threads share, and how far they are.
private final class Turn: Sendable {
  private let crew: Crew
  /// Items that somebody took on.
  private let claimed = Atomic<Int>(0)
  /// Items that are done.
  private let completed = Atomic<Int>(0)
  private let failure = Mutex<NumericalError?>(nil)

  init(_ crew: Crew) { self.crew = crew }

  /// Takes on items until none are left; a thread that comes after the last was claimed touches nothing.
  func work() {
    while true {
      let index = claimed.wrappingAdd(1, ordering: .relaxed).oldValue
      guard index < crew.items.count else { return }
      let item = crew.items[index]
      while completed.load(ordering: .acquiring) < item.prerequisite { spin_pause() }
      do throws(NumericalError) {
        try item.step.run(item.stream, crew.arena)
      } catch {
        failure.withLock { $0 = $0 ?? error }
      }
      completed.wrappingAdd(1, ordering: .acquiringAndReleasing)
    }
  }

  /// Waits for the items that others have taken on.
  func finish() throws(NumericalError) {
    while completed.load(ordering: .acquiring) < crew.items.count { spin_pause() }
    if let failure = failure.withLock({ $0 }) { throw failure }
  }
}

/// Where threads that have finished a row wait a moment for the next one, since waking a sleeping thread takes as
/// long as a small network's row.
private final class Standby: Sendable {
  private static let patience = Duration.microseconds(200)

  private let waiting = Atomic<Int>(0)
  private let latest = Mutex<Turn?>(nil)

  /// Offers a turn to those who wait; gives their number.
  func post(_ turn: Turn) -> Int {
    latest.withLock { $0 = turn }
    return waiting.load(ordering: .acquiring)
  }

  /// The turn that is offered next, if that is soon.
  func turn(after last: Turn) -> Turn? {
    waiting.wrappingAdd(1, ordering: .acquiringAndReleasing)
    defer { waiting.wrappingSubtract(1, ordering: .acquiringAndReleasing) }
    let deadline = ContinuousClock.now + Self.patience
    repeat {
      let turn = latest.withLock { $0 }
      if let turn, turn !== last { return turn }
      for _ in 0..<32 { spin_pause() }
    } while ContinuousClock.now < deadline
    return nil
  }
}
