import BayesEvaluation
public import BayesNetwork
public import BayesPosterior
public import BayesPrediction
public import BayesTensor
import Foundation

/// A search from a checkpoint to a placement: distributions of single layers, times, scores, baselines and, of the best few, scores
/// anew.
///
/// - Determinism: same key and same times, same result; times are measured once and kept with the training.
/// - Cost: that of `PlacementInference` for every kind and layer, and for each placement its draws times what lies behind the first
///   of its layers, for all rows of the search. Memory for these rows, for the validation rows of the last scores, and for every
///   layer's distributions.
public struct PlacementStudy: Sendable {
  public var inference = PlacementInference()
  public var search = PlacementSearch()
  /// The seed of the search alone: which placements are asked for, and nothing else.
  public var searchSeed: UInt64 = 0
  /// Whether `vi` is trained for all layers at once, each step along a path; see `JointVariationalInference`.
  public var trainsSinglePaths = false
  /// The placements that are scored anew.
  public var rescoredCount = 5
  /// Rows of a batch that is timed.
  public var timedRowCount = 32
  /// Placements, spread evenly over all by the objective, that are fitted on their own and scored beside the search; none for zero.
  public var refittedCount = 0
  /// Of those fits.
  public var refitEpochCount = 10

  public init() {}

  /// What a search goes over.
  public struct Subject: Sendable {
    public var frozen: FrozenNetwork
    public var description: RecordsDescription
    public var training: any Dataset
    public var validation: any Dataset
    /// Those of the search, and those that the best few are scored anew on.
    public var rows: PlacementRows
    public var allRows: PlacementRows

    public init(
      frozen: FrozenNetwork, description: RecordsDescription, training: any Dataset, validation: any Dataset,
      rows: PlacementRows, allRows: PlacementRows
    ) {
      (self.frozen, self.description, self.training, self.validation) = (frozen, description, training, validation)
      (self.rows, self.allRows) = (rows, allRows)
    }
  }

  /// What a search found.
  public struct Finding: Sendable {
    public var latency: LatencyModel
    public var objective: PlacementObjective
    public var reference: PlacementScore
    public var baselines: [PlacementFile.Baseline]
    public var trail: PlacementSearch.Trail
    public var rescored: [PlacementFile.Rescored]
    /// The untouched network on the same rows as those.
    public var freshReference: PlacementScore
    public var refits: RefitCheck?
  }

  private static let timesName = "times"

  /// Searches, or goes on with a search.
  ///
  /// - Parameters:
  ///   - objective: what placements are judged by, from the accuracy of the checkpoint on the same rows.
  ///   - earlier: a search with these settings that was interrupted.
  ///   - observe: called whenever something is found that need not be found again.
  /// - Throws: as `PlacementInference` and `PlacementEvaluator`; what `observe` throws.
  public func callAsFunction(
    _ subject: Subject, _ space: PlacementSpace, objective: (PlacementScore) -> PlacementObjective,
    from earlier: PlacementTraining? = nil, on backend: any NetworkBackend, in context: ExecutionContext,
    observe: (PlacementTraining) throws -> Void = { _ in }
  ) async throws -> Finding {
    var training = earlier ?? PlacementTraining()
    let exit = inference.exitIndex ?? subject.frozen.network.exits.count - 1
    let latency = try await times(subject, space, exit: exit, &training, on: backend, in: context)
    try observe(training)
    let distributions = try await distributions(subject, space, &training, on: backend, in: context, observe: observe)
    func evaluator(_ rows: PlacementRows, _ key: RandomKey) throws -> PlacementEvaluator {
      try PlacementEvaluator(
        subject.frozen, subject.description, exit: exit, space: space, distributions: distributions, rows: rows, model: latency,
        key: key, on: backend, in: context)
    }
    let scorer = try evaluator(subject.rows, context.key.child(10))
    let sets = subject.rows.foreign.map(\.name)
    var known = Self.scores(training.scores, space, sets)
    func scores(_ placements: [Placement]) async throws -> [PlacementScore] {
      let new = placements.filter { known[$0] == nil }
      for (placement, score) in zip(new, try await scorer.scores(new, sharedBy: context.communicator, sets)) {
        known[placement] = score
        training.add(placement, score, sets)
        context.report(StageProgress(stage: "Scoring placements", completed: known.count, total: nil, unit: "placements"))
      }
      if !new.isEmpty { try observe(training) }
      return placements.compactMap { known[$0] }
    }
    let reference = try await scores([space.none])[0]
    let objective = objective(reference)
    let trail = try await search(
      space, objective, key: RandomKey(seed: searchSeed).child(11),
      isAffordable: { placement in objective.latencyBudget.map { latency.latency(placement) <= $0 } ?? true }, score: scores)
    var baselines: [PlacementFile.Baseline] = []
    for (name, placement) in space.baselines {
      baselines.append(
        PlacementFile.Baseline(
          name: name, entry: PlacementFile.Entry(placement, try await scores([placement])[0], objective)))
    }
    let best = trail.placements.indices
      .sorted { trail.scores[$0] != trail.scores[$1] && objective.isBetter(trail.scores[$0], than: trail.scores[$1]) }
      .prefix(rescoredCount)
    // The best of many noisy scores flatters: others draws, and all rows.
    let fresh = try evaluator(subject.allRows, context.key.child(12))
    var rescored: [PlacementFile.Rescored] = []
    for index in best {
      let score = try await fresh.score(trail.placements[index])
      rescored.append(
        PlacementFile.Rescored(
          placement: trail.placements[index], searched: trail.scores[index], fresh: score, scalar: objective.scalar(score)))
      context.report(
        StageProgress(stage: "Scoring the best anew", completed: rescored.count, total: best.count, unit: "placements"))
    }
    let refits = try await refits(subject, space, trail, objective, by: scorer, exit: exit, on: backend, in: context)
    return Finding(
      latency: latency, objective: objective, reference: reference, baselines: baselines, trail: trail,
      rescored: rescored.sorted { objective.isBetter($0.fresh, than: $1.fresh) }, freshReference: try await fresh.score(space.none), refits: refits)
  }

  /// Placements of all ranks, fitted on their own.
  private func refits(
    _ subject: Subject, _ space: PlacementSpace, _ trail: PlacementSearch.Trail, _ objective: PlacementObjective,
    by scorer: PlacementEvaluator, exit: Int, on backend: any NetworkBackend, in context: ExecutionContext
  ) async throws -> RefitCheck? {
    guard refittedCount > 1, trail.scores.count > 1 else { return nil }
    let order = trail.scores.indices.sorted {
      (-objective.scalar(trail.scores[$0]), $0) < (-objective.scalar(trail.scores[$1]), $1)
    }
    let count = min(refittedCount, order.count)
    var own = inference
    own.exitIndex = exit
    own.epochCount = refitEpochCount
    var rows: [RefitCheck.Row] = []
    for place in 0..<count {
      let index = order[place * (order.count - 1) / (count - 1)]
      let placement = trail.placements[index]
      own.sampleCount = placement.drawCount
      var kinds: [String: PlacementKind] = [:]
      for (site, gene) in zip(space.sites, placement.genes) where gene > 0 {
        for layer in site.layers { kinds[layer] = PlacementKind(space.kinds[gene - 1]) }
      }
      var fitting = context
      fitting.key = context.key.child(14).child(place)
      fitting.report = { progress in
        var progress = progress
        progress.stage = "Fit \(place + 1) of \(count), \(progress.stage)"
        context.report(progress)
      }
      let posterior = try await own.fit(
        kinds, drawCount: placement.drawCount, in: subject.frozen, subject.description, training: subject.training,
        validation: subject.validation, on: backend, in: fitting)
      guard case .placement(_, _, let fitted) = posterior.kind else { preconditionFailure("This is of a placement.") }
      let score = try await scorer.score(placement, fitted: fitted)
      rows.append(
        RefitCheck.Row(placement: placement, searched: objective.scalar(trail.scores[index]), refitted: objective.scalar(score)))
    }
    return RefitCheck(rows: rows, rankCorrelation: RankCorrelation.spearman(rows.map(\.searched), rows.map(\.refitted)))
  }

  /// The times that were measured before, or new ones.
  private func times(
    _ subject: Subject, _ space: PlacementSpace, exit: Int, _ training: inout PlacementTraining,
    on backend: any NetworkBackend, in context: ExecutionContext
  ) async throws -> LatencyModel {
    if let text = training.texts[Self.timesName] {
      do {
        return try JSONDecoder().decode(LatencyModel.self, from: Data(text.utf8))
      } catch {
        throw FileError(.malformed, file: subject.description.file, "The times of the search that goes on cannot be read; begin anew.")
      }
    }
    let count = min(timedRowCount, subject.rows.validation.count)
    let model = try await LatencyModel(
      measuring: subject.frozen, space, exit: exit, preprocessing: subject.description.preprocessing ?? .identity,
      rows: subject.rows.validation.rows(Array(0..<count)), on: backend, in: context)
    training.texts[Self.timesName] = String(decoding: try JSONEncoder().encode(model), as: UTF8.self)
    return model
  }

  /// Of each site and kind, the distributions of its layers.
  private func distributions(
    _ subject: Subject, _ space: PlacementSpace, _ training: inout PlacementTraining, on backend: any NetworkBackend,
    in context: ExecutionContext, observe: (PlacementTraining) throws -> Void
  ) async throws -> [[[LayerDistribution]]] {
    let layers = try inference.layers(space.sites.flatMap(\.layers), of: subject.frozen)
    var context = context
    context.key = context.key.child(13)
    for name in space.kinds {
      guard let kind = PlacementKind(name) else { preconditionFailure("'\(name)' is no kind.") }
      let found = Set(training.distributions.filter { $0.kind == kind }.map(\.layerName))
      let missing = layers.filter { !found.contains($0.name) }
      guard !missing.isEmpty else { continue }
      if kind == .variational, trainsSinglePaths {
        training.distributions += try await inference.variational(
          together: layers, drawsPaths: true, subject.frozen, subject.description, subject.training, on: backend, in: context)
        try observe(training)
        continue
      }
      var state = training
      _ = try await inference.distributions(
        of: kind, layers: missing, in: subject.frozen, subject.description, training: subject.training,
        validation: subject.validation, on: backend, in: context
      ) { distribution in
        state.distributions.append(distribution)
        try observe(state)
      }
      training = state
    }
    return space.sites.map { site in
      space.kinds.map { kind in
        site.layers.compactMap { layer in
          training.distributions.first { $0.layerName == layer && $0.kind.description == kind }
        }
      }
    }
  }

  private static func scores(_ table: Tensor<Double>?, _ space: PlacementSpace, _ sets: [String]) -> [Placement: PlacementScore] {
    guard let table, table.shape[1] == space.sites.count + 8 + sets.count else { return [:] }
    var scores: [Placement: PlacementScore] = [:]
    for row in 0..<table.rowCount {
      let numbers = Array(table.rows(row..<row + 1).elements)
      let genes = numbers[..<space.sites.count].map { Int($0) }
      scores[Placement(genes: genes, drawCount: Int(numbers[space.sites.count]))] = PlacementScore(
        Array(numbers[(space.sites.count + 1)...]), sets)
    }
    return scores
  }
}

extension PlacementTraining {
  /// Keeps the score of a placement.
  fileprivate mutating func add(_ placement: Placement, _ score: PlacementScore, _ sets: [String]) {
    let numbers = placement.genes.map { Double($0) } + [Double(placement.drawCount)] + score.numbers(sets)
    let row = Tensor<Double>(shape: [1, numbers.count], numbers)
    scores = scores.map { .stacking([$0, row]) } ?? row
  }
}

extension PlacementSpace {
  /// Placements that need no search, of each kind at the largest number of draws.
  var baselines: [(name: String, placement: Placement)] {
    let (count, draws) = (sites.count, drawCounts[drawCounts.count - 1])
    let third = max(1, Int((Double(count) / 3).rounded()))
    return kinds.indices.flatMap { kind in
      [("last", count - 1..<count), ("first", 0..<1), ("last third", count - third..<count), ("all", 0..<count)].map {
        ("\($0.0), \(kinds[kind])", placement($0.1, kind: kind, drawCount: draws))
      }
    }
  }
}
