import Bayesify
import Foundation
import Testing
import _BayesTestSupport

/// Membership inference through the command, against its definitions.
struct StudyPrivacyCommandTests {
  private func report(_ folder: TestFolder, _ name: String = "report.json") throws -> PrivacyReport {
    try JSONDecoder().decode(PrivacyReport.self, from: folder.bytes(name))
  }

  /// What a network answers to some rows, from the logits that `predict` writes.
  private struct Answers {
    var losses: [Double] = []
    var correctCount = 0

    init(_ folder: TestFolder, _ name: String) throws {
      let archive = try HDF5Archive(folder.path(name))
      let logits = try archive.read("/exits/2/logits", as: Double.self)
      let labels = try archive.read("/labels", as: Double.self).elements.map { Int($0) }
      for (row, label) in labels.enumerated() {
        let values = (0..<10).map { logits[row, $0] }
        let largest = values.max() ?? 0
        losses.append(largest + log(values.reduce(0) { $0 + exp($1 - largest) }) - values[label])
        if values[label] == largest { correctCount += 1 }
      }
    }

    var mean: Double { losses.reduce(0, +) / Double(losses.count) }
    var accuracy: Double { Double(correctCount) / Double(losses.count) }
  }

  @Test func membersAreToldByTheirLosses() async throws {
    let folder = try TestFolder()
    try await folder.succeed(
      "fit", "first-layer", Digits.checkpoint, "--data", Digits.training, "--epochs", "2", "--initial-deviation", "0.1",
      "--draws", "6", "-o", "vi.h5", "--quiet")
    let run = try await folder.succeed(
      "study", "privacy", Digits.checkpoint, "vi.h5", "--members", Digits.training, "--nonmembers", Digits.test,
      "--nonmember-rows", "0:400", "--json", "report.json", "--markdown", "report.md", "--quiet")
    let report = try report(folder)
    #expect(report.memberCount == 297 && report.nonMemberCount == 400 && report.exitName == "exit_3")
    #expect(report.models.map(\.name) == ["digits", "vi"])
    try await folder.succeed("predict", Digits.checkpoint, "--data", Digits.training, "-o", "own.h5", "--quiet")
    try await folder.succeed(
      "predict", Digits.checkpoint, "--data", Digits.test, "--rows", "0:400", "-o", "other.h5", "--quiet")
    let (own, other) = (try Answers(folder, "own.h5"), try Answers(folder, "other.h5"))
    let wins = own.losses.reduce(0.0) { sum, one in
      sum + other.losses.reduce(0.0) { $0 + (one < $1 ? 1 : one == $1 ? 0.5 : 0) }
    }
    let model = report.models[0]
    // Scores are kept in single precision, which may tie single pairs.
    expectClose(
      model.attacks[0].auroc, wins / Double(own.losses.count * other.losses.count), tolerance: 1e-4)
    #expect(model.attacks.map(\.score) == [.loss, .confidence])
    expectClose(model.gap.accuracy.value, own.accuracy - other.accuracy, tolerance: 1e-12)
    expectClose(model.gap.memberLoss?.value ?? .nan, own.mean, tolerance: 1e-6)
    expectClose(model.gap.loss?.value ?? .nan, other.mean - own.mean, tolerance: 1e-6)
    for attack in report.models.flatMap(\.attacks) {
      #expect(attack.aurocInterval?.contains(attack.auroc) == true)
      #expect(attack.operations.map(\.allowed) == [0.001, 0.01])
      #expect(attack.operations.allSatisfy { $0.falsePositiveRate <= $0.allowed })
    }
    // Learned by heart, and less so under draws.
    #expect(model.attacks[0].aurocInterval?.low ?? 0 > 0.5)
    #expect(report.models[1].gap.memberLoss?.value ?? 0 > own.mean)
    let few = "400 other rows are too few for a false positive rate of 0.1 %"
    #expect(report.warnings.count { $0.hasPrefix(few) } == 1 && run.errors.contains(few))
    #expect(run.output.contains("What it is told by:") && run.output.contains("TPR % at 0.1 % FPR"))
    #expect(try String(decoding: folder.bytes("report.md"), as: UTF8.self).contains("## Privacy of digits.h5"))
    // Records hold the same, at any number of threads.
    for (data, name) in [(Digits.training, "members.h5"), (Digits.test, "others.h5")] {
      try await folder.succeed("extract", Digits.checkpoint, "--data", data, "-o", name, "--quiet")
    }
    try await folder.succeed(
      "study", "privacy", Digits.checkpoint, "--members", "members.h5", "--nonmembers", "others.h5",
      "--nonmember-rows", "0:400", "--threads", "1", "--json", "records.json", "--quiet")
    #expect(try self.report(folder, "records.json").models == [model])
  }

  /// Rows of one kind on both sides are told by chance alone, and the command says where they are the same.
  @Test func oneSetOnBothSidesIsToldByChance() async throws {
    let folder = try TestFolder()
    let run = try await folder.succeed(
      "study", "privacy", Digits.checkpoint, "--members", Digits.test, "--member-rows", "0:300", "--nonmembers",
      Digits.test, "--nonmember-rows", "0:300", "--exit", "1", "--json", "report.json", "--quiet")
    let report = try report(folder)
    #expect(report.models[0].attacks.allSatisfy { $0.auroc == 0.5 } && report.models[0].gap.accuracy.value == 0)
    #expect(report.exitName == "exit_2")
    #expect(run.errors.contains("300 of the 300 other rows") && run.errors.contains("privacy looks better than it is"))
  }

  @Test func whatCannotBeToldIsRefused() async throws {
    let folder = try TestFolder()
    let privacy = ["study", "privacy", Digits.checkpoint, "--json", "x.json", "--quiet"]
    func refused(_ options: [String], code: Int32, _ words: String) async throws {
      let run = try await folder.run(privacy + options)
      #expect(run.exitCode == code && run.errorLines.count == 1 && run.errors.contains(words), "\(run.testDescription)")
      #expect(try folder.names.isEmpty && run.output.isEmpty)
    }
    let members = ["--members", Digits.training]
    try await refused(members, code: 64, "--nonmembers")
    try await refused(members + ["--nonmembers", Digits.letters + ":x"], code: 65, "give them with --nonmember-labels")
    try await refused(
      members + ["--nonmembers", Digits.test, "--nonmember-rows", "0:1"], code: 65, "give two rows or more of each")
    try await refused(members + ["--nonmembers", Digits.test, "--exit", "7"], code: 65, "There is no exit 7")
    try await refused(members + ["--nonmembers", "absent.h5"], code: 74, "absent.h5")
    try await refused(members + ["--nonmembers", Digits.test, "--ignore-label", "9"], code: 64, "--ignore-label")
    try await refused(members + ["--nonmembers", Digits.test, "--markdown", "x.json"], code: 64, "names of their own")
  }
}
