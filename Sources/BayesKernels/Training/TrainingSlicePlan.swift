import BayesNetwork
import BayesTensor
import COneDNN
import Synchronization

/// A graph and its way back compiled for slices of one number of rows, each on one thread, and the memory of those who
/// run them.
final class TrainingSlicePlan: Sendable {
  let rowCount: Int
  private let graph: TrainingGraph
  private let arena: ArenaPlan
  private let engine: Engine
  private let forward: [PreparedStep]
  private let backward: [PreparedBackwardStep]
  private let restingWorkers = Mutex<[TrainingWorker]>([])
  private let restingSums = Mutex<[GradientSums]>([])
  /// In what order of elements the gradients of trained convolutions and products are summed.
  let orders: [Int: MemoryDescriptor]
  private let sumSizes: [Int: (weight: Int, bias: Int)]

  init(_ graph: TrainingGraph, rowCount: Int, _ weights: PackedWeights, _ engine: Engine) throws(NumericalError) {
    ThreadBudget.claimSingleThread()
    self.graph = graph
    self.rowCount = rowCount
    self.engine = engine
    let operations = graph.forward.operations
    var notes: [Int: Int] = [:]
    for index in graph.workspaces.keys {
      guard case .pooling(let kind, let geometry) = operations[index].kind else { continue }
      let primitive = try Primitive.pooling(
        input: operations[index].inputs[0].shape.batched(rowCount),
        output: operations[index].outputShape.asImage.batched(rowCount), order: operations[index].orders.input, kind,
        geometry, notesChoices: true, engine)
      notes[index] = primitive.workspace.byteCount
    }
    let arena = graph.arena(rowCount: rowCount) { notes[$0] ?? 0 }
    self.arena = arena

    var forward: [PreparedStep] = []
    for (index, operation) in operations.enumerated() {
      forward.append(
        try PreparedStep(
          operation, arena, accumulates: arena.takesOver[index], rowCount: rowCount, weights,
          workspace: graph.workspaces[index].map { arena.offsets[$0] }, engine))
    }
    self.forward = forward
    var backward: [PreparedBackwardStep] = []
    var orders: [Int: MemoryDescriptor] = [:]
    var sizes: [Int: (weight: Int, bias: Int)] = [:]
    for step in graph.backward {
      let prepared = try PreparedBackwardStep(step, graph, arena, rowCount: rowCount, weights, engine)
      backward.append(prepared)
      if let gradient = prepared.weightGradient {
        orders[gradient.operation] = gradient.weight
        sizes[gradient.operation] = (gradient.weight.byteCount, gradient.bias.byteCount)
      } else if case .channelSums = step.kind, let index = step.operation {
        let byteCount = operations[index].outputShape.dimensions.last.map { $0 * MemoryLayout<Float>.stride } ?? 0
        sizes[index] = (byteCount, byteCount)
      }
    }
    self.backward = backward
    self.orders = orders
    sumSizes = sizes
  }

  func takeSums() -> GradientSums {
    if let sums = restingSums.withLock({ $0.popLast() }) {
      sums.reset()
      return sums
    }
    return GradientSums(sumSizes)
  }

  func rest(_ sums: [GradientSums]) { restingSums.withLock { $0 += sums } }

  /// Gives up what rests; the next run takes memory anew.
  func releaseMemory() {
    restingWorkers.withLock { $0 = [] }
    restingSums.withLock { $0 = [] }
  }

  /// Runs `count` rows from row `start` on forward and back; loss and gradients are added to `sums`.
  func run(
    _ inputs: [RowBatch], through loaders: [InputLoader], from start: Int, count: Int, sums: GradientSums,
    inputGradients: [AlignedBuffer],
    of loss: (_ outputs: [Tensor<Float>], _ rows: Range<Int>) throws -> LossGradient
  ) throws {
    ThreadBudget.claimSingleThread()
    let worker: TrainingWorker
    if let rested = restingWorkers.withLock({ $0.popLast() }) {
      worker = rested
    } else {
      worker = try TrainingWorker(forward, backward, arenaByteCount: arena.byteCount, sumSizes, engine)
    }
    for (index, value) in graph.forward.inputs.enumerated() {
      unsafe loaders[index].load(
        inputs[index], from: start, count: count, into: worker.arena.floats(at: arena.offsets[value]),
        capacity: rowCount)
    }
    for step in worker.forward { try step.run(worker.stream, worker.arena) }
    let outputs = graph.forward.outputs.map { output in
      unsafe Tensor<Float>(
        shape: output.shape.batched(count), copying: worker.arena.pointer + arena.offsets[output.value])
    }
    let result = try loss(outputs, start..<start + count)
    precondition(
      result.cotangents.map(\.shape) == outputs.map(\.shape),
      "Cotangents of \(result.cotangents.map(\.shape)) do not fit outputs of \(outputs.map(\.shape)).")
    for (cotangent, value) in zip(result.cotangents, graph.cotangents) {
      let target = unsafe worker.arena.floats(at: arena.offsets[value])
      cotangent.withSpan { span in
        for position in 0..<span.count { unsafe target[position] = span[position] }
      }
      // Rows that only fill the slice have no loss.
      unsafe (target + cotangent.count).update(
        repeating: 0, count: rowCount * cotangent.shape.row.elementCount - cotangent.count)
    }
    for step in worker.backward { try step.run(worker.stream, worker.arena, sums) }
    for (index, buffer) in inputGradients.enumerated() {
      let width = graph.forward.elementCounts[graph.forward.inputs[index]]
      guard let value = graph.inputGradients[index] else { continue }
      unsafe (buffer.floats(at: 0) + start * width).update(
        from: worker.arena.floats(at: arena.offsets[value]), count: count * width)
    }
    sums.add(loss: result.value)
    restingWorkers.withLock { $0.append(worker) }
  }
}

/// One thread's memory, and the compiled steps bound to it.
final class TrainingWorker: Sendable {
  let arena: AlignedBuffer
  let stream: Stream
  let forward: [BoundStep]
  let backward: [BoundBackwardStep]

  init(
    _ forward: [PreparedStep], _ backward: [PreparedBackwardStep], arenaByteCount: Int,
    _ sumSizes: [Int: (weight: Int, bias: Int)], _ engine: Engine
  ) throws(NumericalError) {
    arena = AlignedBuffer(byteCount: arenaByteCount)
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
