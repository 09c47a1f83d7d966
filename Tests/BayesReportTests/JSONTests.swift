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

  @Test func comparisonsNameModelsThatExist() throws {
    let failure = try error {
      var comparisons = try #require($0["comparisons"] as? [[String: Any]])
      comparisons[0]["reference"] = "nobody"
      $0["comparisons"] = comparisons
    }
    #expect(failure?.message.contains("nobody") == true)
  }
}
