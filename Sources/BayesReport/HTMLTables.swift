import BayesEvaluation

/// A difference from the baseline with a mark that does not need its colour.
struct DifferenceMark: Sendable {
  var text: String
  /// Above zero for a gain, below for a loss.
  var gain: Double
  var isWithinNoise: Bool

  /// The mark and the signed number.
  var html: Markup {
    if isWithinNoise || gain == 0 || gain.isNaN {
      return #"<span class="delta same"><span class="hidden">no clear change</span>≈ \#(text)</span>"#
    }
    return gain > 0
      ? #"<span class="delta better"><span class="hidden">better</span>✓ \#(text)</span>"#
      : #"<span class="delta worse"><span class="hidden">worse</span>✗ \#(text)</span>"#
  }
}

/// Accuracy, likelihood and calibration of every model at every exit, with gains on the baseline.
struct GainsTable: Sendable {
  var report: Report
  var exits: [ExitGroup]

  /// The section with its table.
  func html() -> Markup {
    """
    <section aria-labelledby="gains">
    <h2 id="gains">Gains</h2>
    <p>Each model next to the baseline, \(report.models.first?.name ?? ""), on the same rows. \
    ✓ is better, ✗ is worse, ≈ is within noise: the 95 % interval of the difference includes zero.</p>
    <div class="scroll" tabindex="0" role="group" aria-labelledby="gains">
    <table>
    <thead><tr><th scope="col">Model</th><th scope="col">Accuracy</th>\
    <th scope="col">NLL <small>nats</small></th><th scope="col">Brier</th><th scope="col">ECE</th>\
    <th scope="col">Fitted</th></tr></thead>
    \(exits.map { group -> Markup in
      """
      <tbody>
      <tr class="group"><th scope="rowgroup" colspan="6">\(group.title)\(cost(of: group))</th></tr>
      \(group.rows.map { row in
        self.row(row.model, row.exit, isBaseline: row.position == 0)
      })
      </tbody>
      """
    })
    </table>
    </div>
    </section>
    """
  }

  private func cost(of group: ExitGroup) -> Markup {
    guard let multiplyAdds = group.multiplyAdds else { return "" }
    return " <small>\(Figures.cost(multiplyAdds)) multiply-adds a row</small>"
  }

  private func row(_ model: ModelResult, _ exit: ExitResult, isBaseline: Bool) -> Markup {
    let comparison = report.models.first.flatMap {
      report.comparison(of: model.name, against: $0.name, exit: exit.index)
    }
    let points = { (value: Double) in
      Figures.signed(Figures.number(value * 100, decimals: 2)) + Figures.space + "pp"
    }
    let plain = { (value: Double) in Figures.signed(Figures.number(value, decimals: 4)) }
    return """
      <tr><th scope="row">\(model.name)\(isBaseline ? " <small>baseline</small>" : "" as Markup)</th>\
      \(cell(Figures.percent(exit.accuracy, decimals: 2), comparison?.accuracy, sign: 1, points))\
      \(cell(Figures.number(exit.nll, decimals: 4), comparison?.nll, sign: -1, plain))\
      \(cell(Figures.number(exit.brier, decimals: 4), comparison?.brier, sign: -1, plain))\
      \(cell(Figures.percent(exit.ece.value, decimals: 2), comparison?.ece, sign: -1, points))\
      <td class="settings">\(settings(exit))</td></tr>
      """
  }

  private func cell(
    _ value: String, _ difference: Difference?, sign: Double,
    _ spelling: (Double) -> String
  ) -> Markup {
    let mark = difference.map {
      DifferenceMark(
        text: spelling($0.value), gain: sign * $0.value, isWithinNoise: $0.isWithinNoise
      ).html
    }
    return "<td>\(value)\(mark ?? "")</td>"
  }

  private func settings(_ exit: ExitResult) -> Markup {
    // What was fitted and left out again did not make the numbers beside it.
    if exit.isLeftAsItIs { return "<span>left as it is</span>" }
    return Markup(
      exit.settings.sorted { $0.key < $1.key }.map {
        "<span>\(SeparationReading.words($0.key)) \(Self.spelling($0.value))</span>"
      })
  }

  /// A fitted number, which may be of any size, to four significant digits.
  private static func spelling(_ value: Double) -> String {
    guard value != 0, value.isFinite else { return Figures.number(value, decimals: 0) }
    let magnitude = abs(value)
    let decimals = magnitude >= 1000 ? 0 : magnitude >= 100 ? 1 : magnitude >= 10 ? 2 : 3
    return magnitude >= 0.01 && magnitude < 1e7
      ? Figures.number(value, decimals: decimals) : Figures.scientific(value)
  }
}

/// How well each score of each model tells the foreign sets apart.
struct SeparationTable: Sendable {
  var report: Report
  var exits: [ExitGroup]

  /// The section with a table for the deepest exit; the others follow with their charts.
  func html() -> Markup {
    guard let group = exits.last(where: { !$0.setNames.isEmpty }) else { return "" }
    return """
      <section aria-labelledby="separation">
      <h2 id="separation">Telling foreign data apart</h2>
      <p>AUROC of each score, then the share of test rows that are lost when 95 % of the foreign rows \
      are found (FPR95, smaller is better), at \(group.title). One half is chance; below it the score \
      ranks the wrong way round. The best of each set is underlined; a dash is a score that is the same \
      for every row or that the predictions do not allow.</p>
      \(Self.table(group, label: "separation"))
      \(imageTable(group))
      </section>
      """
  }

  /// Anomalies told apart within each image, where that was measured.
  private func imageTable(_ group: ExitGroup) -> Markup {
    let names = Self.scoreNames(group)
    guard let set = group.setNames.first(where: { set in
      group.rows.contains { $0.exit.ood.contains { $0.name == set && $0.perImage != nil } }
    }) else { return "" }
    return """
      <h3 id="separation-by-image">Within each image</h3>
      <p>The same of '\(set)' image by image: each anomalous pixel against the others of its own image, then the mean over \
      images that have both, with its 95 % interval. Pooled numbers above also tell images apart.</p>
      <div class="scroll" tabindex="0" role="group" aria-labelledby="separation-by-image">
      <table>
      <thead><tr><th scope="col">Model</th>\
      \(names.map { #"<th scope="col">\#(Figures.capitalized(SeparationReading.words($0)))</th>"# as Markup })</tr></thead>
      <tbody>
      \(group.rows.map { row -> Markup in
        let results = row.exit.ood.first { $0.name == set }?.perImage ?? [:]
        let constant = row.exit.ood.first { $0.name == set }?.scores.filter(\.value.isConstant) ?? [:]
        return """
          <tr><th scope="row">\(row.model.name)</th>\
          \(names.map { Self.imageCell(constant[$0] == nil ? results[$0] : nil) })</tr>
          """
      })
      </tbody>
      </table>
      </div>
      """
  }

  private static func imageCell(_ result: ImageSeparationResult?) -> Markup {
    guard let result else { return #"<td class="none">–</td>"# }
    let interval: Markup
    if let own = result.intervals?.auroc {
      interval = "<span class=\"delta\">\(Figures.number(own.low, decimals: 3)) to \(Figures.number(own.high, decimals: 3))</span>"
    } else {
      interval = ""
    }
    return """
      <td>\(Figures.number(result.auroc, decimals: 3))\(interval)\
      <span class="delta">AUPR \(Figures.number(result.auprOut, decimals: 3)), FPR95 \(Figures.percent(result.fpr95))</span></td>
      """
  }

  /// The table of one exit.
  static func table(_ group: ExitGroup, label: String) -> Markup {
    let names = scoreNames(group)
    let headings = names.map { name -> Markup in
      #"<th scope="col">\#(Figures.capitalized(SeparationReading.words(name)))</th>"#
    }
    return """
      <div class="scroll" tabindex="0" role="group" aria-labelledby="\(label)">
      <table>
      <thead><tr><th scope="col">Model</th>\
      \(headings)</tr></thead>
      \(group.setNames.map { set -> Markup in
        let best = group.rows.flatMap { row in
          row.exit.ood.filter { $0.name == set }.flatMap { $0.scores.values.map(\.auroc) }
        }.max()
        return """
          <tbody>
          <tr class="group"><th scope="rowgroup" colspan="\(names.count + 1)">\(set)</th></tr>
          \(group.rows.map { row -> Markup in
            """
            <tr><th scope="row">\(row.model.name)</th>\
            \(names.map { name in
              cell(row.exit.ood.first { $0.name == set }?.scores[name], best: best)
            })</tr>
            """
          })
          </tbody>
          """
      })
      </table>
      </div>
      """
  }

  private static func cell(_ score: ScoreResult?, best: Double?) -> Markup {
    guard let score, !score.isConstant else { return #"<td class="none">–</td>"# }
    let auroc = Figures.number(score.auroc, decimals: 3)
    let emphasis: Markup = score.auroc == best ? "<strong>\(auroc)</strong>" : "\(auroc)"
    let warning: Markup = score.auroc < 0.5 ? #" <span class="worse">below chance</span>"# : ""
    return "<td>\(emphasis)\(warning)<span class=\"delta\">FPR95 \(Figures.percent(score.fpr95))</span></td>"
  }

  /// The scores of any model, the standard ones first.
  static func scoreNames(_ group: ExitGroup) -> [String] {
    let present = Set(group.rows.flatMap { row in row.exit.ood.flatMap { $0.scores.keys } })
    let standard = standardOODScores.map(\.name).filter { present.contains($0) }
    return standard + present.subtracting(standard).sorted()
  }
}
