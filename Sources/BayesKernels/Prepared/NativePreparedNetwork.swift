import BayesNetwork
import BayesTensor
import COneDNN
import Synchronization

/// A network compiled to oneDNN primitives over planned blocks of memory.
///
/// Rows go through in slices, each on one thread.  A slice has one of a few sizes; sizes at which the
/// library rounds otherwise than at the largest are found when the network is prepared, and left out, so that
/// a row's bits depend neither on its companions nor on the number of workers.
final class NativePreparedNetwork: PreparedNetwork {
  /// The part of a network that is compiled, as operations.
  private struct Part: Sendable {
    let inputs: [Int]
    let outputs: [Int]
    private let blocks: (alone: ChannelBlock?, sharingRows: ChannelBlock?)

    init(_ frozen: FrozenNetwork, inputs: [Int], outputs: [Int]) {
      (self.inputs, self.outputs) = (inputs, outputs)
      // Kernels of the two orders may round differently, so that it is one for all parts of a network.
      let everything = FusedGraph(frozen, inputs: [0], outputs: frozen.network.exits.map(\.logits))
      blocks = (everything.favorableBlock(), everything.favorableBlock(sharingRows: true))
    }

    /// - Parameter sharingRows: whether several threads share a row.
    func graph(of frozen: FrozenNetwork, sharingRows: Bool = false) -> FusedGraph {
      let graph = FusedGraph(frozen, inputs: inputs, outputs: outputs).mixingChannelsBeforeEnlarging()
        .withoutUnreadPixels()
      return graph.inBlocks(sharingRows ? blocks.sharingRows : blocks.alone)
    }
  }

  private let part: Part
  /// What goes in and comes out.
  private let graph: FusedGraph
  /// The whole network, for plans that are compiled later; folded weights beside packed ones would cost as much again.
  private let frozen: @Sendable () throws -> FrozenNetwork
  private let loaders: [InputLoader]
  private let indices: IndexRequirement
  /// From the smallest to the largest; the largest serves rows in bulk.
  private let plans: [SlicePlan]
  /// For one row that several threads share, by their number; `nil` where they round otherwise than one does or
  /// have too little to share.
  private let cooperativePlans = Mutex<[Int: CooperativePlan?]>([:])
  private let weights: PackedWeights
  private let memories: WorkMemories
  private let probe: Probe
  private let engine: Engine
  private let results: RestingResults

  /// - Parameters:
  ///   - sliceRowCount: the only size of slices; several chosen by the network's memory when `nil`.
  ///   - memories: what workers compute in.
  init(
    _ frozen: FrozenNetwork, map: InputMap?, inputs: [Int], outputs: [Int], sliceRowCount: Int?,
    _ memories: WorkMemories, _ engine: Engine
  ) throws(NumericalError) {
    part = Part(frozen, inputs: inputs, outputs: outputs)
    self.memories = memories
    results = RestingResults()
    indices = IndexRequirement(of: frozen.network, given: inputs, for: outputs, map: map)
    let weights = PackedWeights(engine)
    let (graph, sized) = try Self.slicePlans(part.graph(of: frozen), sliceRowCount, weights, memories, engine)
    var plans = sized
    let probe = Probe(inputs.map { frozen.network.shapes[$0] }, areCounts: !indices.isEmpty)
    if let largest = plans.popLast() {
      let expected = try probe.outputs(of: largest, graph)
      var agreeing: [SlicePlan] = []
      for plan in plans where try probe.agrees(plan, with: expected, graph) { agreeing.append(plan) }
      plans = agreeing + [largest]
    }
    self.plans = plans
    self.graph = graph
    self.frozen = { frozen }
    self.weights = weights
    self.probe = probe
    self.engine = engine
    loaders = inputs.map { InputLoader(frozen.network.shapes[$0], map: $0 == 0 ? map : nil) }
    returnFreedMemory()
  }

  /// Another network's weights in the place of this one's.
  ///
  /// How sums are rounded follows from shapes and not from weights, so that slices have the sizes that were found to agree.
  private init(
    like other: NativePreparedNetwork, _ frozen: @escaping @Sendable () throws -> FrozenNetwork
  ) throws {
    (part, graph, loaders, indices) = (other.part, other.graph, other.loaders, other.indices)
    (memories, results, probe, engine) = (other.memories, other.results, other.probe, other.engine)
    self.frozen = frozen
    weights = PackedWeights(other.engine)
    let whole = part.graph(of: try frozen())
    var plans: [SlicePlan] = []
    for plan in other.plans {
      plans.append(try SlicePlan(whole, rowCount: plan.rowCount, weights, memories, engine))
    }
    self.plans = plans
    returnFreedMemory()
  }

  /// Returns what plain and folded weights took, which compiled plans do not read, where it is much.
  private func returnFreedMemory() {
    if weights.byteCount > 1 << 24 { return_freed_memory() }
  }

  func replacingParameters(
    _ frozen: @escaping @Sendable () throws -> FrozenNetwork
  ) throws -> any PreparedNetwork {
    try NativePreparedNetwork(like: self, frozen)
  }

  /// Plans for slices of every size, and what goes in and comes out of them.
  private static func slicePlans(
    _ graph: FusedGraph, _ sliceRowCount: Int?, _ weights: PackedWeights, _ memories: WorkMemories, _ engine: Engine
  ) throws(NumericalError) -> (boundary: FusedGraph, plans: [SlicePlan]) {
    var plans: [SlicePlan] = []
    for size in sliceRowCount.map({ [$0] }) ?? sliceRowCounts(graph) {
      plans.append(try SlicePlan(graph, rowCount: size, weights, memories, engine))
    }
    return (graph.boundary, plans)
  }

  func residentByteCount(width: Int) -> Int {
    weights.byteCount + width * (plans.last?.workerByteCount ?? 0)
  }

  /// Powers of two up to as many rows as leave room for weights in a core's second-level cache.
  ///
  /// Rows that are far larger than it come from the next cache anyway; then a few of them share what is read of the
  /// weights.
  private static func sliceRowCounts(_ graph: FusedGraph) -> [Int] {
    let cacheByteCount = 524_288
    let bytesPerRow = max(1, ArenaPlan(graph, rowCount: 1).byteCount)
    let wanted =
      bytesPerRow > 4 * cacheByteCount ? 4 : min(64, max(2, cacheByteCount * 3 / 4 / bytesPerRow))
    return (0...6).map { 1 << $0 }.filter { $0 <= wanted }
  }

  /// The plan for one row alone that `width` threads share, where there is enough to share and it gives the row the
  /// same bits.
  private func cooperativePlan(width: Int) throws -> CooperativePlan? {
    if let known = cooperativePlans.withLock({ $0[width] }) { return known }
    let plan = try CooperativePlan(
      part.graph(of: try frozen(), sharingRows: true), width: width, weights, engine)
    var isOfUse = plan.sharedPart > 0.5
    if isOfUse { isOfUse = try probe.agrees(plan, with: probe.outputs(of: plans[0], graph), graph) }
    cooperativePlans.withLock { $0[width] = .some(isOfUse ? plan : nil) }
    return isOfUse ? plan : nil
  }

  /// One run of rows through one plan.
  private struct Slice: Sendable {
    var plan: any RowPlan
    var rows: Range<Int>
  }

  /// Cuts rows so that `width` workers have alike much to do.
  private func slices(rowCount: Int, width: Int) throws -> [Slice] {
    if rowCount == 1, width > 1, let plan = try cooperativePlan(width: width) {
      return [Slice(plan: plan, rows: 0..<1)]
    }
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
    let slices = try slices(rowCount: rowCount, width: width)
    let gathered = results.take(rowCount: rowCount, graph)
    let loaders = loaders
    try await share(slices.count, width: width) { index in
      let slice = slices[index]
      try slice.plan.run(
        inputs, through: loaders, from: slice.rows.lowerBound, count: slice.rows.count, into: gathered.buffers)
    }
    let tensors = zip(graph.outputs, gathered.buffers).map { output, buffer in
      unsafe Tensor<Float>(shape: output.shape.batched(rowCount), copying: buffer.pointer)
    }
    results.putBack(gathered)
    return tensors
  }
}

/// Where outputs were gathered, by networks that differ in their weights alone.
private final class RestingResults: Sendable {
  private let resting = Mutex<[ResultBuffers]>([])

  /// Memory for the outputs of some rows; that of an earlier run where it suffices.
  func take(rowCount: Int, _ graph: FusedGraph) -> ResultBuffers {
    if let rested = resting.withLock({ $0.popLast() }), rested.rowCount >= rowCount { return rested }
    return ResultBuffers(
      rowCount: rowCount,
      buffers: graph.outputs.map {
        AlignedBuffer(byteCount: rowCount * $0.shape.elementCount * MemoryLayout<Float>.stride)
      })
  }

  func putBack(_ buffers: ResultBuffers) { resting.withLock { $0.append(buffers) } }
}

/// Where the outputs of up to `rowCount` rows are gathered.
private struct ResultBuffers: Sendable {
  var rowCount: Int
  var buffers: [AlignedBuffer]
}
