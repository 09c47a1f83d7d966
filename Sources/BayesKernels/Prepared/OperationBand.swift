import BayesNetwork
import BayesTensor

/// Part of an operation on one row: some lines or some channels of the image that it makes.
struct OperationBand: Sendable {
  /// The operation on the part's shapes.
  var operation: FusedOperation
  var displacement: Displacement
}

/// Elements that lie before the part of a value that a band touches.
struct Displacement: Sendable {
  /// In each input.
  var inputs: [Int]
  /// In the output, and in what is added to it.
  var output: Int
  /// The first of the operation's filters that belongs to the part.
  var filter = 0

  /// That of a whole operation.
  static func none(for operation: FusedOperation) -> Displacement {
    Displacement(inputs: operation.inputs.map { _ in 0 }, output: 0)
  }
}

extension FusedOperation {
  /// Below this many multiply-adds, or elements touched, handing a part to another thread costs more than it saves.
  private static let smallestBandWork = 16_384

  /// The operation on one row cut into at most `count` bands, which can be computed in any order; in one piece where
  /// it cannot be cut or is too small.
  ///
  /// Bands are what lies together in memory: lines, or blocks of channels.
  func bands(_ count: Int) -> [OperationBand] {
    let whole = [OperationBand(operation: self, displacement: .none(for: self))]
    guard outputShape.rank == 3, inputs.allSatisfy({ $0.shape.rank == 3 }) else { return whole }
    let width = orders.output.block?.width
    let pieces = width.map { outputShape[2] / $0 } ?? outputShape[0]
    let bandCount = min(count, pieces, max(1, bandWork / Self.smallestBandWork))
    guard bandCount > 1 else { return whole }
    var bands: [OperationBand] = []
    for index in 0..<bandCount {
      let range = pieces * index / bandCount..<pieces * (index + 1) / bandCount
      let band =
        width.map { self.band(ofChannels: range.lowerBound * $0..<range.upperBound * $0) } ?? self.band(ofLines: range)
      guard let band else { return whole }
      bands.append(band)
    }
    return bands
  }

  /// What is to be done on one row, in multiply-adds or elements.
  var bandWork: Int {
    switch kind {
    case .convolution(let geometry, _, let weight, _):
      outputShape.elementCount * geometry.window.height * geometry.window.width * weight.shape[2]
    case .pooling(_, let geometry): outputShape.elementCount * geometry.window.height * geometry.window.width
    case .dense(let weight, _): outputShape.elementCount * weight.shape[0]
    default: outputShape.elementCount
    }
  }

  /// The part of the operation that makes some lines of its output.
  private func band(ofLines lines: Range<Int>) -> OperationBand? {
    guard orders == ImageOrders() else { return nil }
    var part = self
    part.outputShape = [lines.count, outputShape[1], outputShape[2]]
    let output = lines.lowerBound * outputShape[1] * outputShape[2]
    switch kind {
    case .convolution(let geometry, let groups, let weight, let bias):
      let (read, window) = geometry.reading(lines, of: inputs[0].shape[0])
      part.kind = .convolution(window, groups: groups, weight: weight, bias: bias)
      return part.over([read], output)
    case .pooling(let kind, let geometry):
      let (read, window) = geometry.reading(lines, of: inputs[0].shape[0])
      // A window that lies in the padding alone has no maximum.
      guard !read.isEmpty else { return nil }
      part.kind = .pooling(kind, window)
      return part.over([read], output)
    case .activation, .channelMap, .merge: return part.over(inputs.map { _ in lines }, output)
    case .concatenation(let axis): return axis == 0 ? nil : part.over(inputs.map { _ in lines }, output)
    case .dense, .transposedConvolution, .border, .resampling, .reorder, .layer: return nil
    }
  }

  /// The part of the operation that makes some channels of its output, where they lie in blocks.
  private func band(ofChannels channels: Range<Int>) -> OperationBand? {
    var part = self
    part.outputShape = [outputShape[0], outputShape[1], channels.count]
    var displacement = Displacement(
      inputs: inputs.map { channels.lowerBound * $0.shape[0] * $0.shape[1] },
      output: channels.lowerBound * outputShape[0] * outputShape[1])
    switch kind {
    case .convolution(let geometry, 1, let weight, let bias):
      part.kind = .convolution(
        geometry, groups: 1, weight: weight.filters(channels), bias: bias.map { $0.filters(channels) })
      displacement.inputs = [0]
      displacement.filter = channels.lowerBound
      return OperationBand(operation: part, displacement: displacement)
    case .pooling, .activation, .merge, .resampling:
      for index in inputs.indices {
        let shape = inputs[index].shape
        part.inputs[index].shape = [shape[0], shape[1], channels.count]
      }
      return OperationBand(operation: part, displacement: displacement)
    case .convolution, .channelMap, .concatenation, .dense, .transposedConvolution, .border, .reorder, .layer:
      return nil
    }
  }

  /// This operation on some lines of each of its inputs.
  private func over(_ lines: [Range<Int>], _ output: Int) -> OperationBand? {
    guard lines.allSatisfy({ !$0.isEmpty }) else { return nil }
    var part = self
    var displacements: [Int] = []
    for (index, read) in lines.enumerated() {
      let shape = inputs[index].shape
      part.inputs[index].shape = [read.count, shape[1], shape[2]]
      displacements.append(read.lowerBound * shape[1] * shape[2])
    }
    return OperationBand(operation: part, displacement: Displacement(inputs: displacements, output: output))
  }
}

extension Tensor<Float> {
  /// Some positions of the last axis.
  func filters(_ range: Range<Int>) -> Tensor {
    let width = shape.dimensions[shape.rank - 1]
    return Tensor(shape: Shape(shape.dimensions.dropLast() + [range.count])) { result in
      for start in Swift.stride(from: 0, to: count, by: width) {
        for position in range { result.append(self[start + position]) }
      }
    }
  }
}

extension WindowGeometry {
  /// The lines of an image of `height` that some lines of the output come from, and the movement over those alone.
  fileprivate func reading(_ lines: Range<Int>, of height: Int) -> (lines: Range<Int>, geometry: WindowGeometry) {
    let first = lines.lowerBound * strides.height - padding.top
    let end = (lines.upperBound - 1) * strides.height - padding.top + dilation.height * (window.height - 1) + 1
    let read = max(0, min(first, height))..<max(0, min(end, height))
    var part = self
    part.padding.top = max(0, -first)
    part.padding.bottom = max(0, end - height)
    return (read, part)
  }
}
