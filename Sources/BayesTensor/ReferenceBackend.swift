/// Every operation written plainly in Swift: slow, and the meaning of all other backends.
public struct ReferenceBackend: Backend {
  public init() {}

  public var name: String { "reference" }

  @specialized(where Scalar == Float)
  @specialized(where Scalar == Double)
  public func product<Scalar: TensorScalar>(
    _ a: Tensor<Scalar>, _ b: Tensor<Scalar>, transposing: Transposition
  ) -> Tensor<Scalar> {
    let left = transposing == .first ? a.transposed() : a
    let right = transposing == .second ? b.transposed() : b
    precondition(
      left.shape.rank == 2 && right.shape.rank == 2 && left.shape[1] == right.shape[0],
      "Cannot multiply \(a.shape) by \(b.shape) (\(transposing)).")
    var result = Tensor<Scalar>(zeros: [left.shape[0], right.shape[1]])
    for row in 0..<left.shape[0] {
      for inner in 0..<left.shape[1] {
        let factor = left[row, inner]
        for column in 0..<right.shape[1] { result[row, column] += factor * right[inner, column] }
      }
    }
    return result
  }

  public func convolution<Scalar: TensorScalar>(
    _ input: Tensor<Scalar>, weight: Tensor<Scalar>, bias: Tensor<Scalar>?, groups: Int,
    _ geometry: WindowGeometry
  ) -> Tensor<Scalar> {
    let (height, width, channels) = (input.shape[1], input.shape[2], input.shape[3])
    let groupChannels = weight.shape[2]
    let outChannels = weight.shape[3]
    let groupOut = outChannels / groups
    precondition(
      groupChannels * groups == channels && groupOut * groups == outChannels,
      "Weights \(weight.shape) in \(groups) groups do not fit an input of \(channels) channels.")
    let out = geometry.outputExtent(of: Extent2D(height: height, width: width))
    var result = Tensor<Scalar>(zeros: [input.rowCount, out.height, out.width, outChannels])
    var position = 0
    for image in 0..<input.rowCount {
      for y in 0..<out.height {
        for x in 0..<out.width {
          for o in 0..<outChannels {
            var sum = bias?[o] ?? 0
            let firstChannel = o / groupOut * groupChannels
            for j in 0..<geometry.window.height {
              let row = y * geometry.strides.height + j * geometry.dilation.height - geometry.padding.top
              guard row >= 0, row < height else { continue }
              for i in 0..<geometry.window.width {
                let column =
                  x * geometry.strides.width + i * geometry.dilation.width - geometry.padding.left
                guard column >= 0, column < width else { continue }
                let pixel = ((image * height + row) * width + column) * channels + firstChannel
                let kernel = (j * geometry.window.width + i) * groupChannels
                for c in 0..<groupChannels {
                  sum += input[pixel + c] * weight[(kernel + c) * outChannels + o]
                }
              }
            }
            result[position] = sum
            position += 1
          }
        }
      }
    }
    return result
  }

  public func pooling<Scalar: TensorScalar>(
    _ input: Tensor<Scalar>, _ kind: PoolingKind, _ geometry: WindowGeometry
  ) -> Tensor<Scalar> {
    let (height, width, channels) = (input.shape[1], input.shape[2], input.shape[3])
    let out = geometry.outputExtent(of: Extent2D(height: height, width: width))
    var result = Tensor<Scalar>(zeros: [input.rowCount, out.height, out.width, channels])
    var position = 0
    for image in 0..<input.rowCount {
      for y in 0..<out.height {
        for x in 0..<out.width {
          for c in 0..<channels {
            var sum: Scalar = 0
            var maximum = -Scalar.infinity
            var count = 0
            for j in 0..<geometry.window.height {
              let row = y * geometry.strides.height + j * geometry.dilation.height - geometry.padding.top
              guard row >= 0, row < height else { continue }
              for i in 0..<geometry.window.width {
                let column =
                  x * geometry.strides.width + i * geometry.dilation.width - geometry.padding.left
                guard column >= 0, column < width else { continue }
                let value = input[((image * height + row) * width + column) * channels + c]
                sum += value
                maximum = max(maximum, value)
                count += 1
              }
            }
            result[position] = kind == .maximum ? maximum : sum / Scalar(count)
            position += 1
          }
        }
      }
    }
    return result
  }

  public func cholesky(_ matrix: Tensor<Double>) throws(NumericalError) -> Tensor<Double> {
    let n = matrix.shape[0]
    var lower = Tensor<Double>(zeros: matrix.shape)
    for row in 0..<n {
      for column in 0...row {
        var sum = matrix[row, column]
        for k in 0..<column { sum -= lower[row, k] * lower[column, k] }
        if row == column {
          guard sum > 0 else { throw .notPositiveDefinite(order: n, minor: row + 1) }
          lower[row, row] = sum.squareRoot()
        } else {
          lower[row, column] = sum / lower[column, column]
        }
      }
    }
    return lower
  }

  /// - Source: cyclic Jacobi rotations (Golub and Van Loan, section 8.5).
  public func symmetricEigen(_ matrix: Tensor<Double>) throws(NumericalError) -> SymmetricEigen {
    let n = matrix.shape[0]
    guard matrix.firstNonFinite == nil else { throw .notFinite("A matrix to be decomposed") }
    var a = matrix
    for row in 0..<n { for column in 0..<row { a[column, row] = a[row, column] } }
    var vectors = Tensor<Double>(zeros: [n, n])
    for i in 0..<n { vectors[i, i] = 1 }
    let scale = a.elements.reduce(0) { $0 + $1 * $1 }
    for sweep in 0... {
      var off = 0.0
      for p in 0..<n { for q in 0..<p { off += a[p, q] * a[p, q] } }
      if off <= 1e-30 * scale { break }
      guard sweep < 60 else {
        throw NumericalError(.notConverged, "Jacobi rotations did not converge in 60 sweeps.")
      }
      for p in 0..<n {
        for q in (p + 1)..<max(n, p + 1) where a[p, q] != 0 {
          let theta = (a[q, q] - a[p, p]) / (2 * a[p, q])
          let t = (theta >= 0 ? 1.0 : -1.0) / (abs(theta) + (theta * theta + 1).squareRoot())
          let c = 1 / (t * t + 1).squareRoot()
          let s = t * c
          for k in 0..<n {
            (a[k, p], a[k, q]) = (c * a[k, p] - s * a[k, q], s * a[k, p] + c * a[k, q])
          }
          for k in 0..<n {
            (a[p, k], a[q, k]) = (c * a[p, k] - s * a[q, k], s * a[p, k] + c * a[q, k])
          }
          for k in 0..<n {
            (vectors[k, p], vectors[k, q]) = (
              c * vectors[k, p] - s * vectors[k, q], s * vectors[k, p] + c * vectors[k, q]
            )
          }
        }
      }
    }
    let order = (0..<n).sorted { a[$0, $0] < a[$1, $1] }
    var sorted = Tensor<Double>(zeros: [n, n])
    for (column, source) in order.enumerated() {
      for row in 0..<n { sorted[row, column] = vectors[row, source] }
    }
    return SymmetricEigen(values: Tensor(shape: [n], order.map { a[$0, $0] }), vectors: sorted)
  }

  public func triangularSolution(_ lower: Tensor<Double>, transposed: Bool, _ b: Tensor<Double>)
    -> Tensor<Double>
  {
    let (n, columnCount) = (b.shape[0], b.shape[1])
    var x = b
    let order = transposed ? Array((0..<n).reversed()) : Array(0..<n)
    for (step, row) in order.enumerated() {
      for column in 0..<columnCount {
        var sum = x[row, column]
        for other in order[..<step] {
          sum -= (transposed ? lower[other, row] : lower[row, other]) * x[other, column]
        }
        x[row, column] = sum / lower[row, row]
      }
    }
    return x
  }
}
