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
