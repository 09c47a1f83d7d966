import BayesEvaluation
import BayesTensor
import Foundation
import Testing

@testable import BayesReport

@Suite struct ConformalSectionTests {
  private func result(
    _ method: String, alpha: Double = 0.1, coverage: Double = 0.9, size: Double = 1.2, empty: Double = 0,
    isTuned: Bool? = false
  ) -> ConformalResult {
    let isByClass = method == "lacByClass"
    return ConformalResult(
      method: method, alpha: alpha, isByClass: isByClass, isRandomized: method.hasSuffix("Randomized"),
      settings: method.hasPrefix("raps") ? ["weight": 0.1, "freeRank": 1] : [:], calibrationRowCount: 1000,
      isTunedOnCalibrationRows: isTuned, thresholds: isByClass ? [0.4, .infinity, 0.7] : [0.6], rowCount: 120,
      coverage: coverage, interval: Interval(low: 0, high: 1), band: isByClass ? nil : Interval(low: 0.88, high: 0.92),
      meanSize: size, emptyShare: empty, singletonShare: 0.8,
      classes: ConformalClasses(
        calibrationRowCounts: [990, 3, 7], rowCounts: [100, 20, 0], coverages: [0.95, isByClass ? 1 : 0.65, nil],
        meanSizes: [1, 2.2, nil],
        bands: isByClass ? [Interval(low: 0.8, high: 1), Interval(low: 1, high: 1), nil] : nil))
  }

  /// The standard methods, for every exit of every model.
  private func report() throws -> Report {
    var report = try ReportFixture.report(rows: 40)
    let methods = ["lac", "lacByClass", "aps", "apsRandomized", "raps", "rapsRandomized"]
    for model in report.models.indices {
      for exit in report.models[model].exits.indices {
        report.models[model].exits[exit].conformal = [0.1, 0.02].flatMap { alpha in
          methods.map { result($0, alpha: alpha, isTuned: model == 0 ? false : model == 1 ? true : nil) }
        }
      }
    }
    return report
  }

  @Test func thePageShowsSetsOfEveryModelAndExit() throws {
    let report = try report()
    let page = HTMLRenderer().render(report)
    #expect(page.contains("<h2 id=\"sets\">Prediction sets</h2>"))
    #expect(page.matches(of: /LAC by class<\/th>/).count == 2 * (3 * 2 + 1))
    #expect(page.contains("alpha 0.02") && page.contains("(0.1 a class from place 2 on, fixed beforehand)"))
    #expect(page.contains("ResNet-20 + temperature. Rows can be kept apart"))
    #expect(page.contains("known here: last-layer Laplace."))
    var open: [Substring] = []
    for tag in page.matches(of: /<(\/?)([a-z0-9]+)[^>]*?(\/?)>/) where tag.2 != "meta" && tag.3 != "/" {
      if tag.1.isEmpty { open.append(tag.2) } else { #expect(open.popLast() == tag.2) }
    }
    #expect(open.isEmpty)
    #expect(!HTMLRenderer().render(try ReportFixture.report(rows: 40)).contains("Prediction sets"))
  }

  /// What a reader sees first says whether promises were kept, and nothing of sets that were not asked for.
  @Test func theSummaryHasASentenceAPromise() throws {
    let report = try report()
    #expect(report.findings.map { $0.prefix(13) } == ["At alpha 0.02", "At alpha 0.1,"])
    let opening = try #require(HTMLRenderer().render(report).firstMatch(of: /<header>(.|\n)*?<\/header>/)).output.0
    #expect(opening.contains("<li>At alpha 0.02, 98"))
    #expect(MarkdownRenderer().render(report).contains("- At alpha 0.1, 90"))
    #expect(try ReportFixture.report(rows: 40).findings.isEmpty)
  }

  @Test func setsAreReadBackAndBrokenOnesAreNamed() throws {
    let report = try report()
    let text = try JSONRenderer().render(report)
    #expect(text.contains("\"coverages\" : [0.95, 1, null]") && text.contains("\"inf\""))
    #expect(try Report(json: Data(text.utf8), file: "report.json") == report)
    func object(_ change: (inout ConformalResult) -> Void) throws -> String? {
      var broken = report
      guard var results = broken.models[0].exits[1].conformal else { return nil }
      change(&results[2])
      broken.models[0].exits[1].conformal = results
      let text = try JSONRenderer().render(broken)
      do throws(FileError) {
        _ = try Report(json: Data(text.utf8), file: "report.json")
        return nil
      } catch {
        return error.object
      }
    }
    let place = "models[0].exits[1].conformal[2]"
    #expect(try object { $0.coverage = 1.5 } == place)
    #expect(try object { $0.rowCount = -1 } == place)
    #expect(try object { $0.classes.meanSizes = [1] } == place + ".classes")
    #expect(try object { $0.classes.coverages[0] = -1 } == place + ".classes.coverages")
  }

  private func sentences(_ results: [(String, ConformalResult)]) -> [String] {
    ConformalReading(alpha: 0.1, sets: results.map { (model: $0.0, result: $0.1) }) { ["cat", "dog", "eel"][$0] }
      .sentences.map { $0.replacing(Figures.space, with: " ") }
  }

  @Test func whereCoverageLiesIsSaid() {
    let all = sentences([
      ("A", result("lac", coverage: 0.9)), ("A", result("lacByClass")), ("A", result("aps", coverage: 0.99, size: 4)),
      ("B", result("lac", coverage: 0.861)),
    ])
    #expect(
      all == [
        "At alpha 0.1, 90.0 % are promised: of 3 combinations of model and method, coverage lies inside the 95 % band "
          + "in 1, above it in 1, below it in 1. Below: B by LAC (86.10 %); one in forty is expected there by chance, as "
          + "are more where calibration and test rows differ. APS and RAPS without randomness may cover more than "
          + "promised.",
        "Of those at alpha 0.1 that need no randomness and do not fall below the band, A by LAC gives exactly one class "
          + "most often: in 80.0 % of rows (1.200 classes on average).",
        "One threshold for all covers classes unequally: of A, LAC at alpha 0.1 covers class dog in 65.0 % of its 20 rows, "
          + "with a threshold of its own in 100.0 %.",
      ])
    let inside = sentences([("A", result("lac", empty: 0.02))])
    #expect(inside.count == 2 && inside[0].hasSuffix("above it in 0, below it in 0."))
    #expect(inside[1].hasSuffix("in 80.0 % of rows, none in 2.0 % (1.200 classes on average)."))
    #expect(sentences([("A", result("lacByClass"))]).isEmpty)
  }

  @Test func verdictsFollowTheBand() {
    #expect(ConformalReading.verdict(of: result("lac", coverage: 0.88)) == .within)
    #expect(ConformalReading.verdict(of: result("lac", coverage: 0.8799)) == .below)
    #expect(ConformalReading.verdict(of: result("lac", coverage: 0.9201)) == .above)
    #expect(ConformalReading.verdict(of: result("lacByClass", coverage: 0.1)) == .unknown)
    #expect(ConformalReading.title("setsOfTomorrow") == "sets of tomorrow")
  }
}
