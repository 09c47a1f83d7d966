public import BayesTensor

/// The negative distance to the decision boundaries, relative to the distance from the training mean (fDBD).
///
///     −Σ_{c ≠ ŷ} |z_ŷ − z_c| / ‖w_ŷ − w_c‖  /  ‖f − mean(f)‖
///
/// Classes whose weights equal those of the predicted one have no boundary with it and are passed over.  The norm that
/// is divided by is at least the rounding of one, 2.2e-16.
///
/// - Cost: one pass, none without the mean; `classes²` numbers.
/// - Source: Liu and Qin 2024, arXiv:2312.11536.
public struct FDBDDetector: OODDetector {
  /// Whether distances are from the training mean; from the origin where not.
  public let usesTrainingMean: Bool

  public init(usesTrainingMean: Bool = true) { self.usesTrainingMean = usesTrainingMean }

  public var name: String { "fdbd" }
  public var needs: DetectorNeeds { usesTrainingMean ? [.headWeights, .trainingFeatures] : .headWeights }
  public var settings: [String: Double] { ["usesTrainingMean": usesTrainingMean ? 1 : 0] }

  public func scoring(
    fittedTo inputs: DetectorInputs, in context: ExecutionContext
  ) async throws -> any DetectorScoring {
    let head = try inputs.requiredHead(for: name)
    var origin = Tensor<Double>(zeros: [inputs.featureCount])
    if usesTrainingMean {
      origin = try await meanFeatures(
        of: inputs.requiredTraining(for: name), featureCount: inputs.featureCount, fitting: name, in: context)
    }
    // Differences and not products, so that equal weights are at distance zero.
    let (width, classCount) = (inputs.featureCount, inputs.classCount)
    var distances = Tensor<Double>(zeros: [classCount, classCount])
    head.weight.transposed().withSpan { weights in
      for a in 0..<classCount {
        for b in 0..<a {
          var squared = 0.0
          for column in 0..<width {
            let difference = weights[a * width + column] - weights[b * width + column]
            squared += difference * difference
          }
          distances[a, b] = squared.squareRoot()
          distances[b, a] = distances[a, b]
        }
      }
    }
    return Scoring(origin: origin, distances: distances)
  }

  private struct Scoring: DetectorScoring {
    let origin: Tensor<Double>
    /// `‖w_a − w_b‖`, `[classes, classes]`
    let distances: Tensor<Double>

    func scores(features: Tensor<Double>, logits: Tensor<Double>, on backend: any Backend) -> [Double] {
      let norms = squaredNorms(subtracting(origin, from: features))
      return largestColumns(logits).enumerated().map { row, predicted in
        var sum = 0.0
        for column in 0..<logits.shape[1] where distances[predicted, column] > 0 {
          sum += (logits[row, predicted] - logits[row, column]) / distances[predicted, column]
        }
        return -sum / max(norms[row].squareRoot(), .ulpOfOne)
      }
    }
  }
}
