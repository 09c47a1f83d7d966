import BayesReport
import Bayesify
import Foundation
import Testing
import _BayesTestSupport

/// Predictions of other programs, which `evaluate` takes as exit records without a model.
@Suite struct PredictionsCommandTests {
  private func extracted() async throws -> TestFolder {
    let folder = try TestFolder()
    for (data, name) in [(Digits.test, "test.h5"), (Digits.letters, "letters.h5"), (Digits.validation, "validation.h5")] {
      try await folder.succeed("extract", Digits.checkpoint, "--data", data, "-o", name)
    }
    return folder
  }

  @Test func recordsAloneGiveTheNumbersOfTheirNetwork() async throws {
    let folder = try await extracted()
    let rows = [
      "--data", "test.h5", "--ood", "letters=letters.h5", "--validation", "validation.h5", "--quiet", "--json",
    ]
    try await folder.succeed(["evaluate", Digits.checkpoint] + rows + ["network.json"])
    try await folder.succeed(["evaluate"] + rows + ["alone.json", "--html", "alone.html"])
    let network = try Report(json: folder.bytes("network.json"), file: "network.json")
    let alone = try Report(json: folder.bytes("alone.json"), file: "alone.json")
    #expect(alone.models.map(\.name) == ["test", "test + temperature"])
    #expect(alone.models.map(\.kind) == [.predictions, .temperature])
    #expect(alone.models.map(\.exits) == network.models.map(\.exits))
    #expect(alone.provenance.inputs.map(\.role) == ["test", "validation", "letters"])
  }

  @Test func numbersDoNotDependOnThreads() async throws {
    let folder = try await extracted()
    var reports: [Report] = []
    for threads in ["1", "3"] {
      try await folder.succeed(
        "evaluate", "--data", "test.h5", "--ood", "letters=letters.h5", "--quiet", "--threads", threads, "--json",
        threads + ".json")
      reports.append(try Report(json: folder.bytes(threads + ".json"), file: threads))
    }
    #expect(reports[0].models == reports[1].models)
  }

  @Test func probabilitiesMayBeGivenAsTheirLogarithms() async throws {
    let folder = try TestFolder()
    let probabilities: [Float] = [1, 0, 0, 0.9, 0.05, 0.05, 0.1, 0.85, 0.05, 0.2, 0.3, 0.5]
    let writer = try HDF5ArchiveWriter(folder.path("predictions.h5"))
    try writer.write(Tensor(shape: [4, 3], probabilities.map { log($0) }), at: "/exits/0/logits")
    try writer.append([0, 1, 1, 2], to: "/labels")
    try writer.finish()
    try await folder.succeed("evaluate", "--data", "predictions.h5", "--quiet", "--json", "report.json")
    let exit = try Report(json: folder.bytes("report.json"), file: "report.json").models[0].exits[0]
    #expect(exit.accuracy == 0.75 && exit.infiniteNLLCount == 0)
    expectClose(exit.nll, -(0 + log(0.05) + log(0.85) + log(0.5)) / 4, tolerance: 1e-7)
  }

  /// Users have given logits, so that a message is of these.
  @Test(arguments: [
    ([Float.nan], "The logit of class 1 in row 2 is nan"), ([.infinity], "The logit of class 1 in row 2 is inf"),
    ([-.infinity, -.infinity, -.infinity], "All logits of row 2 are -inf"),
  ])
  func unfitLogitsAreNamed(values: [Float], words: String) async throws {
    let folder = try TestFolder()
    var logits = Tensor<Float>(shape: [4, 3], [1, 0, 0, 0, 1, 0, 0, 0, 1, 2, 0, 1])
    if values.count == 1 { logits[2, 1] = values[0] } else { for column in 0..<3 { logits[2, column] = values[column] } }
    let writer = try HDF5ArchiveWriter(folder.path("predictions.h5"))
    try writer.write(logits, at: "/exits/0/logits")
    try writer.append([0, 1, 1, 2], to: "/labels")
    try writer.finish()
    try await folder.refuse(
      "evaluate", "--data", "predictions.h5", "--quiet", "--json", "report.json", code: 65, naming: words)
  }

  /// What is known before the work is said before it.
  @Test func conditionsAndNamesThatCannotBeAreRefused() async throws {
    let folder = try await extracted()
    for (arguments, words) in [
      (["--fail-if", "crps>0.1"], "is of real numbers"),
      (["--ood", "a=letters.h5", "--ood", "a=letters.h5"], "Two foreign sets are named 'a'"),
      (["--ood", "a\nb=letters.h5"], "a name of one line"),
      (["--ood", String(repeating: "a", count: 101) + "=letters.h5"], "at most 100 characters"),
    ] {
      let run = try await folder.run(["evaluate", "--data", "test.h5", "--json", "report.json", "--quiet"] + arguments)
      #expect(run.exitCode == 64 && run.errors.contains(words), "\(run.testDescription)")
      #expect(try !folder.names.contains("report.json"))
    }
  }

  /// Files that other programs wrote in their own way are told what to change.
  @Test func whatRecordsLackIsSaid() async throws {
    let folder = try TestFolder()
    func write(_ name: String, _ likelihood: Likelihood, exit: Int, _ answers: String?) throws {
      let writer = try HDF5ArchiveWriter(folder.path(name))
      try writer.write(Tensor<Float>(shape: [2, 3], [1, 0, 0, 0, 1, 0]), at: "/exits/\(exit)/logits")
      try writer.setAttribute("likelihood", .text(likelihood.rawValue), of: "/exits/\(exit)")
      if let answers { try writer.append([0, 1], to: answers) }
      try writer.finish()
    }
    try write("one.h5", .categorical, exit: 1, "/labels")
    try write("bare.h5", .categorical, exit: 0, nil)
    try write("real.h5", .gaussian, exit: 0, "/labels")
    try write("whole.h5", .categorical, exit: 0, "/labels")
    try await folder.refuse("evaluate", "--data", "one.h5", code: 65, naming: "/exits/0/logits", "count them from 0")
    try await folder.refuse("evaluate", "--data", "bare.h5", code: 65, naming: "bare.h5", "no /labels")
    try await folder.refuse("evaluate", "--data", "real.h5", code: 65, naming: "real.h5", "no /targets")
    // Advice that could not be followed would be worse than none.
    for option in [["--detectors", "all"], ["--shift", "all"], ["--ood", "a=bare.h5"]] {
      let run = try await folder.run(["evaluate", "--data", "real.h5", "--quiet"] + option)
      #expect(run.exitCode == 64 && run.errors.contains("\(option[0]) is for networks with classes"), "\(run.testDescription)")
    }
    for option in ["--class-names", "--policy"] {
      try await folder.refuse(
        "evaluate", "--data", "whole.h5", option, "gone.json", code: 74, naming: "gone.json", "no such file")
    }
    try await folder.refuse(
      "evaluate", "--data", "whole.h5", "--json", "same", "--html", "same", code: 64, naming: "same, same")
  }

  /// Labels and names that do not fit the classes are told what they may be.
  @Test func labelsThatCountFromOneAreToldSo() async throws {
    let folder = try TestFolder()
    for (name, labels, names) in [("one.h5", [1, 2, 3], nil), ("named.h5", [0, 1, 2], ["a", "b"])] as [(String, [Int], [String]?)] {
      let writer = try HDF5ArchiveWriter(folder.path(name))
      try writer.write(Tensor<Float>(shape: [3, 3], [1, 0, 0, 0, 1, 0, 0, 0, 1]), at: "/exits/0/logits")
      try writer.append(labels, to: "/labels")
      if let names { try writer.setAttribute("classNames", .texts(names), of: "/") }
      try writer.finish()
    }
    try await folder.refuse("evaluate", "--data", "one.h5", code: 65, naming: "counted from 1, take one from each")
    try await folder.refuse("evaluate", "--data", "named.h5", code: 65, naming: "named.h5", "2 class names were given for 3 classes")
  }

  /// Probabilities in the place of logits are the commonest slip, and nothing else would tell.
  @Test func probabilitiesInThePlaceOfLogitsAreWarnedOf() async throws {
    let folder = try TestFolder()
    for (name, logits) in [("p.h5", [0.5, 0.25, 0.25, 0, 1, 0]), ("z.h5", [0.5, 0.25, 0.3, 0, 1, 0])] as [(String, [Float])] {
      let writer = try HDF5ArchiveWriter(folder.path(name))
      try writer.write(Tensor<Float>(shape: [2, 3], logits), at: "/exits/0/logits")
      try writer.append([0, 1], to: "/labels")
      try writer.finish()
      let run = try await folder.succeed("evaluate", "--data", name)
      #expect(run.errors.contains("if they are, write their logarithms") == (name == "p.h5"), "\(run.testDescription)")
    }
  }

  /// Records of other programs have no digests of rows; that a file is validated and tested on is seen all the same.
  @Test func theSameRecordsTwiceAreWarnedOf() async throws {
    let folder = try TestFolder()
    let writer = try HDF5ArchiveWriter(folder.path("rows.h5"))
    try writer.write(
      Tensor<Float>(shape: [400, 2], (0..<800).map { Float(($0 * 7919) % 13) / 4 }), at: "/exits/0/logits")
    try writer.append((0..<400).map { $0 * 31 % 2 }, to: "/labels")
    try writer.finish()
    let run = try await folder.succeed("evaluate", "--data", "rows.h5", "--validation", "rows.h5")
    #expect(run.errors.contains("are the validation rows"), "\(run.testDescription)")
    let apart = try await folder.succeed(
      "evaluate", "--data", "rows.h5", "--rows", "0:200", "--validation", "rows.h5", "--validation-rows", "200:400")
    #expect(!apart.errors.contains("are the validation rows"), "\(apart.testDescription)")
  }

  /// What hardly any row can tell is not told as if it were known.
  @Test func aTemperatureOfFewRowsIsWarnedOf() async throws {
    let folder = try await extracted()
    let arguments = ["evaluate", "--data", "test.h5", "--validation", "validation.h5"]
    let many = try await folder.succeed(arguments)
    #expect(!many.errors.contains("which are few"))
    let few = try await folder.succeed(arguments + ["--validation-rows", "0:3"])
    #expect(few.errors.contains("fitted to 3 validation row(s), which are few"), "\(few.testDescription)")
    // Calibrators that no row could be held out for are left out.
    try await folder.succeed(
      arguments + ["--validation-rows", "0:3", "--calibrators", "vector,isotonic", "--json", "report.json", "--html", "page.html"])
    let report = try Report(json: folder.bytes("report.json"), file: "report.json")
    #expect(report.models.count == 4)
    for model in report.models[2...] {
      for (exit, untouched) in zip(model.exits, report.models[0].exits) {
        #expect(exit.isLeftAsItIs && exit.nll == untouched.nll)
      }
      #expect(report.warnings.contains { $0.contains("too few validation rows to hold any out") })
      #expect(!report.verdict.contains(model.name))
    }
    #expect(String(decoding: try folder.bytes("page.html"), as: UTF8.self).contains("<span>left as it is</span>"))
  }

  /// Conditions and policies are of the predictions themselves where no model is named.
  @Test func conditionsAndPoliciesAreOfThePredictions() async throws {
    let folder = try await extracted()
    try await folder.succeed("trust", "tune", "validation.h5", "--max-risk", "5%", "-o", "trust.json")
    let run = try await folder.run([
      "evaluate", "--data", "test.h5", "--validation", "validation.h5", "--policy", "trust.json", "--json", "report.json",
      "--quiet", "--fail-if", "accuracy<0.99",
    ])
    #expect(run.exitCode == 1 && run.errors.contains("The accuracy of test is 0.9"), "\(run.testDescription)")
    let report = try Report(json: folder.bytes("report.json"), file: "report.json")
    #expect(report.models[0].exits[2].trust != nil && report.models[1].exits[2].trust == nil)
  }

  @Test func rowsThatNeedANetworkAreRefusedWithoutOne() async throws {
    let folder = try await extracted()
    try await folder.refuse(
      "evaluate", "--data", Digits.test, "--json", "report.json", code: 65, naming: Digits.test, "No model is named")
    try await folder.refuse(
      "evaluate", "--data", "test.h5", "--ood", "letters=" + Digits.letters, "--json", "report.json", code: 65,
      naming: "No model is named")
  }
}
