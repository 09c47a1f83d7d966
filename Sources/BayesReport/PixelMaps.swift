/// A test image with what every model says of each of its pixels, as pictures.
public struct PixelMaps: Codable, Sendable, Hashable {
  /// What one model says.
  public struct Model: Codable, Sendable, Hashable {
    public var name: String
    /// The most probable class of each pixel: a PNG as a `data:` URI, as all pictures here.
    public var classes: String
    /// The entropy of each pixel's averaged probabilities, black for 0 and white for the logarithm of the class count.
    public var entropy: String
    /// The mutual information of class and weights, in the same scale; absent where predictions are no draws.
    public var mutualInformation: String?
    /// Means over all pixels, nats.
    public var meanEntropy: Double
    public var meanMutualInformation: Double?

    public init(
      name: String, classes: String, entropy: String, mutualInformation: String?, meanEntropy: Double,
      meanMutualInformation: Double?
    ) {
      self.name = name
      self.classes = classes
      self.entropy = entropy
      self.mutualInformation = mutualInformation
      self.meanEntropy = meanEntropy
      self.meanMutualInformation = meanMutualInformation
    }
  }

  /// The image's row in the test file, from zero.
  public var row: Int
  /// Absent where rows are no images.
  public var image: String?
  /// The class of each pixel as labelled.
  public var labels: String
  /// The share of its pixels that are anomalous.
  public var anomalousShare: Double
  public var models: [Model]

  public init(row: Int, image: String?, labels: String, anomalousShare: Double, models: [Model]) {
    self.row = row
    self.image = image
    self.labels = labels
    self.anomalousShare = anomalousShare
    self.models = models
  }
}

/// The colours of classes on pictures.
public enum ClassColor {
  /// Okabe and Ito's, which those who see few colours tell apart; then hues that lie far from one another.
  private static let first: [[UInt8]] = [
    [0, 114, 178], [230, 159, 0], [0, 158, 115], [204, 121, 167], [86, 180, 233], [213, 94, 0], [240, 228, 66],
  ]
  /// Of pixels of no class.
  public static let anomaly: [UInt8] = [255, 255, 255]
  /// Of pixels that are passed over.
  public static let ignored: [UInt8] = [96, 96, 96]

  /// Red, green and blue of a class.
  public static func components(_ index: Int) -> [UInt8] {
    guard index >= first.count else { return first[index] }
    // Turned by the golden angle each, and darker from turn to turn.
    let turn = Double(index) * 0.618_033_988_749_895
    let hue = 6 * (turn - turn.rounded(.down))
    let value = 230 - 45 * Double(index / 7 % 4)
    return [0.0, 4, 2].map { offset in
      let place = (hue + offset).truncatingRemainder(dividingBy: 6)
      return UInt8(value * min(1, max(0.15, abs(place - 3) - 1)))
    }
  }
}
