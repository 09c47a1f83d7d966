import BayesPrediction
import BayesTensor
import RealModule

/// Eigenvalues below this share of the largest count as zero.
///
/// Features and weights come in single precision, so that a direction in which they spread by less than a millionth of
/// the widest holds their rounding only.
let relativeZero = 1e-12

/// `−log Σₖ exp zₖ` of each row of logits.
func energies(_ logits: Tensor<Double>) -> [Double] {
  let (width, elements) = (logits.shape[1], logits.elements)
  return (0..<logits.rowCount).map { -logSumExp(elements[$0 * width..<($0 + 1) * width]) }
}

/// The position of the largest element of each row; the first of equals.
func largestColumns(_ a: Tensor<Double>) -> [Int] {
  (0..<a.rowCount).map { row in
    var best = 0
    for column in 1..<max(1, a.shape[1]) where a[row, column] > a[row, best] { best = column }
    return best
  }
}

/// `Σ xⱼ²` of each row.
func squaredNorms(_ a: Tensor<Double>) -> [Double] {
  let width = a.shape[1]
  return a.withSpan { a in
    (0..<a.count / max(1, width)).map { row in
      var sum = 0.0
      for position in row * width..<(row + 1) * width { sum += a[position] * a[position] }
      return sum
    }
  }
}

/// Rows divided by their Euclidean norms; rows of zeros stay.
func unitRows(_ a: Tensor<Double>) -> Tensor<Double> {
  scalingRows(a, by: squaredNorms(a).map { $0 > 0 ? 1 / $0.squareRoot() : 0 })
}

/// A matrix with its rows multiplied by one factor each.
func scalingRows(_ a: Tensor<Double>, by factors: [Double]) -> Tensor<Double> {
  let width = a.shape[1]
  var result = a
  result.withMutableSpan { result in
    for (row, factor) in factors.enumerated() {
      for position in row * width..<(row + 1) * width { result[position] *= factor }
    }
  }
  return result
}

/// A matrix with one row taken from each of its rows.
func subtracting(_ row: Tensor<Double>, from a: Tensor<Double>) -> Tensor<Double> {
  let width = row.count
  var result = a
  result.withMutableSpan { result in
    row.withSpan { row in
      for start in stride(from: 0, to: result.count, by: max(1, width)) {
        for column in 0..<width { result[start + column] -= row[column] }
      }
    }
  }
  return result
}

/// Adds `values` to `sums` element by element.
func accumulate(_ values: Tensor<Double>, into sums: inout Tensor<Double>) {
  precondition(values.shape == sums.shape, "Cannot add \(values.shape) to \(sums.shape).")
  sums.withMutableSpan { sums in
    values.withSpan { values in
      for position in values.indices { sums[position] += values[position] }
    }
  }
}

/// Adds the rows of a matrix to one row.
func accumulateRows(_ a: Tensor<Double>, into sums: inout Tensor<Double>) {
  let width = sums.count
  sums.withMutableSpan { sums in
    a.withSpan { a in
      for start in stride(from: 0, to: a.count, by: max(1, width)) {
        for column in 0..<width { sums[column] += a[start + column] }
      }
    }
  }
}

/// A range of columns of a matrix.
func columns(_ range: Range<Int>, of a: Tensor<Double>) -> Tensor<Double> {
  Tensor(
    shape: [a.rowCount, range.count],
    (0..<a.rowCount).flatMap { row in range.map { a[row, $0] } })
}

/// The matrix `W` with `W Wᵀ = A⁺`, the pseudo-inverse of a symmetric matrix without negative eigenvalues.
///
/// - Shapes: `[n, n]` to `[n, rank]`; the rank is zero for a matrix of zeros.
/// - Throws: `NumericalError`.
func pseudoInverseRoot(_ matrix: Tensor<Double>, on backend: any Backend) throws(NumericalError) -> Tensor<Double> {
  let eigen = try backend.symmetricEigen(matrix)
  let n = matrix.rowCount
  let largest = eigen.values.elements.last ?? 0
  let first = eigen.values.elements.firstIndex { $0 > 0 && $0 > relativeZero * largest } ?? n
  var root = columns(first..<n, of: eigen.vectors)
  root.withMutableSpan { root in
    let rank = n - first
    for position in root.indices { root[position] /= eigen.values[first + position % rank].squareRoot() }
  }
  return root
}

/// The mean of the features of all rows, `[features]`.
func meanFeatures(
  of source: any DetectorRowSource, featureCount: Int, fitting detector: String, in context: ExecutionContext
) async throws -> Tensor<Double> {
  var sums = Tensor<Double>(zeros: [featureCount])
  var rowCount = 0
  try await source.forEachRows(fitting: detector, in: context) { rows in
    accumulateRows(rows.features, into: &sums)
    rowCount += rows.rowCount
  }
  let count = Double(max(1, rowCount))
  return sums.map { $0 / count }
}

/// The value below which `percent` of some sorted values lie, linear between two of them, as NumPy defines it.
func linearPercentile(_ percent: Double, ofSorted values: [Double]) -> Double {
  let place = PercentilePlace(percent, of: values.count)
  return place.value(values[place.lower], values[min(place.lower + 1, values.count - 1)])
}

/// Between which two of some sorted values a percentile lies.
struct PercentilePlace: Equatable {
  /// The index of the lower one.
  let lower: Int
  /// How far from the lower to the upper one, `0..<1`.
  let fraction: Double

  /// - Precondition: there is a value.
  init(_ percent: Double, of count: Int) {
    let position = percent / 100 * Double(count - 1)
    lower = min(max(0, Int(position)), count - 1)
    fraction = position - Double(lower)
  }

  func value(_ lower: Double, _ upper: Double) -> Double {
    // From the nearer end, so that a percentile is never beyond either.
    fraction < 0.5 ? lower + (upper - lower) * fraction : upper - (upper - lower) * (1 - fraction)
  }
}
