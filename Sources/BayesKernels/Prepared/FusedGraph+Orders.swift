import BayesTensor

extension FusedGraph {
  /// The part of a network's multiply-adds in wide convolutions from which blocks of channels pay.
  private static let widePart = 0.4
  /// The part of what narrow blocks serve that wider ones must serve too.
  private static let worthwhilePart = 0.9

  /// The graph with images in the order in which most of its work is done fastest.
  func inFavorableOrders() -> FusedGraph { inBlocks(favorableBlock()) }

  /// The blocks of channels on which most of the graph's work is done faster, if there are such.
  ///
  /// - Parameters:
  ///   - isShared: whether threads share a row.  They share lines of images that lie channels last better than blocks of
  ///     few channels.
  ///   - blocks: to choose from, the widest first.
  func favorableBlock(
    sharingRows isShared: Bool = false, from blocks: [ChannelBlock] = ChannelBlock.available
  ) -> ChannelBlock? {
    let wideChannelCount = isShared ? 64 : 16
    let work = blocks.map { block in
      operations.reduce(0) { $0 + ($1.isWideConvolution(from: wideChannelCount, in: block) ? $1.bandWork : 0) }
    }
    let least = max(
      Self.widePart * Double(operations.reduce(0) { $0 + $1.bandWork }),
      Self.worthwhilePart * Double(work.max() ?? 0))
    return zip(blocks, work).first { $0.1 > 0 && Double($0.1) > least }?.0
  }

  /// The graph with images in blocks of channels where operations are faster so, and operations between that bring
  /// values from one order into another; the same graph where there is no block.
  func inBlocks(_ block: ChannelBlock?) -> FusedGraph {
    guard let block else { return self }
    var reordering = Reordering(self, block)
    for operation in operations { reordering.append(operation) }
    return reordering.finished(self)
  }
}

extension FusedOperation {
  fileprivate func isWideConvolution(from channelCount: Int, in block: ChannelBlock) -> Bool {
    guard case .convolution(let geometry, let groups, let weight, _) = kind else { return false }
    return groups == 1 && geometry.window != Extent2D(height: 1, width: 1) && weight.shape[2] >= channelCount
      && weight.shape[3] >= channelCount && weight.shape[2] % block.width == 0 && weight.shape[3] % block.width == 0
  }

  /// The orders in which the operation is fastest, given whether all its inputs lie in blocks already.
  fileprivate func favorableOrders(_ block: ChannelBlock, inputsAreBlocked: Bool) -> ImageOrders {
    let plain = ImageOrders()
    let blocks = ImageOrders(input: .channelBlocks(block), output: .channelBlocks(block))
    guard outputShape.asImage.rank == 3, outputShape.asImage[2] % block.width == 0 else { return plain }
    switch kind {
    case .convolution(let geometry, let groups, _, _):
      let channels = inputs[0].shape[2]
      // Beyond this, oneDNN has no fast convolution of blocks.
      guard max(geometry.padding.left, geometry.padding.right) <= 3 else { return plain }
      // The few channels of a picture, for which there are kernels of their own.
      if groups == 1, channels < ChannelBlock.eight.width {
        return ImageOrders(input: .planar, output: .channelBlocks(block))
      }
      if groups > 1, groups != channels || groups != outputShape[2] { return plain }
      return channels % block.width == 0 ? blocks : plain
    case .pooling, .activation, .merge, .channelMap, .resampling:
      return inputsAreBlocked ? blocks : plain
    case .concatenation(let axis): return inputsAreBlocked && axis == 2 ? blocks : plain
    case .dense, .transposedConvolution, .border, .reorder, .layer: return plain
    }
  }
}

/// A graph in the making, with the order of every value.
private struct Reordering {
  private let block: ChannelBlock
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

  init(_ graph: FusedGraph, _ block: ChannelBlock) {
    self.block = block
    elementCounts = graph.elementCounts
  }

  mutating func append(_ operation: FusedOperation) {
    var operation = operation
    let inputsAreBlocked = operation.inputs.allSatisfy {
      $0.shape.rank == 3 && $0.shape[2] % block.width == 0
        && ($0.shape.isOnePixel ? images[$0.value] == nil : images[$0.value] == $0.shape)
    }
    operation.orders = operation.favorableOrders(block, inputsAreBlocked: inputsAreBlocked)
    for (index, input) in operation.inputs.enumerated() {
      operation.inputs[index].value = value(input.value, input.shape, in: operation.orders.input)
    }
    operation.residual = operation.residual.map { value($0, operation.outputShape, in: operation.orders.output) }
    if operation.orders.output.block != nil, !operation.outputShape.isOnePixel {
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
    if order.block != nil, image == shape { return value }
    // A reshape renames elements in their usual order alone, so that blocks are undone as the image that they are of.
    let plain = image.map { rewritten(value, $0, from: .channelBlocks(block), to: .channelsLast) } ?? value
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
