import BayesTensor

/// How near each way to search comes to the best of all placements, where all were scored.
///
/// Every strategy asks for scores that the exhaustive search has written down, so that nothing is computed anew and what differs is
/// the search alone.
public struct PlacementSearchesStudy: Sendable {
  /// Of one strategy and seed.
  public struct Row: Hashable, Sendable, Codable {
    public var strategy: PlacementStrategy
    public var seed: UInt64
    public var evaluations: Int
    /// `F` of the best of all less that of the best that was found.
    public var regret: Double
    /// Evaluations until a placement of the best 5 % was found; `nil` where none was.
    public var evaluationsToTop: Int?
  }

  public var seeds: Range<UInt64> = 0..<5
  public var populationCount = 16
  public var evaluationCount = 128

  public init() {}

  /// Runs evolution, greedy and random searches over the placements of a file.
  ///
  /// - Precondition: the file holds the scores of all placements that it could.
  /// - Determinism: follows from the seeds.
  public func callAsFunction(_ file: PlacementFile) async throws -> [Row] {
    let known = Dictionary(file.trail.map { ($0.placement, $0.score) }) { first, _ in first }
    let scalars = file.trail.filter { file.objective.violation($0.score) == 0 }.map(\.scalar).sorted(by: >)
    guard let best = scalars.first else { return [] }
    let top = scalars[max(0, (scalars.count + 19) / 20 - 1)]
    var rows: [Row] = []
    for strategy in [PlacementStrategy.evolution, .greedy, .random] {
      for seed in seeds {
        var search = PlacementSearch()
        search.strategy = strategy
        search.populationCount = populationCount
        search.generationCount = max(1, evaluationCount / populationCount)
        search.evaluationCount = evaluationCount
        let trail = try await search(
          file.space, file.objective, key: RandomKey(seed: seed).child(11), isAffordable: { known[$0] != nil }
        ) { placements in placements.compactMap { known[$0] } }
        let found = trail.scores.map { file.objective.violation($0) == 0 ? file.objective.scalar($0) : -.infinity }
        rows.append(
          Row(
            strategy: strategy, seed: seed, evaluations: trail.scores.count, regret: best - (found.max() ?? -.infinity),
            evaluationsToTop: found.firstIndex { $0 >= top }.map { $0 + 1 }))
      }
    }
    return rows
  }
}
