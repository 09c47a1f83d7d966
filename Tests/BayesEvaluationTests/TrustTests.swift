import BayesEvaluation
import BayesPrediction
import BayesTensor
import Testing
import _BayesTestSupport

/// Which rows are trusted.
struct TrustTests {
  /// Rows whose score `u` is uniform and whose answer is wrong with probability `u² / 2`: of those below `θ` a share of
  /// `θ² / 6` is.
  private func rows(_ count: Int, seed: UInt64) -> (scores: [Double], isWrong: [Bool]) {
    let key = RandomKey(seed: seed)
    let scores = key.child(0).uniforms(count)
    let chances = key.child(1).uniforms(count)
    return (scores, zip(scores, chances).map { $1 < $0 * $0 / 2 })
  }

  private func trueRisk(below threshold: Double) -> Double {
    let end = min(1, threshold)
    return end * end / 6
  }

  /// Of 300 thresholds for a risk that may be exceeded with probability 0.2, no more are too wide than 0.2 explains
  /// (`binom.ppf(0.999, 300, 0.2)` is 82), and they are not timid either.
  @Test(arguments: [0.02, 0.05, 0.1])
  func riskIsHeldAsOftenAsPromised(maximumRisk: Double) throws {
    let target = TrustTarget(maximumRisk: maximumRisk, delta: 0.2)
    var (broken, coverages) = (0, 0.0)
    for seed in 0..<300 {
      let (scores, isWrong) = rows(4000, seed: UInt64(seed))
      do {
        let threshold = try target.threshold(scores: scores, isWrong: isWrong)
        if trueRisk(below: threshold.value) > maximumRisk { broken += 1 }
        coverages += min(1, threshold.value) / 300
      } catch let error {
        // Chance may leave nothing to trust, which counts as trusting no row.
        #expect(error.code == .unsupported)
      }
    }
    #expect(broken <= 82, "\(broken)")
    // Whoever knew the distribution would trust this share.
    let best = (6 * maximumRisk).squareRoot()
    #expect(coverages > 0.6 * best && coverages < best, "\(coverages) of \(best)")
  }

  /// The counts are those of the rows below the threshold; each step is tested with a tenth of a tenth, and of
  /// `scipy.stats.binom.cdf(5, 900, 0.02)`, 0.00029, and `cdf(10, 905, 0.02)`, 0.0277, only the first is less.
  @Test func thresholdsCountWhatLiesBelowThem() throws {
    let scores = (0..<1000).map { Double($0) / 1000 }
    // Five wrong rows among the first 900, and all behind.
    let isWrong = (0..<1000).map { $0 >= 900 || [100, 300, 500, 700, 850].contains($0) }
    let target = TrustTarget(maximumRisk: 0.02, delta: 0.1)
    let threshold = try target.threshold(scores: scores, isWrong: isWrong)
    #expect(threshold.trustedCount == scores.count { $0 < threshold.value } && threshold.rowCount == 1000)
    #expect(threshold.wrongCount == zip(scores, isWrong).count { $0 < threshold.value && $1 })
    #expect(threshold.value == 0.9)
    // Order does not matter.
    #expect(try target.threshold(scores: scores.reversed(), isWrong: isWrong.reversed()) == threshold)
  }

  @Test func rowsThatTieAreTrustedTogether() throws {
    let scores = (0..<600).map { Double($0 / 200) }
    let isWrong = (0..<600).map { $0 >= 400 }
    let threshold = try TrustTarget(maximumRisk: 0.05, delta: 0.1).threshold(scores: scores, isWrong: isWrong)
    #expect(threshold.value == 2 && threshold.trustedCount == 400 && threshold.wrongCount == 0)
  }

  @Test func everyRowIsTrustedWhereNoneIsWrong() throws {
    let threshold = try TrustTarget(maximumRisk: 0.05, delta: 0.1)
      .threshold(scores: (0..<200).map(Double.init), isWrong: Array(repeating: false, count: 200))
    #expect(threshold.value == .infinity && threshold.trustedCount == 200)
  }

  @Test func whatCannotBePromisedIsRefused() throws {
    let target = TrustTarget(maximumRisk: 0.01, delta: 0.1)
    #expect(throws: EvaluationError.self) { try target.threshold(scores: [], isWrong: []) }
    // Of 100 right rows not even all tell of one in a hundred.
    let error = #expect(throws: EvaluationError.self) {
      try target.threshold(scores: (0..<100).map(Double.init), isWrong: Array(repeating: false, count: 100))
    }
    #expect(error?.message.contains("of the 5 most trusted of 100 rows 0 are wrong") == true)
  }

  @Test func talliesOfShardsMerge() throws {
    let logits = RandomKey(seed: 3).normals([60, 4], as: Float.self)
    let labels = (0..<60).map { $0 % 5 }  // Four is no class.
    let rule = TrustRule(
      score: MaximumProbabilityScore(),
      threshold: TrustThreshold(value: 0.5, rowCount: 1, trustedCount: 1, wrongCount: 0),
      target: TrustTarget(maximumRisk: 0.1, delta: 0.1))
    func part(_ rows: Range<Int>) throws -> TrustTally {
      var tally = TrustTally(rule)
      let part = Prediction(logits: logits.rows(rows).reshaped(to: [1, rows.count, 4]), likelihood: .categorical, exit: 0)
      try tally.update(part, labels: Array(labels[rows]))
      try tally.update(part, outOfDistribution: "foreign")
      return tally
    }
    let whole = try part(0..<60)
    var first = try part(0..<25)
    first.merge(try part(25..<60))
    #expect(first.value == whole.value)
    let counts = whole.value.test
    #expect(counts.rowCount == 60 && counts.trustedCount > 0 && counts.labelledCount < counts.trustedCount)
    #expect(whole.value.foreign[0].counts.trustedCount == counts.trustedCount && whole.value.foreign[0].counts.risk == nil)
  }
}
