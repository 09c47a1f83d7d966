import BayesEvaluation

/// The rows a reader should look at first, of every model that keeps some.
struct ExamplesSection: Sendable {
  var report: Report

  /// The section, one fold a model.
  func html() -> Markup {
    """
    <section aria-labelledby="examples">
    <h2 id="examples">Rows to look at</h2>
    <p>At the deepest exit: wrong answers given with the most confidence, and the rows of the largest entropy. Rows are \
    counted from zero in the test file.</p>
    \(models.enumerated().map { position, entry in
      """
      <details class="exit"\(position == 0 ? " open" : "" as Markup)><summary><h3>\(entry.name)</h3></summary>
      \(list("Wrong, and sure of it", entry.examples.mostConfidentlyWrong))
      \(list("Most uncertain", entry.examples.mostUncertain))
      </details>
      """ as Markup
    })
    </section>
    """
  }

  private var models: [(name: String, examples: Examples)] {
    report.models.compactMap { model in
      // What a calibrator left as it is are the network's rows again.
      guard let exit = model.exits.max(by: { $0.index < $1.index }), !exit.isLeftAsItIs else { return nil }
      return exit.examples.map { (model.name, $0) }
    }
  }

  private func list(_ title: String, _ rows: [ExampleRow]) -> Markup {
    guard !rows.isEmpty else { return "<h4>\(title)</h4><p>There are none.</p>" }
    return """
      <h4>\(title)</h4>
      <ul class="examples">
      \(rows.map { row -> Markup in
        """
        <li>\(picture(row))<span>\(report.className(row.predicted)) <small>\(Figures.percent(row.confidence))</small></span>\
        <small>\(row.predicted == row.label ? "right" : "is \(report.className(row.label))"); row \(String(row.row)), \
        \(Figures.number(row.entropy, decimals: 2)) nats</small></li>
        """
      })
      </ul>
      """
  }

  private func picture(_ row: ExampleRow) -> Markup {
    // A report may come from anywhere, and the page asks nobody for anything.
    guard let image = row.image, image.hasPrefix("data:image/png;base64,") else { return "" }
    return #"<img src="\#(image)" alt="row \#(String(row.row)) of the test file, labelled \#(report.className(row.label))">"#
  }
}
