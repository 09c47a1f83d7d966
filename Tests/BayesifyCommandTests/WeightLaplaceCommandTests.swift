import Bayesify
import Foundation
import Testing
import _BayesTestSupport

/// Laplace over the weights of several layers, through the command.
struct WeightLaplaceCommandTests {
  private struct Fitted: Decodable {
    struct Exit: Decodable {
      var priorPrecision: Double
      var priorPrecisions: [Double]?
      var layers: [String]
      var parameters: Int
      var validationNLL: Double?
    }
    var structure: String
    var exits: [Exit]
  }

  @Test func severalLayersFitPredictAndAreEvaluated() async throws {
    let folder = try TestFolder()
    let run = try await folder.succeed(
      "fit", "laplace", Digits.checkpoint, "--layers", "last:2", "--data", Digits.training, "--rows", "0:24",
      "--prior-precision", "marginal-likelihood", "--prior-scope", "layer", "--validation", Digits.validation,
      "--validation-rows", "0:20", "--draws", "24", "-o", "posterior.h5", "--json")
    let fitted = try JSONDecoder().decode(Fitted.self, from: Data(run.output.utf8))
    #expect(fitted.structure == "kronecker" && fitted.exits.count == 3)
    #expect(fitted.exits.allSatisfy { $0.layers.count == 2 && $0.priorPrecisions?.count == 2 && $0.validationNLL != nil })
    #expect(try await folder.succeed("inspect", "posterior.h5").output.contains("layers last:2"))
    for threads in ["1", "2"] {
      try await folder.succeed(
        "predict", "posterior.h5", "--data", Digits.test, "--rows", "0:12", "--threads", threads, "-o",
        "predictions-\(threads).h5")
    }
    let (one, two) = (
      try HDF5Archive(folder.path("predictions-1.h5")), try HDF5Archive(folder.path("predictions-2.h5"))
    )
    for name in ["probabilities", "epistemic"] {
      let values = try one.read("/exits/2/\(name)", as: Double.self)
      #expect(try values == two.read("/exits/2/\(name)", as: Double.self))
      #expect(name != "epistemic" || values.elements.contains { $0 > 1e-6 })
    }
    let report = try await folder.succeed(
      "evaluate", Digits.checkpoint, "posterior.h5", "--data", Digits.test, "--rows", "0:12", "--json", "report.json")
    #expect(report.output.contains("posterior"))
    #expect(try String(contentsOfFile: folder.path("report.json"), encoding: .utf8).contains("kronecker, layers last:2"))
    // Records do not say what lies before the features.
    try await folder.succeed("extract", Digits.checkpoint, "--data", Digits.test, "-o", "records.h5")
    try await folder.refuse(
      "predict", "posterior.h5", "--data", "records.h5", "-o", "refused.h5", code: 65, naming: "records.h5",
      "give the data")
    try await folder.refuse(
      "export", "posterior.h5", "-o", "refused.h5", code: 65, naming: "posterior.h5", "last layers")
  }

  @Test func subnetworksFit() async throws {
    let folder = try TestFolder()
    let run = try await folder.succeed(
      "fit", "laplace", Digits.checkpoint, "--layers", "last:2", "--subnetwork", "50", "--structure", "full", "--data",
      Digits.training, "--rows", "0:12", "--prior-precision", "1", "--temperature", "1", "-o", "posterior.h5", "--json")
    let fitted = try JSONDecoder().decode(Fitted.self, from: Data(run.output.utf8))
    #expect(fitted.exits.allSatisfy { $0.parameters == 50 && $0.priorPrecision == 1 })
  }

  @Test(
    arguments: [
      (["--layers", "last:0"], "last:0"), (["--layers", "nowhere"], "'nowhere'"),
      (["--layers", "all", "--structure", "low-rank"], "kronecker, full or diagonal"),
      (["--layers", "all", "--subnetwork", "5"], "--structure full or diagonal"),
      (["--subnetwork", "5"], "--layers"), (["--prior-scope", "layer"], "--layers"),
      (["--layers", "all", "--predictive", "weights"], "function-space"),
      (["--layers", "all", "--prior-scope", "shared"], "by exit or by layer"),
      (["--layers", "all", "--structure", "full"], "at most 4096 weights"),
    ] as [([String], String)])
  func wrongOptionsAreRefused(options: [String], words: String) async throws {
    let folder = try TestFolder()
    let run = try await folder.run(
      ["fit", "laplace", Digits.checkpoint, "--data", Digits.training, "--prior-precision", "marginal-likelihood",
       "--temperature", "1", "-o", "posterior.h5"] + options)
    #expect(run.exitCode != 0 && !run.wasEndedBySignal, "\(run.testDescription)")
    #expect(run.errors.contains(words), "\(run.testDescription)")
    #expect(!FileManager.default.fileExists(atPath: folder.path("posterior.h5")))
  }
}
