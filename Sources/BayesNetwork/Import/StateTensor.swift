public import BayesTensor

/// A tensor of some file as a state dictionary of PyTorch would keep it: `conv1.weight` of shape
/// `[out, in, height, width]`.
public struct StateTensor: Hashable, Sendable {
  /// Its name in the dictionary.
  public var name: String
  /// The extents as which the stored elements are seen.
  public var extents: Shape
  /// Those axes in the order of PyTorch.
  public var axes: [Int]
  /// An entry of one number that divides all elements; Caffe keeps its statistics so.
  public var divisor: String?

  public init(name: String, extents: Shape, axes: [Int], divisor: String? = nil) {
    self.name = name
    self.extents = extents
    self.axes = axes
    self.divisor = divisor
  }

  /// The shape in the dictionary.
  public var shape: Shape { Shape(axes.map { extents[$0] }) }

  /// The stored elements, arranged.
  func arranged(_ stored: Tensor<Float>, of checkpoint: some Checkpoint) throws(FileError) -> Tensor<Float> {
    let tensor = stored.permuted(seenAs: extents, axes)
    guard let divisor else { return tensor }
    // As Caffe, which keeps zero where nothing was counted yet.
    let factor = try checkpoint.tensor(named: divisor)[0]
    return Tensor(shape: tensor.shape, elements: ContiguousArray(tensor.elements.map { factor == 0 ? 0 : $0 / factor }))
  }
}

/// How a library lays out an image as one vector; the last axis varies fastest.
public enum ImageFlattening: Hashable, Sendable {
  /// Channels, height, width: PyTorch, Caffe.
  case channelsFirst
  /// Height, width, channels: TensorFlow.
  case channelsLast
  /// Channels, width, height: MATLAB.
  case columnMajor

  /// The axes of `[height, width, channels]`, the slowest first.
  var axes: [Int] {
    switch self {
    case .channelsFirst: [2, 0, 1]
    case .channelsLast: [0, 1, 2]
    case .columnMajor: [2, 1, 0]
    }
  }
}

extension Tensor<Float> {
  /// The elements with their axes in another order.
  func permuted(seenAs extents: Shape, _ axes: [Int]) -> Tensor<Float> {
    // The layer permutes the axes of rows; the whole tensor is one.
    Permutation(order: axes)
      .forward([reshaped(to: extents.batched(1))], parameters: [], on: ReferenceBackend())
      .reshaped(to: Shape(axes.map { extents[$0] }))
  }
}
