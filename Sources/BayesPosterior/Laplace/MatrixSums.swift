package import BayesTensor
import RealModule

/// The softmax of each row.
///
/// - Shapes: `[rows, classes]` to `[rows, classes]`.
package func softmax(_ logits: Tensor<Double>) -> Tensor<Double> {
  let width = logits.shape[1]
  var result = gapsBelowTop(logits)
  result.withMutableSpan { span in
    for start in stride(from: 0, to: span.count, by: width) {
      var sum = 0.0
      for position in start..<start + width {
        span[position] = Double.exp(span[position])
        sum += span[position]
      }
      for position in start..<start + width { span[position] /= sum }
    }
  }
  return result
}

/// Each row less its largest element, so that no exponential overflows.
func gapsBelowTop(_ logits: Tensor<Double>) -> Tensor<Double> {
  let width = logits.shape[1]
  var gaps = logits
  gaps.withMutableSpan { span in
    for start in stride(from: 0, to: span.count, by: width) {
      var maximum = -Double.infinity
      for position in start..<start + width { maximum = max(maximum, span[position]) }
      for position in start..<start + width { span[position] -= maximum }
    }
  }
  return gaps
}

/// `log(1 + eᶻ)` without overflow.
func softplus(_ z: Double) -> Double { max(z, 0) + Double.log(onePlus: Double.exp(-abs(z))) }

/// `Aᵀ A`, of which a wide one is computed above the diagonal only.
///
/// - Shapes: `[rows, columns]` to `[columns, columns]`.
func gram(_ a: Tensor<Double>, on backend: any Backend) -> Tensor<Double> {
  let (blockCount, width) = (4, a.shape[1])
  guard width >= 512 else { return backend.product(a, a, transposing: .first) }
  let bounds = (0...blockCount).map { width * $0 / blockCount }
  let blocks = (0..<blockCount).map { columns(bounds[$0]..<bounds[$0 + 1], of: a) }
  var result = Tensor<Double>(zeros: [width, width])
  for i in 0..<blockCount {
    for j in i..<blockCount {
      let block = backend.product(blocks[i], blocks[j], transposing: .first)
      result.withMutableSpan { result in
        block.withSpan { block in
          let blockWidth = bounds[j + 1] - bounds[j]
          for row in 0..<bounds[i + 1] - bounds[i] {
            for column in 0..<blockWidth {
              let value = block[row * blockWidth + column]
              result[(bounds[i] + row) * width + bounds[j] + column] = value
              result[(bounds[j] + column) * width + bounds[i] + row] = value
            }
          }
        }
      }
    }
  }
  return result
}

/// A range of columns of a matrix.
func columns(_ range: Range<Int>, of a: Tensor<Double>) -> Tensor<Double> {
  let width = a.shape[1]
  var elements = ContiguousArray<Double>()
  elements.reserveCapacity(a.rowCount * range.count)
  let source = a.elements
  for start in stride(from: 0, to: source.count, by: width) {
    elements.append(contentsOf: source[start + range.lowerBound..<start + range.upperBound])
  }
  return Tensor(shape: [a.rowCount, range.count], elements: elements)
}

/// A matrix with its rows multiplied by one factor each.
func scalingRows(of a: Tensor<Double>, by factors: [Double]) -> Tensor<Double> {
  let width = a.shape[1]
  var result = a
  result.withMutableSpan { span in
    for (row, factor) in factors.enumerated() {
      for position in row * width..<(row + 1) * width { span[position] *= factor }
    }
  }
  return result
}

/// A matrix with its columns multiplied by one factor each.
func scalingColumns(of a: Tensor<Double>, by factors: [Double]) -> Tensor<Double> {
  let width = a.shape[1]
  var result = a
  result.withMutableSpan { span in
    for start in stride(from: 0, to: span.count, by: max(1, width)) {
      for column in 0..<width { span[start + column] *= factors[column] }
    }
  }
  return result
}

/// The sum of each row of a matrix.
func rowSums(_ a: Tensor<Double>) -> [Double] {
  let width = a.shape[1]
  return a.withSpan { span in
    (0..<a.rowCount).map { row in
      var sum = 0.0
      for position in row * width..<(row + 1) * width { sum += span[position] }
      return sum
    }
  }
}

/// The sum of each column of a matrix.
func columnSums(_ a: Tensor<Double>) -> [Double] {
  let width = a.shape[1]
  var sums = [Double](repeating: 0, count: width)
  a.withSpan { span in
    for start in stride(from: 0, to: span.count, by: max(1, width)) {
      for column in 0..<width { sums[column] += span[start + column] }
    }
  }
  return sums
}

/// A matrix with a diagonal and nothing else.
func diagonalMatrix(_ values: [Double]) -> Tensor<Double> {
  var result = Tensor<Double>(zeros: [values.count, values.count])
  for (index, value) in values.enumerated() { result[index, index] = value }
  return result
}

/// `xₙ ⊗ yₙ` for each row.
///
/// - Shapes: `[rows, m]` and `[rows, n]` to `[rows, m · n]`, the index of `y` running faster.
func rowwiseKronecker(_ x: Tensor<Double>, _ y: Tensor<Double>) -> Tensor<Double> {
  let (m, n) = (x.shape[1], y.shape[1])
  return Tensor(shape: [x.rowCount, m * n]) { span in
    x.withSpan { x in
      y.withSpan { y in
        for row in 0..<x.count / max(1, m) {
          for i in row * m..<(row + 1) * m {
            for j in row * n..<(row + 1) * n { span.append(x[i] * y[j]) }
          }
        }
      }
    }
  }
}

/// Features with one number after the last of each row.
///
/// - Shapes: `[rows, features]` to `[rows, features + 1]`.
func appending(_ value: Double, to features: Tensor<Double>) -> Tensor<Double> {
  let (rowCount, featureCount) = (features.rowCount, features.shape[1])
  var elements = ContiguousArray<Double>()
  elements.reserveCapacity(rowCount * (featureCount + 1))
  let source = features.elements
  for row in 0..<rowCount {
    elements.append(contentsOf: source[row * featureCount..<(row + 1) * featureCount])
    elements.append(value)
  }
  return Tensor(shape: [rowCount, featureCount + 1], elements: elements)
}

/// Adds `values` to `sums` element by element.
func accumulate(_ values: Tensor<Double>, into sums: inout Tensor<Double>) {
  precondition(values.shape == sums.shape, "Cannot add \(values.shape) to \(sums.shape).")
  sums.withMutableSpan { target in
    values.withSpan { source in
      for position in source.indices { target[position] += source[position] }
    }
  }
}
