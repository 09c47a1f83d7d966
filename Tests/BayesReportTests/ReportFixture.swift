import BayesEvaluation
import BayesPrediction
import BayesReport
import BayesTensor

/// Reports of pseudo-random networks that are too sure of themselves, fixed for ever.
enum ReportFixture {
  /// A report of a network, its temperature, and posteriors.
  static func report(
    exits: Int = 2, models: Int = 3, sets: [String] = ["SVHN", "textures"], rows: Int = 120
  ) throws -> Report {
    let kinds: [ModelKind] = [.map, .temperature] + Array(repeating: ModelKind("laplace"), count: 6)
    let names = [
      "ResNet-20", "ResNet-20 + temperature", "last-layer Laplace", "first layer", "dropout",
      "SGHMC, spike and slab",
    ]
    let evaluation = try Evaluation(
      of: (0..<models).map { model in
        ModelEvaluation(
          name: names[model], kind: kinds[model],
          exits: try (0..<exits).map { exit in
            var evaluation = ExitEvaluation(
              index: exit, name: exit == exits - 1 ? "dense" : "side \(exit)",
              multiplyAdds: 5_100_000 * (exit + 1), outOfDistribution: sets,
              resampling: Resampling(count: 50))
            if model > 0 { evaluation.settings["temperature"] = 1.73 }
            if model > 1 { evaluation.settings["priorPrecision"] = 0.0000318 }
            let labels = (0..<rows).map { ($0 * 7) % 10 }
            let quality = 1 + 0.8 * Double(exit + 1) / Double(exits)
            try evaluation.update(
              prediction(model: model, exit: exit, rows: rows, signal: quality, seed: 1, labels: labels),
              labels: labels)
            for (number, set) in sets.enumerated() {
              try evaluation.update(
                prediction(
                  model: model, exit: exit, rows: rows, signal: 0.8 - 0.3 * Double(number),
                  seed: 100 + UInt64(number), labels: labels), outOfDistribution: set)
            }
            return evaluation
          })
      })
    return Report(
      title: "ResNet-20 on CIFAR-10", evaluation: evaluation,
      warnings: [
        "12 rows of the test set also occur in the training set; accuracy may be flattered by them.",
        "The prior precision lies at the edge of the searched grid at exit 0; widen the grid.",
      ],
      classNames: [
        "airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck",
      ],
      provenance: Provenance(
        version: "0.1.0", command: ["bayesify", "evaluate", "resnet20.h5", "--data", "test.h5"], seed: 7,
        likelihood: "categorical", backend: "reference",
        inputs: [
          InputDigest(role: "checkpoint", file: "resnet20.h5", digest: String(repeating: "3f9a", count: 16)),
          InputDigest(role: "test data", file: "test.h5", digest: String(repeating: "07be", count: 16)),
        ], details: ["rows": "0:\(rows)"]))
  }

  private static func prediction(
    model: Int, exit: Int, rows: Int, signal: Double, seed: UInt64, labels: [Int]
  ) -> Prediction {
    let classes = 10
    let samples = model > 1 ? 8 : 1
    var state = seed &* 0x9E37_79B9_7F4A_7C15 &+ UInt64(exit)
    func uniform() -> Double {
      state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
      return Double(state >> 11) / Double(1 << 53)
    }
    // Nearly normal: the sum of four uniform numbers.
    func noise() -> Double { (uniform() + uniform() + uniform() + uniform() - 2) * 1.73 }
    let temperature = model > 0 ? 2.2 : 1.0
    let base = (0..<rows * classes).map { position in
      6 * noise() + (position % classes == labels[position / classes] ? 8 * signal : 0)
    }
    let elements = (0..<samples).flatMap { _ in
      base.map { Float(($0 + (samples > 1 ? noise() * (1 + 0.5 * Double(model)) : 0)) / temperature) }
    }
    return Prediction(
      logits: Tensor(shape: [samples, rows, classes], elements), likelihood: .categorical, exit: exit)
  }
}
