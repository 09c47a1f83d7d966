import BayesEvaluation

extension MarkdownRenderer {
  /// A report on forecasts of real targets as a few lines: the verdict, warnings, and one table.
  public func render(_ report: RegressionReport) -> String {
    var parts = ["## \(plain(report.title))", plain(report.verdict)]
    if !report.warnings.isEmpty {
      parts.append(report.warnings.map { "- **Warning:** \(plain($0))" }.joined(separator: "\n"))
    }
    let measures: [RegressionMeasure] = [
      .rootMeanSquaredError, .meanAbsoluteError, .negativeLogLikelihood, .continuousRankedProbabilityScore, .sharpness,
      .miscalibrationArea, .coverage95,
    ]
    let rows = report.exits.flatMap { group in
      group.rows.map { row in
        ["\(group.index) \(plain(group.name))", plain(row.model.name)]
          + measures.map { measure in row.exit[measure].map { measure.text($0.value) } ?? "–" }
      }
    }
    let header = ["exit", "model"] + measures.map(\.title)
    let lines = [header, ["---", "---"] + measures.map { _ in "--:" }] + rows
    parts.append(lines.map { "| \($0.joined(separator: " | ")) |" }.joined(separator: "\n"))
    if !report.conformalSummary.isEmpty {
      parts.append(report.conformalSummary.map { "- \(plain($0))" }.joined(separator: "\n"))
    }
    parts.append("<sub>bayesify \(plain(report.provenance.version)): \(command(report.provenance))</sub>")
    return parts.joined(separator: "\n\n") + "\n"
  }
}
