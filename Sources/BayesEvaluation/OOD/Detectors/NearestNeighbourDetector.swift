public import BayesTensor

/// The squared Euclidean distance to the k-th nearest training row, all features scaled to length one.
///
///     ‖f/‖f‖ − g₍ₖ₎/‖g₍ₖ₎‖‖²
///
/// Features that are all zero have no direction and stay zero, at distance one from all others.
///
/// The training rows are kept in a bank; where they are more than `bankLimit` numbers, a random part of them is kept,
/// all rows equally likely, and the k-th neighbour is that of the part.
///
/// - Range: `0...4`.
/// - Cost: one pass; `bankLimit` numbers at most, 8 bytes each; `2 · bank rows · features` operations a scored row.
/// - Determinism: which rows are kept depends on the key of the context and on their order.
/// - Source: Sun et al. 2022, arXiv:2204.06507.
public struct NearestNeighbourDetector: OODDetector {
  /// `k`, from one.
  public let neighbourCount: Int
  /// The most numbers (rows times features) that the bank holds.
  public let bankLimit: Int

  /// - Precondition: both are positive.
  public init(neighbourCount: Int = 50, bankLimit: Int = 1 << 25) {
    precondition(
      neighbourCount > 0 && bankLimit > 0,
      "Neighbours are counted from one, and a bank holds numbers; got \(neighbourCount) and \(bankLimit).")
    self.neighbourCount = neighbourCount
    self.bankLimit = bankLimit
  }

  public var name: String { "knn" }
  public var needs: DetectorNeeds { .trainingFeatures }
  public var settings: [String: Double] { ["neighbours": Double(neighbourCount)] }

  public func scoring(
    fittedTo inputs: DetectorInputs, in context: ExecutionContext
  ) async throws -> any DetectorScoring {
    let training = try inputs.requiredTraining(for: name)
    let bank = try await FeatureBank(
      training.rowCount, of: training, featureCount: inputs.featureCount, limit: bankLimit, fitting: name, in: context
    ) { unitRows($0.features) }
    try checkBank(bank, neighbourCount: neighbourCount, of: training.file, detector: name)
    return Scoring(neighbourCount: neighbourCount, bank: bank, norms: bank.norms)
  }

  private struct Scoring: DetectorScoring {
    let neighbourCount: Int
    let bank: FeatureBank
    let norms: [Double]

    var findings: [String: Double] { ["bankRows": Double(bank.rowCount)] }

    func scores(features: Tensor<Double>, logits: Tensor<Double>, on backend: any Backend) -> [Double] {
      let queries = unitRows(features)
      let nearest = bank.smallest(neighbourCount, queries: queries, factor: -2, offsets: norms, on: backend)
      return squaredNorms(queries).enumerated().map { max(0, $1 + nearest[$0, 0]) }
    }
  }
}

/// Refuses a bank with fewer rows than neighbours are asked for.
func checkBank(
  _ bank: FeatureBank, neighbourCount: Int, of file: String, detector: String
) throws(EvaluationError) {
  guard bank.rowCount >= neighbourCount else {
    throw EvaluationError(
      .unsupported,
      "The detector '\(detector)' looks at \(neighbourCount) neighbours, and its bank has \(bank.rowCount) rows "
        + "of \(file); ask for fewer neighbours or give more rows.")
  }
}
