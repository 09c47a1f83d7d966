public import BayesPrediction
import BayesTensor

/// How much the draws of a posterior, or the members of an ensemble, differ in the class they name.
///
/// - Shapes: of predictions `[samples, rows, logits]`.
/// - Source: Freeman 1965, for the variation ratio.
public struct Disagreement: Metric, Equatable {
  /// Means over rows.
  public struct Value: Sendable, Hashable, Codable {
    /// The share of samples that name another class than most do, `0..<1`.
    public var variationRatio: Double
    /// The share of pairs of samples that name different classes, `0...1`.
    public var disagreement: Double
    /// Normal 95 % intervals; absent below two rows and from reports of earlier versions.
    public var variationRatioInterval: Interval?
    public var disagreementInterval: Interval?
  }

  private var variation = RowMean()
  private var disagreement = RowMean()

  public init() {}

  /// Adds the samples' classes of each row; samples count alike, and of equally probable classes the first is named.
  ///
  /// - Precondition: the prediction is of classes.
  public mutating func update(_ prediction: Prediction) {
    precondition(
      prediction.likelihood == .categorical || prediction.likelihood == .binary, "Only classes are named.")
    let (samples, rows, width) = (prediction.sampleCount, prediction.rowCount, prediction.logitCount)
    var counts = [Int](repeating: 0, count: max(2, width))
    for row in 0..<rows {
      for index in counts.indices { counts[index] = 0 }
      for sample in 0..<samples {
        let start = (sample * rows + row) * width
        var best = 0
        if prediction.likelihood == .binary {
          best = prediction.logits[start] > 0 ? 1 : 0
        } else {
          for column in 1..<max(1, width) where prediction.logits[start + column] > prediction.logits[start + best] {
            best = column
          }
        }
        counts[best] += 1
      }
      let agreeing = counts.reduce(0) { $0 + $1 * ($1 - 1) }
      variation.add(1 - Double(counts.max() ?? 0) / Double(samples))
      disagreement.add(samples > 1 ? 1 - Double(agreeing) / Double(samples * (samples - 1)) : 0)
    }
  }

  public mutating func merge(_ other: Disagreement) {
    variation.merge(other.variation)
    disagreement.merge(other.disagreement)
  }

  public var value: Value {
    get throws(EvaluationError) {
      guard variation.count > 0 else { throw .noRows("disagreement") }
      return Value(
        variationRatio: variation.mean, disagreement: disagreement.mean,
        variationRatioInterval: variation.interval, disagreementInterval: disagreement.interval)
    }
  }
}
