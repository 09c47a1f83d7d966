import Bayesify
import Foundation
import Testing
import _BayesTestSupport

/// Where re-trained layers end, through the command: at one place where the loss is convex, apart elsewhere.
struct StudyFirstLayerOptimaCommandTests {
  private func report(_ folder: TestFolder, _ name: String = "report.json") throws -> FirstLayerOptimaReport {
    try JSONDecoder().decode(FirstLayerOptimaReport.self, from: folder.bytes(name))
  }

  /// Labels of a logistic regression that no weights make all right.
  private struct Logistic {
    let rows: Tensor<Float>
    let labels: [UInt8]

    init() {
      let rows: Tensor<Float> = RandomKey(seed: 21).normals([240, 2], as: Float.self)
      let uniforms = RandomKey(seed: 22).uniforms(240)
      self.rows = rows
      labels = (0..<240).map { row in
        uniforms[row] < 1 / (1 + exp(-(1.2 * Double(rows[row, 0]) - 0.7 * Double(rows[row, 1]) + 0.3))) ? 1 : 0
      }
    }

    func write(_ folder: TestFolder) throws {
      let nodes = [
        Node(name: "input", layer: Input([2]), inputs: []), Node(name: "line", layer: Dense(units: 1), inputs: [0]),
      ]
      let network = try Network(nodes: nodes, exits: [Exit(name: "line", logits: 1, likelihood: .binary)])
      let frozen = try FrozenNetwork(
        network,
        parameters: Parameters([
          ParameterPath("line/weight"): Tensor(shape: [2, 1], [-0.5, 1]),
          ParameterPath("line/bias"): Tensor(zeros: [1]),
        ]))
      let writer = try HDF5ArchiveWriter(folder.path("line.h5"))
      try frozen.write(to: writer)
      try writer.finish()
      try folder.write(Array(rows.elements), shape: rows.shape.dimensions, to: "rows.npy")
      try folder.write(labels, shape: [labels.count], to: "labels.npy")
    }

    /// The least mean loss, by Newton's method.
    var leastLoss: Double {
      var weights = [0.0, 0, 0]
      for _ in 0..<30 {
        var gradient = [0.0, 0, 0]
        var curvature = [[Double]](repeating: [0, 0, 0], count: 3)
        for (row, label) in labels.enumerated() {
          let inputs = [Double(rows[row, 0]), Double(rows[row, 1]), 1]
          let p = 1 / (1 + exp(-zip(weights, inputs).reduce(0) { $0 + $1.0 * $1.1 }))
          for i in 0..<3 {
            gradient[i] += (p - Double(label)) * inputs[i]
            for j in 0..<3 { curvature[i][j] += p * (1 - p) * inputs[i] * inputs[j] }
          }
        }
        // Gauss and Jordan.
        for i in 0..<3 {
          let pivot = curvature[i][i]
          for j in 0..<3 { curvature[i][j] /= pivot }
          gradient[i] /= pivot
          for k in 0..<3 where k != i {
            let factor = curvature[k][i]
            for j in 0..<3 { curvature[k][j] -= factor * curvature[i][j] }
            gradient[k] -= factor * gradient[i]
          }
        }
        for i in 0..<3 { weights[i] -= gradient[i] }
      }
      return labels.enumerated().reduce(0.0) { sum, item in
        let inputs = [Double(rows[item.offset, 0]), Double(rows[item.offset, 1]), 1]
        let z = zip(weights, inputs).reduce(0) { $0 + $1.0 * $1.1 }
        return sum + log1p(exp(item.element == 1 ? -z : z))
      } / Double(labels.count)
    }
  }

  @Test func aConvexLossHasOneOptimum() async throws {
    let folder = try TestFolder()
    let problem = Logistic()
    try problem.write(folder)
    let run = try await folder.succeed(
      "study", "first-layer-optima", "line.h5", "--data", "rows.npy", "--labels", "labels.npy", "--validation",
      "rows.npy", "--validation-labels", "labels.npy", "--epochs", "400", "--batch-rows", "240", "--learning-rate",
      "0.05", "--checkpoint-starts", "1", "--random-starts", "2", "--json", "report.json", "--markdown", "report.md",
      "--quiet")
    let report = try report(folder)
    let layer = try #require(report.layers.first)
    #expect(report.layers.count == 1 && layer.name == "line" && layer.weightCount == 3)
    expectClose(layer.trainedNorm, 1.25.squareRoot(), tolerance: 1e-6)
    #expect(layer.optima.map(\.name) == ["trained", "checkpoint 1", "random 1", "random 2"])
    #expect(layer.pairs.count == 6 && layer.warnings.isEmpty)
    for optimum in layer.optima.dropFirst() {
      expectClose(optimum.nll, problem.leastLoss, tolerance: 1e-5)
      expectClose(optimum.dataTerm ?? .nan, problem.leastLoss, tolerance: 1e-4)
      #expect(optimum.nllInterval?.contains(optimum.nll) == true && optimum.accuracyInterval.contains(optimum.accuracy))
    }
    for pair in layer.pairs {
      let isFromTrained = pair.first == "trained"
      #expect(isFromTrained ? pair.distance > 1 : pair.distance < 0.01, "\(pair)")
      #expect(isFromTrained || (pair.disagreement < 0.01 && pair.cosine ?? 0 > 0.9999 && abs(pair.rise) < 1e-5))
      expectClose(pair.relativeDistance ?? .nan, pair.distance / layer.trainedNorm, tolerance: 1e-9)
    }
    // The rows are their own held-out ones, which is said.
    #expect(run.errors.contains("240 of the 240 validation rows"))
    #expect(run.output.contains("no permutation, for all else is frozen"))
    #expect(try String(decoding: folder.bytes("report.md"), as: UTF8.self).contains("| random 1 | random 2 |"))
  }

  @Test func layersOfDigitsEndApart() async throws {
    let folder = try TestFolder()
    let arguments = [
      "study", "first-layer-optima", Digits.checkpoint, "--data", Digits.training, "--validation", Digits.validation,
      "--layer", "block_1_conv", "--layer", "block_2_conv", "--epochs", "4", "--learning-rate", "0.01",
      "--checkpoint-starts", "1", "--random-starts", "2", "--quiet",
    ]
    for threads in ["1", "3"] {
      try await folder.succeed(arguments + ["--threads", threads, "--json", "\(threads).json"])
    }
    let report = try report(folder, "1.json")
    #expect(try self.report(folder, "3.json").layers == report.layers)
    #expect(report.layers.map(\.name) == ["block_1_conv", "block_2_conv"] && report.heldOutRowCount == 500)
    try await folder.succeed(
      "evaluate", Digits.checkpoint, "--data", Digits.validation, "--json", "evaluated.json", "--quiet")
    let evaluated = try Report(json: folder.bytes("evaluated.json"), file: "evaluated.json").models[0].exits[2]
    for layer in report.layers {
      expectClose(layer.optima[0].accuracy, evaluated.accuracy, tolerance: 1e-12)
      expectClose(layer.optima[0].nll, evaluated.nll, tolerance: 1e-6)
      #expect(layer.randomPairs.count == 1 && layer.checkpointPairs.isEmpty)
      let random = layer.randomPairs[0]
      #expect(random.relativeDistance ?? 0 > 0.5 && random.disagreement > 0.05 && abs(random.cosine ?? 1) < 0.9)
      func distance(_ a: String, _ b: String) -> Double {
        layer.pairs.first { $0.first == a && $0.second == b }?.distance ?? .nan
      }
      #expect(
        random.distance <= distance("trained", "random 1") + distance("trained", "random 2"))
      // Four epochs from random weights lead nowhere near, and that is said.
      #expect(layer.warnings.contains { $0.contains("random 1: training ended at a data term of") })
      for pair in layer.pairs {
        #expect(pair.disagreementInterval.contains(pair.disagreement))
        let losses = [pair.first, pair.second].map { name in layer.optima.first { $0.name == name }?.nll ?? .nan }
        expectClose(pair.rise, pair.nllBetween - (losses[0] + losses[1]) / 2, tolerance: 1e-9)
      }
    }
  }

  @Test func whatCannotBeComparedIsRefused() async throws {
    let folder = try TestFolder()
    let study = [
      "study", "first-layer-optima", Digits.checkpoint, "--data", Digits.training, "--json", "x.json", "--quiet",
    ]
    func refused(_ options: [String], code: Int32, _ words: String) async throws {
      let run = try await folder.run(study + options)
      #expect(run.exitCode == code && run.errorLines.count == 1 && run.errors.contains(words), "\(run.testDescription)")
      #expect(try folder.names.isEmpty && run.output.isEmpty)
    }
    let held = ["--validation", Digits.validation]
    try await refused([], code: 64, "--validation")
    try await refused(held + ["--layer", "none"], code: 65, "no convolution or dense layer 'none'")
    try await refused(held + ["--layer", "block_1_conv", "--layer", "block_1_conv"], code: 64, "named twice")
    try await refused(held + ["--random-starts", "1", "--checkpoint-starts", "0"], code: 64, "Two ends at least")
    try await refused(held + ["--momentum", "0.5"], code: 64, "--momentum is for --optimizer sgd")
    try await refused(held + ["--exit", "3"], code: 65, "There is no exit 3")
    try await refused(["--validation", Digits.letters + ":x"], code: 65, "give them with --validation-labels")
  }
}
