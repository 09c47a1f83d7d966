import BayesEvaluation

extension ExitStudyReport {
  /// The report as JSON with sorted keys.
  public func json() throws -> String { try JSONRenderer.text(self) }

  /// The report as one self-contained page.
  public func html() -> String {
    var sections = HTMLPage.opening(
      title: title,
      verdict: "Rows leave a network of \(exits.count) exits as soon as it is sure enough. Thresholds were chosen on "
        + "\(Figures.count(validationRowCount)) validation rows; every number here is from \(Figures.count(testRowCount)) "
        + "others.",
      warnings: warnings)
    sections += [variantSection, policySection, readingSection, exitSection]
    if !budgets.isEmpty { sections.append(budgetSection) }
    sections += [Self.definitions] + ProvenanceSection(provenance: provenance).sections()
    return HTMLPage(title: title, sections: sections).source
  }

  private var fullCost: Double { variants.flatMap { $0.costs.toExit }.max() ?? 1 }
  private var unit: String { variants.first?.costs.unit.rawValue ?? "" }

  private func cost(_ value: Double) -> String {
    unit == ExitCosts.Unit.multiplyAdds.rawValue ? Figures.cost(Int(value)) : Figures.number(value, decimals: 4)
  }

  private func table(_ label: String, _ header: [String], _ rows: [[Markup]]) -> Markup {
    """
    <div class="scroll" tabindex="0" role="group" aria-labelledby="\(label)">
    <table>
    <thead><tr>\(header.map { "<th scope=\"col\">\($0)</th>" as Markup })</tr></thead>
    <tbody>
    \(rows.map { row -> Markup in
      "<tr><th scope=\"row\">\(row[0])</th>\(row.dropFirst().map { "<td>\($0)</td>" as Markup })</tr>"
    })
    </tbody>
    </table>
    </div>
    """
  }

  private func legend(_ entries: [CostAccuracyChart.Series]) -> Markup {
    """
    <ul class="legend">
    \(entries.map { entry -> Markup in
      """
      <li><svg class="swatch" viewBox="0 0 34 14" aria-hidden="true"><path class="\(entry.style)" d="M1 7H33"/></svg>\
      \(entry.name)</li>
      """
    })
    </ul>
    """
  }

  private func figure(_ series: [CostAccuracyChart.Series], title: String, identifier: String) -> Markup {
    """
    <figure class="wide">
    \(CostAccuracyChart(series: series, fullCost: fullCost, unit: unit, title: title, identifier: identifier).svg())
    </figure>
    \(legend(series))
    """
  }

  private static func line(_ index: Int) -> String { "line " + ChartStyle.series(index) }

  private var variantSection: Markup {
    let series = variants.enumerated().compactMap { index, variant in
      variant.policies.first.map { policy in
        CostAccuracyChart.Series(
          name: variant.name, points: policy.points.map { ($0.cost, $0.accuracy) }, style: Self.line(index))
      }
    }
    return """
      <section aria-labelledby="variants">
      <h2 id="variants">Kinds of predictions</h2>
      <p>Rows leave by the largest probability. Each number is the mean over the 39 schedules of Huang et al., so that \
      cheap and dear budgets count alike; ± is the standard deviation over seeds. Most of what calibration gains here \
      may be a temperature's: compare with the row that has nothing else.</p>
      \(figure(series, title: "Accuracy against cost by kind of prediction", identifier: "variants-chart"))
      \(table(
        "variants", ["Predictions", "Accuracy", "NLL (nats)", "ECE", "Mean cost", "Area"],
        variants.map { variant -> [Markup] in
          let policy = variant.policies.first
          return [
            "\(variant.name)", "\(spread(variant, variant.mean.accuracy, "accuracy", percent: true))",
            "\(spread(variant, variant.mean.nll, "nll", percent: false))",
            "\(spread(variant, variant.mean.ece, "ece", percent: true))", "\(cost(variant.mean.cost))",
            "\(policy.map { area($0) } ?? "–")",
          ]
        }))
      </section>
      """
  }

  private func area(_ policy: Policy) -> String {
    "\(Figures.number(policy.area, decimals: 4)) (\(Figures.range(policy.areaInterval)))"
  }

  private func spread(_ variant: Variant, _ value: Double, _ name: String, percent: Bool) -> String {
    func text(_ number: Double) -> String {
      percent ? Figures.percent(number, decimals: 2) : Figures.number(number, decimals: 4)
    }
    return text(value) + (variant.deviations?[name].map { " ±\(Figures.space)\(text($0))" } ?? "")
  }

  /// The variants whose policies are compared, each once.
  private var comparedVariants: [Variant] {
    variants.filter { variant in policyComparisons.contains { $0.variant == variant.name } }
  }

  private var policySection: Markup {
    """
    <section aria-labelledby="policies">
    <h2 id="policies">What rows leave by</h2>
    <p>The oracle knows the labels and sends each row to the first exit that is right, the nearest first: nothing with \
    these exits does better. Chance lets rows leave whatever they are. Both are of \(variants.first?.name ?? ""). The last \
    column is the accuracy against the largest probability at equal cost.</p>
    \(comparedVariants.enumerated().map { number, variant in policies(of: variant, number: number) })
    </section>
    """
  }

  private func policies(of variant: Variant, number: Int) -> Markup {
    let bounds = [
      CostAccuracyChart.Series(name: "chance", points: random.map { ($0.cost, $0.accuracy) }, style: "diagonal"),
      CostAccuracyChart.Series(
        name: "oracle", points: oracle.map { ($0.cost, $0.accuracy) }, style: "line series-7"),
    ]
    let series = variant.policies.enumerated().map { index, policy in
      CostAccuracyChart.Series(
        name: policy.score, points: policy.points.map { ($0.cost, $0.accuracy) }, style: Self.line(index))
    }
    let differences = policyComparisons.filter { $0.variant == variant.name }
    return """
      <h3>\(variant.name)</h3>
      \(figure(
        bounds + series, title: "Accuracy against cost by policy, \(variant.name)",
        identifier: "policies-chart-\(number)"))
      \(table(
        "policies",
        ["Score", "Accuracy", "NLL (nats)", "ECE", "Area", "Equal cost"],
        variant.policies.map { policy -> [Markup] in
          let difference = differences.first { $0.score == policy.score }
          return [
            "\(policy.score)", "\(Figures.percent(policy.mean.accuracy, decimals: 2))",
            "\(Figures.number(policy.mean.nll, decimals: 4))", "\(Figures.percent(policy.mean.ece, decimals: 2))",
            "\(area(policy))",
            difference.map { difference in
              DifferenceMark(
                text: Figures.signed(Figures.number(difference.accuracy.value * 100, decimals: 2)) + Figures.space + "pp",
                gain: difference.accuracy.value, isWithinNoise: difference.accuracy.isWithinNoise
              ).html
            } ?? "–",
          ]
        }))
      """
  }

  private var readingSection: Markup {
    """
    <section aria-labelledby="reading">
    <h2 id="reading">How to read this</h2>
    <ul>
    \(readings.map { "<li>\($0)</li>" as Markup })
    </ul>
    </section>
    """
  }

  /// A score without its weight, which differs from one kind of predictions to another.
  private static func kind(_ score: String) -> String { score.prefix { $0 != ":" }.description }

  private var scoreNames: [String] {
    (variants.max { $0.policies.count < $1.policies.count }?.policies ?? []).map { Self.kind($0.score) }
  }

  private var exitSection: Markup {
    """
    <section aria-labelledby="exits">
    <h2 id="exits">Exit by exit</h2>
    <p>The accuracy on all rows, and how well each score tells right answers from wrong ones there (AUROC; one half is \
    chance). A policy saves compute by this, not by calibration: thresholds by quantile do not change when confidences are \
    rescaled.</p>
    \(table(
      "exits", ["Predictions and exit", "Cost", "Accuracy"] + scoreNames.map { "AUROC \($0)" },
      variants.flatMap { variant in
        exits.indices.map { exit -> [Markup] in
          [
            "\(variant.name), \(exits[exit])", "\(cost(variant.costs.toExit[exit]))",
            "\(Figures.percent(variant.exitAccuracies[exit], decimals: 2))",
          ]
            + scoreNames.map { score -> Markup in
              let auroc = variant.policies.first { Self.kind($0.score) == score }?.auroc[exit]
              return "\(auroc.map { Figures.number($0, decimals: 3) } ?? "–")"
            }
        }
      }))
    </section>
    """
  }

  private var budgetSection: Markup {
    """
    <section aria-labelledby="budgets">
    <h2 id="budgets">Budgets asked for, and kept</h2>
    <p>Thresholds tuned to a mean cost. The cost on test rows differs from that on validation rows by chance: it is given in \
    standard errors, s √(1 / validation rows + 1 / test rows).</p>
    \(table(
      "budgets", ["Predictions and score", "Budget", "Validation", "Test", "Standard errors"],
      budgets.map { budget -> [Markup] in
        [
          "\(budget.variant), \(budget.score)", "\(cost(budget.budget))", "\(cost(budget.validationCost))",
          "\(cost(budget.testCost))", "\(Figures.signed(Figures.number(budget.standardErrors, decimals: 2)))",
        ]
      }))
    </section>
    """
  }

  private static let definitions: Markup = """
    <section aria-labelledby="definitions">
    <h2 id="definitions">Definitions</h2>
    <dl>
    <dt>Accuracy, NLL, ECE</dt><dd>Of the predictions at the exits that rows took: the share of right answers, the mean of \
    −log p(label) in nats, and the expected calibration error in 15 bins.</dd>
    <dt>Mean cost</dt><dd>Of a row up to the exit it took, with what a posterior's predictions cost.</dd>
    <dt>Schedule</dt><dd>The share of rows that leaves at exit k is proportional to Q^k, for Q = 0.05, 0.10, …, 1.95; the \
    readiest rows leave first. For patience, thresholds are alike at all exits and take 39 levels.</dd>
    <dt>Area</dt><dd>Under accuracy against mean cost, from the first exit's cost to the last's, over that width: the mean \
    accuracy over all budgets. Its 95 % interval is from 1000 resamplings of 200 blocks of rows.</dd>
    <dt>Equal cost</dt><dd>Both policies were tuned on validation rows to the same 39 mean costs. Differences are of the \
    same rows, with the normal 95 % interval.</dd>
    </dl>
    </section>
    """
}
