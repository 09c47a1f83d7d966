import BayesReport
import Bayesify
import Foundation
import Testing
import _BayesTestSupport

/// Searches of placements, and their fits, through the command.
struct SearchCommandTests {
  private func search(_ options: String...) -> [String] {
    ["search", Digits.checkpoint, "--data", Digits.training, "--validation", Digits.validation, "--search-rows", "100",
      "--foreign-rows", "60", "--draws", "4", "--population", "6", "--generations", "3", "--quiet"] + options
  }

  @Test func whatIsFoundIsFittedAndMeasured() async throws {
    let folder = try TestFolder()
    let run = try await folder.succeed(
      search("--layers", "block_3_conv,exit_3_hidden,exit_3", "-o", "p.json", "--html", "p.html", "--check-times", "4"))
    #expect(run.output.contains("as trained") && run.output.contains("last third, laplace") && run.output.contains("Spearman"))
    let found = try PlacementFile(json: folder.bytes("p.json"), file: "p.json")
    // 26 are few enough to ask for all.
    #expect(found.search.strategy == .exhaustive && found.trail.count == 26 || found.search.strategy == .evolution)
    #expect(found.foreign.map(\.name) == ["noise", "patches", "mixup"] && found.foreign.allSatisfy { $0.rowCount == 20 })
    #expect(found.rescored.count == 5 && !found.front.isEmpty)
    for index in found.front {
      let own = found.objective.objectives(found.trail[index].score)
      #expect(!found.trail.contains { ParetoFront.dominates(found.objective.objectives($0.score), own) && found.objective.violation($0.score) == 0 })
    }
    let page = try String(decoding: folder.bytes("p.html"), as: UTF8.self)
    #expect(page.contains("<svg") && page.contains("exit_3_hidden") && !page.contains("http://localhost"))
    let shared = ["--data", Digits.training, "--validation", Digits.validation, "--quiet"]
    try await folder.succeed(["fit", "placement", Digits.checkpoint, "--placement", "p.json", "-o", "chosen.h5"] + shared)
    try await folder.succeed(
      ["fit", "placement", Digits.checkpoint, "--placement", "p.json", "--front", "0", "--draws", "6", "-o", "front.h5"] + shared)
    try await folder.succeed(
      ["fit", "placement", Digits.checkpoint, "--layers", "block_2_conv=dropout:0.1,exit_3=laplace", "-o", "named.h5"] + shared)
    try await folder.succeed(
      "evaluate", Digits.checkpoint, "chosen.h5", "front.h5", "named.h5", "--data", Digits.test, "--json", "report.json", "--quiet")
    let models = try Report(json: folder.bytes("report.json"), file: "report.json").models
    for model in models { #expect(model.exits[2].accuracy > 0.9, "\(model.name)") }
    #expect(models[3].kind.name == "placement (dropout:0.1 of 'block_2_conv'; laplace of 'exit_3'), 8 draws")
    #expect(models[3].exits[2].uncertainty.epistemic > 1e-5)
    let inspected = try await folder.succeed("inspect", "named.h5")
    #expect(inspected.output.contains("block_2_conv: dropout:0.1") && inspected.output.contains("exit_3: laplace"))
    for threads in ["1", "3"] {
      try await folder.succeed(
        "predict", "named.h5", "--data", Digits.test, "--rows", "0:40", "--threads", threads, "-o", "\(threads).h5", "--quiet")
    }
    #expect(try folder.bytes("1.h5") == folder.bytes("3.h5"))
  }

  /// All kinds at once, in the search and fitted together.
  @Test func everyKindIsFitted() async throws {
    let folder = try TestFolder()
    try await folder.succeed(
      search(
        "--layers", "block_3_conv,exit_3", "--kinds", "laplace,vi,latent,spike-slab,dropout:0.2", "--posteriors", "single-path",
        "--epochs", "2", "-o", "p.json"))
    let found = try PlacementFile(json: folder.bytes("p.json"), file: "p.json")
    #expect(found.space.kinds.count == 5 && found.trail.count > 10)
    let kinds = ["vi", "latent", "spike-slab", "laplace"]
    for kind in kinds {
      try await folder.succeed(
        "fit", "placement", Digits.checkpoint, "--layers", "block_3_conv=\(kind),exit_3=\(kind)", "--draws", "4", "--epochs", "2",
        "--data", Digits.training, "--validation", Digits.validation, "-o", "\(kind).h5", "--quiet")
    }
    try await folder.succeed(
      ["evaluate", Digits.checkpoint] + kinds.map { "\($0).h5" } + ["--data", Digits.test, "--json", "report.json", "--quiet"])
    for model in try Report(json: folder.bytes("report.json"), file: "report.json").models.dropFirst() {
      // Laplace's spread is narrowed to what validation rows bear, which here is next to nothing.
      let least = model.name.contains("laplace") ? 0 : 1e-5
      #expect(model.exits[2].accuracy > 0.85 && model.exits[2].uncertainty.epistemic > least, "\(model.name)")
    }
  }

  /// A search that was killed goes on to the same answer.
  @Test func killedSearchesGoOnToTheSameAnswer() async throws {
    let folder = try TestFolder()
    let slow = search("--kinds", "vi,dropout:0.1", "--generations", "12", "-o", "p.json", "--threads", "1").filter { $0 != "--quiet" }
    var isPartial = false
    for _ in 0..<5 where !isPartial {
      let running = try RunningCommand(slow, in: folder, isSlow: true)
      for _ in 0..<6000 where running.isRunning {
        isPartial = FileManager.default.fileExists(atPath: folder.path("p.json.part"))
        if isPartial { break }
        try await Task.sleep(for: .milliseconds(10))
      }
      running.signal(SIGKILL)
      _ = try await running.finish()
    }
    #expect(isPartial && !FileManager.default.fileExists(atPath: folder.path("p.json")))
    // Times were kept with what was found, so that both go on from the same ones.
    try FileManager.default.copyItem(atPath: folder.path("p.json.part"), toPath: folder.path("other.json.part"))
    try await folder.succeed(slow + ["--resume"])
    try await folder.succeed(slow.map { $0 == "p.json" ? "other.json" : $0 } + ["--resume", "--threads", "2"])
    var (first, second) = (
      try PlacementFile(json: folder.bytes("p.json"), file: "p.json"),
      try PlacementFile(json: folder.bytes("other.json"), file: "other.json")
    )
    #expect(!first.trail.isEmpty && !FileManager.default.fileExists(atPath: folder.path("p.json.part")))
    (first.madeBy, second.madeBy) = ("", "")
    #expect(first == second)
  }

  /// A fit that was killed goes on to the same bits.
  @Test func killedFitsGoOnToTheSameBits() async throws {
    let folder = try TestFolder()
    let slow = [
      "fit", "placement", Digits.checkpoint, "--layers", "block_2_conv=vi,exit_3=vi", "--epochs", "150", "--data", Digits.training,
      "--validation", Digits.validation, "-o", "fit.h5",
    ]
    try await folder.succeed(slow.map { $0 == "fit.h5" ? "whole.h5" : $0 } + ["--quiet"])
    var isPartial = false
    for _ in 0..<5 where !isPartial {
      let running = try RunningCommand(slow, in: folder, isSlow: true)
      for _ in 0..<6000 where running.isRunning {
        isPartial = FileManager.default.fileExists(atPath: folder.path("fit.h5.part"))
        if isPartial { break }
        try await Task.sleep(for: .milliseconds(10))
      }
      running.signal(SIGKILL)
      _ = try await running.finish()
    }
    #expect(isPartial && !FileManager.default.fileExists(atPath: folder.path("fit.h5")))
    let refused = try await folder.run(slow)
    #expect(refused.exitCode == 74 && refused.errors.contains("--resume"), "\(refused.testDescription)")
    try await folder.succeed(slow + ["--resume", "--quiet"])
    #expect(try folder.bytes("fit.h5") == folder.bytes("whole.h5"))
    #expect(!FileManager.default.fileExists(atPath: folder.path("fit.h5.part")))
  }

  @Test func rowsOfTheSearchDoNotMeasureIt() async throws {
    let folder = try TestFolder()
    let letters = Digits.checkpoint.replacing("digits.h5", with: "ood-letters.h5")
    let refused = try await folder.run(
      search("--ood", "letters=\(letters)", "--test-ood", "test=\(letters)", "-o", "p.json"))
    #expect(refused.exitCode == 65 && refused.errors.contains("flatters"), "\(refused.testDescription)")
    try await folder.succeed(search("--layers", "exit_3", "--made", "none", "--ood", "letters=\(letters)", "-o", "p.json"))
    try await folder.succeed(
      "fit", "placement", Digits.checkpoint, "--placement", "p.json", "--front", "0", "--data", Digits.training, "--validation",
      Digits.validation, "-o", "posterior.h5", "--quiet")
    let measured = try await folder.run([
      "evaluate", Digits.checkpoint, "posterior.h5", "--data", Digits.test, "--ood", "letters=\(letters)", "--json", "r.json",
    ])
    #expect(measured.exitCode == 65 && measured.errors.contains("searched with these foreign rows"), "\(measured.testDescription)")
    #expect(!FileManager.default.fileExists(atPath: folder.path("r.json")))
  }

  /// Rows of classes that the network does not know are foreign.
  @Test func heldOutClassesAreForeign() async throws {
    let folder = try TestFolder()
    try await folder.succeed(search("--layers", "exit_3", "--made", "corrupted", "--held-out", "8,9", "-o", "p.json"))
    let found = try PlacementFile(json: folder.bytes("p.json"), file: "p.json")
    #expect(found.foreign.map(\.name) == ["corrupted", "held-out classes"])
    // The digits' network knows them, and is nearly as sure of them.
    let auroc = try #require(found.reference.aurocs["held-out classes"])
    #expect((0.3...0.8).contains(auroc))
  }

  @Test func whatCannotBeSearchedIsRefused() async throws {
    let folder = try TestFolder()
    func refuse(_ arguments: [String], code: Int32, _ words: String) async throws {
      let before = try folder.names
      let run = try await folder.run(arguments)
      #expect(run.exitCode == code && run.errors.contains(words), "\(run.testDescription)")
      #expect(try folder.names == before)
    }
    try await refuse(search("-o", "p.txt"), code: 64, "ends in .json")
    try await refuse(search("-o", "p.json", "--made", "none"), code: 64, "no foreign rows")
    try await refuse(search("-o", "p.json", "--kinds", "laplace,magic"), code: 64, "laplace, vi, latent")
    try await refuse(search("-o", "p.json", "--latency-budget", "0.5x"), code: 64, "from 1 on")
    try await refuse(search("-o", "p.json", "--posteriors", "single-path"), code: 64, "for vi")
    try await refuse(search("-o", "p.json", "--layers", "nothing"), code: 65, "no layer 'nothing'")
    try await refuse(search("-o", "p.json", "--held-out", "0,1,2,3,4,5,6,7,8,9"), code: 65, "held out")
    let fit = [
      "fit", "placement", Digits.checkpoint, "--data", Digits.training, "--validation", Digits.validation, "-o", "q.h5", "--quiet",
    ]
    try await refuse(fit, code: 64, "give one of them")
    try await refuse(fit + ["--layers", "exit_3=dropout:2"], code: 64, "NAME=KIND")
    try await refuse(fit + ["--layers", "exit_3=vi,last=vi"], code: 65, "twice")
    try await refuse(fit + ["--layers", "nowhere=vi"], code: 65, "no layer 'nowhere'")
    try folder.write("{}", to: "bad.json")
    try await refuse(fit + ["--placement", "bad.json"], code: 65, "bad.json")
    try await refuse(fit + ["--placement", "missing.json"], code: 74, "missing.json")
  }
}
