public import BayesPrediction
public import BayesTensor

/// A way of making prediction sets.
public struct ConformalMethod: Sendable, Hashable {
  /// The name in reports: `lac`, `aps`, ….
  public var name: String
  public var score: ConformalScore
  /// Whether each class has a threshold of its own.
  public var isByClass: Bool
  /// Whether sets depend on a number that is drawn for each row.
  public var isRandomized: Bool

  public init(name: String, score: ConformalScore, isByClass: Bool = false, isRandomized: Bool = false) {
    self.name = name
    self.score = score
    self.isByClass = isByClass
    self.isRandomized = isRandomized
  }

  /// LAC, with one threshold and with one a class, and APS and RAPS, with and without randomness.
  ///
  /// RAPS has a fixed penalty, a tenth for every class but the first: nothing is chosen on rows.
  public static let standard: [ConformalMethod] = {
    let penalty = ConformalScore.regularized(weight: 0.1, freeRank: 1)
    return [
      ConformalMethod(name: "lac", score: .leastAmbiguous),
      ConformalMethod(name: "lacByClass", score: .leastAmbiguous, isByClass: true),
      ConformalMethod(name: "aps", score: .adaptive),
      ConformalMethod(name: "apsRandomized", score: .adaptive, isRandomized: true),
      ConformalMethod(name: "raps", score: penalty),
      ConformalMethod(name: "rapsRandomized", score: penalty, isRandomized: true),
    ]
  }()
}

/// Prediction sets of one exit of one model: thresholds from some labelled rows, coverage and size on others.
///
/// Sets and thresholds are those of `ConformalClassification` with the same key.
///
/// - Determinism: the number that randomised sets draw for a row follows from the key and the row's place alone.
/// - Cost: 8 bytes a calibration row for each method until the first test row; then counts, in bounded memory.
public struct ConformalEvaluation: Sendable {
  public let alphas: [Double]
  public let methods: [ConformalMethod]
  /// Whether the model was tuned on the calibration rows, so that the promise is not exact; `nil` where not known.
  public var isTunedOnCalibrationRows: Bool?
  private let key: RandomKey

  private var classCount = 0
  private var calibrationCounts: [Int] = []
  /// The scores of the calibration rows, a method and, by class, a class each.
  private var scores: [[[Double]]]
  /// By alpha and method, from the first test row on.
  private var thresholds: [[[ConformalThreshold]]] = []
  private var coverages: [[SetCoverage]] = []
  private var rowCount = 0

  /// - Throws: `EvaluationError.Code.score` for an alpha outside the open `0...1`.
  public init(
    alphas: [Double], methods: [ConformalMethod] = ConformalMethod.standard, key: RandomKey
  ) throws(EvaluationError) {
    for alpha in alphas { try checkAlpha(alpha) }
    self.alphas = alphas
    self.methods = methods
    self.key = key
    scores = methods.map { _ in [] }
  }

  /// The number of calibration rows so far.
  public var calibrationRowCount: Int { calibrationCounts.reduce(0, +) }

  /// Adds rows that thresholds are taken from.
  ///
  /// - Precondition: no test row was added.
  /// - Throws: `EvaluationError.Code.unsupported` for an output without classes; `.shape`; `.label`; `.probability`.
  public mutating func calibrate(_ prediction: Prediction, labels: [Int]) throws(EvaluationError) {
    precondition(thresholds.isEmpty, "Thresholds are fixed from the first test row on.")
    let firstRow = calibrationRowCount
    let rows = try checked(prediction, labels, firstRow: firstRow)
    for (row, label) in labels.enumerated() {
      let probabilities = rows.probabilities.row(row)
      let uniform = rowUniform(key.child(0), row: firstRow + row)
      for (index, method) in methods.enumerated() {
        let own = method.score.scores(of: probabilities, uniform: method.isRandomized ? uniform : 1)
        scores[index][method.isByClass ? label : 0].append(own[label])
      }
      calibrationCounts[label] += 1
    }
  }

  /// Adds rows that sets are measured on.
  ///
  /// - Throws: as `calibrate(_:labels:)`; `.empty` without calibration rows.
  public mutating func update(_ prediction: Prediction, labels: [Int]) throws(EvaluationError) {
    guard calibrationRowCount > 0 else { throw .noRows("conformal threshold") }
    let rows = try checked(prediction, labels, firstRow: rowCount)
    if thresholds.isEmpty {
      thresholds = alphas.map { alpha in
        scores.map { $0.map { ConformalThreshold(checked: $0, alpha: alpha) } }
      }
      coverages = alphas.map { _ in methods.map { _ in SetCoverage(classCount: classCount) } }
      scores = []
    }
    var sets = alphas.map { _ in methods.map { _ in [[Int]]() } }
    for row in 0..<rows.rowCount {
      let probabilities = rows.probabilities.row(row)
      let uniform = rowUniform(key.child(1), row: rowCount + row)
      for (index, method) in methods.enumerated() {
        let own = method.score.scores(of: probabilities, uniform: method.isRandomized ? uniform : 1)
        for place in alphas.indices {
          let thresholds = thresholds[place][index]
          sets[place][index].append(own.indices.filter { own[$0] <= thresholds[method.isByClass ? $0 : 0].value })
        }
      }
    }
    for place in alphas.indices {
      for index in methods.indices {
        coverages[place][index].update(
          try LabelledSets(sets[place][index], labels: labels, classCount: classCount, firstRow: rowCount))
      }
    }
    rowCount += rows.rowCount
  }

  /// One result a method and alpha, those of the first alpha first.
  ///
  /// - Throws: `EvaluationError.Code.empty` without test rows.
  public var results: [ConformalResult] {
    get throws(EvaluationError) {
      guard rowCount > 0 else { throw .noRows("coverage") }
      var results: [ConformalResult] = []
      for (place, alpha) in alphas.enumerated() {
        let band = ConformalThreshold.coverageBand(
          alpha: alpha, fittedRowCount: calibrationRowCount, rowCount: rowCount)
        let coverages = try coverages[place].map { coverage throws(EvaluationError) in try coverage.value }
        let classBands = coverages[0].classes.indices.map { index -> Interval? in
          let count = coverages[0].classes[index].rowCount
          guard count > 0 else { return nil }
          return ConformalThreshold.coverageBand(
            alpha: alpha, fittedRowCount: calibrationCounts[index], rowCount: count)
        }
        for (index, method) in methods.enumerated() {
          let coverage = coverages[index]
          results.append(
            ConformalResult(
              method: method.name, alpha: alpha, isByClass: method.isByClass, isRandomized: method.isRandomized,
              settings: method.score.settings, calibrationRowCount: calibrationRowCount,
              isTunedOnCalibrationRows: isTunedOnCalibrationRows, thresholds: thresholds[place][index].map(\.value),
              rowCount: rowCount, coverage: coverage.coverage,
              interval: .wilson(successes: coverage.hitCount, of: rowCount), band: method.isByClass ? nil : band,
              meanSize: coverage.meanSize, emptyShare: coverage.emptyShare, singletonShare: coverage.singletonShare,
              classes: ConformalClasses(
                calibrationRowCounts: calibrationCounts, rowCounts: coverage.classes.map(\.rowCount),
                coverages: coverage.classes.map(\.coverage), meanSizes: coverage.classes.map(\.meanSize),
                bands: method.isByClass ? classBands : nil)))
        }
      }
      return results
    }
  }

  /// The probabilities of a batch, and room for its classes.
  private mutating func checked(
    _ prediction: Prediction, _ labels: [Int], firstRow: Int
  ) throws(EvaluationError) -> LabelledProbabilities {
    try checkHasClasses(prediction)
    guard classCount == 0 || prediction.classCount == classCount else {
      throw EvaluationError(
        .shape, "There were \(classCount) classes before; this prediction has \(prediction.classCount).")
    }
    let rows = try LabelledProbabilities(
      ClassProbabilities(prediction.probabilities(), firstRow: firstRow), labels: labels, firstRow: firstRow)
    if classCount == 0 {
      classCount = prediction.classCount
      calibrationCounts = [Int](repeating: 0, count: classCount)
      scores = methods.map { [[Double]](repeating: [], count: $0.isByClass ? classCount : 1) }
    }
    return rows
  }
}

extension ConformalScore {
  /// The penalty by name.
  fileprivate var settings: [String: Double] {
    guard case .regularized(let weight, let freeRank) = self else { return [:] }
    return ["weight": weight, "freeRank": Double(freeRank)]
  }
}
