import BayesEvaluation
import Foundation

/// Writes a report as a few lines of Markdown, for a pull request: the verdict, warnings, and one table.
public struct MarkdownRenderer: ReportRenderer {
  public init() {}

  public func render(_ report: Report) -> String {
    var parts = ["## \(plain(report.title))", plain(report.verdict)]
    if !report.warnings.isEmpty {
      parts.append(report.warnings.map { "- **Warning:** \(plain($0))" }.joined(separator: "\n"))
    }
    parts.append(table(report))
    let findings = report.findings
    if !findings.isEmpty { parts.append(findings.map { "- \(plain($0))" }.joined(separator: "\n")) }
    parts.append("<sub>bayesify \(plain(report.provenance.version)): \(command(report.provenance))</sub>")
    return parts.joined(separator: "\n\n") + "\n"
  }

  private func table(_ report: Report) -> String {
    let sets = report.models.flatMap(\.exits).flatMap(\.ood).map(\.name)
      .reduce(into: [String]()) { if !$0.contains($1) { $0.append($1) } }
    let header = ["exit", "model", "accuracy", "NLL", "Brier", "ECE"] + sets.map { "best AUROC \(plain($0))" }
    let rows = report.exits.flatMap { group in
      group.rows.map { row -> [String] in
        let exit = row.exit
        return [
          "\(group.index) \(plain(group.name))", plain(row.model.name), Figures.percent(exit.accuracy, decimals: 2),
          Figures.number(exit.nll, decimals: 4), Figures.number(exit.brier, decimals: 4),
          Figures.percent(exit.ece.value, decimals: 2),
        ]
          + sets.map { name in
            guard let set = exit.ood.first(where: { $0.name == name }), let best = SeparationReading.best(of: set.scores)
            else { return "–" }
            return "\(Figures.number(best.auroc, decimals: 3)) (\(best.score))"
          }
      }
    }
    let lines = [header, ["---", "---"] + Array(repeating: "--:", count: header.count - 2)] + rows
    return lines.map { "| \($0.joined(separator: " | ")) |" }.joined(separator: "\n")
  }

  /// The command line as code, between more backticks than it has in a row.
  func command(_ provenance: Provenance) -> String {
    let line = provenance.commandLine.split(whereSeparator: \.isNewline).joined(separator: " ")
    let longest = line.split { $0 != "`" }.map(\.count).max() ?? 0
    let fence = String(repeating: "`", count: longest + 1)
    return longest > 0 ? "\(fence) \(line) \(fence)" : fence + line + fence
  }

  /// Text in which nothing is taken for markup.
  public func plain(_ text: String) -> String {
    text.split(whereSeparator: \.isNewline).joined(separator: " ").reduce(into: "") { result, character in
      if #"\`*_[]<>|#"#.contains(character) { result += "\\" }
      result.append(character)
    }
  }
}
