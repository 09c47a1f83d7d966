import ArgumentParser
import Bayesify
import Foundation

struct Compact: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "A smaller network without the channels that removed weights leave without effect, as a Keras file.",
    discussion: """
      Taken is a posterior of 'fit spike-slab' that removed weights, or a checkpoint with filters of zeros. Left out are \
      channels that are zero whatever goes in, and those that nothing reads, with their batch normalisation and the weights \
      of the next layers; channels that are added to each other go together or not at all.

      OUTPUT is a Keras model in HDF5: the checkpoint, or of a posterior its last network. --posterior keeps all networks, \
      as a posterior of OUTPUT. Rows get the preprocessing that they got before.

      The smaller network is run beside the one with zeros, on drawn rows; nothing is written where an exit differs by \
      more than 0.0001 of its largest logit.

      Example: bayesify compact sparse.h5 -o small.h5 --posterior small-posterior.h5
      """)

  @Argument(help: "A posterior of 'fit spike-slab', or a checkpoint.")
  var model: String

  @Option(help: "The checkpoint of a posterior, where it has moved.")
  var checkpoint: String?

  @Option(name: .shortAndLong, help: "The smaller network, HDF5 for Keras.")
  var output: String

  @Option(help: "The posterior of the smaller network, HDF5.")
  var posterior: String?

  @OptionGroup var reading: CheckpointOptions
  @OptionGroup var execution: ExecutionOptions

  @Flag(help: "What was left out, in JSON on standard output.")
  var json = false

  func validate() throws {
    try OutputFormat.requireSuffix(of: output, among: [.hdf5])
    if let posterior {
      try OutputFormat.requireSuffix(of: posterior, among: [.hdf5])
      guard URL(filePath: posterior).standardizedFileURL != URL(filePath: output).standardizedFileURL else {
        throw ValidationError("--posterior and --output name one file; give two.")
      }
    }
  }

  func run() async throws {
    try requireOutputs([output, posterior], apartFrom: [model, checkpoint, reading.architecture], replacing: execution.force)
    let model = try ModelInput(model, reading: reading.reading)
    var (samples, fitted) = (WeightSamplePosterior?.none, SampledNetworkPosterior?.none)
    if case .posterior(let found, let file, _) = model {
      guard case .sampled(let sampled) = found, case .weightSamples(let own) = sampled.kind else {
        throw FileError(
          .unsupported, file: file, "No weights were removed by this posterior; name one of 'fit spike-slab', or a checkpoint.")
      }
      (samples, fitted) = (own, sampled)
    } else if posterior != nil {
      throw FileError(.unsupported, file: model.file, "This is a checkpoint and has no posterior; leave --posterior out.")
    }
    let checkpoint = try model.checkpoint(named: checkpoint, reading: reading.reading)
    do {
      try await compact(model, checkpoint, samples, fitted)
    } catch let error as NetworkError {
      throw FileError(.unsupported, file: model.file, error.message)
    }
  }

  private func compact(
    _ model: ModelInput, _ checkpoint: CheckpointModel, _ samples: WeightSamplePosterior?, _ fitted: SampledNetworkPosterior?
  ) async throws {
    let compact = try CompactModel(checkpoint.frozen, samples)
    guard compact.isSmaller else {
      throw FileError(
        .unsupported, file: model.file,
        "No channel is without effect, so the network would be as large as before; remove whole filters (--groups filters), or "
          + "more of them.")
    }
    let comparison = try await NetworkComparison(compact.original, compact.network, seed: execution.seed, execution)
    guard comparison.difference <= 1e-4 else {
      throw FileError(
        .unsupported, file: model.file,
        "The smaller network's logits differ by \(comparison.difference.significantDigits(3)) of the largest; this is a fault "
          + "in this program, please report it.")
    }
    let keras = try KerasExport(compact.network)
    try keras.write(to: output, replacing: execution.force)
    if let posterior, let fitted {
      let small = try CheckpointModel(output)
      guard let own = try compact.posterior(fitted, for: small, names: keras.names) else { return }
      let writer = try HDF5ArchiveWriter(posterior, replacing: execution.force)
      do {
        try own.write(to: writer)
        try writer.setAttribute("checkpointFile", .text(output), of: "/")
        try writer.setAttribute("madeBy", .text("bayesify " + bayesifyVersion), of: "/")
        try writer.finish()
      } catch {
        writer.discard()
        throw error
      }
    }
    let summary = CompactSummary(
      output: output, before: try NetworkSize(checkpoint.file, compact.original, comparison.seconds.before),
      after: try NetworkSize(output, compact.network, comparison.seconds.after), difference: comparison.difference)
    try printAnswer(json ? try jsonText(summary) : summary.description)
  }
}

/// Two networks of one input on the same drawn rows.
private struct NetworkComparison {
  /// The largest difference of logits, as a share of the largest logit of the exit.
  var difference = 0.0
  /// Of a row in a batch of 32, the median of passes by turns.
  var seconds = (before: 0.0, after: 0.0)

  private static let (rowCount, passCount) = (32, 15)

  init(_ before: FrozenNetwork, _ after: FrozenNetwork, seed: UInt64, _ execution: ExecutionOptions) async throws {
    let backend = try execution.backend()
    let rows = RowBatch(
      RandomKey(seed: seed).normals(before.network.inputShape.batched(Self.rowCount), as: Float.self))
    let networks = try [before, after].map { try backend.prepare($0, preprocessing: .identity, outputs: $0.network.exits.map(\.logits)) }
    var times: [[Double]] = [[], []]
    for _ in 0..<Self.passCount {
      var outputs: [[Tensor<Float>]] = []
      for (index, network) in networks.enumerated() {
        let begun = ContinuousClock.now
        outputs.append(try await network(rows, width: execution.width))
        times[index].append((ContinuousClock.now - begun) / .seconds(1) / Double(Self.rowCount))
      }
      for (a, b) in zip(outputs[0], outputs[1]) {
        let largest = (0..<a.count).reduce(Float(1e-30)) { max($0, abs(a[$1])) }
        difference = (0..<a.count).reduce(difference) { max($0, Double(abs(a[$1] - b[$1]) / largest)) }
      }
    }
    let medians = times.map { $0.sorted()[$0.count / 2] }
    seconds = (medians[0], medians[1])
  }
}

/// What a network takes.
private struct NetworkSize: Encodable {
  var file: String
  var multiplyAdds: Int
  var parameters: Int
  var bytes: Int
  var secondsPerRow: Double

  init(_ file: String, _ frozen: FrozenNetwork, _ seconds: Double) throws {
    self.file = file
    let network = frozen.network
    let isNeeded = network.isNeeded(for: network.exits.map(\.logits))
    multiplyAdds = network.multiplyAdds(toExit: network.exits.count - 1)
    parameters = network.nodes.indices.reduce(0) { $0 + (isNeeded[$1] ? network.parameterCount(of: $1) : 0) }
    bytes = try FileManager.default.attributesOfItem(atPath: file)[.size] as? Int ?? 0
    secondsPerRow = seconds
  }
}

/// What was left out.
private struct CompactSummary: Encodable, CustomStringConvertible {
  var output: String
  var before: NetworkSize
  var after: NetworkSize
  /// The largest difference of logits, as a share of the largest.
  var difference: Double

  var description: String {
    func row(_ name: String, _ a: Double, _ b: Double) -> [String] {
      [name, a.significantDigits(4), b.significantDigits(4), "\(decimals(b / a, 2))"]
    }
    return textTable(
      ["", "before", "after", "ratio"],
      [
        row("multiply-adds a row", Double(before.multiplyAdds), Double(after.multiplyAdds)),
        row("parameters", Double(before.parameters), Double(after.parameters)),
        row("bytes of the file", Double(before.bytes), Double(after.bytes)),
        row("ms a row, 32 at once", 1000 * before.secondsPerRow, 1000 * after.secondsPerRow),
      ], leading: 1) + "\nlogits differ by \(difference.significantDigits(3)) of the largest at the most\nwrote \(output)"
  }
}
