/// Equally wide bins over `0...1`.
///
/// By the standard convention bin `k` is `(k/n, (k+1)/n]`, zero lies in the first, and edges are
/// `Double(k) / Double(n)` exactly, so that membership does not depend on how a list of edges was accumulated.
public struct UnitIntervalBins: Sendable, Hashable {
  /// The number of equally wide bins.
  public let count: Int
  /// Which bin edges, zero and one belong to.
  public let convention: BinConvention
  private let edges: [Double]
  private let isClosedAbove: Bool

  /// - Precondition: there is at least one bin.
  public init(count: Int, convention: BinConvention = .standard) {
    precondition(count > 0, "There is at least one bin; got \(count).")
    self.count = count
    self.convention = convention
    edges = convention.edges(count)
    isClosedAbove = convention.isClosedAbove
  }

  /// The number of bins, with one for exactly one where that is not part of the last.
  public var totalCount: Int { convention == .torchmetrics ? count + 1 : count }

  /// The edge `k / n`, for `k` in `0...n`; one beyond.
  public func edge(_ index: Int) -> Double { edges[min(index, count)] }

  /// The bin that holds `value`; `nil` where the convention drops it.
  ///
  /// - Precondition: `value` lies in `0...1`.
  @inline(__always)
  public func index(of value: Double) -> Int? {
    if convention == .guo, value == 0 { return nil }
    // The product may round across an edge; the edges decide.
    if isClosedAbove {
      var index = min(count - 1, Int(value * Double(count)))
      while index > 0 && value <= edges[index] { index -= 1 }
      while index < count - 1 && value > edges[index + 1] { index += 1 }
      return index
    }
    var index = min(totalCount - 1, Int(value * Double(count)))
    while index > 0 && value < edge(index) { index -= 1 }
    while index < totalCount - 1 && value >= edge(index + 1) { index += 1 }
    return index
  }
}
