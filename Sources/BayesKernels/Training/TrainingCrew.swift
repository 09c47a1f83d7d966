import BayesTensor

/// The memory in which threads take slices forward and back, and the steps bound to it for each of them.
final class TrainingCrew: Sendable {
  let arena: AlignedBuffer
  let workers: [TrainingWorker]

  init(
    _ size: Int, _ forward: [PreparedStep], _ backward: [PreparedBackwardStep], arenaByteCount: Int,
    _ sumSizes: [Int: (weight: Int, bias: Int)], _ engine: Engine
  ) throws(NumericalError) {
    arena = AlignedBuffer(byteCount: arenaByteCount)
    var workers: [TrainingWorker] = []
    for _ in 0..<size { workers.append(try TrainingWorker(forward, backward, in: arena, sumSizes, engine)) }
    self.workers = workers
  }
}

/// The compiled steps bound to one thread's scratch memory.
final class TrainingWorker: Sendable {
  let stream: Stream
  let forward: [BoundStep]
  let backward: [BoundBackwardStep]

  init(
    _ forward: [PreparedStep], _ backward: [PreparedBackwardStep], in arena: AlignedBuffer,
    _ sumSizes: [Int: (weight: Int, bias: Int)], _ engine: Engine
  ) throws(NumericalError) {
    stream = try Stream(engine)
    let scratch = AlignedBuffer(
      byteCount: (forward.map(\.scratchByteCount) + backward.map(\.scratchByteCount)).reduce(0, max))
    let weight = AlignedBuffer(byteCount: sumSizes.values.reduce(0) { max($0, $1.weight) })
    let bias = AlignedBuffer(byteCount: sumSizes.values.reduce(0) { max($0, $1.bias) })
    var boundForward: [BoundStep] = []
    for step in forward { boundForward.append(try step.bound(to: arena, scratch: scratch, engine)) }
    self.forward = boundForward
    var boundBackward: [BoundBackwardStep] = []
    for step in backward {
      boundBackward.append(try step.bound(to: arena, scratch: scratch, weight: weight, bias: bias, engine))
    }
    self.backward = boundBackward
  }
}
