import Synchronization

/// What one worker computes in.
final class WorkMemory: Sendable {
  let arena: AlignedBuffer
  let scratch: AlignedBuffer

  init(arenaByteCount: Int, scratchByteCount: Int) {
    arena = AlignedBuffer(byteCount: arenaByteCount)
    scratch = AlignedBuffer(byteCount: scratchByteCount)
  }
}

/// Memory that workers of several plans use in turns.
///
/// Plans of one network for slices of other sizes, parts of it and networks of other weights rarely run at the same time,
/// so that as much memory is enough for all of them as for the largest.
final class WorkMemories: Sendable {
  private let resting = Mutex<[WorkMemory]>([])

  /// Memory that nobody uses now: of what rests the smallest that is enough, else new.
  func take(arenaByteCount: Int, scratchByteCount: Int) -> WorkMemory {
    let rested = resting.withLock { resting -> WorkMemory? in
      let enough = resting.indices.filter {
        resting[$0].arena.byteCount >= arenaByteCount && resting[$0].scratch.byteCount >= scratchByteCount
      }
      return enough.min { resting[$0].arena.byteCount < resting[$1].arena.byteCount }.map { resting.remove(at: $0) }
    }
    return rested ?? WorkMemory(arenaByteCount: arenaByteCount, scratchByteCount: scratchByteCount)
  }

  func putBack(_ memory: WorkMemory) { resting.withLock { $0.append(memory) } }
}
