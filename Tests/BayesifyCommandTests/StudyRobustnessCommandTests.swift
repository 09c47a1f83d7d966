import Bayesify
import Foundation
import Testing
import _BayesTestSupport

/// Attacks through the command: exact answers of linear networks, what must hold for any model, and what is refused.
struct StudyRobustnessCommandTests {
  private func report(_ folder: TestFolder, _ name: String = "report.json") throws -> RobustnessReport {
    try JSONDecoder().decode(RobustnessReport.self, from: folder.bytes(name))
  }

  /// A network of one dense layer with two classes.
  private struct LinearProblem {
    let weight: Tensor<Float>
    let bias: [Float] = [0.3, -0.1]
    let rows: Tensor<Float> = RandomKey(seed: 77).normals([150, 6], as: Float.self)
    var labels = RandomKey(seed: 78).uniforms(150).map { $0 < 0.5 ? 0 : 1 }
    let scale = 2.0
    let mean = 0.25
    let deviation = 0.7

    init(weight: Tensor<Float>) { self.weight = weight }
    init(seed: UInt64) { self.init(weight: RandomKey(seed: seed).normals([6, 2], as: Float.self)) }

    var preprocessing: [String] { ["--scale", "\(scale)", "--mean", "\(mean)", "--std", "\(deviation)"] }

    func write(_ folder: TestFolder, to name: String) throws {
      // Checkpoints seldom agree in the names of their exits.
      let exit = String(name.dropLast(3))
      let nodes = [
        Node(name: "input", layer: Input([rows.shape[1]]), inputs: []),
        Node(name: exit, layer: Dense(units: 2), inputs: [0]),
      ]
      let frozen = try FrozenNetwork(
        try Network(nodes: nodes, exits: [Exit(name: exit, logits: 1, features: 0, likelihood: .categorical)]),
        parameters: Parameters([
          ParameterPath(node: exit, parameter: "weight"): weight,
          ParameterPath(node: exit, parameter: "bias"): Tensor(shape: [2], bias),
        ]))
      let writer = try HDF5ArchiveWriter(folder.path(name))
      try frozen.write(to: writer)
      try writer.finish()
    }

    func writeRows(_ folder: TestFolder) throws {
      try folder.write(Array(rows.elements), shape: rows.shape.dimensions, to: "rows.npy")
      try folder.write(labels.map { UInt8($0) }, shape: [labels.count], to: "labels.npy")
    }

    /// The derivative of the margin of a row's label by its stored values.
    func slope(_ label: Int) -> [Double] {
      (0..<rows.shape[1]).map {
        (Double(weight[$0, label]) - Double(weight[$0, 1 - label])) / (scale * deviation)
      }
    }

    func margin(_ row: Int) -> Double {
      let label = labels[row]
      return zip(slope(label), 0..<rows.shape[1]).reduce(Double(bias[label]) - Double(bias[1 - label])) {
        $0 + $1.0 * (Double(rows[row, $1.1]) - scale * mean)
      }
    }

    /// The share of rows that are right and stay so, and their mean loss, where each margin falls by `loss`.
    func left(_ loss: (Int) -> Double) -> (accuracy: Double, nll: Double) {
      let margins = labels.indices.map { (clean: margin($0), attacked: margin($0) - loss($0)) }
      return (
        Double(margins.count { $0.clean > 0 && $0.attacked > 0 }) / Double(margins.count),
        margins.reduce(0) { $0 + log1p(exp(-$1.attacked)) } / Double(margins.count)
      )
    }
  }

  /// The worst change of a linear network of two classes lowers the margin by `ε · |slope|` in the dual norm, and one
  /// made on another network by what its signs are worth here.
  @Test func linearNetworksKeepWhatTheyMust() async throws {
    let folder = try TestFolder()
    let (problem, other) = (LinearProblem(seed: 4), LinearProblem(seed: 5))
    try problem.write(folder, to: "linear.h5")
    try other.write(folder, to: "other.h5")
    try problem.writeRows(folder)
    let run = try await folder.succeed(
      ["study", "robustness", "linear.h5", "other.h5", "--data", "rows.npy", "--labels", "labels.npy"]
        + problem.preprocessing
        + [
          "--epsilon", "0.3,0.1", "--epsilon-l2", "0.4", "--transfer-from", "other.h5", "--pixel-range=-50:50",
          "--json", "report.json", "--markdown", "report.md", "--quiet",
        ])
    let report = try report(folder)
    let model = try #require(report.models.first)
    #expect(report.models.map(\.name) == ["linear", "other"] && report.rowCount == 150)
    #expect(!model.hasDraws && report.warnings.isEmpty)
    // What is made on a network fools that network as its own gradient does.
    let own = report.models[1].curves
    for (gradient, transfer) in [(0, 1), (4, 5)] { #expect(own[gradient].points == own[transfer].points) }
    #expect(report.transferSource == "other.h5" && report.provenance.inputs.map(\.role).contains("test"))
    let clean = problem.left { _ in 0 }
    expectClose(model.clean.accuracy, clean.accuracy, tolerance: 1e-12)
    expectClose(model.clean.nll ?? .nan, clean.nll, tolerance: 1e-6)
    #expect(
      model.curves.map(\.name) == [
        "fgsm (gradient)", "fgsm (transfer)", "pgd (gradient)", "pgd (transfer)", "fgsm-l2 (gradient)",
        "fgsm-l2 (transfer)", "pgd-l2 (gradient)", "pgd-l2 (transfer)",
      ])
    func length(_ slope: [Double]) -> Double { slope.reduce(0) { $0 + $1 * $1 }.squareRoot() }
    for curve in model.curves {
      #expect(curve.points.map(\.epsilon) == (curve.norm == .maximum ? [0.1, 0.3] : [0.4]))
      for point in curve.points {
        let expected = problem.left { row in
          let own = problem.slope(problem.labels[row])
          let source = (curve.attacker == .transfer ? other : problem).slope(problem.labels[row])
          let direction = curve.norm == .maximum ? source.map { $0 > 0 ? 1 : -1 } : source.map { $0 / length(source) }
          return point.epsilon * zip(own, direction).reduce(0) { $0 + $1.0 * $1.1 }
        }
        let isExact = curve.method == .fastGradient || curve.norm == .maximum
        // Steps along a sphere end near its farthest point.
        expectClose(point.accuracy, expected.accuracy, tolerance: isExact ? 1e-12 : 0.007, curve.name)
        expectClose(point.nll ?? .nan, expected.nll, tolerance: isExact ? 1e-5 : 0.02, curve.name)
        #expect(
          point.accuracyInterval
            == .wilson(successes: Int((150 * point.accuracy).rounded()), of: 150))
        #expect(point.nllInterval?.contains(point.nll ?? .nan) == true && point.rowsWithoutGradient == 0)
      }
    }
    for worst in model.worst {
      for (position, point) in worst.points.enumerated() {
        let least = model.curves.filter { $0.norm == worst.norm }.map { $0.points[position].accuracy }.min() ?? 0
        #expect(point.accuracy <= least && point.nll == nil)
      }
    }
    #expect(run.output.contains("by largest change of a value:") && run.output.contains("pgd-l2 (transfer)"))
    #expect(run.output.contains("transfer from other.h5"))
    #expect(run.output.hasSuffix("wrote report.json\nwrote report.md\n"))
    let markdown = try String(decoding: folder.bytes("report.md"), as: UTF8.self)
    #expect(markdown.hasPrefix("## Robustness of linear.h5\n\nAccuracy") && markdown.contains("| --- | --- | --: |"))
  }

  @Test func everyPosteriorMeetsItsAttackersAndTheControls() async throws {
    let folder = try TestFolder()
    let fit = ["fit", "first-layer", Digits.checkpoint, "--data", Digits.training, "--epochs", "2", "--quiet"]
    try await folder.succeed(
      fit + ["--initial-deviation", "0.05", "--draws", "6", "-o", "vi.h5", "--mean-output", "mean.h5"])
    try await folder.succeed(fit + ["--control", "fine-tune", "-o", "tuned.h5"])
    try await folder.succeed(
      "fit", "laplace", Digits.checkpoint, "--data", Digits.training, "--prior-precision", "1", "--temperature", "1",
      "--draws", "8", "-o", "laplace.h5", "--quiet")
    try await folder.succeed(
      "fit", "laplace", Digits.checkpoint, "--data", Digits.training, "--validation", Digits.validation,
      "--validation-rows", "0:40", "--prior-precision", "1", "--temperature", "1", "--draws", "8", "--greedy-ensemble",
      "-o", "exits.h5", "--quiet")
    let arguments = [
      "study", "robustness", "vi.h5", Digits.checkpoint, "mean.h5", "tuned.h5", "laplace.h5", "exits.h5", "--data",
      Digits.test, "--rows", "0:40", "--epsilon", "1,3", "--steps", "3", "--restarts", "1", "--attack-draws", "3",
      "--quiet",
    ]
    for threads in ["1", "3"] {
      try await folder.succeed(arguments + ["--threads", threads, "--json", "\(threads).json"])
    }
    let report = try report(folder, "1.json")
    #expect(try self.report(folder, "3.json").models == report.models)
    // Sixteen grey levels.
    #expect(report.range == [0, 16] && report.exit == 2 && report.exitName == "exit_3")
    #expect(report.models.map(\.name) == ["vi", "digits", "mean", "tuned", "laplace", "exits"])
    func attackers(_ index: Int) -> [String] {
      report.models[index].curves.filter { $0.method == .projectedGradient }.compactMap { $0.attacker?.rawValue }
    }
    let all = ["single-draw", "mean", "expectation", "transfer"]
    #expect(attackers(0) == all && attackers(4) == all && report.models[0].hasDraws)
    #expect(attackers(1) == ["gradient"] && report.transferSource == "digits")
    #expect(attackers(2) == ["gradient", "transfer"] && attackers(3) == ["gradient", "transfer"])
    #expect(attackers(5) == ["transfer"])
    #expect(report.warnings.contains { $0.hasPrefix("exits: gradients of means over exits are not followed") })
    #expect(report.warnings.contains { $0.hasPrefix("vi: The data term") })
    for model in report.models {
      for curve in model.curves + model.worst {
        for point in curve.points {
          #expect(point.accuracy <= model.clean.accuracy && point.accuracyInterval.contains(point.accuracy))
        }
      }
    }
    // Rows are attacked in earnest, and what `evaluate` says of rows as they are is said here.
    let plain = report.models[1]
    #expect(plain.curves[1].points[1].accuracy < 0.2 * plain.clean.accuracy)
    try await folder.succeed(
      "evaluate", Digits.checkpoint, "vi.h5", "laplace.h5", "--data", Digits.test, "--rows", "0:40", "--json",
      "evaluated.json", "--quiet")
    let evaluated = try Report(json: folder.bytes("evaluated.json"), file: "evaluated.json").models
    for (index, model) in [(1, evaluated[0]), (0, evaluated[1]), (4, evaluated[2])] {
      expectClose(report.models[index].clean.accuracy, model.exits[2].accuracy, tolerance: 1e-12)
      expectClose(report.models[index].clean.nll ?? .nan, model.exits[2].nll, tolerance: 1e-6)
    }
    // Another seed starts elsewhere.
    try await folder.succeed(arguments + ["--seed", "1", "--json", "seed.json"])
    #expect(try self.report(folder, "seed.json").models != report.models)
  }

  @Test func dropoutAndEnsemblesAreAttacked() async throws {
    let folder = try TestFolder()
    let members = ["one.h5", "two.keras", "three.keras"].map { golden("SampledNetworks/\($0)") }
    try await folder.succeed("fit", "dropout", members[0], "--draws", "8", "-o", "dropout.h5", "--quiet")
    try await folder.succeed(["fit", "ensemble"] + members + ["-o", "ensemble.h5", "--quiet"])
    let arguments = [
      "study", "robustness", members[0], "dropout.h5", "ensemble.h5", "--data", golden("SampledNetworks/rows.h5"),
      "--epsilon-l2", "0.5,5", "--steps", "4", "--attack-draws", "4", "--exit", "0", "--quiet",
    ]
    try await folder.succeed(
      arguments + [
        "--pixel-range=-10:10", "--attacks", "pgd", "--attackers", "single-draw,mean,expectation", "--json",
        "report.json",
      ])
    let models = try report(folder).models
    #expect(models.map(\.method) == ["map", "dropout, 8 draws", "ensemble of 3"])
    #expect(models[0].curves.map(\.name) == ["pgd-l2 (gradient)"])
    #expect(
      models[1].curves.map(\.name) == ["pgd-l2 (single-draw)", "pgd-l2 (mean)", "pgd-l2 (expectation)"])
    #expect(models[2].curves.map(\.name) == ["pgd-l2 (single-draw)", "pgd-l2 (expectation)"])
    for curve in models.flatMap(\.curves) {
      let losses = curve.points.compactMap(\.nll)
      #expect(losses.count == 2 && losses[0] < losses[1], "\(curve.name): \(losses)")
    }
    // Values below zero are no pixels.
    let refused = try await folder.run(arguments)
    #expect(refused.exitCode == 65 && refused.errors.contains("--pixel-range LOW:HIGH"), "\(refused.testDescription)")
  }

  /// Single-precision probabilities that round to one hide networks that the same attack in log space fools.
  @Test func averagedProbabilitiesWarnOfWhatTheyHide() async throws {
    let folder = try TestFolder()
    let weight = RandomKey(seed: 4).normals([6, 2], as: Float.self).map { 40 * $0 }
    for (name, change) in [("a.h5", Float(0)), ("b.h5", 0.01)] {
      try LinearProblem(weight: weight.map { $0 + change * $0 * $0 }).write(folder, to: name)
    }
    var problem = LinearProblem(weight: weight)
    problem.labels = (0..<problem.rows.rowCount).map { row in
      let scores = (0..<2).map { k in
        (0..<6).reduce(problem.bias[k]) { $0 + problem.rows[row, $1] * weight[$1, k] }
      }
      return scores[0] > scores[1] ? 0 : 1
    }
    try problem.writeRows(folder)
    try await folder.succeed("fit", "ensemble", "a.h5", "b.h5", "-o", "ensemble.h5", "--quiet")
    let run = try await folder.succeed(
      "study", "robustness", "ensemble.h5", "--data", "rows.npy", "--labels", "labels.npy", "--epsilon", "0.5",
      "--attacks", "fgsm", "--attackers", "averaged-probability,expectation", "--pixel-range=-50:50", "--json",
      "report.json", "--quiet")
    let report = try report(folder)
    // The untouched network stands before its posterior.
    #expect(report.models.map(\.name) == ["untouched network", "ensemble"])
    let curves = report.models[1].curves
    let (averaged, logarithmic) = (curves[0].points[0], curves[1].points[0])
    #expect(averaged.underflowedRows > 100 && logarithmic.underflowedRows == 0)
    #expect(averaged.accuracyInterval.low > logarithmic.accuracyInterval.high)
    let words =
      "ensemble, fgsm (averaged-probability): The attack's loss underflowed on \(averaged.underflowedRows) of 150 rows"
    #expect(run.errors.contains("warning: " + words) && report.warnings.contains { $0.hasPrefix(words) })
  }

  @Test func rowsWithoutGradientAreCounted() async throws {
    let folder = try TestFolder()
    var builder = NetworkBuilder(input: [3])
    builder.add(Dense(units: 2))
    let frozen = try FrozenNetwork(
      try builder.frozen().network,
      parameters: Parameters([
        ParameterPath("node1/weight"): Tensor(zeros: [3, 2]), ParameterPath("node1/bias"): Tensor(shape: [2], [2, 1]),
      ]))
    let writer = try HDF5ArchiveWriter(folder.path("flat.h5"))
    try frozen.write(to: writer)
    try writer.finish()
    try folder.write((0..<30).map { Float($0) / 30 }, shape: [10, 3], to: "rows.npy")
    try folder.write([UInt8](repeating: 0, count: 10), shape: [10], to: "labels.npy")
    let run = try await folder.succeed(
      "study", "robustness", "flat.h5", "--data", "rows.npy", "--labels", "labels.npy", "--epsilon", "0.1", "--json",
      "report.json", "--quiet")
    #expect(run.errors.contains("flat, pgd (gradient): 10 of 10 rows have no gradient"))
    let curves = try report(folder).models[0].curves
    #expect(curves.allSatisfy { $0.points[0].rowsWithoutGradient == 10 && $0.points[0].accuracy == 1 })
  }

  @Test func whatCannotBeAttackedIsRefused() async throws {
    let folder = try TestFolder()
    try LinearProblem(seed: 4).write(folder, to: "linear.h5")
    try await folder.succeed("extract", Digits.checkpoint, "--data", Digits.test, "-o", "records.h5", "--quiet")
    func refused(_ options: [String], code: Int32, _ words: String) async throws {
      let before = try folder.names
      let run = try await folder.run(["study", "robustness", "--json", "x.json", "--quiet"] + options)
      #expect(run.exitCode == code && run.errorLines.count == 1 && run.errors.contains(words), "\(run.testDescription)")
      #expect(try folder.names == before && run.output.isEmpty)
    }
    let digits = [Digits.checkpoint, "--data", Digits.test, "--rows", "0:5"]
    try await refused(digits, code: 64, "Say how far rows may move")
    try await refused(digits + ["--epsilon", "0.1,0"], code: 64, "numbers above 0 with commas between")
    try await refused(digits + ["--epsilon", "1", "--attackers", "gradient"], code: 64, "some of single-draw")
    try await refused(digits + ["--epsilon", "1", "--attacks", "cw"], code: 64, "fgsm, pgd")
    try await refused(
      digits + ["--epsilon", "1", "--attackers", "mean", "--transfer-from", "linear.h5"], code: 64,
      "--attackers leaves out")
    try await refused(digits + ["--epsilon", "1", "--transfer-from", "linear.h5"], code: 65, "linear.h5")
    try await refused(digits + ["--epsilon", "1", "--exit", "3"], code: 65, "There is no exit 3")
    try await refused(digits + ["--epsilon", "1", "--pixel-range", "0:2"], code: 65, "--pixel-range LOW:HIGH")
    try await refused(digits + ["--epsilon", "1", "--json", Digits.test], code: 74, "also read")
    try await refused(
      [Digits.checkpoint, "--data", "records.h5", "--epsilon", "1"], code: 65, "These are exit records, and attacks")
    try await refused(
      [Digits.checkpoint, "--data", Digits.letters + ":x", "--epsilon", "1"], code: 65, "have no labels")
    try await refused([Digits.test, "--data", Digits.test, "--epsilon", "1"], code: 65, "test.h5")
  }

  private func hasBegun(_ running: RunningCommand) -> Bool {
    do { return try running.errors.contains("attacks: ") } catch { return true }
  }

  @Test func interruptedAttacksLeaveNothing() async throws {
    let folder = try TestFolder()
    let running = try folder.start(
      "study", "robustness", Digits.checkpoint, "--data", Digits.test, "--epsilon", "1,2,3,4,5", "--steps", "200",
      "--json", "report.json")
    await withCheckedContinuation { continuation in
      Thread.detachNewThread {
        // The first word of progress comes after some seconds of attacks.
        while running.isRunning, !hasBegun(running) { Thread.sleep(forTimeInterval: 0.02) }
        running.signal(SIGINT)
        continuation.resume()
      }
    }
    let run = try await running.finish(within: .seconds(60))
    #expect(run.exitCode == 130 && run.errorLines.last == "bayesify: Interrupted; nothing was written.")
    #expect(run.output.isEmpty)
    #expect(try folder.names.isEmpty)
  }
}
