import BayesTensor

/// The way back of a convolution that reads planes of a few channels and makes blocks of eight.
///
/// Networks begin with such a one. For its input oneDNN has nothing but a reference that computes every address anew, a
/// hundred times slower, and for the weights of some, as those of grey images, neither.
///
/// - Determinism: sums run over the window, or over the pixels of each line and then the lines, in order.
struct PlanarConvolution: Sendable {
  /// Where an element of a window lies, along one axis.
  private struct Tap: Sendable {
    var window: Int
    var place: Int
  }

  private let input: Shape
  private let output: Shape
  private let window: Extent2D
  private let rowCount: Int
  /// For every line of the input, the elements of the window and the lines of the output through which it counts.
  private let lines: [[Tap]]
  /// The same of columns.
  private let columns: [[Tap]]

  private static let width = ImageOrder.blockWidth

  /// - Returns: `nil` for other orders, and where weights are shared in groups.
  init?(
    input: Shape, output: Shape, groups: Int, orders: ImageOrders, _ geometry: WindowGeometry, rowCount: Int
  ) {
    guard groups == 1, orders == ImageOrders(input: .planar, output: .channelBlocks) else { return nil }
    self.input = input
    self.output = output
    self.rowCount = rowCount
    window = geometry.window
    func taps(_ size: Int, _ outputs: Int, _ window: Int, _ stride: Int, _ dilation: Int, _ before: Int) -> [[Tap]] {
      (0..<size).map { position in
        (0..<window).compactMap { element in
          let place = position + before - element * dilation
          guard place >= 0, place % stride == 0, place / stride < outputs else { return nil }
          return Tap(window: element, place: place / stride)
        }
      }
    }
    lines = taps(
      input[0], output[0], geometry.window.height, geometry.strides.height, geometry.dilation.height,
      geometry.padding.top)
    columns = taps(
      input[1], output[1], geometry.window.width, geometry.strides.width, geometry.dilation.width,
      geometry.padding.left)
  }

  /// The gradient of the images that are read.
  ///
  /// - Parameters:
  ///   - weights: `[window height, window width, in, out]`.
  ///   - cotangent: the byte offset of the cotangent of the result.
  ///   - target: that of the gradient.
  func inputGradient(_ weights: AlignedBuffer, in arena: AlignedBuffer, cotangent: Int, target: Int) {
    let (channels, blocks) = (input[2], output[2] / Self.width)
    let pixels = output[0] * output[1]
    let (from, to) = unsafe (arena.blocks(at: cotangent), arena.floats(at: target))
    let kernel = unsafe weights.blocks(at: 0)
    for row in 0..<rowCount {
      for channel in 0..<channels {
        let plane = (row * channels + channel) * input[0] * input[1]
        for (line, verticals) in lines.enumerated() {
          for (column, horizontals) in columns.enumerated() {
            var sum = SIMD8<Float>.zero
            for vertical in verticals {
              for horizontal in horizontals {
                let element = (vertical.window * window.width + horizontal.window) * channels + channel
                let pixel = row * blocks * pixels + vertical.place * output[1] + horizontal.place
                for block in 0..<blocks {
                  unsafe sum += from[pixel + block * pixels] * kernel[element * blocks + block]
                }
              }
            }
            unsafe to[plane + line * input[1] + column] = sum.sum()
          }
        }
      }
    }
  }

  /// Adds to the gradient of the weights, `[window height, window width, in, out]`.
  ///
  /// - Parameters:
  ///   - source: the byte offset of the images that were read.
  ///   - cotangent: that of the cotangent of the result.
  func addWeightGradient(to sum: AlignedBuffer, in arena: AlignedBuffer, source: Int, cotangent: Int) {
    let (channels, blocks) = (input[2], output[2] / Self.width)
    let pixels = output[0] * output[1]
    let (images, from) = unsafe (arena.floats(at: source), arena.blocks(at: cotangent))
    let gradient = unsafe sum.blocks(at: 0)
    // By element of the window: which columns of the input meet which of the output.
    let runs = (0..<window.width).map { element in
      columns.enumerated().compactMap { column, taps in
        taps.first { $0.window == element }.map { Tap(window: column, place: $0.place) }
      }
    }
    for row in 0..<rowCount {
      for channel in 0..<channels {
        let plane = (row * channels + channel) * input[0] * input[1]
        for (line, verticals) in lines.enumerated() {
          let first = plane + line * input[1]
          for vertical in verticals {
            for (element, run) in runs.enumerated() {
              let target = ((vertical.window * window.width + element) * channels + channel) * blocks
              for block in 0..<blocks {
                let start = (row * blocks + block) * pixels + vertical.place * output[1]
                var sum = SIMD8<Float>.zero
                for tap in run { unsafe sum += images[first + tap.window] * from[start + tap.place] }
                unsafe gradient[target + block] += sum
              }
            }
          }
        }
      }
    }
  }
}

extension AlignedBuffer {
  /// Numbers by eights, from a byte offset that is a multiple of their size.
  @unsafe fileprivate func blocks(at offset: Int) -> UnsafeMutablePointer<SIMD8<Float>> {
    precondition(offset % MemoryLayout<SIMD8<Float>>.stride == 0, "Blocks of eight lie at multiples of their size.")
    return unsafe (pointer + offset).assumingMemoryBound(to: SIMD8<Float>.self)
  }
}
