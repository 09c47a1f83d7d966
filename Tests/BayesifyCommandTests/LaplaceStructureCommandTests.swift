import BayesReport
import Bayesify
import Foundation
import Testing
import _BayesTestSupport

/// Structures, likelihoods and exports of last-layer Laplace, through the command.
struct LaplaceStructureCommandTests {
  /// A program that has NumPy; the test of the export is skipped without.
  static let python: String? = {
    let program = ProcessInfo.processInfo.environment["BAYESIFY_PYTHON"] ?? "python3"
    let process = Process()
    process.executableURL = URL(filePath: "/usr/bin/env")
    process.arguments = [program, "-c", "import numpy"]
    process.standardError = FileHandle.nullDevice
    do {
      try process.run()
    } catch {
      return nil
    }
    process.waitUntilExit()
    return process.terminationStatus == 0 ? program : nil
  }()

  private struct Fitted: Decodable {
    struct Exit: Decodable {
      var priorPrecision: Double
      var biasPriorPrecision: Double?
      var noise: Double?
      var rank: Int?
    }
    var structure: String
    var exits: [Exit]
  }

  func records(in folder: TestFolder) async throws {
    try await folder.succeed("extract", Digits.checkpoint, "--data", Digits.training, "-o", "records.h5")
  }

  @Test(arguments: LaplaceStructure.allCases)
  func everyStructureFitsAndPredicts(structure: LaplaceStructure) async throws {
    let folder = try TestFolder()
    try await records(in: folder)
    let run = try await folder.run(
      [
        "fit", "laplace", "records.h5", "--structure", structure.rawValue, "--prior-precision", "marginal-likelihood",
        "--prior-scope", structure == .kronecker ? "group" : "shared", "--temperature", "1", "--predictive", "bridge", "-o",
        "posterior.h5", "--json",
      ] + (structure == .lowRank ? ["--rank", "12"] : []))
    try #require(run.exitCode == 0, "\(run.testDescription)")
    let fitted = try JSONDecoder().decode(Fitted.self, from: Data(run.output.utf8))
    #expect(fitted.structure == structure.rawValue)
    #expect(fitted.exits.allSatisfy { ($0.biasPriorPrecision != nil) == (structure == .kronecker) && $0.priorPrecision > 0 })
    #expect(structure == .kronecker || Set(fitted.exits.map(\.priorPrecision)).count == 1)
    #expect(fitted.exits.allSatisfy { ($0.rank != nil) == (structure == .lowRank) })
    #expect(try await folder.succeed("inspect", "posterior.h5").output.contains(structure.rawValue))
    try await folder.succeed("predict", "posterior.h5", "--data", "records.h5", "-o", "predictions.h5")
    // The bridge's own split.
    let epistemic = try HDF5Archive(folder.path("predictions.h5")).read("/exits/2/epistemic", as: Double.self)
    #expect(epistemic.elements.allSatisfy { $0 >= 0 } && epistemic.elements.contains { $0 > 1e-6 })
    try await folder.succeed(
      "evaluate", "posterior.h5", "--data", Digits.test, "--checkpoint", Digits.checkpoint, "--json", "report.json")
  }

  @Test func rowsCanBeAddedLater() async throws {
    let folder = try TestFolder()
    try await records(in: folder)
    let options = ["--prior-precision", "3", "--temperature", "1"]
    func fit(_ extra: String..., output: String) async throws {
      let run = try await folder.run(["fit", "laplace", "records.h5"] + options + extra + ["-o", output])
      try #require(run.exitCode == 0, "\(run.testDescription)")
    }
    try await fit(output: "whole.h5")
    try await fit("--rows", "0:100", output: "first.h5")
    try await fit("--rows", "100:297", "--continue", "first.h5", output: "both.h5")
    let (whole, both) = (
      try LastLayerLaplacePosterior(from: HDF5Archive(folder.path("whole.h5"))),
      try LastLayerLaplacePosterior(from: HDF5Archive(folder.path("both.h5")))
    )
    let features = RandomKey(seed: 1).normals([4, 32], as: Double.self)
    for exit in 0..<3 {
      #expect(both.exits[exit].rowCount == 297)
      expectClose(
        both.exits[exit].logitVariances(features: features, on: ReferenceBackend()),
        whole.exits[exit].logitVariances(features: features, on: ReferenceBackend()), tolerance: 1e-10)
    }
    try await fit("--structure", "low-rank", output: "low.h5")
    try await folder.refuse(
      "fit", "laplace", "records.h5", "--prior-precision", "3", "--temperature", "1", "--continue", "low.h5", "-o",
      "more.h5", code: 65, naming: "low.h5", "no sum over rows")
    try await folder.refuse(
      "fit", "laplace", "records.h5", "--prior-precision", "3", "--temperature", "1", "--continue", "first.h5",
      "--structure", "diagonal", "-o", "more.h5", code: 65, naming: "first.h5", "'kronecker'")
  }

  /// Normalised logits have an energy of zero, which ranked rows by rounding: AUROC 0.5.
  @Test func meanFieldHasNoEnergy() async throws {
    struct Answer: Decodable {
      struct Score: Decodable { var auroc: Double }
      struct Foreign: Decodable { var scores: [String: Score] }
      struct Exit: Decodable { var ood: [Foreign] }
      struct Model: Decodable { var exits: [Exit] }
      var models: [Model]
    }
    let folder = try TestFolder()
    try await records(in: folder)
    try await folder.succeed(
      "fit", "laplace", "records.h5", "--prior-precision", "1", "--temperature", "1", "--predictive", "mean-field", "-o",
      "posterior.h5")
    try await folder.succeed(
      "evaluate", "posterior.h5", "--data", Digits.test, "--ood", "letters=\(Digits.letters)", "--checkpoint",
      Digits.checkpoint, "--json", "report.json", "--html", "report.html")
    let models = try JSONDecoder().decode(Answer.self, from: folder.bytes("report.json")).models
    #expect(models[0].exits.allSatisfy { $0.ood[0].scores["energy"] != nil })
    for exit in models[1].exits {
      #expect(exit.ood[0].scores["energy"] == nil && exit.ood[0].scores["maximumProbability"] != nil)
    }
    #expect(String(decoding: try folder.bytes("report.html"), as: UTF8.self).contains("letters"))
  }

  @Test func jointCovariancesAreWritten() async throws {
    let folder = try TestFolder()
    try await records(in: folder)
    try await folder.succeed(
      "fit", "laplace", "records.h5", "--prior-precision", "2", "--temperature", "1.5", "-o", "posterior.h5")
    try await folder.succeed(
      "predict", "posterior.h5", "--data", "records.h5", "--rows", "3:8", "--joint-covariance", "-o", "predictions.h5")
    let predictions = try HDF5Archive(folder.path("predictions.h5"))
    let posterior = try LastLayerLaplacePosterior(from: HDF5Archive(folder.path("posterior.h5")))
    for exit in 0..<3 {
      let covariance = try predictions.read("/exits/\(exit)/jointCovariance", as: Double.self)
      #expect(covariance.shape == [5, 10, 5, 10])
      let features = try HDF5Archive(folder.path("records.h5"))
        .read("/exits/\(exit)/features", rows: 3..<8, as: Float.self).converted(to: Double.self)
      let variances = posterior.exits[exit].logitVariances(features: features, on: ReferenceBackend())
      for row in 0..<5 {
        for k in 0..<10 {
          expectClose(covariance[((row * 10 + k) * 5 + row) * 10 + k], variances[row, k] / 2.25, tolerance: 1e-9)
          expectClose(
            covariance[((row * 10 + k) * 5 + 0) * 10 + 4], covariance[((0 * 10 + 4) * 5 + row) * 10 + k], tolerance: 1e-12)
        }
      }
    }
    try await folder.refuse(
      "predict", Digits.checkpoint, "--data", Digits.test, "--rows", "0:4", "--joint-covariance", "-o", "no.h5", code: 65,
      naming: "digits.h5", "last-layer posterior")
    try await folder.refuse(
      "predict", "posterior.h5", "--data", Digits.test, "--checkpoint", Digits.checkpoint, "--rows", "0:410",
      "--joint-covariance", "-o", "no.h5", code: 65, naming: Digits.test, "410 rows of 10 outputs", "at most 409 rows")
    try await folder.succeed(
      "fit", "laplace", "records.h5", "--prior-precision", "2", "--temperature", "1.5", "--greedy-ensemble",
      "--validation", "records.h5", "-o", "ensemble.h5")
    try await folder.refuse(
      "predict", "ensemble.h5", "--data", "records.h5", "--rows", "0:4", "--joint-covariance", "-o", "no.h5", code: 65,
      naming: "ensemble.h5", "means over exits")
  }

  /// The prior that validation finds with a fixed temperature, against a grid of priors that the user gives.
  @Test func priorOfValidationIsAsGoodAsAGrid() async throws {
    struct Answer: Decodable {
      struct Exit: Decodable { var validationNLL: Double }
      var exits: [Exit]
    }
    let folder = try TestFolder()
    try await records(in: folder)
    try await folder.succeed("extract", Digits.checkpoint, "--data", Digits.validation, "-o", "validation.h5")
    func fit(_ prior: String) async throws -> [Double] {
      let run = try await folder.succeed(
        "fit", "laplace", "records.h5", "--validation", "validation.h5", "--predictive", "probit", "--structure", "diagonal",
        "--temperature", "1", "--prior-precision", prior, "-o", "posterior.h5", "--force", "--json")
      return try JSONDecoder().decode(Answer.self, from: Data(run.output.utf8)).exits.map(\.validationNLL)
    }
    let found = try await fit("validation")
    var lowest = [Double](repeating: .infinity, count: 3)
    for step in 0...24 {
      let values = try await fit("\(pow(10, -3 + Double(step) / 4))")
      lowest = zip(lowest, values).map { min($0, $1) }
    }
    for (value, grid) in zip(found, lowest) { #expect(value <= grid + 1e-5 && value > grid - 0.01) }
  }

  @Test func predictionsThatAreNoNumbersAreRefused() async throws {
    let folder = try TestFolder()
    try await records(in: folder)
    try await folder.succeed(
      "fit", "laplace", "records.h5", "--prior-precision", "1", "--temperature", "1e-40", "-o", "posterior.h5")
    try await folder.refuse(
      "predict", "posterior.h5", "--data", "records.h5", "-o", "predictions.h5", code: 65,
      naming: "records.h5", "exit 0", "row 0", "infinite or not a number")
    #expect(!FileManager.default.fileExists(atPath: folder.path("predictions.h5")))
  }

  @Test func ensemblesAreTunedAndPredicted() async throws {
    let folder = try TestFolder()
    try await records(in: folder)
    try await folder.succeed("extract", Digits.checkpoint, "--data", Digits.validation, "-o", "validation.h5")
    try await folder.succeed(
      "fit", "laplace", "records.h5", "--validation", "validation.h5", "--greedy-ensemble", "--draws", "22", "-o",
      "posterior.h5")
    #expect(try LastLayerLaplacePosterior(from: HDF5Archive(folder.path("posterior.h5"))).isEnsemble)
    try await folder.succeed("predict", "posterior.h5", "--data", "records.h5", "-o", "predictions.h5")
  }

  @Test func realTargetsHaveMeanAndBothVariances() async throws {
    let folder = try TestFolder()
    let features = RandomKey(seed: 1).normals([80, 3], as: Float.self)
    let weight = Tensor<Float>(shape: [3, 2], [1, 0, -1, 2, 0.5, 1])
    let bias = Tensor<Float>(shape: [2], [0.25, -1])
    var logits = ReferenceBackend().product(features, weight)
    for row in 0..<80 { for k in 0..<2 { logits[row, k] += bias[k] } }
    let errors: Tensor<Double> = RandomKey(seed: 2).normals([80, 2])
    var targets = Tensor<Double>(shape: [80, 2], logits.elements.map { Double($0) })
    for position in 0..<160 { targets[position] += 0.3 * errors[position] }
    let description = RecordsDescription(
      file: "records.h5",
      exits: [
        ExitDescription(
          name: "output", likelihood: .gaussian, logitCount: 2, featureCount: 3,
          head: ExitHead(weight: weight, bias: bias))
      ])
    let writer = try ExitRecordsWriter(description, to: HDF5ArchiveWriter(folder.path("records.h5")))
    try writer.append(
      ExitRecords(
        firstRow: 0, exits: [ExitRecords.Exit(features: features, logits: logits)], labels: nil, targets: targets))
    try writer.finish()
    let run = try await folder.succeed(
      "fit", "laplace", "records.h5", "--structure", "full", "--prior-precision", "marginal-likelihood",
      "-o", "posterior.h5", "--json")
    let noise = try #require(try JSONDecoder().decode(Fitted.self, from: Data(run.output.utf8)).exits[0].noise)
    expectClose(noise, 0.3, tolerance: 0.08)
    #expect(try await folder.succeed("inspect", "posterior.h5").output.contains("noise"))
    try await folder.succeed("predict", "posterior.h5", "--data", "records.h5", "-o", "predictions.h5")
    let predictions = try HDF5Archive(folder.path("predictions.h5"))
    let epistemic = try predictions.read("/exits/0/epistemicVariance", as: Double.self)
    let posterior = try LastLayerLaplacePosterior(from: HDF5Archive(folder.path("posterior.h5")))
    expectClose(
      epistemic,
      posterior.exits[0].logitVariances(features: features.converted(to: Double.self), on: ReferenceBackend()),
      tolerance: 1e-10)
    let variances = try predictions.read("/exits/0/noiseVariance", as: Double.self)
    #expect(variances.elements.allSatisfy { abs($0 - noise * noise) < 1e-12 })
    expectClose(try predictions.read("/exits/0/mean", as: Float.self), logits, tolerance: 1e-6)
    // The report is of the same forecasts.
    try await folder.succeed("evaluate", "posterior.h5", "--data", "records.h5", "--json", "report.json", "--quiet")
    let report = try RegressionReport(json: folder.bytes("report.json"), file: "report.json")
    let total = zip(epistemic.elements, variances.elements).reduce(0) { $0 + $1.0 + $1.1 }
    expectClose(
      report.models.last?.exits[0].measures["sharpness"]?.value ?? .nan, (total / 160).squareRoot(), tolerance: 1e-6)
  }

  @Test(.enabled(if: python != nil, "There is no Python with NumPy."), arguments: [
    (LaplaceStructure.kronecker, "whitened"), (.folded, "probit"), (.factored, "whitened"), (.diagonal, "antithetic"),
    (.diagonal, "probit"), (.kronecker, "plain"),
  ])
  func exportedArraysPredictTheSame(structure: LaplaceStructure, predictive: String) async throws {
    let folder = try TestFolder()
    try await records(in: folder)
    try await folder.succeed(
      "fit", "laplace", "records.h5", "--structure", structure.rawValue, "--prior-precision", "0.5", "--temperature",
      "1.4", "--predictive", predictive, "-o", "posterior.h5")
    try await folder.succeed("export", "posterior.h5", "-o", "serving.npz")
    try await folder.succeed("extract", Digits.checkpoint, "--data", Digits.test, "-o", "test.h5")
    try await folder.succeed("predict", "posterior.h5", "--data", "test.h5", "-o", "predictions.npz")
    let rows = try HDF5Archive(folder.path("test.h5"))
    let features = try NPZArchiveWriter(folder.path("test.npz"))
    for exit in 0..<3 {
      try features.write(rows.read("/exits/\(exit)/features", as: Float.self), at: "/exits/\(exit)/features")
    }
    try features.finish()
    let script = """
      import sys; sys.path.insert(0, sys.argv[1])
      import numpy as np
      from bayesify_serving import Posterior
      posterior, rows, ours = Posterior("serving.npz"), np.load("test.npz"), np.load("predictions.npz")
      for k in range(3):
          found = posterior.predict(rows["exits/%d/features" % k], k)
          assert found.shape == ours["exits/%d/probabilities" % k].shape
          print(np.abs(found - ours["exits/%d/probabilities" % k]).max())
      """
    let process = Process()
    let output = Pipe()
    process.executableURL = URL(filePath: "/usr/bin/env")
    process.arguments = [
      Self.python ?? "python3", "-B", "-c", script, TestFiles.package.appending(path: "Python").path(percentEncoded: false),
    ]
    process.currentDirectoryURL = folder.files
    process.standardOutput = output
    try process.run()
    let text = String(decoding: try output.fileHandleForReading.readToEnd() ?? Data(), as: UTF8.self)
    process.waitUntilExit()
    let differences = text.split(separator: "\n").compactMap { Double($0) }
    #expect(differences.count == 3 && differences.allSatisfy { $0 < 1e-6 }, "\(text)")
  }

  /// What the predictor cannot use is one sentence, and no traceback.
  @Test(.enabled(if: python != nil, "There is no Python with NumPy."))
  func servingSaysWhatIsWrong() async throws {
    let folder = try TestFolder()
    try await records(in: folder)
    try await folder.succeed(
      "fit", "laplace", "records.h5", "--prior-precision", "0.5", "--temperature", "1", "-o", "posterior.h5")
    try await folder.succeed("export", "posterior.h5", "-o", "serving.npz")
    try await folder.succeed("export", "posterior.h5", "-o", "serving.h5")
    try folder.write([Float](repeating: 0.5, count: 64), shape: [2, 32], to: "features.npy")
    func serve(_ arguments: String...) throws -> (code: Int32, errors: String) {
      let process = Process()
      let errors = Pipe()
      process.executableURL = URL(filePath: "/usr/bin/env")
      let program = TestFiles.package.appending(path: "Python/bayesify_serving.py").path(percentEncoded: false)
      process.arguments = [Self.python ?? "python3", "-B", program] + arguments + ["-o", "probabilities.npy"]
      process.currentDirectoryURL = folder.files
      process.standardError = errors
      try process.run()
      let text = String(decoding: try errors.fileHandleForReading.readToEnd() ?? Data(), as: UTF8.self)
      process.waitUntilExit()
      return (process.terminationStatus, text)
    }
    for (arguments, words) in [
      (["serving.h5", "features.npy"], ["serving.h5 is no .npz file", "bayesify export"]),
      (["serving.npz", "features.npy", "--exit", "7"], ["no exit 7", "0, 1, 2"]),
      (["serving.npz", "missing.npy"], ["missing.npy"]),
    ] {
      let (code, errors) = try serve(arguments[0], arguments[1], arguments.count > 2 ? "--exit=7" : "--exit=0")
      #expect(code != 0 && errors.split(separator: "\n").count == 1, "\(errors)")
      for word in words { #expect(errors.contains(word), "\(errors)") }
    }
    #expect(!FileManager.default.fileExists(atPath: folder.path("probabilities.npy")))
  }

  @Test func whatIsNotSimpleIsNotExported() async throws {
    let folder = try TestFolder()
    try await records(in: folder)
    let options = ["fit", "laplace", "records.h5", "--prior-precision", "3", "--temperature", "1"]
    _ = try await folder.run(options + ["--structure", "full", "-o", "full.h5"])
    _ = try await folder.run(options + ["--predictive", "bridge", "-o", "bridge.h5"])
    try await folder.refuse("export", "full.h5", "-o", "serving.npz", code: 65, naming: "full.h5", "diagonal structures")
    try await folder.refuse("export", "bridge.h5", "-o", "serving.npz", code: 65, naming: "bridge.h5", "'bridge'")
    try await folder.refuse("export", Digits.checkpoint, "-o", "serving.npz", code: 65, naming: "name a posterior")
  }

  @Test(arguments: [
    ["--prior-scope", "group", "--prior-precision", "1"], ["--prior-mean", "checkpoint", "--prior-precision", "marginal-likelihood"],
    ["--greedy-ensemble", "--prior-precision", "1"], ["--structure", "low-rank", "--explained", "1.5"],
    ["--structure", "low-rank", "--rank", "0"], ["--noise", "-1"], ["--draws", "1"], ["--draws", "1000001"],
  ])
  func optionsThatContradictAreRefused(_ options: [String]) async throws {
    let folder = try TestFolder()
    try await records(in: folder)
    let run = try await folder.run(
      ["fit", "laplace", "records.h5", "--temperature", "1", "-o", "posterior.h5"] + options)
    #expect(run.exitCode == 64 && run.errorLines.count == 1, "\(run.testDescription)")
  }
}
