import BayesTensor

/// The way back of a convolution that makes blocks of channels, where oneDNN has nothing but a reference that computes every
/// address anew, a hundred times slower.
///
/// Networks begin with a convolution that reads planes of a few channels: it has none for their gradient, and for the weights
/// of some, as those of grey images, neither. Nor has it one for the weights of windows that are larger than the image.
///
/// - Determinism: sums run over the window, or over the pixels of each line and then the lines, in order.
struct DirectConvolution: Sendable {
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

  /// Channels that lie side by side in a pixel of the input.
  private let inputWidth: Int
  /// Vectors of eight channels in a pixel of a block.
  private let vectorsPerPixel: Int
  /// Vectors of eight channels in a pixel of all blocks.
  private let vectorCount: Int

  /// - Returns: `nil` for other orders, and where weights are shared in groups.
  init?(
    input: Shape, output: Shape, groups: Int, orders: ImageOrders, _ geometry: WindowGeometry, rowCount: Int
  ) {
    guard groups == 1, orders.input != .channelsLast, let block = orders.output.block else { return nil }
    inputWidth = orders.input.block?.width ?? 1
    vectorsPerPixel = block.width / 8
    vectorCount = output[2] / 8
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
    let channels = input[2]
    let pixels = output[0] * output[1]
    let (from, to) = unsafe (arena.vectors(at: cotangent), arena.floats(at: target))
    let kernel = unsafe weights.vectors(at: 0)
    for row in 0..<rowCount {
      for channel in 0..<channels {
        let plane = plane(row, channel)
        for (line, verticals) in lines.enumerated() {
          for (column, horizontals) in columns.enumerated() {
            var sum = SIMD8<Float>.zero
            for vertical in verticals {
              for horizontal in horizontals {
                let element = (vertical.window * window.width + horizontal.window) * channels + channel
                let pixel = vertical.place * output[1] + horizontal.place
                for vector in 0..<vectorCount {
                  unsafe sum += from[place(row, vector, pixels) + pixel * vectorsPerPixel]
                    * kernel[element * vectorCount + vector]
                }
              }
            }
            unsafe to[plane + (line * input[1] + column) * inputWidth] = sum.sum()
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
    let channels = input[2]
    let pixels = output[0] * output[1]
    let (images, from) = unsafe (arena.floats(at: source), arena.vectors(at: cotangent))
    let gradient = unsafe sum.vectors(at: 0)
    // By element of the window: which columns of the input meet which of the output.
    let runs = (0..<window.width).map { element in
      columns.enumerated().compactMap { column, taps in
        taps.first { $0.window == element }.map { Tap(window: column, place: $0.place) }
      }
    }
    for row in 0..<rowCount {
      for channel in 0..<channels {
        let plane = plane(row, channel)
        for (line, verticals) in lines.enumerated() {
          let first = plane + line * input[1] * inputWidth
          for vertical in verticals {
            for (element, run) in runs.enumerated() {
              let target = ((vertical.window * window.width + element) * channels + channel) * vectorCount
              for vector in 0..<vectorCount {
                let start = place(row, vector, pixels) + vertical.place * output[1] * vectorsPerPixel
                var sum = SIMD8<Float>.zero
                for tap in run { unsafe sum += images[first + tap.window * inputWidth] * from[start + tap.place * vectorsPerPixel] }
                unsafe gradient[target + vector] += sum
              }
            }
          }
        }
      }
    }
  }

  /// Where the first pixel of a channel of a row of the input lies.
  private func plane(_ row: Int, _ channel: Int) -> Int {
    let (block, part) = channel.quotientAndRemainder(dividingBy: inputWidth)
    return (row * input[2] + block * inputWidth) * input[0] * input[1] + part
  }

  /// Where the first pixel of a vector of eight channels of a row lies, in vectors.
  private func place(_ row: Int, _ vector: Int, _ pixels: Int) -> Int {
    let (block, part) = vector.quotientAndRemainder(dividingBy: vectorsPerPixel)
    return (row * vectorCount + block * vectorsPerPixel) * pixels + part
  }
}

extension AlignedBuffer {
  /// Numbers by eights, from a byte offset that is a multiple of their size.
  @unsafe fileprivate func vectors(at offset: Int) -> UnsafeMutablePointer<SIMD8<Float>> {
    precondition(offset % MemoryLayout<SIMD8<Float>>.stride == 0, "Blocks of eight lie at multiples of their size.")
    return unsafe (pointer + offset).assumingMemoryBound(to: SIMD8<Float>.self)
  }
}
