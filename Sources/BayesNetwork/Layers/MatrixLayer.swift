public import BayesTensor

/// A layer that multiplies parts of its input by one matrix of weights.
///
///     output[p] = weightᵀ patch[p] + bias,    p over the positions of the output
///
/// The matrix is the parameter `weight` with all its axes but the last made one.
public protocol MatrixLayer: DifferentiableLayer {
  /// Whether there is one matrix: a grouped convolution has one a group.
  var hasOneMatrix: Bool { get }
  /// Whether a bias is added.
  var usesBias: Bool { get }

  /// The patches of some rows, each row's positions in the order of the output.
  ///
  /// - Shapes: `[batch] + input shape` to `[batch · positions, inputs]`.
  /// - Precondition: there is one matrix.
  func patches<Scalar: TensorScalar>(of input: Tensor<Scalar>) -> Tensor<Scalar>
}

extension Dense: MatrixLayer {
  public var hasOneMatrix: Bool { true }

  public func patches<Scalar: TensorScalar>(of input: Tensor<Scalar>) -> Tensor<Scalar> {
    let width = input.shape.dimensions.last ?? 1
    return input.reshaped(to: [input.count / max(1, width), width])
  }
}

extension Convolution: MatrixLayer {
  public var hasOneMatrix: Bool { groups == 1 }

  @specialized(where Scalar == Float)
  @specialized(where Scalar == Double)
  public func patches<Scalar: TensorScalar>(of input: Tensor<Scalar>) -> Tensor<Scalar> {
    precondition(hasOneMatrix, "A grouped convolution has no patches of one matrix.")
    let geometry = geometry(for: input.shape.row)
    let (height, width, channels) = (input.shape[1], input.shape[2], input.shape[3])
    let extent = geometry.outputExtent(of: Extent2D(height: height, width: width))
    let patchWidth = window.height * window.width * channels
    var result = Tensor<Scalar>(zeros: [input.rowCount * extent.height * extent.width, patchWidth])
    result.withMutableSpan { result in
      input.withSpan { input in
        var target = 0
        for image in 0..<input.count / max(1, height * width * channels) {
          for y in 0..<extent.height {
            for x in 0..<extent.width {
              for i in 0..<window.height {
                let line = y * strides.height - geometry.padding.top + i * dilation.height
                for j in 0..<window.width {
                  let column = x * strides.width - geometry.padding.left + j * dilation.width
                  if (0..<height).contains(line), (0..<width).contains(column) {
                    let source = ((image * height + line) * width + column) * channels
                    for channel in 0..<channels { result[target + channel] = input[source + channel] }
                  }
                  target += channels
                }
              }
            }
          }
        }
      }
    }
    return result
  }
}
