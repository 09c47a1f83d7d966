/// What a search of placements found, as a page shows it.
public struct PlacementReport: Sendable, Hashable, Codable {
  /// A placement and its numbers.
  public struct Point: Sendable, Hashable, Codable {
    public var name: String
    public var drawCount: Int
    /// Of each site, the index of its kind, or `nil` where it is as trained.
    public var kinds: [Int?]
    public var nll: Double
    public var accuracy: Double
    public var ece: Double
    public var auroc: Double
    /// Over that of the checkpoint.
    public var latency: Double
    /// `F`
    public var scalar: Double

    public init(
      name: String, drawCount: Int, kinds: [Int?], nll: Double, accuracy: Double, ece: Double, auroc: Double, latency: Double,
      scalar: Double
    ) {
      (self.name, self.drawCount, self.kinds) = (name, drawCount, kinds)
      (self.nll, self.accuracy, self.ece, self.auroc) = (nll, accuracy, ece, auroc)
      (self.latency, self.scalar) = (latency, scalar)
    }
  }

  /// A site as it is drawn.
  public struct Site: Sendable, Hashable, Codable {
    public var name: String
    /// Milliseconds of a batch through what lies before it, and from it on.
    public var before: Double
    public var behind: Double

    public init(name: String, before: Double, behind: Double) {
      (self.name, self.before, self.behind) = (name, before, behind)
    }
  }

  public var title: String
  public var sites: [Site]
  public var kinds: [String]
  /// The rows that placements were scored on, and the foreign sets by name.
  public var rowCount: Int
  public var foreign: [String]
  public var batchRowCount: Int
  public var threadCount: Int
  /// The untouched network.
  public var reference: Point
  public var baselines: [Point]
  public var searched: [Point]
  /// By rising latency.
  public var front: [Point]
  /// The best few on all rows, with other draws; the first is the chosen one.
  public var rescored: [Point]
  /// The untouched network on the same rows as those.
  public var freshReference: Point
  public var warnings: [String]
  public var provenance: Provenance

  public init(
    title: String, sites: [Site], kinds: [String], rowCount: Int, foreign: [String], batchRowCount: Int, threadCount: Int,
    reference: Point, baselines: [Point], searched: [Point], front: [Point], rescored: [Point], freshReference: Point,
    warnings: [String], provenance: Provenance
  ) {
    (self.title, self.sites, self.kinds, self.rowCount, self.foreign) = (title, sites, kinds, rowCount, foreign)
    (self.batchRowCount, self.threadCount, self.reference) = (batchRowCount, threadCount, reference)
    (self.baselines, self.searched, self.front, self.rescored) = (baselines, searched, front, rescored)
    (self.freshReference, self.warnings, self.provenance) = (freshReference, warnings, provenance)
  }
}
