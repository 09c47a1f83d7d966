/// Equally wide bins over `0...1`: bin `k` is `(k/n, (k+1)/n]`, and zero lies in the first.
///
/// Edges are `Double(k) / Double(n)` exactly, so that membership does not depend on how a list of
/// edges was accumulated.
public struct UnitIntervalBins: Sendable, Hashable {
  /// The number of bins.
  public let count: Int

  /// - Precondition: there is at least one bin.
  public init(count: Int) {
    precondition(count > 0, "There is at least one bin; got \(count).")
    self.count = count
  }

  /// The edge `k / n`, for `k` in `0...n`.
  public func edge(_ index: Int) -> Double { Double(index) / Double(count) }

  /// The bin that holds `value`.
  ///
  /// - Precondition: `value` lies in `0...1`.
  public func index(of value: Double) -> Int {
    var index = min(count - 1, max(0, Int((value * Double(count)).rounded(.up)) - 1))
    // The product above may round across an edge; the quotient decides.
    while index > 0 && value <= edge(index) { index -= 1 }
    while index < count - 1 && value > edge(index + 1) { index += 1 }
    return index
  }
}
