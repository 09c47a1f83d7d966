public import BayesPrediction
public import BayesTensor
import RealModule

/// The generalised entropy (GEN) of the largest probabilities, averaged over samples first.
///
///     Σ pₖ^γ (1 − pₖ)^γ   over the M largest pₖ
///
/// A small `γ` makes it feel probabilities that are hardly above zero.
///
/// - Range: from zero, where one class is certain, to at most `M / 4^γ`.
/// - Source: Liu et al. 2023, doi:10.1109/CVPR52729.2023.02293.
public struct GeneralizedEntropyScore: OODScore {
  /// `γ`
  public let exponent: Double
  /// `M`, the most classes that are summed over.
  public let classLimit: Int

  /// - Precondition: the exponent is positive and at least one class is summed over.
  public init(exponent: Double = 0.1, classLimit: Int = 100) {
    precondition(
      exponent > 0 && classLimit > 0,
      "The exponent of a generalised entropy and its number of classes are positive; got \(exponent) and "
        + "\(classLimit).")
    self.exponent = exponent
    self.classLimit = classLimit
  }

  public var name: String { "generalizedEntropy" }

  public func values(of prediction: Prediction, split: UncertaintySplit) -> Tensor<Double> {
    let (rowCount, classCount) = (split.probabilities.shape[0], split.probabilities.shape[1])
    return Tensor(
      shape: [rowCount],
      (0..<rowCount).map { row in
        var probabilities = Array(split.probabilities.elements[row * classCount..<(row + 1) * classCount])
        if classCount > classLimit { probabilities.sort(by: >) }
        var sum = 0.0
        for p in probabilities.prefix(classLimit) {
          // Rounding may carry a sum of samples just above one.
          sum += Double.pow(p * max(0, 1 - p), exponent)
        }
        return sum
      })
  }
}
