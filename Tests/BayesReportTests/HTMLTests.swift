import BayesEvaluation
import Testing

@testable import BayesReport

@Suite struct HTMLTests {
  private let hostile = #"<script>alert("x")</script> & 'y'"#

  @Test func thePageIsSelfContained() throws {
    let page = HTMLRenderer().render(try ReportFixture.report())
    #expect(page.hasPrefix("<!DOCTYPE html>"))
    #expect(!page.contains("<script"))
    #expect(!page.contains("<link"))
    #expect(!page.contains("url("))
    #expect(!page.contains("@import"))
    #expect(!page.contains("href"))
    #expect(!page.contains(" src"))
    // The name space of SVG names nothing that is fetched.
    #expect(!page.replacing(#"xmlns="http://www.w3.org/2000/svg""#, with: "").contains("http"))
  }

  @Test func hostileNamesAreShownAndNotRun() throws {
    var report = try ReportFixture.report(sets: [hostile])
    for index in report.comparisons.indices {
      report.comparisons[index].model += hostile
      report.comparisons[index].reference += hostile
    }
    for index in report.models.indices {
      report.models[index].name += hostile
      for exit in report.models[index].exits.indices {
        report.models[index].exits[exit].name = hostile
        report.models[index].exits[exit].settings[hostile] = 1
        report.models[index].exits[exit].ece.definition = hostile
      }
    }
    report.title = hostile
    report.warnings = [hostile]
    report.classNames = Array(repeating: hostile, count: 10)
    report.provenance.version = hostile
    report.provenance.command = [hostile]
    report.provenance.likelihood = hostile
    report.provenance.backend = hostile
    report.provenance.inputs = [InputDigest(role: hostile, file: hostile, digest: hostile)]
    report.provenance.details = [hostile: hostile]
    report.timing = [hostile: 1]
    let page = HTMLRenderer().render(report)
    #expect(!page.contains("<script"))
    #expect(!page.contains("alert(\"x\")"))
    #expect(page.contains("&lt;script&gt;alert(&quot;x&quot;)&lt;/script&gt; &amp; &#39;y&#39;"))
    #expect(page.contains("<title>&lt;script"))
  }

  @Test func identifiersAreUnique() throws {
    let page = HTMLRenderer().render(try ReportFixture.report(models: 6))
    let identifiers = page.matches(of: /\sid="([^"]*)"/).map { String($0.1) }
    #expect(identifiers.count > 50)
    #expect(Set(identifiers).count == identifiers.count)
    for names in page.matches(of: /aria-labelledby="([^"]*)"/) {
      for name in names.1.split(separator: " ") { #expect(identifiers.contains(String(name))) }
    }
  }

  @Test func elementsAreBalanced() throws {
    let page = HTMLRenderer().render(try ReportFixture.report())
    var open: [Substring] = []
    for tag in page.matches(of: /<(\/?)([a-z0-9]+)[^>]*?(\/?)>/) {
      if ["meta"].contains(tag.2) || tag.3 == "/" { continue }
      if tag.1.isEmpty {
        open.append(tag.2)
      } else {
        #expect(open.popLast() == tag.2, "</\(tag.2)>")
      }
    }
    #expect(open.isEmpty)
  }

  @Test func everyChartHasWords() throws {
    let page = HTMLRenderer().render(try ReportFixture.report())
    let charts = page.matches(of: /role="img"/).count
    // Two exits of three models: reliability and confidence; and four scores on two sets.
    #expect(charts == 2 * (3 + 1 + 3 + 4 * 2))
    #expect(page.matches(of: /<title id=/).count == charts)
    #expect(page.matches(of: /<desc id=/).count == charts)
  }

  @Test func gainsAreMarkedWithoutColour() {
    func mark(_ gain: Double, noise: Bool) -> String {
      DifferenceMark(text: "+1", gain: gain, isWithinNoise: noise).html.source
    }
    #expect(mark(1, noise: false).contains("✓") && mark(1, noise: false).contains("better"))
    #expect(mark(-1, noise: false).contains("✗") && mark(-1, noise: false).contains("worse"))
    #expect(mark(1, noise: true).contains("≈"))
    #expect(mark(.nan, noise: false).contains("≈"))
  }

  @Test func oddReportsAreRenderedToo() throws {
    // No foreign sets, one model, one row, an infinite loss, exits that differ between models.
    let single = try ReportFixture.report(exits: 1, models: 1, sets: [], rows: 1)
    #expect(HTMLRenderer().render(single).contains("<h2 id=\"exits\">Charts</h2>"))
    var uneven = try ReportFixture.report()
    uneven.models[1].exits.removeFirst()
    uneven.models[2].exits[1].ood.removeFirst()
    uneven.models[2].exits[1].nll = .infinity
    uneven.models[0].exits[1].reliability = []
    uneven.models[0].exits[1].confidenceHistogram = []
    let page = HTMLRenderer().render(uneven)
    #expect(page.contains("∞"))
    #expect(!page.contains("undefined"))
  }
}

@Suite struct ChartTests {
  @Test func coordinatesAreSpeltToAHundredth() {
    let markup: Markup = "\(1.0) \(-0.004) \(2.005) \(-3.5) \(0.07)"
    #expect(markup.source == "1 0 2 -3.5 0.07" || markup.source == "1 0 2.01 -3.5 0.07")
  }

  @Test func barsHaveTheHeightOfTheirAccuracy() {
    let chart = ReliabilityDiagram(
      bins: [
        ReliabilityBin(lower: 0, upper: 0.5, count: 0, confidence: 0, accuracy: 0),
        ReliabilityBin(lower: 0.5, upper: 1, count: 10, confidence: 0.75, accuracy: 0.5),
      ], calibrationError: 0.25, title: "t", identifier: "i"
    ).svg().source
    // The plot is 254 high: half of it filled, a quarter of it gap, and nothing for the empty bin.
    #expect(chart.matches(of: /class="accuracy[^>]*height="127"/).count == 1)
    #expect(chart.matches(of: /class="gap[^>]*height="63.5"/).count == 1)
    #expect(chart.matches(of: /<rect class="accuracy/).count == 1)
  }

  @Test func histogramsOfNothingAreEmpty() {
    let series = ConfidenceHistogramChart.Series(name: "none", counts: [0, 0])
    #expect(series.shares == [0, 0])
    #expect(ConfidenceHistogramChart.maximum(of: [series]) == 0.2)
  }
}

@Suite struct FigureTests {
  @Test func numbersAreSpeltForReaders() {
    #expect(Figures.number(-0.5, decimals: 2) == "−0.50")
    #expect(Figures.number(-0.0001, decimals: 2) == "0.00")
    #expect(Figures.number(.infinity, decimals: 2) == "∞")
    #expect(Figures.number(.nan, decimals: 2) == "undefined")
    #expect(Figures.count(1_234_567) == "1,234,567")
    #expect(Figures.count(12) == "12")
    #expect(Figures.cost(41_230_000) == "41.2\u{A0}M")
    #expect(Figures.signed("0.1") == "+0.1")
    #expect(Figures.signed("−0.1") == "−0.1")
    #expect(Figures.scientific(0.0000318) == "3.180e-05")
  }

  @Test func textIsEscaped() {
    #expect(Markup.escaped("a<b>&\"'\u{1}") == "a&lt;b&gt;&amp;&quot;&#39;\u{FFFD}")
  }
}
