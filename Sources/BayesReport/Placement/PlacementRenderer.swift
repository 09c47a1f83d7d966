import BayesEvaluation

extension PlacementReport {
  /// The report as one self-contained page.
  public func html() -> String {
    var sections = HTMLPage.opening(title: title, verdict: verdict, findings: findings, warnings: warnings)
    sections += [chartSection, networkSection, tableSection, timeSection]
    sections += ProvenanceSection(provenance: provenance).sections()
    return HTMLPage(title: title, sections: sections).source
  }

  private var verdict: String {
    guard let chosen = rescored.first else {
      return "No placement within the constraints was found among \(Figures.count(searched.count, of: "placement"))."
    }
    return "Of \(Figures.count(searched.count, of: "placement")), one was chosen that draws "
      + "\(Figures.count(chosen.kinds.count { $0 != nil }, of: "site")) of \(sites.count) and averages "
      + "\(Figures.count(chosen.drawCount, of: "draw")), at \(Figures.number(chosen.latency, decimals: 2)) times the checkpoint's "
      + "latency. These are numbers of a search: fit the placement, and measure it on rows that neither has seen."
  }

  /// What the numbers say, in sentences.
  public var findings: [String] {
    guard let chosen = rescored.first else { return [] }
    let pairs = [
      ("NLL", Figures.number(freshReference.nll, decimals: 4), Figures.number(chosen.nll, decimals: 4)),
      ("AUROC of entropy", Figures.number(freshReference.auroc, decimals: 4), Figures.number(chosen.auroc, decimals: 4)),
    ]
    var sentences = pairs.map { name, before, after in
      "\(name): \(after), the untouched network \(before) (with a temperature, on the same rows)."
    }
    sentences.append(
      "F: \(Figures.number(chosen.scalar, decimals: 4)), the untouched network \(Figures.number(freshReference.scalar, decimals: 4)): "
        + (chosen.scalar > freshReference.scalar ? "the placement is worth more." : "no placement is worth more."))
    if let best = baselines.max(by: { $0.scalar < $1.scalar }) {
      let isBeaten = (searched.map(\.scalar).max() ?? -.infinity) > best.scalar
      sentences.append(
        "The best placement that needs no search, \(best.name), has F \(Figures.number(best.scalar, decimals: 4)); the best that was "
          + "searched \(Figures.number(searched.map(\.scalar).max() ?? 0, decimals: 4)): the search "
          + (isBeaten ? "found more on its own rows." : "found nothing better."))
    }
    return sentences
  }

  private var chartSection: Markup {
    func chart(_ title: String, _ yTitle: String, _ identifier: String, _ value: (Point) -> Double) -> Markup {
      func place(_ point: Point) -> (x: Double, y: Double) { (point.latency, value(point)) }
      return """
        <figure>
        \(PlacementChart(
          title: title, yTitle: yTitle, identifier: identifier, searched: searched.map(place), baselines: baselines.map(place),
          front: front.map(place), chosen: rescored.first.map(place), reference: place(reference)).svg())
        <figcaption>\(title)</figcaption>
        </figure>
        """
    }
    return """
      <section aria-labelledby="front">
      <h2 id="front">The front</h2>
      <p>Small dots: all placements that were scored on \(Figures.count(rowCount)) validation rows and foreign rows \
      (\(foreign.joined(separator: ", "))). The line joins those that none dominates in NLL, AUROC and latency together, so \
      that in one chart alone it may turn back. Blue: placements that need no search. Cross: the untouched network. Orange: the \
      chosen placement, scored anew.</p>
      <div class="charts">
      \(chart("NLL against latency", "NLL (nats)", "front-nll") { $0.nll })
      \(chart("AUROC against latency", "AUROC of entropy", "front-auroc") { $0.auroc })
      </div>
      </section>
      """
  }

  /// The class of a kind's box.
  private static func style(_ kind: Int?) -> String {
    guard let kind else { return "frame" }
    return ["accuracy", "gap", "known", "rows"][kind % 4]
  }

  private var networkSection: Markup {
    guard let chosen = rescored.first else { return "" }
    let (columns, width, height) = (8, 116.0, 46.0)
    let rows = (sites.count + columns - 1) / columns
    let boxes = sites.enumerated().map { index, site -> Markup in
      let (x, y) = (Double(index % columns) * width + 4, Double(index / columns) * height + 4)
      let kind = chosen.kinds[index]
      let name = site.name.count > 15 ? site.name.prefix(14) + "…" : site.name[...]
      return """
        <rect class="\(Self.style(kind))" x="\(x)" y="\(y)" width="\(width - 10)" height="\(height - 10)" rx="4"/>
        <text class="tick" x="\(x + 6)" y="\(y + 15)">\(String(name))</text>
        <text class="label halo" x="\(x + 6)" y="\(y + 29)">\(kind.map { kinds[$0] } ?? "as trained")</text>
        """
    }
    return """
      <section aria-labelledby="network">
      <h2 id="network">The chosen placement</h2>
      <p>From the input to the exit, line by line. What lies before the first drawn site runs once; all behind it runs for each of \
      \(Figures.count(chosen.drawCount, of: "draw")).</p>
      <figure class="wide">
      \(ChartStyle.chart(
        width: Int(Double(min(columns, sites.count)) * width), height: Int(Double(rows) * height + 4), identifier: "network-chart",
        title: "Sites of the network and what they are turned into",
        description: zip(sites, chosen.kinds).compactMap { site, kind in kind.map { "\(site.name): \(kinds[$0])" } }
          .joined(separator: "; ") + ".", boxes))
      </figure>
      </section>
      """
  }

  private func row(_ point: Point) -> Markup {
    """
    <tr><th scope="row">\(point.name)</th><td>\(point.kinds.count { $0 != nil })</td><td>\(point.drawCount)</td>\
    <td>\(Figures.number(point.nll, decimals: 4))</td><td>\(Figures.percent(point.accuracy, decimals: 2))</td>\
    <td>\(Figures.number(point.ece, decimals: 4))</td><td>\(Figures.number(point.auroc, decimals: 4))</td>\
    <td>\(Figures.number(point.latency, decimals: 2))</td><td>\(Figures.number(point.scalar, decimals: 4))</td></tr>
    """
  }

  private func group(_ name: String, _ points: [Point]) -> Markup {
    guard !points.isEmpty else { return "" }
    return """
      <tbody>
      <tr class="group"><th colspan="9" scope="rowgroup">\(name)</th></tr>
      \(points.map { row($0) })
      </tbody>
      """
  }

  private var tableSection: Markup {
    """
    <section aria-labelledby="placements">
    <h2 id="placements">Placements</h2>
    <p>All at the temperature that is best on the same rows. F = −NLL / log K − w<sub>e</sub> ECE + w<sub>o</sub> (2 AUROC − 1) − \
    w<sub>t</sub> log(latency).</p>
    <div class="scroll" tabindex="0" role="group" aria-labelledby="placements">
    <table>
    <thead><tr><th scope="col">Placement</th><th scope="col">Sites</th><th scope="col">Draws</th><th scope="col">NLL</th>\
    <th scope="col">Accuracy</th><th scope="col">ECE</th><th scope="col">AUROC</th><th scope="col">Latency</th>\
    <th scope="col">F</th></tr></thead>
    \(group("The network", [reference]))
    \(group("Without a search", baselines))
    \(group("The front", front))
    \(group("The best, scored anew with other draws and all rows", [freshReference] + rescored))
    </table>
    </div>
    </section>
    """
  }

  private var timeSection: Markup {
    """
    <section aria-labelledby="times">
    <h2 id="times">Times</h2>
    <p>Medians for a batch of \(Figures.count(batchRowCount, of: "row")) on \(Figures.count(threadCount, of: "thread")), in \
    milliseconds. A placement takes the first of its first site, and the second times its draws.</p>
    <div class="scroll" tabindex="0" role="group" aria-labelledby="times">
    <table>
    <thead><tr><th scope="col">Site</th><th scope="col">Before it</th><th scope="col">From it on</th></tr></thead>
    <tbody>
    \(sites.map { site -> Markup in
      """
      <tr><th scope="row">\(site.name)</th><td>\(Figures.number(site.before, decimals: 2))</td>\
      <td>\(Figures.number(site.behind, decimals: 2))</td></tr>
      """
    })
    </tbody>
    </table>
    </div>
    </section>
    """
  }
}
