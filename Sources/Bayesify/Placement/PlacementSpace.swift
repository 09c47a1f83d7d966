import BayesPosterior
import BayesTensor

/// Which layers are drawn, how, and how often.
public struct Placement: Hashable, Sendable, Codable {
  /// Of each site, 0 for as trained, else one more than the index of its kind.
  public var genes: [Int]
  /// Networks that predictions average; one where no site is drawn.
  public var drawCount: Int

  public init(genes: [Int], drawCount: Int) {
    self.genes = genes
    self.drawCount = drawCount
  }

  /// Whether every layer is as trained.
  public var isPoint: Bool { genes.allSatisfy { $0 == 0 } }
}

/// All placements that are searched.
public struct PlacementSpace: Sendable, Hashable, Codable {
  /// Layers that are drawn together or not at all.
  public struct Site: Sendable, Hashable, Codable {
    public var name: String
    public var layers: [String]

    public init(name: String, layers: [String]) {
      self.name = name
      self.layers = layers
    }
  }

  /// In the order of the network.
  public var sites: [Site]
  /// By name, see `PlacementKind`.
  public var kinds: [String]
  /// Rising.
  public var drawCounts: [Int]

  /// - Precondition: there are a site, a kind and a number of draws at least.
  public init(sites: [Site], kinds: [String], drawCounts: [Int]) {
    precondition(!sites.isEmpty && !kinds.isEmpty && !drawCounts.isEmpty, "There is something to choose among.")
    self.sites = sites
    self.kinds = kinds
    self.drawCounts = drawCounts.sorted()
  }

  /// The number of placements with one drawn site at least; `nil` where it is beyond counting.
  public var count: Int? {
    var (count, overflow) = (1, false)
    for _ in sites {
      (count, overflow) = count.multipliedReportingOverflow(by: kinds.count + 1)
      if overflow { return nil }
    }
    (count, overflow) = (count - 1).multipliedReportingOverflow(by: drawCounts.count)
    return overflow ? nil : count
  }

  /// No layer drawn.
  public var none: Placement { Placement(genes: sites.map { _ in 0 }, drawCount: 1) }

  /// The placement that turns some sites by one kind.
  public func placement(_ chosen: Range<Int>, kind: Int, drawCount: Int) -> Placement {
    Placement(genes: sites.indices.map { chosen.contains($0) ? kind + 1 : 0 }, drawCount: drawCount)
  }

  /// All placements with one drawn site at least, in a fixed order.
  ///
  /// - Precondition: there are few enough to be counted.
  public var all: [Placement] {
    var genomes: [[Int]] = [[]]
    for _ in sites { genomes = genomes.flatMap { genome in (0...kinds.count).map { genome + [$0] } } }
    return genomes.filter { $0.contains { $0 > 0 } }.flatMap { genes in
      drawCounts.map { Placement(genes: genes, drawCount: $0) }
    }
  }

  /// A placement whose first drawn site is any with equal chances, and each one behind it drawn with probability one half.
  ///
  /// With equal chances for all placements nearly every one of a deep network would begin at its first sites, which is what costs
  /// time.
  func random(_ key: RandomKey) -> Placement {
    let numbers = key.uniforms(2 * sites.count + 2)
    let first = index(numbers[2 * sites.count], of: sites.count)
    let genes = sites.indices.map { site in
      site == first || (site > first && numbers[2 * site] < 0.5) ? 1 + index(numbers[2 * site + 1], of: kinds.count) : 0
    }
    return Placement(genes: genes, drawCount: drawCounts[index(numbers[2 * sites.count + 1], of: drawCounts.count)])
  }

  /// The placement with each gene changed with probability one over their number, and at least one drawn site.
  func mutated(_ placement: Placement, _ key: RandomKey) -> Placement {
    var result = placement
    let numbers = key.uniforms(2 * sites.count + 4)
    let rate = 1 / Double(sites.count)
    for site in sites.indices where numbers[2 * site] < rate {
      // To another value, all equally likely.
      let step = 1 + index(numbers[2 * site + 1], of: kinds.count)
      result.genes[site] = (result.genes[site] + step) % (kinds.count + 1)
    }
    if numbers[2 * sites.count] < rate {
      result.drawCount = drawCounts[index(numbers[2 * sites.count + 1], of: drawCounts.count)]
    }
    if result.isPoint {
      result.genes[index(numbers[2 * sites.count + 2], of: sites.count)] =
        1 + index(numbers[2 * sites.count + 3], of: kinds.count)
    }
    return result
  }

  /// Each gene of one of two placements, with equal chances.
  func crossed(_ first: Placement, _ second: Placement, _ key: RandomKey) -> Placement {
    let numbers = key.uniforms(sites.count + 2)
    var result = first
    for site in sites.indices where numbers[site] < 0.5 { result.genes[site] = second.genes[site] }
    if numbers[sites.count] < 0.5 { result.drawCount = second.drawCount }
    // Parents whose drawn sites lie apart may leave none.
    return result.isPoint ? (numbers[sites.count + 1] < 0.5 ? first : second) : result
  }
}

/// The element of so many that a number from 0 to below 1 falls on.
private func index(_ number: Double, of count: Int) -> Int { min(count - 1, Int(number * Double(count))) }
