public import BayesPrediction
import BayesTensor

/// The evaluation of one exit of one model, fed batch by batch.
///
/// Counts and sums are bounded; where there are foreign rows, the rank metrics keep 4 bytes a row for each score (test
/// and foreign rows), and paired comparisons and the order of confidences keep 13 bytes a test row.  While ranks are
/// computed, 8 bytes a row come on top.
public struct ExitEvaluation: Sendable {
  /// The exit's index, from zero for the earliest.
  public let index: Int
  public let name: String
  /// Multiply-adds a row to reach this exit, where known.
  public let multiplyAdds: Int?
  /// What was fitted for this exit, by name: `temperature`, `priorPrecision`, ….
  public var settings: [String: Double]
  /// What detectors on features made of the foreign sets.
  public var detectors: [DetectorResult] = []
  /// Which rows a rule trusts, where one was tuned for this exit.
  public var trust: TrustTally?
  /// The rows to look at first, where they are asked for.
  public var examples: ExampleTally?
  /// What prediction sets hold of the test rows.
  public var conformal: [ConformalResult] = []

  /// The losses of each test row, in order, for comparisons with other models.
  private(set) var losses = RowLosses()
  private(set) var calibrationError: ExpectedCalibrationError
  /// The rows that come before those of a shard, for messages.
  private var firstRow = 0
  private let scores: [any OODScore]
  /// What intervals that have no closed form are drawn with.
  let resampling: Resampling
  private var accuracy = Accuracy()
  private var negativeLogLikelihood = NegativeLogLikelihood()
  private var brierScore = BrierScore()
  private var classes = ClassTally()
  private var conventions: [ExpectedCalibrationError]
  private var classwise: ClasswiseCalibrationError
  private var classwiseBlocks: ClasswiseBlocks
  private var smooth = SmoothCalibrationError()
  private var topAccuracies = [3, 5].map { TopKAccuracy($0) }
  private var disagreement = Disagreement()
  private var hasDraws = false
  private var inDistribution: RowGroup
  /// Of positions of the test set itself, where some are anomalous and make a foreign set.
  private var imageSeparations = ImageSeparations()
  private var anomalySet: String?
  private var outOfDistribution: [(name: String, group: RowGroup)]

  /// - Parameters:
  ///   - outOfDistribution: the names of the foreign sets, in the order of the report.
  ///   - scores: the scores that tell them apart.
  ///   - binCount: the number of bins of the calibration error.
  ///   - resampling: how intervals that have no closed form are drawn.
  /// - Precondition: no two sets and no two scores have one name.
  public init(
    index: Int, name: String, multiplyAdds: Int? = nil, outOfDistribution: [String] = [],
    scores: [any OODScore] = standardOODScores,
    binCount: Int = ExpectedCalibrationError.defaultBinCount, settings: [String: Double] = [:],
    resampling: Resampling = Resampling()
  ) {
    precondition(
      Set(outOfDistribution).count == outOfDistribution.count
        && Set(scores.map(\.name)).count == scores.count,
      "Names of out-of-distribution sets and of scores differ; got \(outOfDistribution) and "
        + "\(scores.map(\.name)).")
    self.index = index
    self.name = name
    self.multiplyAdds = multiplyAdds
    self.settings = settings
    self.scores = scores
    self.resampling = resampling
    calibrationError = ExpectedCalibrationError(binCount: binCount)
    conventions = BinConvention.allCases.filter { $0 != .standard }
      .map { ExpectedCalibrationError(binCount: binCount, convention: $0) }
    classwise = ClasswiseCalibrationError(binCount: binCount)
    classwiseBlocks = ClasswiseBlocks(binCount: binCount)
    inDistribution = RowGroup()
    self.outOfDistribution = outOfDistribution.map { ($0, RowGroup()) }
  }

  /// The number of test rows so far.
  public var rowCount: Int { accuracy.rowCount }

  /// An evaluation of the same sets, scores and bins without rows, for rows that are merged into this one.
  ///
  /// Blocks of rows may so be evaluated side by side; merged in their order, they give the same bits whoever computed
  /// them.
  ///
  /// - Parameter firstRow: the index of the first row in its whole set; for messages.
  public func shard(firstRow: Int) -> ExitEvaluation {
    var shard = ExitEvaluation(
      index: index, name: name, outOfDistribution: outOfDistribution.map(\.name), scores: scores,
      binCount: calibrationError.bins.count, resampling: resampling)
    shard.firstRow = firstRow
    shard.classwiseBlocks = ClasswiseBlocks(binCount: calibrationError.bins.count, isShard: true)
    shard.imageSeparations = ImageSeparations(isShard: true)
    shard.trust = trust.map { TrustTally($0.rule) }
    shard.examples = examples.map { ExampleTally(count: $0.count) }
    return shard
  }

  /// Adds test rows; nothing is added where it throws.
  ///
  /// - Throws: `EvaluationError.Code.unsupported` for a likelihood without classes; `.probability`,
  ///   `.label`, `.score`, `.shape`, naming the row counted over all updates.
  public mutating func update(_ prediction: Prediction, labels: [Int]) throws(EvaluationError) {
    _ = try add(prediction, labels: labels)
  }

  /// Adds test rows some of which are anomalous: of no class, and to be told from the others.
  ///
  /// Those are rows of a foreign set, and are told apart within each image too.
  ///
  /// - Parameters:
  ///   - anomaly: the label of anomalous rows.
  ///   - name: the foreign set that they are of.
  ///   - images: the image that each row is a position of, ascending.
  /// - Precondition: the set was named when the evaluation was made.
  /// - Throws: as `update(_:labels:)`.
  public mutating func update(
    _ prediction: Prediction, labels: [Int], anomaly: Int, outOfDistribution name: String, images: [Int]
  ) throws(EvaluationError) {
    anomalySet = name
    let known = labels.indices.filter { labels[$0] != anomaly }
    let foreign = labels.indices.filter { labels[$0] == anomaly }
    if !known.isEmpty {
      let rows = try add(foreign.isEmpty ? prediction : prediction.rows(known), labels: known.map { labels[$0] })
      imageSeparations.add(rows.scores, images: known.map { images[$0] }, isForeign: false)
    }
    if !foreign.isEmpty {
      let rows = try add(prediction.rows(foreign), outOfDistribution: name)
      imageSeparations.add(rows.scores, images: foreign.map { images[$0] }, isForeign: true)
    }
    imageSeparations.finishAllButTheLast()
  }

  private mutating func add(_ prediction: Prediction, labels: [Int]) throws(EvaluationError) -> RowGroup.Rows {
    // Scores tell foreign rows apart; without any there is nothing to keep them for.
    let rows = try RowGroup.Rows(
      prediction, scores: outOfDistribution.isEmpty ? [] : scores, firstRow: firstRow + inDistribution.rowCount)
    let batch = try LabelledProbabilities(rows.probabilities, labels: labels, firstRow: firstRow + rowCount)
    try trust?.update(prediction, labels: labels)
    inDistribution.add(rows)
    examples?.update(batch, entropies: rows.split.total)
    accuracy.update(batch)
    negativeLogLikelihood.update(batch)
    brierScore.update(batch)
    calibrationError.update(batch)
    classes.update(batch)
    classwise.update(batch)
    classwiseBlocks.update(batch)
    smooth.update(batch)
    for index in conventions.indices { conventions[index].update(batch) }
    for index in topAccuracies.indices { topAccuracies[index].update(batch) }
    if prediction.sampleCount > 1 {
      hasDraws = true
      disagreement.update(prediction)
    }
    losses.update(batch)
    return rows
  }

  /// Adds rows of a foreign set; nothing is added where it throws.
  ///
  /// - Precondition: the set was named when the evaluation was made.
  /// - Throws: as `update(_:labels:)`.
  public mutating func update(
    _ prediction: Prediction, outOfDistribution name: String
  ) throws(EvaluationError) {
    _ = try add(prediction, outOfDistribution: name)
  }

  private mutating func add(
    _ prediction: Prediction, outOfDistribution name: String
  ) throws(EvaluationError) -> RowGroup.Rows {
    guard let position = outOfDistribution.firstIndex(where: { $0.name == name }) else {
      preconditionFailure("There is no out-of-distribution set '\(name)' in this evaluation.")
    }
    let rows = try RowGroup.Rows(
      prediction, scores: scores, firstRow: firstRow + outOfDistribution[position].group.rowCount)
    try trust?.update(prediction, outOfDistribution: name)
    outOfDistribution[position].group.add(rows)
    return rows
  }

  /// Adds the rows of a later shard of the same evaluation.
  ///
  /// - Precondition: both were made with the same sets, scores and bins.
  public mutating func merge(_ other: ExitEvaluation) {
    precondition(
      outOfDistribution.map(\.name) == other.outOfDistribution.map(\.name)
        && scores.map(\.name) == other.scores.map(\.name),
      "Only shards of one evaluation can be merged.")
    losses.merge(other.losses)
    calibrationError.merge(other.calibrationError)
    accuracy.merge(other.accuracy)
    negativeLogLikelihood.merge(other.negativeLogLikelihood)
    brierScore.merge(other.brierScore)
    classes.merge(other.classes)
    classwise.merge(other.classwise)
    classwiseBlocks.merge(other.classwiseBlocks)
    smooth.merge(other.smooth)
    for index in conventions.indices { conventions[index].merge(other.conventions[index]) }
    for index in topAccuracies.indices { topAccuracies[index].merge(other.topAccuracies[index]) }
    hasDraws = hasDraws || other.hasDraws
    disagreement.merge(other.disagreement)
    if let shard = other.trust { trust?.merge(shard) }
    if let shard = other.examples { examples?.merge(shard) }
    imageSeparations.merge(other.imageSeparations)
    anomalySet = anomalySet ?? other.anomalySet
    inDistribution.merge(other.inDistribution)
    for position in outOfDistribution.indices {
      outOfDistribution[position].group.merge(other.outOfDistribution[position].group)
    }
  }

  /// All numbers of the exit.
  ///
  /// - Throws: `EvaluationError.Code.empty` where the test set or a foreign set has no rows.
  public var result: ExitResult {
    get throws(EvaluationError) {
      var result = try resultWithoutDetails
      result.details = try details
      return result
    }
  }

  /// The numbers of the exit that need no row to be drawn anew.
  var resultWithoutDetails: ExitResult {
    get throws(EvaluationError) {
      var scores: [[String: ScoreResult]] = []
      for set in outOfDistribution.indices { scores.append(try results(ofSet: set)) }
      return try result(scores)
    }
  }

  /// The numbers of the exit, given those of each foreign set's scores.
  private func result(_ scores: [[String: ScoreResult]]) throws(EvaluationError) -> ExitResult {
    var ood: [OODResult] = []
    for (set, (name, group)) in outOfDistribution.enumerated() {
      guard group.rowCount > 0 else {
        throw EvaluationError(.empty, "The out-of-distribution set '\(name)' has no rows.")
      }
      var result = OODResult(
        name: name, rowCount: group.rowCount, uncertainty: group.uncertainty,
        confidenceHistogram: try group.histogram.value, scores: scores[set])
      let perImage = name == anomalySet ? imageSeparations.value.filter { scores[set][$0.key] != nil } : [:]
      if !perImage.isEmpty { result.perImage = perImage }
      ood.append(result)
    }
    return ExitResult(
      index: index, name: self.name, multiplyAdds: multiplyAdds, rowCount: rowCount,
      accuracy: try accuracy.value, nll: try negativeLogLikelihood.value,
      infiniteNLLCount: negativeLogLikelihood.infiniteCount, brier: try brierScore.value,
      ece: CalibrationErrorResult(
        value: try calibrationError.value, bins: calibrationError.bins.count,
        definition: calibrationError.definition),
      intervals: ExitIntervals(
        accuracy: try accuracy.interval, nll: negativeLogLikelihood.interval,
        brier: brierScore.interval),
      uncertainty: inDistribution.uncertainty, reliability: calibrationError.reliability,
      confidenceHistogram: try inDistribution.histogram.value, classes: try classes.value, ood: ood,
      settings: settings, detectors: detectors.isEmpty ? nil : detectors,
      trust: trust?.value, examples: examples?.value, conformal: conformal.isEmpty ? nil : conformal)
  }

  /// The interval of the expected calibration error; `nil` below two rows.
  var calibrationErrorInterval: Interval? {
    get throws(EvaluationError) {
      guard rowCount > 1 else { return nil }
      let cells = ConfidenceCells(
        uncertainties: losses.uncertainties, isCorrect: losses.correct, order: FloatOrder(losses.uncertainties),
        conventions: [calibrationError.bins])
      return cells.calibrationErrorInterval(at: try calibrationError.value, resampling)
    }
  }

  private var details: ExitDetails {
    get throws(EvaluationError) {
      let binCount = calibrationError.bins.count
      let order = FloatOrder(losses.uncertainties)
      let correct = losses.correct
      var others: [String: Double] = [:]
      for metric in conventions { others[metric.bins.convention.rawValue] = try metric.value }
      var top: [TopAccuracy] = []
      for metric in topAccuracies where try classes.value.count > metric.k {
        top.append(TopAccuracy(k: metric.k, value: try metric.value, interval: try metric.interval))
      }
      var details = ExitDetails(
        calibration: CalibrationDetails(
          maximum: try calibrationError.maximum, rootMeanSquare: try calibrationError.rootMeanSquare,
          classwise: try classwise.value,
          equalMass: rowCount < binCount
            ? nil
            : EqualMassCalibrationError.value(
              uncertainties: losses.uncertainties, isCorrect: correct, order: order, binCount: binCount),
          smooth: try smooth.value, conventions: others),
        brier: try classwise.brierDecomposition,
        selection: SelectionResult(RiskCoverageCurve(order: order) { !correct[$0] }),
        topAccuracies: top, disagreement: hasDraws ? try disagreement.value : nil,
        overlap: try classes.overlap, confusions: try classes.confusions(atMost: 20))
      guard rowCount > 1 else { return details }
      let cells = ConfidenceCells(
        uncertainties: losses.uncertainties, isCorrect: correct, order: order,
        conventions: [calibrationError.bins] + conventions.map(\.bins),
        coverages: details.selection.risks.map(\.coverage), risks: details.selection.coverages.map(\.risk))
      var intervals = cells.intervals(of: details, ece: try calibrationError.value, resampling)
      intervals.classwise = classwiseBlocks.interval(of: details.calibration.classwise)
      intervals.brier = classwiseBlocks.intervals(of: details.brier)
      intervals.smooth = details.calibration.smooth.flatMap { smooth.interval(around: $0) }
      details.intervals = intervals
      return details
    }
  }

  /// What every score makes of a foreign set, by name.
  private func results(ofSet set: Int) throws(EvaluationError) -> [String: ScoreResult] {
    var results: [String: ScoreResult] = [:]
    // One after the other: the ranks of each take as much memory as its scores.
    for score in scores { results[score.name] = try result(of: score.name, set) }
    return results
  }

  /// A score counts only where it could be computed for every row of both sets.
  private func result(of score: String, _ set: Int) throws(EvaluationError) -> ScoreResult? {
    guard let (known, foreign) = samples(score, outOfDistribution[set].group) else { return nil }
    return ScoreResult(try ScoreSeparation(inDistribution: known, outOfDistribution: foreign), resampling)
  }

  /// The values of a score that every row of the test set and of a foreign set has.
  func samples(_ score: String, ofSet name: String) -> (known: ScoreSample, foreign: ScoreSample)? {
    outOfDistribution.first { $0.name == name }.flatMap { samples(score, $0.group) }
  }

  private func samples(_ score: String, _ group: RowGroup) -> (known: ScoreSample, foreign: ScoreSample)? {
    guard let known = inDistribution.scores[score], known.scores.count == rowCount,
      let foreign = group.scores[score], foreign.scores.count == group.rowCount
    else { return nil }
    return (known, foreign)
  }
}

/// The numbers of an exit in portions that can be computed side by side.
extension ExitEvaluation {
  enum Portion: Sendable {
    case details
    /// A score on a foreign set, by their positions.
    case score(Int, set: Int)
  }

  enum PortionResult: Sendable {
    case details(ExitDetails)
    case score(String, set: Int, ScoreResult?)
  }

  var portions: [Portion] {
    [.details] + outOfDistribution.indices.flatMap { set in scores.indices.map { .score($0, set: set) } }
  }

  /// The memory that the ranks of a portion take, in bytes.
  var portionBytes: Int { 8 * (rowCount + (outOfDistribution.map(\.group.rowCount).max() ?? 0)) }

  func result(of portion: Portion) throws(EvaluationError) -> PortionResult {
    switch portion {
    case .details: .details(try details)
    case .score(let score, let set): .score(scores[score].name, set: set, try result(of: scores[score].name, set))
    }
  }

  /// All numbers of the exit from those of its portions.
  ///
  /// - Throws: as `result`.
  func result(_ portions: [PortionResult]) throws(EvaluationError) -> ExitResult {
    var results = [[String: ScoreResult]](repeating: [:], count: outOfDistribution.count)
    var details: ExitDetails?
    for portion in portions {
      switch portion {
      case .details(let own): details = own
      case .score(let name, let set, let result): results[set][name] = result
      }
    }
    var result = try result(results)
    result.details = details
    return result
  }
}

/// What is wrong with the first row that has no probabilities; `nil` where its logits are not to blame.
private func unfitLogit(of prediction: Prediction, firstRow: Int) -> EvaluationError? {
  guard prediction.closedForm == nil else { return nil }
  let (samples, rows, width) = (prediction.sampleCount, prediction.rowCount, prediction.logitCount)
  for row in 0..<rows {
    for sample in 0..<samples {
      let start = (sample * rows + row) * width
      let logits = prediction.logits.elements[start..<start + width]
      let place = "row \(firstRow + row)" + (samples > 1 ? ", draw \(sample)" : "")
      if let column = logits.firstIndex(where: { $0.isNaN || $0 == .infinity }) {
        return EvaluationError(
          .score, row: firstRow + row,
          "The logit of class \(column - start) in \(place) is \(logits[column]) in single precision; logits are finite, or -inf "
            + "for classes that cannot be, so correct or leave out that row.")
      }
      if width > 1, logits.allSatisfy({ $0 == -.infinity }) {
        return EvaluationError(
          .score, row: firstRow + row,
          "All logits of \(place) are -inf, so that no class can be; correct or leave out that row.")
      }
    }
  }
  return nil
}

/// What is kept of a set of rows whether or not it has labels.
private struct RowGroup: Sendable {
  private(set) var histogram = ConfidenceHistogram()
  private(set) var scores: [String: ScoreSample] = [:]
  private var total = RowMean()
  private var aleatoric = RowMean()
  private var epistemic = RowMean()

  var rowCount: Int { total.count }

  var uncertainty: MeanUncertainty {
    var mean = MeanUncertainty(total: total.mean, aleatoric: aleatoric.mean, epistemic: epistemic.mean)
    if let total = total.interval, let aleatoric = aleatoric.interval, let epistemic = epistemic.interval {
      mean.intervals = MeanUncertainty.Intervals(total: total, aleatoric: aleatoric, epistemic: epistemic)
    }
    return mean
  }

  /// What is added of a batch, computed and checked before anything is.
  struct Rows {
    let probabilities: ClassProbabilities
    fileprivate let split: UncertaintySplit
    fileprivate var scores: [(name: String, values: [Float])] = []

    init(
      _ prediction: Prediction, scores definitions: [any OODScore], firstRow: Int
    ) throws(EvaluationError) {
      try checkHasClasses(prediction)
      split = prediction.uncertaintySplit()
      do {
        probabilities = try ClassProbabilities(split.probabilities, firstRow: firstRow)
      } catch {
        // Probabilities are no numbers because of logits, which are what users have given.
        throw unfitLogit(of: prediction, firstRow: firstRow) ?? error
      }
      for definition in definitions where definition.isDefined(for: prediction) {
        let values = try definition.values(of: prediction, split: split).elements
        scores.append(
          (definition.name, try ScoreSample.checked(values, named: definition.name, firstRow: firstRow)))
      }
    }
  }

  mutating func add(_ rows: Rows) {
    for (name, values) in rows.scores { scores[name, default: ScoreSample()].append(values) }
    histogram.update(rows.probabilities)
    for row in 0..<rows.probabilities.rowCount {
      total.add(rows.split.total[row])
      aleatoric.add(rows.split.aleatoric[row])
      epistemic.add(rows.split.epistemic[row])
    }
  }

  mutating func merge(_ other: RowGroup) {
    histogram.merge(other.histogram)
    // In place: a copy of what all earlier rows left would cost more than the rows.
    for (name, sample) in other.scores { scores[name, default: ScoreSample()].merge(sample) }
    total.merge(other.total)
    aleatoric.merge(other.aleatoric)
    epistemic.merge(other.epistemic)
  }
}

/// The losses of each row, kept so that two models can be compared row by row, and its place among the confident ones: 13
/// bytes a row.
struct RowLosses: Sendable, Equatable {
  private(set) var negativeLogLikelihoods: [Float] = []
  private(set) var squaredErrors: [Float] = []
  private(set) var correct: [Bool] = []
  /// `1 − max p`, which tells apart what lies close to one.
  private(set) var uncertainties: [Float] = []

  mutating func update(_ batch: LabelledProbabilities) {
    negativeLogLikelihoods.append(contentsOf: batch.negativeLogLikelihoods.lazy.map { Float($0) })
    squaredErrors.append(contentsOf: batch.squaredErrors.lazy.map { Float($0) })
    uncertainties.append(contentsOf: batch.probabilities.confidences.lazy.map { Float(1 - $0) })
    for row in 0..<batch.rowCount { correct.append(batch.isCorrect(row)) }
  }

  mutating func merge(_ other: RowLosses) {
    negativeLogLikelihoods += other.negativeLogLikelihoods
    squaredErrors += other.squaredErrors
    correct += other.correct
    uncertainties += other.uncertainties
  }
}
