public import BayesNetwork
public import BayesTensor

/// How strong a corruption is, from 1 to 5.
public struct Severity: Sendable, Hashable, Comparable {
  public let level: Int

  /// - Returns: `nil` outside 1...5.
  public init?(_ level: Int) {
    guard (1...5).contains(level) else { return nil }
    self.level = level
  }

  private init(known level: Int) { self.level = level }

  /// All five, the weakest first.
  public static let all = (1...5).map { Severity(known: $0) }

  public static func < (left: Severity, right: Severity) -> Bool { left.level < right.level }
}

/// A way in which images get worse in the world, done to them by a program.
///
/// Strengths are those of Hendrycks and Dietterich for images of 32 x 32 pixels (CIFAR-10-C), whatever the size of the
/// images here; of rotations, which they leave out, those of Ovadia et al. for MNIST.
///
/// - Determinism: noise comes from a key, the corruption, the severity and the row's index in its file, so that a row
///   gets the same noise whatever rows stand beside it.  All else has no chance in it.
/// - Source: Hendrycks and Dietterich 2019, arXiv:1903.12261; rotation, Ovadia et al. 2019, arXiv:1906.02530.
public enum Corruption: String, Sendable, CaseIterable {
  /// Normal noise on every value.
  case noise
  /// A Gaussian blur.
  case blur
  /// Values drawn to the mean of their channel.
  case contrast
  /// Light added to all pixels: to the value in HSV, so that hue and saturation stay.
  case brightness
  /// Compressed as JPEG with chroma at half the resolution, and unpacked.
  case jpeg
  /// Turned anticlockwise about the centre, black around.
  case rotation

  /// What a reader calls it.
  public var title: String {
    switch self {
    case .noise: "Gaussian noise"
    case .blur: "Gaussian blur"
    case .contrast: "Low contrast"
    case .brightness: "Brightness"
    case .jpeg: "JPEG compression"
    case .rotation: "Rotation"
    }
  }

  /// What `strength(_:)` measures, in words.
  public var strengthName: String {
    switch self {
    case .noise: "standard deviation, in units of the pixel range"
    case .blur: "standard deviation, in pixels"
    case .contrast: "share of the contrast that is left"
    case .brightness: "added, in units of the pixel range"
    case .jpeg: "quality"
    case .rotation: "degrees"
    }
  }

  /// How much of it a severity is.
  public func strength(_ severity: Severity) -> Double {
    let strengths: [Double] =
      switch self {
      case .noise: [0.04, 0.06, 0.08, 0.09, 0.10]
      case .blur: [0.4, 0.6, 0.7, 0.8, 1]
      case .contrast: [0.75, 0.5, 0.4, 0.3, 0.15]
      case .brightness: [0.05, 0.1, 0.15, 0.2, 0.3]
      case .jpeg: [80, 65, 58, 50, 40]
      case .rotation: [15, 30, 45, 60, 75]
      }
    return strengths[severity.level - 1]
  }

  /// Corrupts images; bytes become bytes again, rounded to nearest, and all values stay in the range.
  ///
  /// JPEG goes by 256 levels of the range, so that numbers are rounded to those too.
  ///
  /// - Shapes: `[rows, height, width, channels]` with 1 or 3 channels, or `[rows, height, width]`; the same comes out.
  /// - Parameters:
  ///   - range: of the values as stored.
  ///   - firstRow: the index in the file of the first row.
  ///   - file: for messages.
  /// - Throws: `FileError.Code.shape` for rows that are no such images; `.value` naming the row where a value lies
  ///   outside the range.
  public func corrupt(
    _ batch: RowBatch, _ severity: Severity, range: PixelRange, key: RandomKey, firstRow: Int, file: String
  ) throws(FileError) -> RowBatch {
    let size = try ImageSize(batch.shape.row, file: file)
    let codec = try JPEGCodec(size, file: file)
    let rowKey = key.child(Self.keyIndex).child(index).child(severity.level)
    let strength = strength(severity)
    let count = size.valueCount
    func corrupted(_ values: [Double], _ row: Int) throws(FileError) -> [Double] {
      if let position = values.firstIndex(where: { !(0...1).contains($0) }) {
        throw FileError(
          .value, file: file,
          "Row \(firstRow + row) holds \((range.low + values[position] * range.width).significantDigits()), which is "
            + "not in the pixel range \(range); say the range with --pixel-range LOW:HIGH.")
      }
      let image = UnitImage(size: size, values: values)
      return switch self {
      case .noise:
        image.addingNoise(standardDeviation: strength, key: rowKey.child(firstRow + row)).values
      case .blur: image.blurred(standardDeviation: strength).values
      case .contrast: image.scalingContrast(by: strength).values
      case .brightness: image.brightened(by: strength).values
      case .jpeg: try image.compressed(quality: Int(strength), by: codec).values
      case .rotation: image.rotated(degrees: strength).values
      }
    }
    switch batch.values {
    case .bytes(let bytes):
      var result = ContiguousArray<UInt8>()
      result.reserveCapacity(bytes.count)
      for row in 0..<batch.count {
        let values = bytes[row * count..<(row + 1) * count].map { (Double($0) - range.low) / range.width }
        for value in try corrupted(values, row) {
          // A range may be wider than a byte.
          result.append(UInt8(min(255, max(0, (range.low + value * range.width).rounded()))))
        }
      }
      return RowBatch(shape: batch.shape, values: .bytes(result))
    case .floats(let floats):
      var result = ContiguousArray<Float>()
      result.reserveCapacity(floats.count)
      for row in 0..<batch.count {
        let values = floats[row * count..<(row + 1) * count].map { (Double($0) - range.low) / range.width }
        for value in try corrupted(values, row) { result.append(Float(range.low + value * range.width)) }
      }
      return RowBatch(shape: batch.shape, values: .floats(result))
    }
  }

  /// Where these keys lie below the root's, away from those of posteriors.
  private static let keyIndex = 0x0053_4849_4654

  private var index: Int { Self.allCases.firstIndex(of: self) ?? 0 }
}

/// The extents of an image with 1 or 3 channels.
public struct ImageSize: Sendable, Hashable {
  public let height: Int
  public let width: Int
  public let channelCount: Int

  /// - Parameter row: `[height, width, channels]` or, in grey, `[height, width]`.
  /// - Throws: `FileError.Code.shape` for another shape.
  public init(_ row: Shape, file: String) throws(FileError) {
    let channelCount = row.rank == 2 ? 1 : row.rank == 3 ? row[2] : 0
    guard [1, 3].contains(channelCount), row.elementCount > 0 else {
      throw FileError(
        .shape, file: file,
        "Corruptions are for images [height, width, channels] in grey or in colour (1 or 3 channels), and rows here "
          + "are \(row).")
    }
    height = row[0]
    width = row[1]
    self.channelCount = channelCount
  }

  var valueCount: Int { height * width * channelCount }
}
