import BayesTensor

/// Where the channels of images lie: `run` pixels of `width` channels each, block after block.
struct ChannelLayout: Sendable {
  /// Channels that lie together.
  let width: Int
  /// Pixels of a block, one behind the other.
  let run: Int
  let blockCount: Int
  let channelCount: Int

  /// - Parameter shape: of a row whose last axis is that of the channels; one in blocks of channels is an image.
  init(_ shape: Shape, _ order: ImageOrder, rowCount: Int) {
    precondition(order != .planar, "Planes of one channel are read by convolutions alone.")
    channelCount = shape.dimensions[shape.rank - 1]
    let pixelCount = shape.elementCount / channelCount
    if let block = order.block {
      (width, run) = (block.width, pixelCount)
    } else {
      (width, run) = (channelCount, rowCount * pixelCount)
    }
    blockCount = rowCount * shape.elementCount / (width * run)
  }

  /// Calls one of two bodies with every run of pixels: for eight channels at a time, and for what is left one by one.
  ///
  /// Runs are short, so that their pixels are still in the cache when the next channels of them come.
  @inline(__always) func forEachRun(ofEight eight: (ChannelRun) -> Void, ofOne one: (ChannelRun) -> Void) {
    let longest = max(8, 4096 / width)
    for block in 0..<blockCount {
      let first = block * width % channelCount
      for pixel in Swift.stride(from: 0, to: run, by: longest) {
        let place = (block * run + pixel) * width
        let count = min(longest, run - pixel)
        var channel = 0
        while channel + 8 <= width {
          eight(ChannelRun(place: place + channel, stride: width, count: count, channel: first + channel))
          channel += 8
        }
        while channel < width {
          one(ChannelRun(place: place + channel, stride: width, count: count, channel: first + channel))
          channel += 1
        }
      }
    }
  }
}

/// One or more channels of some pixels that lie one behind the other.
struct ChannelRun {
  /// The first element.
  let place: Int
  /// From one pixel to the next.
  let stride: Int
  /// Pixels.
  let count: Int
  /// The channel of the first element.
  let channel: Int

  /// Calls `body` with the place of every pixel's first element.
  @inline(__always) func forEachPixel(_ body: (Int) -> Void) {
    var place = place
    for _ in 0..<count {
      body(place)
      place += stride
    }
  }
}

extension SIMD8<Float> {
  /// Eight numbers from anywhere.
  @unsafe @inline(__always) init(_ numbers: UnsafePointer<Float>, at place: Int) {
    self = unsafe UnsafeRawPointer(numbers + place).loadUnaligned(as: Self.self)
  }

  /// Writes the numbers anywhere.
  @unsafe @inline(__always) func store(to numbers: UnsafeMutablePointer<Float>, at place: Int) {
    unsafe UnsafeMutableRawPointer(numbers + place).storeBytes(of: self, as: Self.self)
  }

  /// Adds the numbers to some that lie anywhere.
  @unsafe @inline(__always) func add(to numbers: UnsafeMutablePointer<Float>, at place: Int) {
    unsafe (Self(numbers, at: place) + self).store(to: numbers, at: place)
  }

  /// The numbers, and zero in place of those that are not above.
  var rectified: Self { Self.zero.replacing(with: self, where: self .>= Self.zero) }
}
