/// Zeros added around the two spatial axes, in pixels.
public struct SpatialPadding: Hashable, Sendable, Codable {
  public var top, bottom, left, right: Int

  public init(top: Int = 0, bottom: Int = 0, left: Int = 0, right: Int = 0) {
    self.top = top
    self.bottom = bottom
    self.left = left
    self.right = right
  }

  /// No padding.
  public static let none = SpatialPadding()
}

/// A pair of extents along height and width.
public struct Extent2D: Hashable, Sendable, Codable {
  public var height, width: Int

  public init(height: Int, width: Int) {
    self.height = height
    self.width = width
  }
}

/// How a window moves over an image: its size, step, dilation and padding, all explicit.
///
/// Along one axis, the output has `⌊(in + before + after − dilation·(window − 1) − 1) / stride⌋ + 1`
/// positions.
public struct WindowGeometry: Hashable, Sendable, Codable {
  public var window: Extent2D
  public var strides: Extent2D
  public var dilation: Extent2D
  public var padding: SpatialPadding

  public init(
    window: Extent2D, strides: Extent2D = Extent2D(height: 1, width: 1),
    dilation: Extent2D = Extent2D(height: 1, width: 1), padding: SpatialPadding = .none
  ) {
    self.window = window
    self.strides = strides
    self.dilation = dilation
    self.padding = padding
  }

  /// The spatial extent of the output for an input of `input`; not positive where nothing fits.
  public func outputExtent(of input: Extent2D) -> Extent2D {
    func extent(_ size: Int, _ padding: Int, _ window: Int, _ stride: Int, _ dilation: Int) -> Int {
      let room = size + padding - dilation * (window - 1) - 1
      return room < 0 ? 0 : room / stride + 1
    }
    return Extent2D(
      height: extent(
        input.height, padding.top + padding.bottom, window.height, strides.height, dilation.height),
      width: extent(
        input.width, padding.left + padding.right, window.width, strides.width, dilation.width))
  }
}

/// What a pooling window computes; padding never counts.
public enum PoolingKind: String, Hashable, Sendable, Codable {
  case maximum
  case average
}

/// Which factors of a matrix product are transposed first.
public enum Transposition: Hashable, Sendable {
  /// `A B`
  case neither
  /// `Aᵀ B`
  case first
  /// `A Bᵀ`
  case second
}
