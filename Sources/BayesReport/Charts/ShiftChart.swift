import BayesEvaluation

/// One measure against the severity of a corruption, a line a model; severity 0 are the untouched rows.
struct ShiftChart: Sendable {
  /// One model's line.
  struct Series: Sendable {
    var name: String
    var points: [(severity: Int, value: Double)]
    /// The line style, which stays with the model from chart to chart.
    var style: Int
  }

  var series: [Series]
  /// What goes up, with its unit.
  var measure: String
  /// Whether it is a proportion.
  var isShare: Bool
  var title: String
  /// Unique in the page.
  var identifier: String

  /// The chart as SVG; infinite values have no place in it.
  func svg() -> Markup {
    let highest = series.flatMap(\.points).map(\.value).filter(\.isFinite).max() ?? 0
    let step = [0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50].first { highest / $0 <= 5 } ?? 100
    let count = max(1, Int((highest / step).rounded(.up)))
    let plot = PlotArea(left: 52, top: 10, width: 256, height: 170, maximum: Double(count) * step)
    let ticks = (0...count).map { tick in
      let value = Double(tick) * step
      return (
        value: value,
        label: isShare
          ? Figures.percent(value, decimals: step < 0.01 ? 1 : 0) : Figures.number(value, decimals: step < 0.1 ? 2 : 1)
      )
    }
    return ChartStyle.chart(
      width: 320, height: 222, identifier: identifier, title: title, description: description,
      plot.axes(
        xTitle: "severity", yTitle: measure, xTicks: (0...5).map { Double($0) / 5 }, yTicks: ticks,
        xLabel: { Figures.number($0 * 5, decimals: 0) })
        + series.map { series in
          ChartStyle.path(
            series.points.filter(\.value.isFinite).map { (plot.x(Double($0.severity) / 5), plot.y($0.value)) },
            class: "line \(ChartStyle.series(series.style))")
        })
  }

  private var description: String {
    series.map { series in
      let ends = [series.points.first, series.points.last].compactMap { $0 }
      return "\(series.name): "
        + ends.map { "\(spelling($0.value)) at severity \($0.severity)" }.joined(separator: ", ")
    }.joined(separator: "; ") + "."
  }

  private func spelling(_ value: Double) -> String {
    isShare ? Figures.percent(value) : Figures.number(value, decimals: 3)
  }
}

extension ChartStyle {
  /// A list of lines and their names.
  static func legend(_ entries: [(name: String, style: Int)]) -> Markup {
    """
    <ul class="legend">
    \(entries.map { entry -> Markup in
      """
      <li><svg class="swatch" viewBox="0 0 34 14" aria-hidden="true">\
      <path class="line \(ChartStyle.series(entry.style))" d="M1 7H33"/></svg>\(entry.name)</li>
      """
    })
    </ul>
    """
  }
}
