public import BayesNetwork
public import BayesTensor

/// Statistics of a batch normalisation, of each of some networks: `[networks, channels]`.
public struct NetworkStatistics: Sendable, Equatable {
  public var path: ParameterPath
  public var values: Tensor<Double>
}

/// Means and variances of what goes into batch normalisations behind drawn layers, estimated for each network: those of the
/// checkpoint are of the untouched layers.
///
/// One after the other, from the first on, since each changes what goes into the next.
struct BatchStatistics: Sendable {
  private static let chunkRowCount = 256
  /// What may be kept of the rows between one normalisation and the next.
  private static let keptByteCount = 1 << 30

  private let frozen: FrozenNetwork
  private let graph: Network
  /// Where networks begin to differ.
  private let boundary: [Int]
  private let changes: [Bool]
  private let isNeeded: [Bool]
  private let normalizations: [Int]
  private let preprocessing: Preprocessing
  private let backend: any NetworkBackend
  private let width: Int

  /// - Parameters:
  ///   - graph: of the networks.
  ///   - drawn: the nodes by which they differ.
  init(
    of frozen: FrozenNetwork, _ graph: Network, drawn: Set<Int>, _ preprocessing: Preprocessing,
    on backend: any NetworkBackend, width: Int
  ) {
    self.frozen = frozen
    self.graph = graph
    let (changes, isNeeded) = (graph.changes { drawn.contains($0) }, graph.isNeeded(for: graph.exits.map(\.logits)))
    boundary = graph.boundary(of: changes)
    normalizations = graph.nodes.indices.filter {
      changes[$0] && isNeeded[$0] && graph.nodes[$0].layer is BatchNormalization
    }
    (self.changes, self.isNeeded) = (changes, isNeeded)
    self.preprocessing = preprocessing
    self.backend = backend
    self.width = width
  }

  /// - Parameters:
  ///   - rowCount: how many of the rows, the first, are looked at; none for zero.
  ///   - network: one of the networks, with any statistics.
  ///   - observe: called with the number of networks that are done.
  /// - Cost: a pass over the rows for each network, from the first of its layers on; where there is no room for what lies
  ///   between two normalisations, one for each normalisation.
  func estimate(
    _ rows: StoredRows, rowCount: Int, networkCount: Int, observe: (Int) -> Void = { _ in },
    network: (Int) throws -> FrozenNetwork
  ) async throws -> [NetworkStatistics] {
    guard rowCount > 1, !normalizations.isEmpty else { return [] }
    let prefix = try await FrozenPrefix(
      to: boundary, of: frozen, preprocessing, rowCount: rowCount, inputs: rows.inputs, on: backend, width: width)
    var found: [ParameterPath: [Tensor<Double>]] = [:]
    for index in 0..<networkCount {
      observe(index)
      for (path, values) in try await estimate(try network(index), prefix, rowCount: rowCount) {
        found[path, default: []].append(values.reshaped(to: [1, values.count]))
      }
    }
    return found.sorted { $0.key < $1.key }.map { NetworkStatistics(path: $0, values: .stacking($1)) }
  }

  private func estimate(
    _ network: FrozenNetwork, _ prefix: FrozenPrefix, rowCount: Int
  ) async throws -> [ParameterPath: Tensor<Double>] {
    var (network, found) = (network, [ParameterPath: Tensor<Double>]())
    let isKept = normalizations.allSatisfy { node in
      let live = live(at: graph.nodes[node].inputs[0])
      return 4 * live.reduce(0) { $0 + graph.shapes[$1].elementCount } <= Self.keptByteCount / rowCount
    }
    // What is known of the rows but what lies before the networks' differences: nodes, and a block of rows after another.
    var (position, known) = (-1, [Int]())
    var blocks = [[RowBatch]](repeating: [], count: (rowCount + Self.chunkRowCount - 1) / Self.chunkRowCount)
    for node in normalizations {
      let input = graph.nodes[node].inputs[0]
      var moments = ChannelMoments(channelCount: graph.shapes[node].dimensions.last ?? 1)
      let isNew = input > position
      let outputs = isKept ? live(at: input) : [input]
      if isNew {
        let isRead = graph.isNeeded(for: outputs, given: known + boundary)
        let givenBoundary = boundary.indices.filter { isRead[boundary[$0]] }
        let inputs = known + givenBoundary.map { boundary[$0] }
        let prepared = try backend.prepare(network, preprocessing: preprocessing, inputs: inputs, outputs: outputs)
        for (index, start) in stride(from: 0, to: rowCount, by: Self.chunkRowCount).enumerated() {
          try Task.checkCancellation()
          let before =
            givenBoundary.isEmpty
            ? [] : try await prefix(Array(start..<min(rowCount, start + Self.chunkRowCount)), width: width)
          let values = try await prepared(blocks[index] + givenBoundary.map { before[$0] }, width: width)
          if let place = outputs.firstIndex(of: input) { moments.add(values[place]) }
          if isKept { blocks[index] = values.map { RowBatch($0) } }
        }
        if isKept { (position, known) = (input, outputs) }
      } else if let place = known.firstIndex(of: input) {
        for block in blocks { moments.add(block[place].tensor) }
      }
      var own = Parameters()
      for (name, values) in [("mean", moments.means), ("variance", moments.variances)] {
        let path = ParameterPath(node: graph.nodes[node].name, parameter: name)
        own[path] = values.converted(to: Float.self)
        found[path] = values
      }
      network = try FrozenNetwork(network.network, parameters: network.parameters.replacing(own))
    }
    return found
  }

  /// The nodes up to one whose values differ between networks and are read behind it.
  private func live(at position: Int) -> [Int] {
    var isRead = [Bool](repeating: false, count: graph.nodes.count)
    for node in graph.nodes.indices where node > position && isNeeded[node] {
      for input in graph.nodes[node].inputs { isRead[input] = true }
    }
    return (0...position).filter { isRead[$0] && changes[$0] }
  }
}

/// The mean and the variance of each channel, over rows and positions.
private struct ChannelMoments {
  private var count = 0
  private var sums: [Double]
  private var squares: [Double]
  /// Of the first values seen, so that squares of what hardly varies keep their digits.
  private var origins: [Double]?

  init(channelCount: Int) {
    sums = Array(repeating: 0, count: channelCount)
    squares = sums
  }

  mutating func add(_ values: Tensor<Float>) {
    let width = sums.count
    values.withSpan { values in
      guard values.count >= width else { return }
      let origins = self.origins ?? (0..<width).map { Double(values[$0]) }
      self.origins = origins
      for index in values.indices {
        let difference = Double(values[index]) - origins[index % width]
        sums[index % width] += difference
        squares[index % width] += difference * difference
      }
      count += values.count / width
    }
  }

  var means: Tensor<Double> {
    Tensor(shape: [sums.count], sums.indices.map { (origins?[$0] ?? 0) + sums[$0] / Double(count) })
  }

  var variances: Tensor<Double> {
    Tensor(
      shape: [sums.count],
      sums.indices.map { max(0, squares[$0] / Double(count) - (sums[$0] / Double(count)) * (sums[$0] / Double(count))) })
  }
}
