public import BayesNetwork
import BayesPosterior
public import BayesTensor

extension LatencyModel {
  /// Times the whole network and, for each site, what lies before and behind it.
  ///
  /// Parts take turns, so that what else the machine does falls on all of them alike.
  ///
  /// - Parameters:
  ///   - rows: a batch.
  ///   - repetitions: runs of each part that are timed, after `warmUps` that are not; the median counts.
  /// - Throws: `NetworkError` where a site has no layer of the network; what preparing and running throw; `CancellationError`.
  public init(
    measuring frozen: FrozenNetwork, _ space: PlacementSpace, exit: Int, preprocessing: Preprocessing, rows: RowBatch,
    repetitions: Int = 20, warmUps: Int = 5, on backend: any NetworkBackend, in context: ExecutionContext
  ) async throws {
    let network = frozen.network
    let output = network.exits[exit].logits
    struct Timed {
      var before: (any PreparedNetwork)?
      var behind: any PreparedNetwork
      var inputs: [RowBatch]
      var times: [(before: Double, behind: Double)] = []
    }
    var timed: [Timed] = []
    for site in space.sites {
      let boundary = try network.boundary(behind: site)
      let computed = boundary.filter { $0 != 0 }
      let before =
        computed.isEmpty ? nil : try backend.prepare(frozen, preprocessing: preprocessing, inputs: [0], outputs: computed)
      var values = try await before?(rows, width: context.width).map { RowBatch($0) } ?? []
      timed.append(
        Timed(
          before: before,
          behind: try backend.prepare(frozen, preprocessing: preprocessing, inputs: boundary, outputs: [output]),
          inputs: boundary.map { $0 == 0 ? rows : values.removeFirst() }))
    }
    let prepared = try backend.prepare(frozen, preprocessing: preprocessing, outputs: [output])
    let clock = ContinuousClock()
    func seconds(_ body: () async throws -> Void) async throws -> Double {
      try Task.checkCancellation()
      let begun = clock.now
      try await body()
      return (clock.now - begun) / .seconds(1)
    }
    var wholeTimes: [Double] = []
    for repetition in 0..<warmUps + repetitions {
      let whole = try await seconds { _ = try await prepared(rows, width: context.width) }
      if repetition >= warmUps { wholeTimes.append(whole) }
      for index in timed.indices {
        let part = timed[index]
        var times = (before: 0.0, behind: 0.0)
        if let before = part.before {
          times.before = try await seconds { _ = try await before(rows, width: context.width) }
        }
        times.behind = try await seconds { _ = try await part.behind(part.inputs, width: context.width) }
        if repetition >= warmUps { timed[index].times.append(times) }
      }
      context.report(
        StageProgress(stage: "Timing parts of the network", completed: repetition + 1, total: warmUps + repetitions, unit: "rounds"))
    }
    func median(_ values: [Double]) -> Double { values.sorted()[values.count / 2] }
    self.init(
      batchRowCount: rows.count, threadCount: context.width, whole: median(wholeTimes),
      parts: timed.map { Part(before: median($0.times.map(\.before)), behind: median($0.times.map(\.behind))) }, space: space,
      network: network, exit: exit)
  }
}

extension Network {
  /// The nodes where what lies behind a site begins.
  fileprivate func boundary(behind site: PlacementSpace.Site) throws(NetworkError) -> [Int] {
    let names = Set(site.layers)
    guard nodes.contains(where: { names.contains($0.name) }) else {
      throw NetworkError("The network has no layer of the site '\(site.name)'.")
    }
    return boundary(of: changes(where: { names.contains(nodes[$0].name) }))
  }
}
