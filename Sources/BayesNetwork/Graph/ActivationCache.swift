public import BayesTensor

extension Network {
  /// The nodes where a frozen prefix ends: what leads to them depends on none of `paths`, and what is needed for
  /// `outputs` follows from them.
  ///
  /// Their outputs need computing only once, whatever becomes of those parameters.
  ///
  /// - Throws: `NetworkError` as `requireGradients`.
  public func frozenBoundary(of outputs: [Int], training paths: Set<ParameterPath>) throws(NetworkError) -> [Int] {
    try requireGradients(of: outputs, withRespectTo: paths, includingInputs: false)
    let isNeeded = isNeeded(for: outputs)
    var changes = [Bool](repeating: false, count: nodes.count)
    for index in nodes.indices where isNeeded[index] {
      changes[index] =
        parameterSpecs(of: index).contains { paths.contains($0.path) } || nodes[index].inputs.contains { changes[$0] }
    }
    var boundary = Set(outputs.filter { !changes[$0] })
    for index in nodes.indices where changes[index] {
      boundary.formUnion(nodes[index].inputs.filter { !changes[$0] })
    }
    return boundary.sorted()
  }
}

/// The outputs of chosen nodes for all rows of a data set, computed once.
///
/// Given to a network that is prepared from those nodes on, they stand for the pass through everything before
/// them.
public struct ActivationCache: Sendable {
  private enum Storage: Sendable {
    case memory([Tensor<Float>])
    case archive(any ArrayArchive)
  }

  /// The nodes, in the order in which `rows` gives their outputs.
  public let nodes: [Int]
  public let rowCount: Int
  private let storage: Storage

  /// Computes outputs and keeps them in memory.
  ///
  /// - Cost: one pass; 4 bytes an element of a row of every node, for all rows.
  /// - Throws: as `NetworkBackend.prepare` and `PreparedNetwork`; what reading throws.
  public init(
    of nodes: [Int], in frozen: FrozenNetwork, over dataset: any Dataset, preprocessing: Preprocessing,
    on backend: any NetworkBackend, width: Int
  ) async throws {
    var parts = [[Tensor<Float>]](repeating: [], count: nodes.count)
    try await Self.forEachChunk(of: nodes, in: frozen, over: dataset, preprocessing, on: backend, width: width) {
      for (index, output) in $0.enumerated() { parts[index].append(output) }
    }
    self.nodes = nodes
    rowCount = dataset.rowCount
    storage = .memory(parts.map { Tensor.stacking($0) })
  }

  /// Computes outputs and streams them to an archive, from which `init(reading:of:in:)` makes a cache.
  ///
  /// - Cost: one pass; memory for one chunk of rows.
  /// - Throws: as the other initialiser; what writing throws.  What was written is removed then.
  public static func write(
    _ nodes: [Int], of frozen: FrozenNetwork, over dataset: any Dataset, preprocessing: Preprocessing,
    on backend: any NetworkBackend, width: Int, to archive: any ArrayArchiveWriter
  ) async throws {
    do {
      try archive.setAttribute("format", .text("bayesify-activations"), of: "/")
      try await forEachChunk(of: nodes, in: frozen, over: dataset, preprocessing, on: backend, width: width) {
        for (index, output) in $0.enumerated() { try archive.append(output, to: path(index)) }
      }
      for (index, node) in nodes.enumerated() {
        try archive.setAttribute("node", .text(frozen.network.nodes[node].name), of: path(index))
      }
      try archive.finish()
    } catch {
      archive.discard()
      throw error
    }
  }

  /// Opens what `write` has written.
  ///
  /// - Throws: `FileError` when the archive does not hold the outputs of these nodes.
  public init(reading archive: any ArrayArchive, of nodes: [Int], in network: Network) throws(FileError) {
    var counts: Set<Int> = []
    for (index, node) in nodes.enumerated() {
      let path = Self.path(index)
      guard let entry = archive.entry(path), try archive.text("node", of: path) == network.nodes[node].name,
        entry.shape.rank > 0, entry.shape.row == network.shapes[node]
      else {
        throw FileError(
          .shape, file: archive.file, object: path,
          "The outputs of node '\(network.nodes[node].name)', \(network.shapes[node]) a row, are not here; write the "
            + "cache anew.")
      }
      counts.insert(entry.shape[0])
    }
    guard counts.count == 1, let rowCount = counts.first else {
      throw FileError(
        .shape, file: archive.file,
        "The nodes have \(counts.sorted()) rows; all must have equally many. Write the cache anew.")
    }
    self.nodes = nodes
    self.rowCount = rowCount
    storage = .archive(archive)
  }

  /// The outputs of each node for some rows.
  ///
  /// - Throws: `FileError` when the archive cannot be read.
  public func rows(_ range: Range<Int>) throws(FileError) -> [RowBatch] {
    switch storage {
    case .memory(let tensors): return tensors.map { RowBatch($0.rows(range)) }
    case .archive(let archive):
      var batches: [RowBatch] = []
      for index in nodes.indices {
        batches.append(RowBatch(try archive.read(Self.path(index), rows: range, as: Float.self)))
      }
      return batches
    }
  }

  private static func path(_ index: Int) -> String { "/nodes/\(index)" }

  private static func forEachChunk(
    of nodes: [Int], in frozen: FrozenNetwork, over dataset: any Dataset, _ preprocessing: Preprocessing,
    on backend: any NetworkBackend, width: Int, _ body: ([Tensor<Float>]) throws -> Void
  ) async throws {
    let prepared = try backend.prepare(frozen, preprocessing: preprocessing, outputs: nodes)
    let chunkRowCount = 256
    for start in stride(from: 0, to: dataset.rowCount, by: chunkRowCount) {
      let rows = try dataset.inputs(start..<min(start + chunkRowCount, dataset.rowCount))
      try body(try await prepared(rows, width: width))
    }
  }
}
