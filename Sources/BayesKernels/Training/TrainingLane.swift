import BayesTensor
import COneDNN
import Synchronization

/// Slices of a batch whose gradients go into one sum, one slice after another, each shared by a crew of threads.
///
/// Whoever is free takes the item of least rank whose prerequisites are done.  A thread that comes late, or never,
/// costs time but changes nothing.
final class TrainingLane: Sendable {
  private struct State {
    /// For each item of the slice at hand, the prerequisites that are not done.
    var waiting: [Int]
    /// Items that can be taken.
    var ready: [Int] = [0]
    /// Items of the slice at hand that are not done.
    var remaining: Int
    var slice = 0
    var failed = false
    /// The memory of those who share slices, from the first of them on.
    var crew: TrainingCrew?
  }

  private let plan: TrainingSlicePlan
  private let slices: [Range<Int>]
  private let batch: TrainingBatch
  private let sums: GradientSums
  private let state: Mutex<State>

  /// - Parameter slices: the rows of each.
  init(_ plan: TrainingSlicePlan, slices: [Range<Int>], of batch: TrainingBatch, _ sums: GradientSums) {
    (self.plan, self.slices, self.batch, self.sums) = (plan, slices, batch, sums)
    state = Mutex(State(waiting: plan.items.map(\.prerequisiteCount), remaining: plan.items.count))
  }

  /// Does what there is to do as one member of the crew; returns when the last slice is done or somebody failed.
  func work(as member: Int) throws {
    ThreadBudget.claimSingleThread()
    do {
      if plan.form.crewSize == 1 { try workAlone() } else { try workWithOthers(as: member) }
    } catch {
      state.withLock { $0.failed = true }
      throw error
    }
  }

  private func workAlone() throws {
    let crew = try plan.takeCrew()
    for rows in slices {
      try Task.checkCancellation()
      for item in plan.items {
        try plan.perform(item.stage, on: rows, of: batch, in: crew.arena, by: crew.workers[0], sums)
      }
    }
    plan.rest(crew)
  }

  private func workWithOthers(as member: Int) throws {
    let crew = try state.withLock { state in
      let crew = try state.crew ?? plan.takeCrew()
      state.crew = crew
      return crew
    }
    while let next = next() {
      guard let item = next.item else {
        for _ in 0..<16 { spin_pause() }
        continue
      }
      if case .load = plan.items[item].stage { try Task.checkCancellation() }
      try plan.perform(
        plan.items[item].stage, on: slices[next.slice], of: batch, in: crew.arena, by: crew.workers[member], sums)
      complete(item)
    }
  }

  /// The item to do now, or none if others must finish theirs first; `nil` at the end.
  private func next() -> (slice: Int, item: Int?)? {
    state.withLock { state in
      guard !state.failed, state.slice < slices.count else { return nil }
      let first = state.ready.indices.min { plan.items[state.ready[$0]].rank < plan.items[state.ready[$1]].rank }
      return (state.slice, first.map { state.ready.remove(at: $0) })
    }
  }

  private func complete(_ item: Int) {
    state.withLock { state in
      for successor in plan.items[item].successors {
        state.waiting[successor] -= 1
        if state.waiting[successor] == 0 { state.ready.append(successor) }
      }
      state.remaining -= 1
      guard state.remaining == 0 else { return }
      state.waiting = plan.items.map(\.prerequisiteCount)
      state.ready = [0]
      state.remaining = plan.items.count
      state.slice += 1
      if state.slice == slices.count, let crew = state.crew { plan.rest(crew) }
    }
  }
}
