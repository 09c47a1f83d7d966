public import BayesTensor

/// The energy of features that are cut off at a percentile of the validation activations (ReAct).
///
///     −log Σₖ exp z'ₖ,   z' = Wᵀ min(f, c) + b
///
/// `c` is the percentile of all activations of all validation rows, exact, linear between two of them.
///
/// - Throws: `EvaluationError.Code.feature` for a negative feature: a cut from above assumes that none is.
/// - Cost: two passes as a rule, and five at most where more than a million activations are nearly equal; 9 MB.
/// - Source: Sun et al. 2021, arXiv:2111.12797.
public struct ReActDetector: OODDetector {
  /// `0...100`
  public let percentile: Double

  /// - Precondition: the percentile is one.
  public init(percentile: Double = 90) {
    precondition((0...100).contains(percentile), "A percentile is from 0 to 100; got \(percentile).")
    self.percentile = percentile
  }

  public var name: String { "react" }
  public var needs: DetectorNeeds { [.headWeights, .validationFeatures, .nonNegativeFeatures] }
  public var settings: [String: Double] { ["percentile": percentile] }

  public func scoring(
    fittedTo inputs: DetectorInputs, in context: ExecutionContext
  ) async throws -> any DetectorScoring {
    Scoring(
      head: try inputs.requiredHead(for: name),
      limit: try await activationPercentile(
        percentile, of: inputs.requiredValidation(for: name), fitting: name, in: context))
  }

  private struct Scoring: DetectorScoring {
    let head: DetectorHead
    let limit: Double

    var findings: [String: Double] { ["limit": limit] }

    func scores(features: Tensor<Double>, logits: Tensor<Double>, on backend: any Backend) -> [Double] {
      energies(head.logits(of: features.map { min($0, limit) }, on: backend))
    }
  }
}

/// A percentile of all features of all rows, exact.
///
/// Numbers that are not negative are ordered as their bits are.  Each pass counts the next sixteen bits of those that
/// share the bits found so far, until few enough are left to be sorted.
///
/// - Parameter sortedCount: as many numbers are kept and sorted at most.
/// - Throws: `EvaluationError.Code.feature` for a negative feature, naming the row.
package func activationPercentile(
  _ percentile: Double, of source: any DetectorRowSource, fitting detector: String, in context: ExecutionContext,
  sortedCount: Int = 1 << 20
) async throws -> Double {
  var (prefix, openBits) = (UInt64(0), 64)
  // Of the numbers that share the prefix; below them lie `belowCount`.
  var (count, belowCount) = (0, 0)
  var place: PercentilePlace?
  while openBits > 0, place == nil || count > sortedCount {
    var counts = [Int](repeating: 0, count: 1 << 16)
    try await source.forEachRows(fitting: detector, in: context) { rows in
      try checkNotNegative(rows.features, firstRow: rows.firstRow, file: source.file, detector: detector)
      rows.features.withSpan { features in
        for position in features.indices {
          // Minus zero plus zero is zero.
          let bits = (features[position] + 0).bitPattern
          if openBits == 64 || bits >> UInt64(openBits) == prefix {
            counts[Int(truncatingIfNeeded: bits >> UInt64(openBits - 16)) & 0xFFFF] += 1
          }
        }
      }
    }
    let found = place ?? PercentilePlace(percentile, of: counts.reduce(0, +))
    place = found
    var bin = 0
    while belowCount + counts[bin] <= found.lower {
      belowCount += counts[bin]
      bin += 1
    }
    (prefix, openBits, count) = (prefix << 16 | UInt64(bin), openBits - 16, counts[bin])
  }
  guard let place else { return 0 }
  // The numbers that share the prefix, unless they are equal, and the smallest above them.
  var numbers: [Double] = []
  var next = Double.infinity
  try await source.forEachRows(fitting: detector, in: context) { rows in
    rows.features.withSpan { features in
      for position in features.indices {
        let number = features[position] + 0
        let top = openBits == 64 ? 0 : number.bitPattern >> UInt64(openBits)
        if top > prefix { next = min(next, number) } else if top == prefix, openBits > 0 { numbers.append(number) }
      }
    }
  }
  let equal = Double(bitPattern: openBits > 0 ? 0 : prefix)
  numbers.sort()
  func number(_ index: Int) -> Double {
    guard index < count else { return next }
    return openBits > 0 ? numbers[index] : equal
  }
  let lower = place.lower - belowCount
  // At the last of all numbers there is no next, and nothing to add.
  return place.fraction > 0 ? place.value(number(lower), number(lower + 1)) : number(lower)
}
