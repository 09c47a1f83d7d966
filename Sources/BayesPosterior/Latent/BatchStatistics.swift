import BayesNetwork
import BayesTensor

/// Means and variances of what goes into batch normalisations behind members' layers, estimated for each member: those of
/// the checkpoint are of the untouched layers.
///
/// One after the other, from the first on, since each changes what goes into the next.  Latents are at their means.
struct BatchStatistics: Sendable {
  private static let chunkRowCount = 256

  private let posterior: LatentPosterior
  private let draws: LatentDraws
  private let frozen: FrozenNetwork
  private let preprocessing: Preprocessing
  private let backend: any NetworkBackend
  private let width: Int

  /// - Throws: `NetworkError` as `LatentDraws`.
  init(
    of posterior: LatentPosterior, in frozen: FrozenNetwork, _ preprocessing: Preprocessing,
    on backend: any NetworkBackend, width: Int
  ) throws {
    self.posterior = posterior
    draws = try LatentDraws(posterior, of: frozen, networks: posterior.memberCount)
    self.frozen = frozen
    self.preprocessing = preprocessing
    self.backend = backend
    self.width = width
  }

  /// - Parameter rowCount: how many of the rows, the first, are looked at; none for zero.
  /// - Cost: a pass over the rows for each normalisation and member, from the first of the layers on.
  func estimate(_ rows: StoredRows, rowCount: Int) async throws -> [LatentPosterior.Statistics] {
    let graph = draws.graph
    let nodes = Set(posterior.layers.map(\.name))
    let changes = graph.changes { nodes.contains(graph.nodes[$0].name) }
    let isNeeded = graph.isNeeded(for: graph.exits.map(\.logits))
    let normalizations = graph.nodes.indices.filter {
      changes[$0] && isNeeded[$0] && graph.nodes[$0].layer is BatchNormalization
    }
    guard rowCount > 1, !normalizations.isEmpty else { return [] }
    let boundary = draws.boundary
    let prefix = try await FrozenPrefix(
      to: boundary, of: frozen, preprocessing, rowCount: rowCount, inputs: rows.inputs, on: backend, width: width)
    var found: [ParameterPath: [Tensor<Double>]] = [:]
    for member in 0..<posterior.memberCount {
      var network = try draws.network(member: member) { Tensor(zeros: [1, $1.latentCount]) }
      for node in normalizations {
        let prepared = try backend.prepare(
          network, preprocessing: preprocessing, inputs: boundary, outputs: graph.nodes[node].inputs)
        var moments = ChannelMoments(channelCount: graph.shapes[node].dimensions.last ?? 1)
        for start in stride(from: 0, to: rowCount, by: Self.chunkRowCount) {
          try Task.checkCancellation()
          let positions = Array(start..<min(rowCount, start + Self.chunkRowCount))
          moments.add(try await prepared(try await prefix(positions, width: width), width: width)[0])
        }
        var own = Parameters()
        for (name, values) in [("mean", moments.means), ("variance", moments.variances)] {
          let path = ParameterPath(node: graph.nodes[node].name, parameter: name)
          own[path] = values.converted(to: Float.self)
          found[path, default: []].append(values.reshaped(to: [1, values.count]))
        }
        network = try FrozenNetwork(network.network, parameters: network.parameters.replacing(own))
      }
    }
    return found.sorted { $0.key < $1.key }.map { LatentPosterior.Statistics(path: $0, values: .stacking($1)) }
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
