import BayesEvaluation
import BayesPrediction
import BayesTensor
import Testing
import _BayesTestSupport

/// Published numbers, and NumPy's values of the formulas: see `Tests/Golden/generate/make_detectors.py`.
@Suite struct DetectorGoldenTests {
  /// A detector, the scores that OpenOOD prints for the two rows of fixture D, and their sign turned.
  static let published: [(detector: any OODDetector, t0: Double, t1: Double)] = [
    (MahalanobisDetector(), -90.109349868, -417.223646550),
    (RelativeMahalanobisDetector(), -20.612916098, -93.013984085),
    (NearestNeighbourDetector(neighbourCount: 1), -0.225205947, -0.492376307),
    (NearestNeighbourDetector(neighbourCount: 3), -0.309759555, -0.573948424),
    (ViMDetector(dimension: 1), 0.187689246, -2.845291363),
    (ViMDetector(dimension: 2), -0.386471892, -5.750405025),
    (ReActDetector(percentile: 90), 1.381012378, 1.650363331),
    (ActivationShapingDetector(.prune, percentile: 50), 1.404031404, 2.148844803),
    (ActivationShapingDetector(.binarize, percentile: 50), 1.483844636, 2.214449645),
    (ActivationShapingDetector(.scale, percentile: 50), 2.790914994, 5.187641090),
    (ActivationScalingDetector(percentile: 50), 2.810209713, 5.507502814),
    (GradNormDetector(), 2.120126628, 14.765576533),
    (DICEDetector(percentile: 50), 2.185418696, 3.388704496),
    (FDBDDetector(), 0.400614402, 0.591328665),
  ]

  @Test(arguments: published.indices)
  func publishedValuesWithTheirSignTurned(index: Int) async throws {
    let (detector, t0, t1) = Self.published[index]
    let scores = try await DetectorProblem.fixtureD.scores(detector)
    for (score, value) in zip(scores.elements, [t0, t1]) {
      // Rounded or cut off after nine digits.
      #expect(abs(score + value) < 1.01e-9, "\(detector.name): \(score), published \(-value)")
    }
  }

  @Test func publishedFindings() async throws {
    let inputs = DetectorProblem.fixtureD.inputs
    for (dimension, alpha) in [(1, 1.794344460), (2, 3.042248661)] {
      let found = try await ViMDetector(dimension: dimension).fit(inputs, in: .test()).findings["alpha"]
      #expect(abs((found ?? 0) - alpha) < 1.01e-9)
    }
    let found = try await ReActDetector().fit(inputs, in: .test()).findings["limit"]
    #expect(abs((found ?? 0) - 1.477315639) < 1.01e-9)
  }

  @Test(arguments: ["fixture-D", "random", "singular"])
  func everyFormula(name: String) async throws {
    let file = try GoldenValue(contentsOf: "Detectors/\(name).json")
    let problem = DetectorProblem(golden: file["inputs"], isSingle: name != "fixture-D")
    let expected = file["expected"]
    func check(_ detector: any OODDetector, _ values: GoldenValue, _ findings: [String: Double] = [:]) async throws {
      let fitted = try await detector.fit(problem.inputs, in: .test())
      let scores = try fitted.scores(
        features: problem.test.features, logits: problem.test.logits, on: ReferenceBackend())
      // Eigenvalues over a range of a thousand, and sums in another order.
      expectClose(
        scores, Tensor(shape: [problem.test.rowCount], values.numbers), tolerance: 1e-10,
        "\(name), \(detector.name) \(detector.settings)")
      for (key, value) in findings {
        let found = try #require(fitted.findings[key])
        expectClose(found, value, tolerance: 1e-12, "\(name), \(detector.name), \(key)")
      }
    }
    try await check(MahalanobisDetector(), expected["mahalanobis"])
    try await check(RelativeMahalanobisDetector(), expected["relativeMahalanobis"])
    try await check(SHEDetector(), expected["she"])
    try await check(GradNormDetector(), expected["gradNorm"])
    try await check(FDBDDetector(), expected["fdbd"])
    try await check(FDBDDetector(usesTrainingMean: false), expected["fdbdOrigin"])
    for entry in expected["knn"].list {
      try await check(NearestNeighbourDetector(neighbourCount: Int(entry["neighbours"].number)), entry["scores"])
    }
    for entry in expected["nnGuide"].list {
      let count = Int(entry["neighbours"].number)
      try await check(NNGuideDetector(neighbourCount: count, bankShare: 1), entry["scores"])
    }
    for entry in expected["vim"].list {
      let dimension = Int(entry["dimension"].number)
      try await check(ViMDetector(dimension: dimension), entry["scores"], ["alpha": entry["alpha"].number])
      try await check(ResidualDetector(dimension: dimension), entry["residual"])
    }
    for entry in expected["react"].list {
      try await check(
        ReActDetector(percentile: entry["percentile"].number), entry["scores"], ["limit": entry["limit"].number])
    }
    for entry in expected["dice"].list {
      try await check(
        DICEDetector(percentile: entry["percentile"].number), entry["scores"], ["limit": entry["limit"].number])
    }
    for entry in expected["ash"].list {
      let percentile = entry["percentile"].number
      for form in ActivationShapingDetector.Form.allCases {
        try await check(ActivationShapingDetector(form, percentile: percentile), entry[form.rawValue])
      }
      try await check(ActivationScalingDetector(percentile: percentile), entry["all"])
    }
  }

  @Test func whatIsMissingIsCounted() async throws {
    // Class 1 has no rows, class 0 no row that is classified correctly; two directions hold nothing.
    let file = try GoldenValue(contentsOf: "Detectors/singular.json")
    let inputs = DetectorProblem(golden: file["inputs"], isSingle: true).inputs
    #expect(try await SHEDetector().fit(inputs, in: .test()).findings == ["classesWithoutPattern": 2])
    #expect(try await MahalanobisDetector().fit(inputs, in: .test()).findings == ["classes": 3, "rank": 8])
  }

  @Test func scoresOfSamples() throws {
    let file = try GoldenValue(contentsOf: "Detectors/samples.json")
    let prediction = Prediction(
      logits: file["inputs"]["logits"].tensor(as: Float.self), likelihood: .categorical, exit: 0,
      sampleWeights: file["inputs"]["weights"].numbers)
    let scores: [(any OODScore, String)] = [
      (MaximumLogitScore(), "maximumLogit"), (GeneralizedEntropyScore(), "generalizedEntropy"),
      (GeneralizedEntropyScore(exponent: 0.5, classLimit: 3), "generalizedEntropyOfThree"),
      (ExpectedEntropyScore(), "expectedEntropy"), (ProbabilityVarianceScore(), "probabilityVariance"),
    ]
    for (score, key) in scores {
      let expected = Tensor(shape: [prediction.rowCount], file["expected"][key].numbers)
      expectClose(try score(prediction), expected, tolerance: 1e-13, key)
    }
  }
}
