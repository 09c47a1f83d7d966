public import BayesTensor

/// The energy of a row times its likeness to a bank of training rows.
///
///     −E(z) · mean of the k largest (f/‖f‖) · (E(zᵦ) gᵦ/‖gᵦ‖),   E(z) = log Σₖ exp zₖ
///
/// The bank is a random part of the training rows, all equally likely: `bankShare` of them, `neighbourCount` at least,
/// and no more than `bankLimit` numbers.  Features that are all zero stay zero.
///
/// - Cost: one pass; `bankLimit` numbers at most, 8 bytes each; `2 · bank rows · features` operations a scored row.
/// - Determinism: which rows are kept depends on the key of the context and on their order.
/// - Source: Park et al. 2023, arXiv:2309.14888.
public struct NNGuideDetector: OODDetector {
  /// `k`, from one.
  public let neighbourCount: Int
  /// The share of the training rows that the bank holds, `0...1`.
  public let bankShare: Double
  /// The most numbers (rows times features) that the bank holds.
  public let bankLimit: Int

  /// - Precondition: the counts are positive and the share is.
  public init(neighbourCount: Int = 100, bankShare: Double = 0.01, bankLimit: Int = 1 << 25) {
    precondition(
      neighbourCount > 0 && bankLimit > 0 && bankShare > 0 && bankShare <= 1,
      "Neighbours are counted from one, and a bank holds a part of the rows; got \(neighbourCount), \(bankShare) and "
        + "\(bankLimit).")
    self.neighbourCount = neighbourCount
    self.bankShare = bankShare
    self.bankLimit = bankLimit
  }

  public var name: String { "nnGuide" }
  public var needs: DetectorNeeds { .trainingFeatures }
  public var settings: [String: Double] { ["neighbours": Double(neighbourCount), "bankShare": bankShare] }

  public func scoring(
    fittedTo inputs: DetectorInputs, in context: ExecutionContext
  ) async throws -> any DetectorScoring {
    let training = try inputs.requiredTraining(for: name)
    let share = Int((bankShare * Double(training.rowCount)).rounded())
    let bank = try await FeatureBank(
      max(neighbourCount, share), of: training, featureCount: inputs.featureCount, limit: bankLimit, fitting: name,
      in: context
    ) { scalingRows(unitRows($0.features), by: energies($0.logits).map { -$0 }) }
    try checkBank(bank, neighbourCount: neighbourCount, of: training.file, detector: name)
    return Scoring(neighbourCount: neighbourCount, bank: bank)
  }

  private struct Scoring: DetectorScoring {
    let neighbourCount: Int
    let bank: FeatureBank

    var findings: [String: Double] { ["bankRows": Double(bank.rowCount)] }

    func scores(features: Tensor<Double>, logits: Tensor<Double>, on backend: any Backend) -> [Double] {
      let offsets = [Double](repeating: 0, count: bank.rowCount)
      let best = bank.smallest(
        neighbourCount, queries: unitRows(features), factor: -1, offsets: offsets, on: backend)
      return energies(logits).enumerated().map { row, energy in
        // Sorted, so that a sum does not depend on the order of the bank.
        let likeness = -best.elements[row * neighbourCount..<(row + 1) * neighbourCount].sorted().reduce(0, +)
        return energy * likeness / Double(neighbourCount)
      }
    }
  }
}
