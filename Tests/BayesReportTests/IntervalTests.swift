import BayesEvaluation
import BayesReport
import Foundation
import Testing

/// Intervals beside the values of a report.
@Suite struct IntervalTests {
  @Test func pagesShowThem() throws {
    let report = try ReportFixture.report(exits: 1, models: 3, rows: 60)
    let page = HTMLRenderer().render(report)
    // The last has draws.
    let exit = report.models[2].exits[0]
    let (details, score) = (try #require(exit.details), try #require(exit.ood[0].scores["entropy"]))
    let intervals = try #require(details.intervals)
    for interval in [
      intervals.ece, intervals.maximum, intervals.classwise, intervals.equalMass, intervals.aurc, intervals.risks[0],
      score.auprOutInterval, score.auprInInterval, score.fpr95Interval, intervals.smooth, details.overlap?.interval, intervals.brier?.resolution,
      details.disagreement?.disagreementInterval, exit.uncertainty.intervals?.epistemic,
      exit.ood[0].uncertainty.intervals?.total,
    ] {
      let interval = try #require(interval)
      #expect(
        page.contains(String(format: ">%.4f to %.4f<", interval.low, interval.high))
          || page.contains(String(format: ">%.2f to %.2f<", interval.low * 100, interval.high * 100)), "\(interval)")
    }
    #expect(page.contains("Other intervals") && page.contains("Smooth"))
  }

  @Test func pagesShowWhatIsTakenForWhat() throws {
    let report = try ReportFixture.report(exits: 1, models: 1, rows: 60)
    let exit = report.models[0].exits[0]
    let confusions = try #require(exit.details?.confusions)
    let first = try #require(confusions.first)
    #expect(confusions.map(\.rows) == confusions.map(\.rows).sorted(by: >))
    #expect(confusions.count <= 20 && confusions.allSatisfy { $0.label != $0.predicted })
    #expect(
      HTMLRenderer().render(report).contains(
        "\(report.classNames[first.label]) → \(report.classNames[first.predicted]), \(first.rows)"))
  }

  @Test func reportsWithoutThemAreRead() throws {
    var report = try ReportFixture.report(exits: 1, models: 1, rows: 40)
    let text = try JSONRenderer().render(report)
    var tree = try #require(try JSONSerialization.jsonObject(with: Data(text.utf8)) as? [String: Any])
    // Whatever is called an interval of these is new.
    func stripped(_ value: Any) -> Any {
      if let list = value as? [Any] { return list.map(stripped) }
      guard let table = value as? [String: Any] else { return value }
      return table.filter { key, value in
        let isNew = (value as? [String: Any]).map { $0["resamplings"] != nil || $0["epistemic"] != nil } ?? false
        return !["auprOutInterval", "auprInInterval", "fpr95Interval", "smooth", "overlap", "confusions"].contains(key)
          && !(key == "intervals" && isNew)
      }.mapValues(stripped)
    }
    tree = try #require(stripped(tree) as? [String: Any])
    report.models[0].exits[0].details?.intervals = nil
    report.models[0].exits[0].details?.calibration.smooth = nil
    report.models[0].exits[0].details?.overlap = nil
    report.models[0].exits[0].details?.confusions = nil
    report.models[0].exits[0].uncertainty.intervals = nil
    for set in report.models[0].exits[0].ood.indices {
      report.models[0].exits[0].ood[set].uncertainty.intervals = nil
      for name in report.models[0].exits[0].ood[set].scores.keys {
        report.models[0].exits[0].ood[set].scores[name]?.auprOutInterval = nil
        report.models[0].exits[0].ood[set].scores[name]?.auprInInterval = nil
        report.models[0].exits[0].ood[set].scores[name]?.fpr95Interval = nil
      }
    }
    #expect(try Report(json: JSONSerialization.data(withJSONObject: tree), file: "report.json") == report)
    #expect(!HTMLRenderer().render(report).isEmpty)
  }
}
