public import ArgumentParser
import Bayesify
import Foundation

struct Inspect: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Says what a file holds: layers, exits, cost, and what can be made Bayesian.",
    discussion: """
      Of a file that holds weights alone, and where no --architecture is given, the tensors are listed. Values are \
      looked through in files of up to 64 MiB; of larger ones only names and shapes are checked.

      --verify compares the network's answers with those of another library: a .npz or HDF5 file with the arrays \
      'inputs', rows as they go into the network, and 'outputs', or one array an exit, by its name.

      --count says how operations and parameters are counted, in the tables and in JSON. Those of an exit include what \
      earlier exits need.
      multiply-adds: those of linear layers, without biases, in the nodes that exits need; every parameter.
      msdnet: as published for multi-scale dense networks. Convolution: multiply-adds without the bias. ReLU: elements. \
      Pooling: output elements times window. Dense: weights and biases. Batch normalisation, concatenation and \
      borders: none. Other layers: their multiply-adds. Nothing that is laid out before an exit branches off is left \
      out because the exit does not need it. Parameters are those that are learned, without stored means and variances.

      Example: bayesify inspect model.h5 --json
      """)

  @Argument(help: "A checkpoint, an architecture alone, a posterior, exit records or predictions.")
  var file: String

  @OptionGroup var options: CheckpointOptions

  @Option(help: "Rows and the answers to them, to compare the network's with.")
  var verify: String?

  @Option(help: "How operations and parameters of a network are counted; multiply-adds if nothing is named.")
  var count: OperationCount?

  @Flag(help: "JSON on standard output.")
  var json = false

  // Every verb takes them; nothing here is random, long or written.
  @OptionGroup(visibility: .hidden) var execution: ExecutionOptions

  func validate() throws {
    if verify != nil, count != nil {
      throw ValidationError("--verify compares answers and counts nothing; leave --count out.")
    }
  }

  func run() async throws {
    if try HDF5Archive.recognizes(file) {
      let archive = try HDF5Archive(file)
      let format = try archive.optionalText("format")
      if format == LastLayerLaplacePosterior.formatName || archive.holdsExitRecords || archive.holdsPredictions {
        try refuseCount()
      }
      if format == LastLayerLaplacePosterior.formatName {
        switch try FittedPosterior(from: archive) {
        case .lastLayer(let posterior): return try show(PosteriorDescription(posterior))
        case .weights(let posterior): return try show(PosteriorDescription(posterior))
        case .sampled(let posterior): return try show(SampledNetworksDescription(posterior))
        }
      }
      if archive.holdsExitRecords || archive.holdsPredictions || format == RoutedPredictionsWriter.format {
        return try show(ArchiveDescription(archive, format: format))
      }
      try describe(HDF5Checkpoint(archive))
    } else if let policy = try ExitPolicyFile(recognizing: file) {
      try refuseCount()
      try printAnswer(
        json ? String(decoding: try policy.json(), as: UTF8.self).trimmingCharacters(in: .newlines) : policy.summary)
    } else if let policy = try TrustPolicyFile(recognizing: file) {
      try refuseCount()
      try printAnswer(
        json ? String(decoding: try policy.json(), as: UTF8.self).trimmingCharacters(in: .newlines) : policy.summary)
    } else {
      try describe(openCheckpoint(file))
    }
  }

  private func describe(_ checkpoint: some Checkpoint) throws {
    if let verify { return try self.verify(options.model(checkpoint), with: NumericSelfTest(goldenFile: verify)) }
    if checkpoint.architecture == nil, options.architecture == nil {
      try refuseCount()
      let sha256 = checkpoint.byteCount <= Self.readLimit ? try checkpoint.digest() : nil
      return try show(WeightsDescription(checkpoint, sha256: sha256))
    }
    if checkpoint.byteCount <= Self.readLimit, !checkpoint.entries.isEmpty {
      let model = try options.model(checkpoint)
      return try show(
        NetworkDescription(
          model.frozen.network, of: checkpoint, sha256: try checkpoint.digest(), counting: count ?? .multiplyAdds))
    }
    var other: any Checkpoint = checkpoint
    if checkpoint.architecture == nil, let file = options.architecture { other = try openCheckpoint(file) }
    let imported = try imported(checkpoint, describedBy: other)
    if !checkpoint.entries.isEmpty { try imported.network.requireWeights(in: checkpoint, from: imported.sources) }
    try show(NetworkDescription(imported.network, of: checkpoint, sha256: nil, counting: count ?? .multiplyAdds))
  }

  private func refuseCount() throws(FileError) {
    guard count != nil else { return }
    throw FileError(
      .value, file: file,
      "It describes no network whose operations could be counted; leave --count out, or give a model.")
  }

  private func verify(_ model: CheckpointModel, with test: NumericSelfTest) throws {
    try test.require(model.frozen)
    let comparisons = try test.comparisons(with: model.frozen)
    try printAnswer(
      json
        ? try jsonText(comparisons)
        : textTable(
          ["exit", "compared", "rows", "largest difference", "largest output"],
          comparisons.map {
            [
              $0.exit, $0.meaning.rawValue, "\($0.rows)", $0.largestDifference.significantDigits(),
              $0.largestOutput.significantDigits(),
            ]
          }, leading: 2))
    let compared = Set(comparisons.map(\.exit))
    let others = model.frozen.network.exits.map(\.name).filter { !compared.contains($0) }
    if !others.isEmpty {
      execution.progress().warn(
        "\(test.file) has no answers of \(others.map { "'\($0)'" }.joined(separator: ", ")), so these exits were not "
          + "compared.")
    }
  }

  private func imported(
    _ checkpoint: some Checkpoint, describedBy other: some Checkpoint
  ) throws(FileError) -> ImportedArchitecture {
    try ImportedArchitecture(of: checkpoint, describedBy: other, backend: options.kerasBackend)
  }

  /// The weights of larger files are not read, so that the answer comes at once.
  private static let readLimit = 64 << 20

  private func show(_ description: some Encodable & CustomStringConvertible) throws {
    try printAnswer(json ? try jsonText(description) : description.description)
  }
}

extension OperationCount: ExpressibleByArgument {}

/// JSON with sorted keys, so that equal values give equal bytes.
func jsonText(_ value: some Encodable) throws -> String {
  let encoder = JSONEncoder()
  encoder.outputFormatting = [.prettyPrinted, .sortedKeys, .withoutEscapingSlashes]
  return String(decoding: try encoder.encode(value), as: UTF8.self)
}

/// A table in monospaced text; all columns but the first `leading` are aligned to the right.
func textTable(_ header: [String], _ rows: [[String]], leading: Int) -> String {
  let rows = rows.map { $0.map(\.withoutControls) }
  let widths = header.indices.map { column in
    ([header] + rows).map { $0[column].count }.max() ?? 0
  }
  func line(_ cells: [String]) -> String {
    cells.indices.map { column in
      let padding = String(repeating: " ", count: widths[column] - cells[column].count)
      return column < leading ? cells[column] + padding : padding + cells[column]
    }.joined(separator: "  ")
    .trimmingSuffix { $0 == " " }
  }
  return ([line(header), widths.map { String(repeating: "-", count: $0) }.joined(separator: "  ")]
    + rows.map(line)).joined(separator: "\n")
}

extension String {
  fileprivate func trimmingSuffix(while predicate: (Character) -> Bool) -> String {
    var result = self
    while let last = result.last, predicate(last) { result.removeLast() }
    return result
  }
}

/// What is said of a checkpoint.
private struct NetworkDescription: Encodable, CustomStringConvertible {
  struct NodeDescription: Encodable {
    var name: String
    var kind: String
    var outputShape: [Int]
    var parameters: Int
    var multiplyAdds: Int
  }
  struct ExitDescription: Encodable {
    var name: String
    var features: Int?
    var classes: Int
    /// The extents at whose positions a row has an answer each, where it has several.
    var positions: [Int]?
    var likelihood: String?
    /// To reach it, earlier exits included.
    var multiplyAdds: Int
    /// Up to it, earlier exits included.
    var parameters: Int
    /// Transforms that apply here.
    var transforms: [String]
  }

  var file: String
  var format: String
  /// `nil` of a file that is too large to be read now, and of a description without weights.
  var sha256: String?
  var inputShape: [Int]
  /// How operations, under the name of multiply-adds, and parameters are counted.
  var counting: OperationCount
  var parameters: Int
  var nodes: [NodeDescription]
  var exits: [ExitDescription]
  var holdsWeights: Bool

  init(_ network: Network, of checkpoint: some Checkpoint, sha256: String?, counting: OperationCount) {
    self.counting = counting
    holdsWeights = !checkpoint.entries.isEmpty
    file = checkpoint.file
    format = checkpoint.format
    self.sha256 = sha256
    inputShape = network.inputShape.dimensions
    parameters = network.nodes.indices.reduce(0) { $0 + network.parameterCount(of: $1, counting: counting) }
    nodes = network.nodes.indices.map { index in
      NodeDescription(
        name: network.nodes[index].name, kind: type(of: network.nodes[index].layer).kind,
        outputShape: network.shapes[index].dimensions,
        parameters: network.parameterCount(of: index, counting: counting),
        multiplyAdds: network.operations(of: index, counting: counting))
    }
    exits = network.exits.enumerated().map { index, exit in
      let shape = network.shapes[exit.logits]
      let positions = Array(shape.dimensions.dropLast())
      let features = exit.features.map { network.shapes[$0].elementCount / positions.reduce(1, *) }
      let hasClasses = exit.likelihood == nil || exit.likelihood == .categorical || exit.likelihood == .binary
      return ExitDescription(
        name: exit.name, features: features, classes: shape.dimensions.last ?? 0,
        positions: positions.allSatisfy { $0 == 1 } ? nil : positions,
        likelihood: exit.likelihood?.rawValue, multiplyAdds: network.operations(toExit: index, counting: counting),
        parameters: network.parameterCount(toExit: index, counting: counting),
        transforms: features != nil && hasClasses ? ["laplace"] : [])
    }
  }

  var description: String {
    let unread =
      holdsWeights
      ? "a large file, of which only names and shapes were checked" : "a description without weights"
    let operations = counting == .multiplyAdds ? counting.rawValue : "operations (\(counting.rawValue))"
    let layers = textTable(
      ["node", "kind", "output", "parameters", operations],
      nodes.map {
        [$0.name, $0.kind, Shape($0.outputShape).description, "\($0.parameters)", "\($0.multiplyAdds)"]
      }, leading: 3)
    let ends = textTable(
      ["exit", "name", "likelihood", "transforms", "features", "classes", "parameters", operations],
      exits.enumerated().map { index, exit in
        [
          "\(index)", exit.name, exit.likelihood ?? "open (--likelihood)",
          exit.transforms.isEmpty ? "none" : exit.transforms.joined(separator: ", "),
          exit.features.map(String.init) ?? "none",
          "\(exit.classes)" + (exit.positions.map { " at \(Shape($0))" } ?? ""), "\(exit.parameters)",
          "\(exit.multiplyAdds)",
        ]
      }, leading: 4)
    return """
      \(file): \(format)
      \(sha256.map { "sha256 \($0)" } ?? unread)
      input \(Shape(inputShape)), \(parameters) parameters

      \(layers)

      \(ends)
      """
  }
}

/// What is said of weights whose network is not described.
private struct WeightsDescription: Encodable, CustomStringConvertible {
  struct TensorDescription: Encodable {
    var name: String
    var shape: [Int]
    var type: String
  }

  var file: String
  var format: String
  /// `nil` of a file that is too large to be read now.
  var sha256: String?
  var parameters: Int
  var tensors: [TensorDescription]

  init(_ checkpoint: some Checkpoint, sha256: String?) {
    file = checkpoint.file
    format = checkpoint.format
    self.sha256 = sha256
    parameters = checkpoint.entries.reduce(0) { $0 + $1.shape.elementCount }
    tensors = checkpoint.entries.map {
      TensorDescription(name: $0.name, shape: $0.shape.dimensions, type: $0.scalarType)
    }
  }

  var description: String {
    """
    \(file): \(format), without a description of the network (give one with --architecture FILE)
    \(sha256.map { "sha256 \($0)" } ?? "a large file, of which no value was read")
    \(tensors.count) tensors, \(parameters) numbers

    """
      + textTable(
        ["tensor", "shape", "type"], tensors.map { [$0.name, Shape($0.shape).description, $0.type] }, leading: 3)
  }
}

extension Checkpoint {
  /// The memory that all tensors take.
  fileprivate var byteCount: Int {
    entries.reduce(0) { sum, entry in
      let (total, overflow) = sum.addingReportingOverflow(entry.shape.elementCount)
      return overflow ? .max / 8 : total
    } * MemoryLayout<Float>.size
  }
}

/// What is said of a posterior.
private struct PosteriorDescription: Encodable, CustomStringConvertible {
  struct ExitDescription: Encodable {
    var name: String
    var features: Int?
    var classes: Int
    var priorPrecision: Double
    /// Of several layers with values of their own.
    var priorPrecisions: [Double]?
    /// Of more than last layers.
    var layers: [String]?
    var parameters: Int?
    var temperature: Double
    /// Of Gaussian targets.
    var noise: Double?
    /// Where it is not that of the weights.
    var biasPriorPrecision: Double?
    /// Of a low rank.
    var rank: Int?
    var explainedShare: Double?
    var logMarginalLikelihood: Double?
    var validationNLL: Double?
    var trainingRows: Int
  }

  var format = LastLayerLaplacePosterior.formatName
  var method = "laplace"
  var scope: String
  var structure: String
  var predictive: String
  var draws: Int
  var checkpointDigest: String?
  var warnings: [String]
  var exits: [ExitDescription]

  init(_ posterior: WeightLaplacePosterior) {
    scope = posterior.scope.text
    structure = posterior.structure.rawValue
    predictive = posterior.predictive.rawValue
    draws = posterior.sampleCount
    checkpointDigest = posterior.source.checkpointDigest
    warnings = posterior.warnings
    exits = zip(posterior.source.exits, posterior.exits).map { description, exit in
      ExitDescription(
        name: description.name, features: nil, classes: description.classCount, priorPrecision: exit.priorPrecisions[0],
        priorPrecisions: Set(exit.priorPrecisions).count == 1 ? nil : exit.priorPrecisions,
        layers: exit.layers.map(\.name), parameters: exit.parameterCount, temperature: exit.temperature,
        logMarginalLikelihood: exit.logMarginalLikelihood, validationNLL: exit.tuning.chosen?.negativeLogLikelihood,
        trainingRows: exit.rowCount)
    }
  }

  init(_ posterior: LastLayerLaplacePosterior) {
    scope = "last"
    structure = posterior.structure.rawValue
    predictive = posterior.predictive.rawValue
    draws = posterior.sampleCount
    checkpointDigest = posterior.source.checkpointDigest
    warnings = posterior.warnings
    exits = posterior.exits.map { exit in
      ExitDescription(
        name: exit.description.name, features: exit.description.featureCount,
        classes: exit.description.classCount, priorPrecision: exit.priorPrecision,
        temperature: exit.temperature, noise: exit.description.likelihood == .gaussian ? exit.noise : nil,
        biasPriorPrecision: exit.biasPriorPrecision == exit.priorPrecision ? nil : exit.biasPriorPrecision,
        rank: exit.rank, explainedShare: exit.explainedShare, logMarginalLikelihood: exit.logMarginalLikelihood,
        validationNLL: exit.tuning.chosen?.negativeLogLikelihood, trainingRows: exit.rowCount)
    }
  }

  var description: String {
    let isGaussian = exits.contains { $0.noise != nil }
    let table = textTable(
      [
        "exit", "name", "prior precision", isGaussian ? "noise" : "temperature", "validation NLL", "log evidence",
        "training rows",
      ],
      exits.enumerated().map { index, exit in
        [
          "\(index)", exit.name,
          (exit.priorPrecisions ?? [exit.priorPrecision]).map { $0.significantDigits() }.joined(separator: " ")
            + (exit.biasPriorPrecision.map { " (bias \($0.significantDigits()))" } ?? ""),
          (exit.noise ?? exit.temperature).significantDigits(),
          exit.validationNLL.map { $0.significantDigits() } ?? "-",
          exit.logMarginalLikelihood.map { $0.significantDigits() } ?? "-", "\(exit.trainingRows)",
        ]
      }, leading: 2)
    return """
      Laplace posterior of \(scope == "last" ? "the last layers" : "layers \(scope)"): \(structure), predictions \(predictive)\
      \(LaplacePredictive(rawValue: predictive)?.usesDraws == true ? " with \(draws) draws" : "")
      checkpoint sha256 \(checkpointDigest ?? "unknown")

      \(table)
      """
      + exits.compactMap { exit in
        exit.layers.map { "\n\(exit.name): \(exit.parameters ?? 0) weights of \($0.joined(separator: ", "))" }
      }.joined()
      + exits.compactMap { exit in
        exit.rank.flatMap { rank in
          exit.explainedShare.map {
            "\n\(exit.name): \(rank) eigenvectors, \(($0 * 1000).rounded() / 10) % of the curvature"
          }
        }
      }.joined() + warnings.map { "\nwarning: \($0)" }.joined()
  }
}

/// What is said of one layer's weights.
private struct FirstLayerDescription: Encodable, CustomStringConvertible {
  var method: String
  var layer: String
  var form: String
  var weights: Int
  var exit: Int
  var epochs: Int
  var rows: Int
  var divergenceWeight: Double
  var divergence: Double
  var dataTerm: Double
  var dataTermAtTrainedWeights: Double

  init(_ posterior: FirstLayerPosterior, draws: Int) {
    method = posterior.method(draws: draws)
    layer = posterior.layerName
    form = posterior.form.rawValue
    weights = posterior.parameterCount
    exit = posterior.exitIndex
    epochs = posterior.epochCount
    rows = posterior.rowCount
    divergenceWeight = posterior.divergenceWeight
    divergence = posterior.divergence
    dataTerm = posterior.dataTerm
    dataTermAtTrainedWeights = posterior.initialDataTerm
  }

  var description: String {
    "layer '\(layer)', \(weights) weights, \(epochs) epoch(s) over \(rows) rows: KL \(divergence.significantDigits()) nats, "
      + "data term \(dataTerm.significantDigits()) nats a row (\(dataTermAtTrainedWeights.significantDigits()) at the "
      + "trained weights)"
  }
}

/// What is said of a posterior whose draws are networks.
private struct SampledNetworksDescription: Encodable, CustomStringConvertible {
  struct ExitDescription: Encodable {
    var name: String
    var classes: Int
    /// Of all networks together, to reach the exit, earlier exits included.
    var multiplyAdds: Int?
    var temperature: Double
    var validationNLL: Double?
    var untemperedNLL: Double?
  }
  struct LayerDescription: Encodable {
    var name: String
    var rate: Double
  }
  struct MemberDescription: Encodable {
    var file: String
    var sha256: String
  }

  var format = LastLayerLaplacePosterior.formatName
  var method: String
  var networks: Int
  /// The dropout layers that are drawn.
  var layers: [LayerDescription]?
  /// Of an ensemble.
  var members: [MemberDescription]?
  /// Of one layer's weights.
  var firstLayer: FirstLayerDescription?
  /// Of an ensemble of scaled layers.
  var latent: LatentDescription?
  /// Of chains over weights.
  var chains: WeightSamplesDescription?
  /// Of layers that are drawn each by a distribution of its own.
  var placement: PlacementDescription?
  var checkpointDigest: String?
  var warnings: [String]
  var exits: [ExitDescription]

  init(_ posterior: SampledNetworkPosterior) {
    switch posterior.kind {
    case .dropout(_, _, let layers):
      method = SampledNetworkPosterior.dropoutMethodName
      self.layers = layers.map { LayerDescription(name: $0.name, rate: $0.rate) }
    case .ensemble(let members):
      method = SampledNetworkPosterior.ensembleMethodName
      self.members = members.map { MemberDescription(file: $0.file, sha256: $0.digest) }
    case .firstLayer(let draws, _, let layer):
      method = SampledNetworkPosterior.firstLayerMethodName
      firstLayer = FirstLayerDescription(layer, draws: draws)
    case .latent(let networks, _, let latent):
      method = SampledNetworkPosterior.latentMethodName
      self.latent = LatentDescription(latent, networks: networks)
    case .weightSamples(let samples):
      method = SampledNetworkPosterior.weightSamplesMethodName
      chains = WeightSamplesDescription(samples)
    case .placement(let draws, _, let placement):
      method = SampledNetworkPosterior.placementMethodName
      self.placement = PlacementDescription(placement, draws: draws)
    }
    networks = posterior.sampleCount
    checkpointDigest = posterior.source.checkpointDigest
    warnings = posterior.warnings
    exits = zip(posterior.source.exits, posterior.exits).map { description, exit in
      ExitDescription(
        name: description.name, classes: description.classCount, multiplyAdds: description.multiplyAdds,
        temperature: exit.temperature, validationNLL: exit.validationNLL, untemperedNLL: exit.untemperedNLL)
    }
  }

  var description: String {
    let table = textTable(
      ["exit", "name", "classes", "multiply-adds", "temperature", "validation NLL", "NLL at 1"],
      exits.enumerated().map { index, exit in
        [
          "\(index)", exit.name, "\(exit.classes)", exit.multiplyAdds.map(String.init) ?? "-",
          exit.temperature.significantDigits(), exit.validationNLL.map { $0.significantDigits() } ?? "-",
          exit.untemperedNLL.map { $0.significantDigits() } ?? "-",
        ]
      }, leading: 2)
    var networks: [String] = firstLayer.map { [$0.description] } ?? []
    networks += latent?.lines ?? []
    networks += chains?.lines ?? []
    networks += placement?.lines ?? []
    networks += (layers ?? []).map { "\($0.name): rate \($0.rate.significantDigits())" }
    networks += (members ?? []).map { "\($0.file): sha256 \($0.sha256)" }
    let methods = [firstLayer?.method, latent?.method, chains?.method, placement?.method].compactMap(\.self)
    let title =
      methods.first ?? (members == nil ? "Monte Carlo dropout, \(self.networks) draws" : "Ensemble of \(self.networks) networks")
    return """
      \(title)
      checkpoint sha256 \(checkpointDigest ?? "unknown")
      \(networks.joined(separator: "\n"))

      \(table)
      """ + warnings.map { "\nwarning: \($0)" }.joined()
  }
}

/// What is said of records and predictions.
private struct ArchiveDescription: Encodable, CustomStringConvertible {
  struct ArrayDescription: Encodable {
    var path: String
    var shape: [Int]
    var type: String
  }

  var file: String
  var format: String
  var arrays: [ArrayDescription]

  init(_ archive: HDF5Archive, format: String?) {
    file = archive.file
    self.format = format ?? "HDF5 of another program"
    arrays = archive.entries.map {
      ArrayDescription(path: $0.path, shape: $0.shape.dimensions, type: $0.scalarType)
    }
  }

  var description: String {
    "\(file): \(format)\n\n"
      + textTable(
        ["array", "shape", "type"], arrays.map { [$0.path, Shape($0.shape).description, $0.type] },
        leading: 3)
  }
}
