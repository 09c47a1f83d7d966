/// What is done to stored values before a network sees them: `(x / scale − mean) / deviation`.
///
/// `mean` and `standardDeviation` hold one number, or one a channel.
public struct Preprocessing: Hashable, Sendable, Codable {
  public var scale: Double
  public var mean: [Double]
  public var standardDeviation: [Double]

  public init(scale: Double = 1, mean: [Double] = [0], standardDeviation: [Double] = [1]) {
    self.scale = scale
    self.mean = mean
    self.standardDeviation = standardDeviation
  }

  /// Values go in as they are stored.
  public static let identity = Preprocessing()

  /// Whether values go in as they are stored.
  public var isIdentity: Bool {
    scale == 1 && mean.allSatisfy { $0 == 0 } && standardDeviation.allSatisfy { $0 == 1 }
  }

  /// Whether there are means and deviations, and all numbers are finite, those that divide positive.
  public var isInRange: Bool {
    !mean.isEmpty && !standardDeviation.isEmpty && mean.allSatisfy(\.isFinite)
      && (standardDeviation + [scale]).allSatisfy { $0 > 0 && $0.isFinite }
  }

  /// The factor and the offset of each channel in `x · factor + offset`.
  ///
  /// - Returns: `nil` where the number of means or deviations is neither one nor `channels`.
  public func affine(channels: Int) -> (factors: [Float], offsets: [Float])? {
    guard [1, channels].contains(mean.count), [1, channels].contains(standardDeviation.count) else {
      return nil
    }
    var factors: [Float] = []
    var offsets: [Float] = []
    for channel in 0..<channels {
      let mean = mean.count == 1 ? mean[0] : mean[channel]
      let deviation = standardDeviation.count == 1 ? standardDeviation[0] : standardDeviation[channel]
      factors.append(Float(1 / (scale * deviation)))
      offsets.append(Float(-mean / deviation))
    }
    return (factors, offsets)
  }
}
