import BayesEvaluation
import BayesPrediction
import BayesTensor
import RealModule
import Testing
import _BayesTestSupport

/// Prediction sets in batches, and where their coverage lies.
@Suite struct ConformalEvaluationTests {
  private let key = RandomKey(seed: 8)

  /// Some rows of four classes, with labels that mostly follow them.
  private func rows(_ count: Int, seed: UInt64) -> (prediction: Prediction, labels: [Int]) {
    let prediction = Prediction(
      logits: randomLogits(rows: count, classes: 4, seed: seed), likelihood: .categorical, exit: 0)
    let labels = (0..<count).map { row in
      row % 3 == 0 ? row % 4 : (0..<4).max { prediction.logits[row * 4 + $0] < prediction.logits[row * 4 + $1] } ?? 0
    }
    return (prediction, labels)
  }

  /// The quantiles of SciPy's beta-binomial distributions: see `Tests/Golden/generate/make_conformal.py`.
  @Test func bandsAreThoseOfSciPy() throws {
    for value in try GoldenValue(contentsOf: "Conformal/bands.json")["cases"].list {
      let (fitted, fresh) = (Int(value["fitted"].number), Int(value["fresh"].number))
      let band = ConformalThreshold.coverageBand(
        alpha: value["alpha"].number, fittedRowCount: fitted, rowCount: fresh)
      #expect(band.low == value["low"].number / Double(fresh) && band.high == value["high"].number / Double(fresh))
      let threshold = try ConformalThreshold(scores: (0..<fitted).map { Double($0) }, alpha: value["alpha"].number)
      #expect(threshold.coverageBand(rowCount: fresh) == band)
    }
    // With too few rows nothing is left out; an alpha so near one that the rank is zero takes the lowest score.
    #expect(
      ConformalThreshold.coverageBand(alpha: 0.01, fittedRowCount: 50, rowCount: 7) == Interval(low: 1, high: 1))
    let lowest = ConformalThreshold.coverageBand(alpha: 1.0.nextDown, fittedRowCount: 1, rowCount: 1000)
    #expect(lowest.low < 0.03 && lowest.high > 0.97)
  }

  /// The sets of the tested recipes, whatever the batches.
  @Test(arguments: [1, 7, 200])
  func resultsAreThoseOfTheRecipes(batch: Int) throws {
    let (old, oldLabels) = rows(200, seed: 1)
    let (new, newLabels) = rows(150, seed: 2)
    let alphas = [0.05, 0.2]
    var evaluation = try ConformalEvaluation(alphas: alphas, key: key)
    func feed(_ rows: Prediction, _ labels: [Int], _ body: (Prediction, [Int]) throws -> Void) throws {
      for first in stride(from: 0, to: labels.count, by: batch) {
        let range = Array(first..<min(labels.count, first + batch))
        try body(rows.rows(range), range.map { labels[$0] })
      }
    }
    try feed(old, oldLabels) { try evaluation.calibrate($0, labels: $1) }
    #expect(evaluation.calibrationRowCount == 200)
    try feed(new, newLabels) { try evaluation.update($0, labels: $1) }
    let results = try evaluation.results
    #expect(results.map(\.alpha) == alphas.flatMap { Array(repeating: $0, count: 6) })
    for (result, method) in zip(results, ConformalMethod.standard + ConformalMethod.standard) {
      #expect(result.method == method.name)
      let fitted = try ConformalClassification(
        alpha: result.alpha, score: method.score, isByClass: method.isByClass, key: method.isRandomized ? key : nil
      ).fit(old, labels: oldLabels)
      #expect(result.thresholds == fitted.thresholds.map(\.value))
      let sets = try fitted.sets(of: new)
      let hits = zip(sets, newLabels).map { $0.contains($1) }
      #expect(result.coverage == Double(hits.count { $0 }) / 150)
      #expect(result.meanSize == Double(sets.reduce(0) { $0 + $1.count }) / 150)
      #expect(result.emptyShare == Double(sets.count { $0.isEmpty }) / 150)
      #expect(result.singletonShare == Double(sets.count { $0.count == 1 }) / 150)
      #expect(result.interval.contains(result.coverage) && result.rowCount == 150 && result.calibrationRowCount == 200)
      for label in 0..<4 {
        let own = newLabels.indices.filter { newLabels[$0] == label }
        #expect(result.classes.rowCounts[label] == own.count)
        #expect(result.classes.calibrationRowCounts[label] == oldLabels.count { $0 == label })
        #expect(result.classes.coverages[label] == Double(own.count { hits[$0] }) / Double(own.count))
        #expect(
          result.classes.meanSizes[label] == Double(own.reduce(0) { $0 + sets[$1].count }) / Double(own.count))
        let band = fitted.thresholds.last.map { _ in
          ConformalThreshold.coverageBand(
            alpha: result.alpha, fittedRowCount: oldLabels.count { $0 == label }, rowCount: own.count)
        }
        #expect(method.isByClass ? result.classes.bands?[label] == band : result.classes.bands == nil)
      }
      #expect((result.band == nil) == method.isByClass)
    }
  }

  @Test func aClassWithTooFewRowsIsInEverySetAndSaidToBe() throws {
    let (prediction, _) = rows(60, seed: 3)
    // Of class 3 there are two rows to learn from, and none to measure on.
    let labels = (0..<60).map { $0 < 2 ? 3 : $0 % 3 }
    var evaluation = try ConformalEvaluation(alphas: [0.1], key: key)
    try evaluation.calibrate(prediction, labels: labels)
    try evaluation.update(prediction, labels: labels.map { $0 % 3 })
    let results = try evaluation.results
    for result in results {
      #expect(result.unboundedClasses == (result.isByClass ? [3] : []))
      #expect(result.classes.coverages[3] == nil && result.classes.meanSizes[3] == nil)
    }
    #expect(results[1].emptyShare == 0 && results[1].classes.bands?[3] == nil)
    #expect(ConformalThreshold.rowsNeeded(alpha: 0.1) == 9)
    // Of all rows there are too few.
    var few = try ConformalEvaluation(alphas: [0.01], key: key)
    try few.calibrate(prediction, labels: labels)
    try few.update(prediction, labels: labels)
    #expect(try few.results.allSatisfy { $0.unboundedClasses == [0, 1, 2, 3] && $0.meanSize == 4 && $0.coverage == 1 })
  }

  @Test func badInputsAreRefused() throws {
    func code(_ body: () throws -> some Any) -> EvaluationError.Code? {
      do {
        _ = try body()
        return nil
      } catch {
        return (error as? EvaluationError)?.code
      }
    }
    for alpha in [0, 1, -0.1, .nan] {
      #expect(code { try ConformalEvaluation(alphas: [0.1, alpha], key: key) } == .score)
    }
    var evaluation = try ConformalEvaluation(alphas: [0.1], key: key)
    let (prediction, labels) = rows(20, seed: 4)
    #expect(code { try evaluation.results } == .empty)
    #expect(code { try evaluation.update(prediction, labels: labels) } == .empty)
    #expect(code { try evaluation.calibrate(prediction, labels: [4] + labels.dropFirst()) } == .label)
    #expect(code { try evaluation.calibrate(prediction, labels: [0]) } == .shape)
    try evaluation.calibrate(prediction, labels: labels)
    let other = Prediction(logits: randomLogits(rows: 1, classes: 3, seed: 5), likelihood: .categorical, exit: 0)
    #expect(code { try evaluation.update(other, labels: [0]) } == .shape)
    let gaussian = Prediction(logits: Tensor(zeros: [1, 1, 4]), likelihood: .gaussian, exit: 0)
    #expect(code { try evaluation.update(gaussian, labels: [0]) } == .unsupported)
  }
}

/// Calibrators that cross-validation chooses.
@Suite struct CalibrationMethodTests {
  /// Gives every row the shares of classes among the rows that it was fitted to.
  private struct ClassShares: Calibrator, Calibration {
    var shares: [Double] = []

    func fit(_ prediction: Prediction, labels: [Int]) -> ClassShares {
      let counts = (0..<prediction.classCount).map { label in labels.count { $0 == label } }
      return ClassShares(shares: counts.map { Double($0 + 1) / Double(labels.count + prediction.classCount) })
    }

    func callAsFunction(_ prediction: Prediction) -> Prediction {
      let logits = (0..<prediction.rowCount).flatMap { _ in shares.map { Float(Double.log($0)) } }
      return Prediction(
        logits: Tensor(shape: prediction.logits.shape, logits), likelihood: prediction.likelihood,
        exit: prediction.exit)
    }
  }

  /// Divides by a number that nothing is learnt for.
  private struct Division: Calibrator, Calibration {
    var divisor: Float
    func fit(_ prediction: Prediction, labels: [Int]) -> Division { self }
    func callAsFunction(_ prediction: Prediction) -> Prediction {
      Prediction(
        logits: prediction.logits.map { $0 / divisor }, likelihood: prediction.likelihood, exit: prediction.exit)
    }
  }

  private let prediction = Prediction(
    logits: randomLogits(rows: 83, classes: 3, seed: 9), likelihood: .categorical, exit: 0)
  private let labels = (0..<83).map { ($0 * $0 + $0 / 7) % 3 }

  private func negativeLogLikelihood(_ prediction: Prediction) throws -> Double {
    var metric = NegativeLogLikelihood()
    metric.update(try LabelledProbabilities(prediction.probabilities(), labels: labels))
    return try metric.value
  }

  @Test func everyRowIsHeldOutOnce() throws {
    let validation = CalibrationCrossValidation(key: RandomKey(seed: 2))
    let folds = validation.folds(rowCount: 83)
    #expect(folds.count == 5 && folds.allSatisfy { $0 == $0.sorted() && (16...17).contains($0.count) })
    #expect(folds.flatMap { $0 }.sorted() == Array(0..<83))
    #expect(validation.folds(rowCount: 4).isEmpty)
    let divisions = [Division(divisor: 1), Division(divisor: 3)]
    let losses = try validation.losses(of: divisions + [ClassShares()], prediction, labels: labels)
    // Nothing is learnt, so that the folds do not matter.
    expectClose(losses.untouched, try negativeLogLikelihood(prediction), tolerance: 1e-13)
    expectClose(losses.candidates[0], losses.untouched, tolerance: 1e-13)
    expectClose(losses.candidates[1], try negativeLogLikelihood(divisions[1](prediction)), tolerance: 1e-13)
    // Each row has the shares of the other folds.
    var sum = 0.0
    for fold in folds {
      let others = (0..<83).filter { !fold.contains($0) }
      for row in fold {
        let count = others.count { labels[$0] == labels[row] }
        sum -= Double.log(Double(count + 1) / Double(others.count + 3))
      }
    }
    expectClose(losses.candidates[2], sum / 83, tolerance: 1e-6)
  }

  @Test func theLikeliestPenaltyIsFittedToAllRows() throws {
    let validation = CalibrationCrossValidation(key: RandomKey(seed: 2))
    for method in CalibrationMethod.allCases {
      let chosen = try method.fit(prediction, labels: labels, by: validation)
      let losses = try validation.losses(of: method.candidates.map(\.calibrator), prediction, labels: labels)
      let best = try #require(losses.candidates.min())
      let heldOut = try #require(chosen.heldOut)
      #expect(heldOut.nll == best && heldOut.untouchedNLL == losses.untouched)
      let index = try #require(losses.candidates.lastIndex(of: best))
      #expect(method.candidates[index].settings == chosen.settings)
      let fitted = try method.candidates[index].calibrator.fit(prediction, labels: labels)
      #expect(chosen.calibration(prediction) == fitted(prediction), "\(method)")
      #expect(chosen.summary?.rowCount == 83)
      // Nothing is made worse.
      #expect(chosen.isHarmful == (best > losses.untouched))
      #expect((chosen.applied(prediction) == prediction) || !chosen.isHarmful, "\(method)")
    }
    // Where no row can be held out the strongest penalty is taken.
    let few = prediction.rows([0, 1, 2, 3])
    let chosen = try CalibrationMethod.matrix.fit(few, labels: [0, 1, 2, 0], by: validation)
    #expect(chosen.heldOut == nil && chosen.settings["interceptPenalty"] == 100)
  }

  @Test func whatCalibratorsRefuseIsRefused() throws {
    let validation = CalibrationCrossValidation(key: RandomKey(seed: 2))
    for method in CalibrationMethod.allCases {
      #expect(throws: EvaluationError.self) { try method.fit(prediction, labels: [0], by: validation) }
      #expect(throws: EvaluationError.self) {
        try method.fit(prediction, labels: labels.map { $0 + 1 }, by: validation)
      }
    }
  }
}
