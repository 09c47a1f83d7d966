import BayesPrediction
import BayesTensor
import RealModule

/// What a calibrator did to the rows that it was fitted to.
public struct CalibrationSummary: Sendable, Hashable, Codable {
  /// The mean negative log-likelihood of the fitted rows before, nats; infinite where a label had probability zero.
  public var nllBefore: Double
  /// That of the calibrated rows, nats; never above `nllBefore`.
  public var nllAfter: Double
  /// The number of fitted rows.
  public var rowCount: Int
  /// Why predictions are left as they are, as a sentence; `nil` where they are changed.
  public var reason: String?

  public init(nllBefore: Double, nllAfter: Double, rowCount: Int, reason: String? = nil) {
    self.nllBefore = nllBefore
    self.nllAfter = nllAfter
    self.rowCount = rowCount
    self.reason = reason
  }

  /// Whether predictions are left as they are.
  public var isIdentity: Bool { reason != nil }

  /// A summary that refuses to make the likelihood worse.
  init(before: Double, after: Double, rowCount: Int) {
    // Written so that a NaN is refused.
    if after <= before {
      self.init(nllBefore: before, nllAfter: after, rowCount: rowCount)
    } else {
      self.init(
        nllBefore: before, nllAfter: before, rowCount: rowCount,
        reason: "The negative log-likelihood of the fitted rows would rise from \(before) to \(after).")
    }
  }
}

/// A calibration that says what it did to the rows that it was fitted to.
public protocol SummarizedCalibration: Calibration {
  var summary: CalibrationSummary { get }
}

/// Labelled rows that a calibrator learns from, checked once.
struct CalibrationRows {
  /// `[rows, classes]`; a binary logit `z` is the pair `(0, z)`.
  let logits: [Double]
  let labels: [Int]
  let classCount: Int
  /// The mean negative log-likelihood, nats.
  let negativeLogLikelihood: Double

  var rowCount: Int { labels.count }

  /// - Throws: `EvaluationError.Code.unsupported` for several samples, a closed form or no classes; `.empty`; `.shape`;
  ///   `.label`; `.score` for a logit that is not a number or is plus infinity.
  init(_ prediction: Prediction, labels: [Int]) throws(EvaluationError) {
    guard prediction.sampleCount == 1, prediction.closedForm == nil else {
      throw EvaluationError(
        .unsupported,
        "A calibration is fitted to one set of logits; this prediction has \(prediction.sampleCount) "
          + "samples\(prediction.closedForm == nil ? "" : " and a closed form").")
    }
    try checkHasClasses(prediction)
    guard prediction.classCount > 1 else {
      throw EvaluationError(
        .unsupported, "A calibration needs two classes at least; this prediction has \(prediction.classCount).")
    }
    guard !labels.isEmpty || prediction.rowCount > 0 else { throw .noRows("calibration") }
    try checkLabels(labels, rowCount: prediction.rowCount, classCount: prediction.classCount)
    let width = prediction.logitCount
    for (position, logit) in prediction.logits.elements.enumerated() where logit.isNaN || logit == .infinity {
      throw EvaluationError(
        .score, row: position / width,
        "A logit of row \(position / width) is \(logit); a calibration needs finite logits.")
    }
    let classCount = prediction.classCount
    var logits: [Double] = []
    logits.reserveCapacity(labels.count * classCount)
    var sum = 0.0
    for (row, label) in labels.enumerated() {
      let values = classLogits(prediction, row: row)
      sum += logSumExp(values) - values[label]
      logits += values
    }
    // Of no class is anything known where all are infinitely improbable.
    for row in labels.indices where logits[row * classCount..<(row + 1) * classCount].max() == -.infinity {
      throw EvaluationError(.score, row: row, "All logits of row \(row) are -inf; a calibration needs finite logits.")
    }
    self.logits = logits
    self.labels = labels
    self.classCount = classCount
    negativeLogLikelihood = sum / Double(labels.count)
  }

  /// The logits of one row.
  func row(_ row: Int) -> ArraySlice<Double> { logits[row * classCount..<(row + 1) * classCount] }

  /// The summary of a rule from logits to log-probabilities.
  func summary(of rule: (ArraySlice<Double>) -> [Double]) -> CalibrationSummary {
    var sum = 0.0
    for (index, label) in labels.enumerated() { sum -= rule(row(index))[label] }
    return CalibrationSummary(
      before: negativeLogLikelihood, after: sum / Double(rowCount), rowCount: rowCount)
  }
}

/// The logits of all classes of a row; a binary logit `z` is the pair `(0, z)`.
private func classLogits(_ prediction: Prediction, row: Int) -> [Double] {
  let width = prediction.logitCount
  var values = prediction.classCount == width ? [] : [0.0]
  for index in row * width..<(row + 1) * width { values.append(Double(prediction.logits[index])) }
  return values
}

extension Prediction {
  /// The prediction with other logits for each row; itself where the summary says so.
  ///
  /// - Parameters:
  ///   - scale: what the new logits are, where there is one a class.
  ///   - rule: from the logits of all classes of a row to as many new ones.
  /// - Precondition: there is one sample and no closed form, and as many classes as the rule was fitted to.
  func mappingRows(
    scale: Scale, classCount: Int, of summary: CalibrationSummary, by rule: (ArraySlice<Double>) -> [Double]
  ) -> Prediction {
    precondition(
      sampleCount == 1 && closedForm == nil, "A calibration is applied to predictions without draws or closed form.")
    precondition(
      classCount == self.classCount,
      "The calibration was fitted to \(classCount) classes; the prediction has \(self.classCount).")
    if summary.isIdentity { return self }
    // In Double their exponential is zero, and temperatures may divide them.
    let largest = 1e4
    var elements = ContiguousArray<Float>()
    elements.reserveCapacity(logits.count)
    for row in 0..<rowCount {
      let values = rule(classLogits(self, row: row)[...])
      if logitCount == classCount {
        for value in values { elements.append(Float(value)) }
      } else {
        elements.append(Float(min(max(values[1] - values[0], -largest), largest)))
      }
    }
    return Prediction(
      logits: Tensor(shape: logits.shape, elements: elements), likelihood: likelihood, exit: exit,
      scale: logitCount == classCount ? scale : self.scale, sampleWeights: sampleWeights)
  }
}
