import BayesEvaluation
import BayesPrediction
import BayesTensor
import RealModule
import Testing
import _BayesTestSupport

@Suite struct DetectorTests {
  private let problem = DetectorProblem.random()

  @Test func namesAndNeeds() {
    #expect(
      allOODDetectors.map(\.name) == [
        "mahalanobis", "relativeMahalanobis", "knn", "vim", "residual", "react", "ashS", "scale", "she", "gradNorm",
        "dice", "nnGuide", "fdbd",
      ])
    #expect(Set(smallDetectors.map(\.name)).isSuperset(of: allOODDetectors.map(\.name)))
  }

  @Test(arguments: smallDetectors.indices)
  func orderOfTrainingRowsDoesNotMatter(index: Int) async throws {
    let detector = smallDetectors[index]
    var shuffled = problem
    shuffled.training = problem.training.rows(RandomKey(seed: 1).permutation(problem.training.rowCount))
    shuffled.validation = problem.validation.rows(RandomKey(seed: 2).permutation(problem.validation.rowCount))
    expectClose(
      try await shuffled.scores(detector), try await problem.scores(detector), tolerance: 1e-11, detector.name)
  }

  @Test(arguments: smallDetectors.indices)
  func portionsDoNotMatter(index: Int) async throws {
    let detector = smallDetectors[index]
    let whole = try await problem.scores(detector)
    for portion in [1, 7, 64] {
      var cut = problem
      cut.training.portion = portion
      cut.validation.portion = portion
      expectClose(try await cut.scores(detector), whole, tolerance: 1e-11, "\(detector.name), \(portion)")
    }
  }

  @Test(arguments: smallDetectors.indices)
  func rowsAreScoredAlone(index: Int) async throws {
    let fitted = try await smallDetectors[index].fit(problem.inputs, in: .test())
    let test = problem.test
    let together = try fitted.scores(features: test.features, logits: test.logits, on: ReferenceBackend())
    for row in 0..<test.rowCount {
      let alone = try fitted.scores(
        features: test.features.rows([row]), logits: test.logits.rows([row]), on: ReferenceBackend())
      expectClose(alone[0], together[row], tolerance: 1e-13, fitted.name)
    }
    let none = try fitted.scores(
      features: Tensor(zeros: [0, 6]), logits: Tensor(zeros: [0, 3]), on: ReferenceBackend())
    #expect(none.shape == [0])
  }

  @Test(arguments: smallDetectors.indices)
  func recordsGiveWhatTheirRowsGive(index: Int) async throws {
    let detector = smallDetectors[index]
    let inputs = try await DetectorInputs(
      exit: 0, of: problem.description(), training: problem.records(problem.training),
      validation: problem.records(problem.validation))
    let fitted = try await detector.fit(inputs, in: .test())
    let sample = try await fitted.scores(of: problem.records(problem.test), in: .test())
    #expect(sample.scores == (try await problem.scores(detector)).elements.map { Float($0) })
    #expect(fitted.settings == detector.settings && fitted.choice == nil && fitted.exit == 0)
  }

  @Test func rowsWithoutAnAnswerTeachNothing() async throws {
    var marked = problem.records(problem.training)
    var records = marked.records
    for row in 0..<30 {
      records.labels?[row] = 255
      for column in 0..<6 { records.exits[0].features?[row, column] = 1000 }
    }
    var description = problem.description()
    description.ignoredLabel = 255
    marked = InMemoryExitRecords(records, description: description)
    let inputs = try await DetectorInputs(exit: 0, of: description, training: marked)
    var kept = problem
    kept.training = problem.training.rows(Array(30..<90))
    for detector in [MahalanobisDetector(), NearestNeighbourDetector(neighbourCount: 3)] as [any OODDetector] {
      let scores = try await detector.fit(inputs, in: .test()).scores(
        features: problem.test.features, logits: problem.test.logits, on: ReferenceBackend())
      #expect(try await kept.scores(detector) == scores)
    }
  }

  @Test(arguments: smallDetectors.indices)
  func oneLogitIsReadAsTwoClasses(index: Int) async throws {
    let detector = smallDetectors[index]
    // Halves of singles are singles, so that both networks hold the same numbers.
    var pair = DetectorProblem.random(classes: 2)
    var single = pair
    func difference(_ a: Tensor<Double>) -> Tensor<Double> {
      Tensor(shape: [a.rowCount, 1], (0..<a.rowCount).map { Double(Float(a[$0, 1] - a[$0, 0])) })
    }
    func halves(_ a: Tensor<Double>) -> Tensor<Double> {
      Tensor(shape: [a.rowCount, 2], a.elements.flatMap { [-$0 / 2, $0 / 2] })
    }
    single.head = DetectorHead(
      weight: difference(pair.head.weight),
      bias: difference(pair.head.bias.reshaped(to: [1, 2])).reshaped(to: [1]))
    pair.head = DetectorHead(
      weight: halves(single.head.weight), bias: halves(single.head.bias.reshaped(to: [1, 1])).reshaped(to: [2]))
    for part in [\DetectorProblem.training, \.validation, \.test] {
      single[keyPath: part].logits = difference(pair[keyPath: part].logits)
      pair[keyPath: part].logits = halves(single[keyPath: part].logits)
    }
    let description = single.description(likelihood: .binary)
    func records(_ rows: RowsInMemory) -> InMemoryExitRecords {
      InMemoryExitRecords(single.records(rows).records, description: description)
    }
    let inputs = try await DetectorInputs(
      exit: 0, of: description, training: records(single.training), validation: records(single.validation))
    #expect(inputs.classCount == 2)
    let fitted = try await detector.fit(inputs, in: .test())
    let scores = try fitted.scores(
      features: single.test.features, logits: single.test.logits, on: ReferenceBackend())
    expectClose(scores, try await pair.scores(detector), tolerance: 1e-12, detector.name)
  }

  @Test func mahalanobisDistancesDoNotDependOnCoordinates() async throws {
    // An invertible map of the features with a shift.
    let map: Tensor<Double> = RandomKey(seed: 8).normals([6, 6])
    var mapped = problem
    for part in [\DetectorProblem.training, \.test] {
      mapped[keyPath: part].features = ReferenceBackend().product(problem[keyPath: part].features, map).map { $0 + 3 }
    }
    for detector in [MahalanobisDetector(), RelativeMahalanobisDetector()] as [any OODDetector] {
      expectClose(try await mapped.scores(detector), try await problem.scores(detector), tolerance: 1e-9)
    }
  }

  @Test func lengthsOfFeatures() async throws {
    func scores(_ detector: any OODDetector, training: Double, test: Double) async throws -> Tensor<Double> {
      var scaled = problem
      scaled.training.features = problem.training.features.map { training * $0 }
      scaled.test.features = problem.test.features.map { test * $0 }
      return try await scaled.scores(detector)
    }
    let knn = NearestNeighbourDetector(neighbourCount: 3)
    expectClose(
      try await scores(knn, training: 8, test: 0.25), try await problem.scores(knn), tolerance: 1e-14)
    let she = SHEDetector()
    expectClose(
      try await scores(she, training: 2, test: 4), try await problem.scores(she).map { 8 * $0 }, tolerance: 1e-14)
    let gradNorm = GradNormDetector()
    expectClose(
      try await scores(gradNorm, training: 1, test: 4), try await problem.scores(gradNorm).map { 4 * $0 },
      tolerance: 1e-14)
    let fdbd = FDBDDetector()
    expectClose(
      try await scores(fdbd, training: 4, test: 4), try await problem.scores(fdbd).map { $0 / 4 }, tolerance: 1e-14)
  }

  @Test func aCommonShiftOfLogits() async throws {
    var shifted = problem
    shifted.test.logits = problem.test.logits.map { $0 + 5 }
    for detector in [GradNormDetector(), FDBDDetector(), SHEDetector()] as [any OODDetector] {
      expectClose(
        try await shifted.scores(detector), try await problem.scores(detector), tolerance: 1e-12, detector.name)
    }
    let vim = ViMDetector()
    expectClose(try await shifted.scores(vim), try await problem.scores(vim).map { $0 - 5 }, tolerance: 1e-13)
  }

  @Test func settingsThatChangeNothingGiveTheEnergy() async throws {
    let energy = Tensor(
      shape: [problem.test.rowCount],
      (0..<problem.test.rowCount).map { -logSumExp(problem.test.logits.rows([$0]).elements) })
    var mild = problem
    mild.validation.features[0] = 1e6
    let detectors: [any OODDetector] = [
      ReActDetector(percentile: 100), ActivationShapingDetector(.prune, percentile: 0),
    ]
    // The logits of the rows are rounded to singles.
    for detector in detectors { expectClose(try await mild.scores(detector), energy, tolerance: 1e-6) }
  }

  @Test func rowsOfZerosHaveADistance() async throws {
    var zeros = problem
    for column in 0..<6 {
      zeros.test.features[0, column] = 0
      zeros.training.features[5, column] = 0
    }
    for detector in smallDetectors {
      let scores = try await zeros.scores(detector)
      #expect(scores.firstNonFinite == nil, "\(detector.name)")
    }
    // The row of zeros in the bank is nearest, then all others at distance one.
    #expect(try await zeros.scores(NearestNeighbourDetector(neighbourCount: 1))[0] == 0)
    expectClose(try await zeros.scores(NearestNeighbourDetector(neighbourCount: 2))[0], 1, tolerance: 1e-15)
  }

  @Test func aBankHoldsWhatItMay() async throws {
    let limited = NearestNeighbourDetector(neighbourCount: 3, bankLimit: 6 * 20 + 5)
    #expect(try await limited.fit(problem.inputs, in: .test()).findings == ["bankRows": 20])
    let scores = try await problem.scores(limited, seed: 4)
    var cut = problem
    cut.training.portion = 11
    #expect(try await cut.scores(limited, seed: 4) == scores)
    #expect(try await problem.scores(limited, seed: 5) != scores)
    // Fewer rows are never nearer.
    let all = try await problem.scores(NearestNeighbourDetector(neighbourCount: 3))
    for row in 0..<scores.count { #expect(scores[row] >= all[row] - 1e-14) }
    let guide = NNGuideDetector(neighbourCount: 4, bankShare: 0.1)
    #expect(try await guide.fit(problem.inputs, in: .test()).findings == ["bankRows": 9])
    let least = NNGuideDetector(neighbourCount: 4, bankShare: 0.01)
    #expect(try await least.fit(problem.inputs, in: .test()).findings == ["bankRows": 4])
  }

  @Test func manyRowsMeetABankInBlocks() async throws {
    // More queries and more rows than one block of products takes, against all distances at once.
    let large = DetectorProblem.random(width: 3, rows: 5000)
    let queries = large.training.rows(Array(0..<300))
    let fitted = try await NearestNeighbourDetector(neighbourCount: 2).fit(large.inputs, in: .test())
    let scores = try fitted.scores(features: queries.features, logits: queries.logits, on: ReferenceBackend())
    func unit(_ row: Int) -> [Double] {
      let values = (0..<3).map { large.training.features[row, $0] }
      let norm = values.reduce(0) { $0 + $1 * $1 }.squareRoot()
      return values.map { norm > 0 ? $0 / norm : 0 }
    }
    let units = (0..<5000).map(unit)
    for query in stride(from: 0, to: 300, by: 37) {
      let distances = units.map { zip($0, units[query]).reduce(0) { $0 + ($1.0 - $1.1) * ($1.0 - $1.1) } }
      #expect(abs(scores[query] - distances.sorted()[1]) < 1e-14)
    }
  }

  @Test func aLotteryTakesAllRowsEquallyOften() {
    var counts = [Int](repeating: 0, count: 10)
    for seed in 0..<2000 {
      var lottery = RowLottery(3, of: 10, key: RandomKey(seed: UInt64(seed)))
      let taken = lottery.next(4) + lottery.next(6).map { $0 + 4 }
      #expect(taken.count == 3)
      for row in taken { counts[row] += 1 }
    }
    // 600 expected, with a standard deviation of 20.5.
    for count in counts { #expect(abs(count - 600) < 100) }
    var all = RowLottery(20, of: 10, key: RandomKey(seed: 0))
    #expect(all.next(10) == Array(0..<10))
  }

  @Test(arguments: [1 << 20, 100, 1, 0])
  func percentilesAreExact(sortedCount: Int) async throws {
    // Zeros of both signs, ties, numbers of all sizes; the last set is all one number.
    let key = RandomKey(seed: 6)
    let normals: Tensor<Double> = key.normals([100, 5])
    let sets = [
      normals.map { max(0, $0) }, normals.map { abs(($0 * 3).rounded()) }, normals.map { Double.exp(40 * $0) },
      normals.map { $0 > 0 ? 1 + abs($0) * 1e-9 : -0.0 }, Tensor(repeating: 2.5, shape: [100, 5]),
      Tensor(shape: [1, 1], [4.0]),
    ]
    for (index, features) in sets.enumerated() {
      let sorted = features.elements.sorted()
      let source = RowsInMemory(
        features: features, logits: Tensor(zeros: [features.rowCount, 2]), portion: 7)
      for percentile in [0, 0.1, 25, 49.9, 50, 90, 99.99, 100] {
        let position = percentile / 100 * Double(sorted.count - 1)
        let lower = Int(position)
        let upper = min(lower + 1, sorted.count - 1)
        let expected = sorted[lower] + (position - Double(lower)) * (sorted[upper] - sorted[lower])
        let found = try await activationPercentile(
          percentile, of: source, fitting: "test", in: .test(), sortedCount: sortedCount)
        #expect(
          abs(found - expected) <= 1e-15 * abs(expected), "set \(index), \(percentile) %: \(found), \(expected)")
      }
    }
  }
}
