package import BayesTensor

/// The covariances of some rows' logits, in the shape in which a structure has them.
package enum LogitCovariance: Sendable {
  /// `Q diag(vₙ) Qᵀ` with variances `[rows, logits]` and basis `Q`, `[logits, logits]`.
  case spectral(variances: Tensor<Double>, basis: Tensor<Double>)
  /// `diag(vₙ)`, `[rows, logits]`.
  case diagonal(Tensor<Double>)
  /// Whole matrices one under the other, `[rows · logits, logits]`.
  case dense(Tensor<Double>)

  var logitCount: Int {
    switch self {
    case .spectral(let variances, _), .diagonal(let variances): variances.shape[1]
    case .dense(let matrices): matrices.shape[1]
    }
  }

  var rowCount: Int {
    switch self {
    case .spectral(let variances, _), .diagonal(let variances): variances.rowCount
    case .dense(let matrices): matrices.rowCount / matrices.shape[1]
    }
  }

  /// The covariances multiplied by a factor.
  func scaled(by factor: Double) -> LogitCovariance {
    guard factor != 1 else { return self }
    switch self {
    case .spectral(let variances, let basis):
      return .spectral(variances: variances.map { $0 * factor }, basis: basis)
    case .diagonal(let variances): return .diagonal(variances.map { $0 * factor })
    case .dense(let matrices): return .dense(matrices.map { $0 * factor })
    }
  }

  /// The diagonals, `[rows, logits]`.
  package func variances(on backend: any Backend) -> Tensor<Double> {
    switch self {
    case .spectral(let variances, let basis):
      return backend.product(variances, basis.map { $0 * $0 }, transposing: .second)
    case .diagonal(let variances): return variances
    case .dense(let matrices):
      let (rows, width) = (rowCount, logitCount)
      return Tensor(shape: [rows, width], (0..<rows * width).map { matrices[$0 * width + $0 % width] })
    }
  }

  /// `S 1`, the sum of each row of each covariance, `[rows, logits]`.
  package func sums(on backend: any Backend) -> Tensor<Double> {
    switch self {
    case .spectral(let variances, let basis):
      return backend.product(scalingColumns(of: variances, by: columnSums(basis)), basis, transposing: .second)
    case .diagonal(let variances): return variances
    case .dense(let matrices): return Tensor(shape: [rowCount, logitCount], rowSums(matrices))
    }
  }

  /// One row's whole matrix, `[logits, logits]`.
  package func matrix(_ row: Int, on backend: any Backend) -> Tensor<Double> {
    let width = logitCount
    switch self {
    case .spectral(let variances, let basis):
      let values = (0..<width).map { variances[row, $0] }
      return backend.product(scalingColumns(of: basis, by: values), basis, transposing: .second)
    case .diagonal(let variances): return diagonalMatrix((0..<width).map { variances[row, $0] })
    case .dense(let matrices): return matrices.rows(row * width..<(row + 1) * width)
    }
  }

  /// `√S z` for standard normal draws, so that the result has covariance `S`.
  ///
  /// - Parameters:
  ///   - draws: `[samples, logits]`, the same for every row, or `[samples · rows, logits]`, each row its own.
  /// - Shapes: to `[samples · rows, logits]`, all rows of the first sample first.
  /// - Throws: `NumericalError` where a matrix has neither a Cholesky factor nor eigenvectors.
  func deviations<Scalar: TensorScalar>(_ draws: DrawTable, on backend: any Backend) throws(NumericalError)
    -> Tensor<Scalar>
  {
    let (rows, width) = (rowCount, logitCount)
    switch self {
    case .spectral(let variances, let basis):
      // Libraries compute the last lines of a product in other ways than the first, so that one product for all rows would
      // give a row other last bits in another place.
      let roots = variances.map { max(0, $0).squareRoot() }
      let basis = basis.converted(to: Scalar.self)
      return try deviations(draws) { row throws(NumericalError) in
        let own = draws.values(ofRow: row, rowCount: rows)
        let scaled = Tensor<Scalar>(shape: own.shape) { span in
          own.withSpan { own in
            roots.withSpan { roots in
              for position in own.indices { span.append(Scalar(roots[row * width + position % width] * own[position])) }
            }
          }
        }
        return backend.product(scaled, basis, transposing: .second)
      }
    case .diagonal(let variances): return scaledDraws(draws, by: variances)
    case .dense:
      return try deviations(draws) { row throws(NumericalError) in
        let own = draws.values(ofRow: row, rowCount: rows)
        return backend.product(own, try root(matrix(row, on: backend), on: backend), transposing: .second)
          .converted(to: Scalar.self)
      }
    }
  }

  /// What is computed row by row, `[samples, logits]`, with all rows of the first sample first.
  private func deviations<Scalar: TensorScalar>(
    _ draws: DrawTable, _ own: (Int) throws(NumericalError) -> Tensor<Scalar>
  ) throws(NumericalError) -> Tensor<Scalar> {
    let (rows, width) = (rowCount, logitCount)
    let samples = draws.sampleCount(rowCount: rows)
    var result = Tensor<Scalar>(zeros: [samples * rows, width])
    for row in 0..<rows {
      let deviations = try own(row)
      result.withMutableSpan { result in
        deviations.withSpan { deviations in
          for sample in 0..<samples {
            for k in 0..<width { result[(sample * rows + row) * width + k] = deviations[sample * width + k] }
          }
        }
      }
    }
    return result
  }

  /// `√v ∘ z`.
  private func scaledDraws<Scalar: TensorScalar>(_ draws: DrawTable, by variances: Tensor<Double>) -> Tensor<Scalar> {
    let (rows, width) = (rowCount, logitCount)
    let samples = draws.sampleCount(rowCount: rows)
    let roots = variances.map { max(0, $0).squareRoot() }
    return Tensor(shape: [samples * rows, width]) { span in
      roots.withSpan { roots in
        draws.values.withSpan { table in
          for sample in 0..<samples {
            for row in 0..<rows {
              let start = (draws.isShared ? sample : sample * rows + row) * width
              for k in 0..<width { span.append(Scalar(roots[row * width + k] * table[start + k])) }
            }
          }
        }
      }
    }
  }

  /// A matrix `R` with `R Rᵀ = S`.
  private func root(_ matrix: Tensor<Double>, on backend: any Backend) throws(NumericalError) -> Tensor<Double> {
    do {
      return try backend.cholesky(matrix)
    } catch {
      // A singular covariance, as of features that are all zero, has eigenvectors all the same.
      let eigen = try backend.symmetricEigen(matrix)
      return scalingColumns(of: eigen.vectors, by: eigen.values.elements.map { max(0, $0).squareRoot() })
    }
  }
}

/// Standard normal draws: one table for all rows, or one a row.
struct DrawTable: Sendable {
  /// `[samples, logits]` or `[samples · rows, logits]`.
  var values: Tensor<Double>
  var isShared: Bool

  static func shared(_ values: Tensor<Double>) -> DrawTable { DrawTable(values: values, isShared: true) }

  /// Draws of each row's own: row `n` of the whole set has those of `key.child(n)`.
  static func own(
    sampleCount: Int, logitCount: Int, rows: [Int], key: RandomKey
  ) -> DrawTable {
    var values = Tensor<Double>(zeros: [sampleCount * rows.count, logitCount])
    for (index, row) in rows.enumerated() {
      let draws: Tensor<Double> = key.child(row).normals([sampleCount, logitCount])
      values.withMutableSpan { values in
        draws.withSpan { draws in
          for sample in 0..<sampleCount {
            for k in 0..<logitCount {
              values[(sample * rows.count + index) * logitCount + k] = draws[sample * logitCount + k]
            }
          }
        }
      }
    }
    return DrawTable(values: values, isShared: false)
  }

  func sampleCount(rowCount: Int) -> Int { isShared ? values.rowCount : values.rowCount / max(1, rowCount) }

  /// The draws of one of `rowCount` rows, `[samples, logits]`.
  func values(ofRow row: Int, rowCount: Int) -> Tensor<Double> {
    isShared ? values : values.rows((0..<sampleCount(rowCount: rowCount)).map { $0 * rowCount + row })
  }
}
