public import BayesEvaluation
import Foundation

/// A condition on a number of a report, as `ece>0.03`: what a pipeline may stop at.
///
///     [MODEL/]METRIC[:SET](>|>=|<|<=)NUMBER[%]
///
/// The number is that of a model's deepest exit.  A set is named for `auroc` and `fpr95`, which are those of the maximum
/// probability.
public struct ReportCondition: Sendable, Hashable {
  /// How a number stands to the limit.
  enum Comparison: String, CaseIterable {
    // The longer first: `>` begins `>=`.
    case atLeast = ">="
    case atMost = "<="
    case above = ">"
    case below = "<"

    /// Whether a number, which is one, stands so.
    func holds(_ value: Double, _ limit: Double) -> Bool {
      switch self {
      case .atLeast: value >= limit
      case .atMost: value <= limit
      case .above: value > limit
      case .below: value < limit
      }
    }
  }

  private static let metrics: [(name: String, value: @Sendable (ExitResult) -> Double?)] = [
    ("accuracy", { $0.accuracy }), ("nll", { $0.nll }), ("brier", { $0.brier }), ("ece", { $0.ece.value }),
    ("mce", { $0.details?.calibration.maximum }), ("rms", { $0.details?.calibration.rootMeanSquare }),
    ("classwise", { $0.details?.calibration.classwise }), ("equal-mass", { $0.details?.calibration.equalMass }),
    ("aurc", { $0.details?.selection.aurc }), ("e-aurc", { $0.details?.selection.excessAURC }),
    ("augrc", { $0.details?.selection.augrc }), ("risk", { $0.trust?.test.risk }),
    ("coverage", { $0.trust?.test.coverage }),
  ]
  private static let setMetrics: [(name: String, value: @Sendable (ScoreResult) -> Double)] = [
    ("auroc", { $0.auroc }), ("fpr95", { $0.fpr95 }),
  ]

  /// What a condition may look like, for messages.
  public static let form =
    "[MODEL/]METRIC followed by >, >=, < or <= and a number, as 'ece>0.03' or 'ece>3%', of "
    + (metrics.map(\.name) + setMetrics.map { "\($0.name):SET" }).joined(separator: ", ")
    + "; of regressions " + RegressionMeasure.allCases.map(\.rawValue).joined(separator: ", ")

  /// As it was written.
  public let text: String
  let model: String?
  let metric: String
  /// The foreign set whose number it is; `nil` for numbers of the test set.
  public let set: String?
  let comparison: Comparison
  let limit: Double

  /// Whether a report on classes may have such a number.
  public var isOfClasses: Bool { self.set != nil || Self.metrics.contains { $0.name == metric } }
  /// Whether a report on real targets may have such a number.
  public var isOfRealTargets: Bool { self.set == nil && RegressionMeasure.allCases.contains { $0.rawValue == metric } }

  /// Reads a condition; `nil` for what is none.
  public init?(_ text: String) {
    guard let comparison = Comparison.allCases.first(where: { text.contains($0.rawValue) }) else { return nil }
    // Names of files and sets may hold the signs; the last one counts.
    guard let range = text.range(of: comparison.rawValue, options: .backwards),
      let limit = Self.number(text[range.upperBound...].drop { $0 == " " }), limit.isFinite
    else { return nil }
    var subject = text[..<range.lowerBound]
    while subject.last == " " { subject.removeLast() }
    var model: String?
    if let slash = subject.lastIndex(of: "/") {
      model = String(subject[..<slash])
      subject = subject[subject.index(after: slash)...]
    }
    let parts = subject.split(separator: ":", maxSplits: 1, omittingEmptySubsequences: false).map { String($0) }
    let names =
      parts.count == 1
      ? Self.metrics.map(\.name) + RegressionMeasure.allCases.map(\.rawValue) : Self.setMetrics.map(\.name)
    guard let metric = parts.first, names.contains(metric) else { return nil }
    self.text = text
    self.model = model
    self.metric = metric
    set = parts.count > 1 ? parts[1] : nil
    self.comparison = comparison
    self.limit = limit
  }

  /// A number, which may be in percent.
  private static func number(_ text: Substring) -> Double? {
    text.last == "%" ? Double(text.dropLast()).map { $0 / 100 } : Double(text)
  }

  /// What is to be said where the condition holds; `nil` where it does not.
  ///
  /// A number that is undefined counts as one for which it holds.
  ///
  /// - Parameter model: whose number it is where the condition names none.
  /// - Throws: `EvaluationError.Code.unsupported` where the report has no such model or number.
  public func violation(in report: Report, of model: String) throws(EvaluationError) -> String? {
    let name = self.model ?? model
    guard let exit = report.models.first(where: { $0.name == name })?.exits.max(by: { $0.index < $1.index }) else {
      throw EvaluationError(
        .unsupported,
        "The condition '\(text)' is of the model '\(name)', and there are \(report.models.map(\.name).joined(separator: ", ")).")
    }
    let value: Double?
    if let set {
      let score = exit.ood.first { $0.name == set }?.scores["maximumProbability"]
      value = score.flatMap { score in Self.setMetrics.first { $0.name == metric }?.value(score) }
    } else {
      value = Self.metrics.first { $0.name == metric }?.value(exit)
    }
    guard let value else {
      throw EvaluationError(
        .unsupported, "The condition '\(text)' is of a number that \(name) does not have; leave it out, or give what it needs.")
    }
    guard value.isNaN || comparison.holds(value, limit) else { return nil }
    return "The \(metric)\(set.map { " on \($0)" } ?? "") of \(name) is \(Figures.number(value, decimals: 4)), and '\(text)' "
      + "was to fail."
  }
}
