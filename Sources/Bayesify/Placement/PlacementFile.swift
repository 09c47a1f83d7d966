public import BayesReport
public import BayesTensor

/// What a search found: one JSON file.
///
/// `format` is `bayesify-placement`, `version` 1.
public struct PlacementFile: PolicyFile, Equatable {
  public static let formatName = "bayesify-placement"
  public static let currentVersion = 1
  public static let verb = "search"

  /// A placement and what it is worth.
  public struct Entry: Codable, Hashable, Sendable {
    public var placement: Placement
    public var score: PlacementScore
    /// `F`
    public var scalar: Double

    init(_ placement: Placement, _ score: PlacementScore, _ objective: PlacementObjective) {
      (self.placement, self.score, scalar) = (placement, score, objective.scalar(score))
    }
  }

  /// A placement that nobody searched for, beside those that were found.
  public struct Baseline: Codable, Hashable, Sendable {
    public var name: String
    public var entry: Entry
  }

  /// A placement with the score of the search and that on all rows with other draws.
  public struct Rescored: Codable, Hashable, Sendable {
    public var placement: Placement
    public var searched: PlacementScore
    public var fresh: PlacementScore
    /// `F` of the fresh score.
    public var scalar: Double
  }

  /// Foreign rows that placements were scored on.
  public struct ForeignSet: Codable, Hashable, Sendable {
    public var name: String
    /// `nil` where the rows were made.
    public var source: BoundFile?
    public var rowCount: Int

    public init(name: String, source: BoundFile?, rowCount: Int) {
      (self.name, self.source, self.rowCount) = (name, source, rowCount)
    }
  }

  public var format = Self.formatName
  public var version = Self.currentVersion
  public var madeBy: String
  public var checkpoint: BoundFile
  /// None: a placement is of a checkpoint.
  public var posterior: BoundFile?
  public var validation: BoundFile
  public var seed: UInt64
  public var preprocessing: Preprocessing?
  public var exit: Int
  public var exitName: String
  public var space: PlacementSpace
  public var search: PlacementSearch
  public var objective: PlacementObjective
  public var foreign: [ForeignSet]
  public var validationRowCount: Int
  public var latency: LatencyModel
  /// The cost model beside the clock, where that was asked for.
  public var latencyCheck: LatencyCheck?
  /// The search beside fits, where that was asked for.
  public var refitCheck: RefitCheck?
  /// The untouched network on the same rows.
  public var reference: PlacementScore
  public var baselines: [Baseline]
  /// All that were scored, in that order.
  public var trail: [Entry]
  /// Positions in the trail, by rising latency.
  public var front: [Int]
  /// The best few, on all validation rows and with draws that the search did not see.
  public var rescored: [Rescored]
  /// The untouched network on the same rows as those.
  public var freshReference: PlacementScore
  /// The best of those; `nil` where the search scored none.
  public var chosen: Placement?

  public var contradiction: String? {
    let counts = trail.map(\.placement) + baselines.map(\.entry.placement) + rescored.map(\.placement)
    let fits = (counts + [chosen].compactMap(\.self)).allSatisfy { placement in
      placement.genes.count == space.sites.count && placement.drawCount > 0
        && placement.genes.allSatisfy { (0...space.kinds.count).contains($0) }
    }
    guard fits, front.allSatisfy(trail.indices.contains), exit >= 0 else {
      return "Its placements do not fit its sites and kinds"
    }
    return nil
  }

  /// The kind of each drawn layer of a placement, by the layer's name.
  public func kinds(of placement: Placement) -> [String: String] {
    var kinds: [String: String] = [:]
    for (site, gene) in zip(space.sites, placement.genes) where gene > 0 {
      for layer in site.layers { kinds[layer] = space.kinds[gene - 1] }
    }
    return kinds
  }
}

extension PlacementFile {
  /// The file of a finding.
  public init(
    madeBy: String, checkpoint: BoundFile, validation: BoundFile, seed: UInt64, preprocessing: Preprocessing?, exit: Int,
    exitName: String, space: PlacementSpace, search: PlacementSearch, foreign: [ForeignSet], validationRowCount: Int,
    latencyCheck: LatencyCheck?, _ found: PlacementStudy.Finding
  ) {
    self.madeBy = madeBy
    (self.checkpoint, self.validation, self.seed) = (checkpoint, validation, seed)
    (self.preprocessing, self.exit, self.exitName) = (preprocessing, exit, exitName)
    (self.space, self.search, self.foreign) = (space, search, foreign)
    (self.validationRowCount, self.latencyCheck) = (validationRowCount, latencyCheck)
    (latency, objective, reference) = (found.latency, found.objective, found.reference)
    baselines = found.baselines
    trail = zip(found.trail.placements, found.trail.scores).map { Entry($0, $1, found.objective) }
    front = found.trail.front(found.objective)
    (rescored, freshReference, refitCheck) = (found.rescored, found.freshReference, found.refits)
    // What misses a constraint is no answer.
    chosen = found.rescored.first { found.objective.violation($0.fresh) == 0 }?.placement
  }

  /// What a page shows of it.
  public func report(title: String, warnings: [String], provenance: Provenance) -> PlacementReport {
    func point(_ name: String, _ placement: Placement, _ score: PlacementScore) -> PlacementReport.Point {
      PlacementReport.Point(
        name: name, drawCount: placement.drawCount, kinds: placement.genes.map { $0 > 0 ? $0 - 1 : nil }, nll: score.nll,
        accuracy: score.accuracy, ece: score.ece, auroc: score.auroc, latency: score.latency, scalar: objective.scalar(score))
    }
    func point(_ entry: Entry) -> PlacementReport.Point { point(name(of: entry.placement), entry.placement, entry.score) }
    return PlacementReport(
      title: title,
      sites: zip(space.sites, latency.parts).map {
        PlacementReport.Site(name: $0.name, before: 1000 * $1.before, behind: 1000 * $1.behind)
      },
      kinds: space.kinds, rowCount: validationRowCount, foreign: foreign.map(\.name), batchRowCount: latency.batchRowCount,
      threadCount: latency.threadCount, reference: point("as trained", space.none, reference),
      baselines: baselines.map { point($0.name, $0.entry.placement, $0.entry.score) }, searched: trail.map { point($0) },
      front: front.map { point(trail[$0]) },
      rescored: rescored.map { point(name(of: $0.placement), $0.placement, $0.fresh) },
      freshReference: point("as trained", space.none, freshReference), warnings: warnings, provenance: provenance)
  }

  /// A placement in words: its drawn sites by kind.
  public func name(of placement: Placement) -> String {
    let parts = space.kinds.indices.compactMap { kind -> String? in
      let names = zip(space.sites, placement.genes).filter { $0.1 == kind + 1 }.map(\.0.name)
      return names.isEmpty ? nil : "\(space.kinds[kind]): \(names.joined(separator: ", "))"
    }
    return parts.isEmpty ? "as trained" : parts.joined(separator: "; ")
  }
}
