import BayesNetwork
import BayesTensor
import COneDNN
import Synchronization

/// A compiled graph that runs up to some number of rows at once.
protocol RowPlan: Sendable {
  /// The rows that it runs at once.
  var rowCount: Int { get }

  /// Runs `count` rows from row `start` on; the outputs go to those rows of `results`.
  func run(
    _ inputs: [RowBatch], through loaders: [InputLoader], from start: Int, count: Int, into results: [AlignedBuffer]
  ) throws(NumericalError)
}

/// A graph compiled for slices of one number of rows, each on one thread.
final class SlicePlan: RowPlan {
  let rowCount: Int
  private let graph: FusedGraph
  private let arena: ArenaPlan
  private let steps: [PreparedStep]
  private let scratchByteCount: Int
  private let engine: Engine
  private let memories: WorkMemories
  /// By the memory that they are bound to.
  private let workers = Mutex<[ObjectIdentifier: Worker]>([:])

  /// - Parameter memories: what workers compute in, which plans of the same graph may share.
  init(
    _ graph: FusedGraph, rowCount: Int, _ weights: PackedWeights, _ memories: WorkMemories, _ engine: Engine
  ) throws(NumericalError) {
    ThreadBudget.claimSingleThread()
    self.graph = graph.boundary
    self.rowCount = rowCount
    self.engine = engine
    self.memories = memories
    arena = ArenaPlan(graph, rowCount: rowCount)
    var steps: [PreparedStep] = []
    for (index, operation) in graph.operations.enumerated() {
      steps.append(
        try PreparedStep(
          operation, arena, accumulates: arena.takesOver[index], rowCount: rowCount, weights, engine))
    }
    self.steps = steps
    scratchByteCount = steps.reduce(0) { max($0, $1.scratchByteCount) }
  }

  /// Bytes that one worker needs.
  var workerByteCount: Int { arena.byteCount + scratchByteCount }

  func run(
    _ inputs: [RowBatch], through loaders: [InputLoader], from start: Int, count: Int, into results: [AlignedBuffer]
  ) throws(NumericalError) {
    ThreadBudget.claimSingleThread()
    let memory = memories.take(arenaByteCount: arena.byteCount, scratchByteCount: scratchByteCount)
    defer { memories.putBack(memory) }
    let worker: Worker
    if let known = workers.withLock({ $0[ObjectIdentifier(memory)] }) {
      worker = known
    } else {
      worker = try Worker(steps, in: memory, engine)
      workers.withLock { $0[ObjectIdentifier(memory)] = worker }
    }
    for (index, value) in graph.inputs.enumerated() {
      unsafe loaders[index].load(
        inputs[index], from: start, count: count, into: worker.arena.floats(at: arena.offsets[value]),
        capacity: rowCount)
    }
    try worker.run()
    for (output, result) in zip(graph.outputs, results) {
      let width = output.shape.elementCount
      unsafe (result.floats(at: 0) + start * width).update(
        from: worker.arena.floats(at: arena.offsets[output.value]), count: count * width)
    }
  }
}

/// Compiled steps bound to the memory of one thread, which they keep alive.
final class Worker: Sendable {
  private let memory: WorkMemory
  private let stream: Stream
  private let steps: [BoundStep]

  init(_ steps: [PreparedStep], in memory: WorkMemory, _ engine: Engine) throws(NumericalError) {
    self.memory = memory
    stream = try Stream(engine)
    var bound: [BoundStep] = []
    for step in steps { bound.append(try step.bound(to: memory.arena, scratch: memory.scratch, engine)) }
    self.steps = bound
  }

  var arena: AlignedBuffer { memory.arena }

  /// Copies a tensor into the arena.
  func load(_ tensor: Tensor<Float>, at offset: Int) {
    let target = unsafe arena.floats(at: offset)
    tensor.withSpan { span in
      for position in 0..<span.count { unsafe target[position] = span[position] }
    }
  }

  /// Runs every step on the calling thread.
  func run() throws(NumericalError) {
    for step in steps { try step.run(stream, arena) }
  }
}

extension AlignedBuffer {
  /// The numbers from a byte offset on.
  @unsafe func floats(at offset: Int) -> UnsafeMutablePointer<Float> {
    unsafe (pointer + offset).assumingMemoryBound(to: Float.self)
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
