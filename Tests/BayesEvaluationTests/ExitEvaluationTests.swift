import BayesEvaluation
import BayesPrediction
import BayesTensor
import Testing
import _BayesTestSupport

@Suite struct ExitEvaluationTests {
  private let rowCount = 200

  /// The prediction of some rows of a longer one.
  private func rows(_ range: Range<Int>, of logits: Tensor<Float>) -> Prediction {
    let (rowCount, width) = (logits.shape[1], logits.shape[2])
    let elements = (0..<logits.shape[0]).flatMap { sample in
      let start = sample * rowCount
      return logits.elements[(start + range.lowerBound) * width..<(start + range.upperBound) * width]
    }
    return Prediction(
      logits: Tensor(shape: [logits.shape[0], range.count, width], elements), likelihood: .categorical,
      exit: 0)
  }

  private func evaluation(
    seed: UInt64 = 1, samples: Int = 3, spread: Double = 3, shards: [Range<Int>]? = nil
  ) throws -> ExitEvaluation {
    let known = randomLogits(samples: samples, rows: rowCount, classes: 4, seed: seed, spread: spread)
    let foreign = randomLogits(
      samples: samples, rows: rowCount, classes: 4, seed: seed + 100, spread: spread / 2)
    let labels = (0..<rowCount).map { $0 % 4 }
    let empty = ExitEvaluation(index: 0, name: "last", outOfDistribution: ["noise"])
    var whole = empty
    for range in shards ?? [0..<rowCount] {
      var shard = empty
      try shard.update(rows(range, of: known), labels: Array(labels[range]))
      try shard.update(rows(range, of: foreign), outOfDistribution: "noise")
      whole.merge(shard)
    }
    return whole
  }

  @Test func everyFieldIsFilled() throws {
    let result = try evaluation().result
    #expect(result.rowCount == 200)
    #expect(result.ood.map(\.name) == ["noise"])
    #expect(
      result.ood[0].scores.keys.sorted() == [
        "energy", "entropy", "maximumProbability", "mutualInformation",
      ])
    #expect(result.ood[0].rowCount == 200)
    #expect(result.reliability.count == 15)
    #expect(result.reliability.reduce(0) { $0 + $1.count } == 200)
    #expect(result.confidenceHistogram.reduce(0, +) == 200)
    #expect(result.ood[0].confidenceHistogram.reduce(0, +) == 200)
    #expect(result.intervals.accuracy.contains(result.accuracy))
    #expect(try #require(result.intervals.nll).contains(result.nll))
    #expect(try #require(result.intervals.brier).contains(result.brier))
    #expect(result.uncertainty.epistemic > 0)
    expectClose(
      result.uncertainty.total, result.uncertainty.aleatoric + result.uncertainty.epistemic,
      tolerance: 1e-12)
    // Halving the logits makes foreign rows less certain.
    #expect(result.ood[0].uncertainty.total > result.uncertainty.total)
    #expect(try #require(result.ood[0].scores["energy"]).auroc > 0.6)
    #expect(result.classes.count == 4)
  }

  @Test func shardsMergeToTheWhole() throws {
    let whole = try evaluation().result
    let merged = try evaluation(shards: [0..<50, 50..<51, 51..<200]).result
    #expect(merged.accuracy == whole.accuracy)
    #expect(merged.reliability.map(\.count) == whole.reliability.map(\.count))
    #expect(merged.ood[0].scores == whole.ood[0].scores)
    #expect(merged.confidenceHistogram == whole.confidenceHistogram)
    expectClose(merged.nll, whole.nll, tolerance: 1e-14)
    expectClose(merged.ece.value, whole.ece.value, tolerance: 1e-14)
  }

  /// Rows of shards wait for the blocks of the whole; of evaluations by themselves blocks are merged.
  @Test func intervalsOfBlocksAreThoseOfTheWhole() throws {
    let known = randomLogits(samples: 1, rows: rowCount, classes: 4, seed: 5, spread: 3)
    let labels = (0..<rowCount).map { $0 % 4 }
    let empty = ExitEvaluation(index: 0, name: "last")
    var (whole, ofShards, ofParts) = (empty, empty, empty)
    try whole.update(rows(0..<rowCount, of: known), labels: labels)
    for range in [0..<50, 50..<51, 51..<rowCount] {
      var (shard, part) = (empty.shard(firstRow: range.lowerBound), empty)
      try shard.update(rows(range, of: known), labels: Array(labels[range]))
      try part.update(rows(range, of: known), labels: Array(labels[range]))
      ofShards.merge(shard)
      ofParts.merge(part)
    }
    var alone = empty.shard(firstRow: 0)
    try alone.update(rows(0..<rowCount, of: known), labels: labels)
    func ends(_ evaluation: ExitEvaluation) throws -> [Double] {
      let intervals = try #require(evaluation.result.details?.intervals)
      let brier = try #require(intervals.brier)
      let all = [try #require(intervals.classwise), brier.reliability, brier.resolution, brier.uncertainty, brier.withinBins]
      return all.flatMap { [$0.low, $0.high] }
    }
    let expected = try ends(whole)
    for other in [ofShards, ofParts, alone] {
      for (value, golden) in zip(try ends(other), expected) { expectClose(value, golden, tolerance: 1e-12) }
    }
  }

  @Test func scoresThatNeedLogitsAreLeftOutWithoutThem() throws {
    var evaluation = ExitEvaluation(index: 0, name: "last", outOfDistribution: ["noise"])
    let prediction = Prediction(
      logits: Tensor(shape: [1, 2, 2], [-0.1, -2.4, -0.7, -0.7]), likelihood: .categorical, exit: 0,
      scale: .logProbabilities)
    try evaluation.update(prediction, labels: [0, 1])
    try evaluation.update(prediction, outOfDistribution: "noise")
    #expect(
      try evaluation.result.ood[0].scores.keys.sorted() == [
        "entropy", "maximumProbability", "mutualInformation",
      ])
    #expect(try evaluation.result.ood[0].scores["mutualInformation"]?.isConstant == true)
  }

  @Test func aBadRowIsNamedAndNothingIsAdded() throws {
    var evaluation = try evaluation()
    let bad = Prediction(
      logits: Tensor(shape: [1, 2, 4], [0, 0, 0, 0, 0, .nan, 0, 0]), likelihood: .categorical, exit: 0)
    #expect { try evaluation.update(bad, labels: [0, 0]) } throws: { error in
      guard let error = error as? EvaluationError else { return false }
      return error.code == .score && error.row == 201
    }
    let good = Prediction(logits: Tensor(zeros: [1, 1, 4]), likelihood: .categorical, exit: 0)
    #expect { try evaluation.update(good, labels: [4]) } throws: { error in
      (error as? EvaluationError)?.row == 200
    }
    #expect(try evaluation.result == (try self.evaluation().result))
  }

  @Test func emptySetsAreRefused() throws {
    var evaluation = ExitEvaluation(index: 0, name: "last", outOfDistribution: ["noise"])
    #expect { try evaluation.result } throws: { ($0 as? EvaluationError)?.code == .empty }
    try evaluation.update(
      Prediction(logits: Tensor(zeros: [1, 1, 2]), likelihood: .categorical, exit: 0), labels: [0])
    #expect { try evaluation.result } throws: {
      ($0 as? EvaluationError)?.message.contains("noise") == true
    }
  }

  @Test func modelsAreComparedRowByRow() throws {
    let result = try Evaluation(of: [
      ModelEvaluation(name: "a", kind: .map, exits: [try evaluation(spread: 6)]),
      ModelEvaluation(name: "b", kind: .temperature, exits: [try evaluation(spread: 3)]),
      ModelEvaluation(name: "c", kind: ModelKind("laplace"), exits: [try evaluation(seed: 2)]),
    ])
    #expect(result.comparisons.map(\.model) == ["b", "c", "c"])
    #expect(result.comparisons.map(\.reference) == ["a", "a", "b"])
    let first = result.comparisons[0]
    expectClose(
      first.nll.value, result.models[1].exits[0].nll - result.models[0].exits[0].nll, tolerance: 1e-15)
    #expect(try #require(first.nll.interval).contains(first.nll.value))
    // Halving the logits makes random labels likelier on nearly every row: far beyond noise.
    #expect(first.nll.value < 0)
    #expect(!first.nll.isWithinNoise)
    #expect(first.ood[0].auroc.count == 4)
  }

  @Test(arguments: [1, 2, 7])
  func numbersAreTheSameHoweverManyAreComputedAtOnce(width: Int) async throws {
    let evaluations = [
      ModelEvaluation(name: "a", kind: .map, exits: [try evaluation(spread: 6), try evaluation(seed: 3)]),
      ModelEvaluation(name: "b", kind: .temperature, exits: [try evaluation(spread: 3)]),
      ModelEvaluation(name: "c", kind: ModelKind("laplace"), exits: [try evaluation(seed: 2)]),
    ]
    #expect(try await Evaluation(of: evaluations, width: width) == Evaluation(of: evaluations))
  }

  @Test func setsWithoutRowsAreRefusedAtAnyWidth() async throws {
    let evaluations = [
      ModelEvaluation(name: "a", kind: .map, exits: [try evaluation()]),
      ModelEvaluation(name: "b", kind: .map, exits: [ExitEvaluation(index: 0, name: "last", outOfDistribution: ["noise"])]),
    ]
    for width in [1, 4] {
      await #expect {
        try await Evaluation(of: evaluations, width: width)
      } throws: { ($0 as? EvaluationError)?.code == .empty }
    }
  }

  @Test func aModelDoesNotDifferFromItself() throws {
    let same = try evaluation()
    let result = try Evaluation(of: [
      ModelEvaluation(name: "a", kind: .map, exits: [same]),
      ModelEvaluation(name: "b", kind: .map, exits: [same]),
    ])
    let comparison = result.comparisons[0]
    for difference in [comparison.accuracy, comparison.nll, comparison.brier, comparison.ece] {
      #expect(difference.value == 0)
      #expect(difference.isWithinNoise)
    }
  }

  @Test func modelsOfDifferentRowsAreNotCompared() throws {
    #expect {
      try Evaluation(of: [
        ModelEvaluation(name: "a", kind: .map, exits: [try evaluation()]),
        ModelEvaluation(name: "b", kind: .map, exits: [try evaluation(shards: [0..<10])]),
      ])
    } throws: { ($0 as? EvaluationError)?.code == .shape }
  }
}
