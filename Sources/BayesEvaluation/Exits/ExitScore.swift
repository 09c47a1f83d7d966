public import BayesPrediction
import BayesTensor
import RealModule

/// A number a row that says how ready it is to leave at an exit: larger is readier.
public enum ExitScore: Hashable, Sendable {
  /// The log-odds of the most probable class, which rank rows as the largest probability does but do not meet at one.
  ///
  /// - Source: Huang et al. 2018, arXiv:1703.09844.
  case maximumProbability
  /// `−H[p̄]`, nats.
  case entropy
  /// `−log(1 − (p₁ − p₂))` of the two most probable classes, which ranks rows as `p₁ − p₂` does.
  case margin
  /// Minus the mutual information of class and weights, nats: ready where draws agree.
  case mutualInformation
  /// Minus the variance of the logits over draws, each draw's mean taken off, averaged over classes.
  case logitVariance
  /// `−min(H[p̄], w · I)` with total entropy `H` and mutual information `I`, nats.
  ///
  /// A row leaves where little is uncertain, or where what is uncertain is aleatoric, so that more compute cannot help.
  case combined(epistemicWeight: Double)
  /// The number of exits in a row, up to this one, that name the same class.
  ///
  /// - Source: Zhou et al. 2020, arXiv:2006.04152.
  case patience

  /// Whether the score says nothing without draws or a closed form of the epistemic part.
  public var needsEpistemicUncertainty: Bool {
    switch self {
    case .mutualInformation, .logitVariance, .combined: true
    case .maximumProbability, .entropy, .margin, .patience: false
    }
  }
}

/// How ready a row is to leave: by a score, and among equals by the log-odds of its class.
///
/// Scores meet where they saturate or count; without a second number such rows would leave together and a budget be
/// missed.
public struct ExitReadiness: Comparable, Hashable, Sendable, Codable {
  public var score: Double
  public var logOdds: Double

  public init(score: Double, logOdds: Double) {
    self.score = score
    self.logOdds = logOdds
  }

  /// Below all rows.
  public static let everybody = ExitReadiness(score: -.infinity, logOdds: -.infinity)

  public static func < (a: ExitReadiness, b: ExitReadiness) -> Bool {
    (a.score, a.logOdds) < (b.score, b.logOdds)
  }
}

/// What is remembered of rows between exits.
public struct ExitRowStates: Sendable, Equatable {
  /// The class that the exit before named; `nil` before the first.
  private var classes: [Int?]
  /// How many exits in a row have named it.
  private var agreements: [Int]

  public init(rowCount: Int) {
    classes = Array(repeating: nil, count: rowCount)
    agreements = Array(repeating: 0, count: rowCount)
  }

  /// The number of rows that are left.
  public var rowCount: Int { classes.count }

  /// Keeps some of the rows that are left.
  ///
  /// - Parameter positions: ascending.
  public mutating func keep(_ positions: [Int]) {
    classes = positions.map { classes[$0] }
    agreements = positions.map { agreements[$0] }
  }

  /// Notes the classes that the next exit names; gives how many exits in a row have named each.
  mutating func note(_ named: [Int]) -> [Int] {
    for (row, name) in named.enumerated() {
      agreements[row] = classes[row] == name ? agreements[row] + 1 : 1
      classes[row] = name
    }
    return agreements
  }
}

extension ExitScore {
  /// How ready the rows of a batch are at the exit that made a prediction.
  ///
  /// - Parameters:
  ///   - split: the uncertainty of `prediction`.
  ///   - states: of the rows, which take note of this exit.
  /// - Precondition: `states` are of as many rows; exits come one after another.
  /// - Throws: `EvaluationError.Code.unsupported` for outputs without classes, and where the score needs an epistemic
  ///   part that the prediction has not.
  public func readiness(
    of prediction: Prediction, _ split: UncertaintySplit, _ states: inout ExitRowStates
  ) throws(EvaluationError) -> [ExitReadiness] {
    try checkHasClasses(prediction)
    precondition(states.rowCount == prediction.rowCount, "There is one state a row.")
    let isKnown = self == .logitVariance ? prediction.sampleCount > 1 : prediction.hasEpistemicUncertainty
    guard !needsEpistemicUncertainty || isKnown else {
      throw EvaluationError(
        .unsupported,
        "The score '\(self)' needs draws of a posterior, and exit \(prediction.exit) has none; give a posterior that draws, "
          + "or another score.")
    }
    let (rowCount, classCount) = (split.probabilities.shape[0], split.probabilities.shape[1])
    var named = [Int](repeating: 0, count: rowCount)
    var logOdds = [Double](repeating: 0, count: rowCount)
    var margins = [Double](repeating: 0, count: rowCount)
    for row in 0..<rowCount {
      let tops = Self.tops(split, row, classCount)
      named[row] = tops.first
      // What is left of one is added up, since one minus a probability near one has no digits left.
      logOdds[row] = Double.log(split.probabilities[row, tops.first]) - Double.log(tops.rest)
      margins[row] = -Double.log(tops.rest + tops.second)
    }
    let agreements = states.note(named)
    let variances = self == .logitVariance ? prediction.logitVariances() : []
    return (0..<rowCount).map { row in
      let score: Double =
        switch self {
        case .maximumProbability: logOdds[row]
        case .entropy: -split.total[row]
        case .margin: margins[row]
        case .mutualInformation: -Self.epistemic(split, row)
        case .logitVariance: -variances[row]
        case .combined(let weight): -min(split.total[row], weight * Self.epistemic(split, row))
        case .patience: Double(agreements[row])
        }
      return ExitReadiness(score: score, logOdds: logOdds[row])
    }
  }

  /// The epistemic part of a row's uncertainty; zero where it is rounding, whose order says nothing.
  private static func epistemic(_ split: UncertaintySplit, _ row: Int) -> Double {
    let value = split.epistemic[row]
    return value > 1e-13 * max(1, split.total[row]) ? value : 0
  }

  /// The most probable class, the probability of the second, and that of all but the first.
  private static func tops(
    _ split: UncertaintySplit, _ row: Int, _ classCount: Int
  ) -> (first: Int, second: Double, rest: Double) {
    var first = 0
    for column in 1..<classCount where split.probabilities[row, column] > split.probabilities[row, first] {
      first = column
    }
    var (second, rest) = (0.0, 0.0)
    for column in 0..<classCount where column != first {
      second = max(second, split.probabilities[row, column])
      rest += split.probabilities[row, column]
    }
    return (first, second, rest)
  }
}

extension Prediction {
  /// Whether anything is known of what more data would tell.
  var hasEpistemicUncertainty: Bool { closedForm.map { $0.aleatoric != nil } ?? (sampleCount > 1) }

  /// For each row the variance of the logits over samples, averaged over classes.
  ///
  /// A common shift of all logits of a draw changes no probability, so that each draw's mean is taken off.
  func logitVariances() -> [Double] {
    var variances = [Double](repeating: 0, count: rowCount)
    logits.withSpan { logits in
      for row in 0..<rowCount {
        var (sums, squares) = ([Double](repeating: 0, count: logitCount), 0.0)
        for sample in 0..<sampleCount {
          let weight = sampleWeights?[sample] ?? 1 / Double(sampleCount)
          let start = (sample * rowCount + row) * logitCount
          var mean = 0.0
          if logitCount > 1 {
            for column in 0..<logitCount { mean += Double(logits[start + column]) / Double(logitCount) }
          }
          for column in 0..<logitCount {
            let centred = Double(logits[start + column]) - mean
            sums[column] += weight * centred
            squares += weight * centred * centred
          }
        }
        let explained = sums.reduce(0) { $0 + $1 * $1 }
        let variance = squares - explained
        // Less is rounding, whose order says nothing.
        variances[row] = variance > 1e-13 * squares ? variance / Double(logitCount) : 0
      }
    }
    return variances
  }
}

extension ExitScore: CustomStringConvertible, Codable {
  /// As users name the score: `combined:2` for a weight of two.
  public init?(_ text: String) {
    switch text {
    case "maximum-probability": self = .maximumProbability
    case "entropy": self = .entropy
    case "margin": self = .margin
    case "mutual-information": self = .mutualInformation
    case "logit-variance": self = .logitVariance
    case "patience": self = .patience
    default:
      guard text.hasPrefix("combined:"), let weight = Double(text.dropFirst(9)), weight > 0, weight.isFinite else {
        return nil
      }
      self = .combined(epistemicWeight: weight)
    }
  }

  public var description: String {
    switch self {
    case .maximumProbability: "maximum-probability"
    case .entropy: "entropy"
    case .margin: "margin"
    case .mutualInformation: "mutual-information"
    case .logitVariance: "logit-variance"
    case .combined(let weight): "combined:\(weight)"
    case .patience: "patience"
    }
  }

  public init(from decoder: any Decoder) throws {
    let text = try decoder.singleValueContainer().decode(String.self)
    guard let score = ExitScore(text) else {
      throw DecodingError.dataCorrupted(
        DecodingError.Context(codingPath: decoder.codingPath, debugDescription: "'\(text)' is no score of exits."))
    }
    self = score
  }

  public func encode(to encoder: any Encoder) throws {
    var container = encoder.singleValueContainer()
    try container.encode(description)
  }
}
