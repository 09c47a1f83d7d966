import BayesEvaluation

/// Accuracy against the mean cost of a row, a line a policy or a kind of predictions.
struct CostAccuracyChart: Sendable {
  /// One line.
  struct Series: Sendable {
    var name: String
    var points: [(cost: Double, accuracy: Double)]
    /// The class of its line: a style of `ChartStyle.series`, or `diagonal` for a bound.
    var style: String
  }

  var series: [Series]
  /// The cost at the right edge.
  var fullCost: Double
  var unit: String
  var title: String
  /// Unique in the page.
  var identifier: String

  /// The chart as SVG.
  func svg() -> Markup {
    let plot = PlotArea(left: 58, top: 10, width: 420, height: 260)
    let accuracies = series.flatMap { $0.points.map(\.accuracy) }
    // A quarter of the range is left free at neither end; ticks fall on round shares.
    let (low, high) = (accuracies.min() ?? 0, accuracies.max() ?? 1)
    let step = [0.005, 0.01, 0.02, 0.05, 0.1, 0.2].first { (high - low) / $0 <= 6 } ?? 0.25
    let bottom = (low / step).rounded(.down) * step
    let top = max(bottom + step, (high / step).rounded(.up) * step)
    let count = Int(((top - bottom) / step).rounded())
    func y(_ accuracy: Double) -> Double { plot.y((accuracy - bottom) / (top - bottom)) }
    let ticks = (0...count).map { tick in
      let value = bottom + Double(tick) * step
      return (value: (value - bottom) / (top - bottom), label: Figures.percent(value, decimals: step < 0.01 ? 1 : 0))
    }
    return ChartStyle.chart(
      width: 500, height: 312, identifier: identifier, title: title, description: description,
      plot.axes(xTitle: "mean cost of a row, share of the last exit's", yTitle: "accuracy", yTicks: ticks)
        + series.map { series in
          ChartStyle.path(
            series.points.map { (plot.x($0.cost / fullCost), y($0.accuracy)) }, class: series.style)
        })
  }

  private var description: String {
    "Best accuracy and its mean cost, in \(unit): "
      + series.compactMap { series in
        series.points.max { $0.accuracy < $1.accuracy }.map {
          "\(series.name) \(Figures.percent($0.accuracy)) at \(Figures.percent($0.cost / fullCost, decimals: 0)) of the last "
            + "exit's"
        }
      }.joined(separator: "; ") + "."
  }
}
