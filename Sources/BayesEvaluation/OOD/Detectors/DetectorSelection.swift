public import BayesPrediction
public import BayesTensor

/// How the hyper-parameters of a detector were chosen.
public struct DetectorChoice: Sendable, Hashable, Codable {
  /// One set of hyper-parameters and how well it did.
  public struct Candidate: Sendable, Hashable, Codable {
    public var settings: [String: Double]
    /// The AUROC on the rows that the choice was made on.
    public var auroc: Double

    public init(settings: [String: Double], auroc: Double) {
      self.settings = settings
      self.auroc = auroc
    }
  }

  /// All candidates in the order given.
  public var candidates: [Candidate]
  /// The index of the one that was chosen.
  public var chosen: Int
  /// Where the known rows of the comparison come from.
  public var inDistributionFile: String
  /// Where its foreign rows come from.
  public var outOfDistributionFile: String

  public init(candidates: [Candidate], chosen: Int, inDistributionFile: String, outOfDistributionFile: String) {
    self.candidates = candidates
    self.chosen = chosen
    self.inDistributionFile = inDistributionFile
    self.outOfDistributionFile = outOfDistributionFile
  }

  /// Refuses to measure on rows that the choice was made on: the result would flatter the detector.
  ///
  /// - Throws: `EvaluationError.Code.unsupported` where a file is one of the two.
  public func requireUnused(_ file: String) throws(EvaluationError) {
    guard file == inDistributionFile || file == outOfDistributionFile else { return }
    throw EvaluationError(
      .unsupported,
      "The hyper-parameters were chosen on \(file), so that a result on it would flatter the detector; measure on "
        + "other rows.")
  }
}

/// Chooses among the hyper-parameters of one detector by the AUROC on rows set aside for it.
///
/// The rows must be neither those that the detector is fitted to nor those that results are reported on.
public struct DetectorSelection: Sendable {
  public let candidates: [any OODDetector]

  /// - Precondition: there is a candidate, and all have one name.
  public init(_ candidates: [any OODDetector]) {
    precondition(
      Set(candidates.map(\.name)).count == 1,
      "A choice is among settings of one detector; got \(candidates.map(\.name)).")
    self.candidates = candidates
  }

  /// Fits every candidate and gives back the one that tells the two sets of rows apart best, of equal ones the first.
  ///
  /// - Parameters:
  ///   - inDistribution: validation rows of the known kind.
  ///   - outOfDistribution: validation rows of a foreign kind.
  /// - Cost: every candidate is fitted and scores both sets once; 4 bytes a row are kept.
  /// - Throws: `EvaluationError.Code.unsupported` where both sets are one, and as `fit` and `scores` do.
  public func fit(
    _ inputs: DetectorInputs, inDistribution: some ExitRecordSource, outOfDistribution: some ExitRecordSource,
    in context: ExecutionContext
  ) async throws -> FittedDetector {
    let files = (known: inDistribution.description.file, foreign: outOfDistribution.description.file)
    guard files.known != files.foreign else {
      throw EvaluationError(
        .unsupported,
        "Both the known and the foreign rows of a choice are \(files.known); give a file of each kind.")
    }
    var results: [DetectorChoice.Candidate] = []
    var best: (index: Int, detector: FittedDetector)?
    for (index, candidate) in candidates.enumerated() {
      let fitted = try await candidate.fit(inputs, in: context)
      let separation = try ScoreSeparation(
        inDistribution: await fitted.scores(of: inDistribution, in: context),
        outOfDistribution: await fitted.scores(of: outOfDistribution, in: context))
      results.append(DetectorChoice.Candidate(settings: candidate.settings, auroc: separation.auroc))
      if best.map({ results[$0.index].auroc < separation.auroc }) ?? true { best = (index, fitted) }
    }
    guard let best else { throw EvaluationError(.empty, "There are no candidates.") }
    var detector = best.detector
    detector.choice = DetectorChoice(
      candidates: results, chosen: best.index, inDistributionFile: files.known, outOfDistributionFile: files.foreign)
    return detector
  }
}
