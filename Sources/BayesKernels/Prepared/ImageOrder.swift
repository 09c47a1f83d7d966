import BayesTensor
import COneDNN

/// How images lie in what an operation reads, and in what it makes.
struct ImageOrders: Hashable, Sendable {
  var input = ImageOrder.channelsLast
  var output = ImageOrder.channelsLast
}

/// As many channels as one register holds.
enum ChannelBlock: Int, Sendable {
  /// For AVX2.
  case eight = 8
  /// For AVX-512.
  case sixteen = 16

  /// The channels of a block.
  var width: Int { rawValue }

  /// The widest first, of those for which this processor has instructions that oneDNN may use.
  static let available: [ChannelBlock] =
    dnnl_get_effective_cpu_isa().rawValue & dnnl_cpu_isa_avx512_core.rawValue == dnnl_cpu_isa_avx512_core.rawValue
    ? [.sixteen, .eight] : [.eight]
}

/// How the elements of a row that is an image lie in memory.
enum ImageOrder: Hashable, Sendable {
  /// Pixel by pixel, `[height, width, channels]`: as everywhere outside.
  case channelsLast
  /// Blocks of a few channels one behind the other, each pixel by pixel: `[channels / n, height, width, n]`.
  ///
  /// Wide convolutions read a few channels of many pixels at a time, which here fill whole registers and cache lines.
  case channelBlocks(ChannelBlock)
  /// Channel by channel, `[channels, height, width]`.
  case planar

  /// The block in which channels lie, if they lie so.
  var block: ChannelBlock? { if case .channelBlocks(let block) = self { block } else { nil } }

  /// Brings rows of `shape` from this order into another; one of the two is channels last.
  ///
  /// - Parameters:
  ///   - source: the byte offset of the rows.
  ///   - target: that of the result.
  func rewriter(
    to order: ImageOrder, _ shape: Shape, from source: Int, to target: Int, rowCount: Int
  ) -> @Sendable (AlignedBuffer) -> Void {
    precondition((self == .channelsLast) != (order == .channelsLast), "One of two orders is channels last.")
    let width = (block ?? order.block)?.width ?? 1
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
            if width == 1 {
              unsafe to[write] = from[read]
            } else {
              for channel in stride(from: 0, to: width, by: 8) {
                unsafe SIMD8(from, at: read + channel).store(to: to, at: write + channel)
              }
            }
          }
        }
      }
    }
  }
}
