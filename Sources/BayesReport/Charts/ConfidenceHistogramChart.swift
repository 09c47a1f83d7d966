/// How sure a model is of known rows (filled) and of foreign ones (lines), as shares of each set.
struct ConfidenceHistogramChart: Sendable {
  /// One set's counts in equally wide bins of confidence.
  struct Series: Sendable {
    var name: String
    var counts: [Int]

    /// The share of the rows in each bin.
    var shares: [Double] {
      let total = counts.reduce(0.0) { $0 + Double($1) }
      return counts.map { total == 0 ? 0 : Double($0) / total }
    }
  }

  /// The first is the test set.
  var series: [Series]
  /// The share at the upper edge; charts that are compared have one.
  var maximum: Double
  var title: String
  /// Unique in the page.
  var identifier: String

  /// The chart as SVG.
  func svg() -> Markup {
    let plot = PlotArea(left: 54, top: 10, width: 254, height: 180, maximum: maximum)
    var drawing = plot.axes(
      xTitle: "confidence", yTitle: "share of rows",
      yTicks: [0, 0.5, 1].map { (value: $0 * maximum, label: Figures.percent($0 * maximum, decimals: 0)) })
    for (index, series) in series.enumerated() {
      let shares = series.shares
      let width = 1 / Double(max(1, shares.count))
      if index == 0 {
        drawing += shares.enumerated().filter { $0.element > 0 }.map { bin, share in
          """
          <rect class="known" x="\(plot.x(Double(bin) * width) + 0.5)" y="\(plot.y(share))" \
          width="\(max(0, plot.width * width - 1))" height="\(plot.y(0) - plot.y(share))"/>
          """
        }
      } else {
        let corners = shares.enumerated().flatMap { bin, share in
          [
            (x: plot.x(Double(bin) * width), y: plot.y(share)),
            (x: plot.x(Double(bin + 1) * width), y: plot.y(share)),
          ]
        }
        drawing.append(ChartStyle.path(corners, class: "line \(ChartStyle.series(index))"))
      }
    }
    return ChartStyle.chart(
      width: 320, height: 230, identifier: identifier, title: title, description: description, drawing)
  }

  /// The upper edge that holds all of several charts: the next multiple of a fifth.
  static func maximum(of series: [Series]) -> Double {
    max(0.2, ((series.flatMap(\.shares).max() ?? 0) * 5).rounded(.up) / 5)
  }

  private var description: String {
    series.map { series in
      let shares = series.shares
      let sure = shares.suffix(max(1, shares.count / 10)).reduce(0, +)
      return "\(series.name): \(Figures.percent(sure)) of rows in the highest tenth of confidence"
    }.joined(separator: "; ") + "."
  }
}
