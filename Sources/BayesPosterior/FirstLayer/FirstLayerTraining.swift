public import BayesTensor

/// First-layer inference under way: all that its next step depends on besides the data and the key.
///
/// - Determinism: a training that goes on from one written before gives the same bits as one that was never
///   interrupted.
public struct FirstLayerTraining: ResumableTraining, Equatable {
  /// What became of one pass over the training rows.
  public struct Epoch: Sendable, Equatable {
    /// The mean over its rows of the negative log-likelihood at the draws of its steps, nats.
    public var dataTerm: Double
    /// At its end, nats.
    public var divergence: Double
    /// The mean negative log-likelihood of validation labels at its end, nats a row, where training looks at it.
    public var validationNLL: Double?

    /// The evidence lower bound a row, nats, at a number of training rows; not tempered.
    public func evidenceLowerBound(rowCount: Int) -> Double { -dataTerm - divergence / Double(rowCount) }
  }

  /// An epoch's end.
  struct Best: Sendable, Equatable {
    var epochIndex: Int
    var distribution: FactorizedGaussian
  }

  public internal(set) var distribution: FactorizedGaussian
  var meanMemory = OptimizerMemory<Double>()
  var deviationMemory = OptimizerMemory<Double>()
  /// Steps made in all.
  public internal(set) var stepCount = 0
  /// The negative log-likelihood summed over the rows of the epoch under way.
  var lossSum = 0.0
  /// Epochs that are over.
  public internal(set) var epochs: [Epoch] = []
  var best: Best?
  /// The data term at the trained weights, nats a row.
  public internal(set) var initialDataTerm: Double?
  /// Whether no further step is to be made.
  public internal(set) var isFinished = false

  init(_ distribution: FactorizedGaussian) { self.distribution = distribution }

  /// What is left in the end, and by which epoch: the best by validation where that was asked for.
  var result: (distribution: FactorizedGaussian, epochIndex: Int) {
    best.map { ($0.distribution, $0.epochIndex) } ?? (distribution, max(0, epochs.count - 1))
  }
}

/// A training in a file, from which it goes on.
///
/// - `/` has `format`, `settings` (what the training depends on, a text each) and counts.
/// - `/distribution/0` and so on hold `means` and `rawDeviations`, `/best/0` those of the best epoch;
///   `/memory/means/0/1` is a moment of a parameter; `/epochs` has a row an epoch.
extension FirstLayerTraining {
  private static let formatName = "bayesify-first-layer-training"

  /// Writes the training; the caller finishes the archive.
  ///
  /// - Parameter settings: what the training depends on, by name.
  public func write(to archive: any ArrayArchiveWriter, settings: [String: String]) throws(FileError) {
    try archive.writeTrainingHeader(Self.formatName, settings: settings)
    try archive.setAttribute("stepCount", .integer(stepCount), of: "/")
    try archive.setAttribute("lossSum", .number(lossSum), of: "/")
    try archive.setAttribute("isFinished", .integer(isFinished ? 1 : 0), of: "/")
    try archive.setAttribute("parameterCount", .integer(distribution.means.count), of: "/")
    if let initialDataTerm { try archive.setAttribute("initialDataTerm", .number(initialDataTerm), of: "/") }
    try archive.write(distribution, at: "/distribution")
    try archive.write(meanMemory, at: "/memory/means")
    try archive.write(deviationMemory, at: "/memory/rawDeviations")
    if let best {
      try archive.setAttribute("epochIndex", .integer(best.epochIndex), of: "/best")
      try archive.write(best.distribution, at: "/best")
    }
    if !epochs.isEmpty {
      // A loss that was not looked at is written as −1, which none is.
      let rows = epochs.flatMap { epoch -> [Double] in [epoch.dataTerm, epoch.divergence, epoch.validationNLL ?? -1] }
      try archive.write(Tensor<Double>(shape: [epochs.count, 3], rows), at: "/epochs")
    }
  }

  /// Reads a training.
  ///
  /// - Parameter settings: those that the training must have been begun with.
  /// - Throws: `FileError` naming what is missing, or the setting that is another.
  public init(from archive: any ArrayArchive, settings: [String: String]) throws(FileError) {
    let reader = PosteriorReader(archive: archive)
    try reader.requireTraining(Self.formatName, settings: settings)
    let count = try reader.integer("parameterCount", of: "/")
    guard (1...2).contains(count) else {
      throw reader.failure(.value, "/", "The number of parameters is \(count); the file is damaged.")
    }
    distribution = try reader.distribution(at: "/distribution", count: count)
    meanMemory = try reader.memory(at: "/memory/means", like: distribution.means)
    deviationMemory = try reader.memory(at: "/memory/rawDeviations", like: distribution.means)
    stepCount = try reader.integer("stepCount", of: "/")
    lossSum = try reader.optionalNumber("lossSum", of: "/") ?? 0
    isFinished = try reader.integer("isFinished", of: "/") != 0
    initialDataTerm = try reader.optionalNumber("initialDataTerm", of: "/")
    if archive.entry("/epochs") != nil {
      let rows: Tensor<Double> = try reader.array("/epochs", rank: 2)
      guard rows.shape[1] == 3 else { throw reader.failure(.shape, "/epochs", "The array has shape \(rows.shape).") }
      epochs = (0..<rows.rowCount).map {
        Epoch(dataTerm: rows[$0, 0], divergence: rows[$0, 1], validationNLL: rows[$0, 2] < 0 ? nil : rows[$0, 2])
      }
    }
    if archive.entry("/best/0/means") != nil {
      best = Best(
        epochIndex: try reader.integer("epochIndex", of: "/best"),
        distribution: try reader.distribution(at: "/best", count: count))
    }
    let shapes = distribution.means.map(\.shape)
    let bestFits = best.map { epochs.indices.contains($0.epochIndex) && $0.distribution.means.map(\.shape) == shapes }
    guard stepCount >= 0, bestFits ?? true, !isFinished || !epochs.isEmpty else {
      throw reader.failure(.value, "/", "The parts of the training do not fit each other; the file is damaged.")
    }
  }
}

extension ArrayArchiveWriter {
  fileprivate func write(_ distribution: FactorizedGaussian, at path: String) throws(FileError) {
    for (index, (means, rawDeviations)) in zip(distribution.means, distribution.rawDeviations).enumerated() {
      try write(means, at: "\(path)/\(index)/means")
      try write(rawDeviations, at: "\(path)/\(index)/rawDeviations")
    }
  }
}

extension PosteriorReader {
  fileprivate func distribution(at path: String, count: Int) throws(FileError) -> FactorizedGaussian {
    var (means, rawDeviations): ([Tensor<Double>], [Tensor<Double>]) = ([], [])
    for index in 0..<count {
      guard let shape = archive.entry("\(path)/\(index)/means")?.shape else {
        throw failure(.missing, "\(path)/\(index)/means", "The array is missing; the file is damaged.")
      }
      means.append(try array("\(path)/\(index)/means", shape: shape))
      rawDeviations.append(try array("\(path)/\(index)/rawDeviations", shape: shape))
    }
    return FactorizedGaussian(means: means, rawDeviations: rawDeviations)
  }
}
