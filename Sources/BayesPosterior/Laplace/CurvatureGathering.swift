import BayesPrediction
import BayesTensor

extension Curvature {
  /// The sums of every exit, from one pass over the training rows.
  ///
  /// - Determinism: the same bits at any `context.width`; sums are taken chunk by chunk in order.
  /// - Cost: O(rows · (inputs² + logits²)) an exit, and O(rows · parameters²) for `full`.
  /// - Throws: `FileError` naming the exit, and the row where there is one, when the rows do not fit;
  ///   `CancellationError`.
  static func gather(
    _ structure: LaplaceStructure, from source: any ExitRecordSource, _ checks: [ExitCheck],
    in context: ExecutionContext
  ) async throws -> [Curvature] {
    let backend = context.backend
    for check in checks { try check.requireSize(for: structure) }
    var sums = checks.map {
      Curvature(
        structure, featureCount: $0.head.weight.shape[0], logitCount: $0.head.weight.shape[1],
        likelihood: $0.likelihood)
    }
    try await source.reduceChunks("Gathering curvature", in: context) { chunk in
      try checks.map { check in
        Curvature(structure, of: try check.rows(of: chunk, on: backend), check.likelihood, on: backend)
      }
    } combine: { partials in
      for (exit, partial) in partials.enumerated() { sums[exit].add(partial) }
    }
    for exit in sums.indices {
      sums[exit].reduce(over: context.communicator)
      guard sums[exit].isFinite else {
        throw FileError(
          .value, file: source.description.file, object: source.description.place(ofExit: exit),
          "The curvature, a sum over its rows, is infinite or not a number; look for features that are very large, and for a "
            + "noise of rows that is nearly zero.")
      }
    }
    guard sums.allSatisfy({ $0.rowCount > 0 }) else {
      throw FileError(
        .shape, file: source.description.file, "There are no training rows; curvature needs at least one.")
    }
    return sums
  }

  /// What a structure makes of the sums; not for `lowRank`, which needs the rows again.
  func exitCurvature(
    _ structure: LaplaceStructure, likelihood: Likelihood, hasBias: Bool, logitCount: Int, on backend: any Backend
  ) throws(NumericalError) -> ExitCurvature {
    switch structure {
    case .kronecker, .folded, .factored:
      let factors = KroneckerFactors(self, likelihood: likelihood, hasLabels: false)
      return .kronecker(
        try factors.spectrum(form: structure.kroneckerForm ?? .kronecker, hasBias: hasBias, on: backend))
    case .diagonal: return .diagonal(DiagonalCurvature(self, hasBias: hasBias))
    case .full:
      return .full(
        try FullCurvature(self, likelihood: likelihood, hasBias: hasBias, logitCount: logitCount, on: backend))
    case .lowRank: preconditionFailure("A low rank is found on the rows, not on sums.")
    }
  }
}

/// The curvature of one exit's head in one of the structures.
package enum ExitCurvature: Sendable, Equatable {
  case kronecker(KroneckerSpectrum)
  case diagonal(DiagonalCurvature)
  case full(FullCurvature)
  case lowRank(LowRankCurvature)

  /// What it holds.
  package var value: any HeadCurvature {
    switch self {
    case .kronecker(let spectrum): spectrum
    case .diagonal(let diagonal): diagonal
    case .full(let full): full
    case .lowRank(let lowRank): lowRank
    }
  }

  /// The same with what the bias is multiplied by changed, and so its prior precision.
  func scalingBias(by factor: Double, on backend: any Backend) throws(NumericalError) -> ExitCurvature {
    switch self {
    case .kronecker(let spectrum): .kronecker(try spectrum.scalingBias(by: factor, on: backend))
    case .diagonal(let diagonal): .diagonal(try diagonal.scalingBias(by: factor, on: backend))
    case .full(let full): .full(try full.scalingBias(by: factor, on: backend))
    case .lowRank(let lowRank): .lowRank(try lowRank.scalingBias(by: factor, on: backend))
    }
  }
}
