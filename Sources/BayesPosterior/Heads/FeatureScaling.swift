import BayesPrediction
import BayesTensor
import RealModule

/// The features of one exit brought to mean zero and deviation one, and the directions in which they vary.
///
/// A feature that is the same on all rows becomes zero, and its weight with it.
struct FeatureScaling: Sendable, Equatable {
  /// `[features]`
  let means: [Double]
  /// `[features]`; one where a feature never changes.
  let deviations: [Double]
  /// The spectrum of the correlation matrix.
  let correlation: SymmetricEigen

  var featureCount: Int { means.count }

  /// The scalings of all exits, from two passes over some rows.
  ///
  /// - Throws: `FileError` for rows without features, and features that never change; `NumericalError`; what the source throws.
  static func gather(
    from source: any ExitRecordSource, in context: ExecutionContext
  ) async throws -> [FeatureScaling] {
    let exits = source.description.exits
    let widths = exits.map { $0.featureCount ?? 0 }
    var sums = widths.map { [Double](repeating: 0, count: $0) }
    try await source.reduceChunks("Averaging features", in: context) { chunk in
      try chunk.exits.indices.map { try features(of: $0, in: chunk, source.description) }.map { rows in
        var sums = [Double](repeating: 0, count: rows.shape[1])
        for row in 0..<rows.rowCount { for column in sums.indices { sums[column] += rows[row, column] } }
        return sums
      }
    } combine: { partials in
      for exit in sums.indices { for column in sums[exit].indices { sums[exit][column] += partials[exit][column] } }
    }
    let count = Double(source.rowCount)
    let means = sums.map { $0.map { $0 / count } }
    var moments = widths.map { Tensor<Double>(zeros: [$0, $0]) }
    try await source.reduceChunks("Correlating features", in: context) { chunk in
      try chunk.exits.indices.map { exit in
        var rows = try features(of: exit, in: chunk, source.description)
        subtract(means[exit], from: &rows)
        return gram(rows, on: context.backend)
      }
    } combine: { partials in
      for exit in moments.indices {
        moments[exit].withMutableSpan { span in
          partials[exit].withSpan { partial in for position in partial.indices { span[position] += partial[position] } }
        }
      }
    }
    return try exits.indices.map { exit in
      let width = widths[exit]
      let variances = (0..<width).map { moments[exit][$0, $0] / count }
      // Of a feature that never changes, rounding of the mean is all that is left.
      let varies = (0..<width).map { variances[$0] > max(1e-24 * means[exit][$0] * means[exit][$0], 1e-60) }
      guard varies.contains(true) else {
        throw FileError(
          .value, file: source.description.file, object: "exit \(exit) ('\(exits[exit].name)')",
          "Its features are the same for all rows, so nothing can be learned from them; name another node.")
      }
      let deviations = (0..<width).map { varies[$0] ? variances[$0].squareRoot() : 1 }
      var correlation = moments[exit]
      for row in 0..<width {
        for column in 0..<width { correlation[row, column] /= count * deviations[row] * deviations[column] }
      }
      return FeatureScaling(
        means: means[exit], deviations: deviations, correlation: try context.backend.symmetricEigen(correlation))
    }
  }

  /// The features of an exit in a chunk of records.
  static func features(
    of exit: Int, in chunk: ExitRecords, _ description: RecordsDescription
  ) throws(FileError) -> Tensor<Double> {
    guard let features = chunk.exits[exit].features else {
      throw FileError(
        .missing, file: description.file, object: "exit \(exit) ('\(description.exits[exit].name)')",
        "The rows hold no features of this exit, and a head is fitted to features.")
    }
    if let position = features.firstNonFinite {
      throw FileError(
        .value, file: description.file, object: "exit \(exit) ('\(description.exits[exit].name)')",
        chunk.place(ofRow: position / features.shape[1], in: description.positions)
          + " has a feature of \(features[position]); check the row's values and the preprocessing.")
    }
    return features.converted(to: Double.self)
  }

  /// Features as the search sees them, with a column of ones behind them.
  ///
  /// - Shapes: `[rows, features]` to `[rows, features + 1]`.
  func callAsFunction(_ features: Tensor<Double>) -> Tensor<Double> {
    let width = featureCount
    let factors = deviations.map { 1 / $0 }
    return Tensor(shape: [features.rowCount, width + 1]) { span in
      features.withSpan { features in
        for start in stride(from: 0, to: features.count, by: width) {
          for column in 0..<width { span.append((features[start + column] - means[column]) * factors[column]) }
          span.append(1)
        }
      }
    }
  }

  /// The head on features as they are that equals one on scaled features.
  ///
  /// - Parameter weights: `[features + 1, logits]`, the bias last.
  func head(_ weights: Tensor<Double>) -> ExitHead {
    let (width, logitCount) = (featureCount, weights.shape[1])
    var weight = Tensor<Double>(zeros: [width, logitCount])
    var bias = (0..<logitCount).map { weights[width, $0] }
    for row in 0..<width {
      for column in 0..<logitCount {
        weight[row, column] = weights[row, column] / deviations[row]
        bias[column] -= means[row] * weight[row, column]
      }
    }
    return ExitHead(
      weight: weight.converted(to: Float.self),
      bias: Tensor<Double>(shape: [logitCount], bias).converted(to: Float.self))
  }

  private static func subtract(_ means: [Double], from rows: inout Tensor<Double>) {
    let width = means.count
    rows.withMutableSpan { span in
      for start in stride(from: 0, to: span.count, by: max(1, width)) {
        for column in 0..<width { span[start + column] -= means[column] }
      }
    }
  }
}

/// Coordinates in which a penalised logistic likelihood is about equally curved in all directions.
///
/// Along the eigenvectors of the features' correlation, each divided by the root of the curvature that it has where all
/// classes are equally likely.
struct HeadCoordinates: Sendable {
  private let basis: Tensor<Double>
  /// One factor a direction, that of the bias last.
  private let factors: [Double]
  private let logitCount: Int

  init(_ scaling: FeatureScaling, logitCount: Int, penalty: Double) {
    basis = scaling.correlation.vectors
    self.logitCount = logitCount
    let curvature = logitCount == 1 ? 0.25 : 1 / Double(logitCount)
    factors =
      scaling.correlation.values.elements.map { 1 / (curvature * max(0, $0) + penalty).squareRoot() }
      + [1 / curvature.squareRoot()]
  }

  var dimension: Int { factors.count * logitCount }

  /// The weights `[features + 1, logits]` at a point.
  func weights(at point: [Double], on backend: any Backend) -> Tensor<Double> {
    let scaled = scaled(Tensor(shape: [factors.count, logitCount], point))
    let rotated = backend.product(basis, scaled.rows(0..<factors.count - 1))
    return .stacking([rotated, scaled.rows(factors.count - 1..<factors.count)])
  }

  /// The gradient at a point from that at its weights.
  func gradient(from gradient: Tensor<Double>, on backend: any Backend) -> [Double] {
    let rotated = backend.product(basis, gradient.rows(0..<factors.count - 1), transposing: .first)
    return Array(scaled(.stacking([rotated, gradient.rows(factors.count - 1..<factors.count)])).elements)
  }

  private func scaled(_ matrix: Tensor<Double>) -> Tensor<Double> {
    var result = matrix
    result.withMutableSpan { span in
      for position in 0..<span.count { span[position] *= factors[position / logitCount] }
    }
    return result
  }
}
