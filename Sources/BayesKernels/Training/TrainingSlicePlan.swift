import BayesNetwork
import BayesTensor
import COneDNN
import Synchronization

/// A batch that goes forward and back.
struct TrainingBatch: Sendable {
  var inputs: [RowBatch]
  var loaders: [InputLoader]
  /// Where the gradient with respect to each input goes; empty where nobody asks.
  var inputGradients: [AlignedBuffer]
  var loss: @Sendable (_ outputs: [Tensor<Float>], _ rows: Range<Int>) throws -> LossGradient
}

/// A graph and its way back compiled for slices of one number of rows, and the memory of those who run them.
final class TrainingSlicePlan: Sendable {
  /// For what slices a plan is compiled.
  struct Form: Hashable, Sendable {
    var rowCount: Int
    /// The threads that share a slice.
    var crewSize: Int
  }

  /// A part of what happens to a slice.
  enum Stage: Sendable {
    case load
    case forward(Int)
    case loss
    case backward(Int)
    case store
  }

  /// A stage among those that it waits for and that wait for it.
  struct Item: Sendable {
    var stage: Stage
    /// How many items come first.
    var prerequisiteCount: Int
    /// Items that wait for this one.
    var successors: [Int]
    /// Those with less come first.
    var rank: Int
  }

  let form: Form
  /// In an order in which one thread can do them.
  let items: [Item]
  private let graph: TrainingGraph
  private let arena: ArenaPlan
  private let engine: Engine
  private let forward: [PreparedStep]
  private let backward: [PreparedBackwardStep]
  private let restingCrews = Mutex<[TrainingCrew]>([])
  private let restingSums = Mutex<[GradientSums]>([])
  /// In what order of elements the gradients of trained convolutions and products are summed.
  let orders: [Int: MemoryDescriptor]
  private let sumSizes: [Int: (weight: Int, bias: Int)]

  init(_ graph: TrainingGraph, _ form: Form, _ weights: PackedWeights, _ engine: Engine) throws(NumericalError) {
    ThreadBudget.claimSingleThread()
    let rowCount = form.rowCount
    self.graph = graph
    self.form = form
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
    // What one thread no longer needs, another may still be reading.
    let arena = graph.arena(rowCount: rowCount, reusesMemory: form.crewSize == 1) { notes[$0] ?? 0 }
    self.arena = arena

    var schedule = TrainingSchedule(inputs: graph.forward.inputs)
    var forward: [PreparedStep] = []
    for (index, operation) in operations.enumerated() {
      let workspace = graph.workspaces[index]
      // Bands are parts of one row; what a pooling notes is in one piece.
      let bands = rowCount == 1 && workspace == nil ? operation.bands(form.crewSize) : []
      let parts = bands.count > 1 ? bands : [OperationBand(operation: operation, displacement: .none(for: operation))]
      for part in parts {
        schedule.add(
          .forward(forward.count), reading: operation.reads,
          writing: [operation.output] + (workspace.map { [$0] } ?? []))
        forward.append(
          try PreparedStep(
            part.operation, arena, at: part.displacement, accumulates: arena.takesOver[index], rowCount: rowCount,
            weights, workspace: workspace.map { arena.offsets[$0] }, engine))
      }
    }
    self.forward = forward
    schedule.add(.loss, reading: graph.forward.outputs.map(\.value), writing: graph.cotangents)
    var backward: [PreparedBackwardStep] = []
    var orders: [Int: MemoryDescriptor] = [:]
    var sizes: [Int: (weight: Int, bias: Int)] = [:]
    for step in graph.backward {
      let workspace = step.operation.flatMap { graph.workspaces[$0] }
      schedule.add(
        .backward(backward.count), reading: step.reads + (workspace.map { [$0] } ?? []), writing: step.writes)
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
    items = schedule.closed()
  }

  func takeSums() -> GradientSums {
    if let sums = restingSums.withLock({ $0.popLast() }) {
      sums.reset()
      return sums
    }
    return GradientSums(sumSizes)
  }

  func rest(_ sums: [GradientSums]) { restingSums.withLock { $0 += sums } }

  func takeCrew() throws(NumericalError) -> TrainingCrew {
    if let crew = restingCrews.withLock({ $0.popLast() }) { return crew }
    return try TrainingCrew(form.crewSize, forward, backward, arenaByteCount: arena.byteCount, sumSizes, engine)
  }

  func rest(_ crew: TrainingCrew) { restingCrews.withLock { $0.append(crew) } }

  /// Gives up what rests; the next run takes memory anew.
  func releaseMemory() {
    restingCrews.withLock { $0 = [] }
    restingSums.withLock { $0 = [] }
  }

  /// Takes some rows of a batch through one stage; loss and gradients are added to `sums`.
  func perform(
    _ stage: Stage, on rows: Range<Int>, of batch: TrainingBatch, in arena: AlignedBuffer, by worker: TrainingWorker,
    _ sums: GradientSums
  ) throws {
    switch stage {
    case .load:
      for (index, value) in graph.forward.inputs.enumerated() {
        unsafe batch.loaders[index].load(
          batch.inputs[index], from: rows.lowerBound, count: rows.count,
          into: arena.floats(at: self.arena.offsets[value]), capacity: form.rowCount)
      }
    case .forward(let index): try worker.forward[index].run(worker.stream, arena)
    case .loss: try addLoss(of: rows, of: batch, in: arena, to: sums)
    case .backward(let index): try worker.backward[index].run(worker.stream, arena, sums)
    case .store:
      for (index, buffer) in batch.inputGradients.enumerated() {
        let width = graph.forward.elementCounts[graph.forward.inputs[index]]
        guard let value = graph.inputGradients[index] else { continue }
        unsafe (buffer.floats(at: 0) + rows.lowerBound * width).update(
          from: arena.floats(at: self.arena.offsets[value]), count: rows.count * width)
      }
    }
  }

  private func addLoss(
    of rows: Range<Int>, of batch: TrainingBatch, in arena: AlignedBuffer, to sums: GradientSums
  ) throws {
    let outputs = graph.forward.outputs.map { output in
      unsafe Tensor<Float>(
        shape: output.shape.batched(rows.count), copying: arena.pointer + self.arena.offsets[output.value])
    }
    let result = try batch.loss(outputs, rows)
    precondition(
      result.cotangents.map(\.shape) == outputs.map(\.shape),
      "Cotangents of \(result.cotangents.map(\.shape)) do not fit outputs of \(outputs.map(\.shape)).")
    for (cotangent, value) in zip(result.cotangents, graph.cotangents) {
      let target = unsafe arena.floats(at: self.arena.offsets[value])
      cotangent.withSpan { span in
        for position in 0..<span.count { unsafe target[position] = span[position] }
      }
      // Rows that only fill the slice have no loss.
      unsafe (target + cotangent.count).update(
        repeating: 0, count: form.rowCount * cotangent.shape.row.elementCount - cotangent.count)
    }
    sums.add(loss: result.value)
  }
}
