import BayesNetwork
public import BayesTensor

/// An ensemble of one network's versions, which differ by two vectors and a bias in each of some layers; the vectors on
/// the side of the inputs pass through an autoencoder a layer, whose latents are drawn.
public struct LatentPosterior: Sendable, Equatable {
  /// What becomes of the vectors on the side of the inputs.
  public enum Form: String, CaseIterable, Sendable {
    /// Latents are drawn and decoded.
    case latentSample = "latent-sample"
    /// What the encoder hides is decoded; nothing is drawn.
    case hidden
    /// They are used as they are (BatchEnsemble): a control.
    case batchEnsemble = "batch-ensemble"

    /// What the autoencoders decode; `nil` where there are none.
    var decode: LatentAutoencoder.Decode? {
      switch self {
      case .latentSample: .latentSample
      case .hidden: .hidden
      case .batchEnsemble: nil
      }
    }
  }

  /// One layer.
  public struct Layer: Sendable, Equatable {
    public var name: String
    /// `a`, `[members, inputs]`
    public var inputs: Tensor<Double>
    /// `g`, `[members, outputs]`
    public var outputs: Tensor<Double>
    /// `b`, `[members, outputs]`
    public var biases: Tensor<Double>
    /// `nil` without latents.
    package var autoencoder: LatentAutoencoder?

    /// The numbers that the layer adds to the network's.
    public var addedCount: Int {
      inputs.count + outputs.count + biases.count + (autoencoder?.parameters.reduce(0) { $0 + $1.count } ?? 0)
    }
  }

  public let form: Form
  public let layers: [Layer]
  /// Those that were estimated anew.
  public let statistics: [NetworkStatistics]
  /// What the divergence was multiplied by, of each layer; zeros without latents.
  public let divergenceWeights: [Double]
  /// The number of training rows.
  public let rowCount: Int
  public let epochCount: Int
  /// The exit whose likelihood was the data term.
  public let exitIndex: Int
  /// The mean negative log-likelihood of training labels over the last epoch, nats.
  public let dataTerm: Double

  public var memberCount: Int { layers[0].outputs.rowCount }

  /// The same with statistics of each member.
  func replacing(_ statistics: [NetworkStatistics]) -> LatentPosterior {
    LatentPosterior(
      form: form, layers: layers, statistics: statistics, divergenceWeights: divergenceWeights, rowCount: rowCount,
      epochCount: epochCount, exitIndex: exitIndex, dataTerm: dataTerm)
  }

  /// The networks that so many draws a member make.
  func networkCount(draws: Int) -> Int { memberCount * (form == .latentSample ? draws : 1) }

  /// The numbers that the posterior adds to the network's.
  public var addedCount: Int {
    layers.reduce(0) { $0 + $1.addedCount } + statistics.reduce(0) { $0 + $1.values.count }
  }

  /// The method, as reports name it.
  public func method(networks: Int) -> String {
    let places = layers.count == 1 ? "'\(layers[0].name)'" : "\(layers.count) layers"
    switch form {
    case .batchEnsemble: return "BatchEnsemble (\(places)), \(memberCount) members"
    case .hidden: return "LP-BNN (\(places)), hidden decoded, \(memberCount) members"
    case .latentSample:
      return "LP-BNN (\(places)), \(memberCount) members, \(networks / memberCount) draws each"
    }
  }

  /// What each layer's latents hold: nats of divergence a member, and how far members lie apart in what is decoded.
  public func readings(of layer: Int) -> (divergence: Double, spread: Double) {
    let layer = layers[layer]
    guard let autoencoder = layer.autoencoder else { return (0, betweenMembers(layer.inputs)) }
    let pass = autoencoder(layer.inputs, noise: Tensor(zeros: [memberCount, autoencoder.latentCount]))
    return (pass.divergence / Double(memberCount), pass.spread)
  }

  /// Below this divergence, nats a member, latents tell members apart no more.
  static let collapsedDivergence = 0.1
  /// Below this share of how far their vectors lie apart, what is decoded tells members apart no more.
  static let collapsedShare = 0.01

  /// What the user should know.
  var warnings: [String] {
    func names(_ indices: [Int]) -> String { indices.map { "'\(layers[$0].name)'" }.joined(separator: ", ") }
    let encoded = layers.indices.filter { layers[$0].autoencoder != nil }
    // What the encoder hides is decoded whatever becomes of latents that nobody draws.
    let collapsed = encoded.filter { form == .latentSample && readings(of: $0).divergence < Self.collapsedDivergence }
    let equal = encoded.filter {
      !collapsed.contains($0) && readings(of: $0).spread < Self.collapsedShare * betweenMembers(layers[$0].inputs)
    }
    var warnings: [String] = []
    if !collapsed.isEmpty {
      warnings.append(
        "The latents of \(names(collapsed)) have collapsed onto their prior (less than \(Self.collapsedDivergence) nats a "
          + "member), so that they tell members apart no more; lower the weight of the divergence.")
    }
    if !equal.isEmpty {
      warnings.append(
        "What the autoencoder(s) of \(names(equal)) decode is the same for all members, which only outputs and biases tell "
          + "apart there; lower the learning rate, or give another --seed.")
    }
    return warnings
  }
}

/// The networks of a latent posterior: each member, with so many draws of its latents.
struct LatentDraws: NetworkDraws {
  let graph: Network
  let boundary: [Int]
  let affectsExit: [Bool]
  private let frozen: FrozenNetwork
  private let posterior: LatentPosterior
  private let layers: [MemberLayer]
  /// Of each member.
  private let draws: Int

  /// - Parameter networks: as many as the posterior has members, or a multiple of it.
  /// - Throws: `NetworkError` where the network has other layers than the posterior.
  init(_ posterior: LatentPosterior, of frozen: FrozenNetwork, networks: Int) throws(NetworkError) {
    let network = frozen.network
    var layers: [MemberLayer] = []
    for layer in posterior.layers {
      guard let node = network.nodes.firstIndex(where: { $0.name == layer.name }) else {
        throw NetworkError("The network has no layer '\(layer.name)'.")
      }
      let found = try MemberLayer(node, of: network)
      guard found.inputCount == layer.inputs.shape[1], found.outputCount == layer.outputs.shape[1] else {
        throw NetworkError("The layer '\(layer.name)' has other numbers of inputs or outputs.")
      }
      layers.append(found)
    }
    try network.requireStatistics(posterior.statistics)
    self.frozen = frozen
    self.posterior = posterior
    self.layers = layers
    draws = networks / posterior.memberCount
    graph = try network.addingBiases(to: layers)
    let nodes = Set(layers.map(\.node))
    let changes = network.changes { nodes.contains($0) }
    affectsExit = network.exits.map { changes[$0.logits] }
    boundary = network.boundary(of: changes)
  }

  /// Draw `member · draws + k` is the `k`-th of a member.
  func network(draw: Int, key: RandomKey) throws(NetworkError) -> FrozenNetwork {
    let member = draw / draws
    return try network(member: member) { layer, autoencoder in
      key.child(layer).child(member).child(draw % draws).normals([1, autoencoder.latentCount])
    }
  }

  /// The network of a member at some noise of each layer's latents, `[1, latents]`.
  func network(
    member: Int, noise: (_ layer: Int, LatentAutoencoder) -> Tensor<Double>
  ) throws(NetworkError) -> FrozenNetwork {
    var parameters = frozen.parameters
    for (index, layer) in layers.enumerated() {
      let own = posterior.layers[index]
      var inputs = own.inputs.rows(member..<member + 1)
      if let autoencoder = own.autoencoder {
        inputs = autoencoder(inputs, noise: noise(index, autoencoder)).reconstructions
      }
      let version = MemberLayer.Version(
        inputs: inputs.reshaped(to: [layer.inputCount]),
        outputs: own.outputs.rows(member..<member + 1).reshaped(to: [layer.outputCount]),
        bias: own.biases.rows(member..<member + 1).reshaped(to: [layer.outputCount]))
      parameters = parameters.replacing(layer.parameters(version, in: frozen))
    }
    return try FrozenNetwork(graph, parameters: parameters.replacing(posterior.statistics, ofNetwork: member))
  }
}
