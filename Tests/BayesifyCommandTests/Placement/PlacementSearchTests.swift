import Bayesify
import Testing

/// Searches by scores whose best is known.
struct PlacementSearchTests {
  private static let space = PlacementSpace(
    sites: (0..<6).map { PlacementSpace.Site(name: "layer \($0)", layers: ["layer \($0)"]) }, kinds: ["laplace", "dropout:0.1"],
    drawCounts: [4, 8])

  private var objective: PlacementObjective {
    var objective = PlacementObjective(classCount: 10, referenceAccuracy: 0.9)
    objective.accuracyLoss = 0.1
    return objective
  }

  /// Sites 3 and 5 by the second kind are worth most; drawing earlier sites costs time.
  private func score(_ placement: Placement) -> PlacementScore {
    let worth = placement.genes.enumerated().reduce(0.0) { sum, gene in
      sum + (gene.element == 2 && [3, 5].contains(gene.offset) ? 0.2 : gene.element == 0 ? 0 : -0.05)
    }
    let first = placement.genes.firstIndex { $0 > 0 } ?? 6
    let latency = 1 + Double(placement.drawCount - 1) * Double(6 - first) / 6
    return PlacementScore(
      nll: 0.6 - worth - 0.002 * Double(placement.drawCount), untemperedNLL: 0.7, accuracy: 0.9, ece: 0.02,
      auroc: 0.8 + worth / 4, aurocs: ["noise": 0.8], temperature: 1, latency: latency)
  }

  private func run(
    _ strategy: PlacementStrategy, key: UInt64 = 1, objective: PlacementObjective? = nil,
    _ change: (inout PlacementSearch) -> Void = { _ in }
  ) async throws -> PlacementSearch.Trail {
    var search = PlacementSearch()
    search.strategy = strategy
    change(&search)
    return try await search(
      Self.space, objective ?? self.objective, key: RandomKey(seed: key),
      isAffordable: { placement in (objective?.latencyBudget).map { score(placement).latency <= $0 } ?? true }
    ) { $0.map { score($0) } }
  }

  @Test func exhaustiveSearchesAskForAll() async throws {
    let trail = try await run(.exhaustive)
    #expect(trail.placements.count == 2 * (729 - 1) && Set(trail.placements).count == trail.placements.count)
    #expect(Self.space.count == trail.placements.count)
    let best = trail.placements[try #require(trail.best(objective))]
    #expect(best.genes == [0, 0, 0, 2, 0, 2])
  }

  /// Evolution finds the best of 1,456 with far fewer, and as surely at least as chance does with as many.
  @Test func evolutionFindsTheBest() async throws {
    let all = try await run(.exhaustive)
    let best = objective.scalar(all.scores[try #require(all.best(objective))])
    var regrets: [PlacementStrategy: [Double]] = [:]
    for key in 0..<5 as Range<UInt64> {
      for strategy in [PlacementStrategy.evolution, .random, .greedy] {
        let trail = try await run(strategy, key: key) {
          $0.generationCount = 16
          $0.evaluationCount = 256
        }
        #expect(trail.placements.count <= 256 && Set(trail.placements).count == trail.placements.count)
        #expect(trail.placements.allSatisfy { !$0.isPoint })
        regrets[strategy, default: []].append(best - objective.scalar(trail.scores[try #require(trail.best(objective))]))
      }
    }
    func mean(_ strategy: PlacementStrategy) -> Double { regrets[strategy, default: []].reduce(0, +) / 5 }
    #expect(mean(.evolution) < 0.01 && mean(.greedy) < 1e-12)
    #expect(mean(.evolution) <= mean(.random))
  }

  /// Given the scores that it had, a search asks for nothing again and ends as it would have.
  @Test func searchesGoOnWhereTheyWere() async throws {
    let whole = try await run(.evolution)
    var known: [Placement: PlacementScore] = [:]
    for index in whole.placements.indices.prefix(50) { known[whole.placements[index]] = whole.scores[index] }
    var search = PlacementSearch()
    search.strategy = .evolution
    var askedAnew = 0
    let resumed = try await search(Self.space, objective, key: RandomKey(seed: 1)) { placements in
      askedAnew += placements.count { known[$0] == nil }
      return placements.map { known[$0] ?? score($0) }
    }
    #expect(resumed == whole && askedAnew == whole.placements.count - 50)
    #expect(try await run(.evolution, key: 2) != whole)
  }

  @Test func budgetsHold() async throws {
    var tight = objective
    tight.latencyBudget = 2
    for strategy in PlacementStrategy.allCases {
      let trail = try await run(strategy, objective: tight)
      #expect(!trail.scores.isEmpty && trail.scores.allSatisfy { $0.latency <= 2 }, "\(strategy)")
      for index in trail.front(tight) {
        let own = tight.objectives(trail.scores[index])
        #expect(!trail.scores.contains { ParetoFront.dominates(tight.objectives($0), own) })
      }
    }
    tight.latencyBudget = 1
    #expect(try await run(.evolution, objective: tight).placements.isEmpty)
  }

  /// A placement that misses a constraint is never better than one that misses none.
  @Test func constraintsComeFirst() {
    var strict = objective
    strict.accuracyLoss = 0.005
    var (good, bad) = (score(Self.space.none), score(Self.space.none))
    good.nll = 2
    bad.accuracy = 0.5
    #expect(strict.isBetter(good, than: bad) && !strict.isBetter(bad, than: good))
    #expect(strict.violation(good) == 0 && strict.violation(bad) > 0.39)
    // F by hand: −0.588 / log 10 − 0.02 + 0.5 · 0.6 − 0.1 · log 1.
    good.nll = 0.588
    #expect(abs(strict.scalar(good) - (-0.588 / 2.302585092994046 - 0.02 + 0.3)) < 1e-12)
  }

  @Test func frontsAreThoseOfDominance() {
    let points: [[Double]] = [[1, 5], [2, 3], [4, 1], [3, 4], [5, 5], [2, 3]]
    #expect(ParetoFront.indices(of: points) == [0, 1, 2, 5])
    #expect(ParetoFront.fronts(of: points) == [[0, 1, 2, 5], [3], [4]])
    // Deb et al. 2002: the ends infinite; in between the gaps of neighbours over ranges, (4 − 1) / 3 + (5 − 1) / 4.
    #expect(ParetoFront.crowding(of: [[1, 5], [2, 3], [4, 1]]) == [.infinity, 2, .infinity])
    #expect(ParetoFront.crowding(of: [[1, 1]]) == [.infinity])
  }

  /// Sites of a residual network are its blocks; of a chain every layer is one.
  @Test func blocksLieBetweenCuts() throws {
    var nodes = [Node(name: "input", layer: Input([4]), inputs: [])]
    func add(_ name: String, _ layer: any Layer, _ inputs: [Int]) -> Int {
      nodes.append(Node(name: name, layer: layer, inputs: inputs))
      return nodes.count - 1
    }
    let stem = add("stem", Dense(units: 4), [0])
    let a = add("a", Dense(units: 4), [stem])
    let b = add("b", Dense(units: 4), [a])
    let sum = add("sum", ElementwiseMerge(.add), [stem, b])
    let head = add("head", Dense(units: 3), [sum])
    let network = try Network(nodes: nodes, exits: [Exit(name: "head", logits: head, likelihood: .categorical)])
    let layers = [("stem", stem), ("a", a), ("b", b), ("head", head)].map { (name: $0.0, node: $0.1) }
    #expect(
      PlacementSites.blocks.sites(layers, of: network, exit: 0).map(\.layers) == [["stem"], ["a", "b"], ["head"]])
    #expect(PlacementSites.layers.sites(layers, of: network, exit: 0).map(\.name) == ["stem", "a", "b", "head"])
  }

  /// `t(before) + S · t(behind)`, and what sites side by side add.
  @Test func latenciesFollowTheFormula() throws {
    var nodes = [Node(name: "input", layer: Input([4]), inputs: [])]
    nodes.append(Node(name: "a", layer: Dense(units: 4), inputs: [0]))
    nodes.append(Node(name: "b", layer: Dense(units: 4), inputs: [1]))
    nodes.append(Node(name: "c", layer: Dense(units: 4), inputs: [1]))
    nodes.append(Node(name: "sum", layer: ElementwiseMerge(.add), inputs: [2, 3]))
    let network = try Network(nodes: nodes, exits: [Exit(name: "sum", logits: 4, likelihood: .categorical)])
    let space = PlacementSpace(
      sites: ["a", "b", "c"].map { PlacementSpace.Site(name: $0, layers: [$0]) }, kinds: ["laplace"], drawCounts: [2])
    let model = LatencyModel(
      batchRowCount: 1, threadCount: 1, whole: 3,
      parts: [(0, 3), (2, 1), (2, 1.1)].map { LatencyModel.Part(before: $0.0, behind: $0.1) }, space: space,
      network: network, exit: 0)
    func seconds(_ genes: [Int], _ draws: Int) -> Double { model.seconds(Placement(genes: genes, drawCount: draws)) }
    #expect(seconds([0, 0, 0], 1) == 3)
    #expect(seconds([1, 0, 0], 4) == 12 && seconds([1, 1, 1], 4) == 12)
    #expect(seconds([0, 1, 0], 4) == 6)
    // Behind c, and b beside it, a third of the multiply-adds.
    #expect(abs(seconds([0, 1, 1], 4) - (2 - 1 + 4 * 2.1)) < 1e-12)
    #expect(model.latency(Placement(genes: [0, 1, 0], drawCount: 4)) == 2)
  }
}
