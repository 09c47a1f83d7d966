import BayesEvaluation

/// The observed share of targets in central intervals against the intervals' probability, a line a model.
struct CalibrationCurveChart: Sendable {
  /// One model's curve.
  struct Series: Sendable {
    var name: String
    var points: [CoverageInterval]
    var area: Double
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
      plot.axes(xTitle: "probability of central intervals", yTitle: "targets inside", yTicks: PlotArea.quarters)
        + [ChartStyle.path([(plot.x(0), plot.y(0)), (plot.x(1), plot.y(1))], class: "diagonal")]
        + series.map { series in
          ChartStyle.path(
            series.points.map { (plot.x($0.nominal), plot.y($0.observed)) },
            class: "line \(ChartStyle.series(series.style))")
        })
  }

  private var description: String {
    series.map { series in
      let half = series.points.min { abs($0.nominal - 0.5) < abs($1.nominal - 0.5) }
      return "\(series.name): miscalibration area \(Figures.percent(series.area))"
        + (half.map {
          ", \(Figures.percent($0.observed)) of targets in intervals of \(Figures.percent($0.nominal))"
        } ?? "")
    }.joined(separator: "; ") + ". The numbers are in the table below."
  }
}
