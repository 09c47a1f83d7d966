import BayesEvaluation

/// Which rows a policy trusts, where one was given.
struct TrustSection: Sendable {
  var report: Report

  private var results: [(model: String, exit: ExitResult, trust: TrustResult)] {
    report.models.flatMap { model in
      model.exits.compactMap { exit in exit.trust.map { (model.name, exit, $0) } }
    }
  }

  /// The section with a table for each model and exit that has a policy.
  func html() -> Markup {
    """
      <section aria-labelledby="trust">
      <h2 id="trust">Rows to trust</h2>
      \(results.map { model, exit, trust -> Markup in
        """
        <p>\(trust.reading(of: model, at: exit.name))</p>
        <div class="scroll" tabindex="0" role="group" aria-labelledby="trust">
        <table>
        <thead><tr><th scope="col">Rows</th><th scope="col">Count</th><th scope="col">Trusted</th>\
        <th scope="col">95 %</th><th scope="col">Wrong of these</th><th scope="col">95 %</th></tr></thead>
        <tbody>
        \(row("test", trust.test))
        \(trust.foreign.map { row($0.name, $0.counts) })
        </tbody>
        </table>
        </div>
        """
      })
      </section>
      """
  }

  private func row(_ name: String, _ counts: TrustCounts) -> Markup {
    func percent(_ value: Double?) -> String { value.map { Figures.percent($0, decimals: 2) } ?? "–" }
    func range(_ interval: Interval?) -> String {
      interval.map { "\(Figures.number($0.low * 100, decimals: 2)) to \(Figures.percent($0.high, decimals: 2))" } ?? "–"
    }
    return """
      <tr><th scope="row">\(name)</th><td>\(Figures.count(counts.rowCount))</td>\
      <td>\(percent(counts.coverage))</td><td>\(range(counts.coverageInterval))</td>\
      <td>\(percent(counts.risk))</td><td>\(range(counts.riskInterval))</td></tr>
      """
  }
}

/// Where a row is trusted, for readers.
public struct TrustCondition: Sendable, Hashable {
  /// The name of a score.
  public var score: String
  /// Below it rows are trusted; infinite where all are.
  public var threshold: Double

  public init(score: String, threshold: Double) {
    self.score = score
    self.threshold = threshold
  }

  /// `where the largest probability is above 0.97000`
  public var words: String {
    guard threshold.isFinite else { return "everywhere" }
    if score == "maximumProbability" {
      return "where the largest probability is above \(Figures.number(1 - threshold, decimals: 5))"
    }
    return "where the \(SeparationReading.words(score)) is below \(Figures.scientific(threshold))"
  }
}

extension Report {
  /// What the policy does to each model that it was tuned for, in plain sentences; empty without one.
  public var trustSummary: [String] {
    models.flatMap { model in
      model.exits.compactMap { exit in exit.trust?.reading(of: model.name, at: exit.name) }
    }
  }
}

extension TrustResult {
  /// What the policy does, in plain sentences.
  func reading(of model: String, at exit: String) -> String {
    let percent = { (value: Double) in Figures.percent(value) }
    let condition = TrustCondition(score: score, threshold: threshold ?? .infinity)
    var sentences = [
      "The policy trusts \(model) at \(exit) \(condition.words), so that at most \(percent(maximumRisk)) of the "
        + "trusted rows are wrong, with a probability of at least \(percent(1 - delta))."
    ]
    if let coverage = test.coverage, let risk = test.risk, let interval = test.riskInterval {
      let verdict =
        risk <= maximumRisk
        ? "the promise is kept here"
        : interval.low <= maximumRisk
          ? "more than promised, by what chance may do to these rows"
          : "more than promised and more than chance explains: these rows are not like those it was tuned on"
      sentences.append(
        "Of the test rows it trusts \(percent(coverage)), of which \(Figures.percent(risk, decimals: 2)) are wrong: \(verdict).")
    }
    if !foreign.isEmpty {
      let parts = foreign.map { "\(percent($0.counts.coverage ?? 0)) of \($0.name)" }
      sentences.append("It trusts \(parts.joined(separator: ", ")), of which every answer is wrong by definition.")
    }
    return sentences.joined(separator: " ")
  }
}
