import BayesEvaluation

extension HTMLRenderer {
  /// The page of a report on forecasts of real targets.
  public func render(_ report: RegressionReport) -> String {
    let exits = report.exits
    var sections = HTMLPage.opening(title: report.title, verdict: report.verdict, warnings: report.warnings)
    sections.append(RegressionGainsTable(report: report, exits: exits).html())
    sections += HTMLPage.readings(report.models.map { ($0.name, report.readings(of: $0)) })
    sections.append(
      """
      <section aria-labelledby="exits">
      <h2 id="exits">\(exits.count == 1 ? "Charts" : "Charts, exit by exit")</h2>
      \(exits.map { exit in
        RegressionExitSection(report: report, exit: exit, isOpen: exit.index == report.deepestExitIndex).html()
      })
      </section>
      """)
    if exits.contains(where: { $0.rows.contains { $0.exit.conformal != nil } }) {
      sections.append(RegressionConformalTable(report: report, exits: exits).html())
    }
    sections.append(RegressionDefinitions(report: report).html())
    sections += ProvenanceSection(provenance: report.provenance, timing: report.timing ?? [:]).sections()
    return HTMLPage(title: report.title, sections: sections).source
  }
}

/// Errors, scores and calibration of every model at every exit, with differences from the baseline.
struct RegressionGainsTable: Sendable {
  var report: RegressionReport
  var exits: [RegressionExitGroup]

  private static let measures: [RegressionMeasure] = [
    .rootMeanSquaredError, .meanAbsoluteError, .negativeLogLikelihood, .continuousRankedProbabilityScore,
    .intervalScore, .sharpness, .miscalibrationArea, .coverage95,
  ]

  /// The section with its table.
  func html() -> Markup {
    """
    <section aria-labelledby="gains">
    <h2 id="gains">Gains</h2>
    <p>Each model next to the baseline, \(report.baseline), on the same rows. ✓ is better, ✗ is worse, ≈ is within \
    noise: the 95 % interval of the difference includes zero. Sharpness and the share of targets in 95 % intervals are \
    neither good nor bad by themselves; differences of these have no mark.</p>
    <div class="scroll" tabindex="0" role="group" aria-labelledby="gains">
    <table>
    <thead><tr><th scope="col">Model</th>\
    \(Self.measures.map { "<th scope=\"col\">\($0.title)</th>" as Markup })\
    <th scope="col">Fitted</th></tr></thead>
    \(exits.map { group -> Markup in
      let cost = group.multiplyAdds.map { " <small>\(Figures.cost($0)) multiply-adds a row</small>" as Markup }
      return """
        <tbody>
        <tr class="group"><th scope="rowgroup" colspan="\(Self.measures.count + 2)">\(group.title)\(cost ?? "")</th></tr>
        \(group.rows.map { self.row($0.model, $0.exit) })
        </tbody>
        """
    })
    </table>
    </div>
    </section>
    """
  }

  private func row(_ model: RegressionModelResult, _ exit: RegressionExitResult) -> Markup {
    let comparison = report.comparison(of: model.name, exit: exit.index)
    let mark: Markup = model.name == report.baseline ? " <small>baseline</small>" : ""
    let settings = exit.settings.sorted { $0.key < $1.key }.map {
      "<span>\(SeparationReading.words($0.key)) \(RegressionMeasure.digits($0.value))</span>" as Markup
    }
    return """
      <tr><th scope="row">\(model.name)\(mark)</th>\
      \(Self.measures.map { Self.cell($0, exit[$0], comparison?[$0]) })\
      <td class="settings">\(settings)</td></tr>
      """
  }

  /// A number with its difference from the baseline's.
  static func cell(_ measure: RegressionMeasure, _ number: MeasuredNumber?, _ difference: Difference?) -> Markup {
    guard let number else { return #"<td class="none">–</td>"# }
    let mark = difference.map { difference -> Markup in
      let text = measure.difference(difference.value)
      guard measure.isLoss else { return #"<span class="delta">\#(text)</span>"# }
      return DifferenceMark(text: text, gain: -difference.value, isWithinNoise: difference.isWithinNoise).html
    }
    return "<td>\(measure.text(number.value))\(mark ?? "")</td>"
  }
}

/// The calibration curves and full tables of one exit, folded unless it is the deepest.
struct RegressionExitSection: Sendable {
  var report: RegressionReport
  var exit: RegressionExitGroup
  var isOpen: Bool

  private typealias Row = (position: Int, model: RegressionModelResult, exit: RegressionExitResult)

  /// The folded section.
  func html() -> Markup {
    let calibrated = exit.rows.filter { !$0.exit.calibration.isEmpty }
    return """
      <details class="exit"\(isOpen ? " open" : "" as Markup)>
      <summary><h3>\(exit.title)</h3></summary>
      \(calibrated.isEmpty
        ? "<p>No model here has deviations, so there is no calibration to draw.</p>" : curves(calibrated))
      \(numbers())
      \(outputs())
      </details>
      """
  }

  private func curves(_ rows: [Row]) -> Markup {
    // Ninths of the probability, of the curve's 99 steps.
    let places = stride(from: 0, to: rows[0].exit.calibration.count, by: 11).map { $0 }
    return """
      <h4>Are the intervals honest?</h4>
      <p>The share of test targets inside central intervals of each probability: an honest model follows the \
      diagonal; below it intervals are too narrow, above it too wide.</p>
      <figure>\(CalibrationCurveChart(
        series: rows.map { row in
          .init(
            name: row.model.name, points: row.exit.calibration, area: row.exit[.miscalibrationArea]?.value ?? .nan,
            style: row.position)
        }, title: "Calibration curves, \(exit.title)", identifier: "exit-\(exit.index)-calibration"
      ).svg())<figcaption>Nominal against observed coverage</figcaption></figure>
      \(ChartStyle.legend(rows.map { (name: $0.model.name, style: $0.position) }))
      <details><summary>The numbers: calibration curves</summary>
      <div class="scroll" tabindex="0" role="group" aria-label="Calibration curves, \(exit.title)"><table>
      <thead><tr><th scope="col">Probability</th>\
      \(rows.map { "<th scope=\"col\">\($0.model.name)</th>" as Markup })</tr></thead>
      <tbody>
      \(places.map { place -> Markup in
        """
        <tr><th scope="row">\(Figures.percent(rows[0].exit.calibration[place].nominal))</th>\
        \(rows.map { row -> Markup in
          guard row.exit.calibration.indices.contains(place) else { return "<td>–</td>" }
          let point = row.exit.calibration[place]
          return "<td>\(Figures.percent(point.observed))\(Self.small(.coverage95, point.interval))</td>"
        })</tr>
        """
      })
      </tbody></table></div>
      </details>
      """
  }

  /// Every number with its interval.
  private func numbers() -> Markup {
    """
    <details><summary>The numbers: all, with 95 % intervals and differences from the baseline</summary>
    \(Self.table(
      exit.rows.map { row in
        let comparison = report.comparison(of: row.model.name, exit: exit.index)
        return (row.model.name, row.exit.measures, comparison?.measures)
      },
      label: "All numbers, \(exit.title)"))
    </details>
    """
  }

  private func outputs() -> Markup {
    let count = exit.rows.map { $0.exit.outputs.count }.max() ?? 0
    guard count > 0 else {
      guard let outputs = exit.rows.first?.exit.outputCount, outputs > RegressionEvaluation.outputLimit else { return "" }
      return "<p>With \(outputs) outputs, numbers of each are not kept; those above are means over all of them.</p>"
    }
    return """
      <details><summary>The numbers: each output</summary>
      \((0..<count).map { output -> Markup in
        """
        <h5>\(report.outputName(output))</h5>
        \(Self.table(
          exit.rows.compactMap { row in
            guard row.exit.outputs.indices.contains(output) else { return nil }
            let differences = report.comparison(of: row.model.name, exit: exit.index)?.outputs ?? []
            return (
              row.model.name, row.exit.outputs[output].measures,
              differences.indices.contains(output) ? differences[output] : nil
            )
          }, label: "\(report.outputName(output)), \(exit.title)"))
        """
      })
      </details>
      """
  }

  private static func table(
    _ rows: [(name: String, numbers: [String: MeasuredNumber], differences: [String: Difference]?)], label: String
  ) -> Markup {
    """
    <div class="scroll" tabindex="0" role="group" aria-label="\(label)"><table>
    <thead><tr><th scope="col">Number</th>\(rows.map { "<th scope=\"col\">\($0.name)</th>" as Markup })</tr></thead>
    <tbody>
    \(RegressionMeasure.allCases.filter { measure in rows.contains { $0.numbers[measure.rawValue] != nil } }
      .map { measure -> Markup in
        """
        <tr><th scope="row">\(measure.title)</th>\
        \(rows.map { row -> Markup in
          guard let number = row.numbers[measure.rawValue] else { return #"<td class="none">–</td>"# }
          let difference = row.differences?[measure.rawValue].map { difference -> Markup in
            let range = self.range(measure, difference.interval)
            return "<span class=\"delta\">\(measure.difference(difference.value))\(range)</span>"
          }
          return "<td>\(measure.text(number.value))\(small(measure, number.interval))\(difference ?? "")</td>"
        })</tr>
        """
      })
    </tbody></table></div>
    """
  }

  private static func small(_ measure: RegressionMeasure, _ interval: Interval?) -> Markup {
    guard let interval else { return "" }
    return " <small>\(measure.text(interval.low)) to \(measure.text(interval.high))</small>"
  }

  private static func range(_ measure: RegressionMeasure, _ interval: Interval?) -> String {
    interval.map { " (\(measure.difference($0.low)) to \(measure.difference($0.high)))" } ?? ""
  }
}

/// What intervals with a promise hold and how wide they are.
struct RegressionConformalTable: Sendable {
  var report: RegressionReport
  var exits: [RegressionExitGroup]

  /// The method in words.
  static func title(_ method: RegressionConformalMethod) -> String {
    switch method {
    case .absolute: "split, absolute"
    case .normalized: "split, normalised"
    case .quantiles: "CQR"
    }
  }

  /// The section: the deepest exit in the open, the others folded.
  func html() -> Markup {
    let groups = exits.filter { $0.rows.contains { $0.exit.conformal != nil } }
    guard let deepest = groups.last else { return "" }
    let rows = deepest.rows.lazy.compactMap { $0.exit.conformal?.first?.calibrationRowCount }.first ?? 0
    let tuned = report.models.filter { model in
      model.exits.contains { $0.conformal?.first?.isTunedOnCalibrationRows == true }
    }.map(\.name)
    let note: Markup =
      tuned.isEmpty
      ? ""
      : """
      <p>Tuned on the very rows that the thresholds are from, so that for them the promise is not exact: \
      \(tuned.joined(separator: ", ")). Rows can be kept apart with --conformal-rows.</p>
      """
    return """
      <section aria-labelledby="conformal">
      <h2 id="conformal">Intervals with a promise</h2>
      <p>Intervals that hold the target in a promised share of rows, 1 − alpha, on average over rows that are \
      exchangeable with the \(Figures.count(rows)) calibration rows; of each output by itself. Measured on the test \
      rows, at \(deepest.title).</p>
      <ul>
      \(report.conformalSummary.map { "<li>\($0)</li>" as Markup })
      </ul>
      \(note)
      \(table(deepest))
      \(groups.dropLast().map { group -> Markup in
        """
        <details><summary>\(group.title)</summary>
        \(table(group))
        </details>
        """
      })
      </section>
      """
  }

  private func table(_ group: RegressionExitGroup) -> Markup {
    """
    <div class="scroll" tabindex="0" role="group" aria-label="Intervals with a promise, \(group.title)"><table>
    <thead><tr><th scope="col">Method</th><th scope="col">Alpha</th><th scope="col">Output</th>\
    <th scope="col">Coverage</th><th scope="col">95 % band</th><th scope="col">Mean width</th>\
    <th scope="col">Threshold</th></tr></thead>
    \(group.rows.filter { $0.exit.conformal != nil }.map { row -> Markup in
      """
      <tbody>
      <tr class="group"><th scope="rowgroup" colspan="7">\(row.model.name)</th></tr>
      \((row.exit.conformal ?? []).map { result -> Markup in
        Markup(
          result.outputs.prefix(RegressionEvaluation.outputLimit).enumerated().map { index, output in
            let width = output.meanWidthInterval.map {
              " <small>\(RegressionMeasure.digits($0.low)) to \(RegressionMeasure.digits($0.high))</small>" as Markup
            }
            return """
              <tr><th scope="row">\(Self.title(result.method))</th><td>\(String(result.alpha))</td>\
              <td>\(report.outputName(index))</td>\
              <td>\(Figures.percent(output.coverage, decimals: 2)) <small>\
              \(Figures.percent(output.interval.low)) to \
              \(Figures.percent(output.interval.high))</small>\(Self.mark(output))</td>\
              <td>\(Figures.percent(output.band.low)) to \(Figures.percent(output.band.high))</td>\
              <td>\(RegressionMeasure.digits(output.meanWidth))\(width ?? "")</td>\
              <td>\(RegressionMeasure.digits(output.threshold))</td></tr>
              """
          })
      })
      </tbody>
      """
    })
    </table></div>
    """
  }

  /// Where coverage lies, given its band, in words.
  private static func mark(_ output: ConformalIntervalResult) -> Markup {
    if output.coverage < output.band.low { return #"<span class="delta worse">✗ below the band</span>"# }
    let words = output.coverage > output.band.high ? "above the band" : "in the band"
    return #"<span class="delta">\#(words)</span>"#
  }
}

/// What every number on the page means.
struct RegressionDefinitions: Sendable {
  var report: RegressionReport

  /// The section as a list of terms.
  func html() -> Markup {
    let terms: [(term: String, meaning: String)] = [
      (
        "Baseline",
        "\(report.baseline); gains are measured against it. A constant deviation is one standard deviation an output, "
          + "the root mean squared error on the validation rows."
      ),
      (
        "Forecast",
        "A normal distribution of mean m and standard deviation s for each row and output. A posterior's variance is "
          + "that of the mean (epistemic) and the noise of targets around it, added up. Over several outputs numbers "
          + "are means of all."
      ),
      (
        "RMSE, MAE",
        "The root of the mean squared, and the mean absolute, difference of mean and target, in the targets' unit."
      ),
      ("NLL", "The mean of ½ log 2π + log s + ½ z² with z = (y − m) / s, in nats; it moves with the targets' unit."),
      (
        "CRPS",
        "The mean integrated squared difference between the forecast distribution function and the target's step, in "
          + "the targets' unit (Gneiting and Raftery 2007)."
      ),
      ("Check score", "The mean pinball loss over quantiles .01 to .99, in the targets' unit; half the CRPS, nearly."),
      (
        "Interval score",
        "The mean over central intervals of .01 to .99 of width + 2 / (1 − p) times the distance of a target outside, "
          + "in the targets' unit."
      ),
      (
        "Sharpness, epistemic, noise",
        "The root of the mean forecast variance, of the mean variance of the posterior's means, and of the mean noise "
          + "variance, in the targets' unit."
      ),
      (
        "Miscalibration, RMS gap, mean gap",
        "Between the share of targets in central intervals and the intervals' probability, at 100 equal steps from "
          + "zero to one: the area, the root mean squared and the mean absolute gap (Kuleshov et al. 2018; levels as "
          + "in Chung et al. 2021)."
      ),
      ("In 95 %", "The share of targets inside the forecast's central 95 % interval; likewise 50, 80 and 90 %."),
      (
        "Deviation scaling",
        "All standard deviations of an output times one factor, the root mean squared z of the validation rows (Laves "
          + "et al. 2021)."
      ),
      (
        "Isotonic quantiles",
        "After deviation scaling, each level of the forecast is replaced by the share of validation targets below it "
          + "(Kuleshov et al. 2018). Means stay; there is no likelihood, as the density is zero in places."
      ),
      (
        "Split, absolute and normalised",
        "Intervals m ± q and m ± q s; q is the ⌈(n + 1)(1 − alpha)⌉-th smallest of |y − m| or |z| of n calibration "
          + "rows (Lei et al. 2018)."
      ),
      (
        "CQR",
        "The forecast's quantiles alpha/2 and 1 − alpha/2, moved apart or together by the like rank of max(l − y, y − "
          + "u) (Romano et al. 2019)."
      ),
      (
        "95 % band",
        "Where coverage lies in 95 of 100 draws of calibration and test rows, whatever the model: the central part of "
          + "a beta-binomial distribution."
      ),
      (
        "Intervals",
        "Small numbers beside a value are its 95 % interval: Wilson's for shares of rows, the normal one for widths, "
          + "and else from 1000 sets of rows drawn anew in 200 blocks (row i in block i mod 200), centred on the "
          + "value. Outputs of a row are drawn together."
      ),
      (
        "Within noise",
        "The 95 % interval of the difference includes zero; both models are measured on the same sets of rows drawn "
          + "anew."
      ),
    ]
    return """
      <section aria-labelledby="definitions">
      <h2 id="definitions">Methods and definitions</h2>
      <dl>
      \(terms.map { "<dt>\($0.term)</dt><dd>\($0.meaning)</dd>" as Markup })
      </dl>
      </section>
      """
  }
}
