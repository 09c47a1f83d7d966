import BayesEvaluation
public import BayesNetwork
import BayesPosterior
public import BayesPrediction
public import BayesTensor

/// What a cost model says of placements, beside the clock.
public struct LatencyCheck: Sendable, Hashable, Codable {
  /// One placement: the site from which on layers are drawn, and how often.
  public struct Row: Sendable, Hashable, Codable {
    public var site: String
    public var drawCount: Int
    /// Seconds of a batch, as the model says.
    public var predicted: Double
    /// The median of what predictions took.
    public var measured: Double
  }

  public var rows: [Row]
  /// Spearman's coefficient of both columns.
  public var rankCorrelation: Double?
  /// The median over rows of `|predicted / measured − 1|`.
  public var medianError: Double

  /// Times predictions of placements whose first drawn layers are spread evenly over the sites, by different numbers of draws.
  ///
  /// Every second layer behind the first is drawn too, by dropout: where draws come from does not matter to the time.
  /// Placements take turns.
  ///
  /// - Parameters:
  ///   - rows: a batch of as many rows as the model was measured with.
  ///   - count: of placements.
  /// - Determinism: none; times differ from run to run.
  public init(
    of model: LatencyModel, _ frozen: FrozenNetwork, _ description: RecordsDescription, exit: Int, space: PlacementSpace,
    rows: RowBatch, count: Int = 20, drawCounts: [Int] = [1, 2, 4, 8, 16], repetitions: Int = 7, on backend: any NetworkBackend,
    in context: ExecutionContext
  ) async throws {
    // The chosen exit alone, as in the model.
    let own = frozen.network.exits[exit]
    let single = try FrozenNetwork(Network(nodes: frozen.network.nodes, exits: [own]), parameters: frozen.parameters)
    var described = description
    described.exits = [description.exits[exit]]
    var inference = PlacementInference()
    inference.exitIndex = 0
    let layers = try inference.layers(space.sites.flatMap(\.layers), of: single)
    let distributions = Dictionary(
      uniqueKeysWithValues: PlacementInference.dropout(of: layers, rate: 0.1).map { ($0.layerName, $0) })
    var silent = context
    silent.report = { _ in }
    struct Subject {
      var site: String
      var placement: Placement
      var predictor: SampledNetworkPredictor
      var times: [Double] = []
    }
    var subjects: [Subject] = []
    for index in 0..<count {
      let first = count > 1 ? index * (space.sites.count - 1) / (count - 1) : 0
      let drawCount = drawCounts[index % drawCounts.count]
      let genes = space.sites.indices.map { $0 >= first && ($0 - first).isMultiple(of: 2) ? 1 : 0 }
      let chosen = zip(space.sites, genes).flatMap { site, gene in gene == 0 ? [] : site.layers.compactMap { distributions[$0] } }
      let posterior = try SampledNetworkPosterior(
        placement: PlacementPosterior(layers: chosen, statistics: [], rowCount: 0), of: single, draws: drawCount,
        key: context.key.child(index), source: described, on: backend)
      subjects.append(
        Subject(
          site: space.sites[first].name, placement: Placement(genes: genes, drawCount: drawCount),
          predictor: try posterior.predictor(for: described, of: [single], on: backend, in: silent)))
    }
    let records = ExitRecords(firstRow: 0, rowCount: rows.count, exits: [], labels: nil)
    let clock = ContinuousClock()
    for repetition in 0..<repetitions + 2 {
      for index in subjects.indices {
        try Task.checkCancellation()
        let begun = clock.now
        try await subjects[index].predictor.predictions(for: records, of: rows) { _, _ in }
        if repetition >= 2 { subjects[index].times.append((clock.now - begun) / .seconds(1)) }
      }
      context.report(StageProgress(stage: "Timing placements", completed: repetition + 1, total: repetitions + 2, unit: "rounds"))
    }
    self.rows = subjects.map { subject in
      Row(
        site: subject.site, drawCount: subject.placement.drawCount, predicted: model.seconds(subject.placement),
        measured: subject.times.sorted()[subject.times.count / 2])
    }
    rankCorrelation = RankCorrelation.spearman(self.rows.map(\.predicted), self.rows.map(\.measured))
    let errors = self.rows.map { abs($0.predicted / $0.measured - 1) }.sorted()
    medianError = errors.isEmpty ? 0 : errors[errors.count / 2]
  }
}
