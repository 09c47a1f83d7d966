import BayesTensor

/// How images lie in what an operation reads, and in what it makes.
struct ImageOrders: Hashable, Sendable {
  var input = ImageOrder.channelsLast
  var output = ImageOrder.channelsLast
}

/// How the elements of a row that is an image lie in memory.
enum ImageOrder: Hashable, Sendable {
  /// Pixel by pixel, `[height, width, channels]`: as everywhere outside.
  case channelsLast
  /// Blocks of eight channels one behind the other, each pixel by pixel: `[channels / 8, height, width, 8]`.
  ///
  /// Wide convolutions read a few channels of many pixels at a time, which here fill whole cache lines.
  case channelBlocks
  /// Channel by channel, `[channels, height, width]`.
  case planar

  /// Channels in a block.
  static let blockWidth = 8

  /// Brings rows of `shape` from this order into another; one of the two is channels last.
  ///
  /// - Parameters:
  ///   - source: the byte offset of the rows.
  ///   - target: that of the result.
  func rewriter(
    to order: ImageOrder, _ shape: Shape, from source: Int, to target: Int, rowCount: Int
  ) -> @Sendable (AlignedBuffer) -> Void {
    precondition((self == .channelsLast) != (order == .channelsLast), "One of two orders is channels last.")
    let width = self == .planar || order == .planar ? 1 : Self.blockWidth
    let gathers = order == .channelsLast
    let (pixels, channels) = (shape[0] * shape[1], shape[2])
    return { arena in
      let from = unsafe arena.floats(at: source)
      let to = unsafe arena.floats(at: target)
      for row in stride(from: 0, to: rowCount * pixels * channels, by: pixels * channels) {
        for block in 0..<channels / width {
          for pixel in 0..<pixels {
            let apart = row + (block * pixels + pixel) * width
            let together = row + pixel * channels + block * width
            let (read, write) = gathers ? (apart, together) : (together, apart)
            for channel in 0..<width { unsafe to[write + channel] = from[read + channel] }
          }
        }
      }
    }
  }
}

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
