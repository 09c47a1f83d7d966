public import BayesTensor

/// The negative inner product of a row with the pattern of the class it is taken for (SHE).
///
///     −fᵀ s(ŷ),   s(c) = mean of the training rows of class c that are taken for c
///
/// A class of which no row is classified correctly has the pattern zero: rows that are taken for it score zero, which
/// for features after a ReLU is as far out as any.
///
/// - Cost: one pass; `classes · features` numbers.
/// - Throws: `EvaluationError.Code.unsupported` where no training row is classified correctly.
/// - Source: Zhang et al. 2023, openreview KkazG4lgKL.
public struct SHEDetector: OODDetector {
  public init() {}
  public var name: String { "she" }
  public var needs: DetectorNeeds { [.trainingFeatures, .trainingLabels] }

  public func scoring(
    fittedTo inputs: DetectorInputs, in context: ExecutionContext
  ) async throws -> any DetectorScoring {
    let (width, classCount) = (inputs.featureCount, inputs.classCount)
    let training = try inputs.requiredTraining(for: name)
    var counts = [Int](repeating: 0, count: classCount)
    var sums = Tensor<Double>(zeros: [classCount, width])
    try await training.forEachLabelledRows(fitting: name, classCount: classCount, in: context) { rows, labels in
      for (row, predicted) in largestColumns(rows.logits).enumerated() where predicted == labels[row] {
        counts[predicted] += 1
        for column in 0..<width { sums[predicted, column] += rows.features[row, column] }
      }
    }
    guard counts.contains(where: { $0 > 0 }) else {
      throw EvaluationError(
        .unsupported,
        "The detector 'she' averages correctly classified training rows, and no row of \(training.file) is; check that "
          + "its labels are those of the network.")
    }
    return Scoring(
      patterns: scalingRows(sums, by: counts.map { 1 / Double(max(1, $0)) }),
      missingCount: counts.count { $0 == 0 })
  }

  private struct Scoring: DetectorScoring {
    /// `[classes, features]`
    let patterns: Tensor<Double>
    let missingCount: Int

    var findings: [String: Double] { ["classesWithoutPattern": Double(missingCount)] }

    func scores(features: Tensor<Double>, logits: Tensor<Double>, on backend: any Backend) -> [Double] {
      let width = features.shape[1]
      return largestColumns(logits).enumerated().map { row, predicted in
        var sum = 0.0
        for column in 0..<width { sum -= features[row, column] * patterns[predicted, column] }
        return sum
      }
    }
  }
}
