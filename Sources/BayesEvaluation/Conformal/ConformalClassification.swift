public import BayesPrediction
public import BayesTensor

/// How little a class conforms to the probabilities of a row.
///
/// With classes by falling probability (the first of equals first), `o` the place of class `k` from one, `u` uniform:
///
///     leastAmbiguous   1 − p_k
///     adaptive         Σ_{places before o} p + u p_k
///     regularized      Σ_{places before o} p + u p_k + λ max(0, o − k_reg)
///
/// Unrandomised, `u` is one.
///
/// - Source: Sadinle, Lei and Wasserman 2019, doi:10.1080/01621459.2017.1395341 (LAC); Romano, Sesia and Candès 2020,
///   arXiv:2006.02544 (APS); Angelopoulos et al. 2021, arXiv:2009.14193 (RAPS).
public enum ConformalScore: Sendable, Hashable, Codable {
  case leastAmbiguous
  case adaptive
  /// `weight` is `λ`, not negative, and `freeRank` is `k_reg`, the number of classes without a penalty.
  case regularized(weight: Double, freeRank: Int)

  /// The scores of all classes of a row.
  ///
  /// - Parameter uniform: `u`; it has no effect on the least ambiguous.
  /// - Precondition: the weight is finite, and weight and free rank are not negative.
  public func scores(of probabilities: some RandomAccessCollection<Double>, uniform: Double = 1) -> [Double] {
    let p = Array(probabilities)
    if self == .leastAmbiguous { return p.map { 1 - $0 } }
    var (weight, freeRank) = (0.0, 0)
    if case .regularized(let ownWeight, let ownRank) = self {
      precondition(
        ownWeight >= 0 && ownWeight.isFinite && ownRank >= 0,
        "The weight is finite, and weight and free rank are not negative; got \(ownWeight) and \(ownRank).")
      (weight, freeRank) = (ownWeight, ownRank)
    }
    var scores = [Double](repeating: 0, count: p.count)
    var sum = 0.0
    for (place, index) in p.indices.sorted(by: { (p[$1], $0) < (p[$0], $1) }).enumerated() {
      scores[index] = sum + uniform * p[index] + weight * Double(max(0, place + 1 - freeRank))
      sum += p[index]
    }
    return scores
  }
}

/// Learns how large sets of classes must be to hold the true class with a probability of `1 − alpha`.
///
///     set = { k : score(k) ≤ q }
///
/// The probability is over rows that are exchangeable with the fitted ones, which must not have been used for training;
/// by class it holds for each class, and otherwise on average only.  Randomised sets are smaller and may be empty.
///
/// - Determinism: the number `u` of a row follows from the key and the row's place alone.
/// - Cost: O(classes log classes) a row and O(rows log rows); a number a row is kept while fitting.
public struct ConformalClassification: Sendable, Hashable {
  /// The share of rows whose set may miss their class, between zero and one.
  public var alpha: Double
  public var score: ConformalScore
  /// Whether each class has a threshold of its own.
  public var isByClass: Bool
  /// The source of `u`; `nil` for sets without randomness.
  public var key: RandomKey?

  public init(alpha: Double, score: ConformalScore, isByClass: Bool = false, key: RandomKey? = nil) {
    self.alpha = alpha
    self.score = score
    self.isByClass = isByClass
    self.key = key
  }

  /// - Throws: `EvaluationError.Code.score` for an `alpha` outside the open `0...1` or a penalty that is negative or
  ///   not finite; `.empty`.
  public func fit(_ rows: LabelledProbabilities) throws(EvaluationError) -> ConformalClassSets {
    try checkAlpha(alpha)
    if case .regularized(let weight, let freeRank) = score {
      guard weight >= 0, weight.isFinite, freeRank >= 0 else {
        throw EvaluationError(
          .score, "The weight is finite, and weight and free rank are not negative; got \(weight) and \(freeRank).")
      }
    }
    guard rows.rowCount > 0 else { throw .noRows("conformal threshold") }
    let classCount = rows.probabilities.classCount
    var groups = [[Double]](repeating: [], count: isByClass ? classCount : 1)
    for (row, label) in rows.labels.enumerated() {
      let uniform = rowUniform(key?.child(0), row: row)
      groups[isByClass ? label : 0].append(score.scores(of: rows.probabilities.row(row), uniform: uniform)[label])
    }
    return ConformalClassSets(
      score: score, thresholds: groups.map { ConformalThreshold(checked: $0, alpha: alpha) }, classCount: classCount,
      key: key)
  }

  /// Fits to the mean probabilities of a prediction.
  ///
  /// - Throws: also `EvaluationError.Code.unsupported` for an output without classes; `.shape`; `.label`;
  ///   `.probability`.
  public func fit(_ prediction: Prediction, labels: [Int]) throws(EvaluationError) -> ConformalClassSets {
    try checkHasClasses(prediction)
    return try fit(LabelledProbabilities(prediction.probabilities(), labels: labels))
  }
}

/// Thresholds that turn probabilities into sets of classes.
public struct ConformalClassSets: Sendable, Hashable {
  public let score: ConformalScore
  /// One, or one a class.
  public let thresholds: [ConformalThreshold]
  public let classCount: Int
  /// The source of `u`; `nil` for sets without randomness.
  public let key: RandomKey?

  /// Where `alpha` is too small for the rows, the sentences that say so.
  public var notices: [String] {
    thresholds.indices.compactMap { index in
      thresholds[index].notice.map { thresholds.count > 1 ? "Class \(index): \($0)" : $0 }
    }
  }

  /// The sets of rows: classes in ascending order.
  ///
  /// - Parameter firstRow: the index of the first row in the whole set, which `u` follows from.
  /// - Throws: `EvaluationError.Code.shape` for another number of classes than fitted.
  public func sets(of probabilities: ClassProbabilities, firstRow: Int = 0) throws(EvaluationError) -> [[Int]] {
    guard probabilities.classCount == classCount else {
      throw EvaluationError(
        .shape, "The thresholds were fitted to \(classCount) classes; there are \(probabilities.classCount).")
    }
    return (0..<probabilities.rowCount).map { row in
      let uniform = rowUniform(key?.child(1), row: firstRow + row)
      let scores = score.scores(of: probabilities.row(row), uniform: uniform)
      return scores.indices.filter { scores[$0] <= thresholds[thresholds.count > 1 ? $0 : 0].value }
    }
  }

  /// The sets of a prediction's mean probabilities.
  ///
  /// - Throws: also `EvaluationError.Code.unsupported` for an output without classes; `.probability`.
  public func sets(of prediction: Prediction, firstRow: Int = 0) throws(EvaluationError) -> [[Int]] {
    try checkHasClasses(prediction)
    return try sets(of: ClassProbabilities(prediction.probabilities(), firstRow: firstRow), firstRow: firstRow)
  }
}

/// The number `u` of a row: one without a key.
func rowUniform(_ key: RandomKey?, row: Int) -> Double { key.map { $0.child(row).uniforms(1)[0] } ?? 1 }

extension ClassProbabilities {
  /// The probabilities of a row.
  func row(_ row: Int) -> ArraySlice<Double> {
    values.elements[row * classCount..<(row + 1) * classCount]
  }
}
