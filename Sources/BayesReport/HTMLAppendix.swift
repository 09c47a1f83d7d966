import BayesEvaluation

/// What every number on the page means.
struct DefinitionsSection: Sendable {
  var report: Report

  /// The section as a list of terms.
  func html() -> Markup {
    let definitions = Set(report.models.flatMap { $0.exits.map(\.ece.definition) }).sorted()
    let terms: [(term: String, meaning: String)] = [
      ("Baseline", "The first model, \(report.models.first?.name ?? ""); gains are measured against it."),
      ("Accuracy", "The share of test rows whose most probable class is their label, with Wilson's interval."),
      (
        "NLL",
        "The mean of −log p(label) in nats, with no floor: a label of probability zero makes it infinite."
      ),
      ("Brier", "The mean over rows of the squared error summed over classes, from 0 to 2."),
      ("ECE", Figures.capitalized(definitions.joined(separator: "; ")) + "."),
      (
        "Other calibration errors",
        "MCE: the largest gap of a bin. RMS: the root of the mean squared gap. Classwise: the mean over classes of the "
          + "error of each class's probability. Equal mass: over bins of equally many rows. Smooth: by a kernel in place of "
          + "bins, as wide as the error itself (Błasiok and Nakkiran 2023). By other tools: "
          + BinConvention.allCases.filter { $0 != .standard }.map { "\($0.rawValue), \($0.definition)" }
          .joined(separator: "; ") + "."
      ),
      (
        "Parts of the Brier score",
        "Reliability − resolution + uncertainty + within bins, from bins of each class's probability (Murphy 1973; "
          + "Stephenson et al. 2008)."
      ),
      (
        "AURC, E-AURC, AUGRC",
        "Means over coverages 1/n to 1, the most confident rows first: of the share of wrong rows among those kept; of that "
          + "less an oracle's with the same accuracy; of the share, of all rows, that are kept and wrong."
      ),
      (
        "Recall, precision, IoU",
        "Of a class: the share of its rows that are found; of right ones among the rows that are called so; of these right "
          + "ones among the rows that are one or the other. Mean IoU: over the classes that occur, from counts of all rows, "
          + "which are pixels where a network answers at each."
      ),
      ("Disagreement", "The share of pairs of draws that name different classes, the mean over rows."),
      (
        "Scores",
        "Larger means further from the training data. Maximum probability: 1 − max p. Entropy: of the "
          + "averaged probabilities. Mutual information: of class and weights. Energy: −log Σ exp of the "
          + "logits, averaged over samples first."
      ),
      (
        "AUROC",
        "The chance that a foreign row scores above a test row, ties counting half: foreign rows are the "
          + "positive class. Its interval is DeLong's."
      ),
      (
        "FPR95",
        "The share of test rows called foreign at the first threshold that finds 95 % of foreign rows."
      ),
      (
        "AUPR-out, AUPR-in",
        "Average precision, summed in steps, with foreign rows or with test rows as the positive class."
      ),
      (
        "Other intervals",
        "Small numbers beside a value are its 95 % interval: Wilson's for shares of rows, the normal one for means of rows, the "
          + "infinitesimal jackknife's for AUPR, the smooth error and mean IoU, from the scatter of 200 blocks of rows for the "
          + "classwise error and the parts of the Brier score, and else from 1000 sets of rows drawn anew, moved by what their "
          + "mean lies from the value. Calibration errors and the Brier score's reliability are sums of what is never below zero: "
          + "of an honest model they lie above zero too, the more the fewer rows a bin has, and their intervals do not take "
          + "that off."
      ),
      (
        "Within noise",
        "The 95 % interval of the difference includes zero. Models are compared on the same rows: accuracy, NLL and Brier row "
          + "by row, ECE on sets of rows drawn anew for both, AUROC by DeLong's paired standard error. Best-of-several "
          + "scores are picked on the rows they are reported on and flatter every model a little."
      ),
    ]
    return """
      <section aria-labelledby="definitions">
      <h2 id="definitions">Definitions</h2>
      <dl>
      \(terms.map { "<dt>\($0.term)</dt><dd>\($0.meaning)</dd>" as Markup })
      </dl>
      </section>
      """
  }
}

/// Where the numbers come from, and how to have them again.
struct ProvenanceSection: Sendable {
  var provenance: Provenance
  /// Seconds, by name of what was timed.
  var timing: [String: Double] = [:]

  /// The command, and a table of everything that took part.
  func sections() -> [Markup] { [reproduction(), table()] }

  private func reproduction() -> Markup {
    """
    <section aria-labelledby="reproduce">
    <h2 id="reproduce">How to reproduce this</h2>
    <p>With the files whose digests are below, version \(provenance.version) and this command; the seed is \
    \(String(provenance.seed)), and the number of threads changes no number.</p>
    <p><code>\(provenance.commandLine)</code></p>
    </section>
    """
  }

  private func table() -> Markup {
    var rows: [(String, Markup)] = [
      ("Version", "\(provenance.version)"),
      ("Seed", "\(String(provenance.seed))"),
      ("Likelihood", "\(provenance.likelihood)"),
      ("Backend", "\(provenance.backend)"),
    ]
    rows += provenance.inputs.map {
      (Figures.capitalized($0.role), "\($0.file) <small>SHA-256</small> <code>\($0.digest)</code>")
    }
    rows += provenance.details.sorted { $0.key < $1.key }.map { ($0.key, "\($0.value)") }
    rows += timing.sorted { $0.key < $1.key }.map {
      ("Time, \($0.key)", "\(Figures.number($0.value, decimals: 3)) s")
    }
    return """
      <section aria-labelledby="provenance">
      <h2 id="provenance">Provenance</h2>
      <div class="scroll" tabindex="0" role="group" aria-labelledby="provenance">
      <table class="provenance"><tbody>
      \(rows.map { "<tr><th scope=\"row\">\($0.0)</th><td>\($0.1)</td></tr>" as Markup })
      </tbody></table>
      </div>
      </section>
      """
  }
}
