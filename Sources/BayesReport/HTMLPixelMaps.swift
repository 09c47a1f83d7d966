import BayesEvaluation

/// Test images beside what every model says of each of their pixels.
struct PixelMapsSection: Sendable {
  var report: Report
  var images: [PixelMaps]

  /// The section, one table an image.
  func html() -> Markup {
    """
    <section aria-labelledby="maps">
    <h2 id="maps">Pixel by pixel</h2>
    <p>Test images chosen by their labels alone: those with the most anomalous pixels, or, where there are none, with the most \
    classes. Entropy and mutual information are black at 0 and white at the logarithm of the number of classes. Numbers are means over the image.</p>
    \(legend)
    \(images.enumerated().map { position, image in table(image, position) })
    </section>
    """
  }

  private var classCount: Int { report.models[0].exits[0].classes.count }

  private var hasAnomalies: Bool { images.contains { $0.anomalousShare > 0 } }

  private var legend: Markup {
    let classes = (0..<classCount).map { (report.className($0), ClassColor.components($0)) }
    let entries = classes + (hasAnomalies ? [("anomaly", ClassColor.anomaly)] : [])
    return """
      <ul class="legend">
      \(entries.map { name, color -> Markup in
        """
        <li><svg width="14" height="14" aria-hidden="true"><rect x="1" y="1" width="12" height="12" \
        fill="rgb(\(color.map(String.init).joined(separator: ",")))" stroke="#888"/></svg> \(name)</li>
        """
      })
      </ul>
      """
  }

  private func table(_ image: PixelMaps, _ position: Int) -> Markup {
    let hasDraws = image.models.contains { $0.mutualInformation != nil }
    let row = "row \(image.row)"
    return """
      <h3 id="map-\(String(position))">Row \(String(image.row))\
      \(image.anomalousShare > 0 ? ", \(Figures.percent(image.anomalousShare)) anomalous" : "")</h3>
      <ul class="examples maps">
      \(figure(image.image, "the image of \(row)", "image"))
      \(figure(image.labels, "the classes of \(row) as labelled", "labels"))
      </ul>
      <div class="scroll" tabindex="0" role="group" aria-labelledby="map-\(String(position))">
      <table class="maps">
      <thead><tr><th scope="col">Model</th><th scope="col">Most probable class</th><th scope="col">Entropy</th>\
      \(hasDraws ? #"<th scope="col">Mutual information</th>"# : "" as Markup)</tr></thead>
      <tbody>
      \(image.models.map { model -> Markup in
        """
        <tr><th scope="row">\(model.name)</th>\
        <td>\(picture(model.classes, "the most probable classes of \(row) by \(model.name)"))</td>\
        <td>\(picture(model.entropy, "the entropy at each pixel of \(row) by \(model.name)"))\
        <span class="delta">\(Figures.number(model.meanEntropy, decimals: 3)) nats</span></td>\
        \(hasDraws ? drawsCell(model, row) : "" as Markup)</tr>
        """
      })
      </tbody>
      </table>
      </div>
      """
  }

  private func drawsCell(_ model: PixelMaps.Model, _ row: String) -> Markup {
    guard let map = model.mutualInformation, let mean = model.meanMutualInformation else { return #"<td class="none">–</td>"# }
    return """
      <td>\(picture(map, "the mutual information at each pixel of \(row) by \(model.name)"))\
      <span class="delta">\(Figures.number(mean, decimals: 3)) nats</span></td>
      """
  }

  private func figure(_ image: String?, _ description: String, _ caption: String) -> Markup {
    guard let image else { return "" }
    return "<li>\(picture(image, description))<small>\(caption)</small></li>"
  }

  private func picture(_ image: String, _ description: String) -> Markup {
    // A report may come from anywhere, and the page asks nobody for anything.
    guard image.hasPrefix("data:image/png;base64,") else { return "" }
    return #"<img src="\#(image)" alt="\#(description)">"#
  }
}
