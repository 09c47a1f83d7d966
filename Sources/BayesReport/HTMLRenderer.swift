import BayesEvaluation

/// Writes a report as one self-contained HTML page: no script, no request, charts as inline SVG.
public struct HTMLRenderer: ReportRenderer {
  public init() {}

  public func render(_ report: Report) -> String {
    HTMLPage(title: report.title, sections: sections(of: report)).source
  }

  private func sections(of report: Report) -> [Markup] {
    let exits = report.exits
    var sections = HTMLPage.opening(
      title: report.title, verdict: report.verdict, findings: report.findings, warnings: report.warnings)
    sections.append(GainsTable(report: report, exits: exits).html())
    if exits.contains(where: { !$0.setNames.isEmpty }) {
      sections.append(SeparationTable(report: report, exits: exits).html())
    }
    if exits.contains(where: { $0.rows.contains { $0.exit.conformal != nil } }) {
      sections.append(ConformalSection(report: report, exits: exits).html())
    }
    if report.models.contains(where: { $0.exits.contains { $0.trust != nil } }) {
      sections.append(TrustSection(report: report).html())
    }
    sections += HTMLPage.readings(report.models.dropFirst().map { ($0.name, report.readings(of: $0)) })
    sections.append(
      """
      <section aria-labelledby="exits">
      <h2 id="exits">\(exits.count == 1 ? "Charts" : "Charts, exit by exit")</h2>
      \(exits.map { ExitSection(report: report, exit: $0, isOpen: $0.index == report.deepestExitIndex).html() })
      </section>
      """)
    if let shift = report.shift { sections.append(ShiftSection(report: report, shift: shift).html()) }
    if report.models.contains(where: { $0.exits.contains { $0.examples != nil } }) {
      sections.append(ExamplesSection(report: report).html())
    }
    if let images = report.pixelMaps { sections.append(PixelMapsSection(report: report, images: images).html()) }
    sections.append(DefinitionsSection(report: report).html())
    sections += ProvenanceSection(provenance: report.provenance, timing: report.timing ?? [:]).sections()
    return sections
  }
}

/// A page that needs nothing beside itself.
struct HTMLPage: Sendable {
  var title: String
  var sections: [Markup]

  /// What a reader sees first: title, verdict, what else was found, a sentence each, and warnings.
  static func opening(title: String, verdict: String, findings: [String] = [], warnings: [String]) -> [Markup] {
    let list: Markup = findings.isEmpty ? "" : "<ul>\n\(findings.map { "<li>\($0)</li>\n" as Markup })</ul>\n"
    let header: Markup = """
      <header>
      <h1>\(title)</h1>
      <p class="verdict">\(verdict)</p>
      \(list)</header>
      """
    guard !warnings.isEmpty else { return [header] }
    return [
      header,
      """
      <section class="warnings" aria-labelledby="warnings">
      <h2 id="warnings">Before you trust these numbers</h2>
      <ul>
      \(warnings.map { "<li>\($0)</li>" as Markup })
      </ul>
      </section>
      """,
    ]
  }

  /// Sentences on each model, where there are any.
  static func readings(_ models: [(name: String, sentences: [String])]) -> [Markup] {
    let models = models.filter { !$0.sentences.isEmpty }
    guard !models.isEmpty else { return [] }
    return [
      """
      <section aria-labelledby="reading">
      <h2 id="reading">How to read this</h2>
      \(models.map { model -> Markup in
        """
        <h3>\(model.name)</h3>
        <ul>
        \(model.sentences.map { "<li>\($0)</li>" as Markup })
        </ul>
        """
      })
      </section>
      """
    ]
  }

  /// The file.
  var source: String {
    let page: Markup = """
      <!DOCTYPE html>
      <html lang="en">
      <head>
      <meta charset="utf-8">
      <meta name="viewport" content="width=device-width, initial-scale=1">
      <meta name="color-scheme" content="light dark">
      <title>\(title)</title>
      <style>
      \(Markup.stylesheet)
      </style>
      </head>
      <body>
      <main>
      \(sections)
      </main>
      </body>
      </html>

      """
    return page.source
  }
}

/// One exit with every model that has it.
struct ExitGroup: Sendable {
  var index: Int
  var name: String
  var multiplyAdds: Int?
  /// In the order of the report; `position` is the model's place there.
  var rows: [(position: Int, model: ModelResult, exit: ExitResult)]

  /// The foreign sets of any model, each once.
  var setNames: [String] {
    var names: [String] = []
    for row in rows {
      for set in row.exit.ood where !names.contains(set.name) { names.append(set.name) }
    }
    return names
  }

  /// `Exit 1, name`
  var title: String { "Exit \(index) · \(name)" }
}

extension Report {
  /// The name of a class, or its index where it has none.
  func className(_ index: Int) -> String {
    classNames.indices.contains(index) ? classNames[index] : String(index)
  }

  /// All exits of all models, the earliest first.
  var exits: [ExitGroup] {
    Set(models.flatMap { $0.exits.map(\.index) }).sorted().map { index in
      let rows = models.enumerated().flatMap { position, model in
        model.exits.filter { $0.index == index }.map { (position: position, model: model, exit: $0) }
      }
      return ExitGroup(
        index: index, name: rows.first?.exit.name ?? "",
        multiplyAdds: rows.lazy.compactMap(\.exit.multiplyAdds).first, rows: rows)
    }
  }
}
