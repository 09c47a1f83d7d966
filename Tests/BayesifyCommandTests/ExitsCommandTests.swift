import BayesEvaluation
import BayesReport
import Bayesify
import Foundation
import Testing
import _BayesTestSupport

/// Rows that leave, through the command, on the embedded model.
@Suite struct ExitsCommandTests {
  private func fit(_ folder: TestFolder, _ options: [String]) async throws {
    let run = try await folder.run(
      ["fit", "laplace", Digits.checkpoint, "--data", Digits.training, "-o", "posterior.h5", "--quiet"]
        + ["--prior-precision", "2", "--temperature", "1.3"] + options)
    try #require(run.exitCode == 0, "\(run.testDescription)")
  }

  private func tune(_ folder: TestFolder, _ model: String, _ options: String...) async throws -> ExitPolicyFile {
    let run = try await folder.run(
      ["exits", "tune", model, "--validation", Digits.validation, "-o", "policy.json", "--force", "--quiet"] + options)
    try #require(run.exitCode == 0, "\(run.testDescription)")
    return try ExitPolicyFile(json: folder.bytes("policy.json"), file: "policy.json")
  }

  private func route(_ folder: TestFolder, _ model: String, _ options: String...) async throws -> RoutedRows {
    let run = try await folder.run(
      ["exits", "run", model, "--policy", "policy.json", "--data", Digits.test, "-o", "routed.h5", "--force", "--quiet"]
        + options)
    try #require(run.exitCode == 0, "\(run.testDescription)")
    return try RoutedRows(folder.path("routed.h5"))
  }

  /// Rows get, to the bit, what the whole network's predictions give them at the exit that they take.
  @Test(arguments: [
    [], ["--structure", "kronecker-factored", "--greedy-ensemble", "--validation", Digits.validation, "--validation-rows", "0:40"],
    ["--predictive", "function-space"],
    ["--predictive", "bridge", "--structure", "full"],
  ])
  func routedEqualsUnrouted(options: [String]) async throws {
    let folder = try TestFolder()
    try await fit(folder, options)
    try await folder.succeed("predict", "posterior.h5", "--data", Digits.test, "-o", "predictions.h5")
    for score in ["combined", "patience"] {
      let policy = try await tune(folder, "posterior.h5", "--score", score, "--budget", "55%")
      let routed = try await route(folder, "posterior.h5")
      #expect(Set(routed.exits) == [0, 1, 2])
      #expect(try routed.difference(from: folder.path("predictions.h5")) == 0, "\(options) \(score)")
      let other = try await route(folder, "posterior.h5", "--threads", "3", "--at-once", "100")
      #expect(other.exits == routed.exits && other.arrays == routed.arrays)
      // One row at a time: not to the bit, so that one at a threshold may take another exit.
      let single = try await route(folder, "posterior.h5", "--at-once", "1", "--rows", "0:200")
      #expect(zip(single.exits, routed.exits).count { $0 != $1 } <= 1)
      #expect(try single.difference(from: folder.path("predictions.h5")) < 1e-6)
      let costs = try #require(routed.arrays["cost"])
      #expect(zip(routed.exits, costs.elements).allSatisfy { policy.policy.costs.toExit[$0] == $1 })
    }
  }

  @Test func recordsAreRoutedAsTheirNetworkIs() async throws {
    let folder = try TestFolder()
    for (data, name) in [(Digits.test, "test-records.h5"), (Digits.validation, "validation-records.h5")] {
      try await folder.succeed("extract", Digits.checkpoint, "--data", data, "-o", name)
    }
    let policy = try await tune(folder, Digits.checkpoint, "--budget", "50%", "--temperature", "--ensemble", "cost-weighted")
    #expect(policy.temperatures?.count == 3 && policy.ensemble == .costWeighted)
    let routed = try await route(folder, Digits.checkpoint)
    try await folder.succeed(
      "exits", "tune", "validation-records.h5", "--budget", "50%", "--temperature", "--ensemble", "cost-weighted", "-o",
      "other.json")
    let other = try ExitPolicyFile(json: folder.bytes("other.json"), file: "other.json")
    #expect(other.policy == policy.policy && other.temperatures == policy.temperatures)
    #expect(other.checkpoint.digest == policy.checkpoint.digest)
    try await folder.succeed("exits", "run", "test-records.h5", "--policy", "other.json", "-o", "from-records.h5")
    let fromRecords = try RoutedRows(folder.path("from-records.h5"))
    #expect(fromRecords.exits == routed.exits && fromRecords.arrays == routed.arrays && fromRecords.labels == routed.labels)
    // The first exit's answers are those of its temperature alone.
    try await folder.succeed("predict", Digits.checkpoint, "--data", Digits.test, "-o", "predictions.h5")
    let logits = try HDF5Archive(folder.path("predictions.h5")).read("/exits/0/logits", as: Double.self)
    let temperature = try #require(policy.temperatures?[0].value)
    for row in routed.exits.indices where routed.exits[row] == 0 {
      let powers = (0..<10).map { exp((logits[row, $0] - logits[row, 0]) / temperature) }
      let sum = powers.reduce(0, +)
      for k in 0..<10 {
        // The tempered logits are kept in single precision.
        #expect(abs((routed.arrays["probabilities"]?[row, k] ?? 0) - powers[k] / sum) < 1e-5)
      }
    }
  }

  @Test func targetsAreKept() async throws {
    let folder = try TestFolder()
    let mean = try await tune(folder, Digits.checkpoint, "--budget", "120k")
    #expect(mean.policy.choice.meanCost <= 120_000 && mean.policy.choice.meanCost > 0.99 * 120_000)
    let share = try await tune(folder, Digits.checkpoint, "--budget", "127k", "--percentile", "80%")
    #expect(share.policy.choice.shares[2] <= 0.2)
    let floor = try await tune(folder, Digits.checkpoint, "--accuracy", "0.93")
    #expect(floor.policy.choice.accuracy >= 0.93 && floor.policy.choice.shares[2] < 0.5)
    let risk = try await tune(folder, Digits.checkpoint, "--risk", "0.15", "--delta", "0.05")
    #expect(risk.policy.target == .risk(error: 0.15, delta: 0.05) && risk.policy.choice.accuracy > 0.85)
    let schedule = try await tune(folder, Digits.checkpoint, "--schedule", "1")
    #expect(schedule.policy.choice.shares.allSatisfy { abs($0 - 1.0 / 3) < 0.01 })
    try Data(#"{"unit": "millijoules", "toExit": [1, 4, 9]}"#.utf8).write(to: folder.files.appending(path: "energy.json"))
    let energy = try await tune(folder, Digits.checkpoint, "--cost", "energy.json", "--budget", "5")
    #expect(energy.policy.costs.unit.rawValue == "millijoules" && energy.policy.choice.meanCost <= 5)
    let time = try await tune(folder, Digits.checkpoint, "--cost", "milliseconds", "--measure", "64", "--budget", "60%")
    #expect(time.policy.costs.unit == .milliseconds && time.measuredRowCount == 64)
    #expect(mean.measuredRowCount == nil)
    let run = ["exits", "run", Digits.checkpoint, "--policy", "policy.json", "--data", Digits.test, "-o", "routed.h5", "--force"]
    #expect(!(try await folder.succeed(run).errors.contains("rows at once")))
    #expect(try await folder.succeed(run + ["--at-once", "100"]).errors.contains("measured with 64 rows at once"))
    #expect(time.policy.costs.overheadToExit.allSatisfy { $0 > 0 })
    #expect(zip(time.policy.costs.overheadToExit, time.policy.costs.toExit).allSatisfy { $0 < $1 })
  }

  /// What a Kronecker posterior of 32 features and a bias, ten classes and 50 draws adds.
  @Test func posteriorsCostWhatTheyMultiply() async throws {
    let folder = try TestFolder()
    try await fit(folder, [])
    let policy = try await tune(folder, "posterior.h5", "--budget", "90%")
    let own: Double = 33 * 33 + 33 * 10 + 50 * 10 * 10
    let overheads: [Double] = [own, own * 2, own * 3]
    #expect(policy.policy.costs.overheadToExit == overheads)
    let network: [Double] = [14912, 126_848, 188_608]
    #expect(policy.policy.costs.toExit == zip(network, overheads).map { $0 + $1 })
  }

  /// What the validation rows went through, other rows go through too, and a contradiction is refused.
  @Test func preprocessingIsThePolicys() async throws {
    let folder = try TestFolder()
    let policy = try await tune(folder, Digits.checkpoint, "--budget", "50%", "--scale", "2", "--mean", "-0.01")
    #expect(policy.preprocessing == Preprocessing(scale: 2, mean: [-0.01]))
    let own = try await route(folder, Digits.checkpoint)
    let named = try await route(folder, Digits.checkpoint, "--scale", "2", "--mean", "-0.01")
    #expect(own.arrays == named.arrays)
    try await folder.refuse(
      "exits", "run", Digits.checkpoint, "--policy", "policy.json", "--data", Digits.test, "--scale", "3", "-o", "new.h5",
      code: 65, naming: "policy.json", "--scale 2.0")
  }

  /// A posterior of records needs no checkpoint to be tuned, and `inspect` knows what is written.
  @Test func recordsSufficeForAPosterior() async throws {
    let folder = try TestFolder()
    for (data, name) in [
      (Digits.training, "training.h5"), (Digits.validation, "validation.h5"), (Digits.test, "test.h5"),
    ] {
      try await folder.succeed("extract", Digits.checkpoint, "--data", data, "-o", name)
    }
    try await folder.succeed(
      "fit", "laplace", "training.h5", "--prior-precision", "2", "--temperature", "1", "--predictive", "bridge", "-o",
      "posterior.h5")
    let tuned = try await folder.succeed(
      "exits", "tune", "posterior.h5", "--validation", "validation.h5", "--score", "entropy", "--budget", "50%", "-o",
      "policy.json")
    #expect(tuned.output.contains("at most 0.") && tuned.output.contains("where entropy is"))
    try await folder.succeed(
      "exits", "run", "posterior.h5", "--policy", "policy.json", "--data", "test.h5", "-o", "routed.h5")
    #expect(try await folder.succeed("inspect", "policy.json").output.contains("where entropy is"))
    #expect(try await folder.succeed("inspect", "routed.h5").output.contains("bayesify-routed-predictions"))
    // A closed form has no variance of logits.
    try await folder.refuse(
      "exits", "tune", "posterior.h5", "--validation", "validation.h5", "--score", "logit-variance", "--budget", "50%",
      "-o", "new.json", code: 65, naming: "needs draws of a posterior")
  }

  @Test func whatWasPromisedIsComparedWithWhatItCost() async throws {
    let folder = try TestFolder()
    _ = try await tune(folder, Digits.checkpoint, "--budget", "50%")
    let run = try await folder.succeed(
      "exits", "run", Digits.checkpoint, "--policy", "policy.json", "--data", Digits.test, "-o", "routed.h5", "--json")
    struct Summary: Decodable {
      struct Cost: Decodable { var promised, realised, standardErrors, full: Double }
      var rows: Int
      var cost: Cost
      var accuracy: Double
    }
    let summary = try JSONDecoder().decode(Summary.self, from: Data(run.output.utf8))
    let routed = try RoutedRows(folder.path("routed.h5"))
    let costs = try #require(routed.arrays["cost"])
    #expect(summary.rows == 1000 && abs(summary.cost.realised - costs.elements.reduce(0, +) / 1000) < 1e-6)
    #expect(abs(summary.cost.standardErrors) < 3.5 && summary.cost.full == 188_608)
    let foreign = try await folder.succeed(
      "exits", "run", Digits.checkpoint, "--policy", "policy.json", "--data", Digits.letters + ":x", "-o", "letters.h5")
    #expect(foreign.errors.contains("not like those the policy was tuned on"))
  }

  @Test func whatCannotBeIsRefused() async throws {
    let folder = try TestFolder()
    try await fit(folder, [])
    _ = try await tune(folder, Digits.checkpoint, "--budget", "50%")
    func refuse(_ options: [String], _ code: Int32, _ words: String) async throws {
      let run = try await folder.run(
        ["exits", "tune", Digits.checkpoint, "--validation", Digits.validation, "-o", "new.json", "--quiet"] + options)
      #expect(run.exitCode == code && run.errorLines.count == 1 && run.errors.contains(words), "\(run.testDescription)")
      #expect(!(try folder.names.contains("new.json")))
    }
    try await refuse(["--budget", "100"], 65, "below the cost of the first exit, 14912")
    try await refuse(["--budget", "50%", "--score", "mutual-information"], 65, "needs draws of a posterior")
    try await refuse(["--accuracy", "0.9999"], 65, "the highest is")
    try await refuse(["--risk", "0.001"], 65, "are wrong")
    try await refuse([], 64, "Give one of --budget")
    try await refuse(["--budget", "50%", "--risk", "0.1"], 64, "Give one of --budget")
    try await refuse(["--risk", "0.1", "--percentile", "0.5"], 64, "--percentile is for --budget")
    try await refuse(["--budget", "x"], 64, "give a cost as")
    try await refuse(["--risk", "101%"], 64, "give a share between 0 and 1")
    try await refuse(["--budget", "50%", "--score", "luck"], 64, "maximum-probability")
    try await refuse(["--budget", "50%", "--cost", "joules"], 64, "a .json file of costs")
    try await refuse(["--budget", "50%", "--cost", "missing.json"], 74, "no such file")
    try Data(#"{"unit": "millijoules", "toExit": [1, 4]}"#.utf8).write(to: folder.files.appending(path: "short.json"))
    try await refuse(["--budget", "2", "--cost", "short.json"], 65, "2 cost(s) for 3 exit(s)")
    try Data(#"{"unit": "millijoules", "toExit": [1, 4, 5], "overheadToExit": [1]}"#.utf8)
      .write(to: folder.files.appending(path: "short.json"))
    try await refuse(["--budget", "2", "--cost", "short.json"], 65, "It is no table of costs")
    try Data(#"{"unit": "millijoules", "toExit": [1, 4, 5], "overheadToExit": [1, 1, 6]}"#.utf8)
      .write(to: folder.files.appending(path: "short.json"))
    try await refuse(["--budget", "2", "--cost", "short.json"], 65, "part of the cost to each exit")
    try await folder.refuse(
      "exits", "tune", golden("SampledNetworks/one-exit.keras"), "--validation", golden("SampledNetworks/rows.h5"), "--budget",
      "50%", "-o", "new.json", code: 65, naming: "has one exit", "'heads'")
    try await folder.refuse(
      "exits", "run", "posterior.h5", "--policy", "policy.json", "--data", Digits.test, "-o", "new.h5", code: 65,
      naming: "the network's own predictions")
    try await folder.refuse(
      "exits", "tune", "posterior.h5", "--validation", Digits.validation, "--temperature", "--budget", "50%", "-o",
      "new.json", code: 64, naming: "temperatures of its own")
    let text = String(decoding: try folder.bytes("policy.json"), as: UTF8.self)
    for (part, other, words) in [
      ("\"version\" : 1", "\"version\" : 2", "version 2"), ("\"meanCost\"", "\"cost\"", "policy.choice.meanCost is missing"),
      ("{", "", "not valid JSON"), ("bayesify-exit-policy", "recipe", "'recipe'"),
      ("\"meanCost\" : ", "\"meanCost\" : 9", "choice.meanCost lies outside the costs"),
      ("\"costDeviation\" : ", "\"costDeviation\" : -", "choice.costDeviation is below zero"),
      ("\"seed\" : ", "\"seed\" : -1", "a number in it is out of range"),
    ] {
      let range = try #require(text.range(of: part))
      try Data(text.replacingCharacters(in: range, with: other).utf8).write(to: folder.files.appending(path: "bad.json"))
      try await folder.refuse(
        "exits", "run", Digits.checkpoint, "--policy", "bad.json", "--data", Digits.test, "-o", "new.h5", code: 65,
        naming: "bad.json", words)
    }
    // The digest of another checkpoint.
    let digest = try #require(text.firstMatch(of: /"digest" : "([0-9a-f]{64})",\s+"file" : "[^"]*digits.h5"/)?.1)
    try Data(text.replacingOccurrences(of: digest, with: String(repeating: "0", count: 64)).utf8)
      .write(to: folder.files.appending(path: "bad.json"))
    try await folder.refuse(
      "exits", "run", Digits.checkpoint, "--policy", "bad.json", "--data", Digits.test, "-o", "new.h5", code: 65,
      naming: "another checkpoint")
  }

  /// Thresholds that no row meets are told, when they are chosen and when they are used.
  @Test func thresholdsThatNobodyMeetsAreTold() async throws {
    let folder = try TestFolder()
    let run = try await folder.succeed(
      "exits", "tune", Digits.checkpoint, "--validation", Digits.validation, "--budget", "100%", "-o", "policy.json")
    #expect(run.errors.contains("No validation row leaves before the last exit"))
    let routed = try await folder.succeed(
      "exits", "run", Digits.checkpoint, "--policy", "policy.json", "--data", Digits.test, "-o", "routed.h5")
    #expect(routed.errors.contains("No row met a threshold"))
    #expect(try RoutedRows(folder.path("routed.h5")).exits.allSatisfy { $0 == 2 })
  }

  /// Where all draws of a posterior are nearly one, scores that weigh what is epistemic are told to be of no use.
  @Test func posteriorsThatArePointsAreTold() async throws {
    let folder = try TestFolder()
    try await folder.succeed(
      "fit", "laplace", Digits.checkpoint, "--data", Digits.training, "--prior-precision", "1e12", "--temperature", "1", "-o",
      "point.h5", "--quiet")
    let tuned = try await folder.succeed(
      "exits", "tune", "point.h5", "--validation", Digits.validation, "--score", "combined", "--budget", "50%", "-o",
      "policy.json")
    #expect(tuned.errors.contains("The epistemic part of these predictions is 1/"))
    let curve = try await folder.succeed(
      "exits", "curve", Digits.checkpoint, "point.h5", "--validation", Digits.validation, "--validation-rows", "0:60", "--data",
      Digits.test, "--rows", "0:100")
    #expect(curve.errors.contains("The epistemic part of point is 1/"))
  }

  /// Rows leave by how sure a class is; networks that tell no classes apart are refused.
  @Test func networksWithoutClassesAreRefused() async throws {
    let folder = try TestFolder()
    for likelihood in [Likelihood.multilabel, .gaussian] {
      try FitOptionTests.write(
        likelihood, to: folder.path("rows.h5"),
        answers: likelihood == .gaussian ? FitOptionTests.writeTargets : FitOptionTests.writeLabels)
      try await folder.refuse(
        "exits", "tune", "rows.h5", "--budget", "50%", "-o", "new.json", code: 65, naming: "rows.h5", likelihood.rawValue,
        "categorical, binary")
      try await folder.refuse(
        "exits", "curve", "rows.h5", "--validation", "rows.h5", "--data", "rows.h5", code: 65, naming: "rows.h5",
        likelihood.rawValue, "categorical, binary")
      try FileManager.default.removeItem(atPath: folder.path("rows.h5"))
    }
  }

  /// Equal inputs give equal numbers at any number of threads; without training rows there is no Laplace.
  @Test func curvesDoNotDependOnThreads() async throws {
    let folder = try TestFolder()
    var reports: [ExitStudyReport] = []
    for threads in ["1", "3"] {
      try await folder.succeed(
        "exits", "curve", Digits.checkpoint, "--validation", Digits.validation, "--validation-rows", "0:60", "--data",
        Digits.test, "--rows", "0:100", "--threads", threads, "--json", "curve.json", "--force", "--quiet")
      reports.append(try JSONDecoder().decode(ExitStudyReport.self, from: folder.bytes("curve.json")))
    }
    reports[1].provenance = reports[0].provenance
    #expect(reports[0] == reports[1])
    #expect(reports[0].variants.map(\.name) == ["vanilla", "vanilla + temperature", "exit ensemble", "exit ensemble + temperature", "product of exits + temperature"])
    // A temperature changes no order of rows, so that the paper's thresholds let the same rows leave.
    #expect(reports[0].variants[0].policies[0].auroc[0] != nil)
  }

  @Test func curvesHoldAllKindsOfPredictions() async throws {
    let folder = try TestFolder()
    let arguments = [
      "exits", "curve", Digits.checkpoint, "--training", Digits.training, "--validation", Digits.validation,
      "--validation-rows", "0:60", "--data", Digits.test, "--rows", "0:200", "--seeds", "2", "--draws", "12", "--quiet",
    ]
    let run = try await folder.run(arguments + ["--json", "curve.json", "--html", "curve.html"])
    try #require(run.exitCode == 0, "\(run.testDescription)")
    let report = try JSONDecoder().decode(ExitStudyReport.self, from: folder.bytes("curve.json"))
    #expect(report.variants.map(\.name) == ExitVariant.allCases.map(\.name) + ["product of exits + temperature"])
    #expect(report.testRowCount == 200 && report.validationRowCount == 60)
    for (variant, result) in zip(ExitVariant.allCases, report.variants) {
      #expect(result.seedCount == (variant.usesLaplace ? 2 : 1) && (result.deviations != nil) == variant.usesLaplace)
      #expect(result.policies.count == (variant.usesLaplace ? 7 : 4))
      #expect(result.policies.allSatisfy { $0.points.count == 39 && $0.areaInterval.contains($0.area) })
    }
    // Exit by exit, the vanilla accuracies are those that `evaluate` gives.
    try await folder.succeed(
      "evaluate", Digits.checkpoint, "--data", Digits.test, "--rows", "0:200", "--json", "report.json")
    let evaluation = try Report(json: folder.bytes("report.json"), file: "report.json")
    #expect(evaluation.models[0].exits.map(\.accuracy) == report.variants[0].exitAccuracies)
    #expect(report.budgets.count == 10 * (4 + 7))
    for budget in report.budgets { #expect(budget.validationCost <= budget.budget) }
    #expect(report.oracle.allSatisfy { bound in report.variants[0].policies.allSatisfy { policy in
      policy.points.allSatisfy { $0.cost > bound.cost || $0.accuracy <= bound.accuracy + 1e-12 }
    } })
    let page = String(decoding: try folder.bytes("curve.html"), as: UTF8.self)
    for needle in ["Kinds of predictions", "oracle", "Laplace, tuned", "AUROC combined", "<svg"] { #expect(page.contains(needle)) }
    #expect(!page.contains("http://") || page.components(separatedBy: "http://").count == page.components(separatedBy: "http://www.w3.org").count)
    try await folder.refuse(
      "exits", "curve", Digits.checkpoint, "--validation", Digits.validation, "--data", Digits.test, "--rows", "0:1", "--json",
      "new.json", code: 65, naming: "test.h5", "one test row or none")
    try await folder.refuse(
      "exits", "curve", Digits.checkpoint, "--validation", Digits.validation, "--data", Digits.test, "--training-rows", "0:9",
      code: 64, naming: "--training-rows is for --training")
    try await folder.refuse(
      "exits", "curve", Digits.checkpoint, "--checkpoint", Digits.checkpoint, "--validation", Digits.validation, "--data",
      Digits.test, code: 64, naming: "--checkpoint is for exit records")
  }
}
