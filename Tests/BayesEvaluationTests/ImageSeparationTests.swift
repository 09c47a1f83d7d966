import BayesEvaluation
import BayesPrediction
import BayesTensor
import Testing
import _BayesTestSupport

/// Anomalous pixels told from the others of the whole test set and of their own image.
@Suite struct ImageSeparationTests {
  private static let pixelCount = 40
  private static let anomaly = 3

  /// Pixels of some images, one of them without anomalies, and one that is nothing else.
  private struct Pixels {
    let logits: Tensor<Float>
    var labels: [Int]

    init(imageCount: Int) {
      let key = RandomKey(seed: 12)
      let count = imageCount * pixelCount
      logits = key.child(0).normals([1, count, 3], as: Float.self).map { 2 * $0 }
      labels = key.child(1).uniforms(count).map { Int($0 * 4) }
      for pixel in 0..<count {
        if pixel / pixelCount == 1, labels[pixel] == anomaly { labels[pixel] = 0 }
        if pixel / pixelCount == 2 { labels[pixel] = anomaly }
      }
    }

    func prediction(_ range: Range<Int>) -> Prediction {
      Prediction(logits: logits, likelihood: .categorical, exit: 0).rows(Array(range))
    }

    func update(_ exit: inout ExitEvaluation, _ range: Range<Int>) throws {
      try exit.update(
        prediction(range), labels: Array(labels[range]), anomaly: anomaly, outOfDistribution: "anomalies",
        images: range.map { $0 / pixelCount })
    }
  }

  private func evaluation() -> ExitEvaluation { ExitEvaluation(index: 0, name: "exit", outOfDistribution: ["anomalies"]) }

  @Test func meansAreThoseOfTheImagesOneByOne() throws {
    let pixels = Pixels(imageCount: 7)
    var exit = evaluation()
    try pixels.update(&exit, 0..<pixels.labels.count)
    let result = try exit.result
    // The pixels as two sets of rows.
    let all = pixels.labels.indices
    var pooled = evaluation()
    try pooled.update(
      pixels.prediction(0..<all.count).rows(all.filter { pixels.labels[$0] != Self.anomaly }),
      labels: pixels.labels.filter { $0 != Self.anomaly })
    try pooled.update(
      pixels.prediction(0..<all.count).rows(all.filter { pixels.labels[$0] == Self.anomaly }), outOfDistribution: "anomalies")
    var expected = try pooled.result
    #expect(expected.ood[0].perImage == nil)
    expected.ood[0].perImage = result.ood[0].perImage
    #expect(result == expected)

    var areas: [Double] = []
    for image in 0..<7 {
      let own = image * Self.pixelCount..<(image + 1) * Self.pixelCount
      guard Set(own.map { pixels.labels[$0] == Self.anomaly }).count == 2 else { continue }
      let scores = pixels.prediction(own).uncertaintySplit().total
      let (known, foreign) = (own.filter { pixels.labels[$0] != Self.anomaly }, own.filter { pixels.labels[$0] == Self.anomaly })
      // By counting pairs.
      var wins = 0.0
      for a in foreign {
        for b in known {
          let (x, y) = (Float(scores[a - own.lowerBound]), Float(scores[b - own.lowerBound]))
          wins += x > y ? 1 : x == y ? 0.5 : 0
        }
      }
      areas.append(wins / Double(foreign.count * known.count))
    }
    let found = try #require(result.ood[0].perImage?["entropy"])
    #expect(found.imageCount == 5 && areas.count == 5)
    expectClose(found.auroc, areas.reduce(0, +) / 5, tolerance: 1e-12)
    let interval = try #require(found.intervals?.auroc)
    #expect(interval.low < found.auroc && found.auroc < interval.high)
  }

  /// Blocks end inside images, and images inside blocks.
  @Test(arguments: [1, 7, 33, 64, 200]) func shardsMergeToTheWhole(blockCount: Int) throws {
    let pixels = Pixels(imageCount: 6)
    var whole = evaluation()
    try pixels.update(&whole, 0..<pixels.labels.count)
    var (merged, fed) = (evaluation(), evaluation())
    for first in stride(from: 0, to: pixels.labels.count, by: blockCount) {
      let range = first..<min(first + blockCount, pixels.labels.count)
      var shard = merged.shard(firstRow: first)
      try pixels.update(&shard, range)
      merged.merge(shard)
      try pixels.update(&fed, range)
    }
    #expect(try merged.result.ood[0].perImage == whole.result.ood[0].perImage)
    #expect(try fed.result.ood[0].perImage == whole.result.ood[0].perImage)
  }

  @Test func noImageWithBothHasNoMeans() throws {
    var pixels = Pixels(imageCount: 2)
    for pixel in pixels.labels.indices { pixels.labels[pixel] = pixel < Self.pixelCount ? 0 : Self.anomaly }
    var exit = evaluation()
    try pixels.update(&exit, 0..<pixels.labels.count)
    #expect(try exit.result.ood[0].perImage == nil)
  }
}
