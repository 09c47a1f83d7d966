import Bayesify
import Foundation
import Testing
import _BayesTestSupport

/// Ensembles of scaled layers through the command.
struct LatentCommandTests {
  private func fit(_ options: String...) -> [String] {
    ["fit", "latent", Digits.checkpoint, "--data", Digits.training, "--warm-up-steps", "50"] + options
  }

  private func models(_ report: String, in folder: TestFolder) throws -> [ModelResult] {
    try Report(json: folder.bytes(report), file: report).models
  }

  @Test func fitsPredictAndAreEvaluatedBesideTheirControls() async throws {
    let folder = try TestFolder()
    let layers = ["--layers", "block_3_conv,exit_3", "--epochs", "2"]
    let run = try await folder.succeed(
      fit("--validation", Digits.validation, "-o", "latent.h5") + layers)
    #expect(run.errors.contains("epoch 2 of 2: data term") && run.output.contains("exit_3: 32 inputs, 10 outputs, KL"))
    try await folder.succeed(fit("--decode", "hidden", "--member-batch", "replicated", "-o", "hidden.h5", "--quiet") + layers)
    try await folder.succeed(
      ["fit", "latent", Digits.checkpoint, "--data", Digits.training, "--control", "batch-ensemble", "--members", "3", "-o",
       "plain.h5", "--quiet"] + layers)
    try await folder.succeed(
      "evaluate", Digits.checkpoint, "latent.h5", "hidden.h5", "plain.h5", "--data", Digits.test, "--rows", "0:200",
      "--json", "report.json", "--quiet")
    let models = try models("report.json", in: folder)
    #expect(
      models.map(\.kind.name) == [
        "map", "LP-BNN (2 layers), 4 members, 4 draws each", "LP-BNN (2 layers), hidden decoded, 4 members",
        "BatchEnsemble (2 layers), 3 members",
      ])
    for model in models.dropFirst() {
      // Earlier exits do not depend on the layers; members differ at the last.
      #expect(model.exits.map { $0.uncertainty.epistemic > 1e-6 } == [false, false, true], "\(model.name)")
      #expect(model.exits[2].accuracy > 0.9)
    }
    for threads in ["1", "3"] {
      try await folder.succeed(
        "predict", "latent.h5", "--data", Digits.test, "--rows", "0:50", "--threads", threads, "-o", "\(threads).h5",
        "--quiet")
      try await folder.succeed(fit("--threads", threads, "-o", "fit-\(threads).h5", "--quiet") + layers)
    }
    try await folder.refuse(
      "predict", "latent.h5", "--checkpoint", "none.h5", "--data", Digits.test, "-o", "p.h5", code: 65, naming: "none.h5",
      "no such file", "--checkpoint")
    #expect(try folder.bytes("1.h5") == folder.bytes("3.h5"))
    #expect(try folder.bytes("fit-1.h5") == folder.bytes("fit-3.h5"))
    let inspected = try await folder.succeed("inspect", "latent.h5")
    #expect(inspected.output.contains("block_3_conv: 32 inputs, 48 outputs, KL"))
  }

  /// A conversion that changes nothing gives the checkpoint's numbers.
  @Test func identityIsTheCheckpoint() async throws {
    let folder = try TestFolder()
    try await folder.succeed(
      "fit", "latent", Digits.checkpoint, "--data", Digits.training, "--control", "identity", "--layers",
      "block_1_conv,block_2_conv,exit_3_hidden,exit_3", "-o", "identity.h5", "--quiet")
    try await folder.succeed(
      "evaluate", Digits.checkpoint, "identity.h5", "--data", Digits.test, "--json", "report.json", "--quiet")
    let models = try models("report.json", in: folder)
    for (own, untouched) in zip(models[1].exits, models[0].exits) {
      #expect(own.accuracy == untouched.accuracy && own.uncertainty.epistemic < 1e-9)
      expectClose(own.nll, untouched.nll, tolerance: 1e-6)
    }
  }

  /// Without names members scale as many of the last layers as they can without losing much: fewer, the further they are
  /// from the network.
  @Test func layersAreChosenByWhatTheyBear() async throws {
    let folder = try TestFolder()
    func chosen(_ deviation: String) async throws -> [String] {
      try await folder.succeed(
        fit("--initial-deviation", deviation, "--epochs", "1", "-o", "\(deviation).h5", "--quiet"))
      let lines = try await folder.succeed("inspect", "\(deviation).h5").output.split(separator: "\n")
      return lines.filter { $0.contains(" inputs, ") }.map { String($0.prefix { $0 != ":" }) }
    }
    #expect(try await chosen("0.01") == ["block_3_conv", "exit_3_hidden", "exit_3"])
    #expect(try await chosen("3") == ["exit_3"])
  }

  @Test(arguments: ["latent-sample", "hidden", "batch-ensemble"])
  func killedRunsGoOnToTheSameBits(form: String) async throws {
    let long =
      ["fit", "latent", Digits.checkpoint, "--data", Digits.training, "--layers", "block_3_conv,exit_3", "--epochs", "40",
       "--batch-rows", "32", "--save-every", "0", "-o", "x.h5"]
      + (form == "batch-ensemble" ? ["--control", form] : ["--decode", form, "--warm-up-steps", "20"])
    let whole = try TestFolder()
    try await whole.succeed(long + ["--quiet"])
    let folder = try TestFolder()
    var resumed = 0
    for delay in [0.3, 0.5, 0.4] {
      let running = try RunningCommand(long + ["--resume", "--threads", "1"], in: folder, isSlow: true)
      await running.signal(SIGKILL, after: folder.path("x.h5.part"), delay: delay)
      let run = try await running.finish(within: .seconds(120))
      if run.errors.contains("resumed: ") { resumed += 1 }
      guard run.wasEndedBySignal else { break }
      #expect(try !folder.names.contains("x.h5"))
    }
    if try !folder.names.contains("x.h5") {
      let anew = try await folder.run(long)
      #expect(anew.exitCode == 74 && anew.errors.contains("go on with it by --resume"), "\(anew.testDescription)")
      let other = try await folder.run(long + ["--resume", "--members", "3"])
      #expect(other.exitCode == 65 && other.errors.contains("begun with --members 4"), "\(other.testDescription)")
      let ignoring = try await folder.run(long + ["--resume", "--ignore-label", "3"])
      #expect(
        ignoring.exitCode == 65 && ignoring.errors.contains("begun without --ignore-label, and 3 is asked for now"),
        "\(ignoring.testDescription)")
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
        ["fit", "latent", Digits.checkpoint, "--data", Digits.training, "-o", "latent.h5"] + options)
      #expect(run.exitCode == code && run.errors.contains(words), "\(run.testDescription)")
      #expect(try folder.names.isEmpty)
    }
    try await refuse("--layers", "block_9_conv", code: 65, "choose among 'block_1_conv'")
    try await refuse("--layers", "block_1_relu", code: 65, "no convolution or dense layer 'block_1_relu'")
    try await refuse("--layers", "exit_3,exit_3", code: 64, "twice")
    try await refuse("--layers", "exit_3,", code: 64, "empty name")
    try await refuse("--layers", "exit_3", "--exit", "7", code: 65, "exits are 0 to 2")
    try await refuse("--control", "identity", "--initial-deviation", "1", code: 64, "--initial-deviation")
    try await refuse("--control", "batch-ensemble", "--decode", "hidden", code: 64, "--decode is for latents")
    try await refuse("--decode", "hidden", "--draws", "3", code: 64, "draws none")
    try await refuse("--members", "1", code: 64, "--members")
    try await refuse("--layers", "exit_3", "--learning-rate", "1e300", code: 70, "lower the learning rate")
    try await refuse("--initial-deviation", "1e30", code: 70, "the initial deviation")
    try await refuse("--layers", "exit_3", "--kl-weight", "1e300", code: 70, "the weight of their divergence")
  }
}
