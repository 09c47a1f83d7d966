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
  private let sliceRowCount: Int
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
    self.sliceRowCount = sliceRowCount ?? TrainingBench.sliceRowCount(graph)
    restingBenches = Mutex([try TrainingBench(frozen, graph, rowCount: self.sliceRowCount, engine)])
  }

  /// The number of sums that slices are dealt to: enough for many tasks, with memory for few weights.
  private func sumCount(sliceCount: Int) -> Int {
    let byteCount = max(1, frozen.parameters.count * MemoryLayout<Float>.stride)
    return max(1, min(sliceCount, 16, 268_435_456 / byteCount))
  }

  func gradients(
    at inputs: [RowBatch], parameters: Parameters, width: Int,
    of loss: @escaping @Sendable (_ outputs: [Tensor<Float>], _ rows: Range<Int>) throws -> LossGradient
  ) async throws -> TrainingGradients {
    precondition(inputs.count == loaders.count, "\(loaders.count) inputs are needed; got \(inputs.count).")
    let rowCount = inputs.first?.count ?? 0
    precondition(inputs.allSatisfy { $0.count == rowCount }, "All inputs have equally many rows.")
    try indices(inputs)
    let bench: TrainingBench
    if let rested = restingBenches.withLock({ $0.popLast() }) {
      bench = rested
    } else {
      bench = try TrainingBench(frozen, graph, rowCount: sliceRowCount, engine)
    }
    defer { restingBenches.withLock { $0.append(bench) } }
    try await bench.load(parameters, width: width)

    let sliceCount = (rowCount + sliceRowCount - 1) / sliceRowCount
    let sumCount = sumCount(sliceCount: sliceCount)
    let sums = (0..<sumCount).map { _ in bench.takeSums() }
    defer { bench.rest(sums) }
    let inputGradients =
      givesInputGradients
      ? graph.forward.inputs.map {
        AlignedBuffer(byteCount: rowCount * graph.forward.elementCounts[$0] * MemoryLayout<Float>.stride)
      } : []
    let (sliceRowCount, loaders) = (sliceRowCount, loaders)
    try await share(sumCount, width: width) { index in
      for slice in stride(from: index, to: sliceCount, by: sumCount) {
        try Task.checkCancellation()
        let start = slice * sliceRowCount
        try bench.run(
          inputs, through: loaders, from: start, count: min(sliceRowCount, rowCount - start), sums: sums[index],
          inputGradients: inputGradients, of: loss)
      }
    }
    let shapes = graph.forward.inputs.indices.map { loaders[$0].shape.batched(rowCount) }
    return TrainingGradients(
      loss: sums.reduce(0) { $0 + $1.loss },
      parameters: try await bench.gradients(sums, of: paths, parameters, width: width),
      inputs: zip(shapes, inputGradients).map { shape, buffer in
        unsafe Tensor<Float>(shape: shape, copying: buffer.pointer)
      })
  }
}
