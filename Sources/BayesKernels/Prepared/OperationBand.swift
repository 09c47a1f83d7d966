import BayesNetwork
import BayesTensor

/// Part of an operation on one row: some lines of the image that it makes.
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

  /// That of a whole operation.
  static func none(for operation: FusedOperation) -> Displacement {
    Displacement(inputs: operation.inputs.map { _ in 0 }, output: 0)
  }
}

extension FusedOperation {
  /// Below this many multiply-adds, or elements touched, handing a part to another thread costs more than it saves.
  private static let smallestBandWork = 16_384

  /// The operation on one row cut into at most `count` bands of lines, which can be computed in any order;
  /// in one piece where it cannot be cut or is too small.
  func bands(_ count: Int) -> [OperationBand] {
    let whole = [OperationBand(operation: self, displacement: .none(for: self))]
    guard outputShape.rank == 3, inputs.allSatisfy({ $0.shape.rank == 3 }) else { return whole }
    let bandCount = min(count, outputShape[0], max(1, bandWork / Self.smallestBandWork))
    guard bandCount > 1 else { return whole }
    var bands: [OperationBand] = []
    for index in 0..<bandCount {
      let lines = outputShape[0] * index / bandCount..<outputShape[0] * (index + 1) / bandCount
      guard let band = band(of: lines) else { return whole }
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
  private func band(of lines: Range<Int>) -> OperationBand? {
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
    case .dense, .transposedConvolution, .border, .layer: return nil
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
