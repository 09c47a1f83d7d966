public import BayesNetwork
public import BayesTensor

/// The values of a black and of a full pixel, as images are stored.
public struct PixelRange: Sendable, Hashable {
  public let low: Double
  public let high: Double

  /// - Returns: `nil` unless both are finite and `low` lies below `high`.
  public init?(_ low: Double, _ high: Double) {
    guard low.isFinite, high.isFinite, low < high, (high - low).isFinite else { return nil }
    self.low = low
    self.high = high
  }

  /// Bytes as cameras give them.
  public static let bytes = PixelRange(known: 0, 255)
  /// Shares of the full brightness.
  public static let unit = PixelRange(known: 0, 1)

  private init(known low: Double, _ high: Double) {
    self.low = low
    self.high = high
  }

  /// Judges the range by the smallest and the largest value of some images.
  ///
  /// It starts at 0 and ends at 1 where nothing is larger, at the largest value where that is at most 127 (sixteen
  /// levels of grey are such images), and else at 255.
  ///
  /// - Throws: `FileError.Code.value` where values lie below 0 or above 255, or all are 0.
  public init(ofValues values: ClosedRange<Double>, file: String) throws(FileError) {
    guard values.lowerBound >= 0, values.upperBound <= 255, values.upperBound > 0 else {
      throw FileError(
        .value, file: file,
        "Pixels go from \(values.lowerBound.significantDigits()) to \(values.upperBound.significantDigits()), which "
          + "does not tell what black and full are; say it with --pixel-range LOW:HIGH.")
    }
    low = 0
    high = values.upperBound <= 1 ? 1 : values.upperBound <= 127 ? values.upperBound : 255
  }

  /// Judges the range by the values of a data set.
  ///
  /// - Cost: reads rows until a value above 127 shows that bytes are meant, or all of them; memory for 1024.
  public init(of dataset: any Dataset) throws {
    var (smallest, largest) = (Double.infinity, -Double.infinity)
    for first in stride(from: 0, to: dataset.rowCount, by: 1024) {
      try Task.checkCancellation()
      switch try dataset.inputs(first..<min(first + 1024, dataset.rowCount)).values {
      case .bytes(let bytes):
        smallest = min(smallest, bytes.min().map { Double($0) } ?? smallest)
        largest = max(largest, bytes.max().map { Double($0) } ?? largest)
        if largest > 127 {
          self = .bytes
          return
        }
      case .floats(let floats):
        smallest = min(smallest, floats.min().map { Double($0) } ?? smallest)
        largest = max(largest, floats.max().map { Double($0) } ?? largest)
      }
    }
    try self.init(ofValues: min(smallest, largest)...max(smallest, largest), file: dataset.file)
  }

  var width: Double { high - low }
}

extension PixelRange: CustomStringConvertible {
  public var description: String { "\(Self.text(low)) to \(Self.text(high))" }

  private static func text(_ value: Double) -> String {
    Int(exactly: value).map { String($0) } ?? value.significantDigits()
  }
}
