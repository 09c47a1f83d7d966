public import BayesTensor

/// The squared Mahalanobis distance to the nearest class mean, with the covariance pooled within classes.
///
///     min_c (f − μ_c)ᵀ Σ⁺ (f − μ_c),   Σ = 1/N Σₙ (fₙ − μ_yₙ)(fₙ − μ_yₙ)ᵀ
///
/// Where `Σ` is singular its pseudo-inverse stands for the inverse: directions in which the training rows spread by
/// less than a millionth of the widest are not looked at.  A class without training rows has no mean and is passed over.
///
/// - Cost: two passes; `(classes + 2 · features) · features` numbers; features³ once.
/// - Source: Lee et al. 2018, arXiv:1807.03888.
public struct MahalanobisDetector: OODDetector {
  public init() {}
  public var name: String { "mahalanobis" }
  public var needs: DetectorNeeds { [.trainingFeatures, .trainingLabels] }

  public func scoring(
    fittedTo inputs: DetectorInputs, in context: ExecutionContext
  ) async throws -> any DetectorScoring {
    let training = try inputs.requiredTraining(for: name)
    let gaussians = try await ClassGaussians(of: training, inputs, fitting: name, in: context)
    let distances = try SquaredDistances(
      centres: gaussians.means, covariance: gaussians.within, origin: gaussians.mean, on: context.backend)
    try checkSpread(distances, of: training.file, detector: name)
    return Scoring(classCount: gaussians.classes.count, distances: distances)
  }

  private struct Scoring: DetectorScoring {
    let classCount: Int
    let distances: SquaredDistances

    var findings: [String: Double] { ["classes": Double(classCount), "rank": Double(distances.rank)] }

    func scores(features: Tensor<Double>, logits: Tensor<Double>, on backend: any Backend) -> [Double] {
      distances.nearest(features, on: backend)
    }
  }
}

/// The squared Mahalanobis distance to the nearest class less that to all training rows.
///
///     min_c (f − μ_c)ᵀ Σ⁺ (f − μ_c) − (f − μ₀)ᵀ Σ₀⁺ (f − μ₀)
///
/// Directions that say nothing about classes cancel.  As for `MahalanobisDetector`, pseudo-inverses stand for inverses
/// and classes without rows are passed over.
///
/// - Cost: as `MahalanobisDetector`.
/// - Source: Ren et al. 2021, arXiv:2106.09022.
public struct RelativeMahalanobisDetector: OODDetector {
  public init() {}
  public var name: String { "relativeMahalanobis" }
  public var needs: DetectorNeeds { [.trainingFeatures, .trainingLabels] }

  public func scoring(
    fittedTo inputs: DetectorInputs, in context: ExecutionContext
  ) async throws -> any DetectorScoring {
    let training = try inputs.requiredTraining(for: name)
    let gaussians = try await ClassGaussians(of: training, inputs, fitting: name, in: context)
    let distances = try SquaredDistances(
      centres: gaussians.means, covariance: gaussians.within, origin: gaussians.mean, on: context.backend)
    try checkSpread(distances, of: training.file, detector: name)
    let background = try SquaredDistances(
      centres: gaussians.mean.reshaped(to: [1, inputs.featureCount]), covariance: gaussians.total,
      origin: gaussians.mean, on: context.backend)
    return Scoring(classCount: gaussians.classes.count, distances: distances, background: background)
  }

  private struct Scoring: DetectorScoring {
    let classCount: Int
    let distances: SquaredDistances
    let background: SquaredDistances

    var findings: [String: Double] {
      [
        "classes": Double(classCount), "rank": Double(distances.rank), "backgroundRank": Double(background.rank),
      ]
    }

    func scores(features: Tensor<Double>, logits: Tensor<Double>, on backend: any Backend) -> [Double] {
      zip(distances.nearest(features, on: backend), background.nearest(features, on: backend)).map { $0 - $1 }
    }
  }
}
