public import BayesEvaluation

/// What a change in one measure means, given what a temperature alone would have done.
struct ChangeReading: Sendable {
  /// The measure as a reader knows it: `ECE`, `NLL`.
  var measure: String
  /// Whose measure it is.
  var model: String
  /// Smaller is better for all three.
  var before: Double
  var after: Double
  /// Whether chance explains the change.
  var isWithinNoise: Bool
  /// What a temperature alone reaches, and whether the model's distance from that is noise.
  var temperature: (value: Double, isWithinNoise: Bool)?
  /// Whether the temperature is worth mentioning: not for the row that is itself only a temperature.
  var mentionsTemperature: Bool
  /// Spells two values so that they can be told apart.
  var spelling: @Sendable (Double, Double) -> (String, String)

  /// One sentence.
  var sentence: String {
    let (from, to) = spelling(before, after)
    if from == to {
      return "The \(measure) of \(model) did not change (\(from))\(aside)."
    }
    let verb = after < before ? "fell" : "rose"
    let noise = isWithinNoise ? ", which is within noise" : ""
    return "The \(measure) of \(model) \(verb) from \(from) to \(to)\(noise)\(attribution)."
  }

  /// After an unchanged value.
  private var aside: String {
    guard mentionsTemperature, let temperature else { return "" }
    let (_, alone) = spelling(before, temperature.value)
    return spelling(before, temperature.value).0 == alone
      ? "; a temperature alone does not change it either" : "; a temperature alone gives \(alone)"
  }

  /// After a changed value.
  private var attribution: String {
    guard mentionsTemperature else { return "" }
    guard let temperature else {
      return after < before && !isWithinNoise
        ? "; how much of that a temperature alone would do is unknown, as no such row was evaluated" : ""
    }
    let (start, alone) = spelling(before, temperature.value)
    // A share of a change that may be chance means nothing, nor does one of an infinite change.
    guard !isWithinNoise, (before - after).isFinite, temperature.value.isFinite else {
      return "; a temperature alone gives \(alone)"
    }
    guard after < before else {
      if start == alone { return "; a temperature alone leaves it at \(alone)" }
      return temperature.value < before
        ? "; a temperature alone lowers it to \(alone)" : "; a temperature alone raises it too, to \(alone)"
    }
    let share = (before - temperature.value) / (before - after)
    if share > 0, temperature.isWithinNoise {
      return "; a temperature alone does as well, within noise (\(alone))"
    }
    if spelling(after, temperature.value).0 == spelling(after, temperature.value).1 {
      return "; a temperature alone does as well (\(alone))"
    }
    if share > 1 { return "; a temperature alone does better (\(alone))" }
    if start == alone { return "; none of that is the temperature, which alone leaves it at \(alone)" }
    if share < 0 { return "; none of that is the temperature, which alone raises it to \(alone)" }
    return "; \(Self.part(share)) of that is the temperature, which alone reaches \(alone)"
  }

  private static func part(_ share: Double) -> String {
    switch share {
    case ..<0.1: "almost none"
    case ..<0.5: "some"
    case ..<0.9: "most"
    default: "nearly all"
    }
  }
}

/// What a change in accuracy means.
struct AccuracyReading: Sendable {
  var model: String
  var before: Double
  var after: Double
  var isWithinNoise: Bool

  /// One sentence.
  var sentence: String {
    let (from, to) = Figures.percents(before, after)
    if from == to { return "The accuracy of \(model) is unchanged at \(to)." }
    let verb = after > before ? "rose" : "fell"
    return "The accuracy of \(model) \(verb) from \(from) to \(to)"
      + (isWithinNoise ? ", which is within noise." : ".")
  }
}

/// How well a model tells a foreign set apart, next to the baseline.
struct SeparationReading: Sendable {
  /// The best of a model's scores on a set.
  struct Best: Sendable {
    var name: String
    var result: ScoreResult
    var score: String { SeparationReading.words(name) }
    var auroc: Double { result.auroc }
  }

  var set: String
  var model: String
  /// The scores that rank rows at all, by name.
  var scores: [String: ScoreResult]
  /// The baseline's; `nil` for the baseline itself.
  var baseline: [String: ScoreResult]?
  /// The differences from the baseline's that were measured on the same rows, by name of the score.
  var differences: [String: Difference] = [:]

  /// One sentence or two.
  var sentence: String {
    guard let best = Self.best(of: scores) else { return "No score of \(model) ranks the rows of \(set)." }
    let auroc = Figures.number(best.auroc, decimals: 3)
    if best.auroc < 0.5 {
      return
        "On \(set), every score of \(model) is below chance (the best, \(best.score), has an AUROC of "
        + "\(auroc)): the model is surer of these rows than of the test set, so do not rely on it here."
    }
    let ranking = scores.values.count { !$0.isConstant }
    var sentence =
      "On \(set), the best \(ranking > 1 ? "of \(ranking) scores" : "score") of \(model) is \(best.score), with an AUROC "
      + "of \(auroc)"
    if let baseline, let other = Self.best(of: baseline) {
      let (ours, theirs) = Figures.numbers(best.auroc, other.auroc)
      if ours == theirs {
        sentence += ", as much as the baseline's best (\(other.score))"
      } else {
        sentence = sentence.replacing(auroc, with: ours)
        let verdict = best.auroc > other.auroc ? "more" : "less"
        sentence += ", \(verdict) than the baseline's best (\(other.score), \(theirs))"
        if Self.difference(best, other, differences).isWithinNoise {
          sentence += ", a difference within noise"
        }
      }
    }
    sentence += "."
    let below = scores.keys.sorted().filter { Self.isBelowChance(scores[$0]) }.map(Self.words)
    if !below.isEmpty {
      sentence +=
        " Below chance there: \(below.joined(separator: ", ")); rows of \(set) look nearer to that score "
        + "than test rows do."
    }
    return sentence
  }

  static func best(of scores: [String: ScoreResult]) -> Best? {
    scores.filter { !$0.value.isConstant }
      .sorted { ($0.value.auroc, $1.key) > ($1.value.auroc, $0.key) }.first
      .map { Best(name: $0.key, result: $0.value) }
  }

  /// How much more the first tells apart: of one score on the same rows, of two as if rows were others, which is wider.
  static func difference(_ best: Best, _ other: Best, _ differences: [String: Difference]) -> Difference {
    let paired = best.name == other.name ? differences[best.name] : nil
    return paired ?? best.result.aurocDifference(from: other.result)
  }

  /// Below one half by more than chance.
  private static func isBelowChance(_ score: ScoreResult?) -> Bool {
    guard let score, !score.isConstant else { return false }
    return (score.aurocInterval?.high ?? score.auroc) < 0.5
  }

  /// `mutual information` of `mutualInformation`.
  static func words(_ name: String) -> String {
    name.reduce(into: "") { text, character in
      text += character.isUppercase ? " " + character.lowercased() : String(character)
    }
  }
}

extension ModelResult {
  /// Whether it is neither a network as it was trained nor that with outputs that were only recalibrated.
  fileprivate var isPosterior: Bool {
    ![ModelKind.map, .predictions, .temperature].contains(kind) && CalibrationMethod(rawValue: kind.name) == nil
  }
}

extension Report {
  /// The exit that readings speak of: the deepest one of the baseline.
  var deepestExitIndex: Int? { models.first?.exits.map(\.index).max() }

  /// What the numbers say of a model at the deepest exit, in plain sentences; empty for the baseline.
  public func readings(of model: ModelResult) -> [String] {
    guard let baseline = models.first, model.name != baseline.name, let index = deepestExitIndex,
      let exit = model.exits.first(where: { $0.index == index }),
      let before = baseline.exits.first(where: { $0.index == index })
    else { return [] }
    let comparison = comparison(of: model.name, against: baseline.name, exit: index)
    let temperature = temperatureRow(besides: model)
    let alone = temperature?.exits.first { $0.index == index }
    let beside = temperature.flatMap { self.comparison(of: model.name, against: $0.name, exit: index) }
    func change(
      _ measure: String, _ value: (ExitResult) -> Double, _ difference: (Comparison) -> Difference,
      _ spelling: @escaping @Sendable (Double, Double) -> (String, String)
    ) -> String {
      ChangeReading(
        measure: measure, model: model.name, before: value(before), after: value(exit),
        isWithinNoise: comparison.map { difference($0).isWithinNoise } ?? false,
        temperature: alone.map { alone in
          (value(alone), beside.map { difference($0).isWithinNoise } ?? false)
        },
        mentionsTemperature: model.kind != .temperature && baseline.kind != .temperature,
        spelling: spelling
      ).sentence
    }
    var sentences = [
      change("calibration error (ECE)", \.ece.value, \.ece) { Figures.percents($0, $1) },
      change("negative log-likelihood", \.nll, \.nll) { Figures.numbers($0, $1) },
      AccuracyReading(
        model: model.name, before: before.accuracy, after: exit.accuracy,
        isWithinNoise: comparison?.accuracy.isWithinNoise ?? false
      ).sentence,
    ]
    for set in exit.ood {
      sentences.append(
        SeparationReading(
          set: set.name, model: model.name, scores: set.scores,
          baseline: before.ood.first { $0.name == set.name }?.scores,
          differences: differences(of: model.name, index, on: set.name)
        ).sentence)
    }
    if let sentence = exitsSentence(of: model, baseline: baseline) { sentences.append(sentence) }
    return sentences
  }

  /// One paragraph for someone who reads nothing else.
  public var verdict: String {
    guard let baseline = models.first, let index = deepestExitIndex,
      let exit = baseline.exits.first(where: { $0.index == index })
    else { return "" }
    let place = baseline.exits.count > 1 ? " at its deepest exit (\(exit.name))" : ""
    var sentences = [
      "On \(Figures.count(exit.rowCount, of: "test row")) \(baseline.name) is right in "
        + "\(Figures.percent(exit.accuracy))\(place); its calibration error (ECE) is "
        + "\(Figures.percent(exit.ece.value)) and its negative log-likelihood "
        + "\(Figures.number(exit.nll, decimals: 3)) nats."
    ]
    // Calibrators that were left out are the baseline under another name.
    let others = models.dropFirst().compactMap { model in
      model.exits.first { $0.index == index && !$0.isLeftAsItIs }.map { (model: model, nll: $0.nll, ece: $0.ece.value) }
    }
    guard let best = others.min(by: { $0.nll < $1.nll })?.model else {
      sentences += exit.ood.map {
        SeparationReading(
          set: $0.name, model: baseline.name, scores: $0.scores, baseline: nil
        ).sentence
      }
      return sentences.joined(separator: " ")
    }
    let bestNLL = best.exits.first { $0.index == index }?.nll ?? .infinity
    if bestNLL >= exit.nll {
      sentences.append("No other model here has a better likelihood; the nearest is \(best.name).")
    } else if others.count > 1 {
      sentences.append(
        best.kind == .temperature
          ? "A temperature alone, \(best.name), has the best likelihood here."
          : "Of the \(others.count) models set against it, \(best.name) has the best likelihood; that these rows chose it "
            + "flatters it a little.")
    }
    // The likelihood chose the model; calibration, accuracy and the count of sets say what it brings.
    let changes = readings(of: best)
    sentences += [changes[0], changes[2]]
    if let sentence = setsSentence(of: best, exit: exit) { sentences.append(sentence) }
    // What the user has named is spoken of, whichever is the best.
    for other in others where other.model.isPosterior && other.model.name != best.name {
      sentences.append(
        "\(other.model.name) has a negative log-likelihood of \(Figures.number(other.nll, decimals: 3)) and an ECE of "
          + "\(Figures.percent(other.ece)).")
    }
    return sentences.joined(separator: " ")
  }

  /// On how many foreign sets the best score of a model finds more or less than the baseline's.
  private func setsSentence(of model: ModelResult, exit before: ExitResult) -> String? {
    guard let exit = model.exits.first(where: { $0.index == before.index }) else { return nil }
    var (more, less, alike) = (0, 0, 0)
    var aurocs: [Double] = []
    for set in exit.ood {
      guard let ours = SeparationReading.best(of: set.scores),
        let other = before.ood.first(where: { $0.name == set.name }),
        let theirs = SeparationReading.best(of: other.scores)
      else { continue }
      let difference = SeparationReading.difference(ours, theirs, differences(of: model.name, exit.index, on: set.name))
      aurocs.append(ours.auroc)
      if difference.isWithinNoise { alike += 1 } else if difference.value > 0 { more += 1 } else { less += 1 }
    }
    guard let lowest = aurocs.min(), let highest = aurocs.max() else { return nil }
    let low = Figures.number(lowest, decimals: 3)
    let below = aurocs.count { $0 < 0.5 }
    if aurocs.count == 1 {
      let verdict = more > 0 ? "above" : less > 0 ? "below" : "within noise of"
      return "On the foreign set its best score has an AUROC of \(low), \(verdict) the baseline's"
        + (below > 0 ? " and below chance." : ".")
    }
    return "On the \(aurocs.count) foreign sets its best scores have AUROCs from \(low) to "
      + "\(Figures.number(highest, decimals: 3)): above the baseline's on \(more), below on \(less), "
      + "within noise on \(alike)" + (below > 0 ? "; below chance on \(below)." : ".")
  }

  /// The row that shows what a temperature alone does, where there is one besides `model`.
  private func temperatureRow(besides model: ModelResult) -> ModelResult? {
    models.dropFirst().first { $0.kind == .temperature && $0.name != model.name }
  }

  /// The comparison of two models at an exit.
  func comparison(of model: String, against reference: String, exit: Int) -> Comparison? {
    comparisons.first { $0.model == model && $0.reference == reference && $0.exit == exit }
  }

  /// The paired differences of a model's scores from the baseline's on a foreign set.
  private func differences(of model: String, _ exit: Int, on set: String) -> [String: Difference] {
    let comparison = models.first.flatMap { self.comparison(of: model, against: $0.name, exit: exit) }
    return comparison?.ood.first { $0.name == set }?.auroc ?? [:]
  }

  /// At how many exits the calibration error fell, where there are several.
  private func exitsSentence(of model: ModelResult, baseline: ModelResult) -> String? {
    let pairs = model.exits.compactMap { exit in
      baseline.exits.first { $0.index == exit.index }.map { ($0.ece.value, exit.ece.value) }
    }
    guard pairs.count > 1 else { return nil }
    let fallen = pairs.count { $0.1 < $0.0 }
    let risen = pairs.count { $0.1 > $0.0 }
    let all = pairs.count == 2 ? "both" : "all \(pairs.count)"
    if fallen == pairs.count { return "Its calibration error fell at \(all) exits." }
    if risen == pairs.count { return "Its calibration error rose at \(all) exits." }
    return "Its calibration error fell at \(fallen) of \(pairs.count) exits and rose at \(risen)."
  }
}
