import BayesNetwork
import BayesTensor

/// What leads to some nodes, computed for rows in any order.
struct FrozenPrefix: Sendable {
  private let nodes: [Int]
  /// What leads to the nodes but the input; `nil` where there are no others.
  private let network: (any PreparedNetwork)?
  private let inputs: @Sendable ([Int]) throws -> RowBatch
  /// The outputs of the nodes but the input for all rows, where they are kept.
  private let kept: [RowBatch]?

  private static let keptByteCount = 1 << 30
  private static let chunkRowCount = 256

  init(
    to nodes: [Int], of frozen: FrozenNetwork, _ preprocessing: Preprocessing, rowCount: Int,
    inputs: @escaping @Sendable ([Int]) throws -> RowBatch, on backend: any NetworkBackend, width: Int
  ) async throws {
    self.nodes = nodes
    self.inputs = inputs
    let computed = nodes.filter { $0 != 0 }
    guard !computed.isEmpty else {
      (network, kept) = (nil, nil)
      return
    }
    let network = try backend.prepare(frozen, preprocessing: preprocessing, inputs: [0], outputs: computed)
    self.network = network
    let rowByteCount = 4 * computed.reduce(0) { $0 + frozen.network.shapes[$1].elementCount }
    guard rowByteCount <= Self.keptByteCount / max(1, rowCount) else {
      kept = nil
      return
    }
    var parts = [[Tensor<Float>]](repeating: [], count: computed.count)
    for start in stride(from: 0, to: rowCount, by: Self.chunkRowCount) {
      try Task.checkCancellation()
      let rows = try inputs(Array(start..<min(rowCount, start + Self.chunkRowCount)))
      for (index, output) in try await network(rows, width: width).enumerated() { parts[index].append(output) }
    }
    kept = parts.map { RowBatch(.stacking($0)) }
  }

  /// The outputs of all nodes for the rows at some positions.
  func callAsFunction(_ positions: [Int], width: Int) async throws -> [RowBatch] {
    var computed: [RowBatch]
    var raw: RowBatch?
    if let kept {
      computed = kept.map { $0.rows(positions) }
    } else {
      let rows = try inputs(positions)
      raw = rows
      computed = []
      if let network { computed = try await network(rows, width: width).map { RowBatch($0) } }
    }
    var result: [RowBatch] = []
    for node in nodes { result.append(node == 0 ? try raw ?? inputs(positions) : computed.removeFirst()) }
    return result
  }
}
