import BayesEvaluation
import BayesPrediction
import BayesTensor
import RealModule
import _BayesTestSupport

/// Rows in memory, in double precision and in portions of any size.
struct RowsInMemory: DetectorRowSource {
  var features: Tensor<Double>
  var logits: Tensor<Double>
  var labels: [Int]?
  var portion = 1024

  var file: String { "rows" }
  var rowCount: Int { features.rowCount }
  var hasLabels: Bool { labels != nil }

  func forEachRows(_ body: (DetectorRows) throws -> Void) async throws {
    for first in stride(from: 0, to: rowCount, by: portion) {
      let range = first..<min(first + portion, rowCount)
      try body(
        DetectorRows(
          firstRow: first, features: features.rows(range), logits: logits.rows(range),
          labels: labels.map { Array($0[range]) }))
    }
  }

  /// The rows at some positions, in the order given.
  func rows(_ indices: [Int]) -> RowsInMemory {
    RowsInMemory(
      features: features.rows(indices), logits: logits.rows(indices),
      labels: labels.map { labels in indices.map { labels[$0] } }, portion: portion)
  }
}

/// A head, rows to fit detectors to and rows to score.
struct DetectorProblem {
  var head: DetectorHead
  var training: RowsInMemory
  var validation: RowsInMemory
  var test: RowsInMemory

  /// Fixture D: `F(n, d) = |1.5 sin(0.3 + 0.7 (4n + d))|`, labels `n mod 3`, `W(k, d) = 1.2 sin(0.5 + 1.3 (4k + d))`,
  /// `b(k) = 0.2 sin(3 + k)`; validation rows are the training rows.
  static var fixtureD: DetectorProblem {
    let features = Tensor<Double>(
      shape: [12, 4], (0..<48).map { abs(1.5 * Double.sin(0.3 + 0.7 * Double($0))) })
    let weight = Tensor<Double>(shape: [3, 4], (0..<12).map { 1.2 * Double.sin(0.5 + 1.3 * Double($0)) })
    let head = DetectorHead(
      weight: weight.transposed(), bias: Tensor(shape: [3], (0..<3).map { 0.2 * Double.sin(3 + Double($0)) }))
    let test = Tensor<Double>(shape: [2, 4], [0.5, 1, 0.2, 0.8, 3, 0.1, 2.5, 0])
    let training = RowsInMemory(features: features, logits: logits(features, head), labels: (0..<12).map { $0 % 3 })
    return DetectorProblem(
      head: head, training: training, validation: training,
      test: RowsInMemory(features: test, logits: logits(test, head)))
  }

  /// The arrays of a golden file; validation rows get logits of zero.
  ///
  /// - Parameter isSingle: whether the file holds singles, written with as many digits as those need.
  init(golden inputs: GoldenValue, isSingle: Bool) {
    func tensor(_ key: String) -> Tensor<Double> {
      isSingle ? inputs[key].tensor(as: Float.self).converted(to: Double.self) : inputs[key].tensor()
    }
    let head = DetectorHead(weight: tensor("weight"), bias: tensor("bias"))
    let validation = tensor("validation")
    self.init(
      head: head,
      training: RowsInMemory(
        features: tensor("features"), logits: tensor("logits"), labels: inputs["labels"].numbers.map { Int($0) }),
      validation: RowsInMemory(
        features: validation, logits: Tensor(zeros: [validation.rowCount, head.bias.count])),
      test: RowsInMemory(features: tensor("testFeatures"), logits: tensor("testLogits")))
  }

  init(head: DetectorHead, training: RowsInMemory, validation: RowsInMemory, test: RowsInMemory) {
    self.head = head
    self.training = training
    self.validation = validation
    self.test = test
  }

  /// Rectified normal features with labels in turn, and twenty rows to score.
  static func random(classes: Int = 3, width: Int = 6, rows: Int = 90, seed: UInt64 = 3) -> DetectorProblem {
    let key = RandomKey(seed: seed)
    let head = DetectorHead(
      weight: key.child(0).normals([width, classes]).converted(to: Float.self).converted(to: Double.self),
      bias: key.child(1).normals([classes]).converted(to: Float.self).converted(to: Double.self))
    func part(_ index: Int, _ count: Int) -> RowsInMemory {
      // Singles, so that records of them are the same numbers.
      let features = key.child(index).normals([count, width], as: Float.self).converted(to: Double.self)
        .map { max(0, Double(Float($0 + 0.5))) }
      let logits = logits(features, head).converted(to: Float.self).converted(to: Double.self)
      return RowsInMemory(features: features, logits: logits, labels: (0..<count).map { $0 % classes })
    }
    return DetectorProblem(head: head, training: part(2, rows), validation: part(3, 40), test: part(4, 20))
  }

  private static func logits(_ features: Tensor<Double>, _ head: DetectorHead) -> Tensor<Double> {
    var logits = ReferenceBackend().product(features, head.weight)
    for row in 0..<logits.rowCount { for k in 0..<head.bias.count { logits[row, k] += head.bias[k] } }
    return logits
  }

  var inputs: DetectorInputs {
    DetectorInputs(
      head: head, featureCount: head.weight.shape[0], classCount: head.bias.count, training: training,
      validation: validation)
  }

  /// The scores of the test rows by a detector fitted to this.
  func scores(_ detector: any OODDetector, seed: UInt64 = 0) async throws -> Tensor<Double> {
    try await detector.fit(inputs, in: .test(seed: seed)).scores(
      features: test.features, logits: test.logits, on: ReferenceBackend())
  }

  /// The description of a network with one exit that ends in the head.
  func description(file: String = "made up", likelihood: Likelihood = .categorical) -> RecordsDescription {
    let weight = head.weight.converted(to: Float.self)
    return RecordsDescription(
      file: file,
      exits: [
        ExitDescription(
          name: "last", likelihood: likelihood, logitCount: weight.shape[1], featureCount: weight.shape[0],
          head: ExitHead(weight: weight, bias: head.bias.converted(to: Float.self)))
      ])
  }

  /// Rows as records of one exit.
  func records(_ rows: RowsInMemory, file: String = "made up") -> InMemoryExitRecords {
    InMemoryExitRecords(
      ExitRecords(
        firstRow: 0,
        exits: [
          ExitRecords.Exit(
            features: rows.features.converted(to: Float.self), logits: rows.logits.converted(to: Float.self))
        ], labels: rows.labels), description: description(file: file))
  }
}

extension ExecutionContext {
  static func test(seed: UInt64 = 0) -> ExecutionContext { ExecutionContext(key: RandomKey(seed: seed)) }
}

/// Detectors of every kind with settings that suit a few rows of a few features.
let smallDetectors: [any OODDetector] = [
  MahalanobisDetector(), RelativeMahalanobisDetector(), NearestNeighbourDetector(neighbourCount: 3),
  ViMDetector(dimension: 2), ResidualDetector(), ReActDetector(percentile: 80),
  ActivationShapingDetector(.prune, percentile: 50), ActivationShapingDetector(.binarize, percentile: 50),
  ActivationShapingDetector(.scale, percentile: 50), ActivationScalingDetector(percentile: 50), SHEDetector(),
  GradNormDetector(), DICEDetector(percentile: 50), NNGuideDetector(neighbourCount: 3, bankShare: 1), FDBDDetector(),
  FDBDDetector(usesTrainingMean: false),
]

/// The code and the row of what `body` throws as an `EvaluationError`; `nil` where it throws nothing.
func evaluationError(_ body: () async throws -> Void) async throws -> EvaluationError? {
  do {
    try await body()
    return nil
  } catch let error as EvaluationError {
    return error
  }
}
