import BayesNetwork
import BayesTensor
import Synchronization

/// A network compiled to oneDNN primitives over planned blocks of memory.
///
/// Rows go through in slices, each on one thread.  A slice has one of a few sizes; sizes at which the
/// library rounds otherwise than at the largest are found when the network is prepared, and left out, so that
/// a row's bits depend neither on its companions nor on the number of workers.
final class NativePreparedNetwork: PreparedNetwork {
  private let graph: FusedGraph
  private let loaders: [InputLoader]
  private let indices: IndexRequirement
  /// From the smallest to the largest; the largest serves rows in bulk.
  private let plans: [SlicePlan]
  private let weightByteCount: Int
  private let restingResults = Mutex<[ResultBuffers]>([])

  /// - Parameter sliceRowCount: the only size of slices; several chosen by the network's memory when `nil`.
  init(
    _ frozen: FrozenNetwork, map: InputMap?, inputs: [Int], outputs: [Int], sliceRowCount: Int?, _ engine: Engine
  ) throws(NumericalError) {
    graph = FusedGraph(frozen, inputs: inputs, outputs: outputs)
    loaders = inputs.map { InputLoader(frozen.network.shapes[$0], map: $0 == 0 ? map : nil) }
    indices = IndexRequirement(of: frozen.network, given: inputs, for: outputs, map: map)
    let weights = PackedWeights(engine)
    var plans: [SlicePlan] = []
    for size in sliceRowCount.map({ [$0] }) ?? Self.sliceRowCounts(graph) {
      plans.append(try SlicePlan(graph, rowCount: size, weights, engine))
    }
    self.plans = try Self.agreeing(plans, graph, frozen.network, inputs)
    weightByteCount = weights.byteCount
  }

  func residentByteCount(width: Int) -> Int {
    weightByteCount + width * (plans.last?.workerByteCount ?? 0)
  }

  /// Powers of two up to as many rows as keep a slice's memory near the size of a core's second-level cache.
  private static func sliceRowCounts(_ graph: FusedGraph) -> [Int] {
    let bytesPerRow = max(1, ArenaPlan(graph, rowCount: 1).byteCount)
    let wanted = min(64, max(4, 2_097_152 / bytesPerRow))
    return (0...6).map { 1 << $0 }.filter { $0 <= wanted }
  }

  /// The plans that give a row the same bits as the largest does.
  ///
  /// Sums taken in another order show in any row of numbers, so one probe of each plan tells.
  private static func agreeing(
    _ plans: [SlicePlan], _ graph: FusedGraph, _ network: Network, _ inputs: [Int]
  ) throws(NumericalError) -> [SlicePlan] {
    guard let largest = plans.last, plans.count > 1 else { return plans }
    let key = RandomKey(seed: 0)
    let probe = inputs.enumerated().map { index, node in
      let shape = network.shapes[node].batched(largest.rowCount)
      return RowBatch(Tensor(shape: shape, key.child(index).uniforms(shape.elementCount).map { Float($0) }))
    }
    let loaders = inputs.map { InputLoader(network.shapes[$0], map: nil) }
    func outputs(_ plan: SlicePlan, from start: Int) throws(NumericalError) -> [AlignedBuffer] {
      let results = graph.outputs.map {
        AlignedBuffer(byteCount: largest.rowCount * $0.shape.elementCount * MemoryLayout<Float>.stride)
      }
      try plan.run(probe, through: loaders, from: start, count: plan.rowCount, into: results)
      return results
    }
    let expected = try outputs(largest, from: 0)
    var agreeing: [SlicePlan] = []
    for plan in plans.dropLast() {
      let start = largest.rowCount - plan.rowCount
      let actual = try outputs(plan, from: start)
      let agrees = graph.outputs.indices.allSatisfy { index in
        let rowByteCount = graph.outputs[index].shape.elementCount * MemoryLayout<Float>.stride
        return expected[index].hasBytes(of: actual[index], in: start * rowByteCount..<largest.rowCount * rowByteCount)
      }
      if agrees { agreeing.append(plan) }
    }
    return agreeing + [largest]
  }

  /// One run of rows through one plan.
  private struct Slice: Sendable {
    var plan: SlicePlan
    var rows: Range<Int>
  }

  /// Cuts rows so that `width` workers have alike much to do.
  private func slices(rowCount: Int, width: Int) -> [Slice] {
    var slices: [Slice] = []
    var start = 0
    // Every worker's share in pieces no larger than it.
    let share = (rowCount + width - 1) / width
    while start < rowCount {
      let rest = min(share, rowCount - start)
      let plan = plans.last { $0.rowCount <= rest } ?? plans[0]
      let end = min(rowCount, start + plan.rowCount)
      slices.append(Slice(plan: plan, rows: start..<end))
      start = end
    }
    return slices
  }

  func callAsFunction(_ inputs: [RowBatch], width: Int) async throws -> [Tensor<Float>] {
    precondition(inputs.count == loaders.count, "\(loaders.count) inputs are needed; got \(inputs.count).")
    let rowCount = inputs.first?.count ?? 0
    precondition(inputs.allSatisfy { $0.count == rowCount }, "All inputs have equally many rows.")
    try indices(inputs)
    let slices = slices(rowCount: rowCount, width: width)
    let results = takeResults(rowCount: rowCount)
    let next = Counter()
    @Sendable func work() throws {
      while let slice = slices.element(at: next.increment()) {
        try Task.checkCancellation()
        try slice.plan.run(
          inputs, through: loaders, from: slice.rows.lowerBound, count: slice.rows.count, into: results.buffers)
      }
    }
    if width == 1 || slices.count <= 1 {
      try work()
    } else {
      try await withThrowingTaskGroup(of: Void.self) { group in
        for _ in 1..<min(width, slices.count) { group.addTask { try work() } }
        try work()
        try await group.waitForAll()
      }
    }
    let tensors = zip(graph.outputs, results.buffers).map { output, buffer in
      unsafe Tensor<Float>(shape: output.shape.batched(rowCount), copying: buffer.pointer)
    }
    restingResults.withLock { $0.append(results) }
    return tensors
  }

  /// Memory for the outputs of some rows; that of an earlier run where it suffices.
  private func takeResults(rowCount: Int) -> ResultBuffers {
    if let rested = restingResults.withLock({ $0.popLast() }), rested.rowCount >= rowCount { return rested }
    return ResultBuffers(
      rowCount: rowCount,
      buffers: graph.outputs.map {
        AlignedBuffer(byteCount: rowCount * $0.shape.elementCount * MemoryLayout<Float>.stride)
      })
  }
}

/// Where the outputs of up to `rowCount` rows are gathered.
private struct ResultBuffers: Sendable {
  var rowCount: Int
  var buffers: [AlignedBuffer]
}

/// Hands out the numbers from zero on, each once, to any thread.
final class Counter: Sendable {
  private let value = Atomic<Int>(0)

  func increment() -> Int { value.wrappingAdd(1, ordering: .relaxed).oldValue }
}

extension Array {
  fileprivate func element(at index: Int) -> Element? { index < count ? self[index] : nil }
}

extension AlignedBuffer {
  fileprivate func hasBytes(of other: AlignedBuffer, in range: Range<Int>) -> Bool {
    let a = unsafe UnsafeRawBufferPointer(start: pointer + range.lowerBound, count: range.count)
    let b = unsafe UnsafeRawBufferPointer(start: other.pointer + range.lowerBound, count: range.count)
    return unsafe a.elementsEqual(b)
  }
}
