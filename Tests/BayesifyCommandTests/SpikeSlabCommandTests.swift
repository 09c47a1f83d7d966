import BayesReport
import Bayesify
import Foundation
import Testing
import _BayesTestSupport

/// Chains over weights through the command.
struct SpikeSlabCommandTests {
  private func fit(_ options: String...) -> [String] {
    ["fit", "spike-slab", Digits.checkpoint, "--data", Digits.training] + options
  }

  private func models(_ report: String, in folder: TestFolder) throws -> [ModelResult] {
    try Report(json: folder.bytes(report), file: report).models
  }

  @Test func fitsPredictAndAreEvaluatedBesideTheirControls() async throws {
    let folder = try TestFolder()
    let short = ["--cycles", "2", "--cycle-epochs", "2", "--snapshots", "2"]
    let run = try await folder.succeed(
      fit("--validation", Digits.validation, "--layers", "block_3_conv,exit_3", "--chains", "2", "-o", "chains.h5") + short)
    #expect(run.errors.contains("at 1 of the posterior's temperature") && run.errors.contains("epoch 4 of 4: loss"))
    #expect(run.output.contains("R-hat"))
    try await folder.succeed(fit("--sampler", "descent", "-o", "descent.h5", "--quiet") + short)
    try await folder.succeed(fit("--temperature", "0.1", "--sampler", "hamiltonian", "-o", "cold.h5", "--quiet") + short)
    try await folder.succeed(
      "evaluate", Digits.checkpoint, "chains.h5", "descent.h5", "cold.h5", "--data", Digits.test, "--rows", "0:200",
      "--json", "report.json", "--quiet")
    let models = try models("report.json", in: folder)
    #expect(
      models.map(\.kind.name) == [
        "map", "EM-MCMC tempered (2 layers), 8 networks", "snapshots of descent (9 layers), 4 networks",
        "SGHMC (9 layers), 4 networks, temperature 0.1",
      ])
    // Earlier exits do not depend on the layers of the first.
    #expect(models[1].exits.map { $0.uncertainty.epistemic > 1e-6 } == [false, false, true])
    #expect(models[3].exits.allSatisfy { $0.uncertainty.epistemic > 1e-6 })
    for model in models { #expect(model.exits[2].accuracy > 0.9, "\(model.name)") }
    for threads in ["1", "3"] {
      try await folder.succeed(
        "predict", "chains.h5", "--data", Digits.test, "--rows", "0:50", "--threads", threads, "-o", "\(threads).h5",
        "--quiet")
      try await folder.succeed(fit("--threads", threads, "-o", "fit-\(threads).h5", "--quiet") + short)
    }
    #expect(try folder.bytes("1.h5") == folder.bytes("3.h5"))
    #expect(try folder.bytes("fit-1.h5") == folder.bytes("fit-3.h5"))
    let inspected = try await folder.succeed("inspect", "chains.h5")
    #expect(inspected.output.contains("2 chain(s) of 4 epoch(s) in 2 cycle(s)"))
  }

  /// Draws around the mean of a path, and the smallest filters removed, are controls of the same command.
  @Test func controlsAreOfTheSameStructure() async throws {
    let folder = try TestFolder()
    let short = ["--cycles", "3", "--cycle-epochs", "2", "--snapshots", "2", "--quiet"]
    let swag = fit("--sampler", "swag-diagonal", "-o", "swag.h5") + short
    try await folder.succeed(swag)
    try await folder.succeed(
      fit("--sampler", "descent", "--select", "magnitude", "--sparsity", "30%", "-o", "small.h5") + short)
    try await folder.succeed(
      fit("--sampler", "swag-diagonal", "--select", "magnitude", "--sparsity", "30%", "-o", "both.h5") + short)
    try await folder.succeed(
      "evaluate", Digits.checkpoint, "swag.h5", "small.h5", "both.h5", "--data", Digits.test, "--json", "report.json",
      "--quiet")
    let models = try models("report.json", in: folder)
    #expect(
      models.map(\.kind.name) == [
        "map", "SWAG-Diagonal (9 layers), 6 networks", "snapshots of descent (9 layers), 2 networks, 30 % removed",
        "SWAG-Diagonal (9 layers), 6 networks, 30 % removed",
      ])
    for model in models { #expect(model.exits[2].accuracy > 0.6, "\(model.name)") }
    #expect(models[1].exits[2].uncertainty.epistemic > 1e-7)
    // Draws have variances of the path: descent at a rate that moves nothing has none.
    try await folder.succeed(swag + ["--learning-rate", "1e-30", "--statistics-rows", "0", "--force"])
    try await folder.succeed(
      "evaluate", "swag.h5", "--data", Digits.test, "--json", "still.json", "--quiet")
    let still = try self.models("still.json", in: folder)
    #expect(still.last?.exits[2].uncertainty.epistemic ?? 1 < 1e-9)
  }

  /// On a last layer with Gaussian targets the posterior is normal, and Laplace's is exact.
  @Test func variancesOfRealTargetsAreThoseOfTheExactPosterior() async throws {
    let folder = try TestFolder()
    let (network, data) = (golden("Regression/network.h5"), golden("Regression/train.h5"))
    let shared = [network, "--data", data, "--likelihood", "gaussian", "--noise", "0.4", "--quiet"]
    try await folder.succeed(
      ["fit", "laplace", "--structure", "full", "--prior-precision", "200", "-o", "exact.h5"] + shared)
    // The same precision, as a penalty of a mean loss over sixty rows, all of which every step sees.
    let chain = ["fit", "spike-slab", "--layers", "late", "--exit", "1", "--sampler", "langevin", "--batch-rows", "60"] + shared
    try await folder.succeed(
      chain + ["--slab", "3.3333333333", "--cycles", "300", "--cycle-epochs", "30", "--snapshots", "2", "-o", "chain.h5"])
    func variances(_ posterior: String) async throws -> Tensor<Double> {
      try await folder.succeed(
        "predict", posterior, "--data", golden("Regression/test.h5"), "-o", "predictions.h5", "--quiet", "--force")
      let archive = try HDF5Archive(folder.path("predictions.h5"))
      return try archive.read("/exits/1/epistemicVariance", rows: 0..<411, as: Double.self)
    }
    let (exact, found) = (try await variances("exact.h5"), try await variances("chain.h5"))
    let ratios = (0..<exact.count).map { found.elements[$0] / exact.elements[$0] }
    expectClose(ratios.reduce(0, +) / Double(ratios.count), 1, tolerance: 0.08)
    #expect(ratios.allSatisfy { abs($0 - 1) < 0.35 }, "\(ratios.min() ?? 0) to \(ratios.max() ?? 0)")
    try await folder.succeed(
      "evaluate", network, "chain.h5", "--likelihood", "gaussian", "--data", golden("Regression/test.h5"), "--json",
      "report.json", "--quiet")
    let report = try RegressionReport(json: folder.bytes("report.json"), file: "report.json")
    #expect(report.models.last?.exits[1][.noiseDeviation]?.value == 0.4)
    let tempered = try await folder.run(chain + ["--validation", data, "-o", "other.h5"])
    #expect(tempered.exitCode == 64 && tempered.errors.contains("leave --validation out"), "\(tempered.testDescription)")
    let classes = try await folder.run(fit("--noise", "1", "-o", "other.h5"))
    #expect(classes.exitCode == 64 && classes.errors.contains("real targets"), "\(classes.testDescription)")
    #expect(try !folder.names.contains("other.h5"))
  }

  /// A chain that does not move is the checkpoint.
  @Test func withoutStepsItIsTheCheckpoint() async throws {
    let folder = try TestFolder()
    try await folder.succeed(
      fit("--cycles", "1", "--cycle-epochs", "1", "--sampler", "descent", "--learning-rate", "1e-30", "--statistics-rows", "0",
          "-o", "still.h5", "--quiet"))
    try await folder.succeed(
      "evaluate", Digits.checkpoint, "still.h5", "--data", Digits.test, "--json", "report.json", "--quiet")
    let models = try models("report.json", in: folder)
    for (own, untouched) in zip(models[1].exits, models[0].exits) {
      #expect(own.accuracy == untouched.accuracy && own.uncertainty.epistemic < 1e-9)
      expectClose(own.nll, untouched.nll, tolerance: 1e-6)
    }
  }

  @Test func weightsAreRemovedAsAskedFor() async throws {
    let folder = try TestFolder()
    func summary(_ options: String...) async throws -> [String: Any] {
      let run = try await folder.succeed(
        ["fit", "spike-slab", Digits.checkpoint, "--data", Digits.training, "--cycles", "3", "--cycle-epochs", "2", "--json",
         "--quiet", "--force", "-o", "sparse.h5"] + options)
      let value = try JSONSerialization.jsonObject(with: Data(run.output.utf8))
      return try #require((value as? [String: Any])?["chains"] as? [String: Any])
    }
    func removed(_ summary: [String: Any]) throws -> [String: Int] {
      let layers = try #require(summary["layers"] as? [[String: Any]])
      return Dictionary(
        uniqueKeysWithValues: try layers.map {
          (try #require($0["name"] as? String), try #require($0["removed"] as? Int))
        })
    }
    let half = try await summary("--sparsity", "50%")
    #expect(abs(try #require(half["sparsity"] as? Double) - 0.5) < 0.02)
    let counts = try removed(half)
    #expect(counts["block_1_conv"] == 0 && counts["exit_3"] == 0 && counts["exit_1"] == 0)
    // Whole filters of 27 · 24 weights.
    #expect(try #require(counts["block_2_conv"]) > 0 && counts["block_2_conv"]?.isMultiple(of: 216) == true)
    let ends = try await summary("--sparsity", "0.6", "--remove-ends", "--groups", "weights", "--dense-groups", "weights")
    #expect(try removed(ends).values.allSatisfy { $0 > 0 })
    #expect(abs(try #require(ends["sparsity"] as? Double) - 0.6) < 0.001)
    // A spike as narrow as this draws all into it, and of each layer something stays.
    let all = try await folder.succeed(
      fit("--cycles", "2", "--cycle-epochs", "1", "--select", "responsibilities", "--slab", "1e-9", "--spike", "1e-8", "-o",
          "all.h5"))
    #expect(all.errors.contains("All groups of") && all.errors.contains("the largest was left"))
    let none = try await folder.succeed(
      fit("--cycles", "2", "--cycle-epochs", "1", "--select", "responsibilities", "--slab", "1", "--spike", "1e4", "-o",
          "none.h5"))
    #expect(none.errors.contains("No group was removed"))
    let released = try await summary(
      "--sampler", "as-released", "--select", "thresholds", "--soft", "0.01", "--hard", "0.02", "--slab", "5e-4", "--spike",
      "1e-3")
    #expect(try #require(released["sparsity"] as? Double) > 0)
  }

  @Test(arguments: ["tempered", "preconditioned-langevin"])
  func killedRunsGoOnToTheSameBits(sampler: String) async throws {
    let long =
      ["fit", "spike-slab", Digits.checkpoint, "--data", Digits.training, "--sampler", sampler, "--cycles", "6",
       "--cycle-epochs", "4", "--chains", "2", "--batch-rows", "64", "--sparsity", "0.4", "--save-every", "0", "-o", "x.h5"]
    let whole = try TestFolder()
    try await whole.succeed(long + ["--quiet"])
    let folder = try TestFolder()
    var resumed = 0
    for delay in [0.3, 0.5, 0.4] {
      let running = try RunningCommand(long + ["--resume", "--threads", "1"], in: folder, isSlow: true)
      await running.signal(SIGKILL, after: folder.path("x.h5.part"), delay: delay)
      let run = try await running.finish(within: .seconds(240))
      if run.errors.contains("resumed: ") { resumed += 1 }
      guard run.wasEndedBySignal else { break }
      #expect(try !folder.names.contains("x.h5"))
    }
    if try !folder.names.contains("x.h5") {
      let anew = try await folder.run(long)
      #expect(anew.exitCode == 74 && anew.errors.contains("go on with it by --resume"), "\(anew.testDescription)")
      let other = try await folder.run(long + ["--resume", "--momentum", "0.2"])
      #expect(
        (sampler == "tempered" && other.exitCode == 65 && other.errors.contains("begun with --momentum 0.1"))
          || (sampler != "tempered" && other.exitCode == 64), "\(other.testDescription)")
      let run = try await folder.succeed(long + ["--resume"])
      #expect(run.errors.contains("resumed: "))
      resumed += 1
    }
    #expect(resumed > 0)
    #expect(try folder.bytes("x.h5") == whole.bytes("x.h5"))
    #expect(try folder.names == ["x.h5"])
  }

  @Test func whatCannotBeFittedIsRefused() async throws {
    let folder = try TestFolder()
    func refuse(_ options: String..., code: Int32, _ words: String) async throws {
      let run = try await folder.run(
        ["fit", "spike-slab", Digits.checkpoint, "--data", Digits.training, "-o", "chains.h5"] + options)
      #expect(run.exitCode == code && run.errors.contains(words), "\(run.testDescription)")
      #expect(try folder.names.isEmpty)
    }
    try await refuse("--layers", "block_9_conv", code: 65, "choose among 'block_1_conv'")
    try await refuse("--layers", "exit_3,exit_3", code: 64, "twice")
    try await refuse("--exit", "7", code: 65, "exits are 0 to 2")
    try await refuse("--temperature", "-1", code: 64, "no temperature is below zero")
    try await refuse("--sparsity", "0.5", "--warm-up", "12", code: 64, "shorten the warm-up, or add cycles")
    try await refuse("--sparsity", "0.5", "--cycles", "1", code: 64, "add cycles")
    try await refuse("--sparsity", "0.5", "--layers", "exit_3", code: 65, "Nothing may be removed")
    try await refuse("--sparsity", "1.5", code: 64, "--sparsity")
    try await refuse("--sparsity", "0.5", "--centre", "checkpoint", code: 64, "centre it at zero")
    try await refuse("--sparsity", "0.5", "--select", "thresholds", code: 64, "Thresholds are given")
    try await refuse("--select", "magnitude", code: 64, "give a sparsity")
    try await refuse("--select", "magnitude", "--sparsity", "0.5", "--spike", "1", code: 64, "a prior with a spike")
    try await refuse("--sampler", "swag-diagonal", "--temperature", "1", code: 64, "leave it out")
    try await refuse("--select", "responsibilities", "--slab", "1", "--spike", "0.5", code: 64, "must be above the slab's")
    try await refuse("--spike", "1", code: 64, "--spike is for groups that are selected")
    try await refuse("--soft", "1", code: 64, "--select thresholds")
    try await refuse("--sampler", "descent", "--temperature", "1", code: 64, "leave it out")
    try await refuse("--sampler", "langevin", "--momentum", "0.5", code: 64, "has none")
    try await refuse("--dense-groups", "kernels", "--sparsity", "0.5", code: 64, "for convolutions")
    try await refuse("--learning-rate", "1e30", code: 70, "smaller learning rate")
  }
}
