import BayesPrediction
public import BayesTensor
import RealModule

/// The negative size of the gradient that a uniform target would give the last layer's weights (GradNorm).
///
///     −Σₖ |K pₖ − 1| · Σⱼ |fⱼ|
///
/// This is the closed form of the gradient's L1 norm, the cross-entropy summed over the `K` classes of the target.
///
/// - Cost: no pass; one softmax a row.
/// - Source: Huang et al. 2021, arXiv:2110.00218.
public struct GradNormDetector: OODDetector {
  public init() {}
  public var name: String { "gradNorm" }
  public var needs: DetectorNeeds { [] }

  public func scoring(
    fittedTo inputs: DetectorInputs, in context: ExecutionContext
  ) async throws -> any DetectorScoring { Scoring() }

  private struct Scoring: DetectorScoring {
    func scores(features: Tensor<Double>, logits: Tensor<Double>, on backend: any Backend) -> [Double] {
      let (width, classCount) = (features.shape[1], logits.shape[1])
      return energies(logits).enumerated().map { row, energy in
        var (size, gap) = (0.0, 0.0)
        for column in 0..<width { size += abs(features[row, column]) }
        for column in 0..<classCount {
          gap += abs(Double(classCount) * Double.exp(logits[row, column] + energy) - 1)
        }
        return -gap * size
      }
    }
  }
}
