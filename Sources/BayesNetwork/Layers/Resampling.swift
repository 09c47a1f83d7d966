public import BayesTensor

/// An image enlarged by whole factors.
///
/// - Shapes: `[height, width, channels]` to `[height · factor, width · factor, channels]`.
public struct Upsampling: DifferentiableLayer, Hashable {
  public static let kind = "Upsampling"

  public enum Interpolation: String, Hashable, Sendable, Codable {
    case nearest
    /// Bilinear between pixel centres (half-pixel offsets), clamped at the border.
    case bilinear
  }

  public var factor: Extent2D
  public var interpolation: Interpolation

  public init(factor: Extent2D, interpolation: Interpolation) {
    self.factor = factor
    self.interpolation = interpolation
  }

  public func outputShape(for inputs: [Shape]) throws(NetworkError) -> Shape {
    try requireInputs(inputs, rank: 3, of: Self.kind)
    try requireSettings([factor.height, factor.width], of: Self.kind)
    return try Shape(
      checking: [inputs[0][0] * factor.height, inputs[0][1] * factor.width, inputs[0][2]], of: Self.kind)
  }

  /// The layer for images of one size.
  private func resampling(of input: Shape) -> Resampling {
    Resampling(
      from: input, to: Extent2D(height: input[0] * factor.height, width: input[1] * factor.width), interpolation)
  }

  @specialized(where Scalar == Float)
  @specialized(where Scalar == Double)
  public func forward<Scalar: TensorScalar>(
    _ inputs: [Tensor<Scalar>], parameters: [Tensor<Scalar>], on backend: any Backend
  ) -> Tensor<Scalar> {
    resampling(of: inputs[0].shape.row).forward(inputs[0])
  }

  @specialized(where Scalar == Float)
  @specialized(where Scalar == Double)
  public func pullback<Scalar: TensorScalar>(
    of cotangent: Tensor<Scalar>, inputs: [Tensor<Scalar>], parameters: [Tensor<Scalar>],
    output: Tensor<Scalar>, request: GradientRequest, on backend: any Backend
  ) -> LayerGradients<Scalar> {
    guard request.inputs[0] else { return LayerGradients(input: nil) }
    return LayerGradients(input: resampling(of: inputs[0].shape.row).pullback(of: cotangent, inputs[0].shape))
  }
}

/// An image brought to a size, its proportions not kept.
///
/// Samples lie at pixel centres (half-pixel offsets), clamped at the border; nothing is averaged when an image
/// gets smaller.
///
/// - Shapes: `[height, width, channels]` to `[size, channels]`.
public struct Resizing: DifferentiableLayer, Hashable {
  public static let kind = "Resizing"
  public var size: Extent2D
  public var interpolation: Upsampling.Interpolation

  public init(to size: Extent2D, interpolation: Upsampling.Interpolation) {
    self.size = size
    self.interpolation = interpolation
  }

  public func outputShape(for inputs: [Shape]) throws(NetworkError) -> Shape {
    try requireInputs(inputs, rank: 3, of: Self.kind)
    try requireSettings([size.height, size.width], of: Self.kind)
    return try Shape(checking: [size.height, size.width, inputs[0][2]], of: Self.kind)
  }

  @specialized(where Scalar == Float)
  @specialized(where Scalar == Double)
  public func forward<Scalar: TensorScalar>(
    _ inputs: [Tensor<Scalar>], parameters: [Tensor<Scalar>], on backend: any Backend
  ) -> Tensor<Scalar> {
    Resampling(from: inputs[0].shape.row, to: size, interpolation).forward(inputs[0])
  }

  @specialized(where Scalar == Float)
  @specialized(where Scalar == Double)
  public func pullback<Scalar: TensorScalar>(
    of cotangent: Tensor<Scalar>, inputs: [Tensor<Scalar>], parameters: [Tensor<Scalar>],
    output: Tensor<Scalar>, request: GradientRequest, on backend: any Backend
  ) -> LayerGradients<Scalar> {
    guard request.inputs[0] else { return LayerGradients(input: nil) }
    let resampling = Resampling(from: inputs[0].shape.row, to: size, interpolation)
    return LayerGradients(input: resampling.pullback(of: cotangent, inputs[0].shape))
  }
}

/// Which input pixels each output pixel lies between, along both axes.
private struct Resampling {
  /// Two input positions, and the weight of the second.
  struct Source {
    var first, second: Int
    var weight: Double
  }

  let rows: [Source]
  let columns: [Source]

  init(from input: Shape, to size: Extent2D, _ interpolation: Upsampling.Interpolation) {
    rows = Self.sources(input[0], size.height, interpolation)
    columns = Self.sources(input[1], size.width, interpolation)
  }

  private static func sources(_ size: Int, _ count: Int, _ interpolation: Upsampling.Interpolation) -> [Source] {
    (0..<count).map { position in
      switch interpolation {
      case .nearest:
        // In Float as in TensorFlow, which decides where the centre falls between two pixels.
        let center = (Float(position) + 0.5) * (Float(size) / Float(count))
        let nearest = min(Int(center), size - 1)
        return Source(first: nearest, second: nearest, weight: 0)
      case .bilinear:
        let center = (Double(position) + 0.5) * Double(size) / Double(count) - 0.5
        let lower = center.rounded(.down)
        return Source(first: max(0, Int(lower)), second: min(size - 1, Int(lower) + 1), weight: center - lower)
      }
    }
  }

  @specialized(where Scalar == Float)
  @specialized(where Scalar == Double)
  func forward<Scalar: TensorScalar>(_ input: Tensor<Scalar>) -> Tensor<Scalar> {
    let (height, width, channels) = (input.shape[1], input.shape[2], input.shape[3])
    return Tensor(shape: [input.rowCount, rows.count, columns.count, channels]) { output in
      input.withSpan { input in
        for image in 0..<input.count / (height * width * channels) {
          for row in rows {
            let upper = (image * height + row.first) * width
            let lower = (image * height + row.second) * width
            let rowWeight = Scalar(row.weight)
            for column in columns {
              let weight = Scalar(column.weight)
              for c in 0..<channels {
                let above =
                  input[(upper + column.first) * channels + c] * (1 - weight)
                  + input[(upper + column.second) * channels + c] * weight
                let below =
                  input[(lower + column.first) * channels + c] * (1 - weight)
                  + input[(lower + column.second) * channels + c] * weight
                output.append(above * (1 - rowWeight) + below * rowWeight)
              }
            }
          }
        }
      }
    }
  }

  @specialized(where Scalar == Float)
  @specialized(where Scalar == Double)
  func pullback<Scalar: TensorScalar>(of cotangent: Tensor<Scalar>, _ inputShape: Shape) -> Tensor<Scalar> {
    let (height, width, channels) = (inputShape[1], inputShape[2], inputShape[3])
    var gradient = Tensor<Scalar>(zeros: inputShape)
    gradient.withMutableSpan { gradient in
      cotangent.withSpan { cotangent in
        var position = 0
        for image in 0..<inputShape[0] {
          for row in rows {
            let upper = (image * height + row.first) * width
            let lower = (image * height + row.second) * width
            let rowWeight = Scalar(row.weight)
            for column in columns {
              let weight = Scalar(column.weight)
              for c in 0..<channels {
                let arriving = cotangent[position]
                gradient[(upper + column.first) * channels + c] += arriving * ((1 - rowWeight) * (1 - weight))
                gradient[(upper + column.second) * channels + c] += arriving * ((1 - rowWeight) * weight)
                gradient[(lower + column.first) * channels + c] += arriving * (rowWeight * (1 - weight))
                gradient[(lower + column.second) * channels + c] += arriving * (rowWeight * weight)
                position += 1
              }
            }
          }
        }
      }
    }
    return gradient
  }
}
