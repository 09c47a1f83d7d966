import BayesNetwork
import BayesPrediction
import BayesTensor
import RealModule

/// The mean negative log-likelihood of some rows under the mean probability of drawn networks, nats a row.
///
/// What the networks have in common runs once for all that begin to differ at the same nodes.
struct DrawnLoss: Sendable {
  private let boundary: [Int]
  private let prefix: FrozenPrefix
  private let prepared: any PreparedNetwork
  private let rows: StoredRows
  private let rowCount: Int
  private let loss: DataTerm
  private let width: Int

  private static let chunkRowCount = 256

  /// - Parameters:
  ///   - draws: networks of the kind that losses will be asked of: of this graph, beginning to differ at these nodes.
  ///   - rowCount: how many of the rows, the first, are looked at.
  init(
    of draws: PlacementDraws, in frozen: FrozenNetwork, exit: Exit, _ preprocessing: Preprocessing, _ rows: StoredRows,
    rowCount: Int, _ loss: DataTerm, on backend: any NetworkBackend, width: Int
  ) async throws {
    boundary = draws.boundary
    prefix = try await FrozenPrefix(
      to: boundary, of: frozen, preprocessing, rowCount: rowCount, inputs: rows.inputs, on: backend, width: width)
    prepared = try backend.prepare(
      try draws.network(draw: 0, key: RandomKey(seed: 0)), preprocessing: preprocessing, inputs: boundary,
      outputs: [exit.logits])
    (self.rows, self.rowCount, self.loss, self.width) = (rows, rowCount, loss, width)
  }

  /// The loss at the temperature, of a quarter to eight, at which it is least: a spread that only makes a network less sure is
  /// worth nothing, as a temperature does that.
  ///
  /// - Precondition: the draws are of the graph and begin to differ at the nodes that this was made for.
  func callAsFunction(_ draws: PlacementDraws, count: Int, key: RandomKey) async throws -> Double {
    precondition(draws.boundary == boundary, "These networks begin to differ at other nodes.")
    var samples: [[Tensor<Float>]] = []
    for draw in 0..<count {
      let network = try prepared.replacingParameters { try draws.network(draw: draw, key: key) }
      var logits: [Tensor<Float>] = []
      for start in stride(from: 0, to: rowCount, by: Self.chunkRowCount) {
        try Task.checkCancellation()
        let positions = Array(start..<min(rowCount, start + Self.chunkRowCount))
        let output = try await network(try await prefix(positions, width: width), width: width)[0]
        logits.append(output.reshaped(to: [positions.count, output.count / positions.count]))
      }
      samples.append(logits)
    }
    let labels = try rows.labels(Array(0..<rowCount))
    var least = Double.infinity
    for step in -4...6 { least = min(least, try meanLoss(samples, labels, temperature: Double.exp2(Double(step) / 2))) }
    return least
  }

  private func meanLoss(_ samples: [[Tensor<Float>]], _ labels: [Int], temperature: Double) throws -> Double {
    var sums: [Double] = []
    for logits in samples {
      let matrix = Tensor.stacking(logits).map { Float(Double($0) / temperature) }
      var values: [Double] = []
      for (row, label) in labels.enumerated() { values.append(-(try loss(matrix.rows(row..<row + 1), [label]).value)) }
      sums = sums.isEmpty ? values : zip(sums, values).map { logSumExp([$0, $1]) }
    }
    return Double.log(Double(samples.count)) - sums.reduce(0, +) / Double(sums.count)
  }
}
