import BayesEvaluation

/// Accuracy against confidence, bin by bin, over a strip that shows how many rows each bin holds.
struct ReliabilityDiagram: Sendable {
  var bins: [ReliabilityBin]
  var calibrationError: Double
  var title: String
  /// Unique in the page.
  var identifier: String

  /// The chart as SVG.
  func svg() -> Markup {
    let plot = PlotArea(left: 54, top: 10, width: 254, height: 254)
    let strip = PlotArea(left: 54, top: 272, width: 254, height: 36)
    let largest = Double(bins.map(\.count).max() ?? 0)
    let total = bins.reduce(0.0) { $0 + Double($1.count) }
    let bars = bins.filter { $0.count > 0 }.map { bin -> Markup in
      let left = plot.x(bin.lower) + 0.5
      let width = max(0, plot.x(bin.upper) - plot.x(bin.lower) - 1)
      let (low, high) = (min(bin.accuracy, bin.confidence), max(bin.accuracy, bin.confidence))
      // A bin of a hundredth of the rows or less says little; it is drawn pale.
      let weight = Double(bin.count) < total / 100 ? " few" : ""
      return """
        <rect class="accuracy\(weight)" x="\(left)" y="\(plot.y(low))" width="\(width)" \
        height="\(plot.y(0) - plot.y(low))"/>\
        <rect class="gap\(weight)" x="\(left)" y="\(plot.y(high))" width="\(width)" \
        height="\(plot.y(low) - plot.y(high))"/>\
        <path class="level\(weight)" d="M\(left) \(plot.y(bin.accuracy))H\(left + width)"/>\
        <rect class="rows" x="\(left)" y="\(strip.y(max(0.04, Double(bin.count) / largest)))" \
        width="\(width)" height="\(strip.y(0) - strip.y(max(0.04, Double(bin.count) / largest)))"/>
        """
    }
    return ChartStyle.chart(
      width: 320, height: 346, identifier: identifier, title: title, description: description,
      plot.axes(
        xTitle: "confidence", yTitle: "accuracy", yTicks: PlotArea.quarters, xTitleOffset: 74)
        + bars
        + [
          ChartStyle.path([(plot.x(0), plot.y(0)), (plot.x(1), plot.y(1))], class: "diagonal"),
          """
          <rect class="frame" x="\(strip.left)" y="\(strip.top)" width="\(strip.width)" \
          height="\(strip.height)"/>
          <text class="tick" x="\(strip.left - 6)" y="\(strip.top + 21)" text-anchor="end">rows</text>
          <text class="tick halo" x="\(strip.left + 4)" y="\(strip.top + 12)">up to \
          \(Figures.count(bins.map(\.count).max() ?? 0)) a bin</text>
          <text class="value halo" x="\(plot.left + 8)" y="\(plot.top + 20)">ECE \
          \(Figures.percent(calibrationError, decimals: 2))</text>
          """,
        ])
  }

  private var description: String {
    let filled = bins.filter { $0.count > 0 }
    let over = filled.count { $0.confidence > $0.accuracy }
    return "Expected calibration error \(Figures.percent(calibrationError, decimals: 2)); confidence exceeds "
      + "accuracy in \(over) of \(filled.count) bins that hold rows. The numbers are in the table of bins."
  }
}
