import BayesEvaluation
import BayesPrediction
import BayesTensor
import Testing
import _BayesTestSupport

/// Ranks by sorting digits against ranks by the standard library's sort.
@Suite struct RankTests {
  /// Numbers of all signs and sizes, with ties, both zeros and both infinities.
  private func numbers(_ count: Int, seed: UInt64) -> [Double] {
    let uniforms = RandomKey(seed: seed).uniforms(count)
    let odd: [Double] = [0, -0.0, .infinity, -.infinity, 1e-40, -1e-40, 3, -3]
    return uniforms.enumerated().map { index, uniform in
      switch index % 4 {
      case 0: odd[Int(uniform * 8)]
      case 1: ((uniform - 0.5) * 10).rounded()
      case 2: Double(Float(uniform))
      default: Double(Float((uniform - 0.5) * 1e30))
      }
    }
  }

  @Test(arguments: [1, 2, 65, 1000, 5000])
  func theMostConfidentComeFirstAndTiesStay(count: Int) throws {
    let uncertainties = numbers(count, seed: UInt64(count))
    let isWrong = RandomKey(seed: 7).uniforms(count).map { $0 < 0.3 }
    var metric = RiskCoverage()
    for (uncertainty, wrong) in zip(uncertainties, isWrong) { metric.update(uncertainty: uncertainty, isWrong: wrong) }
    let curve = try metric.value
    var (wrong, area, generalized) = (0, 0.0, 0.0)
    var risks: [Double] = []
    for index in uncertainties.indices.sorted(by: { (uncertainties[$0], $0) < (uncertainties[$1], $1) }) {
      wrong += isWrong[index] ? 1 : 0
      risks.append(Double(wrong) / Double(risks.count + 1))
      area += risks[risks.count - 1]
      generalized += Double(wrong) / Double(count)
    }
    #expect(curve.rowCount == count)
    #expect(curve.area() == area / Double(count))
    #expect(curve.generalizedArea() == generalized / Double(count))
    #expect(curve.errorRate == risks[count - 1])
    for accepted in Set([1, 63, 64, 65, 128, count / 2, count]).filter({ 1...count ~= $0 }) {
      // Just below, as the product with the number of rows is rounded up.
      #expect(curve.risk(atCoverage: (Double(accepted) - 0.5) / Double(count)) == risks[accepted - 1])
    }
    #expect(curve.points(maximumCount: count).map(\.risk) == risks)
    #expect(
      curve.coverage(atRisk: 0.25) == risks.lastIndex { $0 <= 0.25 }.map { Double($0 + 1) / Double(count) })
  }

  @Test func binsOfEquallyManyRowsKeepTheOrderOfTies() throws {
    // Confidences of eight values only, so that most rows tie.
    let count = 1003
    let uniforms = RandomKey(seed: 3).uniforms(2 * count)
    let confidences = (0..<count).map { 0.5 + Double(Int(uniforms[$0] * 8)) / 16 }
    let labels = (0..<count).map { uniforms[count + $0] < confidences[$0] ? 0 : 1 }
    var metric = EqualMassCalibrationError(binCount: 7)
    metric.update(
      try LabelledProbabilities(Tensor(shape: [count, 2], confidences.flatMap { [$0, 1 - $0] }), labels: labels))
    let order = confidences.indices.sorted { (-confidences[$0], -$0) > (-confidences[$1], -$1) }
    var (sum, start) = (0.0, 0)
    for bin in 0..<7 {
      let end = start + count / 7 + (bin < count % 7 ? 1 : 0)
      sum += abs(order[start..<end].reduce(0) { $0 + (labels[$1] == 0 ? 1 : 0) - confidences[$1] })
      start = end
    }
    expectClose(try metric.value, sum / Double(count), tolerance: 1e-15)
  }

  @Test(arguments: [3, 200, 4000])
  func separationByThePairs(count: Int) throws {
    let (known, foreign) = (numbers(count, seed: 1), numbers(count / 2 + 1, seed: 2).map { $0 + 0.2 })
    let result = try separation(known: known, foreign: foreign)
    let (low, high) = (known.map { Float($0) }, foreign.map { Float($0) })
    var wins = 0.0
    for one in high {
      for other in low { wins += one > other ? 1 : one == other ? 0.5 : 0 }
    }
    expectClose(result.auroc, wins / Double(low.count * high.count), tolerance: 1e-13)
    // The first cut that finds 19 of 20, by looking at every cut.
    let cut = Set(high).sorted(by: >).first { cut in high.filter { $0 >= cut }.count * 20 >= high.count * 19 }
    let lost = try low.filter { try $0 >= #require(cut) }.count
    expectClose(result.falsePositiveRateAt95, Double(lost) / Double(low.count), tolerance: 1e-15)
  }

  /// Blocks evaluated by themselves and merged: ranks and counts to the bit, sums to rounding.
  @Test func blocksSideBySideGiveTheWhole() throws {
    let (rowCount, classCount) = (3000, 5)
    let logits = randomLogits(rows: rowCount, classes: classCount, seed: 4)
    let foreign = randomLogits(rows: rowCount, classes: classCount, seed: 5, spread: 1)
    let labels = (0..<rowCount).map { $0 % classCount }
    func block(_ logits: Tensor<Float>, _ rows: Range<Int>) -> Prediction {
      Prediction(
        logits: logits.reshaped(to: [rowCount, classCount]).rows(rows).reshaped(to: [1, rows.count, classCount]),
        likelihood: .categorical, exit: 0)
    }
    var whole = ExitEvaluation(index: 0, name: "last", outOfDistribution: ["noise"])
    var merged = whole
    try whole.update(block(logits, 0..<rowCount), labels: labels)
    try whole.update(block(foreign, 0..<rowCount), outOfDistribution: "noise")
    for first in stride(from: 0, to: rowCount, by: 1024) {
      let rows = first..<min(first + 1024, rowCount)
      var shard = merged.shard(firstRow: first)
      try shard.update(block(logits, rows), labels: Array(labels[rows]))
      try shard.update(block(foreign, rows), outOfDistribution: "noise")
      merged.merge(shard)
    }
    let (one, other) = (try whole.result, try merged.result)
    #expect(one.ood[0].scores == other.ood[0].scores)
    #expect(one.details?.selection == other.details?.selection)
    #expect(one.accuracy == other.accuracy && one.classes == other.classes)
    expectClose(one.ece.value, other.ece.value, tolerance: 1e-15)
    expectClose(one.nll, other.nll, tolerance: 1e-13)
    expectClose(one.brier, other.brier, tolerance: 1e-13)

    var shard = merged.shard(firstRow: 2048)
    #expect { try shard.update(block(logits, 0..<1), labels: [classCount]) } throws: {
      ($0 as? EvaluationError)?.row == 2048
    }
  }
}
