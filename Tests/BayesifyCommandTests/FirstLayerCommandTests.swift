import Bayesify
import Foundation
import Testing
import _BayesTestSupport

/// First-layer inference through the command: fits, controls, and runs that are killed.
struct FirstLayerCommandTests {
  private struct Summary: Decodable {
    struct Epoch: Decodable {
      var dataTerm: Double
      var divergence: Double
      var evidenceLowerBound: Double
      var validationNLL: Double?
      var seconds: Double?
    }
    struct Exit: Decodable {
      var temperature: Double
      var validationNLL: Double?
    }
    var method: String
    var layer: String
    var weights: Int
    var rows: Int
    var chosenEpoch: Int
    var deviations: [Double]
    var epochs: [Epoch]
    var exits: [Exit]
    var warnings: [String]
  }

  private func fit(_ options: String...) -> [String] {
    ["fit", "first-layer", Digits.checkpoint, "--data", Digits.training] + options
  }

  private func summary(_ run: CommandRun) throws -> Summary {
    try JSONDecoder().decode(Summary.self, from: Data(run.output.utf8))
  }

  @Test func fitsPredictAndAreEvaluatedBesideTheirControls() async throws {
    let folder = try TestFolder()
    let run = try await folder.succeed(
      fit(
        "--validation", Digits.validation, "--epochs", "3", "--initial-deviation", "0.01", "--draws", "6", "-o",
        "vi.h5",
        "--mean-output", "mean.h5", "--json"))
    let fitted = try summary(run)
    #expect(fitted.method == "first-layer VI ('block_1_conv'), 6 draws" && fitted.layer == "block_1_conv")
    #expect(fitted.weights == 216 && fitted.rows == 297 && fitted.epochs.count == 3 && fitted.chosenEpoch == 3)
    for epoch in fitted.epochs {
      expectClose(epoch.evidenceLowerBound, -epoch.dataTerm - epoch.divergence / 297, tolerance: 1e-12)
      #expect(epoch.seconds ?? -1 > 0 && epoch.divergence > 0 && epoch.validationNLL == nil)
    }
    #expect(fitted.exits.count == 3 && fitted.exits.allSatisfy { $0.validationNLL != nil })
    // These digits have been learned by heart.
    #expect(fitted.warnings.contains { $0.contains("has memorised these rows") })
    #expect(
      run.errors.contains("epoch 2 of 3: ELBO -") && run.errors.contains("KL") && run.errors.contains("data term"))
    #expect(try folder.names == ["vi.h5", "mean.h5"])
    try await folder.succeed(fit("--control", "fine-tune", "--epochs", "3", "-o", "tuned.h5", "--quiet"))
    try await folder.succeed(
      fit(
        "--layer", "block_2_conv", "--estimator", "flipout", "--prior", "centred", "--epochs", "1", "--kl-weight", "2",
        "--optimizer", "sgd", "--schedule", "steps", "--rows", "0:100", "--initial-deviation", "5%", "-o", "other.h5",
        "--quiet"))
    try await folder.succeed(
      "evaluate", Digits.checkpoint, "vi.h5", "mean.h5", "tuned.h5", "other.h5", "--data", Digits.test, "--rows",
      "0:200",
      "--json", "report.json")
    let models = try Report(json: folder.bytes("report.json"), file: "report.json").models
    #expect(
      models.map(\.kind.name) == [
        "map", "first-layer VI ('block_1_conv'), 6 draws", "first-layer VI ('block_1_conv'), mean alone",
        "fine-tuned layer 'block_1_conv'", "first-layer VI ('block_2_conv'), 30 draws, tempered: KL × 2",
      ])
    for threads in ["1", "3"] {
      try await folder.succeed(
        "predict", "vi.h5", "--data", Digits.test, "--rows", "0:50", "--threads", threads, "-o", "\(threads).h5",
        "--quiet")
    }
    #expect(try folder.bytes("1.h5") == folder.bytes("3.h5"))
    let predictions = try HDF5Archive(folder.path("1.h5"))
    let parts = try ["total", "aleatoric", "epistemic"].map {
      try predictions.read("/exits/2/\($0)", as: Double.self)
    }
    for row in 0..<50 { expectClose(parts[0][row], parts[1][row] + parts[2][row], tolerance: 1e-9) }
    #expect(parts[2].elements.contains { $0 > 1e-3 })
    let told = try await folder.succeed("inspect", "vi.h5").output
    #expect(
      told.contains("first-layer VI ('block_1_conv'), 6 draws")
        && told.contains("216 weights, 3 epoch(s) over 297 rows"))
    try await folder.succeed("inspect", "other.h5", "--json")
  }

  @Test func patienceKeepsTheBestEpoch() async throws {
    let folder = try TestFolder()
    let fitted = try summary(
      try await folder.succeed(
        fit(
          "--validation", Digits.validation, "--patience", "1", "--epochs", "30", "--learning-rate", "0.05", "-o",
          "vi.h5",
          "--json", "--quiet")))
    let losses = fitted.epochs.compactMap(\.validationNLL)
    #expect(losses.count == fitted.epochs.count && fitted.epochs.count <= 30)
    #expect(losses.min() == losses[fitted.chosenEpoch - 1])
  }

  @Test func seedsAndNotThreadsDecide() async throws {
    let folder = try TestFolder()
    for (name, options) in [
      ("a", ["--seed", "1", "--threads", "1"]), ("b", ["--seed", "1", "--threads", "3"]), ("c", ["--seed", "2"]),
    ] {
      try await folder.succeed(fit("--epochs", "2", "-o", "\(name).h5", "--quiet") + options)
    }
    #expect(try folder.bytes("a.h5") == folder.bytes("b.h5"))
    #expect(try folder.bytes("a.h5") != folder.bytes("c.h5"))
  }

  /// Many epochs of little work, so that there is time to be killed.
  private var long: [String] {
    fit(
      "--validation", Digits.validation, "--patience", "100", "--epochs", "25", "--batch-rows", "32", "--save-every",
      "0")
      + ["--mean-output", "mean.h5", "-o", "vi.h5"]
  }

  @Test func killedRunsGoOnToTheSameBits() async throws {
    let whole = try TestFolder()
    try await whole.succeed(long + ["--quiet"])
    let folder = try TestFolder()
    // Later runs find what the first one left, so that some of the delay goes by before they train.
    var resumed = 0
    for delay in [0.3, 1.2, 0.8, 1.7, 0.9] {
      let running = try RunningCommand(long + ["--resume", "--threads", "1"], in: folder, isSlow: true)
      await running.signal(SIGKILL, after: folder.path("vi.h5.part"), delay: delay)
      let run = try await running.finish(within: .seconds(120))
      if run.errors.contains("resumed: ") { resumed += 1 }
      guard run.wasEndedBySignal else { break }
      #expect(try !folder.names.contains("vi.h5"))
    }
    #expect(resumed > 0)
    if try !folder.names.contains("vi.h5") {
      let run = try await folder.succeed(long + ["--resume"])
      #expect(run.errors.contains("resumed: "))
    }
    #expect(try folder.bytes("vi.h5") == whole.bytes("vi.h5"))
    #expect(try folder.bytes("mean.h5") == whole.bytes("mean.h5"))
    // What killed processes had begun to write is gone too.
    #expect(try folder.names == ["vi.h5", "mean.h5"])
  }

  @Test func interruptedRunsSayHowToGoOn() async throws {
    let whole = try TestFolder()
    try await whole.succeed(long + ["--quiet"])
    let folder = try TestFolder()
    let running = try RunningCommand(long, in: folder, isSlow: true)
    await running.signal(SIGINT, after: folder.path("vi.h5.part"))
    let run = try await running.finish(within: .seconds(60))
    #expect(run.exitCode == 130 && !run.wasEndedBySignal, "\(run.testDescription)")
    #expect(
      run.errorLines.last == "bayesify: Interrupted; vi.h5.part holds what was done, and --resume goes on with it.",
      "\(run.testDescription)")
    #expect(try folder.names == ["vi.h5.part"])
    // Neither begun anew over what is there, nor gone on with otherwise.
    try await folder.refuse(
      "fit", "first-layer", Digits.checkpoint, "--data", Digits.training, "-o", "vi.h5", code: 74, naming: "vi.h5.part",
      "--resume", "--force")
    try await folder.refuse(
      "fit", "first-layer", Digits.checkpoint, "--data", Digits.training, "--resume", "-o", "vi.h5", code: 65,
      naming: "vi.h5.part", "begun with --batch-rows 32, and 128 is asked for now")
    // A stranger's file of the output's name stays; one that a run killed at its very end wrote comes again.
    try folder.write("a stranger's", to: "vi.h5")
    let refused = try await folder.run(long + ["--resume", "--quiet"])
    #expect(
      refused.exitCode == 74 && refused.errors.contains("vi.h5: The file exists already"), "\(refused.testDescription)")
    try whole.bytes("vi.h5").write(to: folder.files.appending(path: "vi.h5"))
    try await folder.succeed(long + ["--resume", "--quiet"])
    #expect(try folder.bytes("vi.h5") == whole.bytes("vi.h5"))
    #expect(try folder.names == ["vi.h5", "mean.h5"])
  }

  @Test func whatTheMethodIsNotForIsRefused() async throws {
    let folder = try TestFolder()
    func refused(_ options: [String], code: Int32, _ words: String) async throws {
      let before = try folder.names
      let run = try await folder.run(fit("-o", "x.h5", "--quiet") + options)
      #expect(run.exitCode == code && run.errorLines.count == 1 && run.errors.contains(words), "\(run.testDescription)")
      #expect(try folder.names == before)
    }
    try await refused(["--layer", "none"], code: 65, "no convolution or dense layer 'none'")
    try await refused(["--estimator", "local-reparametrization"], code: 65, "Choose draws or flipout.")
    try await refused(["--exit", "3"], code: 65, "There is no exit 3")
    try await refused(["--patience", "3"], code: 64, "--patience looks at validation rows")
    try await refused(["--prior", "scaled", "--prior-deviation", "2"], code: 64, "leave --prior-deviation out")
    try await refused(["--control", "fine-tune", "--prior", "centred"], code: 64, "--prior is for a distribution")
    try await refused(
      ["--control", "fine-tune", "--mean-output", "m.h5"], code: 64, "--mean-output is for a distribution")
    try await refused(["--momentum", "0.5"], code: 64, "--momentum is for --optimizer sgd")
    try await refused(["--initial-deviation", "0"], code: 64, "a number above 0, or a share")
    try await refused(["--mean-output", "x.h5"], code: 64, "name the same file")
    try folder.write("no training", to: "x.h5.part")
    try await refused(["--resume"], code: 65, "x.h5.part")
    try await folder.succeed("extract", Digits.checkpoint, "--data", Digits.training, "-o", "records.h5", "--quiet")
    try await folder.refuse(
      "fit", "first-layer", Digits.checkpoint, "--data", "records.h5", "-o", "y.h5", code: 65, naming: "records.h5",
      "give the data")
    try await folder.refuse(
      "fit", "first-layer", Digits.checkpoint, "--data", Digits.letters + ":x", "-o", "y.h5", code: 65,
      naming: "ood-letters.h5", "have no labels")
  }
}
