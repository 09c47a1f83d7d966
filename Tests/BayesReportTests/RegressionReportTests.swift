import BayesEvaluation
import BayesReport
import BayesTensor
import Foundation
import Testing
import _BayesTestSupport

/// Reports on forecasts of real targets.
@Suite struct RegressionReportTests {
  /// A constant deviation and forecasts that are too wide by a factor, of two outputs.
  private func report(
    factor: Double, _ kind: ModelKind = .map, besides others: [(name: String, kind: ModelKind, variance: Double)] = []
  ) throws -> RegressionReport {
    let key = RandomKey(seed: 3)
    let shape: Shape = [300, 2]
    let targets: Tensor<Double> = key.normals(shape)
    func model(_ name: String, _ kind: ModelKind, _ variance: Double) throws -> RegressionModelEvaluation {
      var exit = RegressionEvaluation(
        index: 0, name: "last", outputCount: 2, contents: .deviations, resampling: Resampling(count: 50))
      let forecasts = try RegressionForecasts(
        means: Tensor(zeros: shape), noiseVariances: Tensor(repeating: variance, shape: shape), targets: targets)
      try exit.update(forecasts)
      var intervals = try RegressionConformalEvaluation(alphas: [0.001], contents: .deviations, outputCount: 2)
      intervals.calibrate(forecasts)
      try intervals.takeThresholds()
      intervals.update(forecasts)
      return RegressionModelEvaluation(name: name, kind: kind, exits: [exit], conformal: [intervals])
    }
    return RegressionReport(
      title: "A <title>",
      study: try RegressionStudy(of: [
        try model("base", .constantDeviation, 1), try model("<other>", kind, factor * factor),
      ] + others.map { try model($0.name, $0.kind, $0.variance) }), warnings: ["Mind & beware."], outputNames: ["north", "south"],
      provenance: Provenance(
        version: "1", command: ["bayesify", "evaluate"], seed: 0, likelihood: "gaussian", backend: "native", inputs: []))
  }

  @Test func theVerdictIsPlain() throws {
    let worse = try report(factor: 3)
    #expect(worse.verdict.contains("base") && worse.verdict.contains("worse"), "\(worse.verdict)")
    let same = try report(factor: 1)
    #expect(same.verdict.contains("within noise") && same.verdict.contains("Nothing is gained"), "\(same.verdict)")
    #expect(worse.readings(of: worse.models[0]).isEmpty && worse.readings(of: worse.models[1]).count == 4)
  }

  /// What a user's own deviations are worth is said, whichever calibrator is the best.
  @Test func ownDeviationsAreJudged() throws {
    let scaled = (name: "scaled", kind: ModelKind(RegressionCalibrator.deviationScaling.rawValue), variance: 0.97)
    let left = (name: "left", kind: ModelKind(RegressionCalibrator.isotonic.rawValue), variance: 1.0)
    let narrow = try report(factor: 0.5, .predictions, besides: [scaled, left])
    #expect(narrow.verdict.contains("The 95 % intervals of <other> hold"), "\(narrow.verdict)")
    #expect(narrow.verdict.contains("its deviations are too small"), "\(narrow.verdict)")
    #expect(try report(factor: 2, .predictions, besides: [scaled]).verdict.contains("its deviations are too large"))
    // What is the baseline to the last digit is in no contest.
    #expect(narrow.verdict.contains("Of the 2 set against it") && !narrow.verdict.contains("left"), "\(narrow.verdict)")
  }

  @Test func jsonComesBack() throws {
    let report = try report(factor: 2)
    let text = try JSONRenderer().render(report)
    let data = Data(text.utf8)
    // Thresholds without end are words in JSON.
    #expect(text.contains("\"inf\"") && RegressionReport.recognizes(json: data))
    #expect(try RegressionReport(json: data, file: "r.json") == report)
    #expect(!RegressionReport.recognizes(json: Data("{}".utf8)) && !RegressionReport.recognizes(json: Data("x".utf8)))
    for (old, new, words) in [
      ("\"schema\" : 1", "\"schema\" : 9", "schema 9"), ("\"baseline\" : \"base\"", "\"baseline\" : \"gone\"", "gone"),
      ("\"rowCount\" : 300", "\"rowCount\" : -1", "count"), ("\"alpha\" : 0.001", "\"alpha\" : 7", "proportion"),
      ("\"warnings\"", "\"omitted\"", "missing"), ("\"crps\" : {", "\"crps\" : {\"value\": -3}, \"later\" : {", "from 0 upward"),
      ("\"meanWidth\" : ", "\"meanWidth\" : -1, \"later\" : ", "from 0 upward"),
    ] {
      let error = #expect(throws: FileError.self) {
        try RegressionReport(json: Data(text.replacingOccurrences(of: old, with: new).utf8), file: "r.json")
      }
      #expect(error?.description.contains(words) == true, "\(error?.description ?? "")")
    }
  }

  @Test func thePageEscapesAndExplains() throws {
    let page = HTMLRenderer().render(try report(factor: 2))
    #expect(page.contains("A &lt;title&gt;") && page.contains("&lt;other&gt;") && page.contains("Mind &amp; beware."))
    #expect(!page.contains("<other>") && !page.contains("<script"))
    for part in ["north", "south", "✗", "CRPS", "Methods and definitions", "How to reproduce", "Provenance", "∞"] {
      #expect(page.contains(part), "\(part)")
    }
    // Under every chart is a table with its numbers, and every identifier is one element's.
    #expect(page.contains("The numbers: calibration curves"))
    let identifiers = page.matches(of: #/ id="([^"]*)"/#).map { String($0.1) }
    #expect(Set(identifiers).count == identifiers.count)
    let markdown = MarkdownRenderer().render(try report(factor: 2))
    #expect(markdown.contains("| 0 last | base |") && markdown.contains(#"\<other\>"#))
  }

  @Test func conditionsReadNumbers() throws {
    let report = try report(factor: 2)
    #expect(try ReportCondition("nll>0.5")?.violation(in: report, of: "base") != nil)
    #expect(try ReportCondition("base/coverage>=0.99")?.violation(in: report, of: "<other>") == nil)
    #expect(throws: EvaluationError.self) { try ReportCondition("ece>0.5")?.violation(in: report, of: "base") }
    #expect(throws: EvaluationError.self) { try ReportCondition("auroc:letters>0.5")?.violation(in: report, of: "base") }
    #expect(throws: EvaluationError.self) { try ReportCondition("gone/nll>0.5")?.violation(in: report, of: "base") }
  }
}
