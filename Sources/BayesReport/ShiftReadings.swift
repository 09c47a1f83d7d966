import BayesEvaluation

extension ShiftedCorruption {
  /// The strongest severity that was measured.
  var strongest: ShiftedSeverity? { severities.max { $0.severity < $1.severity } }
}

extension ShiftedSeverity {
  /// One exit of one model.
  func exit(_ index: Int, of model: String) -> ShiftedExit? {
    models.first { $0.name == model }?.exits.first { $0.index == index }
  }
}

/// Means over corruptions of one severity, with intervals that hold them with at least 95 %.
struct ShiftMeans: Sendable {
  var accuracy: Double
  var nll: Double
  var ece: Double
  var accuracyInterval: Interval?
  var nllInterval: Interval?
  var eceInterval: Interval?
}

/// What shift does to models, in words.
struct ShiftReadings: Sendable {
  var report: Report
  var shift: ShiftStudy
  /// The exit that is spoken of.
  var exit: Int

  /// What happened on average over the corruptions, a sentence a model, and which of them is the worst.
  var summary: [String] {
    guard let baseline = report.models.first, !shift.corruptions.isEmpty else { return [] }
    var sentences = report.models.compactMap { model -> String? in
      // What was left as it is would say of the network the same again.
      guard let untouched = untouched(model.name), !untouched.isLeftAsItIs, let severity, let mean = mean(of: model.name, at: severity) else {
        return nil
      }
      let (from, to) = Figures.percents(untouched.ece.value, mean.ece)
      let (right, left) = Figures.percents(untouched.accuracy, mean.accuracy)
      let over = shift.corruptions.count > 1 ? "On average over the \(shift.corruptions.count) corruptions, at" : "At"
      return "\(over) severity \(severity), \(model.name) has an ECE of \(to) (\(from) on clean images) and is right in "
        + "\(left) (\(right))."
    }
    if shift.corruptions.count > 1,
      let worst = shift.corruptions.max(by: { ece($0, baseline.name) < ece($1, baseline.name) }),
      let mildest = shift.corruptions.min(by: { ece($0, baseline.name) < ece($1, baseline.name) })
    {
      sentences.append(
        "For the calibration of \(baseline.name) the worst is \(worst.title.lowercasedFirst) (ECE "
          + "\(Figures.percent(ece(worst, baseline.name)))), the mildest \(mildest.title.lowercasedFirst) "
          + "(\(Figures.percent(ece(mildest, baseline.name)))).")
    }
    return sentences
  }

  /// What one corruption does at its strongest, a sentence a model.
  func sentences(_ corruption: ShiftedCorruption) -> [String] {
    guard let strongest = corruption.strongest else { return [] }
    return report.models.compactMap { model in
      guard let untouched = untouched(model.name), let shifted = strongest.exit(exit, of: model.name) else {
        return nil
      }
      let (from, to) = Figures.percents(untouched.ece.value, shifted.ece)
      let change = shifted.change.ece
      var sentence = "At severity \(strongest.severity) the ECE of \(model.name) "
      if from == to {
        sentence += "stays at \(to)"
      } else {
        sentence += (change.value > 0 ? "rises" : "falls") + " from \(from) to \(to), by "
        sentence += Self.points(change, isSigned: false)
        if change.isWithinNoise { sentence += ", which is within noise" }
      }
      let (right, left) = Figures.percents(untouched.accuracy, shifted.accuracy)
      sentence += right == left ? "; its accuracy stays at \(left)" : "; its accuracy goes from \(right) to \(left)"
      if let against = shifted.againstBaseline?.ece {
        if against.isWithinNoise {
          sentence += ". There its ECE is within noise of the baseline's, \(Self.points(against, isSigned: true))"
        } else {
          sentence += ". There its ECE lies \(Self.points(against, isSigned: false)) "
            + (against.value < 0 ? "below" : "above") + " the baseline's"
        }
      }
      return sentence + "."
    }
  }

  /// The mean over corruptions at one severity; `nil` where a corruption lacks it.
  func mean(of model: String, at severity: Int) -> ShiftMeans? {
    let exits = shift.corruptions.compactMap { corruption in
      corruption.severities.first { $0.severity == severity }?.exit(exit, of: model)
    }
    guard exits.count == shift.corruptions.count, !exits.isEmpty else { return nil }
    func mean(_ measure: (ShiftedExit) -> Double) -> Double {
      exits.reduce(0) { $0 + measure($1) } / Double(exits.count)
    }
    // The same rows are corrupted in every way, and how their losses go together is not known: in the worst case their
    // errors add up, and the mean of the ends is then the interval of the mean.
    func interval(_ measure: (ShiftedExit) -> Interval?) -> Interval? {
      let intervals = exits.compactMap(measure)
      guard intervals.count == exits.count else { return nil }
      func mean(_ end: (Interval) -> Double) -> Double { intervals.reduce(0) { $0 + end($1) } / Double(exits.count) }
      return Interval(low: mean(\.low), high: mean(\.high))
    }
    return ShiftMeans(
      accuracy: mean(\.accuracy), nll: mean(\.nll), ece: mean(\.ece),
      accuracyInterval: interval { $0.intervals.accuracy }, nllInterval: interval { $0.intervals.nll },
      eceInterval: interval { $0.eceInterval })
  }

  /// The strongest severity that all corruptions have.
  private var severity: Int? { shift.corruptions.compactMap { $0.strongest?.severity }.min() }

  private func untouched(_ model: String) -> ExitResult? {
    report.models.first { $0.name == model }?.exits.first { $0.index == exit }
  }

  private func ece(_ corruption: ShiftedCorruption, _ model: String) -> Double {
    corruption.strongest?.exit(exit, of: model)?.ece ?? 0
  }

  /// `5.3 pp (4.1 to 6.5)`, with its sign or as a size.
  private static func points(_ difference: Difference, isSigned: Bool) -> String {
    let sign: Double = !isSigned && difference.value < 0 ? -1 : 1
    func number(_ value: Double) -> String { Figures.number(sign * value * 100, decimals: 1) }
    let value = number(difference.value)
    let interval = difference.interval.map { interval in
      let ends = sign < 0 ? (interval.high, interval.low) : (interval.low, interval.high)
      return " (95 % interval \(number(ends.0)) to \(number(ends.1)))"
    }
    return (isSigned ? Figures.signed(value) : value) + Figures.space + "pp" + (interval ?? "")
  }
}

extension String {
  /// With a small first letter, but for words that are capitals throughout.
  fileprivate var lowercasedFirst: String {
    if prefix(2).allSatisfy(\.isUppercase) || hasPrefix("Gaussian") { return self }
    return prefix(1).lowercased() + dropFirst()
  }
}

extension Report {
  /// What was found beside what the verdict says of: of the policy, of prediction sets, and of the baseline under shift.
  public var findings: [String] {
    let shift = shiftSummary
    return trustSummary + ConformalSection(report: self, exits: exits).findings
      + (shift.count > 1 ? [shift[0], shift[shift.count - 1]] : shift)
  }

  /// What shift does to the models at the deepest exit, in plain sentences; empty where it was not measured.
  public var shiftSummary: [String] {
    guard let shift, let index = deepestExitIndex else { return [] }
    return ShiftReadings(report: self, shift: shift, exit: index).summary
  }
}
