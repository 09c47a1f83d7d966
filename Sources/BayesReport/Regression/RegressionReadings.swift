public import BayesEvaluation
import RealModule

extension RegressionMeasure {
  /// As a table's heading.
  public var title: String {
    switch self {
    case .rootMeanSquaredError: "RMSE"
    case .meanAbsoluteError: "MAE"
    case .negativeLogLikelihood: "NLL"
    case .continuousRankedProbabilityScore: "CRPS"
    case .checkScore: "Check score"
    case .intervalScore: "Interval score"
    case .sharpness: "Sharpness"
    case .epistemicDeviation: "Epistemic"
    case .noiseDeviation: "Noise"
    case .miscalibrationArea: "Miscalibration"
    case .rootMeanSquaredCalibrationError: "RMS gap"
    case .meanAbsoluteCalibrationError: "Mean gap"
    case .coverage50: "In 50 %"
    case .coverage80: "In 80 %"
    case .coverage90: "In 90 %"
    case .coverage95: "In 95 %"
    }
  }

  /// As a sentence names it.
  var words: String {
    switch self {
    case .rootMeanSquaredError: "root mean squared error"
    case .negativeLogLikelihood: "negative log-likelihood"
    case .miscalibrationArea: "miscalibration area"
    case .continuousRankedProbabilityScore: "CRPS"
    default: title.lowercased()
    }
  }

  /// A value of it; targets may have any unit, so that other numbers than shares have four digits.
  public func text(_ value: Double) -> String {
    isShare ? Figures.percent(value, decimals: 2) : Self.digits(value)
  }

  /// A difference of two values, with its sign.
  func difference(_ value: Double) -> String {
    Figures.signed(isShare ? Figures.number(value * 100, decimals: 2) + Figures.space + "pp" : Self.digits(value))
  }

  /// A number to four digits.
  static func digits(_ value: Double) -> String {
    guard value != 0, value.isFinite else { return Figures.number(value, decimals: 0) }
    let exponent = Int(Double.log10(abs(value)).rounded(.down))
    return (-4...6).contains(exponent)
      ? Figures.number(value, decimals: max(0, 3 - exponent)) : Figures.scientific(value)
  }
}

extension RegressionModelResult {
  /// Whether its deviations were fitted to validation rows by this program.
  fileprivate var isRecalibrated: Bool {
    kind == .constantDeviation || RegressionCalibrator(rawValue: kind.name) != nil
  }
}

extension RegressionReport {
  /// The measures that sentences speak of, likelihood first.
  private static let read: [RegressionMeasure] = [
    .negativeLogLikelihood, .continuousRankedProbabilityScore, .miscalibrationArea, .rootMeanSquaredError,
  ]

  /// What the numbers say of a model at the deepest exit, in plain sentences; empty for the baseline.
  public func readings(of model: RegressionModelResult) -> [String] {
    guard let index = deepestExitIndex, model.name != baseline,
      let before = baselineModel?.exits.first(where: { $0.index == index }),
      let exit = model.exits.first(where: { $0.index == index }),
      let comparison = comparison(of: model.name, exit: index)
    else { return [] }
    var sentences = Self.read.compactMap { measure -> String? in
      guard let from = before[measure]?.value, let to = exit[measure]?.value, let difference = comparison[measure] else {
        return nil
      }
      return sentence(measure, of: model.name, from: from, to: to, difference)
    }
    if let epistemic = exit[.epistemicDeviation]?.value, let noise = exit[.noiseDeviation]?.value {
      sentences.append(
        "Of the deviation that \(model.name) forecasts, \(RegressionMeasure.digits(epistemic)) is the posterior's and "
          + "\(RegressionMeasure.digits(noise)) noise (roots of mean variances, in the targets' unit).")
    }
    return sentences
  }

  private func sentence(
    _ measure: RegressionMeasure, of model: String, from: Double, to: Double, _ difference: Difference
  ) -> String {
    let (first, second) = (measure.text(from), measure.text(to))
    if difference.value == 0 { return "The \(measure.words) of \(model) is the baseline's, \(second)." }
    let interval = difference.interval.map {
      " (difference \(measure.difference(difference.value)), 95 % interval \(measure.difference($0.low)) to "
        + "\(measure.difference($0.high)))"
    }
    return "The \(measure.words) of \(model) is \(second), where the baseline's is \(first)\(interval ?? ""): "
      + (difference.isWithinNoise ? "within noise." : difference.value < 0 ? "better." : "worse.")
  }

  /// One paragraph for someone who reads nothing else.
  public var verdict: String {
    guard let index = deepestExitIndex, let reference = baselineModel,
      let exit = reference.exits.first(where: { $0.index == index })
    else { return "" }
    let place = reference.exits.count > 1 ? " at its deepest exit (\(exit.name))" : ""
    let outputs = exit.outputCount > 1 ? " of \(Figures.count(exit.outputCount)) outputs" : ""
    var sentences = [
      "On \(Figures.count(exit.rowCount, of: "test row"))\(outputs) \(reference.name) has a root mean squared error of "
        + "\(exit[.rootMeanSquaredError].map { RegressionMeasure.digits($0.value) } ?? "–")\(place)."
    ]
    guard let coverage = exit[.coverage95] else {
      sentences.append(
        "It gives means alone, so nothing is said of uncertainty; with validation rows one deviation is fitted to its "
          + "errors.")
      return (sentences + rest(index)).joined(separator: " ")
    }
    let deviation =
      reference.kind == .constantDeviation ? "With one deviation an output, fitted to validation rows, its" : "Its"
    sentences.append(
      deviation
        + (exit[.negativeLogLikelihood].map {
          " negative log-likelihood is \(RegressionMeasure.digits($0.value)) nats, its"
        } ?? "")
        + " miscalibration area \(exit[.miscalibrationArea].map { Figures.percent($0.value) } ?? "–"), and its 95 % "
        + "intervals hold \(Figures.percent(coverage.value)) of the targets.")
    return (sentences + rest(index)).joined(separator: " ")
  }

  /// What the best of the others gains.
  private func rest(_ index: Int) -> [String] {
    let others = models.filter { $0.name != baseline }.compactMap { model in
      comparison(of: model.name, exit: index).map { (model: model, comparison: $0) }
    }
    func isRead(_ measure: RegressionMeasure) -> Bool { measure != .rootMeanSquaredError }
    let compared = others.filter { $0.comparison[.continuousRankedProbabilityScore] != nil }
    guard !compared.isEmpty else { return [] }
    let differences = compared.flatMap { other in Self.read.filter(isRead).compactMap { other.comparison[$0] } }
    let names = compared.count == 1 ? compared[0].model.name : "any of the \(compared.count) others"
    if differences.allSatisfy({ $0.isWithinNoise }) {
      return [
        "Nothing is gained by \(names): negative log-likelihood, CRPS and miscalibration area differ from the "
          + "baseline's within noise."
      ]
    }
    // A calibrator that was left out is the baseline under another name.
    let judged = compared.filter { $0.comparison[.continuousRankedProbabilityScore]?.value != 0 }
    let best = judged.min { first, second in
      func place(_ comparison: RegressionComparison) -> Double {
        (comparison[.continuousRankedProbabilityScore]?.value).map { $0.isNaN ? .infinity : $0 } ?? .infinity
      }
      return place(first.comparison) < place(second.comparison)
    }
    guard let best else { return [] }
    let beginning =
      judged.count > 1
      ? [
        "Of the \(judged.count) set against it, \(best.model.name) has the best CRPS; that these rows chose it flatters it a "
          + "little."
      ] : []
    return beginning + readings(of: best.model).prefix(3)
      + judged.filter { $0.model.name != best.model.name && !$0.model.isRecalibrated }
      .compactMap { ownWidth(of: $0.model, at: index) }
  }

  /// Whether the deviations that a user's own model gives are too small or too large, whichever row is the best.
  private func ownWidth(of model: RegressionModelResult, at index: Int) -> String? {
    guard let coverage = model.exits.first(where: { $0.index == index })?[.coverage95] else { return nil }
    let verdict =
      switch coverage.interval {
      case let interval? where interval.high < 0.95: ": its deviations are too small"
      case let interval? where interval.low > 0.95: ": its deviations are too large"
      default: ""
      }
    return "The 95 % intervals of \(model.name) hold \(Figures.percent(coverage.value)) of the targets\(verdict)."
  }

  /// What intervals with a promise held at the deepest exit, in sentences; empty where they were not measured.
  public var conformalSummary: [String] {
    guard let index = deepestExitIndex else { return [] }
    let results = models.flatMap { model in
      (model.exits.first { $0.index == index }?.conformal ?? []).map { (model: model.name, result: $0) }
    }
    return Set(results.map(\.result.alpha)).sorted().map { alpha in
      let own = results.filter { $0.result.alpha == alpha }
      let outputs = own.flatMap { entry in entry.result.outputs.map { (entry: entry, output: $0) } }
      let below = outputs.filter { $0.output.coverage < $0.output.band.low }
      let within = outputs.count { $0.output.band.contains($0.output.coverage) }
      var sentence =
        "At alpha \(alpha), intervals are to hold \(Figures.percent(1 - alpha)) of the targets: of \(outputs.count) "
          + "kinds (model, method and output) \(within) do so within the 95 % band, \(below.count) hold fewer."
      // Narrower is better only among those that keep the promise.
      let single = own.filter { entry in entry.result.outputs.allSatisfy { $0.coverage >= $0.band.low } }
      func width(_ result: RegressionConformalResult) -> Double {
        result.outputs.reduce(0) { $0 + $1.meanWidth } / Double(max(1, result.outputs.count))
      }
      if let best = single.min(by: { width($0.result) < width($1.result) }), width(best.result).isFinite {
        sentence +=
          " The narrowest of those that keep it are of \(best.model) by "
            + "\(RegressionConformalTable.title(best.result.method)), \(RegressionMeasure.digits(width(best.result))) "
            + "wide on average."
      }
      return sentence
    }
  }
}

extension ReportCondition {
  /// What is to be said where the condition holds; `nil` where it does not.
  ///
  /// A number that is undefined counts as one for which it holds.
  ///
  /// - Parameter model: whose number it is where the condition names none.
  /// - Throws: `EvaluationError.Code.unsupported` where the report has no such model or number.
  public func violation(in report: RegressionReport, of model: String) throws(EvaluationError) -> String? {
    let name = self.model ?? model
    guard let exit = report.models.first(where: { $0.name == name })?.exits.max(by: { $0.index < $1.index }) else {
      throw EvaluationError(
        .unsupported,
        "The condition '\(text)' is of the model '\(name)', and there are "
          + "\(report.models.map(\.name).joined(separator: ", ")).")
    }
    guard set == nil, let measure = RegressionMeasure(rawValue: metric), let value = exit[measure]?.value else {
      throw EvaluationError(
        .unsupported,
        "The condition '\(text)' is of a number that \(name) does not have; leave it out, or give what it needs.")
    }
    guard value.isNaN || comparison.holds(value, limit) else { return nil }
    return "The \(metric) of \(name) is \(RegressionMeasure.digits(value)), and '\(text)' was to fail."
  }
}
