import BayesEvaluation

/// What becomes of accuracy, likelihood and calibration when test images are corrupted.
struct ShiftSection: Sendable {
  var report: Report
  var shift: ShiftStudy

  /// A number that is followed over severities.
  private struct Measure: Sendable {
    var name: String
    /// As an axis names it.
    var axis: String
    var isShare: Bool
    var untouched: @Sendable (ExitResult) -> Double
    var shifted: @Sendable (ShiftedExit) -> Double

    func text(_ value: Double) -> String {
      isShare ? Figures.percent(value, decimals: 2) : Figures.number(value, decimals: 4)
    }
  }

  private static let charted = [
    Measure(name: "Accuracy", axis: "accuracy", isShare: true, untouched: { $0.accuracy }, shifted: { $0.accuracy }),
    Measure(name: "NLL", axis: "NLL, nats", isShare: false, untouched: { $0.nll }, shifted: { $0.nll }),
    Measure(name: "ECE", axis: "ECE", isShare: true, untouched: { $0.ece.value }, shifted: { $0.ece }),
  ]

  private static let tabled =
    charted + [
      Measure(name: "Brier", axis: "Brier", isShare: false, untouched: { $0.brier }, shifted: { $0.brier }),
      Measure(
        name: "Mean total uncertainty, nats", axis: "", isShare: false, untouched: { $0.uncertainty.total },
        shifted: { $0.uncertainty.total }),
      Measure(
        name: "Mean epistemic uncertainty, nats", axis: "", isShare: false, untouched: { $0.uncertainty.epistemic },
        shifted: { $0.uncertainty.epistemic }),
    ]

  private var exits: [ExitGroup] { report.exits.reversed() }

  private func readings(_ exit: Int) -> ShiftReadings { ShiftReadings(report: report, shift: shift, exit: exit) }

  /// The severities that were measured, of 1 to 5.
  private var severities: String {
    let levels = Set(shift.corruptions.flatMap { $0.severities.map(\.severity) }).sorted()
    return levels == Array(1...5) ? "1 to 5" : levels.map(String.init).joined(separator: ", ") + " of 1 to 5"
  }

  /// The section.
  func html() -> Markup {
    guard let deepest = exits.first(where: { $0.index == report.deepestExitIndex }) else { return "" }
    return """
      <section aria-labelledby="shift">
      <h2 id="shift">Under shift</h2>
      <p>The same test rows with their images corrupted by this program, at severities \(severities); severity 0 \
      are the untouched rows. Nothing was fitted anew: temperatures and posteriors are those of clean rows. An honest model loses \
      confidence as it loses accuracy, so that its calibration error stays low. Numbers here are of \(deepest.title)\
      \(exits.count > 1 ? "; other exits are folded below each corruption" : "").</p>
      <ul>
      \(readings(deepest.index).summary.map { "<li>\($0)</li>" as Markup })
      </ul>
      \(means(deepest))
      \(ChartStyle.legend(deepest.rows.map { (name: $0.model.name, style: $0.position) }))
      \(shift.corruptions.enumerated().map { number, corruption in self.corruption(corruption, number, deepest) })
      \(strengths())
      </section>
      """
  }

  /// Means over all corruptions, severity by severity.
  private func means(_ exit: ExitGroup) -> Markup {
    guard shift.corruptions.count > 1 else { return "" }
    let readings = readings(exit.index)
    typealias Measured = (value: Double, interval: Interval?)
    let rows: [(name: String, isShare: Bool, untouched: (ExitResult) -> Measured, mean: (ShiftMeans) -> Measured)] = [
      ("Accuracy", true, { ($0.accuracy, $0.intervals.accuracy) }, { ($0.accuracy, $0.accuracyInterval) }),
      ("NLL, nats", false, { ($0.nll, $0.intervals.nll) }, { ($0.nll, $0.nllInterval) }),
      ("ECE", true, { ($0.ece.value, $0.details?.intervals?.ece) }, { ($0.ece, $0.eceInterval) }),
    ]
    return """
      <h3>Mean over the corruptions</h3>
      <p>Small numbers are intervals that hold the mean with at least 95 %: as the same rows are corrupted in every way, \
      they are the means of the corruptions' own intervals.</p>
      <div class="scroll" tabindex="0" role="group" aria-label="Means over the corruptions"><table>
      \(Self.header)
      \(rows.map { measure -> Markup in
        func cell(_ measured: Measured?) -> Markup {
          guard let measured else { return "<td>–</td>" }
          return measure.isShare
            ? Figures.cell(share: measured.value, measured.interval)
            : Figures.cell(Figures.number(measured.value, decimals: 4), measured.interval)
        }
        return """
          <tbody><tr class="group"><th scope="rowgroup" colspan="7">\(measure.name)</th></tr>
          \(exit.rows.map { row -> Markup in
            """
            <tr><th scope="row">\(row.model.name)</th>\(cell(measure.untouched(row.exit)))\
            \((1...5).map { cell(readings.mean(of: row.model.name, at: $0).map(measure.mean)) })</tr>
            """
          })
          </tbody>
          """
      })
      </table></div>
      """
  }

  private static let header: Markup = """
    <thead><tr><th scope="col">Model</th><th scope="col">Severity 0</th>\
    \((1...5).map { "<th scope=\"col\">\($0)</th>" as Markup })</tr></thead>
    """

  private func corruption(_ corruption: ShiftedCorruption, _ number: Int, _ deepest: ExitGroup) -> Markup {
    """
    <h3>\(corruption.title)</h3>
    <ul>
    \(readings(deepest.index).sentences(corruption).map { "<li>\($0)</li>" as Markup })
    </ul>
    \(charts(corruption, number, deepest))
    \(exits.filter { $0.index != deepest.index }.map { exit -> Markup in
      """
      <details><summary>\(exit.title)</summary>
      \(charts(corruption, number, exit))
      </details>
      """
    })
    """
  }

  private func charts(_ corruption: ShiftedCorruption, _ number: Int, _ exit: ExitGroup) -> Markup {
    """
    <div class="charts">
    \(Self.charted.map { measure -> Markup in
      let chart = ShiftChart(
        series: exit.rows.map { row in
          .init(name: row.model.name, points: points(measure, corruption, row), style: row.position)
        },
        measure: measure.axis, isShare: measure.isShare,
        title: "\(measure.name) under \(corruption.title), \(exit.title)",
        identifier: "shift-\(number)-exit-\(exit.index)-\(measure.name.lowercased())")
      return "<figure>\(chart.svg())<figcaption>\(measure.name)</figcaption></figure>"
    })
    </div>
    <details><summary>The numbers: \(corruption.title), \(exit.title)</summary>
    <div class="scroll" tabindex="0"><table>
    \(Self.header)
    \(Self.tabled.map { measure -> Markup in
      """
      <tbody><tr class="group"><th scope="rowgroup" colspan="7">\(measure.name)</th></tr>
      \(exit.rows.map { row -> Markup in
        let points = points(measure, corruption, row)
        return """
          <tr><th scope="row">\(row.model.name)</th>\
          \((0...5).map { severity -> Markup in
            "<td>\(points.first { $0.severity == severity }.map { measure.text($0.value) } ?? "–")</td>"
          })</tr>
          """
      })
      </tbody>
      """
    })
    <tbody><tr class="group"><th scope="rowgroup" colspan="7">Change of the ECE from severity 0, 95 % interval</th></tr>
    \(exit.rows.map { row -> Markup in
      """
      <tr><th scope="row">\(row.model.name)</th><td>–</td>\
      \((1...5).map { severity -> Markup in
        let shifted = corruption.severities.first { $0.severity == severity }?.exit(exit.index, of: row.model.name)
        return "<td>\(shifted.map { Self.interval($0.change.ece) } ?? "–")</td>"
      })</tr>
      """
    })
    </tbody>
    </table></div>
    </details>
    """
  }

  private func points(
    _ measure: Measure, _ corruption: ShiftedCorruption, _ row: (position: Int, model: ModelResult, exit: ExitResult)
  ) -> [(severity: Int, value: Double)] {
    [(severity: 0, value: measure.untouched(row.exit))]
      + corruption.severities.sorted { $0.severity < $1.severity }.compactMap { severity in
        severity.exit(row.exit.index, of: row.model.name).map {
          (severity: severity.severity, value: measure.shifted($0))
        }
      }
  }

  private static func interval(_ difference: Difference) -> String {
    guard let interval = difference.interval else { return "–" }
    return "\(Figures.number(interval.low * 100, decimals: 1)) to \(Figures.number(interval.high * 100, decimals: 1))"
      + Figures.space + "pp"
  }

  /// What was done to the images.
  private func strengths() -> Markup {
    """
    <details><summary>What was done to the images</summary>
    <p>Values from \(Self.plain(shift.pixelLow)) (black) to \(Self.plain(shift.pixelHigh)) (full) were corrupted \
    before any preprocessing, kept in that range and, where they are stored as bytes, rounded to bytes. Strengths are \
    those of Hendrycks and Dietterich (2019) for images of 32 x 32 pixels; angles those of Ovadia et al. (2019). Noise \
    is Gaussian and of each row's own; blur is Gaussian; contrast is drawn to the mean of each channel; brightness is \
    added to the value in HSV; JPEG has chroma at half the resolution; rotations are anticlockwise about the centre, \
    with linear interpolation and black outside. Rotation of images whose class depends on which way is up tests more \
    than calibration. Intervals of ECE are as if both sets had rows of their own, which overstates the noise.</p>
    <div class="scroll" tabindex="0"><table>
    <thead><tr><th scope="col">Corruption</th><th scope="col">Strength</th>\
    \((1...5).map { "<th scope=\"col\">Severity \($0)</th>" as Markup })</tr></thead>
    <tbody>
    \(shift.corruptions.map { corruption -> Markup in
      """
      <tr><th scope="row">\(corruption.title)</th><td>\(corruption.strengthName)</td>\
      \((1...5).map { severity -> Markup in
        let strength = corruption.severities.first { $0.severity == severity }?.strength
        return "<td>\(strength.map { Self.plain($0) } ?? "–")</td>"
      })</tr>
      """
    })
    </tbody></table></div>
    </details>
    """
  }

  /// A number as it would be typed.
  private static func plain(_ value: Double) -> String {
    value == value.rounded() && abs(value) < 1e9 ? Figures.number(value, decimals: 0) : "\(value)"
  }
}
