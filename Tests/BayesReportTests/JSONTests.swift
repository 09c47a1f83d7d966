import BayesEvaluation
import BayesReport
import BayesTensor
import Foundation
import Testing

@Suite struct JSONTests {
  /// A report's JSON as a tree that a test can break.
  private func tree() throws -> [String: Any] {
    let text = try JSONRenderer().render(ReportFixture.report(rows: 40))
    return try #require(
      try JSONSerialization.jsonObject(with: Data(text.utf8)) as? [String: Any])
  }

  /// The error of reading a changed report.
  private func error(_ change: (inout [String: Any]) throws -> Void) throws -> FileError? {
    var tree = try tree()
    try change(&tree)
    return error(try JSONSerialization.data(withJSONObject: tree))
  }

  private func error(_ data: Data) -> FileError? {
    do throws(FileError) {
      _ = try Report(json: data, file: "report.json")
      return nil
    } catch {
      return error
    }
  }

  /// Replaces something in the first exit of the first model.
  private func firstExit(
    of tree: inout [String: Any], _ change: (inout [String: Any]) -> Void
  ) throws {
    var models = try #require(tree["models"] as? [[String: Any]])
    var exits = try #require(models[0]["exits"] as? [[String: Any]])
    change(&exits[0])
    models[0]["exits"] = exits
    tree["models"] = models
  }

  @Test func whatIsWrittenIsReadBack() throws {
    var report = try ReportFixture.report()
    report.timing = ["predict": 1.5]
    let text = try JSONRenderer().render(report)
    #expect(try Report(json: Data(text.utf8), file: "report.json") == report)
  }

  @Test func infinitiesAreReadBack() throws {
    var report = try ReportFixture.report(rows: 40)
    report.models[0].exits[0].nll = .infinity
    report.models[0].exits[0].intervals.nll = nil
    report.comparisons[0].nll = Difference(value: -.infinity, interval: nil)
    let text = try JSONRenderer().render(report)
    #expect(text.contains("\"nll\" : \"inf\""))
    #expect(try Report(json: Data(text.utf8), file: "report.json") == report)
  }

  @Test func equalReportsGiveEqualBytes() throws {
    let first = try JSONRenderer().render(ReportFixture.report())
    let second = try JSONRenderer().render(ReportFixture.report())
    #expect(first == second)
    let page = HTMLRenderer().render(try ReportFixture.report())
    #expect(page == HTMLRenderer().render(try ReportFixture.report()))
  }

  @Test func fieldsAreThoseOfTheContract() throws {
    let tree = try tree()
    #expect(tree["schema"] as? Int == 1)
    #expect(tree["timing"] == nil)
    #expect(tree["comparisons"] is [Any] && tree["provenance"] is [String: Any])
    let model = try #require((tree["models"] as? [[String: Any]])?.first)
    #expect(model["name"] as? String == "ResNet-20")
    #expect(model["kind"] as? String == "map")
    let exit = try #require((model["exits"] as? [[String: Any]])?.first)
    for key in ["index", "name", "multiplyAdds", "accuracy", "nll", "brier"] {
      #expect(exit[key] != nil, "\(key)")
    }
    let calibration = try #require(exit["ece"] as? [String: Any])
    #expect(Set(calibration.keys) == ["value", "bins", "definition"])
    let intervals = try #require(exit["intervals"] as? [String: [Double]])
    #expect(Set(intervals.keys) == ["accuracy", "nll", "brier"])
    #expect(intervals.values.allSatisfy { $0.count == 2 })
    let set = try #require((exit["ood"] as? [[String: Any]])?.first)
    let scores = try #require(set["scores"] as? [String: [String: Any]])
    #expect(Set(scores.keys) == ["maximumProbability", "entropy", "mutualInformation", "energy"])
    for key in ["auroc", "auprOut", "auprIn", "fpr95"] { #expect(scores["energy"]?[key] is Double) }
  }

  @Test func curvesTakeOneLine() throws {
    var report = try ReportFixture.report(rows: 40)
    // Brackets and quotes in names must not be taken for arrays.
    report.title = "a \"[1,\n 2]\" \\"
    let text = try JSONRenderer().render(report)
    #expect(text.contains("\"roc\" : [[0, 0], ["))
    #expect(try Report(json: Data(text.utf8), file: "report.json") == report)
  }

  @Test func whatIsNotJSONIsRefused() {
    #expect(error(Data("no report".utf8))?.code == .malformed)
    #expect(error(Data())?.code == .malformed)
    #expect(error(Data("[]".utf8))?.code == .value)
  }

  @Test func anotherSchemaIsRefusedByItsNumber() throws {
    let failure = try error { $0["schema"] = 2 }
    #expect(failure?.code == .unsupported)
    #expect(failure?.description.contains("schema 2") == true)
    #expect(try error { $0["schema"] = nil }?.object == "schema")
  }

  @Test func brokenFieldsAreNamed() throws {
    let missing = try error { try firstExit(of: &$0) { $0["nll"] = nil } }
    #expect(missing?.code == .missing)
    #expect(missing?.object == "models[0].exits[0].nll")
    let mistyped = try error { try firstExit(of: &$0) { $0["accuracy"] = "high" } }
    #expect(mistyped?.code == .value)
    #expect(mistyped?.object == "models[0].exits[0].accuracy")
    let outOfRange = try error { try firstExit(of: &$0) { $0["accuracy"] = 97.5 } }
    #expect(outOfRange?.code == .value)
    #expect(outOfRange?.message.contains("97.5") == true)
    #expect(
      try error { try firstExit(of: &$0) { $0["reliability"] = [Any]() } }?.object
        == "models[0].exits[0].reliability")
    #expect(
      try error { try firstExit(of: &$0) { $0["intervals"] = ["accuracy": [0.9, 0.1]] } }?.code == .value)
    #expect(
      try error { try firstExit(of: &$0) { $0["confidenceHistogram"] = [-1] } }?.code == .value)
    #expect(try error { $0["models"] = [Any]() }?.object == "models")
    let counts = ["rowCount": 3, "trustedCount": 4, "labelledCount": 0, "wrongCount": 0]
    let trust: [String: Any] = [
      "score": "entropy", "maximumRisk": 0.1, "delta": 0.1, "test": counts, "foreign": [Any](),
    ]
    #expect(try error { try firstExit(of: &$0) { $0["trust"] = trust } }?.object == "models[0].exits[0].trust")
  }

  /// Numbers that someone has edited are refused where they cannot be what they are said to be.
  @Test(arguments: [
    (["brier"], 1e308, "0 to 2"), (["nll"], -1, "from 0 upward"), (["uncertainty", "epistemic"], -0.5, "from 0 upward"),
    (["intervals", "accuracy"], [-3, 0.5], "0 to 1"), (["details", "calibration", "maximum"], 7, "proportion"),
    (["details", "brier", "resolution"], 3, "0 to 2"), (["details", "selection", "aurc"], 2, "proportion"),
    (["details", "intervals", "aurc"], [-1, 2], "0 to 1"), (["details", "intervals", "ece"], [0.1, 1.5], "0 to 1"),
    (["details", "overlap", "mean"], 4, "proportion"), (["ood", "0", "uncertainty", "total"], -1, "from 0 upward"),
    (["ood", "0", "rowCount"], -1, "count"), (["ood", "0", "scores", "entropy", "auroc"], 1.5, "proportion"),
    (["ood", "0", "scores", "entropy", "aurocInterval"], [0.5, 1.5], "0 to 1"),
    (["ood", "0", "scores", "entropy", "roc"], [[0, 0], [1, 7]], "from 0 to 1"),
  ] as [([String], any Sendable, String)])
  func impossibleNumbersAreRefused(path: [String], value: any Sendable, words: String) throws {
    func replaced(_ node: Any, _ path: ArraySlice<String>) throws -> Any {
      guard let key = path.first else { return value }
      if let index = Int(key) {
        var list = try #require(node as? [Any])
        list[index] = try replaced(list[index], path.dropFirst())
        return list
      }
      var fields = try #require(node as? [String: Any])
      fields[key] = try replaced(try #require(fields[key], "\(key)"), path.dropFirst())
      return fields
    }
    var tree = try tree()
    tree = try #require(try replaced(tree, ["models", "0", "exits", "0"] + path) as? [String: Any])
    let failure = error(try JSONSerialization.data(withJSONObject: tree))
    #expect(failure?.code == .value && failure?.message.contains(words) == true, "\(String(describing: failure))")
    #expect(failure?.object?.hasPrefix("models[0].exits[0].") == true)
  }

  @Test func numbersThatAreNotWholeAreNotTakenForBrokenJSON() throws {
    let failure = try error { try firstExit(of: &$0) { $0["rowCount"] = 1.5 } }
    #expect(failure?.code == .value && failure?.message.contains("not of its field's kind") == true, "\(String(describing: failure))")
  }

  @Test func namesConfusionsAndCountsFitTheClasses() throws {
    #expect(try error { $0["classNames"] = ["a"] }?.object == "classNames")
    #expect(try error { try firstExit(of: &$0) { $0["rowCount"] = 0 } }?.object == "models[0].exits[0]")
    #expect(try error { try firstExit(of: &$0) { $0["index"] = 4_611_686_018_427_387_904 } }?.code == .value)
    let failure = try error {
      try firstExit(of: &$0) { exit in
        var details = exit["details"] as? [String: Any]
        details?["confusions"] = [["label": 999, "predicted": 0, "rows": 1]]
        exit["details"] = details
      }
    }
    #expect(failure?.message.contains("no class 999") == true)
  }

  @Test func comparisonsNameModelsThatExist() throws {
    let failure = try error {
      var comparisons = try #require($0["comparisons"] as? [[String: Any]])
      comparisons[0]["reference"] = "nobody"
      $0["comparisons"] = comparisons
    }
    #expect(failure?.message.contains("nobody") == true)
  }
}
