import BayesEvaluation
import BayesTensor
import Foundation
import Testing

@testable import BayesReport

/// What a report says of corrupted rows.
@Suite struct ShiftReportTests {
  /// The fixture's models, whose errors grow with severity.
  private func report(
    exits: Int = 2, models: Int = 3, corruptions: [String] = ["Gaussian noise", "Brightness"], hostile: String = ""
  ) throws -> Report {
    var report = try ReportFixture.report(exits: exits, models: models, sets: [])
    func difference(_ value: Double, _ margin: Double) -> Difference {
      Difference(value: value, interval: Interval(low: value - margin, high: value + margin))
    }
    func exit(_ exit: ExitResult, _ position: Int, _ step: Double) -> ShiftedExit {
      let (accuracy, ece) = (exit.accuracy * (1 - step), min(1, exit.ece.value + step * (position == 0 ? 0.3 : 0.1)))
      let change = MeasureDifferences(
        accuracy: difference(accuracy - exit.accuracy, 0.01), nll: difference(step, 0.1), brier: difference(step, 0.1),
        ece: difference(ece - exit.ece.value, 0.02))
      let against = MeasureDifferences(
        accuracy: difference(0, 0.01), nll: difference(-0.1, 0.2), brier: difference(0, 0.1),
        ece: difference(position == 1 ? -0.06 : 0.01, 0.02))
      var shifted = ShiftedExit(
        index: exit.index, name: exit.name, accuracy: accuracy, nll: exit.nll + 2 * step, infiniteNLLCount: 0,
        brier: exit.brier, ece: ece, intervals: exit.intervals, uncertainty: exit.uncertainty, change: change,
        againstBaseline: position == 0 ? nil : against)
      shifted.eceInterval = Interval(low: max(0, ece - 0.03), high: min(1, ece + 0.03))
      return shifted
    }
    report.shift = ShiftStudy(
      pixelLow: 0, pixelHigh: 255,
      corruptions: corruptions.enumerated().map { number, title in
        ShiftedCorruption(
          name: title.lowercased() + hostile, title: title + hostile, strengthName: "strength" + hostile,
          severities: (1...5).map { severity in
            ShiftedSeverity(
              severity: severity, strength: 0.05 * Double(severity),
              models: report.models.enumerated().map { position, model in
                ShiftedModel(
                  name: model.name,
                  exits: model.exits.map { exit($0, position, Double(severity) / Double(10 + 5 * number)) })
              })
          })
      })
    return report
  }

  @Test func theSectionHasChartsAndTablesForEveryExit() throws {
    let report = try report()
    let page = HTMLRenderer().render(report)
    // Two corruptions, two exits, three measures.
    #expect(page.matches(of: /id="shift-\d+-exit-\d+-[a-z]+-title"/).count == 12)
    #expect(page.matches(of: /The numbers: (Gaussian noise|Brightness), Exit/).count == 4)
    // Six points a line.
    let chart = try #require(page.firstMatch(of: /<title id="shift-0-exit-1-ece-title">(.|\n)*?<\/svg>/)).output.0
    let lines = chart.matches(of: /<path class="line series-\d" d="([^"]*)"/)
    #expect(lines.count == 3)
    for line in lines { #expect(line.output.1.matches(of: /[ML]/).count == 6) }
    let identifiers = page.matches(of: /\sid="([^"]*)"/).map { String($0.output.1) }
    #expect(Set(identifiers).count == identifiers.count)
    var open: [Substring] = []
    for tag in page.matches(of: /<(\/?)([a-z0-9]+)[^>]*?(\/?)>/) where tag.output.2 != "meta" && tag.output.3.isEmpty {
      if tag.output.1.isEmpty { open.append(tag.output.2) } else { #expect(open.popLast() == tag.output.2) }
    }
    #expect(open.isEmpty)
    // The ends of the lines in words.
    let exit = try #require(report.models[0].exits.last)
    #expect(page.contains("ResNet-20: \(Figures.percent(exit.ece.value)) at severity 0"))
  }

  @Test func meansOverCorruptionsHaveIntervals() throws {
    let report = try report()
    let shift = try #require(report.shift)
    let means = try #require(ShiftReadings(report: report, shift: shift, exit: 1).mean(of: "ResNet-20", at: 5))
    let ends = try shift.corruptions.map { try #require($0.strongest?.exit(1, of: "ResNet-20")?.eceInterval) }
    let interval = try #require(means.eceInterval)
    #expect(abs(interval.low - (ends[0].low + ends[1].low) / 2) < 1e-12)
    #expect(abs(interval.high - (ends[0].high + ends[1].high) / 2) < 1e-12)
    #expect(HTMLRenderer().render(report).contains(Figures.percentRange(interval)))
    var older = shift
    older.corruptions[0].severities[4].models[0].exits[1].eceInterval = nil
    #expect(ShiftReadings(report: report, shift: older, exit: 1).mean(of: "ResNet-20", at: 5)?.eceInterval == nil)
  }

  /// A calibrator that was left out has no sentence of its own.
  @Test func whatWasLeftAsItIsIsSaidOnce() throws {
    var report = try report()
    let name = report.models[1].name
    #expect(report.shiftSummary.contains { $0.contains(name) })
    for exit in report.models[1].exits.indices { report.models[1].exits[exit].settings[ExitResult.leftAsItIs] = 1 }
    #expect(!report.shiftSummary.contains { $0.contains(", \(name) has") })
  }

  @Test func sentencesSayWhatHappened() throws {
    let report = try report()
    let shift = try #require(report.shift)
    let clean = try #require(report.models[0].exits.last)
    let summary = report.shiftSummary
    #expect(summary.count == 4)
    let mean = clean.ece.value + 0.3 * (0.5 + 1.0 / 3) / 2
    #expect(
      summary[0].hasPrefix(
        "On average over the 2 corruptions, at severity 5, ResNet-20 has an ECE of \(Figures.percent(mean)) "
          + "(\(Figures.percent(clean.ece.value)) on clean images)"))
    #expect(summary[3].contains("the worst is Gaussian noise") && summary[3].contains("the mildest brightness"))
    let sentences = ShiftReadings(report: report, shift: shift, exit: 1).sentences(shift.corruptions[0])
    #expect(sentences.count == 3)
    #expect(sentences[0].contains("rises from \(Figures.percent(clean.ece.value)) to"))
    #expect(sentences[0].contains("by 15.0\u{A0}pp (95 % interval 13.0 to 17.0)"))
    #expect(sentences[1].contains("There its ECE lies 6.0\u{A0}pp (95 % interval 4.0 to 8.0) below the baseline's."))
    #expect(sentences[2].contains("within noise of the baseline's, +1.0\u{A0}pp (95 % interval −1.0 to 3.0)."))
    #expect((sentences + summary).allSatisfy { $0.hasSuffix(".") && !$0.contains("..") })
    #expect(try ReportFixture.report().shiftSummary.isEmpty)
    // The page's summary speaks of the baseline and of the corruptions.
    #expect(report.findings == [summary[0], summary[3]])
  }

  @Test func oddStudiesAreRenderedToo() throws {
    var report = try report(exits: 1, models: 1, corruptions: ["Rotation"])
    #expect(!HTMLRenderer().render(report).contains("Mean over the corruptions"))
    #expect(report.shiftSummary.count == 1 && report.shiftSummary[0].hasPrefix("At severity 5, ResNet-20"))
    // An infinite loss, a model that is missing, one severity alone.
    report.shift?.corruptions[0].severities[2].models[0].exits[0].nll = .infinity
    report.shift?.corruptions[0].severities[3].models = []
    #expect(HTMLRenderer().render(report).contains("∞"))
    report.shift?.corruptions[0].severities.removeLast(4)
    #expect(HTMLRenderer().render(report).contains("Under shift"))
    report.shift?.corruptions = []
    #expect(HTMLRenderer().render(report).contains("Under shift"))
  }

  @Test func hostileNamesAreEscaped() throws {
    let page = HTMLRenderer().render(try report(hostile: #"<script>alert("x")</script>"#))
    #expect(!page.contains("<script") && page.contains("&lt;script&gt;"))
  }

  @Test func reportsAreReadBack() throws {
    let report = try report()
    let text = try JSONRenderer().render(report)
    #expect(try Report(json: Data(text.utf8), file: "report.json") == report)
    // Reports of earlier versions have no shift.
    let old = try JSONRenderer().render(try ReportFixture.report())
    #expect(!old.contains("shift"))
    #expect(try Report(json: Data(old.utf8), file: "report.json").shift == nil)
  }

  @Test func brokenStudiesAreRefused() throws {
    func refusal(_ change: (inout Report) -> Void) throws -> FileError? {
      var report = try report()
      change(&report)
      let text = try JSONRenderer().render(report)
      return #expect(throws: FileError.self) { try Report(json: Data(text.utf8), file: "report.json") }
    }
    #expect(try refusal { $0.shift?.corruptions[1].severities = [] }?.object == "shift.corruptions[1].severities")
    #expect(try refusal { $0.shift?.corruptions[0].severities[0].severity = 6 }?.message.contains("1 to 5") == true)
    let error = try refusal { $0.shift?.corruptions[0].severities[0].models[0].exits[0].ece = 1.5 }
    #expect(error?.code == .value && error?.message.contains("1.5") == true)
  }
}
