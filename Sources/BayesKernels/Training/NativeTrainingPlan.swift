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
      bytesPerRow: graph.arena(rowCount: 1) { _ in 0 }.byteCount, weightByteCount: graph.trainedByteCount,
      rowCount: sliceRowCount)
    restingBenches = Mutex([])
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

/// How many rows of a batch go through at once on one thread, and into how many sums their gradients go.
///
/// Both follow from the network and the batch, never from the number of threads, on which no bit may depend.
struct TrainingSliceSizing: Sendable {
  /// The number of sums that slices are dealt to, a power of two: enough for many tasks, with memory for few weights.
  let sumCount: Int
  private let fixed: Int?
  private let largest: Int
  private let bytesPerRow: Int
  private let weightByteCount: Int

  /// - Parameters:
  ///   - bytesPerRow: that a row's values and their cotangents take.
  ///   - weightByteCount: that the trained weights take.
  ///   - fixed: the rows of a slice, where the caller says so.
  init(bytesPerRow: Int, weightByteCount: Int, rowCount fixed: Int? = nil) {
    let (bytesPerRow, weightByteCount) = (max(1, bytesPerRow), max(1, weightByteCount))
    self.fixed = fixed
    self.bytesPerRow = bytesPerRow
    self.weightByteCount = weightByteCount
    let affordable = 268_435_456 / weightByteCount
    sumCount = (0...4).map { 1 << $0 }.last { $0 <= affordable } ?? 1
    // As many rows as the caches that cores share have room for, or so many that a slice touches more memory for its
    // rows than for the gradients of all weights.
    largest = min(16, max(33_554_432 / bytesPerRow, min(4, 4 * weightByteCount / bytesPerRow), 1))
  }

  /// The rows of a slice: a power of two that leaves every sum something to do and few rows to fill up.
  func rowCount(ofBatch batch: Int) -> Int {
    if let fixed { return fixed }
    let limit = min(largest, max(1, batch / sumCount))
    let sizes = (0...4).map { 1 << $0 }.filter { $0 <= limit }
    return sizes.min { cost(of: batch, inSlicesOf: $0) < cost(of: batch, inSlicesOf: $1) } ?? 1
  }

  /// How long a batch takes, in no unit.
  ///
  /// A row's values are computed, a slice's gradients only added: on ResNet-50 the latter takes a twelfth of the time
  /// of the former, at nearly twice the bytes.
  private func cost(of batch: Int, inSlicesOf rows: Int) -> Int {
    (batch + rows - 1) / rows * (16 * rows * bytesPerRow + weightByteCount)
  }
}
