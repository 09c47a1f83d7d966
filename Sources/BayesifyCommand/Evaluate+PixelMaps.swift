import Bayesify
import Foundation

/// Pictures of what models say of each pixel of a few test images, gathered checkpoint by checkpoint.
struct PixelMapGathering {
  private static let imageCount = 4

  private(set) var maps: [PixelMaps] = []
  /// The images by their index among the test rows.
  private var images: [Int] = []

  /// Adds what some models say, where their network answers at the pixels of images.
  ///
  /// - Parameters:
  ///   - firstRow: the place in the file of the first test row.
  /// - Cost: a pass of the models over the images.
  mutating func add(_ contestants: [Contestant], _ network: NetworkRecords, firstRow: Int) async throws {
    let description = network.description
    guard description.positions.count == 2, network.hasLabels else { return }
    let size = (height: description.positions[0], width: description.positions[1])
    if maps.isEmpty {
      images = try await Self.chosen(of: network)
      for image in images { maps.append(try Self.untouched(image, network, size, firstRow: firstRow)) }
    }
    // What temperatures and calibrators change is no other picture.
    for contestant in contestants where contestant.isNetwork {
      for (place, image) in images.enumerated() {
        // Every pixel has its prediction, whatever its label.
        let rows = network.silently(over: ChosenRows([image], of: network.dataset, keepsLabels: false))
        maps[place].models.append(try await Self.model(contestant, rows, size))
      }
    }
  }

  /// Those with the most anomalous pixels; of images with as many, those with the most classes.
  private static func chosen(of network: NetworkRecords) async throws -> [Int] {
    let (description, pixelCount) = (network.description, network.description.positionCount)
    var image = 0
    var ranks: [(image: Int, anomalies: Int, classes: Int)] = []
    try await network.forEachLabels { labels in
      for start in stride(from: 0, to: labels.count, by: pixelCount) {
        let own = labels[start..<start + pixelCount]
        ranks.append(
          (image, own.count { $0 == description.anomalyLabel }, Set(own.filter { $0 != description.ignoredLabel }).count))
        image += 1
      }
      ranks.sort { ($1.anomalies, $1.classes, $0.image) < ($0.anomalies, $0.classes, $1.image) }
      ranks = Array(ranks.prefix(imageCount))
    }
    return ranks.map(\.image)
  }

  private static func untouched(
    _ image: Int, _ network: NetworkRecords, _ size: (height: Int, width: Int), firstRow: Int
  ) throws -> PixelMaps {
    let description = network.description
    let labels = try network.dataset.labels(
      image..<image + 1, as: LabelReading(positions: description.positions, ignored: description.ignoredLabel))
    let picture = Thumbnail(height: size.height, width: size.width) { pixel in
      switch labels[pixel] {
      case description.anomalyLabel: ClassColor.anomaly
      case description.ignoredLabel: ClassColor.ignored
      case let label: ClassColor.components(label)
      }
    }
    return PixelMaps(
      row: firstRow + image, image: try Thumbnail(try network.dataset.inputs(image..<image + 1), row: 0)?.dataURI(),
      labels: try picture.dataURI(),
      anomalousShare: Double(labels.count { $0 == description.anomalyLabel }) / Double(labels.count), models: [])
  }

  private static func model(
    _ contestant: Contestant, _ rows: NetworkRecords, _ size: (height: Int, width: Int)
  ) async throws -> PixelMaps.Model {
    let deepest = rows.description.exits.count - 1
    var (classes, entropies, information): ([Int], [Double], [Double]) = ([], [], [])
    var classCount = 2
    var hasDraws = false
    try await contestant.predictor.predictions(for: rows) { block, predictions in
      let split = predictions[deepest].uncertaintySplit()
      hasDraws = predictions[deepest].sampleCount > 1 || predictions[deepest].closedForm != nil
      classCount = split.probabilities.shape[1]
      for row in 0..<block.rowCount {
        classes.append((0..<classCount).max { split.probabilities[row, $0] < split.probabilities[row, $1] } ?? 0)
        entropies.append(split.total[row])
        information.append(split.epistemic[row])
      }
    }
    let largest = log(Double(classCount))
    func picture(_ values: [Double]) throws -> String {
      try Thumbnail(height: size.height, width: size.width) {
        Array(repeating: UInt8(min(255, max(0, (255 * values[$0] / largest).rounded()))), count: 3)
      }.dataURI()
    }
    func mean(_ values: [Double]) -> Double { values.reduce(0, +) / Double(values.count) }
    return PixelMaps.Model(
      name: contestant.evaluation.name,
      classes: try Thumbnail(height: size.height, width: size.width) { ClassColor.components(classes[$0]) }.dataURI(),
      entropy: try picture(entropies), mutualInformation: hasDraws ? try picture(information) : nil,
      meanEntropy: mean(entropies), meanMutualInformation: hasDraws ? mean(information) : nil)
  }
}

extension Contestant {
  /// Whether it is a network or a posterior, and not one of them calibrated.
  fileprivate var isNetwork: Bool {
    switch predictor {
    case .temperature, .calibrated: false
    case .map, .laplace, .weights, .sampled: true
    }
  }
}
