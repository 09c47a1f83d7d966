import BayesReport
import Bayesify
import Foundation
import Testing
import _BayesTestSupport

/// Decisions row by row, and pipelines that stop, through the command.
struct TrustCommandTests {
  private let tune = [
    "trust", "tune", Digits.checkpoint, "--validation", Digits.validation, "--max-risk", "5%", "-o", "trust.json",
  ]

  @Test func rowsAreMarkedAsThePolicySays() async throws {
    let folder = try TestFolder()
    try await folder.succeed(tune)
    let policy = try TrustPolicyFile(json: folder.bytes("trust.json"), file: "trust.json")
    let run = try await folder.succeed(
      "predict", Digits.checkpoint, "--policy", "trust.json", "--data", Digits.test, "-o", "predictions.h5", "--json")
    let archive = try HDF5Archive(folder.path("predictions.h5"))
    let probabilities = try archive.read("/exits/2/probabilities", as: Double.self)
    let trusted = try archive.read("/exits/2/trusted", as: Double.self).elements
    let labels = try archive.read("/labels", as: Double.self).elements
    var (count, wrong) = (0, 0)
    for row in 0..<probabilities.rowCount {
      let values = (0..<10).map { probabilities[row, $0] }
      let best = values.max() ?? 0
      #expect((trusted[row] == 1) == (1 - best < policy.threshold.value), "row \(row)")
      guard trusted[row] == 1 else { continue }
      count += 1
      if values.firstIndex(of: best) != Int(labels[row]) { wrong += 1 }
    }
    // Some are and some are not, and the promise holds on rows that come as those it was tuned on.
    #expect(count > 100 && count < probabilities.rowCount && Double(wrong) <= 0.05 * Double(count))
    #expect(throws: FileError.self) { try archive.read("/exits/0/trusted", as: Double.self) }
    struct Answer: Decodable { var trust: TrustResult }
    let answer = try JSONDecoder().decode(Answer.self, from: Data(run.output.utf8)).trust
    #expect(answer.test.trustedCount == count && answer.test.wrongCount == wrong)

    // The report has the same counts, of the model that the policy is for.
    try await folder.succeed(
      "evaluate", Digits.checkpoint, "--data", Digits.test, "--validation", Digits.validation, "--ood",
      "letters=" + Digits.letters, "--policy", "trust.json", "--json", "report.json", "--html", "report.html", "--markdown",
      "report.md", "--quiet")
    let report = try Report(json: folder.bytes("report.json"), file: "report.json")
    #expect(report.models[0].exits[2].trust?.test == answer.test)
    #expect(report.models[0].exits[0].trust == nil && report.models[1].exits[2].trust == nil)
    #expect(report.models[0].exits[2].trust?.foreign.map(\.name) == ["letters"])
    let page = String(decoding: try folder.bytes("report.html"), as: UTF8.self)
    #expect(page.contains("Rows to trust") && page.contains("the promise is kept here"))
    #expect(String(decoding: try folder.bytes("report.md"), as: UTF8.self).contains("the promise is kept here"))
  }

  @Test(arguments: allOODScores.map(\.name))
  func everyScoreMayDecide(name: String) async throws {
    let folder = try TestFolder()
    try await folder.succeed(
      "fit", "laplace", Digits.checkpoint, "--data", Digits.training, "--prior-precision", "2", "--temperature", "1.3", "-o",
      "posterior.h5", "--quiet")
    let score = name.replacing(/[A-Z]/) { "-" + $0.output.lowercased() }
    let run = try await folder.run([
      "trust", "tune", "posterior.h5", "--validation", Digits.validation, "--max-risk", "0.06", "--score", score, "--delta",
      "0.4", "-o", "trust.json", "--json",
    ])
    try #require(run.exitCode == 0, "\(run.testDescription)")
    let policy = try TrustPolicyFile(json: folder.bytes("trust.json"), file: "trust.json")
    #expect(policy.score == name && policy.posterior != nil && policy.threshold.trustedCount > 20)
    #expect(run.output.contains(#""format" : "bayesify-trust-policy""#))
  }

  @Test func policiesAreForOneModel() async throws {
    let folder = try TestFolder()
    try await folder.succeed(tune)
    try await folder.succeed(
      "fit", "laplace", Digits.checkpoint, "--data", Digits.training, "--prior-precision", "2", "--temperature", "1.3", "-o",
      "posterior.h5", "--quiet")
    try await folder.refuse(
      "predict", "posterior.h5", "--policy", "trust.json", "--data", Digits.test, "-o", "out.h5", code: 65, naming: "trust.json",
      "the network's own predictions", "'trust tune'")
    try await folder.succeed(
      "trust", "tune", "posterior.h5", "--validation", Digits.validation, "--max-risk", "5%", "-o", "other.json")
    try await folder.refuse(
      "evaluate", Digits.checkpoint, "--policy", "other.json", "--data", Digits.test, code: 65, naming: "other.json",
      "None of the models is the one it was tuned for, posterior.h5")
    let inspected = try await folder.succeed("inspect", "other.json")
    #expect(inspected.output.contains("rows are trusted where the largest probability is above 0."))
    let text = String(decoding: try folder.bytes("trust.json"), as: UTF8.self)
    for (part, other, words) in [
      ("\"version\" : 1", "\"version\" : 2", "version 2"), ("maximumProbability", "luck", "Its score 'luck'"),
      ("\"exit\" : 2", "\"exit\" : 1", "exit 1 ('exit_3')"), ("\"exit\" : 2", "\"exit\" : -1", "out of range"),
      ("\"wrongCount\" : ", "\"wrongCount\" : -", "out of range"), ("{", "", "not valid JSON"),
      ("bayesify-trust-policy", "bayesify-exit-policy", "'bayesify-exit-policy'"),
    ] {
      let range = try #require(text.range(of: part))
      try Data(text.replacingCharacters(in: range, with: other).utf8).write(to: folder.files.appending(path: "bad.json"))
      try await folder.refuse(
        "predict", Digits.checkpoint, "--policy", "bad.json", "--data", Digits.test, "-o", "out.h5", code: 65,
        naming: "bad.json", words)
    }
    for (options, code, words) in [
      (["--max-risk", "0.0001"], 65, "No threshold keeps a risk of 0.0001"), (["--max-risk", "2"], 64, "between 0 and 1"),
      (["--max-risk", "0.1", "--score", "luck"], 64, "maximum-probability"),
      (["--max-risk", "0.1", "--exit", "3"], 65, "3 exit(s)"),
    ] as [([String], Int32, String)] {
      let run = try await folder.run(
        ["trust", "tune", Digits.checkpoint, "--validation", Digits.validation, "-o", "new.json", "--quiet"] + options)
      #expect(run.exitCode == code && run.errorLines.count == 1 && run.errors.contains(words), "\(run.testDescription)")
      #expect(!(try folder.names.contains("new.json")))
    }
  }

  /// The page shows rows to look at as pictures, at their places in the file; rows of records have none.
  @Test func rowsToLookAtAreShown() async throws {
    let folder = try TestFolder()
    try await folder.succeed(
      "evaluate", Digits.checkpoint, "--data", Digits.test, "--rows", "300:600", "--json", "report.json", "--html",
      "report.html", "--quiet")
    let report = try Report(json: folder.bytes("report.json"), file: "report.json")
    #expect(report.models[0].exits[0].examples == nil)
    let examples = try #require(report.models[0].exits[2].examples)
    #expect(examples.mostUncertain.count == 8 && examples.mostConfidentlyWrong.count == 8)
    let labels = try HDF5Archive(Digits.test).read("/y", as: Double.self).elements
    for example in examples.mostUncertain + examples.mostConfidentlyWrong {
      #expect((300..<600).contains(example.row) && Int(labels[example.row]) == example.label)
    }
    let page = String(decoding: try folder.bytes("report.html"), as: UTF8.self)
    #expect(page.components(separatedBy: "<img src=\"data:image/png;base64,").count == 17)
    // A report from elsewhere cannot make the page ask for anything.
    let text = String(decoding: try folder.bytes("report.json"), as: UTF8.self)
    try Data(text.replacingOccurrences(of: "data:image/png;base64,", with: "https://example.org/").utf8)
      .write(to: folder.files.appending(path: "other.json"))
    try await folder.succeed("report", "other.json", "-o", "other.html")
    #expect(!String(decoding: try folder.bytes("other.html"), as: UTF8.self).contains("example.org"))
    try await folder.succeed("extract", Digits.checkpoint, "--data", Digits.test, "-o", "records.h5")
    try await folder.succeed("evaluate", Digits.checkpoint, "--data", "records.h5", "--rows", "300:600", "--json", "two.json")
    let second = try Report(json: folder.bytes("two.json"), file: "two.json")
    let rows = try #require(second.models[0].exits[2].examples)
    #expect(rows.mostUncertain.map(\.row) == examples.mostUncertain.map(\.row))
    #expect(rows.mostUncertain.allSatisfy { $0.image == nil })
  }

  /// A policy that someone has edited is used where it may be one, and else refused by what is wrong.
  @Test func policiesOutOfRangeAreRefused() async throws {
    let folder = try TestFolder()
    try await folder.succeed(tune)
    let policy = try TrustPolicyFile(json: folder.bytes("trust.json"), file: "trust.json")
    var (high, scaled) = (policy, policy)
    high.threshold.value = 1.5
    scaled.preprocessing = Preprocessing(scale: -5)
    for (policy, words) in [(high, "Its threshold 1.5 is no value"), (scaled, "a scale or a deviation")] {
      try policy.json().write(to: folder.files.appending(path: "edited.json"))
      let run = try await folder.run([
        "predict", Digits.checkpoint, "--policy", "edited.json", "--data", Digits.test, "-o", "predictions.h5",
      ])
      #expect(run.exitCode == 65 && run.errors.contains(words), "\(run.testDescription)")
    }
  }

  /// Rows that a posterior or a policy has seen promise nothing.
  @Test func rowsThatWereSeenAreWarnedOf() async throws {
    let folder = try TestFolder()
    try await folder.succeed(
      "fit", "laplace", Digits.checkpoint, "--data", Digits.training, "--validation", Digits.validation, "-o", "posterior.h5")
    for (rows, words) in [(Digits.training, "was fitted to rows"), (Digits.validation, "was tuned on rows")] {
      let run = try await folder.succeed(
        "trust", "tune", "posterior.h5", "--validation", rows, "--max-risk", "5%", "-o", "trust.json", "--force")
      #expect(run.errors.contains(words) && run.errors.contains("promise below does not hold"), "\(run.testDescription)")
      let evaluated = try await folder.succeed(
        "evaluate", Digits.checkpoint, "posterior.h5", "--data", rows, "--policy", "trust.json")
      #expect(
        evaluated.errors.contains(words) && evaluated.errors.contains("The policy trust.json was tuned on rows"),
        "\(evaluated.testDescription)")
    }
    let fresh = try await folder.succeed(
      "evaluate", Digits.checkpoint, "posterior.h5", "--data", Digits.test, "--policy", "trust.json")
    #expect(!fresh.errors.contains("flatters"), "\(fresh.testDescription)")
  }

  /// A policy that names no checkpoint may be another model's, which the user must know.
  @Test func policiesWithoutADigestAreWarnedOf() async throws {
    let folder = try TestFolder()
    try await folder.succeed(tune)
    var policy = try TrustPolicyFile(json: folder.bytes("trust.json"), file: "trust.json")
    policy.checkpoint.digest = nil
    try policy.json().write(to: folder.files.appending(path: "edited.json"))
    for (file, isWarnedOf) in [("trust.json", false), ("edited.json", true)] {
      let judged = try await folder.succeed("evaluate", Digits.checkpoint, "--data", Digits.test, "--policy", file)
      #expect(judged.errors.contains("is taken on trust") == isWarnedOf, "\(judged.testDescription)")
      #expect(judged.output.contains("The policy trusts digits at exit_3"), "\(judged.testDescription)")
      let marked = try await folder.succeed(
        "predict", Digits.checkpoint, "--data", Digits.test, "--policy", file, "-o", "\(file).h5")
      #expect(marked.errors.contains("is taken on trust") == isWarnedOf, "\(marked.testDescription)")
    }
  }

  /// Reports are written, and the exit code says that a number is not what it should be.
  @Test func pipelinesStopWhereAConditionHolds() async throws {
    let folder = try TestFolder()
    let arguments = [
      "evaluate", Digits.checkpoint, "--data", Digits.test, "--validation", Digits.validation, "--json", "report.json", "--force",
      "--quiet",
    ]
    let stopped = try await folder.run(arguments + ["--fail-if", "accuracy<0.99", "--fail-if", "nll<0"])
    #expect(stopped.exitCode == 1 && stopped.errors.contains("The accuracy of digits is 0.9"), "\(stopped.testDescription)")
    #expect(stopped.errors.contains("'accuracy<0.99' was to fail") && !stopped.errors.contains("nll"))
    #expect(try folder.names.contains("report.json"))
    try await folder.succeed(arguments + ["--fail-if", "digits + temperature/ece > 0.5"])
    let none = try await folder.run(arguments + ["--fail-if", "risk>0.1"])
    #expect(none.exitCode == 65 && none.errors.contains("that digits does not have"), "\(none.testDescription)")
    for condition in ["ece", "auroc:letters<0.5"] {
      let refused = try await folder.run(arguments + ["--fail-if", condition])
      #expect(refused.exitCode == 64 && refused.errors.contains("--fail-if"), "\(refused.testDescription)")
    }
  }
}
