import BayesEvaluation
import BayesPrediction
import BayesTensor
import RealModule
import Testing
import _BayesTestSupport

/// Values of NumPy from the definitions: see `Tests/Golden/generate/make_conformal.py`.
@Suite struct ConformalTests {
  @Test func ranksAreThoseOfExactFractions() throws {
    let file = try GoldenValue(contentsOf: "Conformal/ranks.json")
    for (alpha, ranks) in zip(file["alphas"].numbers, file["ranks"].list) {
      for (index, rank) in ranks.numbers.enumerated() {
        #expect(ConformalThreshold.rank(alpha: alpha, rowCount: index + 1) == Int(rank), "\(alpha), \(index + 1)")
      }
    }
    // What MAPIE takes is the nineteenth; the definition says the eighteenth.
    #expect(ConformalThreshold.rank(alpha: 0.1, rowCount: 19) == 18)
  }

  private struct ClassCase {
    let score: ConformalScore
    let isRandomized: Bool
    let isByClass: Bool
    let alpha: Double
    let expected: GoldenValue

    init(_ value: GoldenValue) {
      let name = value["score"]["name"].text
      score =
        switch name {
        case "leastAmbiguous": .leastAmbiguous
        case "adaptive": .adaptive
        default:
          .regularized(weight: value["score"]["weight"].number, freeRank: Int(value["score"]["freeRank"].number))
        }
      isRandomized = value["randomized"].number == 1
      isByClass = value["byClass"].number == 1
      alpha = value["alpha"].number
      expected = value["expected"]
    }

    func check(_ thresholds: [ConformalThreshold], _ sets: [[Int]], labels: [Int]) throws {
      let golden = expected["thresholds"].list
      #expect(thresholds.count == golden.count)
      for (threshold, value) in zip(thresholds, golden) {
        if case .number(let number) = value {
          #expect(threshold.value == number && threshold.notice == nil)
        } else {
          #expect(threshold.isInfinite && threshold.notice?.contains("too small") == true)
        }
      }
      let members = expected["members"].tensor(as: Double.self)
      #expect(sets == (0..<members.shape[0]).map { row in (0..<4).filter { members[row, $0] == 1 } })
      var metric = SetCoverage(classCount: 4)
      metric.update(try LabelledSets(sets, labels: labels, classCount: 4))
      let coverage = try metric.value
      expectClose(coverage.coverage, expected["coverage"].number, tolerance: 1e-15)
      expectClose(coverage.meanSize, expected["meanSize"].number, tolerance: 1e-15)
      for (index, own) in coverage.classes.enumerated() {
        expectClose(try #require(own.coverage), expected["classCoverage"].numbers[index], tolerance: 1e-15)
        expectClose(try #require(own.meanSize), expected["classMeanSize"].numbers[index], tolerance: 1e-15)
      }
    }
  }

  @Test func setsOfClasses() throws {
    let file = try GoldenValue(contentsOf: "Conformal/classes.json")
    let inputs = file["inputs"]
    let (p, fresh): (Tensor<Double>, Tensor<Double>) = (inputs["probabilities"].tensor(), inputs["fresh"].tensor())
    let (labels, freshLabels) = (
      inputs["labels"].numbers.map { Int($0) }, inputs["freshLabels"].numbers.map { Int($0) }
    )
    let (uniforms, freshUniforms) = (inputs["uniforms"].numbers, inputs["freshUniforms"].numbers)
    func row(_ values: Tensor<Double>, _ row: Int) -> ArraySlice<Double> { values.elements[row * 4..<row * 4 + 4] }
    for value in file["cases"].list {
      let expected = ClassCase(value)
      if expected.isRandomized {
        // The given numbers in place of those of a key.
        let own = labels.indices.map {
          expected.score.scores(of: row(p, $0), uniform: uniforms[$0])[labels[$0]]
        }
        let thresholds =
          try expected.isByClass
          ? (0..<4).map { label in
            try ConformalThreshold(
              scores: labels.indices.filter { labels[$0] == label }.map { own[$0] }, alpha: expected.alpha)
          } : [ConformalThreshold(scores: own, alpha: expected.alpha)]
        let sets = freshLabels.indices.map { index in
          let scores = expected.score.scores(of: row(fresh, index), uniform: freshUniforms[index])
          return (0..<4).filter { scores[$0] <= thresholds[expected.isByClass ? $0 : 0].value }
        }
        try expected.check(thresholds, sets, labels: freshLabels)
      } else {
        let fitted = try ConformalClassification(
          alpha: expected.alpha, score: expected.score, isByClass: expected.isByClass
        ).fit(LabelledProbabilities(p, labels: labels))
        try expected.check(fitted.thresholds, fitted.sets(of: ClassProbabilities(fresh)), labels: freshLabels)
        #expect(fitted.notices.count == fitted.thresholds.filter(\.isInfinite).count)
      }
    }
  }

  @Test func intervalsOfTargets() throws {
    let file = try GoldenValue(contentsOf: "Conformal/intervals.json")
    let inputs = file["inputs"]
    func numbers(_ name: String, _ rows: Range<Int>) -> [Double] { Array(inputs[name].numbers[rows]) }
    func forecasts(_ rows: Range<Int>) throws -> GaussianForecasts {
      try GaussianForecasts(
        means: numbers("means", rows), standardDeviations: numbers("standardDeviations", rows),
        targets: numbers("targets", rows))
    }
    func check(_ intervals: [PredictionInterval], _ expected: GoldenValue) throws {
      #expect(intervals.map(\.lower) == expected["lower"].numbers)
      #expect(intervals.map(\.upper) == expected["upper"].numbers)
      var coverage = IntervalCoverage()
      coverage.update(zip(intervals, numbers("targets", 60..<90)).map { (interval: $0, target: $1) })
      expectClose(try coverage.value.coverage, expected["coverage"].number, tolerance: 1e-15)
      expectClose(try coverage.value.meanWidth, expected["meanWidth"].number, tolerance: 1e-14)
    }
    for expected in file["cases"].list {
      let alpha = expected["alpha"].number
      let thresholds = expected["thresholds"].numbers
      let absolute = try ConformalRegression(alpha: alpha, score: .absolute).fit(forecasts(0..<60))
      let normalized = try ConformalRegression(alpha: alpha).fit(forecasts(0..<60))
      let quantiles = try ConformalizedQuantileRegression(alpha: alpha).fit(
        lower: numbers("lower", 0..<60), upper: numbers("upper", 0..<60), targets: numbers("targets", 0..<60))
      #expect([absolute.threshold.value, normalized.threshold.value, quantiles.threshold.value] == thresholds)
      try check(absolute.intervals(of: forecasts(60..<90)), expected["absolute"])
      try check(normalized.intervals(of: forecasts(60..<90)), expected["normalized"])
      try check(
        zip(numbers("lower", 60..<90), numbers("upper", 60..<90)).map { quantiles.interval(lower: $0, upper: $1) },
        expected["quantiles"])
    }
  }

  /// The central 95 % of the number of covered rows of `count`, which is beta-binomial whatever the scores are.
  private func band(fitted: Int, alpha: Double, count: Int) -> ClosedRange<Int> {
    let rank = ConformalThreshold.rank(alpha: alpha, rowCount: fitted)
    guard rank <= fitted else { return count...count }
    let (a, b) = (Double(rank), Double(fitted + 1 - rank))
    func logBeta(_ x: Double, _ y: Double) -> Double {
      Double.logGamma(x) + Double.logGamma(y) - Double.logGamma(x + y)
    }
    var (low, high, sum) = (0, count, 0.0)
    for hits in 0...count {
      let (k, n) = (Double(hits), Double(count))
      let choose = -Double.log(n + 1) - logBeta(n - k + 1, k + 1)
      let mass = Double.exp(choose + logBeta(k + a, n - k + b) - logBeta(a, b))
      if sum + mass <= 0.025 { low = hits + 1 }
      if sum < 0.975 { high = hits }
      sum += mass
    }
    expectClose(sum, 1, tolerance: 1e-9)
    return low...high
  }

  /// One pool of rows whose labels follow hotter probabilities than are given.
  private static let pool = {
    let key = RandomKey(seed: 77)
    let z = key.child(0).normals([300, 4], as: Double.self)
    let uniforms = key.child(1).uniforms(1200)
    var (p, labels) = (Tensor<Double>(zeros: [300, 4]), [Int]())
    for row in 0..<300 {
      let logits = (0..<4).map { 2 * z[row, $0] }
      let normalizer = logSumExp(logits)
      for k in 0..<4 { p[row, k] = Double.exp(logits[k] - normalizer) }
      let noisy = (0..<4).map { logits[$0] / 1.7 - Double.log(-Double.log(uniforms[row * 4 + $0])) }
      labels.append(noisy.indices.max { noisy[$0] < noisy[$1] } ?? 0)
    }
    return (p, labels)
  }()

  struct Setting: Sendable, CustomTestStringConvertible {
    var score: ConformalScore
    var isRandomized: Bool
    var isByClass = false
    var testDescription: String { "\(score), \(isRandomized), \(isByClass)" }
  }

  @Test(arguments: [
    Setting(score: .leastAmbiguous, isRandomized: false),
    Setting(score: .leastAmbiguous, isRandomized: false, isByClass: true),
    Setting(score: .adaptive, isRandomized: true), Setting(score: .adaptive, isRandomized: false),
    Setting(score: .regularized(weight: 0.1, freeRank: 1), isRandomized: true),
    Setting(score: .regularized(weight: 0.1, freeRank: 1), isRandomized: false),
  ])
  func setsCoverAsTheyPromise(setting: Setting) throws {
    let (p, labels) = Self.pool
    let key = RandomKey(seed: 11)
    let alpha = 0.15
    // Without randomness all classes of a row sum to one: such scores tie, and more is covered.
    let isExact = setting.score == .leastAmbiguous || setting.isRandomized
    var within = [Int](repeating: 0, count: setting.isByClass ? 4 : 1)
    for split in 0..<100 {
      let order = key.child(split).permutation(300)
      let (old, new) = (Array(order.prefix(150)), Array(order.suffix(150)))
      let fitted = try ConformalClassification(
        alpha: alpha, score: setting.score, isByClass: setting.isByClass,
        key: setting.isRandomized ? key.child(1000 + split) : nil
      ).fit(LabelledProbabilities(p.rows(old), labels: old.map { labels[$0] }))
      let sets = try fitted.sets(of: ClassProbabilities(p.rows(new)))
      for group in within.indices {
        func isMember(_ row: Int) -> Bool { !setting.isByClass || labels[row] == group }
        let rows = new.indices.filter { isMember(new[$0]) }
        let hits = rows.filter { sets[$0].contains(labels[new[$0]]) }.count
        let band = band(fitted: old.filter(isMember).count, alpha: alpha, count: rows.count)
        if hits >= band.lowerBound, !isExact || hits <= band.upperBound { within[group] += 1 }
      }
    }
    #expect(within.allSatisfy { $0 >= 90 }, "\(within)")
  }

  @Test(arguments: 0..<3)
  func intervalsCoverAsTheyPromise(kind: Int) throws {
    let key = RandomKey(seed: 12)
    let z = key.child(0).normals([400, 3], as: Double.self)
    let means = (0..<400).map { z[$0, 0] }
    let deviations = (0..<400).map { Double.exp(z[$0, 1] / 2) }
    // Three times as far away as forecast.
    let targets = (0..<400).map { means[$0] + 3 * deviations[$0] * z[$0, 2] }
    func choose(_ values: [Double], _ rows: ArraySlice<Int>) -> [Double] { rows.map { values[$0] } }
    var within = 0
    for split in 0..<100 {
      let order = key.child(1 + split).permutation(400)
      let (old, new) = (order.prefix(200), order.suffix(200))
      func forecasts(_ rows: ArraySlice<Int>) throws -> GaussianForecasts {
        try GaussianForecasts(
          means: choose(means, rows), standardDeviations: choose(deviations, rows), targets: choose(targets, rows))
      }
      let intervals: [PredictionInterval]
      if kind < 2 {
        let score = kind == 0 ? ConformalRegression.Score.absolute : .normalized
        intervals = try ConformalRegression(alpha: 0.2, score: score).fit(forecasts(old)).intervals(of: forecasts(new))
      } else {
        let lower = means.indices.map { means[$0] - deviations[$0] }
        let upper = means.indices.map { means[$0] + 6 * deviations[$0] }
        let fitted = try ConformalizedQuantileRegression(alpha: 0.2).fit(
          lower: choose(lower, old), upper: choose(upper, old), targets: choose(targets, old))
        intervals = new.map { fitted.interval(lower: lower[$0], upper: upper[$0]) }
      }
      let hits = zip(intervals, new).filter { $0.contains(targets[$1]) }.count
      if band(fitted: 200, alpha: 0.2, count: 200).contains(hits) { within += 1 }
    }
    #expect(within >= 90, "\(within)")
  }

  /// Sets grow with what they promise; pieces and the whole agree; randomness makes sets smaller.
  @Test func setsAreNestedAndDoNotDependOnPieces() throws {
    let (p, labels) = Self.pool
    let rows = try LabelledProbabilities(p, labels: labels)
    let key = RandomKey(seed: 5)
    for score in [ConformalScore.leastAmbiguous, .adaptive, .regularized(weight: 0.02, freeRank: 1)] {
      var last: [[Int]]?
      for alpha in [0.4, 0.2, 0.05, 0.001] {
        let fitted = try ConformalClassification(alpha: alpha, score: score, key: key).fit(rows)
        let sets = try fitted.sets(of: rows.probabilities)
        let pieces = try stride(from: 0, to: 300, by: 70).flatMap { first in
          try fitted.sets(
            of: ClassProbabilities(p.rows(Array(first..<min(300, first + 70)))), firstRow: first)
        }
        #expect(pieces == sets)
        #expect(try ConformalClassification(alpha: alpha, score: score, key: key).fit(rows) == fitted)
        if let last { #expect(zip(last, sets).allSatisfy { Set($0).isSubset(of: $1) }) }
        last = sets
      }
      // Of 300 rows a thousandth is less than one.
      #expect(last?.allSatisfy { $0 == [0, 1, 2, 3] } == true)
    }
    func meanSize(_ key: RandomKey?) throws -> Double {
      let fitted = try ConformalClassification(alpha: 0.2, score: .adaptive, key: key).fit(rows)
      var metric = SetCoverage(classCount: 4)
      metric.update(try LabelledSets(fitted.sets(of: rows.probabilities), labels: labels, classCount: 4))
      return try metric.value.meanSize
    }
    #expect(try meanSize(key) < meanSize(nil))
  }

  /// Without a penalty RAPS is APS; predictions and probabilities give the same.
  @Test func limits() throws {
    let (p, labels) = Self.pool
    let rows = try LabelledProbabilities(p, labels: labels)
    for key in [nil, RandomKey(seed: 3)] {
      let adaptive = try ConformalClassification(alpha: 0.1, score: .adaptive, key: key).fit(rows)
      for score in [ConformalScore.regularized(weight: 0, freeRank: 0), .regularized(weight: 9, freeRank: 4)] {
        let other = try ConformalClassification(alpha: 0.1, score: score, key: key).fit(rows)
        #expect(other.thresholds == adaptive.thresholds)
        #expect(try other.sets(of: rows.probabilities) == adaptive.sets(of: rows.probabilities))
      }
    }
    let prediction = Prediction(
      logits: randomLogits(rows: 50, classes: 1, seed: 4), likelihood: .binary, exit: 0)
    let binary = (0..<50).map { $0 % 2 }
    let fitted = try ConformalClassification(alpha: 0.1, score: .leastAmbiguous).fit(prediction, labels: binary)
    let probabilities = prediction.probabilities()
    let direct = try ConformalClassification(alpha: 0.1, score: .leastAmbiguous).fit(
      LabelledProbabilities(probabilities, labels: binary))
    #expect(fitted == direct)
    #expect(try fitted.sets(of: prediction) == direct.sets(of: ClassProbabilities(probabilities)))
    // A class without rows is in every set.
    let byClass = try ConformalClassification(alpha: 0.5, score: .leastAmbiguous, isByClass: true).fit(
      LabelledProbabilities(Tensor(shape: [2, 3], [0.8, 0.1, 0.1, 0.7, 0.2, 0.1]), labels: [0, 0]))
    #expect(byClass.notices.map { $0.prefix(8) } == ["Class 1:", "Class 2:"])
    #expect(try byClass.sets(of: ClassProbabilities(Tensor(shape: [1, 3], [0.1, 0.45, 0.45]))) == [[1, 2]])
    let infinite = try ConformalRegression(alpha: 0.1).fit(
      GaussianForecasts(means: [0], standardDeviations: [1], targets: [1]))
    #expect(infinite.threshold.notice?.contains("at least 9 rows") == true)
    #expect(infinite.interval(mean: 0, standardDeviation: 1).contains(1e300))
    #expect(try ConformalThreshold(scores: Array(repeating: 1, count: 9), alpha: 0.1).notice == nil)
    #expect(try ConformalThreshold(scores: Array(repeating: 1, count: 8), alpha: 0.1).isInfinite)
    #expect(try ConformalThreshold(scores: [1], alpha: 1e-300).isInfinite)
    #expect(try ConformalThreshold(scores: [2, 1], alpha: 1.0.nextDown).value == 1)
    let empty = PredictionInterval(lower: 1, upper: 0)
    #expect(empty.width == 0 && !empty.contains(0.5))
  }

  /// Fed in pieces, coverage is as fed at once.
  @Test func shardsMergeToTheWhole() throws {
    let sets = [[0], [0, 1], [], [1, 2]]
    let labels = [0, 1, 2, 0]
    var whole = SetCoverage(classCount: 3)
    whole.update(try LabelledSets(sets, labels: labels, classCount: 3))
    var merged = SetCoverage(classCount: 3)
    for index in 0..<4 {
      var shard = SetCoverage(classCount: 3)
      shard.update(try LabelledSets([sets[index]], labels: [labels[index]], classCount: 3))
      merged.merge(shard)
    }
    #expect(merged == whole)
    let result = try whole.value
    #expect(result.coverage == 0.5 && result.meanSize == 1.25 && result.rowCount == 4)
    #expect(result.classes.map(\.coverage) == [0.5, 1, 0] && result.classes.map(\.meanSize) == [1.5, 2, 0])
    var (first, second) = (IntervalCoverage(), IntervalCoverage())
    first.add(PredictionInterval(lower: 0, upper: 2), target: 2)
    second.add(PredictionInterval(lower: 0, upper: 1), target: -1)
    first.merge(second)
    let intervals = try first.value
    #expect(intervals.rowCount == 2 && intervals.coverage == 0.5 && intervals.meanWidth == 1.5)
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
    let (p, labels) = Self.pool
    let rows = try LabelledProbabilities(p, labels: labels)
    let forecasts = try GaussianForecasts(means: [0], standardDeviations: [1], targets: [1])
    for alpha in [0, 1, -0.1, 1.5, .nan, .infinity] {
      #expect(code { try ConformalClassification(alpha: alpha, score: .adaptive).fit(rows) } == .score)
      #expect(code { try ConformalRegression(alpha: alpha).fit(forecasts) } == .score)
      #expect(code { try ConformalThreshold(scores: [1], alpha: alpha) } == .score)
      #expect(
        code { try ConformalizedQuantileRegression(alpha: alpha).fit(lower: [0], upper: [1], targets: [0]) } == .score)
    }
    let none = try LabelledProbabilities(Tensor(zeros: [0, 3]), labels: [])
    let nothing = try GaussianForecasts(means: [], standardDeviations: [], targets: [])
    #expect(code { try ConformalClassification(alpha: 0.1, score: .adaptive).fit(none) } == .empty)
    #expect(code { try ConformalRegression(alpha: 0.1).fit(nothing) } == .empty)
    let quantiles = ConformalizedQuantileRegression(alpha: 0.1)
    #expect(code { try quantiles.fit(lower: [], upper: [], targets: []) } == .empty)
    #expect(code { try quantiles.fit(lower: [0], upper: [], targets: [0]) } == .shape)
    #expect(code { try quantiles.fit(lower: [0], upper: [.nan], targets: [0]) } == .score)
    #expect(code { try ConformalThreshold(scores: [.nan], alpha: 0.1) } == .score)
    for score in [
      ConformalScore.regularized(weight: -1, freeRank: 0), .regularized(weight: 1, freeRank: -1),
      .regularized(weight: .nan, freeRank: 0),
    ] {
      #expect(code { try ConformalClassification(alpha: 0.1, score: score).fit(rows) } == .score)
    }
    let fitted = try ConformalClassification(alpha: 0.1, score: .adaptive).fit(rows)
    #expect(code { try fitted.sets(of: ClassProbabilities(Tensor(shape: [1, 2], [0.5, 0.5]))) } == .shape)
    let gaussian = Prediction(logits: Tensor(zeros: [1, 1, 4]), likelihood: .gaussian, exit: 0)
    #expect(code { try fitted.sets(of: gaussian) } == .unsupported)
    #expect(
      code { try ConformalClassification(alpha: 0.1, score: .adaptive).fit(gaussian, labels: [0]) } == .unsupported)
    #expect(code { try LabelledSets([[3]], labels: [0], classCount: 3) } == .label)
    #expect(code { try LabelledSets([[0]], labels: [], classCount: 3) } == .shape)
    #expect(code { try SetCoverage(classCount: 2).value } == .empty)
    #expect(code { try IntervalCoverage().value } == .empty)
  }
}
