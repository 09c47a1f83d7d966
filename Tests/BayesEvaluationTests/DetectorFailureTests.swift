import BayesEvaluation
import BayesPrediction
import BayesTensor
import Testing
import _BayesTestSupport

@Suite struct DetectorFailureTests {
  private let problem = DetectorProblem.random()

  private func fitError(
    _ detector: any OODDetector, _ problem: DetectorProblem
  ) async throws -> EvaluationError? {
    try await evaluationError { _ = try await detector.fit(problem.inputs, in: .test()) }
  }

  @Test(arguments: smallDetectors.indices)
  func whatADetectorNeedsMustBeThere(index: Int) async throws {
    let detector = smallDetectors[index]
    func fit(_ inputs: DetectorInputs) async throws -> EvaluationError? {
      try await evaluationError { _ = try await detector.fit(inputs, in: .test()) }
    }
    let usesTraining = detector.needs.contains(.trainingFeatures)
    #expect(
      try await fit(
        DetectorInputs(
          head: problem.head, featureCount: 6, classCount: 3, training: nil, validation: problem.validation))?.code
        == (usesTraining ? .unsupported : nil))
    #expect(
      try await fit(
        DetectorInputs(
          head: problem.head, featureCount: 6, classCount: 3, training: problem.training, validation: nil))?.code
        == (detector.needs.contains(.validationFeatures) ? .unsupported : nil))
    let headless = try await fit(
      DetectorInputs(
        head: nil, featureCount: 6, classCount: 3, training: problem.training, validation: problem.validation))
    #expect(headless?.code == (detector.needs.contains(.headWeights) ? .unsupported : nil))
    if let headless { #expect(headless.message.contains("'\(detector.name)'")) }
    var empty = problem
    empty.training = problem.training.rows([])
    empty.validation = problem.validation.rows([])
    #expect(
      try await fitError(detector, empty)?.code
        == (usesTraining || detector.needs.contains(.validationFeatures) ? .empty : nil))
    var unlabelled = problem
    unlabelled.training.labels = nil
    #expect(
      try await fitError(detector, unlabelled)?.code == (detector.needs.contains(.trainingLabels) ? .label : nil))
    var mislabelled = problem
    mislabelled.training.labels?[17] = 3
    mislabelled.training.portion = 10
    let error = try await fitError(detector, mislabelled)
    #expect(error?.code == (detector.needs.contains(.trainingLabels) ? .label : nil))
    #expect(error?.row == (detector.needs.contains(.trainingLabels) ? 17 : nil))
  }

  @Test(arguments: smallDetectors.indices)
  func negativeFeatures(index: Int) async throws {
    let detector = smallDetectors[index]
    let isRefused = detector.needs.contains(.nonNegativeFeatures)
    var negative = problem
    negative.training.features[4, 2] = -0.5
    negative.validation.features[4, 2] = -0.5
    let fitError = try await fitError(detector, negative)
    #expect(fitError?.code == (detector.name == "react" ? .feature : nil))
    if let fitError { #expect(fitError.row == 4) }
    let fitted = try await detector.fit(problem.inputs, in: .test())
    var features = problem.test.features
    features[3, 1] = -1e-3
    let error = try await evaluationError {
      _ = try fitted.scores(features: features, logits: problem.test.logits, firstRow: 100, on: ReferenceBackend())
    }
    #expect(error?.code == (isRefused ? .feature : nil))
    #expect(error?.row == (isRefused ? 103 : nil))
    if isRefused {
      var test = problem.test
      test.features = features
      let records = problem.records(test, file: "foreign.h5")
      let error = try await evaluationError { _ = try await fitted.scores(of: records, in: .test()) }
      #expect(
        error?.message
          == "The detector '\(detector.name)' assumes features that are not negative, as after a ReLU, and feature 1 "
          + "of row 3 of foreign.h5 is \(Double(Float(-1e-3))); choose a detector that allows both signs, such as "
          + "'knn' or 'mahalanobis'.")
    }
  }

  @Test(arguments: smallDetectors.indices)
  func numbersThatAreNone(index: Int) async throws {
    let detector = smallDetectors[index]
    for value in [Double.nan, .infinity] {
      var broken = problem
      broken.training.features[8, 2] = value
      broken.validation.features[8, 2] = value
      let inputs = try await DetectorInputs(
        exit: 0, of: problem.description(), training: broken.records(broken.training, file: "train.h5"),
        validation: broken.records(broken.validation, file: "train.h5"))
      let error = try await evaluationError { _ = try await detector.fit(inputs, in: .test()) }
      let readsRows = !detector.needs.isDisjoint(with: [.trainingFeatures, .validationFeatures])
      #expect(error?.code == (readsRows ? .feature : nil))
      #expect(error?.row == (readsRows ? 8 : nil))
      if let error { #expect(error.message.hasPrefix("train.h5: Row 8 has a feature (number 2 of exit 0)")) }
      let fitted = try await detector.fit(problem.inputs, in: .test())
      var (features, logits) = (problem.test.features, problem.test.logits)
      features[7, 0] = value
      let featureError = try await evaluationError {
        _ = try fitted.scores(features: features, logits: logits, on: ReferenceBackend())
      }
      #expect(featureError?.code == .feature && featureError?.row == 7)
      logits[2, 1] = value
      let logitError = try await evaluationError {
        _ = try fitted.scores(features: problem.test.features, logits: logits, on: ReferenceBackend())
      }
      #expect(logitError?.code == .score && logitError?.row == 2)
    }
  }

  @Test func shapesThatDoNotFit() async throws {
    let fitted = try await MahalanobisDetector().fit(problem.inputs, in: .test())
    let error = try await evaluationError {
      _ = try fitted.scores(features: Tensor(zeros: [2, 5]), logits: Tensor(zeros: [2, 3]), on: ReferenceBackend())
    }
    #expect(error?.code == .shape)
    let other = DetectorProblem.random(width: 5)
    let recordsError = try await evaluationError {
      _ = try await fitted.scores(of: other.records(other.test, file: "other.h5"), in: .test())
    }
    #expect(recordsError?.code == .shape)
    #expect(recordsError?.message.contains("other.h5") == true)
    await #expect(throws: FileError.self) {
      _ = try await DetectorInputs(exit: 0, of: problem.description(), training: other.records(other.training))
    }
  }

  @Test func exitsThatHaveNoFeaturesOrClasses() async throws {
    func error(_ exit: Int, _ description: RecordsDescription) async throws -> EvaluationError? {
      try await evaluationError { _ = try await DetectorInputs(exit: exit, of: description) }
    }
    #expect(try await error(0, problem.description()) == nil)
    #expect(try await error(1, problem.description())?.code == .shape)
    #expect(try await error(0, problem.description(likelihood: .multilabel))?.code == .unsupported)
    var bare = problem.description()
    bare.exits[0].head = nil
    bare.exits[0].featureCount = nil
    #expect(try await error(0, bare)?.code == .unsupported)
    var records = problem.records(problem.training).records
    records.exits[0].features = nil
    let inputs = try await DetectorInputs(
      exit: 0, of: problem.description(),
      training: InMemoryExitRecords(records, description: problem.description(file: "slim.h5")))
    let missing = try await evaluationError { _ = try await SHEDetector().fit(inputs, in: .test()) }
    #expect(missing?.code == .unsupported)
    #expect(missing?.message.contains("slim.h5") == true)
  }

  @Test func settingsThatDoNotSuitTheRows() async throws {
    #expect(try await fitError(ViMDetector(dimension: 6), problem)?.code == .unsupported)
    #expect(try await fitError(ResidualDetector(dimension: 7), problem)?.code == .unsupported)
    #expect(try await fitError(NearestNeighbourDetector(neighbourCount: 91), problem)?.code == .unsupported)
    #expect(
      try await fitError(NearestNeighbourDetector(neighbourCount: 3, bankLimit: 12), problem)?.code == .unsupported)
    #expect(try await fitError(NNGuideDetector(neighbourCount: 91), problem)?.code == .unsupported)
    // Features in a line through u leave no residual.
    var flat = problem
    flat.head = DetectorHead(weight: problem.head.weight, bias: Tensor(zeros: [3]))
    for row in 0..<flat.training.rowCount {
      for column in 0..<6 { flat.training.features[row, column] = Double(row + 1) * Double(column) }
    }
    #expect(try await fitError(ViMDetector(dimension: 1), flat)?.code == .unsupported)
    #expect(try await flat.scores(ResidualDetector(dimension: 1)).firstNonFinite == nil)
    // One point a class leaves no covariance.
    var points = problem
    for row in 0..<points.training.rowCount {
      for column in 0..<6 { points.training.features[row, column] = Double((row % 3 + 1) * (column + 1)) }
    }
    #expect(try await fitError(MahalanobisDetector(), points)?.code == .unsupported)
    #expect(try await fitError(RelativeMahalanobisDetector(), points)?.code == .unsupported)
    // No row is classified as its label says.
    var wrong = problem
    wrong.training.labels = (0..<wrong.training.rowCount).map { row in
      (0..<3).min { wrong.training.logits[row, $0] < wrong.training.logits[row, $1] } ?? 0
    }
    #expect(try await fitError(SHEDetector(), wrong)?.code == .unsupported)
  }

  @Test func scoresThatOverflow() async throws {
    // Two of a thousand equal features hold their share of the sum only, and exp(500) times too much more is infinite.
    let head = DetectorHead(
      weight: Tensor(shape: [2000, 2], (0..<4000).map { $0 % 3 == 0 ? 1 : -1 }), bias: Tensor(zeros: [2]))
    let inputs = DetectorInputs(head: head, featureCount: 2000, classCount: 2, training: nil, validation: nil)
    let fitted = try await ActivationShapingDetector(percentile: 99.9).fit(inputs, in: .test())
    let error = try await evaluationError {
      _ = try fitted.scores(
        features: Tensor(repeating: 1, shape: [1, 2000]), logits: Tensor(zeros: [1, 2]), firstRow: 5,
        on: ReferenceBackend())
    }
    #expect(error?.code == .score && error?.row == 5)
  }
}
