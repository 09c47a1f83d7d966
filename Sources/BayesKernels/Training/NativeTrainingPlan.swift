import BayesNetwork
import BayesTensor
import Synchronization

/// A network compiled to oneDNN primitives for gradients.
///
/// Rows go through in slices of one size, which are dealt to a few sums in turn; the sums are added in their order,
/// however many tasks there are.  A slice goes forward and back on one thread, or on several where there are more of
/// them than sums.
final class NativeTrainingPlan: TrainingPlan {
  private let frozen: FrozenNetwork
  private let graph: TrainingGraph
  private let paths: Set<ParameterPath>
  private let loaders: [InputLoader]
  private let indices: IndexRequirement
  private let givesInputGradients: Bool
  private let sizing: TrainingSliceSizing
  private let engine: Engine
  private let restingBenches: Mutex<[TrainingBench]>

  init(
    _ frozen: FrozenNetwork, map: InputMap?, inputs: [Int], outputs: [Int], of paths: Set<ParameterPath>,
    includingInputs: Bool, sliceRowCount: Int?, _ engine: Engine
  ) throws(NumericalError) {
    self.frozen = frozen
    self.paths = paths
    self.engine = engine
    graph = TrainingGraph(
      frozen, inputs: inputs, outputs: outputs, training: paths, includingInputs: includingInputs)
    givesInputGradients = includingInputs
    loaders = inputs.map { InputLoader(frozen.network.shapes[$0], map: $0 == 0 ? map : nil) }
    indices = IndexRequirement(of: frozen.network, given: inputs, for: outputs, map: map)
    sizing = TrainingSliceSizing(
      bytesPerRow: graph.arena(rowCount: 1) { _ in 0 }.byteCount,
      weightByteCount: paths.reduce(0) { $0 + (frozen.parameters[$1]?.count ?? 0) } * MemoryLayout<Float>.stride,
      rowCount: sliceRowCount)
    let bench = TrainingBench(frozen, graph, engine)
    _ = try bench.plan(TrainingSlicePlan.Form(rowCount: sizing.largestRowCount, crewSize: 1))
    restingBenches = Mutex([bench])
  }

  func gradients(
    at inputs: [RowBatch], parameters: Parameters, width: Int,
    of loss: @escaping @Sendable (_ outputs: [Tensor<Float>], _ rows: Range<Int>) throws -> LossGradient
  ) async throws -> TrainingGradients {
    precondition(inputs.count == loaders.count, "\(loaders.count) inputs are needed; got \(inputs.count).")
    let rowCount = inputs.first?.count ?? 0
    precondition(inputs.allSatisfy { $0.count == rowCount }, "All inputs have equally many rows.")
    try indices(inputs)
    let bench = restingBenches.withLock { $0.popLast() } ?? TrainingBench(frozen, graph, engine)
    defer { restingBenches.withLock { $0.append(bench) } }
    let sliceRowCount = sizing.rowCount(ofBatch: rowCount)
    let sliceCount = (rowCount + sliceRowCount - 1) / sliceRowCount
    let sumCount = max(1, min(sliceCount, sizing.sumCount))
    let crewSize = max(1, width / sumCount)
    let plan = try bench.plan(TrainingSlicePlan.Form(rowCount: sliceRowCount, crewSize: crewSize))
    try await bench.load(parameters, width: width)

    let sums = (0..<sumCount).map { _ in plan.takeSums() }
    defer { plan.rest(sums) }
    let inputGradients =
      givesInputGradients
      ? graph.forward.inputs.map {
        AlignedBuffer(byteCount: rowCount * graph.forward.elementCounts[$0] * MemoryLayout<Float>.stride)
      } : []
    let batch = TrainingBatch(inputs: inputs, loaders: loaders, inputGradients: inputGradients, loss: loss)
    let lanes = (0..<sumCount).map { index in
      let slices = stride(from: index * sliceRowCount, to: rowCount, by: sumCount * sliceRowCount).map { start in
        start..<min(rowCount, start + sliceRowCount)
      }
      return TrainingLane(plan, slices: slices, of: batch, sums[index])
    }
    try await share(sumCount * crewSize, width: width) { index in
      try lanes[index % sumCount].work(as: index / sumCount)
    }
    let shapes = graph.forward.inputs.indices.map { loaders[$0].shape.batched(rowCount) }
    return TrainingGradients(
      loss: sums.reduce(0) { $0 + $1.loss },
      parameters: try await bench.gradients(sums, plan, of: paths, parameters, width: width),
      inputs: zip(shapes, inputGradients).map { shape, buffer in
        unsafe Tensor<Float>(shape: shape, copying: buffer.pointer)
      })
  }
}
