public import BayesTensor

/// The energy of a head of which only the weights that matter for training rows are kept (DICE).
///
///     −log Σₖ exp z'ₖ,   z' = (W ∘ M)ᵀ f + b,   Mⱼₖ = [mean(f)ⱼ Wⱼₖ > c]
///
/// `c` is the percentile of all `mean(f)ⱼ Wⱼₖ`, linear between two of them.
///
/// - Cost: one pass; `features · classes` numbers.
/// - Source: Sun and Li 2022, arXiv:2111.09805.
public struct DICEDetector: OODDetector {
  /// How many of a hundred weights are dropped, `0..<100`.
  public let percentile: Double

  /// - Precondition: the percentile is one.
  public init(percentile: Double = 90) {
    precondition(
      (0..<100).contains(percentile), "A percentile of weights to drop is from 0 to below 100; got \(percentile).")
    self.percentile = percentile
  }

  public var name: String { "dice" }
  public var needs: DetectorNeeds { [.headWeights, .trainingFeatures] }
  public var settings: [String: Double] { ["percentile": percentile] }

  public func scoring(
    fittedTo inputs: DetectorInputs, in context: ExecutionContext
  ) async throws -> any DetectorScoring {
    let head = try inputs.requiredHead(for: name)
    let mean = try await meanFeatures(
      of: inputs.requiredTraining(for: name), featureCount: inputs.featureCount, fitting: name, in: context)
    let contributions = scalingRows(head.weight, by: Array(mean.elements))
    let limit = linearPercentile(percentile, ofSorted: contributions.elements.sorted())
    var weight = head.weight
    for position in 0..<weight.count where !(contributions[position] > limit) { weight[position] = 0 }
    return Scoring(head: DetectorHead(weight: weight, bias: head.bias), limit: limit)
  }

  private struct Scoring: DetectorScoring {
    let head: DetectorHead
    let limit: Double

    var findings: [String: Double] { ["limit": limit] }

    func scores(features: Tensor<Double>, logits: Tensor<Double>, on backend: any Backend) -> [Double] {
      energies(head.logits(of: features, on: backend))
    }
  }
}
