/// Scores of the search beside those of the same placements, each fitted on its own.
public struct RefitCheck: Hashable, Sendable, Codable {
  public struct Row: Hashable, Sendable, Codable {
    public var placement: Placement
    /// `F` by distributions of single layers.
    public var searched: Double
    /// `F` of the fit of its own, on the same rows.
    public var refitted: Double
  }

  public var rows: [Row]
  /// Spearman's coefficient of both columns.
  public var rankCorrelation: Double?
}
