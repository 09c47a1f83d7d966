/// The look that all charts share; colours are CSS classes, so that one chart serves light, dark and print.
enum ChartStyle {
  /// The number of line styles; more series than this repeat them.
  static let seriesCount = 10

  /// The CSS class of a series: a colour of the Okabe-Ito palette and a dash pattern.
  static func series(_ index: Int) -> String { "series-\(index % seriesCount)" }

  /// A chart as one image: a title and a description for those who do not see it, then its drawing.
  ///
  /// - Parameter identifier: unique in the page.
  static func chart(
    width: Int, height: Int, identifier: String, title: String, description: String, _ drawing: [Markup]
  ) -> Markup {
    """
    <svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 \(width) \(height)" role="img" \
    aria-labelledby="\(identifier)-title \(identifier)-description">
    <title id="\(identifier)-title">\(title)</title>
    <desc id="\(identifier)-description">\(description)</desc>
    \(drawing)
    </svg>
    """
  }

  /// A path through points.
  static func path(_ points: [(x: Double, y: Double)], class name: String) -> Markup {
    let steps = points.enumerated().map { index, point -> Markup in
      index == 0 ? "M\(point.x) \(point.y)" : "L\(point.x) \(point.y)"
    }
    return #"<path class="\#(name)" d="\#(steps)"/>"#
  }
}

/// The rectangle that data are drawn in, with both axes running from zero.
struct PlotArea: Sendable {
  var left, top, width, height: Double
  /// The value at the upper edge.
  var maximum = 1.0

  func x(_ value: Double) -> Double { left + value * width }
  func y(_ value: Double) -> Double { top + height - min(1, value / maximum) * height }

  /// Frame, grid, tick labels and axis titles.
  func axes(
    xTitle: String, yTitle: String, xTicks: [Double] = [0, 0.25, 0.5, 0.75, 1],
    yTicks: [(value: Double, label: String)], xTitleOffset: Double = 32,
    xLabel: (Double) -> String = { PlotArea.label($0) }
  ) -> [Markup] {
    let bottom = top + height
    let vertical = xTicks.map { tick -> Markup in
      """
      <path class="grid" d="M\(x(tick)) \(top)V\(bottom)"/>\
      <text class="tick" x="\(x(tick))" y="\(bottom + xTitleOffset - 17)" text-anchor="middle">\
      \(xLabel(tick))</text>
      """
    }
    let horizontal = yTicks.map { tick -> Markup in
      """
      <path class="grid" d="M\(left) \(y(tick.value))H\(left + width)"/>\
      <text class="tick" x="\(left - 6)" y="\(y(tick.value) + 4)" text-anchor="end">\(tick.label)</text>
      """
    }
    return vertical + horizontal + [
      """
      <rect class="frame" x="\(left)" y="\(top)" width="\(width)" height="\(height)"/>
      <text class="label" x="\(left + width / 2)" y="\(bottom + xTitleOffset)" text-anchor="middle">\
      \(xTitle)</text>
      <text class="label" transform="translate(12 \(top + height / 2)) rotate(-90)" \
      text-anchor="middle">\(yTitle)</text>
      """
    ]
  }

  /// Quarters of a proportion.
  static let quarters = [0, 0.25, 0.5, 0.75, 1].map { (value: $0, label: label($0)) }

  private static func label(_ tick: Double) -> String {
    tick == tick.rounded() ? Figures.number(tick, decimals: 0) : Figures.number(tick, decimals: 2)
  }
}
