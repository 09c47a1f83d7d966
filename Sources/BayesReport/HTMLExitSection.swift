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
    \(selection())
    \(histograms())
    \(exit.setNames.isEmpty ? "" : curves())
    \(classes())
    </details>
    """
  }

  private func figure(_ caption: Markup, _ chart: Markup, isWide: Bool = false) -> Markup {
    "<figure\(isWide ? " class=\"wide\"" : "" as Markup)>\(chart)<figcaption>\(caption)</figcaption></figure>"
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
    <th scope="col">Brier</th><th scope="col">ECE</th></tr></thead>
    <tbody>
    \(exit.rows.map { row -> Markup in
      let intervals = row.exit.intervals
      return """
        <tr><th scope="row">\(row.model.name)</th>\
        <td>\(Figures.percent(intervals.accuracy.low, decimals: 2)) to \
        \(Figures.percent(intervals.accuracy.high, decimals: 2))</td>\
        <td>\(Figures.range(intervals.nll))</td><td>\(Figures.range(intervals.brier))</td>\
        <td>\(Figures.percentRange(row.exit.details?.intervals?.ece))\(Figures.space)%</td></tr>
        """
    })
    </tbody></table></div>
    </details>
    \(otherErrors())
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

  /// Calibration errors by other definitions, and the parts of the Brier score.
  private func otherErrors() -> Markup {
    let rows = exit.rows.compactMap { row in row.exit.details.map { (row.model.name, $0) } }
    guard !rows.isEmpty else { return "" }
    let tools = Set(rows.flatMap { $0.1.calibration.conventions.keys }).sorted()
    let tops = rows[0].1.topAccuracies.map(\.k)
    return """
      <details><summary>The numbers: other measures</summary>
      <div class="scroll" tabindex="0"><table>
      <thead><tr><th scope="col">Model</th><th scope="col">MCE</th><th scope="col">RMS</th>\
      <th scope="col">Classwise</th><th scope="col">Equal mass</th><th scope="col">Smooth</th>\
      \(tools.map { "<th scope=\"col\">ECE by \($0)</th>" as Markup })\
      \(tops.map { "<th scope=\"col\">Top \(String($0))</th>" as Markup })\
      <th scope="col">Mean IoU</th><th scope="col">Disagreement</th></tr></thead>
      <tbody>
      \(rows.map { name, details -> Markup in
        let errors = details.calibration
        let intervals = details.intervals
        return """
          <tr><th scope="row">\(name)</th>\(Figures.cell(share: errors.maximum, intervals?.maximum))\
          \(Figures.cell(share: errors.rootMeanSquare, intervals?.rootMeanSquare))\
          \(Figures.cell(share: errors.classwise, intervals?.classwise))\(Figures.cell(share: errors.equalMass, intervals?.equalMass))\
          \(Figures.cell(share: errors.smooth, intervals?.smooth))\
          \(tools.map { Figures.cell(share: errors.conventions[$0], intervals?.conventions[$0]) })\
          \(tops.map { k in
            let top = details.topAccuracies.first { $0.k == k }
            return Figures.cell(share: top?.value, top?.interval)
          })\
          \(Figures.cell(share: details.overlap?.mean, details.overlap?.interval))\
          \(Figures.cell(share: details.disagreement?.disagreement, details.disagreement?.disagreementInterval))</tr>
          """
      })
      </tbody></table></div>
      <div class="scroll" tabindex="0"><table>
      <thead><tr><th scope="col">Brier score of</th><th scope="col">Reliability</th><th scope="col">Resolution</th>\
      <th scope="col">Uncertainty</th><th scope="col">Within bins</th></tr></thead>
      <tbody>
      \(rows.map { name, details -> Markup in
        let (parts, intervals) = (details.brier, details.intervals?.brier)
        let cells = [
          (parts.reliability, intervals?.reliability), (parts.resolution, intervals?.resolution),
          (parts.uncertainty, intervals?.uncertainty), (parts.withinBins, intervals?.withinBins),
        ]
        return """
          <tr><th scope="row">\(name)</th>\
          \(cells.map { Figures.cell(Figures.number($0, decimals: 4), $1) })</tr>
          """
      })
      </tbody></table></div>
      </details>
      """
  }

  /// What setting the least confident rows aside gains.
  private func selection() -> Markup {
    let rows = exit.rows.compactMap { row in row.exit.details.map { (row, $0.selection) } }
    guard !rows.isEmpty else { return "" }
    return """
      <h4>Which answers can be kept?</h4>
      <p>Rows are kept by confidence, the most confident first; the line is the share of wrong answers among them. It \
      falls to the left where confidence tells right answers from wrong ones. Chosen on these rows, a threshold promises \
      nothing for others.</p>
      \(legend(rows.map { (name: $0.0.model.name, style: $0.0.position) }))
      \(figure(
        "Wrong answers among the rows kept",
        RiskCoverageChart(
          series: rows.map { .init(name: $0.0.model.name, selection: $0.1, style: $0.0.position) },
          title: "Risk and coverage, \(exit.title)", identifier: "\(prefix)-risk"
        ).svg(), isWide: true))
      <details><summary>The numbers: risk and coverage</summary>
      <div class="scroll" tabindex="0"><table>
      <thead><tr><th scope="col">Model</th><th scope="col">AURC</th><th scope="col">E-AURC</th>\
      <th scope="col">AUGRC</th>\
      \(rows[0].1.risks.map { "<th scope=\"col\">Wrong of \(Figures.percent($0.coverage, decimals: 0))</th>" as Markup })\
      \(["1", "2", "5"].map { "<th scope=\"col\">Kept at \($0) % wrong</th>" as Markup })</tr></thead>
      <tbody>
      \(rows.map { row, selection -> Markup in
        let intervals = row.exit.details?.intervals
        let kept = [0.01, 0.02, 0.05].map { risk -> Markup in
          guard let index = selection.coverages.firstIndex(where: { $0.risk == risk }) else { return "<td>none</td>" }
          let interval = intervals?.coverages.flatMap { $0.indices.contains(index) ? $0[index] : nil }
          return Figures.cell(share: selection.coverages[index].coverage, interval)
        }
        return """
          <tr><th scope="row">\(row.model.name)</th>\
          \(Figures.cell(Figures.number(selection.aurc, decimals: 4), intervals?.aurc))\
          \(Figures.cell(Figures.number(selection.excessAURC, decimals: 4), intervals?.excessAURC))\
          \(Figures.cell(Figures.number(selection.augrc, decimals: 4), intervals?.augrc))\
          \(selection.risks.enumerated().map { index, point in
            Figures.cell(share: point.risk, intervals.flatMap { $0.risks.indices.contains(index) ? $0.risks[index] : nil })
          })\
          \(kept)</tr>
          """
      })
      </tbody></table></div>
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
    \(Figures.cell(Figures.number(mean.total, decimals: 4), mean.intervals?.total))\
    \(Figures.cell(Figures.number(mean.aleatoric, decimals: 4), mean.intervals?.aleatoric))\
    \(Figures.cell(Figures.number(mean.epistemic, decimals: 4), mean.intervals?.epistemic))</tr>
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
      \(detectors())
      """
  }

  /// What detectors on features find, the best on the first set before the others.
  private func detectors() -> Markup {
    let rows = exit.rows.flatMap { row in (row.exit.detectors ?? []).map { (row.model.name, $0) } }
    guard !rows.isEmpty else { return "" }
    let isTimed = rows.contains { $0.1.seconds != nil }
    func rank(_ result: DetectorResult) -> Double { exit.setNames.first.flatMap { result.sets[$0]?.auroc } ?? 0 }
    let ordered = rows.sorted { (rank($0.1), $1.1.name) > (rank($1.1), $0.1.name) }
    return """
      <h5>Detectors on features</h5>
      <p>Fitted to training rows (react to validation rows) with the settings that their sources recommend; nothing was \
      chosen on these sets. AUROC with its 95 % interval, and FPR95.</p>
      <div class="scroll" tabindex="0"><table>
      <thead><tr><th scope="col">Detector</th>\
      \(exit.setNames.map { "<th scope=\"col\">\($0)</th><th scope=\"col\">FPR95</th>" as Markup })\
      \(isTimed ? "<th scope=\"col\">Fit, s</th><th scope=\"col\">Scoring, µs a row</th>" : "" as Markup)</tr></thead>
      <tbody>
      \(ordered.map { model, result -> Markup in
        """
        <tr><th scope="row">\(SeparationReading.words(result.name)) <small>\(model)</small></th>\
        \(exit.setNames.map { set -> Markup in
          guard let score = result.sets[set] else { return "<td>–</td><td>–</td>" }
          return """
            \(Figures.cell(Figures.number(score.auroc, decimals: 3), score.aurocInterval))\
            \(Figures.cell(share: score.fpr95, score.fpr95Interval))
            """
        })\(isTimed ? seconds(result.seconds) : "")</tr>
        """
      })
      </tbody></table></div>
      """
  }

  private func seconds(_ seconds: DetectorSeconds?) -> Markup {
    let (fit, scoring) = (seconds?.fit, seconds.map { $0.scoringPerRow * 1e6 })
    return """
      <td>\(fit.map { Figures.number($0, decimals: 2) } ?? "–")</td>\
      <td>\(scoring.map { Figures.number($0, decimals: 2) } ?? "–")</td>
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
            \(Figures.cell(Figures.number(result.auprOut, decimals: 4), result.auprOutInterval))\
            \(Figures.cell(Figures.number(result.auprIn, decimals: 4), result.auprInInterval))\
            \(Figures.cell(share: result.fpr95, result.fpr95Interval))</tr>
            """
        }
      })
      </tbody>
      """
    })
    </table></div>
    """
  }

  /// The classes that the baseline finds least often, at most twenty, and what is taken for what.
  private func classes() -> Markup {
    guard let baseline = exit.rows.first?.exit else { return "" }
    let hardest = baseline.classes.indices.filter { baseline.classes[$0].rows > 0 }
      .sorted { (baseline.classes[$0].recall ?? 1, $0) < (baseline.classes[$1].recall ?? 1, $1) }.prefix(20)
    return """
      <details><summary>The numbers: classes\
      \(hardest.count < baseline.classes.count ? ", hardest first" : "" as Markup)</summary>
      <p>Recall, the share of each class's rows that are found; below it precision, the share of right ones among the rows \
      that are called so, and IoU, intersection over union.</p>
      <div class="scroll" tabindex="0"><table>
      <thead><tr><th scope="col">Class</th><th scope="col">Rows</th>\
      \(exit.rows.map { "<th scope=\"col\">\($0.model.name)</th>" as Markup })</tr></thead>
      <tbody>
      \(hardest.map { index -> Markup in
        """
        <tr><th scope="row">\(report.className(index))</th><td>\(Figures.count(baseline.classes[index].rows))</td>\
        \(exit.rows.map { row in cell(row.exit.classes.indices.contains(index) ? row.exit.classes[index] : nil) })</tr>
        """
      })
      </tbody>
      </table></div>
      \(confusions())
      </details>
      """
  }

  private func cell(_ counts: ClassCounts?) -> Markup {
    guard let counts else { return "<td>–</td>" }
    func text(_ share: Double?) -> String { share.map { Figures.percent($0) } ?? "–" }
    return """
      <td>\(text(counts.recall))<span class="delta">precision \(text(counts.precision)), \
      IoU \(text(counts.intersectionOverUnion))</span></td>
      """
  }

  /// The most frequent mistakes of each model, at most ten.
  private func confusions() -> Markup {
    let models = exit.rows.compactMap { row in
      row.exit.details?.confusions.map { (name: row.model.name, confusions: $0.prefix(10)) }
    }
    let count = models.map(\.confusions.count).max() ?? 0
    guard count > 0 else { return "" }
    return """
      <p>The most frequent mistakes of each model: the label, what it is taken for, and how often.</p>
      <div class="scroll" tabindex="0"><table>
      <thead><tr><th scope="col">Rank</th>\
      \(models.map { "<th scope=\"col\">\($0.name)</th>" as Markup })</tr></thead>
      <tbody>
      \((0..<count).map { rank -> Markup in
        """
        <tr><th scope="row">\(Figures.count(rank + 1))</th>\
        \(models.map { model -> Markup in
          guard model.confusions.indices.contains(rank) else { return "<td>–</td>" }
          let confusion = model.confusions[rank]
          return """
            <td>\(report.className(confusion.label)) → \(report.className(confusion.predicted)), \
            \(Figures.count(confusion.rows))</td>
            """
        })</tr>
        """
      })
      </tbody>
      </table></div>
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
