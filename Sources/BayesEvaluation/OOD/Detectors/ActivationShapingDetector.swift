public import BayesTensor
import RealModule

/// The energy of features of which only the largest are kept (ASH).
///
///     −log Σₖ exp z'ₖ,   z' = Wᵀ f' + b
///
/// `f'` keeps the largest `d − round(d · percentile / 100)` of a row's `d` features, one at least and of equal ones the
/// first; the others are zero.  With `s₁` the sum of all features and `s₂` that of the kept ones, those that are kept
/// - stay as they are (`prune`),
/// - are all `s₁` over their number (`binarize`), or
/// - are multiplied by `exp(s₁ / s₂)` (`scale`); features that are all zero stay zero.
///
/// - Throws: `EvaluationError.Code.feature` for a negative feature: sums of either sign mean nothing here.
/// - Cost: no pass; a sort of the features of a row.
/// - Source: Djurisic et al. 2023, arXiv:2209.09858.
public struct ActivationShapingDetector: OODDetector {
  /// What becomes of the features that are kept.
  public enum Form: String, Sendable, CaseIterable {
    case prune, binarize, scale
  }

  public let form: Form
  /// How many of a hundred features are set to zero, `0..<100`.
  public let percentile: Double

  /// - Precondition: the percentile is one.
  public init(_ form: Form = .scale, percentile: Double = 90) {
    precondition(
      (0..<100).contains(percentile), "A percentile of features to drop is from 0 to below 100; got \(percentile).")
    self.form = form
    self.percentile = percentile
  }

  public var name: String {
    switch form {
    case .prune: "ashP"
    case .binarize: "ashB"
    case .scale: "ashS"
    }
  }

  public var needs: DetectorNeeds { [.headWeights, .nonNegativeFeatures] }
  public var settings: [String: Double] { ["percentile": percentile] }

  public func scoring(
    fittedTo inputs: DetectorInputs, in context: ExecutionContext
  ) async throws -> any DetectorScoring {
    let (form, percentile) = (form, percentile)
    return ShapedEnergy(head: try inputs.requiredHead(for: name)) { row in
      let sum = row.reduce(0, +)
      let keeps = largest(of: row, droppedPercentile: percentile)
      var (keptSum, keptCount) = (0.0, 0)
      for (value, isKept) in zip(row, keeps) where isKept {
        keptSum += value
        keptCount += 1
      }
      let scale = keptSum > 0 ? Double.exp(sum / keptSum) : 1
      for column in row.indices {
        guard keeps[column] else {
          row[column] = 0
          continue
        }
        switch form {
        case .prune: break
        case .binarize: row[column] = sum / Double(keptCount)
        case .scale: row[column] *= scale
        }
      }
    }
  }
}

/// The energy of features that are all multiplied by how much of their sum the largest hold (SCALE).
///
///     −log Σₖ exp z'ₖ,   z' = exp(s₁ / s₂) Wᵀ f + b
///
/// `s₁` is the sum of all features of a row and `s₂` that of the largest, chosen as `ActivationShapingDetector` does.
/// Features that are all zero stay zero.
///
/// - Throws: `EvaluationError.Code.feature` for a negative feature: sums of either sign mean nothing here.
/// - Cost: no pass; a sort of the features of a row.
/// - Source: Xu et al. 2024, arXiv:2310.00227.
public struct ActivationScalingDetector: OODDetector {
  /// How many of a hundred features do not count as large, `0..<100`.
  public let percentile: Double

  /// - Precondition: the percentile is one.
  public init(percentile: Double = 85) {
    precondition(
      (0..<100).contains(percentile), "A percentile of features to drop is from 0 to below 100; got \(percentile).")
    self.percentile = percentile
  }

  public var name: String { "scale" }
  public var needs: DetectorNeeds { [.headWeights, .nonNegativeFeatures] }
  public var settings: [String: Double] { ["percentile": percentile] }

  public func scoring(
    fittedTo inputs: DetectorInputs, in context: ExecutionContext
  ) async throws -> any DetectorScoring {
    let percentile = percentile
    return ShapedEnergy(head: try inputs.requiredHead(for: name)) { row in
      let sum = row.reduce(0, +)
      var keptSum = 0.0
      for (value, isKept) in zip(row, largest(of: row, droppedPercentile: percentile)) where isKept { keptSum += value }
      guard keptSum > 0 else { return }
      let scale = Double.exp(sum / keptSum)
      for column in row.indices { row[column] *= scale }
    }
  }
}

/// The energy of rows of features, each reshaped on its own.
private struct ShapedEnergy: DetectorScoring {
  let head: DetectorHead
  let shape: @Sendable (inout [Double]) -> Void

  func scores(features: Tensor<Double>, logits: Tensor<Double>, on backend: any Backend) -> [Double] {
    let width = features.shape[1]
    var elements = ContiguousArray<Double>()
    elements.reserveCapacity(features.count)
    for row in 0..<features.rowCount {
      var values = Array(features.elements[row * width..<(row + 1) * width])
      shape(&values)
      elements.append(contentsOf: values)
    }
    return energies(head.logits(of: Tensor(shape: features.shape, elements: elements), on: backend))
  }
}

/// Which features of a row are among the largest that dropping a percentile leaves; of equal ones the first.
private func largest(of row: [Double], droppedPercentile: Double) -> [Bool] {
  // Halves go to the even number, as in NumPy.
  let dropped = Int((Double(row.count) * droppedPercentile / 100).rounded(.toNearestOrEven))
  let count = max(1, row.count - dropped)
  let threshold = row.sorted(by: >)[count - 1]
  var equalCount = count - row.count { $0 > threshold }
  return row.map { value in
    if value == threshold, equalCount > 0 {
      equalCount -= 1
      return true
    }
    return value > threshold
  }
}
