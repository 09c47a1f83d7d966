public import BayesTensor

/// Latent inference under way: all that its next step depends on besides the data and the key.
///
/// - Determinism: a training that goes on from one written before gives the same bits as one that was never
///   interrupted.
public struct LatentTraining: ResumableTraining, Equatable {
  /// What became of one pass over the training rows.
  public struct Epoch: Sendable, Equatable {
    /// The mean over members' rows of the negative log-likelihood at the draws of its steps, nats.
    public var dataTerm: Double
    /// The mean over layers of the reconstruction error and the weighted divergence.
    public var latentTerm: Double
  }

  public internal(set) var layers: [LatentPosterior.Layer]
  var vectorMemory = OptimizerMemory<Double>()
  var autoencoderMemory = OptimizerMemory<Double>()
  /// Steps made in all, those of the warm-up not counted.
  public internal(set) var stepCount = 0
  /// Sums over the steps of the epoch under way, weighted by their rows.
  var sums = Epoch(dataTerm: 0, latentTerm: 0)
  /// Epochs that are over.
  public internal(set) var epochs: [Epoch] = []

  init(_ layers: [LatentPosterior.Layer]) { self.layers = layers }

  /// The vectors and biases of all layers.
  var vectors: [Tensor<Double>] {
    get { layers.flatMap(\.vectors) }
    set {
      var rest = newValue[...]
      for index in layers.indices {
        let count = layers[index].vectors.count
        layers[index].vectors = Array(rest.prefix(count))
        rest = rest.dropFirst(count)
      }
    }
  }

  /// The weights of all autoencoders.
  var autoencoders: [Tensor<Double>] {
    get { layers.flatMap { $0.autoencoder?.parameters ?? [] } }
    set {
      var rest = newValue[...]
      for index in layers.indices {
        guard let count = layers[index].autoencoder?.parameters.count else { continue }
        layers[index].autoencoder?.parameters = Array(rest.prefix(count))
        rest = rest.dropFirst(count)
      }
    }
  }
}

/// A training in a file, from which it goes on.
///
/// - `/` has `format`, `settings` (what the training depends on, a text each), `form` and counts.
/// - `/layers/0` and so on are written as those of a posterior; `/memory/vectors/0/1` is a moment of a vector, and so on;
///   `/epochs` has a row an epoch.
extension LatentTraining {
  private static let formatName = "bayesify-latent-training"

  public func write(to archive: any ArrayArchiveWriter, settings: [String: String]) throws(FileError) {
    try archive.writeTrainingHeader(Self.formatName, settings: settings)
    try archive.setAttribute("form", .text(form.rawValue), of: "/")
    try archive.setAttribute("layerCount", .integer(layers.count), of: "/")
    try archive.setAttribute("stepCount", .integer(stepCount), of: "/")
    try archive.setAttribute("dataTermSum", .number(sums.dataTerm), of: "/")
    try archive.setAttribute("latentTermSum", .number(sums.latentTerm), of: "/")
    for (index, layer) in layers.enumerated() { try archive.write(layer, at: "/layers/\(index)") }
    try archive.write(vectorMemory, at: "/memory/vectors")
    try archive.write(autoencoderMemory, at: "/memory/autoencoders")
    if !epochs.isEmpty {
      let rows = epochs.flatMap { [$0.dataTerm, $0.latentTerm] }
      try archive.write(Tensor<Double>(shape: [epochs.count, 2], rows), at: "/epochs")
    }
  }

  public init(from archive: any ArrayArchive, settings: [String: String]) throws(FileError) {
    let reader = PosteriorReader(archive: archive)
    try reader.requireTraining(Self.formatName, settings: settings)
    let form: LatentPosterior.Form = try reader.choice("form", of: "/")
    let count = try reader.integer("layerCount", of: "/")
    guard (1...100_000).contains(count) else {
      throw reader.failure(.value, "/", "The number of layers is \(count); the file is damaged.")
    }
    var layers: [LatentPosterior.Layer] = []
    for index in 0..<count { layers.append(try reader.memberLayer(at: "/layers/\(index)", decode: form.decode)) }
    self.init(layers)
    vectorMemory = try reader.memory(at: "/memory/vectors", like: vectors)
    autoencoderMemory = try reader.memory(at: "/memory/autoencoders", like: autoencoders)
    stepCount = try reader.integer("stepCount", of: "/")
    sums = Epoch(
      dataTerm: try reader.optionalNumber("dataTermSum", of: "/") ?? 0,
      latentTerm: try reader.optionalNumber("latentTermSum", of: "/") ?? 0)
    if archive.entry("/epochs") != nil {
      let rows: Tensor<Double> = try reader.array("/epochs", rank: 2)
      guard rows.shape[1] == 2 else { throw reader.failure(.shape, "/epochs", "The array has shape \(rows.shape).") }
      epochs = (0..<rows.rowCount).map { Epoch(dataTerm: rows[$0, 0], latentTerm: rows[$0, 1]) }
    }
    guard stepCount >= 0, Set(layers.map(\.outputs.rowCount)).count == 1 else {
      throw reader.failure(.value, "/", "The parts of the training do not fit each other; the file is damaged.")
    }
  }

  /// What becomes of the vectors of the inputs.
  private var form: LatentPosterior.Form {
    switch layers[0].autoencoder?.decode {
    case .latentSample: .latentSample
    case .hidden: .hidden
    case nil: .batchEnsemble
    }
  }
}
