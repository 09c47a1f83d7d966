import BayesKernels
import BayesPosterior
import BayesPrediction
import BayesTensor
import Testing
import _BayesTestSupport

/// Heads fitted to features, against scikit-learn.
struct LogisticHeadTests {
  /// Heads are written in single precision.
  private let singlePrecision = 1e-6
  private let backend = ReferenceBackend()

  @Test(arguments: ["categorical", "binary"])
  func headsAreThoseOfScikitLearn(name: String) async throws {
    let golden = try GoldenValue(contentsOf: "Heads/\(name).json")
    let (training, validation) = (
      records(golden, "features", "labels"), records(golden, "validationFeatures", "validationLabels")
    )
    let fits = golden["fits"].list
    let choice = LogisticHeads(penalty: .validation(fits.map { $0["penalty"].number }))
    let fitted = try await choice.fit(training: training, validation: validation, in: context(width: 1))[0]
    #expect(fitted.trail.map(\.penalty) == fits.map { $0["penalty"].number })
    for (point, fit) in zip(fitted.trail, fits) {
      expectClose(point.trainingNLL, fit["trainingNLL"].number, tolerance: 1e-9)
      expectClose(try #require(point.validationNLL), fit["validationNLL"].number, tolerance: singlePrecision)
      expectClose(try #require(point.validationAccuracy), fit["validationAccuracy"].number, tolerance: 1e-12)
    }
    let best = try #require(fits.min { $0["validationNLL"].number < $1["validationNLL"].number })
    #expect(fitted.chosen.penalty == best["penalty"].number)
    for fit in fits {
      let head = try await LogisticHeads(penalty: .fixed(fit["penalty"].number))
        .fit(training: training, validation: nil, in: context(width: 1))[0].head
      let expected: Tensor<Double> = fit["weight"].tensor()
      let scaled: Tensor<Double> = fit["scaled"].tensor()
      #expect(head.weight.shape == expected.shape)
      for position in 0..<expected.count {
        // In the scale in which all features count alike; that of the constant feature is one.
        let deviation = expected[position] == 0 ? 1 : scaled[position] / expected[position]
        expectClose(Double(head.weight[position]) * deviation, scaled[position], tolerance: singlePrecision)
      }
      expectClose(head.bias.converted(to: Double.self), fit["bias"].tensor(), tolerance: singlePrecision)
    }
  }

  @Test func bitsDoNotDependOnTasks() async throws {
    // Several chunks, two exits.
    let toy = ToyProblem(rowCount: 2500, exitCount: 2)
    var heads: [[FittedHead]] = []
    for width in [1, 3] {
      heads.append(
        try await LogisticHeads(penalty: .fixed(1e-3))
          .fit(training: toy.records(), validation: nil, in: context(width: width, on: NativeBackend())))
    }
    #expect(heads[0] == heads[1] && heads[0].count == 2 && heads[0][0].head != heads[0][1].head)
  }

  @Test func exitsDoNotChangeEachOther() async throws {
    let both = ToyProblem(exitCount: 2).records()
    let alone = InMemoryExitRecords(
      ExitRecords(firstRow: 0, exits: [both.records.exits[1]], labels: both.records.labels),
      description: {
        var description = both.description
        description.exits.remove(at: 0)
        return description
      }())
    let choice = LogisticHeads(penalty: .fixed(1e-2))
    let pair = try await choice.fit(training: both, validation: nil, in: context(width: 1))
    let single = try await choice.fit(training: alone, validation: nil, in: context(width: 1))
    #expect(pair[1] == single[0])
  }

  @Test func rowsOfOneClassAreRefused() async throws {
    let golden = try GoldenValue(contentsOf: "Heads/categorical.json")
    let rows = records(golden, "features", "labels")
    for (labels, words) in [
      ([Int](repeating: 2, count: rows.rowCount), "All labels of the training rows are 2"),
      (rows.records.labels!.map { $0 == 1 ? 0 : $0 }, "No training row has the label 1;"),
    ] {
      var records = rows.records
      records.labels = labels
      let error = await #expect(throws: FileError.self) {
        try await LogisticHeads(penalty: .fixed(1)).fit(
          training: InMemoryExitRecords(records, description: rows.description), validation: nil, in: context(width: 1))
      }
      #expect(error?.description.contains(words) == true, "\(error?.description ?? "")")
    }
  }

  @Test func deadAndInfiniteFeaturesAreRefused() async throws {
    let golden = try GoldenValue(contentsOf: "Heads/categorical.json")
    let rows = records(golden, "features", "labels")
    var wrong = try #require(rows.records.exits[0].features)
    wrong[9] = .nan
    for (features, words) in [
      (Tensor<Float>(repeating: 3.3, shape: wrong.shape), "the same for all rows"),
      (wrong, "Row 1 has a feature of nan"),
    ] {
      var records = rows.records
      records.exits[0].features = features
      let error = await #expect(throws: FileError.self) {
        try await LogisticHeads(penalty: .fixed(1)).fit(
          training: InMemoryExitRecords(records, description: rows.description), validation: nil, in: context(width: 1))
      }
      #expect(error?.description.contains(words) == true, "\(error?.description ?? "")")
    }
  }

  private func context(width: Int, on backend: any Backend = ReferenceBackend()) -> ExecutionContext {
    ExecutionContext(backend: backend, key: RandomKey(seed: 0), width: width)
  }

  private func records(_ golden: GoldenValue, _ features: String, _ labels: String) -> InMemoryExitRecords {
    let features = golden[features].tensor(as: Float.self)
    let classCount = Int(golden["classes"].number)
    let logitCount = classCount == 2 ? 1 : classCount
    return InMemoryExitRecords(
      ExitRecords(
        firstRow: 0, exits: [.init(features: features, logits: Tensor(zeros: [features.rowCount, logitCount]))],
        labels: golden[labels]["values"].numbers.map { Int($0) }),
      description: RecordsDescription(
        file: "golden",
        exits: [
          ExitDescription(
            name: "exit", likelihood: classCount == 2 ? .binary : .categorical, logitCount: logitCount,
            featureCount: features.shape[1])
        ]))
  }
}
