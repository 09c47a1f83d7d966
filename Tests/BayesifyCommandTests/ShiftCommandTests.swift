import BayesReport
import Bayesify
import Foundation
import Testing
import _BayesTestSupport

/// Corrupted test images, through `evaluate`.
@Suite struct ShiftCommandTests {
  private let images = golden("Corruptions/digits.h5")

  private func report(_ name: String, in folder: TestFolder) throws -> Report {
    try Report(json: folder.bytes(name), file: name)
  }

  /// Rows that SciPy, NumPy and colorsys corrupted are measured like those that the command corrupts itself.
  @Test func numbersAreThoseOfImagesCorruptedByOthers() async throws {
    let folder = try TestFolder()
    let severities = try GoldenValue(contentsOf: "Corruptions/rows.json")["severities"].table
    try await folder.succeed([
      "evaluate", Digits.checkpoint, "--data", images + ":untouched,y", "--shift",
      severities.keys.sorted().joined(separator: ","), "--json", "shift.json", "--quiet",
    ])
    let report = try report("shift.json", in: folder)
    let shift = try #require(report.shift)
    // No pixel is above 16, which is taken for the full one, and said.
    #expect(shift.pixelLow == 0 && shift.pixelHigh == 16)
    #expect(report.warnings.contains { $0.contains("0 to 16") && $0.contains("--pixel-range") })
    #expect(shift.corruptions.map(\.name) == severities.keys.sorted())
    for corruption in shift.corruptions {
      let level = Int(try #require(severities[corruption.name]).number)
      try await folder.succeed(
        "evaluate", Digits.checkpoint, "--data", images + ":\(corruption.name),y", "--json", "\(corruption.name).json",
        "--quiet")
      let others = try self.report("\(corruption.name).json", in: folder).models[0].exits
      let own = try #require(corruption.severities.first { $0.severity == level }).models[0].exits
      #expect(own.count == 3)
      for (one, other) in zip(own, others) {
        #expect(one.accuracy == other.accuracy && one.nll == other.nll && one.brier == other.brier)
        #expect(one.ece == other.ece.value && one.uncertainty == other.uncertainty && one.intervals == other.intervals)
        let clean = report.models[0].exits[one.index]
        #expect(one.change.accuracy.value == other.accuracy - clean.accuracy)
        #expect(one.change.ece.value == other.ece.value - clean.ece.value)
      }
      // Something happened.
      #expect(own[2].nll > report.models[0].exits[2].nll, "\(corruption.name)")
    }
  }

  @Test func everyModelIsMeasuredOnEveryCorruptionWhateverTheThreads() async throws {
    let folder = try TestFolder()
    try await folder.succeed(
      "fit", "laplace", Digits.checkpoint, "--data", Digits.training, "--prior-precision", "1", "--temperature", "1",
      "-o", "laplace.h5", "--quiet")
    // A posterior over earlier layers needs the rows themselves.
    try await folder.succeed(
      "fit", "laplace", Digits.checkpoint, "--layers", "last:2", "--data", Digits.training, "--rows", "0:24",
      "--prior-precision", "10", "--temperature", "1", "-o", "weights.h5", "--quiet")
    let arguments = [
      "evaluate", Digits.checkpoint, "laplace.h5", "weights.h5", "--data", Digits.test, "--rows", "100:140",
      "--validation", Digits.validation, "--shift", "noise,jpeg", "--pixel-range", "0:16",
    ]
    let run = try await folder.succeed(
      arguments + ["--threads", "1", "--batch", "7", "--json", "1.json", "--html", "1.html"])
    #expect(run.output.contains("On average over the 2 corruptions, at severity 5, digits has an ECE of"))
    try await folder.succeed(arguments + ["--threads", "3", "--batch", "7", "--json", "3.json", "--quiet"])
    try await folder.succeed(
      arguments + ["--threads", "1", "--batch", "7", "--seed", "1", "--json", "seed.json", "--quiet"])
    let report = try report("1.json", in: folder)
    let shift = try #require(report.shift)
    #expect(try self.report("3.json", in: folder).shift == shift)
    #expect(!report.warnings.contains { $0.contains("--pixel-range") })
    #expect(report.models.map(\.name) == ["digits", "digits + temperature", "laplace", "weights"])
    #expect(shift.corruptions.map(\.name) == ["noise", "jpeg"])
    #expect(shift.corruptions[0].severities.map(\.strength) == [0.04, 0.06, 0.08, 0.09, 0.1])
    for severity in shift.corruptions.flatMap(\.severities) {
      #expect(severity.models.map(\.name) == report.models.map(\.name))
      for (position, model) in severity.models.enumerated() {
        #expect(model.exits.map(\.index) == [0, 1, 2])
        #expect(model.exits.allSatisfy { ($0.againstBaseline == nil) == (position == 0) })
      }
      // A temperature changes no answer.
      #expect(severity.models[1].exits.allSatisfy { $0.againstBaseline?.accuracy.value == 0 })
      #expect(severity.models[3].exits[2].uncertainty.epistemic > 0)
    }
    // Other seeds give other noise, and the same JPEG.
    let other = try #require(try self.report("seed.json", in: folder).shift)
    #expect(other.corruptions[0].severities[4].models[0] != shift.corruptions[0].severities[4].models[0])
    let untouchedByChance = shift.corruptions[1].severities.map { $0.models[0] }
    #expect(other.corruptions[1].severities.map { $0.models[0] } == untouchedByChance)
    let page = String(decoding: try folder.bytes("1.html"), as: UTF8.self)
    for needle in ["Under shift", "Gaussian noise", "JPEG compression", "The numbers: Gaussian noise, Exit 2"] {
      #expect(page.contains(needle), "\(needle)")
    }
    // The page can be made from the JSON.
    try await folder.succeed("report", "1.json", "-o", "again.html")
    #expect(try folder.bytes("again.html") == folder.bytes("1.html"))
  }

  @Test func allCorruptionsAreMeasured() async throws {
    let folder = try TestFolder()
    try await folder.succeed(
      "evaluate", Digits.checkpoint, "--data", Digits.test, "--rows", "0:50", "--shift", "all", "--json", "all.json",
      "--quiet")
    let shift = try #require(try report("all.json", in: folder).shift)
    #expect(shift.corruptions.map(\.name) == ["noise", "blur", "contrast", "brightness", "jpeg", "rotation"])
    #expect(shift.corruptions.allSatisfy { $0.severities.map(\.severity) == [1, 2, 3, 4, 5] })
    // Some strengths alone are measured as they are among all.
    try await folder.succeed(
      "evaluate", Digits.checkpoint, "--data", Digits.test, "--rows", "0:50", "--shift", "all", "--severities", "5,2",
      "--json", "some.json", "--html", "some.html", "--quiet")
    let some = try #require(try report("some.json", in: folder).shift)
    for (one, other) in zip(some.corruptions, shift.corruptions) {
      #expect(one.severities == [other.severities[1], other.severities[4]])
    }
    #expect(some.corruptions.count == 6)
    #expect(String(decoding: try folder.bytes("some.html"), as: UTF8.self).contains("at severities 2, 5 of 1 to 5"))
    try await folder.succeed(
      "evaluate", Digits.checkpoint, "--data", Digits.test, "--rows", "0:50", "--json", "none.json", "--quiet")
    #expect(try report("none.json", in: folder).shift == nil)
    #expect(!String(decoding: try folder.bytes("none.json"), as: UTF8.self).contains("\"shift\""))
  }

  @Test func imagesInColourInAFolderAreCorrupted() async throws {
    let folder = try TestFolder()
    try await folder.succeed(
      "evaluate", Digits.checkpoint, "--data", golden("Images/digits"), "--shift", "rotation", "--pixel-range", "0:255",
      "--json", "folder.json", "--quiet")
    #expect(try report("folder.json", in: folder).shift?.pixelHigh == 255)
  }

  @Test func whatCannotBeCorruptedIsRefused() async throws {
    let folder = try TestFolder()
    try await folder.succeed("extract", Digits.checkpoint, "--data", Digits.test, "-o", "records.h5", "--quiet")
    try folder.write([UInt8](repeating: 1, count: 640), shape: [10, 64], to: "flat.npy")
    try folder.write([UInt8](repeating: 1, count: 1280), shape: [10, 8, 8, 2], to: "two.npy")
    try folder.write([Float](repeating: -1, count: 640), shape: [10, 8, 8, 1], to: "negative.npy")
    try folder.write([UInt8](repeating: 1, count: 10), shape: [10], to: "labels.npy")
    func refuse(_ data: String, _ options: [String], _ code: Int32, _ words: String) async throws {
      let before = try folder.names
      let run = try await folder.run(
        ["evaluate", Digits.checkpoint, "--data", data] + options + ["--json", "new.json", "--quiet"])
      #expect(run.exitCode == code && run.errors.contains(words), "\(run.testDescription)")
      #expect(try folder.names == before)
      if code == 65 { #expect(run.errorLines.count == 1 && run.errors.hasSuffix(".\n"), "\(run.testDescription)") }
    }
    let labels = ["--labels", "labels.npy", "--shift", "all"]
    try await refuse("records.h5", ["--shift", "all"], 65, "These are exit records, and --shift corrupts the images")
    try await refuse("flat.npy", labels, 65, "1 or 3 channels), and rows here are [64]")
    try await refuse("two.npy", labels, 65, "1 or 3 channels), and rows here are [8, 8, 2]")
    try await refuse("negative.npy", labels, 65, "say it with --pixel-range")
    try await refuse(Digits.test, ["--shift", "all", "--pixel-range", "0:8"], 65, "not in the pixel range 0 to 8")
    try await refuse(Digits.test, ["--shift", "fog"], 64, "give 'all' or names with commas between: noise, blur")
    try await refuse(Digits.test, ["--shift", "blur,blur"], 64, "give 'all' or names")
    try await refuse(Digits.test, ["--shift", ""], 64, "give 'all' or names")
    try await refuse(Digits.test, ["--pixel-range", "0:255"], 64, "add --shift")
    try await refuse(Digits.test, ["--severities", "3"], 64, "add --shift")
    for severities in ["0", "6", "3,3", "1,,2", "low"] {
      try await refuse(Digits.test, ["--shift", "all", "--severities", severities], 64, "whole numbers from 1 to 5")
    }
    for range in ["5:5", "9:1", "0", "0:inf", "a:b"] {
      try await refuse(Digits.test, ["--shift", "all", "--pixel-range", range], 64, "give LOW:HIGH")
    }
  }
}
