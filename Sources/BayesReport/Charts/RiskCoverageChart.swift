import BayesEvaluation

/// The share of wrong answers among the most confident rows, a line a model.
struct RiskCoverageChart: Sendable {
  /// One model's curve.
  struct Series: Sendable {
    var name: String
    var selection: SelectionResult
    /// The line style, which stays with the model from chart to chart.
    var style: Int
  }

  var series: [Series]
  var title: String
  /// Unique in the page.
  var identifier: String

  /// The chart as SVG.
  func svg() -> Markup {
    let risks = series.flatMap { $0.selection.curve.map(\.risk) }
    let step = [0.005, 0.01, 0.02, 0.05, 0.1, 0.2].first { (risks.max() ?? 0) / $0 <= 5 } ?? 0.25
    let count = max(1, Int(((risks.max() ?? 0) / step).rounded(.up)))
    let plot = PlotArea(left: 58, top: 10, width: 420, height: 200, maximum: Double(count) * step)
    return ChartStyle.chart(
      width: 500, height: 252, identifier: identifier, title: title, description: description,
      plot.axes(
        xTitle: "share of rows kept, the most confident first", yTitle: "wrong among them",
        yTicks: (0...count).map {
          let value = Double($0) * step
          return (value: value, label: Figures.percent(value, decimals: step < 0.01 ? 1 : 0))
        })
        + series.map { series in
          ChartStyle.path(
            series.selection.curve.map { (plot.x($0.coverage), plot.y($0.risk)) },
            class: "line \(ChartStyle.series(series.style))")
        })
  }

  private var description: String {
    "Area under the curve: "
      + series.map { "\($0.name) \(Figures.number($0.selection.aurc, decimals: 4))" }.joined(separator: "; ") + "."
  }
}
