import BayesNetwork
import BayesTensor
import COneDNN
import Synchronization

/// A network compiled to oneDNN primitives over one planned block of memory.
///
/// Rows go through in slices of one fixed size, the last one padded, each slice on one thread.
final class NativePreparedNetwork: PreparedNetwork {
  private let engine: Engine
  private let map: InputMap
  private let graph: FusedGraph
  private let plan: ArenaPlan
  private let steps: [PreparedStep]
  private let inputShape: Shape
  private let scratchByteCount: Int
  /// The rows of one slice.
  let sliceRowCount: Int
  private let idle = Mutex<[Worker]>([])

  init(
    _ frozen: FrozenNetwork, map: InputMap, outputs: [Int], sliceRowCount requested: Int?, _ engine: Engine
  ) throws(NumericalError) {
    ThreadBudget.claimSingleThread()
    self.engine = engine
    self.map = map
    inputShape = frozen.network.inputShape
    graph = FusedGraph(frozen, outputs: outputs)
    sliceRowCount = requested ?? Self.defaultSliceRowCount(graph)
    plan = ArenaPlan(graph, rowCount: sliceRowCount)
    var steps: [PreparedStep] = []
    for (index, operation) in graph.operations.enumerated() {
      steps.append(
        try PreparedStep(
          operation, plan, accumulates: plan.accumulates[index], rowCount: sliceRowCount, engine))
    }
    self.steps = steps
    scratchByteCount = steps.reduce(0) { max($0, $1.scratchByteCount) }
  }

  func residentByteCount(width: Int) -> Int {
    steps.reduce(0) { $0 + $1.weightByteCount } + width * (plan.byteCount + scratchByteCount)
  }

  /// As many rows as keep a slice's memory near the size of a core's second-level cache.
  private static func defaultSliceRowCount(_ graph: FusedGraph) -> Int {
    let bytesPerRow = max(1, ArenaPlan(graph, rowCount: 1).byteCount)
    let wanted = 2_097_152 / bytesPerRow
    return min(64, max(8, wanted / 8 * 8))
  }

  func callAsFunction(_ rows: RowBatch, width: Int) async throws -> [Tensor<Float>] {
    let starts = Array(stride(from: 0, to: rows.count, by: sliceRowCount))
    guard !starts.isEmpty else {
      return graph.outputs.map { Tensor(zeros: $0.shape.batched(0)) }
    }
    var slices = [[Tensor<Float>]](repeating: [], count: starts.count)
    if width == 1 || starts.count == 1 {
      for (index, start) in starts.enumerated() {
        try Task.checkCancellation()
        slices[index] = try run(rows, from: start)
      }
    } else {
      try await withThrowingTaskGroup(of: (Int, [Tensor<Float>]).self) { group in
        var next = 0
        func addNext() {
          guard next < starts.count else { return }
          let (index, start) = (next, starts[next])
          next += 1
          group.addTask {
            try Task.checkCancellation()
            return (index, try self.run(rows, from: start))
          }
        }
        for _ in 0..<min(width, starts.count) { addNext() }
        while let (index, outputs) = try await group.next() {
          slices[index] = outputs
          addNext()
        }
      }
    }
    guard slices.count > 1 else { return slices[0] }
    return graph.outputs.indices.map { output in Tensor.stacking(slices.map { $0[output] }) }
  }

  /// One slice, from row `start` on, on the calling thread.
  private func run(_ rows: RowBatch, from start: Int) throws(NumericalError) -> [Tensor<Float>] {
    ThreadBudget.claimSingleThread()
    let worker: Worker
    if let rested = idle.withLock({ $0.popLast() }) {
      worker = rested
    } else {
      worker = try Worker(steps, arenaByteCount: plan.byteCount, scratchByteCount: scratchByteCount, engine)
    }
    let count = min(sliceRowCount, rows.count - start)
    load(rows, from: start, count: count, into: worker)
    try worker.run()
    let outputs = graph.outputs.map { output -> Tensor<Float> in
      let shape = output.shape.batched(count)
      return unsafe Tensor(shape: shape, copying: worker.arena.pointer + plan.offsets[output.value])
    }
    idle.withLock { $0.append(worker) }
    return outputs
  }

  /// Maps stored rows into the worker's input; rows that a short slice lacks are zero.
  private func load(_ rows: RowBatch, from start: Int, count: Int, into worker: Worker) {
    let width = inputShape.elementCount
    let channels = map.factors.count
    let target = unsafe (worker.arena.pointer + plan.offsets[0]).assumingMemoryBound(to: Float.self)
    // One factor an element of a row lets the loop below run on whole vectors.
    let factors = (0..<width).map { map.factors[$0 % channels] }
    let offsets = (0..<width).map { map.offsets[$0 % channels] }
    for row in 0..<count {
      let source = (start + row) * width
      let line = unsafe target + row * width
      switch rows.values {
      case .bytes(let bytes):
        let span = bytes.span
        for position in 0..<width {
          unsafe line[position] =
            Float(span[unchecked: source + position]) * factors[position] + offsets[position]
        }
      case .floats(let floats):
        let span = floats.span
        for position in 0..<width {
          unsafe line[position] = span[unchecked: source + position] * factors[position] + offsets[position]
        }
      }
    }
    unsafe (target + count * width).update(repeating: 0, count: (sliceRowCount - count) * width)
  }
}

/// One thread's memory, and the compiled steps bound to it.
final class Worker: Sendable {
  let arena: AlignedBuffer
  private let stream: Stream
  private let steps: [BoundStep]

  init(_ steps: [PreparedStep], arenaByteCount: Int, scratchByteCount: Int, _ engine: Engine)
    throws(NumericalError)
  {
    arena = AlignedBuffer(byteCount: arenaByteCount)
    stream = try Stream(engine)
    let scratch = AlignedBuffer(byteCount: scratchByteCount)
    var bound: [BoundStep] = []
    for step in steps { bound.append(try step.bound(to: arena, scratch: scratch, engine)) }
    self.steps = bound
  }

  /// Copies a tensor into the arena.
  func load(_ tensor: Tensor<Float>, at offset: Int) {
    let target = unsafe (arena.pointer + offset).assumingMemoryBound(to: Float.self)
    tensor.withSpan { span in
      for position in 0..<span.count { unsafe target[position] = span[position] }
    }
  }

  /// Runs every step on the calling thread.
  func run() throws(NumericalError) {
    for step in steps { try step.run(stream, arena) }
  }
}

extension Tensor<Float> {
  /// A tensor with elements from native memory.
  init(shape: Shape, copying pointer: UnsafeMutableRawPointer) {
    let floats = unsafe UnsafeBufferPointer(
      start: pointer.assumingMemoryBound(to: Float.self), count: shape.elementCount)
    unsafe self.init(shape: shape, elements: ContiguousArray(floats))
  }
}
