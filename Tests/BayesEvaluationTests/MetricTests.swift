import BayesEvaluation
import BayesTensor
import RealModule
import Testing
import _BayesTestSupport

@Suite struct MetricTests {
  /// Feeds the rows named by `order` in pieces of `size` to one metric each, merged in turn.
  private func value<M: Metric>(
    _ empty: M, order: [Int] = Array(0..<12), size: Int = 12
  ) throws -> M.Value where M.Batch == LabelledProbabilities {
    var merged = empty
    for start in stride(from: 0, to: order.count, by: size) {
      let rows = Array(order[start..<min(start + size, order.count)])
      var shard = empty
      shard.update(try LabelledProbabilities(probabilitiesE.rows(rows), labels: rows.map { labelsE[$0] }))
      merged.merge(shard)
    }
    return try merged.value
  }

  @Test(arguments: [(5, 0.1366666667), (10, 0.3116666667), (15, 0.3116666667)])
  func calibrationErrorOfThePublishedFixture(bins: Int, expected: Double) throws {
    expectClose(try value(ExpectedCalibrationError(binCount: bins)), expected, tolerance: 1e-10)
  }

  @Test func brierScoreOfThePublishedFixture() throws {
    expectClose(try value(BrierScore()), 0.4976833333, tolerance: 1e-10)
  }

  @Test func likelihoodOfThePublishedFixture() throws {
    var probabilities = probabilitiesE
    for (column, p) in [0.97, 0.02, 0.01].enumerated() { probabilities[0, column] = p }
    var metric = NegativeLogLikelihood()
    metric.update(try LabelledProbabilities(probabilities, labels: labelsE))
    // The published digits come from a tool that computes in float32.
    expectClose(try metric.value, 0.88178474, tolerance: 1e-7)
    #expect(metric.infiniteCount == 0)
  }

  @Test func anImpossibleLabelMakesTheLikelihoodInfiniteAndIsCounted() throws {
    var metric = NegativeLogLikelihood()
    metric.update(try LabelledProbabilities(probabilitiesE, labels: labelsE))
    #expect(try metric.value == .infinity)
    #expect(metric.infiniteCount == 1)
    #expect(metric.interval == nil)
  }

  @Test func accuracyCountsTheFirstOfEqualClasses() throws {
    #expect(try value(Accuracy()) == 7.0 / 12)
    var metric = Accuracy()
    metric.update(try LabelledProbabilities(Tensor(shape: [2, 2], [0.5, 0.5, 0.5, 0.5]), labels: [0, 1]))
    #expect(try metric.value == 0.5)
  }

  @Test(arguments: [1, 5, 7])
  func shardsMergeToTheWhole(size: Int) throws {
    #expect(try value(Accuracy(), size: size) == value(Accuracy()))
    #expect(try value(ClassTally(), size: size) == value(ClassTally()))
    // Sums are rounded in another order.
    expectClose(try value(BrierScore(), size: size), try value(BrierScore()), tolerance: 1e-15)
    expectClose(
      try value(ExpectedCalibrationError(), size: size), try value(ExpectedCalibrationError()),
      tolerance: 1e-15)
  }

  @Test func theOrderOfRowsDoesNotMatter() throws {
    let order = [7, 2, 11, 0, 5, 9, 1, 3, 10, 4, 8, 6]
    #expect(try value(Accuracy(), order: order) == value(Accuracy()))
    expectClose(try value(BrierScore(), order: order), try value(BrierScore()), tolerance: 1e-15)
    expectClose(
      try value(ExpectedCalibrationError(), order: order), try value(ExpectedCalibrationError()),
      tolerance: 1e-15)
  }

  @Test func nothingIsRefused() {
    #expect { try Accuracy().value } throws: { ($0 as? EvaluationError)?.code == .empty }
    #expect { try NegativeLogLikelihood().value } throws: { ($0 as? EvaluationError)?.code == .empty }
    #expect { try BrierScore().value } throws: { ($0 as? EvaluationError)?.code == .empty }
    #expect { try ExpectedCalibrationError().value } throws: { ($0 as? EvaluationError)?.code == .empty }
    #expect { try ConfidenceHistogram().value } throws: { ($0 as? EvaluationError)?.code == .empty }
    #expect { try ClassTally().value } throws: { ($0 as? EvaluationError)?.code == .empty }
  }

  @Test func classesAreCounted() throws {
    // Predicted: 0 0 0 1 1 2 0 2 0 2 1 0.
    #expect(
      try value(ClassTally()) == [
        ClassCounts(rows: 4, correct: 3, predicted: 6), ClassCounts(rows: 5, correct: 2, predicted: 3),
        ClassCounts(rows: 3, correct: 2, predicted: 3),
      ])
  }
}

@Suite struct BinTests {
  @Test(arguments: 1...40)
  func everyEdgeBelongsToTheBinBelow(count: Int) {
    let bins = UnitIntervalBins(count: count)
    #expect(bins.index(of: 0) == 0)
    #expect(bins.index(of: 1) == count - 1)
    for edge in 1..<max(2, count) where count > 1 {
      let value = Double(edge) / Double(count)
      #expect(bins.index(of: value) == edge - 1)
      #expect(bins.index(of: value.nextUp) == edge)
      #expect(bins.index(of: value.nextDown) == edge - 1)
    }
  }

  @Test func certainAndEdgeConfidencesAreCounted() throws {
    var metric = ExpectedCalibrationError(binCount: 10)
    metric.update(try LabelledProbabilities(probabilitiesE, labels: labelsE))
    // 1 and .95 in the last; .85 and the two .9 in the bin that ends there.
    #expect(metric.reliability.map(\.count) == [0, 0, 0, 2, 1, 1, 2, 1, 3, 2])
    #expect(metric.reliability[9].accuracy == 0.5)
    expectClose(metric.reliability[9].confidence, 0.975, tolerance: 1e-15)
  }

  @Test func histogramCountsEveryRow() throws {
    var histogram = ConfidenceHistogram(binCount: 10)
    histogram.update(try ClassProbabilities(probabilitiesE))
    #expect(try histogram.value == [0, 0, 0, 2, 1, 1, 2, 1, 3, 2])
  }
}

@Suite struct CheckedProbabilitiesTests {
  @Test func aMissingNumberIsRefusedByItsRow() {
    #expect {
      try ClassProbabilities(Tensor(shape: [2, 2], [0.5, 0.5, .nan, 0.5]), firstRow: 100)
    } throws: { error in
      guard let error = error as? EvaluationError else { return false }
      return error.code == .probability && error.row == 101 && error.message.contains("row 101")
    }
  }

  @Test(arguments: [[1.2, -0.2], [0.4, 0.4], [.infinity, 0]])
  func whatIsNoDistributionIsRefused(row: [Double]) {
    #expect { try ClassProbabilities(Tensor(shape: [1, 2], row)) } throws: {
      ($0 as? EvaluationError)?.code == .probability
    }
  }

  @Test(arguments: [-1, 3])
  func aLabelOutOfRangeIsRefusedByItsRow(label: Int) {
    var labels = labelsE
    labels[4] = label
    #expect { try LabelledProbabilities(probabilitiesE, labels: labels) } throws: { error in
      guard let error = error as? EvaluationError else { return false }
      return error.code == .label && error.row == 4 && error.message.contains("\(label)")
    }
  }

  @Test func tooFewLabelsAreRefused() {
    #expect { try LabelledProbabilities(probabilitiesE, labels: [0]) } throws: {
      ($0 as? EvaluationError)?.code == .shape
    }
  }
}

@Suite struct IntervalTests {
  @Test func wilsonAgreesWithItsClosedFormsAtTheEndsAndTheMiddle() {
    let z2 = Interval.normalQuantile * Interval.normalQuantile
    expectClose(Interval.wilson(successes: 10, of: 10).low, 10 / (10 + z2), tolerance: 1e-15)
    #expect(Interval.wilson(successes: 10, of: 10).high == 1)
    #expect(Interval.wilson(successes: 0, of: 10).low == 0)
    let half = Interval.normalQuantile / (2 * (100 + z2).squareRoot())
    expectClose(Interval.wilson(successes: 50, of: 100).low, 0.5 - half, tolerance: 1e-15)
  }

  @Test func meanAndSpreadOfKnownNumbers() throws {
    var mean = RowMean()
    for value in [1.0, 2, 3, 4] { mean.add(value) }
    #expect(mean.mean == 2.5)
    let error = (5.0 / 3 / 4).squareRoot()
    expectClose(try #require(mean.interval).high, 2.5 + Interval.normalQuantile * error, tolerance: 1e-15)
    var one = RowMean()
    one.add(1)
    #expect(one.interval == nil)
  }
}
