import BayesEvaluation

/// The true against the false positive rate of one score on one foreign set, a line a model.
struct ROCChart: Sendable {
  /// One model's curve.
  struct Series: Sendable {
    var name: String
    var auroc: Double
    var points: [ROCPoint]
    /// The line style, which stays with the model from chart to chart.
    var style: Int
  }

  var series: [Series]
  var title: String
  /// Unique in the page.
  var identifier: String

  /// The chart as SVG.
  func svg() -> Markup {
    let plot = PlotArea(left: 54, top: 10, width: 254, height: 254)
    return ChartStyle.chart(
      width: 320, height: 304, identifier: identifier, title: title, description: description,
      plot.axes(
        xTitle: "false positive rate", yTitle: "true positive rate", yTicks: PlotArea.quarters)
        + [ChartStyle.path([(plot.x(0), plot.y(0)), (plot.x(1), plot.y(1))], class: "diagonal")]
        + series.map { series in
          ChartStyle.path(
            series.points.map { (plot.x($0.falsePositiveRate), plot.y($0.truePositiveRate)) },
            class: "line \(ChartStyle.series(series.style))")
        })
  }

  private var description: String {
    "Area under the curve: "
      + series.map { "\($0.name) \(Figures.number($0.auroc, decimals: 3))" }.joined(separator: "; ") + "."
  }
}
