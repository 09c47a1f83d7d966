import BayesEvaluation

/// The charts and full tables of one exit, folded unless it is the deepest.
struct ExitSection: Sendable {
  var report: Report
  var exit: ExitGroup
  var isOpen: Bool

  private static let testSet = "test set"

  private var prefix: String { "exit-\(exit.index)" }

  /// The folded section.
  func html() -> Markup {
    """
    <details class="exit"\(isOpen ? " open" : "" as Markup)>
    <summary><h3>\(exit.title)</h3></summary>
    \(reliability())
    \(histograms())
    \(exit.setNames.isEmpty ? "" : curves())
    \(classes())
    </details>
    """
  }

  private func figure(_ caption: Markup, _ chart: Markup) -> Markup {
    "<figure>\(chart)<figcaption>\(caption)</figcaption></figure>"
  }

  private func reliability() -> Markup {
    """
    <h4>Is the confidence honest?</h4>
    <p>In each bin of confidence the strong line is the accuracy; for an honest model it meets the diagonal. \
    The dashed piece is the gap. Pale bins hold less than a hundredth of the rows.</p>
    <div class="charts">
    \(exit.rows.map { row in
      figure(
        row.position == 0 && report.models.count > 1
          ? "\(row.model.name) <small>baseline</small>" : "\(row.model.name)",
        ReliabilityDiagram(
          bins: row.exit.reliability, calibrationError: row.exit.ece.value,
          title: "Reliability of \(row.model.name), \(exit.title)",
          identifier: "\(prefix)-reliability-\(row.position)"
        ).svg())
    })
    </div>
    <details><summary>The numbers: 95 % intervals</summary>
    <div class="scroll" tabindex="0"><table>
    <thead><tr><th scope="col">Model</th><th scope="col">Accuracy</th><th scope="col">NLL</th>\
    <th scope="col">Brier</th></tr></thead>
    <tbody>
    \(exit.rows.map { row -> Markup in
      let intervals = row.exit.intervals
      return """
        <tr><th scope="row">\(row.model.name)</th>\
        <td>\(Figures.percent(intervals.accuracy.low, decimals: 2)) to \
        \(Figures.percent(intervals.accuracy.high, decimals: 2))</td>\
        <td>\(Figures.range(intervals.nll))</td><td>\(Figures.range(intervals.brier))</td></tr>
        """
    })
    </tbody></table></div>
    </details>
    <details><summary>The numbers: bins</summary>
    <div class="scroll" tabindex="0"><table>
    <thead><tr><th scope="col">Confidence</th><th scope="col">Rows</th><th scope="col">Mean confidence</th>\
    <th scope="col">Accuracy</th></tr></thead>
    \(exit.rows.map { row -> Markup in
      """
      <tbody><tr class="group"><th scope="rowgroup" colspan="4">\(row.model.name)</th></tr>
      \(row.exit.reliability.filter { $0.count > 0 }.map { bin -> Markup in
        """
        <tr><th scope="row">\(Figures.number(bin.lower, decimals: 3)) to \
        \(Figures.number(bin.upper, decimals: 3))</th><td>\(Figures.count(bin.count))</td>\
        <td>\(Figures.percent(bin.confidence, decimals: 2))</td>\
        <td>\(Figures.percent(bin.accuracy, decimals: 2))</td></tr>
        """
      })
      </tbody>
      """
    })
    </table></div>
    </details>
    """
  }

  private func histograms() -> Markup {
    let names = [Self.testSet] + exit.setNames
    let series = exit.rows.map { row in
      [ConfidenceHistogramChart.Series(name: Self.testSet, counts: row.exit.confidenceHistogram)]
        + exit.setNames.map { name in
          // A set that this model was not run on keeps its place, and so its line style, empty.
          ConfidenceHistogramChart.Series(
            name: name, counts: row.exit.ood.first { $0.name == name }?.confidenceHistogram ?? [])
        }
    }
    let maximum = ConfidenceHistogramChart.maximum(of: series.flatMap { $0 })
    return """
      <h4>How sure is it, at home and abroad?</h4>
      <p>The share of rows at each confidence. On foreign data a model should be less sure than on the test \
      set.</p>
      \(legend(names.enumerated().map { (name: $1, style: $0 == 0 ? nil : $0) }))
      <div class="charts">
      \(zip(exit.rows, series).map { row, series in
        figure(
          "\(row.model.name)",
          ConfidenceHistogramChart(
            series: series, maximum: maximum, title: "Confidence of \(row.model.name), \(exit.title)",
            identifier: "\(prefix)-confidence-\(row.position)"
          ).svg())
      })
      </div>
      <details><summary>The numbers: mean uncertainty</summary>
      <p>In nats. Total is the entropy of the averaged probabilities; epistemic is the mutual information \
      of class and weights, zero without draws; aleatoric is the rest.</p>
      <div class="scroll" tabindex="0"><table>
      <thead><tr><th scope="col">Rows</th><th scope="col">Count</th><th scope="col">Total</th>\
      <th scope="col">Aleatoric</th><th scope="col">Epistemic</th></tr></thead>
      \(exit.rows.map { row -> Markup in
        """
        <tbody><tr class="group"><th scope="rowgroup" colspan="5">\(row.model.name)</th></tr>
        \(uncertainty(Self.testSet, row.exit.rowCount, row.exit.uncertainty))
        \(row.exit.ood.map { uncertainty($0.name, $0.rowCount, $0.uncertainty) })
        </tbody>
        """
      })
      </table></div>
      </details>
      """
  }

  private func uncertainty(_ name: String, _ rowCount: Int, _ mean: MeanUncertainty) -> Markup {
    """
    <tr><th scope="row">\(name)</th><td>\(Figures.count(rowCount))</td>\
    <td>\(Figures.number(mean.total, decimals: 4))</td>\
    <td>\(Figures.number(mean.aleatoric, decimals: 4))</td>\
    <td>\(Figures.number(mean.epistemic, decimals: 4))</td></tr>
    """
  }

  private func curves() -> Markup {
    let scores = SeparationTable.scoreNames(exit)
    return """
      <h4>How well are foreign rows found?</h4>
      <p>Each curve trades foreign rows found (up) against test rows lost (right); the diagonal is chance.</p>
      \(legend(exit.rows.map { (name: $0.model.name, style: $0.position) }))
      \(exit.setNames.enumerated().map { number, set -> Markup in
        """
        <h5>\(set)</h5>
        <div class="charts small">
        \(scores.enumerated().map { scoreNumber, score -> Markup in
          let series = exit.rows.compactMap { row in
            row.exit.ood.first { $0.name == set }?.scores[score].map {
              ROCChart.Series(
                name: row.model.name, auroc: $0.auroc, points: $0.roc, style: row.position)
            }
          }
          let words = SeparationReading.words(score)
          return figure(
            "\(Figures.capitalized(words))",
            ROCChart(
              series: series, title: "ROC of \(words) on \(set), \(exit.title)",
              identifier: "\(prefix)-roc-\(number)-\(scoreNumber)"
            ).svg())
        })
        </div>
        """
      })
      <details><summary>The numbers: separation</summary>
      \(separations(scores))
      </details>
      """
  }

  private func separations(_ scores: [String]) -> Markup {
    """
    <div class="scroll" tabindex="0"><table>
    <thead><tr><th scope="col">Model</th><th scope="col">Score</th><th scope="col">AUROC</th>\
    <th scope="col">95 % interval</th><th scope="col">AUPR-out</th><th scope="col">AUPR-in</th>\
    <th scope="col">FPR95</th></tr></thead>
    \(exit.setNames.map { set -> Markup in
      """
      <tbody><tr class="group"><th scope="rowgroup" colspan="7">\(set)</th></tr>
      \(exit.rows.flatMap { row in
        scores.compactMap { score -> Markup? in
          guard let result = row.exit.ood.first(where: { $0.name == set })?.scores[score] else { return nil }
          return """
            <tr><th scope="row">\(row.model.name)</th><th scope="row">\(SeparationReading.words(score))</th>\
            <td>\(Figures.number(result.auroc, decimals: 4))</td>\
            <td>\(Figures.range(result.aurocInterval))</td>\
            <td>\(Figures.number(result.auprOut, decimals: 4))</td>\
            <td>\(Figures.number(result.auprIn, decimals: 4))</td>\
            <td>\(Figures.percent(result.fpr95, decimals: 2))</td></tr>
            """
        }
      })
      </tbody>
      """
    })
    </table></div>
    """
  }

  /// The classes that the baseline finds least often, at most twenty.
  private func classes() -> Markup {
    guard let baseline = exit.rows.first?.exit else { return "" }
    func recall(_ counts: ClassCounts) -> Double {
      counts.rows == 0 ? 1 : Double(counts.correct) / Double(counts.rows)
    }
    let hardest = baseline.classes.indices.filter { baseline.classes[$0].rows > 0 }
      .sorted { (recall(baseline.classes[$0]), $0) < (recall(baseline.classes[$1]), $1) }.prefix(20)
    return """
      <details><summary>The numbers: classes\
      \(hardest.count < baseline.classes.count ? ", hardest first" : "" as Markup)</summary>
      <p>The share of each class's rows that are found.</p>
      <div class="scroll" tabindex="0"><table>
      <thead><tr><th scope="col">Class</th><th scope="col">Rows</th>\
      \(exit.rows.map { "<th scope=\"col\">\($0.model.name)</th>" as Markup })</tr></thead>
      <tbody>
      \(hardest.map { index -> Markup in
        """
        <tr><th scope="row">\(report.className(index))</th><td>\(Figures.count(baseline.classes[index].rows))</td>\
        \(exit.rows.map { row -> Markup in
          row.exit.classes.indices.contains(index)
            ? "<td>\(Figures.percent(recall(row.exit.classes[index])))</td>" : "<td>–</td>"
        })</tr>
        """
      })
      </tbody>
      </table></div>
      </details>
      """
  }

  /// A list of line styles; no style stands for filled bars.
  private func legend(_ entries: [(name: String, style: Int?)]) -> Markup {
    """
    <ul class="legend">
    \(entries.map { entry -> Markup in
      let swatch: Markup =
        entry.style.map { #"<path class="line \#(ChartStyle.series($0))" d="M1 7H33"/>"# }
        ?? #"<rect class="known" x="1" y="1" width="32" height="12"/>"#
      return """
        <li><svg class="swatch" viewBox="0 0 34 14" aria-hidden="true">\(swatch)</svg>\(entry.name)</li>
        """
    })
    </ul>
    """
  }
}
