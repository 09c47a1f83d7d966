import BayesTensor

/// How well a score tells anomalous positions from the others of their own image, on average over images.
public struct ImageSeparationResult: Sendable, Hashable, Codable {
  /// Images that have both anomalous positions and others; the rest have no curve.
  public var imageCount: Int
  /// Means over those images, of what `ScoreResult` has of all positions together.
  public var auroc: Double
  public var auprOut: Double
  public var fpr95: Double
  /// Normal 95 % intervals of the means; absent below two images.
  public var intervals: Intervals?

  public struct Intervals: Sendable, Hashable, Codable {
    public var auroc: Interval
    public var auprOut: Interval
    public var fpr95: Interval

    public init(auroc: Interval, auprOut: Interval, fpr95: Interval) {
      self.auroc = auroc
      self.auprOut = auprOut
      self.fpr95 = fpr95
    }
  }

  public init(imageCount: Int, auroc: Double, auprOut: Double, fpr95: Double, intervals: Intervals?) {
    self.imageCount = imageCount
    self.auroc = auroc
    self.auprOut = auprOut
    self.fpr95 = fpr95
    self.intervals = intervals
  }
}

/// Separations image by image, from positions that come in the order of their images.
///
/// Positions wait until their image is over, so that memory is for one image, or for a block of a shard.
struct ImageSeparations: Sendable {
  /// Positions of one image.
  private struct Waiting: Sendable {
    let image: Int
    var known: [String: ScoreSample] = [:]
    var foreign: [String: ScoreSample] = [:]

    mutating func merge(_ other: Waiting) {
      for (name, sample) in other.known { known[name, default: ScoreSample()].merge(sample) }
      for (name, sample) in other.foreign { foreign[name, default: ScoreSample()].merge(sample) }
    }
  }

  private struct Means: Sendable {
    var auroc = RowMean()
    var auprOut = RowMean()
    var fpr95 = RowMean()
  }

  /// Whether images may go on before and behind these positions, so that none is over.
  private let isShard: Bool
  private var waiting: [Waiting] = []
  private var means: [String: Means] = [:]

  init(isShard: Bool = false) { self.isShard = isShard }

  /// Adds positions.
  ///
  /// - Parameters:
  ///   - images: the image of each, ascending and from the last one on.
  ///   - scores: of each, by name.
  mutating func add(
    _ scores: [(name: String, values: [Float])], images: [Int], isForeign: Bool
  ) {
    var start = 0
    while start < images.count {
      var end = start + 1
      while end < images.count, images[end] == images[start] { end += 1 }
      var part = Waiting(image: images[start])
      for (name, values) in scores {
        var sample = ScoreSample()
        sample.append(Array(values[start..<end]))
        if isForeign { part.foreign[name] = sample } else { part.known[name] = sample }
      }
      join(part)
      start = end
    }
  }

  private mutating func join(_ part: Waiting) {
    if let place = waiting.lastIndex(where: { $0.image == part.image }) {
      waiting[place].merge(part)
    } else {
      waiting.append(part)
    }
  }

  /// Adds the positions of a later shard.
  mutating func merge(_ other: ImageSeparations) {
    for part in other.waiting { join(part) }
    finishAllButTheLast()
  }

  /// Measures the images that are over, where these are no shard.
  mutating func finishAllButTheLast() {
    guard !isShard, let last = waiting.map(\.image).max() else { return }
    for part in waiting where part.image < last { measure(part) }
    waiting.removeAll { $0.image < last }
  }

  private mutating func measure(_ part: Waiting) {
    for (name, foreign) in part.foreign {
      guard let known = part.known[name] else { continue }
      let separation = ScoreSeparation(known: known.scores, foreign: foreign.scores)
      means[name, default: Means()].auroc.add(separation.auroc)
      means[name, default: Means()].auprOut.add(separation.averagePrecision(positive: .outOfDistribution))
      means[name, default: Means()].fpr95.add(separation.falsePositiveRateAt95)
    }
  }

  /// The means by name of the score, the last image among them; none where no image has anomalies beside others.
  var value: [String: ImageSeparationResult] {
    var whole = self
    for part in waiting { whole.measure(part) }
    return whole.means.mapValues { means in
      var intervals: ImageSeparationResult.Intervals?
      if let auroc = means.auroc.interval, let auprOut = means.auprOut.interval, let fpr95 = means.fpr95.interval {
        intervals = ImageSeparationResult.Intervals(auroc: auroc, auprOut: auprOut, fpr95: fpr95)
      }
      return ImageSeparationResult(
        imageCount: means.auroc.count, auroc: means.auroc.mean, auprOut: means.auprOut.mean, fpr95: means.fpr95.mean,
        intervals: intervals)
    }
  }
}
