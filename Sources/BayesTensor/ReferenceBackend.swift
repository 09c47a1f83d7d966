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
    let (rowCount, innerCount, columnCount) = (left.shape[0], left.shape[1], right.shape[1])
    var result = Tensor<Scalar>(zeros: [rowCount, columnCount])
    // Through spans, unlike through tensors, the innermost loop runs on whole vectors.
    result.withMutableSpan { result in
      left.withSpan { left in
        right.withSpan { right in
          for row in 0..<rowCount {
            for inner in 0..<innerCount {
              let factor = left[row * innerCount + inner]
              for column in 0..<columnCount {
                result[row * columnCount + column] += factor * right[inner * columnCount + column]
              }
            }
          }
        }
      }
    }
    return result
  }

  @specialized(where Scalar == Float)
  @specialized(where Scalar == Double)
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
    let imageCount = input.rowCount
    let out = geometry.outputExtent(of: Extent2D(height: height, width: width))
    var result = Tensor<Scalar>(zeros: [imageCount, out.height, out.width, outChannels])
    if let bias {
      result.withMutableSpan { result in
        bias.withSpan { bias in
          for start in stride(from: 0, to: result.count, by: outChannels) {
            for o in 0..<outChannels { result[start + o] = bias[o] }
          }
        }
      }
    }
    result.withMutableSpan { result in
      input.withSpan { input in
        weight.withSpan { weight in
          forEachTap(of: geometry, images: imageCount, input: Extent2D(height: height, width: width)) {
            window, pixel, tap in
            for group in 0..<groups {
              let target = window * outChannels + group * groupOut
              for c in 0..<groupChannels {
                let factor = input[pixel * channels + group * groupChannels + c]
                let kernel = (tap * groupChannels + c) * outChannels + group * groupOut
                for o in 0..<groupOut { result[target + o] += factor * weight[kernel + o] }
              }
            }
          }
        }
      }
    }
    return result
  }

  @specialized(where Scalar == Float)
  @specialized(where Scalar == Double)
  public func pooling<Scalar: TensorScalar>(
    _ input: Tensor<Scalar>, _ kind: PoolingKind, _ geometry: WindowGeometry
  ) -> Tensor<Scalar> {
    let (height, width, channels) = (input.shape[1], input.shape[2], input.shape[3])
    let extent = Extent2D(height: height, width: width)
    let (imageCount, out) = (input.rowCount, geometry.outputExtent(of: extent))
    var result = Tensor<Scalar>(
      repeating: kind == .maximum ? -Scalar.infinity : 0, shape: [imageCount, out.height, out.width, channels])
    var counts = [Int](repeating: 0, count: imageCount * out.height * out.width)
    result.withMutableSpan { result in
      input.withSpan { input in
        forEachTap(of: geometry, images: imageCount, input: extent) { window, pixel, _ in
          counts[window] += 1
          let (target, source) = (window * channels, pixel * channels)
          switch kind {
          case .maximum:
            for c in 0..<channels { result[target + c] = max(result[target + c], input[source + c]) }
          case .average:
            for c in 0..<channels { result[target + c] += input[source + c] }
          }
        }
      }
      guard kind == .average else { return }
      for (window, count) in counts.enumerated() {
        for c in 0..<channels { result[window * channels + c] /= Scalar(count) }
      }
    }
    return result
  }

  @specialized(where Scalar == Float)
  @specialized(where Scalar == Double)
  public func convolutionInputGradient<Scalar: TensorScalar>(
    _ cotangent: Tensor<Scalar>, weight: Tensor<Scalar>, inputShape: Shape, groups: Int,
    _ geometry: WindowGeometry
  ) -> Tensor<Scalar> {
    let (height, width, channels) = (inputShape[1], inputShape[2], inputShape[3])
    let (groupChannels, outChannels) = (weight.shape[2], weight.shape[3])
    let groupOut = outChannels / groups
    let out = geometry.outputExtent(of: Extent2D(height: height, width: width))
    precondition(
      cotangent.shape == [inputShape[0], out.height, out.width, outChannels]
        && groupChannels * groups == channels && groupOut * groups == outChannels,
      "A cotangent of \(cotangent.shape) and weights of \(weight.shape) in \(groups) groups do not fit an "
        + "input of \(inputShape).")
    var result = Tensor<Scalar>(zeros: inputShape)
    forEachTap(of: geometry, images: inputShape[0], input: Extent2D(height: height, width: width)) {
      window, pixel, tap in
      for o in 0..<outChannels {
        let factor = cotangent[window * outChannels + o]
        let target = pixel * channels + o / groupOut * groupChannels
        for c in 0..<groupChannels {
          result[target + c] += factor * weight[(tap * groupChannels + c) * outChannels + o]
        }
      }
    }
    return result
  }

  /// Sums are kept in `Double`, since they run over all pixels of all rows.
  @specialized(where Scalar == Float)
  @specialized(where Scalar == Double)
  public func convolutionWeightGradient<Scalar: TensorScalar>(
    _ cotangent: Tensor<Scalar>, input: Tensor<Scalar>, groups: Int, _ geometry: WindowGeometry
  ) -> Tensor<Scalar> {
    let (height, width, channels) = (input.shape[1], input.shape[2], input.shape[3])
    let (groupChannels, outChannels) = (channels / groups, cotangent.shape[3])
    let groupOut = outChannels / groups
    let out = geometry.outputExtent(of: Extent2D(height: height, width: width))
    precondition(
      cotangent.shape == [input.rowCount, out.height, out.width, outChannels]
        && groupChannels * groups == channels && groupOut * groups == outChannels,
      "A cotangent of \(cotangent.shape) in \(groups) groups does not fit an input of \(input.shape).")
    var sums = Tensor<Double>(
      zeros: [geometry.window.height, geometry.window.width, groupChannels, outChannels])
    forEachTap(of: geometry, images: input.rowCount, input: Extent2D(height: height, width: width)) {
      window, pixel, tap in
      for o in 0..<outChannels {
        let factor = Double(cotangent[window * outChannels + o])
        let source = pixel * channels + o / groupOut * groupChannels
        for c in 0..<groupChannels {
          sums[(tap * groupChannels + c) * outChannels + o] += factor * Double(input[source + c])
        }
      }
    }
    return sums.converted(to: Scalar.self)
  }

  @specialized(where Scalar == Float)
  @specialized(where Scalar == Double)
  public func poolingInputGradient<Scalar: TensorScalar>(
    _ cotangent: Tensor<Scalar>, input: Tensor<Scalar>, _ kind: PoolingKind, _ geometry: WindowGeometry
  ) -> Tensor<Scalar> {
    let (height, width, channels) = (input.shape[1], input.shape[2], input.shape[3])
    let extent = Extent2D(height: height, width: width)
    let out = geometry.outputExtent(of: extent)
    precondition(
      cotangent.shape == [input.rowCount, out.height, out.width, channels],
      "A cotangent of \(cotangent.shape) does not fit a pooled input of \(input.shape).")
    var result = Tensor<Scalar>(zeros: input.shape)
    switch kind {
    case .average:
      var counts = [Int](repeating: 0, count: input.rowCount * out.height * out.width)
      forEachTap(of: geometry, images: input.rowCount, input: extent) { window, _, _ in counts[window] += 1 }
      forEachTap(of: geometry, images: input.rowCount, input: extent) { window, pixel, _ in
        for c in 0..<channels {
          result[pixel * channels + c] += cotangent[window * channels + c] / Scalar(counts[window])
        }
      }
    case .maximum:
      var winners = [Int](repeating: -1, count: cotangent.count)
      forEachTap(of: geometry, images: input.rowCount, input: extent) { window, pixel, _ in
        for c in 0..<channels {
          let (candidate, position) = (pixel * channels + c, window * channels + c)
          if winners[position] < 0 || input[candidate] > input[winners[position]] {
            winners[position] = candidate
          }
        }
      }
      for (position, winner) in winners.enumerated() where winner >= 0 {
        result[winner] += cotangent[position]
      }
    }
    return result
  }

  /// Calls `body` for every element of every window that lies on the image, windows in row-major order
  /// and elements in row-major order within each.
  ///
  /// - Parameter body: Takes the window's index among all windows of all images, the index of the pixel
  ///   among all pixels, and the element's index within its window.
  @inline(__always)
  private func forEachTap(
    of geometry: WindowGeometry, images: Int, input: Extent2D,
    _ body: (_ window: Int, _ pixel: Int, _ tap: Int) -> Void
  ) {
    let out = geometry.outputExtent(of: input)
    var window = 0
    for image in 0..<images {
      for y in 0..<out.height {
        for x in 0..<out.width {
          for j in 0..<geometry.window.height {
            let row = y * geometry.strides.height + j * geometry.dilation.height - geometry.padding.top
            guard row >= 0, row < input.height else { continue }
            for i in 0..<geometry.window.width {
              let column = x * geometry.strides.width + i * geometry.dilation.width - geometry.padding.left
              guard column >= 0, column < input.width else { continue }
              body(
                window, (image * input.height + row) * input.width + column,
                j * geometry.window.width + i)
            }
          }
          window += 1
        }
      }
    }
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
