/// Placements by latency and one other number: all as dots, the front as a line.
struct PlacementChart: Sendable {
  var title: String
  var yTitle: String
  /// Unique in the page.
  var identifier: String
  /// Of what is drawn, latency and the number.
  var searched: [(x: Double, y: Double)]
  var baselines: [(x: Double, y: Double)]
  var front: [(x: Double, y: Double)]
  var chosen: (x: Double, y: Double)?
  var reference: (x: Double, y: Double)

  /// The chart as SVG.
  func svg() -> Markup {
    let plot = PlotArea(left: 58, top: 10, width: 420, height: 260)
    let points = searched + baselines + front + [reference]
    let (low, high) = Self.range(points.map(\.y))
    let (first, last) = Self.range(points.map(\.x))
    func place(_ point: (x: Double, y: Double)) -> (x: Double, y: Double) {
      (plot.x((point.x - first) / (last - first)), plot.y((point.y - low) / (high - low)))
    }
    let steps = [0, 0.25, 0.5, 0.75, 1.0]
    func dots(_ points: [(x: Double, y: Double)], _ style: String, _ radius: Double) -> [Markup] {
      points.map { point in
        let (x, y) = place(point)
        return "<circle class=\"\(style)\" cx=\"\(x)\" cy=\"\(y)\" r=\"\(radius)\"/>"
      }
    }
    func cross(_ point: (x: Double, y: Double)) -> Markup {
      let (x, y) = place(point)
      return "<path class=\"line series-2\" d=\"M\(x - 6) \(y)H\(x + 6)M\(x) \(y - 6)V\(y + 6)\"/>"
    }
    return ChartStyle.chart(
      width: 500, height: 312, identifier: identifier, title: title, description: description,
      plot.axes(
        xTitle: "latency, times the checkpoint's", yTitle: yTitle, xTicks: steps,
        yTicks: steps.map { ($0, Figures.number(low + $0 * (high - low), decimals: 3)) },
        xLabel: { Figures.number(first + $0 * (last - first), decimals: 1) })
        + dots(searched, "rows", 2.2) + [ChartStyle.path(front.map { place($0) }, class: "line series-0")]
        + dots(front, "level", 2.5) + dots(baselines, "known", 4) + [cross(reference)]
        + (chosen.map { dots([$0], "gap", 7) } ?? []))
  }

  /// A range that leaves a twentieth free at both ends.
  private static func range(_ values: [Double]) -> (Double, Double) {
    let (low, high) = (values.min() ?? 0, values.max() ?? 1)
    let margin = high > low ? 0.05 * (high - low) : 0.05 * max(1, abs(high))
    return (low - margin, high + margin)
  }

  private var description: String {
    "\(searched.count) placements, \(front.count) of which none other dominates; the untouched network at "
      + "\(Figures.number(reference.y, decimals: 4))"
      + (chosen.map { ", the chosen placement at \(Figures.number($0.y, decimals: 4)) and \(Figures.number($0.x, decimals: 2)) times the latency" } ?? "")
      + "."
  }
}
