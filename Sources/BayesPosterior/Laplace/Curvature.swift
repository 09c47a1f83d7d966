import BayesPrediction
package import BayesTensor
import RealModule

/// What some training rows contribute to the curvature of one head: sums, so that rows may be split
/// and added in any way.
package struct Curvature: Sendable, Equatable {
  /// Positions in `totals`.
  package enum Total: Int, CaseIterable {
    case rowCount
    /// Of labels, in nats; nothing for Gaussian targets, whose noise is open.
    case logLikelihood
    /// Rows whose label (or all of whose labels) the logits have on top.
    case correctCount
    /// `Σ 1 / s²` over rows, `s` the row's noise in units of the common one; the row count without any.
    case weight
    /// `Σ (t − μ)² / s²` over rows and outputs.
    case squaredError
    /// `Σ log s` over rows.
    case logNoise
    /// The trace of the generalised Gauss–Newton matrix, the bias's share included, and that share.
    case trace, biasTrace
    /// `Σ ‖[φ; 1]‖² / s²` over rows.
    case squaredNorm
  }

  /// The sums that a structure asks for; empty for `lowRank`, which has none.
  ///
  /// - Kronecker: `Σ pₙ pₙᵀ` (categorical) or `Σ Λₙ` (all others), `[logits, logits]`, and
  ///   `Σ w [φ; 1] [φ; 1]ᵀ`, `[features + 1, features + 1]`.
  /// - Diagonal: `Σ Λₙₖₖ a²`, `[logits, features + 1]`.
  /// - Full: `Σ (p ⊗ a) (p ⊗ a)ᵀ` (categorical), `Σ w a aᵀ` (binary, Gaussian), or the blocks
  ///   `Σ Λₙₖₖ a aᵀ` one under the other (multilabel), `a = [φ; 1]`.
  package private(set) var parts: [Tensor<Double>]
  package private(set) var totals: Tensor<Double>

  /// The sums over no rows.
  package init(
    _ structure: LaplaceStructure = .kronecker, featureCount: Int, logitCount: Int,
    likelihood: Likelihood = .categorical
  ) {
    parts = Self.shapes(structure, featureCount: featureCount, logitCount: logitCount, likelihood: likelihood)
      .map { Tensor(zeros: $0) }
    totals = Tensor(zeros: [Total.allCases.count])
  }

  /// Sums that were kept.
  init(parts: [Tensor<Double>], totals: Tensor<Double>) {
    self.parts = parts
    self.totals = totals
  }

  /// The shapes of `parts`.
  static func shapes(
    _ structure: LaplaceStructure, featureCount: Int, logitCount: Int, likelihood: Likelihood
  ) -> [Shape] {
    let inputCount = featureCount + 1
    switch structure {
    case .kronecker, .folded, .factored: return [[logitCount, logitCount], [inputCount, inputCount]]
    case .diagonal: return [[logitCount, inputCount]]
    case .lowRank: return []
    case .full:
      switch likelihood {
      case .categorical: return [[logitCount * inputCount, logitCount * inputCount]]
      case .multilabel: return [[logitCount * inputCount, inputCount]]
      case .binary, .gaussian: return [[inputCount, inputCount]]
      }
    }
  }

  /// The sums over a batch.
  ///
  /// - Precondition: labels and targets are in range.
  package init(
    _ structure: LaplaceStructure = .kronecker, of rows: HeadRows, _ likelihood: Likelihood,
    on backend: any Backend
  ) {
    let inputs = appending(1, to: rows.features)
    let weights = rowWeights(rows, likelihood)
    let probabilities = likelihood == .categorical ? softmax(rows.logits) : nil
    let diagonal = curvatureDiagonal(rows, likelihood, probabilities: probabilities, weights: weights)
    switch structure {
    case .kronecker, .folded, .factored:
      let output: Tensor<Double>
      if let probabilities {
        output = gram(probabilities, on: backend)
      } else {
        output = diagonalMatrix(columnSums(diagonal))
      }
      let weighted = weights.map { scalingRows(of: inputs, by: $0.map { $0.squareRoot() }) }
      parts = [output, gram(weighted ?? inputs, on: backend)]
    case .diagonal:
      parts = [backend.product(diagonal, inputs.map { $0 * $0 }, transposing: .first)]
    case .full:
      if let probabilities {
        parts = [gram(rowwiseKronecker(probabilities, inputs), on: backend)]
      } else if likelihood == .multilabel {
        parts = [
          .stacking(
            (0..<diagonal.shape[1]).map { k in
              let roots = (0..<diagonal.rowCount).map { diagonal[$0, k].squareRoot() }
              return gram(scalingRows(of: inputs, by: roots), on: backend)
            })
        ]
      } else {
        let roots = (0..<diagonal.rowCount).map { diagonal[$0, 0].squareRoot() }
        parts = [gram(scalingRows(of: inputs, by: roots), on: backend)]
      }
    case .lowRank: parts = []
    }
    totals = Tensor(zeros: [Total.allCases.count])
    self[.rowCount] = Double(rows.logits.rowCount)
    self[.weight] = weights?.reduce(0, +) ?? Double(rows.logits.rowCount)
    if let noise = rows.noise { for value in noise { self[.logNoise] += Double.log(value) } }
    let norms = rowSums(inputs.map { $0 * $0 })
    let traces = rowSums(diagonal)
    for row in norms.indices {
      self[.trace] += norms[row] * traces[row]
      self[.biasTrace] += traces[row]
      self[.squaredNorm] += norms[row] * (weights?[row] ?? 1)
    }
    addAnswers(of: rows, likelihood, weights: weights)
  }

  private mutating func addAnswers(of rows: HeadRows, _ likelihood: Likelihood, weights: [Double]?) {
    if let labels = rows.labels, likelihood == .categorical || likelihood == .binary {
      for (row, label) in labels.enumerated() {
        let scores = ClassScores(logits: rows.logits, row: row, likelihood)
        self[.logLikelihood] += scores.logProbability(of: label)
        if scores.top == label { self[.correctCount] += 1 }
      }
    }
    guard let targets = rows.targets else { return }
    let width = targets.shape[1]
    if likelihood == .gaussian {
      for row in 0..<targets.rowCount {
        var sum = 0.0
        for k in 0..<width {
          let difference = targets[row, k] - rows.logits[row, k]
          sum += difference * difference
        }
        self[.squaredError] += sum * (weights?[row] ?? 1)
      }
    } else if likelihood == .multilabel {
      for row in 0..<targets.rowCount {
        var isCorrect = true
        for k in 0..<width {
          let margin = targets[row, k] == 1 ? rows.logits[row, k] : -rows.logits[row, k]
          self[.logLikelihood] -= softplus(-margin)
          if (rows.logits[row, k] > 0) != (targets[row, k] == 1) { isCorrect = false }
        }
        if isCorrect { self[.correctCount] += 1 }
      }
    }
  }

  /// One of the totals.
  package private(set) subscript(total: Total) -> Double {
    get { totals[total.rawValue] }
    set { totals[total.rawValue] = newValue }
  }

  /// Whether all numbers are.
  var isFinite: Bool { (parts + [totals]).allSatisfy { $0.firstNonFinite == nil } }

  /// The number of rows.
  package var rowCount: Int { Int(self[.rowCount]) }

  /// Adds the sums over other rows.
  package mutating func add(_ other: Curvature) {
    for index in parts.indices { accumulate(other.parts[index], into: &parts[index]) }
    accumulate(other.totals, into: &totals)
  }

  /// Adds the sums of the other processes.
  mutating func reduce(over communicator: any Communicator) {
    for index in parts.indices { communicator.allReduce(&parts[index]) }
    communicator.allReduce(&totals)
  }
}

/// The reciprocal variances of the rows' targets in units of the common one; `nil` where all are one.
func rowWeights(_ rows: HeadRows, _ likelihood: Likelihood) -> [Double]? {
  guard likelihood == .gaussian, let noise = rows.noise else { return nil }
  return noise.map { 1 / ($0 * $0) }
}

/// The diagonals of `Λₙ`, the second derivatives of the negative log-likelihood in each logit.
///
/// - Shapes: `[rows, logits]`.
func curvatureDiagonal(
  _ rows: HeadRows, _ likelihood: Likelihood, probabilities: Tensor<Double>?, weights: [Double]?
) -> Tensor<Double> {
  switch likelihood {
  case .binary, .multilabel:
    return rows.logits.map {
      let decay = Double.exp(-abs($0))
      return decay / ((1 + decay) * (1 + decay))
    }
  case .gaussian:
    var result = Tensor<Double>(repeating: 1, shape: rows.logits.shape)
    if let weights { result = scalingRows(of: result, by: weights) }
    return result
  case .categorical:
    var result = probabilities ?? softmax(rows.logits)
    let width = rows.logits.shape[1]
    result.withMutableSpan { span in
      for start in stride(from: 0, to: span.count, by: width) {
        var top = start
        for position in start..<start + width where span[position] > span[top] { top = position }
        // One minus the largest probability, which may round to one, is the sum of the others.
        var others = 0.0
        for position in start..<start + width where position != top { others += span[position] }
        for position in start..<start + width {
          span[position] *= position == top ? others : 1 - span[position]
        }
      }
    }
    return result
  }
}

/// The scores of one row's classes, in `Double`.
struct ClassScores {
  private let values: [Double]

  init(logits: Tensor<Double>, row: Int, _ likelihood: Likelihood) {
    let width = logits.shape[1]
    values =
      likelihood == .binary ? [0, logits[row]] : Array(logits.elements[row * width..<(row + 1) * width])
  }

  func logProbability(of label: Int) -> Double { values[label] - logSumExp(values) }

  /// The first class of the highest score.
  var top: Int {
    var top = 0
    for index in values.indices where values[index] > values[top] { top = index }
    return top
  }
}
