public import BayesTensor

/// Chains over a network's weights under way: all that their next step depends on besides the data and the key.
///
/// - Determinism: a training that goes on from one written before gives the same bits as one that was never interrupted.
public struct SpikeAndSlabTraining: ResumableTraining, Equatable {
  /// What became of one pass over the training rows.
  public struct Epoch: Sendable, Equatable {
    /// The mean loss over the steps of all chains, nats.
    public var loss: Double
    /// The share of the chosen layers' weights that were removed.
    public var sparsity: Double
  }

  /// `h` at the beginning of a cycle.
  public let stepSize: Double
  /// All have made the same number of steps.
  public internal(set) var chains: [MarkovChain]
  /// One a layer that is selected in, in the order of their weights.
  public internal(set) var selections: [GroupSelection]
  /// `θ`
  public internal(set) var inclusion: Double
  /// The weights of networks that were kept, of each chain.
  public internal(set) var snapshots: [[ContiguousArray<Float>]]
  /// What networks are drawn from in place of snapshots, of each chain; none for other samplers.
  var moments: [WeightMoments] = []
  /// Statistics of batch normalisations since weights were last removed, of one network; none before.
  public internal(set) var statistics: [NetworkStatistics] = []
  /// The names of layers of which all would have been removed.
  public internal(set) var rescuedLayers: [String] = []
  /// The sum over the steps of the epoch under way, weighted by their rows.
  var lossSum = 0.0
  /// Epochs that are over.
  public internal(set) var epochs: [Epoch] = []

  init(_ chains: [MarkovChain], selections: [GroupSelection], inclusion: Double, stepSize: Double) {
    (self.chains, self.selections) = (chains, selections)
    (self.inclusion, self.stepSize) = (inclusion, stepSize)
    snapshots = chains.map { _ in [] }
  }

  public var epochCount: Int { epochs.count }
  /// Steps that each chain has made.
  public var stepCount: Int { chains[0].stepCount }
}

/// A training in a file, from which it goes on.
///
/// - `/` has `format`, `settings` (what the training depends on, a text each) and counts; `/epochs` has a row an epoch.
/// - `/chains/0` and so on hold the chain's vectors, and in `snapshots` `[networks, weights]`; `/mask` what was not removed;
///   `/selections/0` and so on
///   `shape`, `responsibilities`, `meanSquares` and `mask` of a layer.
extension SpikeAndSlabTraining {
  private static let formatName = "bayesify-spike-slab-training"

  public func write(to archive: any ArrayArchiveWriter, settings: [String: String]) throws(FileError) {
    func write(_ vector: ContiguousArray<Float>, _ path: String) throws(FileError) {
      guard !vector.isEmpty else { return }
      try archive.write(Tensor(shape: [vector.count], elements: vector), at: path)
    }
    try archive.writeTrainingHeader(Self.formatName, settings: settings)
    try archive.setAttribute("chainCount", .integer(chains.count), of: "/")
    try archive.setAttribute("selectionCount", .integer(selections.count), of: "/")
    try archive.setAttribute("stepCount", .integer(stepCount), of: "/")
    try archive.setAttribute("stepSize", .number(stepSize), of: "/")
    try archive.setAttribute("inclusion", .number(inclusion), of: "/")
    try archive.setAttribute("lossSum", .number(lossSum), of: "/")
    try archive.setAttribute("rescuedLayers", .texts(rescuedLayers), of: "/")
    for (index, chain) in chains.enumerated() {
      let path = "/chains/\(index)"
      try archive.setAttribute("snapshotCount", .integer(snapshots[index].count), of: path)
      try write(chain.position, path + "/position")
      try write(chain.momentum, path + "/momentum")
      try write(chain.scale, path + "/scale")
      try write(chain.noise, path + "/noise")
      if !moments.isEmpty {
        try archive.setAttribute("momentCount", .integer(moments[index].count), of: path)
        try write(moments[index].means, path + "/means")
        try write(moments[index].squares, path + "/squares")
      }
      for (number, snapshot) in snapshots[index].enumerated() { try write(snapshot, path + "/snapshots/\(number)") }
    }
    try write(chains[0].mask, "/mask")
    try archive.setAttribute("statisticsCount", .integer(statistics.count), of: "/")
    try archive.write(statistics)
    for (index, selection) in selections.enumerated() {
      let path = "/selections/\(index)"
      try archive.setAttribute("grouping", .text(selection.groups.grouping.rawValue), of: path)
      try archive.write(selection.groups.shape.dimensions, at: path + "/shape")
      try archive.setAttribute("isRemovable", .integer(selection.isRemovable ? 1 : 0), of: path)
      try archive.setAttribute("updateCount", .integer(selection.updateCount), of: path)
      try archive.write(
        Tensor<Double>(shape: [selection.groups.count], selection.responsibilities), at: path + "/responsibilities")
      try archive.write(Tensor<Double>(shape: [selection.groups.count], selection.meanSquares), at: path + "/meanSquares")
      try write(selection.mask, path + "/mask")
    }
    if !epochs.isEmpty {
      try archive.write(
        Tensor<Double>(shape: [epochs.count, 2], epochs.flatMap { [$0.loss, $0.sparsity] }), at: "/epochs")
    }
  }

  public init(from archive: any ArrayArchive, settings: [String: String]) throws(FileError) {
    let reader = PosteriorReader(archive: archive)
    try reader.requireTraining(Self.formatName, settings: settings)
    let (chainCount, selectionCount) = (try reader.integer("chainCount", of: "/"), try reader.integer("selectionCount", of: "/"))
    let stepCount = try reader.integer("stepCount", of: "/")
    guard (1...10_000).contains(chainCount), (0...100_000).contains(selectionCount), stepCount >= 0 else {
      throw reader.failure(
        .value, "/", "There are \(chainCount) chains and \(selectionCount) layers; the file is damaged, begin anew with --force.")
    }
    func vector(_ path: String, count: Int? = nil) throws(FileError) -> ContiguousArray<Float> {
      guard archive.entry(path) != nil else { return [] }
      let tensor: Tensor<Float> =
        if let count { try reader.array(path, shape: [count]) } else { try reader.array(path, rank: 1) }
      return tensor.elements
    }
    let count = try vector("/chains/0/position").count
    let mask = try vector("/mask", count: count)
    var (chains, snapshots, moments) = ([MarkovChain](), [[ContiguousArray<Float>]](), [WeightMoments]())
    for index in 0..<chainCount {
      let path = "/chains/\(index)"
      chains.append(
        MarkovChain(
          position: try vector(path + "/position", count: count), momentum: try vector(path + "/momentum", count: count),
          scale: try vector(path + "/scale", count: count), noise: try vector(path + "/noise", count: count), mask: mask,
          stepCount: stepCount))
      let snapshotCount = try reader.integer("snapshotCount", of: path)
      guard (0...100_000).contains(snapshotCount) else {
        throw reader.failure(.value, path, "There are \(snapshotCount) networks; the file is damaged, begin anew with --force.")
      }
      if let momentCount = try reader.optionalInteger("momentCount", of: path) {
        moments.append(
          WeightMoments(
            count: max(0, momentCount), means: try vector(path + "/means", count: count),
            squares: try vector(path + "/squares", count: count)))
      }
      var own: [ContiguousArray<Float>] = []
      for number in 0..<snapshotCount { own.append(try vector(path + "/snapshots/\(number)", count: count)) }
      snapshots.append(own)
    }
    var selections: [GroupSelection] = []
    for index in 0..<selectionCount {
      let path = "/selections/\(index)"
      let dimensions = try archive.readIntegers(path + "/shape", rows: nil)
      guard (2...8).contains(dimensions.count), dimensions.allSatisfy({ (1...1 << 24).contains($0) }) else {
        throw reader.failure(
          .shape, path + "/shape", "\(dimensions) is no shape of weights; the file is damaged, begin anew with --force.")
      }
      var selection = GroupSelection(
        WeightGroups(try reader.choice("grouping", of: path), of: Shape(dimensions)),
        isRemovable: try reader.integer("isRemovable", of: path) == 1)
      let responsibilities: Tensor<Double> = try reader.array(path + "/responsibilities", shape: [selection.groups.count])
      let squares: Tensor<Double> = try reader.array(path + "/meanSquares", shape: [selection.groups.count])
      (selection.responsibilities, selection.meanSquares) = (Array(responsibilities.elements), Array(squares.elements))
      selection.mask = try vector(path + "/mask", count: selection.groups.shape.elementCount)
      selection.updateCount = try reader.integer("updateCount", of: path)
      selections.append(selection)
    }
    guard let inclusion = try reader.optionalNumber("inclusion", of: "/"), inclusion > 0, inclusion < 1 else {
      throw reader.failure(.value, "/", "The attribute 'inclusion' is no share; the file is damaged, begin anew with --force.")
    }
    guard let stepSize = try reader.optionalNumber("stepSize", of: "/"), stepSize > 0 else {
      throw reader.failure(.value, "/", "The attribute 'stepSize' is no step; the file is damaged, begin anew with --force.")
    }
    self.init(chains, selections: selections, inclusion: inclusion, stepSize: stepSize)
    (self.snapshots, self.moments) = (snapshots, moments)
    rescuedLayers = try reader.texts("rescuedLayers", of: "/")
    let statisticsCount = try reader.integer("statisticsCount", of: "/")
    guard (0...100_000).contains(statisticsCount) else {
      throw reader.failure(.value, "/", "There are \(statisticsCount) statistics; the file is damaged, begin anew with --force.")
    }
    statistics = try reader.statistics(count: statisticsCount, networkCount: 1)
    lossSum = try reader.optionalNumber("lossSum", of: "/") ?? 0
    if archive.entry("/epochs") != nil {
      let rows: Tensor<Double> = try reader.array("/epochs", rank: 2)
      guard rows.shape[1] == 2 else { throw reader.failure(.shape, "/epochs", "The array has shape \(rows.shape).") }
      epochs = (0..<rows.rowCount).map { Epoch(loss: rows[$0, 0], sparsity: rows[$0, 1]) }
    }
  }
}
