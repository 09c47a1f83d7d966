import BayesTensor

/// Where the channels of images lie: `run` pixels of `width` channels each, block after block.
struct ChannelLayout: Sendable {
  /// Channels that lie together.
  let width: Int
  /// Pixels of a block, one behind the other.
  let run: Int
  let blockCount: Int
  private let channelCount: Int

  /// - Parameter shape: of a row whose last axis is that of the channels; one in blocks of channels is an image.
  init(_ shape: Shape, _ order: ImageOrder, rowCount: Int) {
    precondition(order != .planar, "Planes of one channel are read by convolutions alone.")
    channelCount = shape.dimensions[shape.rank - 1]
    let pixelCount = shape.elementCount / channelCount
    if order == .channelBlocks {
      (width, run) = (ImageOrder.blockWidth, pixelCount)
    } else {
      (width, run) = (channelCount, rowCount * pixelCount)
    }
    blockCount = rowCount * shape.elementCount / (width * run)
  }

  /// The first channel of a block.
  func firstChannel(ofBlock block: Int) -> Int { block * width % channelCount }

  /// Calls `body` with every pixel's first element, and with the channel that this is.
  @inline(__always) func forEachPixel(_ body: (_ start: Int, _ firstChannel: Int) -> Void) {
    for block in 0..<blockCount {
      let first = firstChannel(ofBlock: block)
      for pixel in 0..<run { body((block * run + pixel) * width, first) }
    }
  }
}
