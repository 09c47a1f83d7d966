public import BayesTensor

/// How placements are searched.
public enum PlacementStrategy: String, CaseIterable, Sendable, Codable {
  /// All of them.
  case exhaustive
  /// The site and kind that is worth most is added to what there is, until all sites are drawn.
  case greedy
  /// Drawn one by one, none twice.
  case random
  /// Non-dominated sorting of generations (NSGA-II): children by crossover and mutation, parents by tournaments.
  case evolution
}

/// A search among placements by scores that somebody else makes.
///
/// - Determinism: which placements are asked for follows from the key and the scores alone, so that a search that is given the
///   scores it had before goes on where it was.
/// - Source: Deb et al. 2002 (NSGA-II).
public struct PlacementSearch: Hashable, Sendable, Codable {
  public var strategy = PlacementStrategy.evolution
  public var populationCount = 16
  public var generationCount = 8
  /// Placements that `random` asks for, and the most that `greedy` does.
  public var evaluationCount = 128

  public init() {}

  /// What was asked for, in that order, each once.
  public struct Trail: Sendable, Equatable {
    public internal(set) var placements: [Placement] = []
    public internal(set) var scores: [PlacementScore] = []

    /// The position of the best by the objective; the first of equals.
    public func best(_ objective: PlacementObjective) -> Int? {
      var best: Int?
      for index in scores.indices {
        guard let known = best else {
          best = index
          continue
        }
        if objective.isBetter(scores[index], than: scores[known]) { best = index }
      }
      return best
    }

    /// The positions of placements that miss no constraint and that none dominates, by rising latency.
    public func front(_ objective: PlacementObjective) -> [Int] {
      let allowed = scores.indices.filter { objective.violation(scores[$0]) == 0 }
      return ParetoFront.indices(of: allowed.map { objective.objectives(scores[$0]) }).map { allowed[$0] }
        .sorted { (scores[$0].latency, $0) < (scores[$1].latency, $1) }
    }
  }

  /// Asks for placements until the search is at its end.
  ///
  /// - Parameters:
  ///   - key: of the search alone; scores have randomness of their own.
  ///   - isAffordable: whether a placement is to be looked at, by what it costs.
  ///   - score: the scores of some placements, of which no two are the same and none was asked for before.
  /// - Throws: what `score` throws.
  public func callAsFunction(
    _ space: PlacementSpace, _ objective: PlacementObjective, key: RandomKey,
    isAffordable: (Placement) -> Bool = { _ in true }, score: ([Placement]) async throws -> [PlacementScore]
  ) async throws -> Trail {
    var trail = Trail()
    var known: [Placement: PlacementScore] = [:]
    func scores(of placements: [Placement]) async throws -> [PlacementScore] {
      var new: [Placement] = []
      for placement in placements where known[placement] == nil && !new.contains(placement) { new.append(placement) }
      if !new.isEmpty {
        for (placement, value) in zip(new, try await score(new)) {
          known[placement] = value
          trail.placements.append(placement)
          trail.scores.append(value)
        }
      }
      return placements.compactMap { known[$0] }
    }
    switch strategy {
    case .exhaustive:
      let all = space.all.filter(isAffordable)
      for start in stride(from: 0, to: all.count, by: populationCount) {
        _ = try await scores(of: Array(all[start..<min(all.count, start + populationCount)]))
      }
    case .random:
      for placement in distinct(evaluationCount, key, isAffordable, { space.random($0) }) {
        _ = try await scores(of: [placement])
      }
    case .greedy:
      try await addSites(space, objective, isAffordable, asked: { known.count }, scores: scores)
    case .evolution:
      try await evolve(space, objective, key, isAffordable, scores: scores)
    }
    return trail
  }

  /// So many different placements, or as many as a few draws for each find.
  private func distinct(
    _ count: Int, _ key: RandomKey, _ isAffordable: (Placement) -> Bool, _ draw: (RandomKey) -> Placement
  ) -> [Placement] {
    var found: [Placement] = []
    var seen: Set<Placement> = []
    for attempt in 0..<count * Self.attemptCount where found.count < count {
      let placement = draw(key.child(attempt))
      if seen.insert(placement).inserted, isAffordable(placement) { found.append(placement) }
    }
    return found
  }

  /// Draws for each placement that is wanted before no more is expected.
  private static let attemptCount = 50

  private func addSites(
    _ space: PlacementSpace, _ objective: PlacementObjective, _ isAffordable: (Placement) -> Bool, asked: () -> Int,
    scores: ([Placement]) async throws -> [PlacementScore]
  ) async throws {
    for drawCount in space.drawCounts.reversed() {
      var current = Placement(genes: space.none.genes, drawCount: drawCount)
      while true {
        let candidates = space.sites.indices.filter { current.genes[$0] == 0 }.flatMap { site in
          space.kinds.indices.map { kind in
            var next = current
            next.genes[site] = kind + 1
            return next
          }
        }.filter(isAffordable).prefix(max(0, evaluationCount - asked()))
        guard !candidates.isEmpty else { break }
        let values = try await scores(Array(candidates))
        var best = 0
        for index in values.indices where objective.isBetter(values[index], than: values[best]) { best = index }
        current = candidates[best]
      }
    }
  }

  private func evolve(
    _ space: PlacementSpace, _ objective: PlacementObjective, _ key: RandomKey, _ isAffordable: (Placement) -> Bool,
    scores: ([Placement]) async throws -> [PlacementScore]
  ) async throws {
    var population = distinct(populationCount, key.child(0), isAffordable) { space.random($0) }
    guard !population.isEmpty else { return }
    var values = try await scores(population)
    for generation in 1..<max(1, generationCount) {
      let ranks = Self.ranks(objective, values)
      func tournament(_ key: RandomKey) -> Placement {
        let numbers = key.uniforms(2).map { min(population.count - 1, Int($0 * Double(population.count))) }
        return population[ranks[numbers[0]] <= ranks[numbers[1]] ? numbers[0] : numbers[1]]
      }
      // What is known already costs nothing to ask for again, and brings nothing new.
      let present = Set(population)
      let children = distinct(populationCount, key.child(generation), { isAffordable($0) && !present.contains($0) }) { key in
        let child = space.crossed(tournament(key.child(0)), tournament(key.child(1)), key.child(2))
        return space.mutated(child, key.child(3))
      }
      guard !children.isEmpty else { return }
      population += children
      values += try await scores(children)
      let order = population.indices.sorted { [ranks = Self.ranks(objective, values)] in ranks[$0] < ranks[$1] }
      let kept = order.prefix(populationCount)
      (population, values) = (kept.map { population[$0] }, kept.map { values[$0] })
    }
  }

  /// The place of each score among all: by front, and within a front by how far from others it lies.
  private static func ranks(_ objective: PlacementObjective, _ scores: [PlacementScore]) -> [Int] {
    var ranks = [Int](repeating: 0, count: scores.count)
    var place = 0
    for front in objective.fronts(scores) {
      let distances = ParetoFront.crowding(of: front.map { objective.objectives(scores[$0]) })
      for index in front.indices.sorted(by: { (-distances[$0], front[$0]) < (-distances[$1], front[$1]) }) {
        ranks[front[index]] = place
        place += 1
      }
    }
    return ranks
  }
}
