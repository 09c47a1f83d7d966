import BayesNetwork
import BayesTensor
import Synchronization

/// A network compiled to oneDNN primitives for gradients.
///
/// Rows go through in slices of one size, each forward and back on one thread.  Slices are dealt to a few
/// sums in turn, and the sums are added in their order, however many tasks there are.
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
    _ = try bench.plan(sliceRowCount: sizing.largestRowCount)
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
    let plan = try bench.plan(sliceRowCount: sliceRowCount)
    try await bench.load(parameters, width: width)

    let sliceCount = (rowCount + sliceRowCount - 1) / sliceRowCount
    let sumCount = max(1, min(sliceCount, sizing.sumCount))
    let sums = (0..<sumCount).map { _ in plan.takeSums() }
    defer { plan.rest(sums) }
    let inputGradients =
      givesInputGradients
      ? graph.forward.inputs.map {
        AlignedBuffer(byteCount: rowCount * graph.forward.elementCounts[$0] * MemoryLayout<Float>.stride)
      } : []
    let loaders = loaders
    try await share(sumCount, width: width) { index in
      for slice in stride(from: index, to: sliceCount, by: sumCount) {
        try Task.checkCancellation()
        let start = slice * sliceRowCount
        try plan.run(
          inputs, through: loaders, from: start, count: min(sliceRowCount, rowCount - start), sums: sums[index],
          inputGradients: inputGradients, of: loss)
      }
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
