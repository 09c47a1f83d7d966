import BayesEvaluation

/// What prediction sets hold and how large they are, for every model and exit.
struct ConformalSection: Sendable {
  var report: Report
  var exits: [ExitGroup]

  private typealias Row = (model: ModelResult, results: [ConformalResult])

  /// The section: the deepest exit in the open, the others folded.
  func html() -> Markup {
    let groups = exits.filter { !rows(of: $0).isEmpty }
    guard let deepest = groups.last else { return "" }
    return """
      <section aria-labelledby="sets">
      <h2 id="sets">Prediction sets</h2>
      <p>Instead of one class, a set of classes that holds the true one in a promised share of rows: \
      1 − alpha, on average over rows that are exchangeable with the \(calibrationRows(of: deepest)) calibration rows. \
      Measured on the test rows, at \(deepest.title).</p>
      <ul>
      \(sentences(of: deepest).map { "<li>\($0)</li>" as Markup })
      </ul>
      \(tables(of: deepest))
      \(classes(of: deepest))
      \(groups.dropLast().map { group -> Markup in
        """
        <details><summary>\(group.title)</summary>
        \(tables(of: group))
        \(classes(of: group))
        </details>
        """
      })
      \(definitions)
      </section>
      """
  }

  private func rows(of group: ExitGroup) -> [Row] {
    group.rows.compactMap { row in row.exit.conformal.map { (row.model, $0) } }
  }

  private func calibrationRows(of group: ExitGroup) -> String {
    Figures.count(rows(of: group).first?.results.first?.calibrationRowCount ?? 0)
  }

  private func sentences(of group: ExitGroup) -> [String] {
    readings(of: group).flatMap(\.sentences)
      + ConformalReading.tuning(of: rows(of: group).map { ($0.model.name, $0.results.first?.isTunedOnCalibrationRows) })
  }

  /// One a share of rows that sets may miss.
  private func readings(of group: ExitGroup) -> [ConformalReading] {
    let rows = rows(of: group)
    return Set(rows.flatMap { $0.results.map(\.alpha) }).sorted().map { alpha in
      ConformalReading(
        alpha: alpha,
        sets: rows.flatMap { row in
          row.results.filter { $0.alpha == alpha }.map { (model: row.model.name, result: $0) }
        }, classNames: report.className
      )
    }
  }

  /// Whether sets held what was promised, a sentence a promise.
  var findings: [String] {
    guard let deepest = exits.last(where: { !rows(of: $0).isEmpty }) else { return [] }
    return readings(of: deepest).compactMap { $0.sentences.first }
  }

  /// The first two models in the open, which mostly are the network and its temperature; many others folded.
  private func tables(of group: ExitGroup) -> Markup {
    let rows = rows(of: group)
    guard rows.count > 4 else { return table(rows, label: group.title) }
    return """
      \(table(Array(rows.prefix(2)), label: group.title))
      <details><summary>The \(rows.count - 2) other models</summary>
      \(table(Array(rows.dropFirst(2)), label: "\(group.title), other models"))
      </details>
      """
  }

  private func table(_ rows: [Row], label: String) -> Markup {
    """
    <div class="scroll" tabindex="0" role="group" aria-label="Prediction sets, \(label)">
    <table>
    <thead><tr><th scope="col">Method</th><th scope="col">Alpha</th><th scope="col">Coverage</th>\
    <th scope="col">95 % band</th><th scope="col">Mean size</th><th scope="col">Singletons</th>\
    <th scope="col">Empty</th></tr></thead>
    \(rows.map { row -> Markup in
      """
      <tbody>
      <tr class="group"><th scope="rowgroup" colspan="7">\(row.model.name)</th></tr>
      \(row.results.map { self.row($0) })
      </tbody>
      """
    })
    </table>
    </div>
    """
  }

  private func row(_ result: ConformalResult) -> Markup {
    let band = result.band.map {
      "\(Figures.percent($0.low, decimals: 2)) to \(Figures.percent($0.high, decimals: 2))"
    }
    return """
      <tr><th scope="row">\(ConformalReading.title(result.method))</th><td>\(String(result.alpha))</td>\
      <td>\(Figures.percent(result.coverage, decimals: 2))\(Self.mark(ConformalReading.verdict(of: result)))</td>\
      <td>\(band ?? "by class")</td><td>\(Figures.number(result.meanSize, decimals: 3))</td>\
      <td>\(Figures.percent(result.singletonShare))</td><td>\(Figures.percent(result.emptyShare))</td></tr>
      """
  }

  private static func mark(_ verdict: ConformalReading.Verdict) -> Markup {
    switch verdict {
    case .below: #"<span class="delta worse">✗ below the band</span>"#
    case .above: #"<span class="delta">above the band</span>"#
    case .within, .unknown: ""
    }
  }

  /// Coverage and size by class, at most the twenty that the first model's first sets cover least.
  private func classes(of group: ExitGroup) -> Markup {
    let rows = rows(of: group)
    guard let first = rows.first?.results.first?.classes else { return "" }
    let shown = first.rowCounts.indices.filter { first.rowCounts[$0] > 0 }
      .sorted { (first.coverages[$0] ?? 1, $0) < (first.coverages[$1] ?? 1, $1) }.prefix(20)
    let alphas = Set(rows.flatMap { $0.results.map(\.alpha) }).sorted()
    let methods = rows[0].results.filter { $0.alpha == rows[0].results.first?.alpha }.map(\.method)
    return """
      <details><summary>The numbers: sets by class\
      \(shown.count < first.rowCounts.count ? ", those covered least first" : "" as Markup)</summary>
      <p>The share of each class's rows whose set holds it, and the mean size of their sets. Only thresholds by class \
      promise anything of a class; their bands are in the JSON report.</p>
      <div class="scroll" tabindex="0"><table>
      <thead><tr><th scope="col">Class</th><th scope="col">Rows</th>\
      \(methods.map { "<th scope=\"col\">\(ConformalReading.title($0))</th>" as Markup })</tr></thead>
      \(alphas.flatMap { alpha in rows.map { self.classes(of: $0, alpha: alpha, methods, Array(shown)) } })
      </table></div>
      </details>
      """
  }

  private func classes(of row: Row, alpha: Double, _ methods: [String], _ shown: [Int]) -> Markup {
    let results = methods.map { method in row.results.first { $0.method == method && $0.alpha == alpha } }
    func cell(_ result: ConformalResult?, _ index: Int) -> Markup {
      guard let classes = result?.classes, classes.coverages.indices.contains(index),
        let coverage = classes.coverages[index], let size = classes.meanSizes[index]
      else { return #"<td class="none">–</td>"# }
      let mark: Markup = "<span class=\"delta\">size \(Figures.number(size, decimals: 2))</span>"
      return "<td>\(Figures.percent(coverage))\(mark)</td>"
    }
    return """
      <tbody>
      <tr class="group"><th scope="rowgroup" colspan="\(methods.count + 2)">\(row.model.name), \
      alpha \(String(alpha))</th></tr>
      \(shown.map { index -> Markup in
        let counts = results.lazy.compactMap { $0?.classes.rowCounts }.first ?? []
        return """
          <tr><th scope="row">\(report.className(index))</th>\
          <td>\(Figures.count(counts.indices.contains(index) ? counts[index] : 0))</td>\
          \(results.map { cell($0, index) })</tr>
          """
      })
      </tbody>
      """
  }

  private var definitions: Markup {
    let penalty = exits.lazy.flatMap { self.rows(of: $0) }.flatMap(\.results).first { !$0.settings.isEmpty }?.settings
    let weights = penalty.map {
      " (\(String($0["weight"] ?? 0)) a class from place "
        + "\(Figures.number(1 + ($0["freeRank"] ?? 0), decimals: 0)) on, fixed beforehand)"
    }
    return """
      <details><summary>How the sets are made</summary>
      <dl>
      <dt>LAC</dt><dd>Every class whose probability reaches a threshold (Sadinle et al. 2019); by class, with a \
      threshold of each class's own, from its calibration rows alone.</dd>
      <dt>APS</dt><dd>Classes by falling probability until their sum passes a threshold (Romano et al. 2020). \
      Randomised, the last class counts by a share that is drawn for each row from the seed, which makes the promise \
      exact; without, sets are the same every time and may cover more. Where most rows are nearly certain, scores \
      without randomness crowd at one, and sets are empty or very large.</dd>
      <dt>RAPS</dt><dd>APS with a penalty for further classes\(weights ?? "") (Angelopoulos et al. 2021).</dd>
      <dt>Threshold</dt><dd>Of n calibration rows' scores the ⌈(n + 1)(1 − alpha)⌉-th smallest; where there is none, \
      no class is left out.</dd>
      <dt>95 % band</dt><dd>Where coverage lies in 95 of 100 draws of calibration and test rows, whatever the model: \
      the central part of a beta-binomial distribution. Ties of scores make it higher.</dd>
      </dl>
      </details>
      """
  }
}

/// What coverage and sizes of prediction sets mean, at one alpha and one exit.
struct ConformalReading: Sendable {
  /// Where coverage lies, given its band.
  enum Verdict: Sendable {
    case below
    case within
    case above
    /// There is no band.
    case unknown
  }

  var alpha: Double
  /// Of all models and methods.
  var sets: [(model: String, result: ConformalResult)]
  var classNames: @Sendable (Int) -> String

  /// The method in words.
  static func title(_ method: String) -> String {
    switch method {
    case "lac": "LAC"
    case "lacByClass": "LAC by class"
    case "aps": "APS"
    case "apsRandomized": "APS, randomised"
    case "raps": "RAPS"
    case "rapsRandomized": "RAPS, randomised"
    default: SeparationReading.words(method)
    }
  }

  static func verdict(of result: ConformalResult) -> Verdict {
    guard let band = result.band else { return .unknown }
    if result.coverage < band.low { return .below }
    return result.coverage > band.high ? .above : .within
  }

  var sentences: [String] {
    let promise = Figures.percent(1 - alpha)
    let judged = sets.filter { Self.verdict(of: $0.result) != .unknown }
    var sentences: [String] = []
    if !judged.isEmpty {
      let within = judged.count { Self.verdict(of: $0.result) == .within }
      let above = judged.filter { Self.verdict(of: $0.result) == .above }
      let below = judged.filter { Self.verdict(of: $0.result) == .below }
      var sentence =
        "At alpha \(alpha), \(promise) are promised: of \(judged.count) combinations of model and method, coverage "
        + "lies inside the 95 % band in \(within), above it in \(above.count), below it in \(below.count)."
      if !below.isEmpty {
        sentence +=
          " Below: "
          + below.map {
            "\($0.model) by \(Self.title($0.result.method)) (\(Figures.percent($0.result.coverage, decimals: 2)))"
          }.joined(separator: ", ")
          + "; one in forty is expected there by chance, as are more where calibration and test rows differ."
      }
      if above.contains(where: { !$0.result.isRandomized && $0.result.method.hasSuffix("aps") }) {
        sentence += " APS and RAPS without randomness may cover more than promised."
      }
      sentences.append(sentence)
    }
    let kept = judged.filter { Self.verdict(of: $0.result) != .below && !$0.result.isRandomized }
    // The mean size says less: empty sets make it small, and help nobody.
    if let largest = kept.map(\.result.singletonShare).max(),
      let best = kept.first(where: { $0.result.singletonShare == largest })
    {
      let result = best.result
      sentences.append(
        "Of those at alpha \(alpha) that need no randomness and do not fall below the band, \(best.model) by "
          + "\(Self.title(result.method)) gives exactly one class most often: in "
          + "\(Figures.percent(result.singletonShare)) of rows"
          + (result.emptyShare > 0 ? ", none in \(Figures.percent(result.emptyShare))" : "")
          + " (\(Figures.number(result.meanSize, decimals: 3)) classes on average).")
    }
    if let sentence = classSentence { sentences.append(sentence) }
    return sentences
  }

  /// What one threshold does to the class that it covers least, and what a threshold of its own does.
  private var classSentence: String? {
    guard let first = sets.first(where: { $0.result.method == "lac" }),
      let own = sets.first(where: { $0.model == first.model && $0.result.method == "lacByClass" })
    else { return nil }
    let classes = first.result.classes
    let measured = classes.coverages.indices.compactMap { index in classes.coverages[index].map { (index, $0) } }
    guard let (index, coverage) = measured.min(by: { ($0.1, $0.0) < ($1.1, $1.0) }),
      own.result.classes.coverages.indices.contains(index), let alone = own.result.classes.coverages[index]
    else { return nil }
    return "One threshold for all covers classes unequally: of \(first.model), LAC at alpha \(alpha) covers "
      + "class \(classNames(index)) in \(Figures.percent(coverage)) of its \(Figures.count(classes.rowCounts[index])) rows, "
      + "with a threshold of its own in \(Figures.percent(alone))."
  }

  /// Which models were tuned on the rows that thresholds are from, in sentences.
  static func tuning(of models: [(name: String, isTuned: Bool?)]) -> [String] {
    func names(_ isTuned: Bool?) -> String {
      let names = models.filter { $0.isTuned == isTuned }.map(\.name)
      return names.prefix(3).joined(separator: ", ") + (names.count > 3 ? " and \(names.count - 3) more" : "")
    }
    var sentences: [String] = []
    if !names(true).isEmpty {
      sentences.append(
        "These were tuned on the very rows that the thresholds are from, so for them the promise is not exact: "
          + "\(names(true)). Rows can be kept apart with --conformal-rows.")
    }
    if !names(nil).isEmpty {
      sentences.append(
        "For these the promise is exact only if they were tuned on other rows than the thresholds are from, which is "
          + "not known here: \(names(nil)).")
    }
    return sentences
  }
}
