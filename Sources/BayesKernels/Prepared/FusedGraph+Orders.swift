import BayesTensor

extension FusedGraph {
  /// The part of a network's multiply-adds in wide convolutions from which blocks of channels pay.
  private static let widePart = 0.4

  /// The graph with images in the order in which most of its work is done fastest.
  func inFavorableOrders() -> FusedGraph { favorsBlocks() ? inBlocks() : self }

  /// Whether most of the graph's work is done faster on blocks of channels.
  ///
  /// - Parameter isShared: whether threads share a row.  They share lines of images that lie channels last better
  ///   than blocks of few channels.
  func favorsBlocks(sharingRows isShared: Bool = false) -> Bool {
    let wideChannelCount = isShared ? 64 : 16
    var (wide, whole) = (0, 0)
    for operation in operations {
      whole += operation.bandWork
      if operation.isWideConvolution(from: wideChannelCount) { wide += operation.bandWork }
    }
    return Double(wide) > Self.widePart * Double(whole)
  }

  /// The graph with images in blocks of channels where operations are faster so, and operations between that bring
  /// values from one order into another.
  func inBlocks() -> FusedGraph {
    var reordering = Reordering(self)
    for operation in operations { reordering.append(operation) }
    return reordering.finished(self)
  }
}

extension FusedOperation {
  fileprivate func isWideConvolution(from channelCount: Int) -> Bool {
    guard case .convolution(let geometry, let groups, let weight, _) = kind else { return false }
    return groups == 1 && geometry.window != Extent2D(height: 1, width: 1) && weight.shape[2] >= channelCount
      && weight.shape[3] >= channelCount
  }

  /// The orders in which the operation is fastest, given whether all its inputs lie in blocks already.
  fileprivate func favorableOrders(inputsAreBlocked: Bool) -> ImageOrders {
    let plain = ImageOrders()
    let blocks = ImageOrders(input: .channelBlocks, output: .channelBlocks)
    guard outputShape.asImage.rank == 3, outputShape.asImage[2] % ImageOrder.blockWidth == 0 else { return plain }
    switch kind {
    case .convolution(let geometry, let groups, _, _):
      let channels = inputs[0].shape[2]
      // Beyond this, oneDNN has no fast convolution of blocks.
      guard max(geometry.padding.left, geometry.padding.right) <= 3 else { return plain }
      if groups == 1, channels < ImageOrder.blockWidth {
        return ImageOrders(input: .planar, output: .channelBlocks)
      }
      if groups > 1, groups != channels || groups != outputShape[2] { return plain }
      return channels % ImageOrder.blockWidth == 0 ? blocks : plain
    case .pooling, .activation, .merge, .channelMap, .resampling:
      return inputsAreBlocked ? blocks : plain
    case .concatenation(let axis): return inputsAreBlocked && axis == 2 ? blocks : plain
    case .dense, .transposedConvolution, .border, .reorder, .layer: return plain
    }
  }
}

/// A graph in the making, with the order of every value.
private struct Reordering {
  private var operations: [FusedOperation] = []
  private var elementCounts: [Int]
  /// The image that each value in blocks of channels is; others lie channels last.
  private var images: [Int: Shape] = [:]
  /// Values brought into another order.
  private var rewritten: [Key: Int] = [:]

  private struct Key: Hashable {
    var value: Int
    var image: Shape
    var order: ImageOrder
  }

  init(_ graph: FusedGraph) { elementCounts = graph.elementCounts }

  mutating func append(_ operation: FusedOperation) {
    var operation = operation
    let inputsAreBlocked = operation.inputs.allSatisfy {
      $0.shape.rank == 3 && $0.shape[2] % ImageOrder.blockWidth == 0
        && ($0.shape.isOnePixel ? images[$0.value] == nil : images[$0.value] == $0.shape)
    }
    operation.orders = operation.favorableOrders(inputsAreBlocked: inputsAreBlocked)
    for (index, input) in operation.inputs.enumerated() {
      operation.inputs[index].value = value(input.value, input.shape, in: operation.orders.input)
    }
    operation.residual = operation.residual.map { value($0, operation.outputShape, in: operation.orders.output) }
    if operation.orders.output == .channelBlocks, !operation.outputShape.isOnePixel {
      images[operation.output] = operation.outputShape
    }
    operations.append(operation)
  }

  func finished(_ graph: FusedGraph) -> FusedGraph {
    var copy = self
    let outputs = graph.outputs.map { (value: copy.value($0.value, $0.shape, in: .channelsLast), shape: $0.shape) }
    return graph.replacing(copy.operations, elementCounts: copy.elementCounts, outputs: outputs)
  }

  /// The value, or a copy of it, read as an image of `shape` in an order.
  private mutating func value(_ value: Int, _ shape: Shape, in order: ImageOrder) -> Int {
    let image = images[value]
    if order == .channelBlocks, image == shape { return value }
    // A reshape renames elements in their usual order alone, so that blocks are undone as the image that they are of.
    let plain = image.map { rewritten(value, $0, from: .channelBlocks, to: .channelsLast) } ?? value
    guard order != .channelsLast, !shape.isOnePixel else { return plain }
    return rewritten(plain, shape, from: .channelsLast, to: order)
  }

  private mutating func rewritten(_ value: Int, _ image: Shape, from: ImageOrder, to order: ImageOrder) -> Int {
    let key = Key(value: value, image: image, order: order)
    if let known = rewritten[key] { return known }
    elementCounts.append(elementCounts[value])
    let result = elementCounts.count - 1
    operations.append(
      FusedOperation(
        kind: .reorder, node: 0, inputs: [(value, image)], orders: ImageOrders(input: from, output: order),
        output: result, outputShape: image))
    rewritten[key] = result
    return result
  }
}

extension Shape {
  /// Whether all orders of images with this shape are the same.
  fileprivate var isOnePixel: Bool { rank == 1 || (rank == 3 && self[0] == 1 && self[1] == 1) }
}
