public import BayesNetwork
public import BayesTensor
import CPNG
import Foundation

/// A small picture of one row of a data set, for pages.
///
/// Rows of shape `[height, width]`, or with one or three channels last or first, are images.  Bytes are shown as they are,
/// other numbers as they are where all lie in 0...255, 255-fold where all lie in 0...1, else stretched from the least to the
/// largest.  Images above `maximumSide` are averaged over squares.
public struct Thumbnail: Sendable {
  /// The largest height or width.
  public static let maximumSide = 96

  private let height: Int
  private let width: Int
  private let channelCount: Int
  /// `[height, width, channels]`
  private let pixels: ContiguousArray<UInt8>

  /// `nil` for a row that is no image.
  ///
  /// - Precondition: the batch has the row.
  public init?(_ batch: RowBatch, row: Int) {
    guard let layout = ImageLayout(batch.shape.row) else { return nil }
    let values = batch.rows([row])
    let isBytes = if case .bytes = values.values { true } else { false }
    let numbers = values.tensor.elements
    guard let least = numbers.min(), let largest = numbers.max() else { return nil }
    let (origin, scale): (Float, Float) =
      if least >= 0, largest <= 1, !isBytes {
        (0, 255)
      } else if least >= 0, largest <= 255 {
        (0, 1)
      } else {
        (least, largest > least ? 255 / (largest - least) : 0)
      }
    let side = (max(layout.height, layout.width) + Self.maximumSide - 1) / Self.maximumSide
    height = max(1, layout.height / side)
    width = max(1, layout.width / side)
    channelCount = layout.channelCount
    var pixels = ContiguousArray<UInt8>()
    for y in 0..<height {
      for x in 0..<width {
        for channel in 0..<channelCount {
          var sum: Float = 0
          var count: Float = 0
          for line in y * side..<min(layout.height, (y + 1) * side) {
            for column in x * side..<min(layout.width, (x + 1) * side) {
              sum += numbers[layout.position(line, column, channel)]
              count += 1
            }
          }
          pixels.append(UInt8(min(255, max(0, ((sum / count - origin) * scale).rounded()))))
        }
      }
    }
    self.pixels = pixels
  }

  /// A picture of given colours, of which every so many are left out where there are more than `maximumSide` a side.
  ///
  /// - Parameter color: red, green and blue of a pixel, counted row by row.
  public init(height: Int, width: Int, color: (Int) -> [UInt8]) {
    let side = (max(height, width) + Self.maximumSide - 1) / Self.maximumSide
    self.height = max(1, height / side)
    self.width = max(1, width / side)
    channelCount = 3
    var pixels = ContiguousArray<UInt8>()
    for y in 0..<self.height {
      for x in 0..<self.width { pixels += color(y * side * width + x * side) }
    }
    self.pixels = pixels
  }

  /// The picture as a `data:` URI of a PNG.
  ///
  /// - Throws: `FileError` where libpng cannot encode it.
  public func dataURI() throws(FileError) -> String { "data:image/png;base64," + Data(try png()).base64EncodedString() }

  private func png() throws(FileError) -> ContiguousArray<UInt8> {
    var image = unsafe png_image()
    unsafe image.version = png_uint_32(PNG_IMAGE_VERSION)
    unsafe image.width = png_uint_32(width)
    unsafe image.height = png_uint_32(height)
    unsafe image.format = png_uint_32(channelCount == 3 ? PNG_FORMAT_FLAG_COLOR : 0)
    defer { unsafe png_image_free(&image) }
    // As stored, with what a file of no compression takes beside.
    var encoded = ContiguousArray<UInt8>(repeating: 0, count: 2 * pixels.count + 1024)
    var size = png_alloc_size_t(encoded.count)
    let isDone = unsafe pixels.withUnsafeBytes { source in
      unsafe encoded.withUnsafeMutableBytes { target in
        unsafe png_image_write_to_memory(&image, target.baseAddress, &size, 0, source.baseAddress, 0, nil) != 0
      }
    }
    guard isDone else { throw FileError(.unsupported, file: "thumbnail", "libpng cannot encode this picture.") }
    encoded.removeLast(encoded.count - Int(size))
    return encoded
  }
}

/// Where the pixels of an image lie in a row.
private struct ImageLayout {
  let height: Int
  let width: Int
  let channelCount: Int
  private let hasChannelsFirst: Bool

  init?(_ shape: Shape) {
    switch shape.rank {
    case 2: (height, width, channelCount, hasChannelsFirst) = (shape[0], shape[1], 1, false)
    case 3 where [1, 3].contains(shape[2]):
      (height, width, channelCount, hasChannelsFirst) = (shape[0], shape[1], shape[2], false)
    case 3 where [1, 3].contains(shape[0]):
      (height, width, channelCount, hasChannelsFirst) = (shape[1], shape[2], shape[0], true)
    default: return nil
    }
    // Sequences of a few features are no pictures.
    guard height >= 4, width >= 4 else { return nil }
  }

  func position(_ line: Int, _ column: Int, _ channel: Int) -> Int {
    hasChannelsFirst
      ? (channel * height + line) * width + column : (line * width + column) * channelCount + channel
  }
}
