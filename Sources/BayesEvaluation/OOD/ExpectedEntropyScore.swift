public import BayesPrediction
public import BayesTensor

/// The mean entropy of the samples, `mean H[p]`: what would stay uncertain if the weights were known.
///
/// Without draws it is the entropy.
///
/// - Units: nats.
/// - Source: Depeweg et al. 2018, arXiv:1710.07283.
public struct ExpectedEntropyScore: OODScore {
  public init() {}
  public var name: String { "expectedEntropy" }

  public func values(of prediction: Prediction, split: UncertaintySplit) -> Tensor<Double> { split.aleatoric }
}
